//! The access list: Mosquitto's words and ours, read line by line.
//!
//! ```text
//! topic read $SYS/#                  before the first who-line: anonymous clients
//! pattern readwrite home/%u/#        before the first who-line, or below `user`: every client
//!
//! user alice                         what follows holds for her
//! topic readwrite plant/#
//! topic deny plant/secret/#
//!
//! members crew bob carol
//! group crew
//! topic publish plant/+/set
//! ```
//!
//! Who: `anonymous`, `everyone`, `user NAME`, `group NAME`, `client ID`, `listener NAME`. What: `topic [ACCESS] FILTER`,
//! `pattern [ACCESS] FILTER` with `%u` and `%c` for the user's name and the client's id. ACCESS: `read`, `write`, `readwrite` (where none is
//! written), `deny`; `publish` (as `write`), `receive`, `subscribe`.

use std::collections::HashMap;
use std::sync::Arc;

use super::rules::{Access, Rules};
use crate::model::{TopicError, TopicFilter};

/// Longest file in bytes.
pub const FILE_MAX: usize = 4 << 20;

/// Most rules of one file.
pub const RULES_MAX: usize = 32_768;

/// Most rules below the lines that name one user, group, client or listener: a subscription may have to be held against each.
pub const RULES_OF_ONE_MAX: usize = 1_024;

/// Longest filter in bytes.
pub const FILTER_MAX: usize = 1_024;

/// Most levels of a filter.
pub const LEVELS_MAX: usize = 128;

/// Most groups of one user.
pub const GROUPS_OF_ONE_MAX: usize = 32;

/// Most users in all groups together, one in two groups counted twice.
pub const MEMBERS_MAX: usize = 32_768;

/// A line that is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("the file is longer than {FILE_MAX} bytes")]
    LongFile,
    #[error("not UTF-8")]
    NotUtf8,
    #[error(
        "{0:?} begins no line: expected `topic`, `pattern`, `anonymous`, `everyone`, `user`, `group`, `client`, `listener`, `members` or a comment"
    )]
    Word(String),
    #[error("`{0}` wants a name behind it")]
    NoName(&'static str),
    #[error("`{0}` stands alone on its line")]
    Alone(&'static str),
    #[error("`{0}` wants a topic filter behind it")]
    NoFilter(&'static str),
    #[error(
        "{0:?} is no access: expected `read`, `write`, `readwrite`, `deny`, `publish`, `receive` or `subscribe` before a filter that has a space"
    )]
    Access(String),
    #[error("{0}")]
    Filter(#[from] TopicError),
    #[error("the filter is longer than {FILTER_MAX} bytes")]
    LongFilter,
    #[error("the filter has more than {LEVELS_MAX} levels")]
    DeepFilter,
    #[error("a shared subscription is checked by the filter within it: write that")]
    Shared,
    #[error("`%u` and `%c` cannot stand in a first level that begins with $")]
    DollarName,
    #[error("more than {RULES_MAX} rules in the file")]
    Rules,
    #[error("more than {RULES_OF_ONE_MAX} rules for one")]
    RulesOfOne,
    #[error("no `members` line names the group {0:?}")]
    Group(String),
    #[error("{0:?} is in more than {GROUPS_OF_ONE_MAX} groups")]
    Groups(String),
    #[error("more than {MEMBERS_MAX} users in all groups together")]
    Members,
}

/// A whole access list.
#[derive(Debug, Default, PartialEq)]
pub struct Acl {
    /// The first is of everyone, the second of anonymous clients.
    sections: Vec<Section>,
    users: HashMap<Arc<str>, usize>,
    groups: HashMap<Arc<str>, usize>,
    clients: HashMap<Arc<str>, usize>,
    listeners: HashMap<Arc<str>, usize>,
    /// Each user's groups.
    members: HashMap<Arc<str>, Vec<usize>>,
}

const EVERYONE: usize = 0;
const ANONYMOUS: usize = 1;

/// What was said of one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Section {
    pub(super) rules: Arc<Rules>,
    pub(super) patterns: Vec<Pattern>,
}

/// A rule that is another one for each client.
#[derive(Debug, PartialEq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    pub(super) access: Access,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    User,
    Client,
}

impl Acl {
    /// Reads a whole file.
    ///
    /// # Errors
    /// The first line that is not right.
    pub fn parse(bytes: &[u8]) -> Result<Self, Mistake> {
        if bytes.len() > FILE_MAX {
            return Err(Mistake { line: 1, cause: Cause::LongFile });
        }
        let mut reader = Reader::new();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (line, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = line + 1;
            reader.line = line;
            let text = std::str::from_utf8(text).map_err(|_| Cause::NotUtf8);
            text.and_then(|text| reader.take(text.trim())).map_err(|cause| Mistake { line, cause })?;
        }
        reader.end()
    }

    /// The sections that hold for a client, in an order of their own; each once.
    pub(super) fn sections_of(&self, user: Option<&str>, client: &str, listener: &str) -> Vec<usize> {
        let mut sections = vec![EVERYONE];
        match user {
            None => sections.push(ANONYMOUS),
            Some(user) => {
                sections.extend(self.users.get(user));
                sections.extend(self.members.get(user).into_iter().flatten());
            }
        }
        sections.extend(self.clients.get(client));
        sections.extend(self.listeners.get(listener));
        sections
    }

    pub(super) fn section(&self, index: usize) -> Option<&Section> {
        self.sections.get(index)
    }

    /// The users that the list names, those of groups included.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let named = self.users.keys().chain(self.members.keys().filter(|user| !self.users.contains_key(*user)));
        named.map(|user| &**user)
    }

    /// The listeners that the list names.
    pub fn listeners(&self) -> impl Iterator<Item = &str> {
        self.listeners.keys().map(|listener| &**listener)
    }
}

impl Pattern {
    /// The filter for one client. `None`: its names cannot stand in it: they are empty, or have wildcards or levels of their own, or would make
    /// a `$` topic of it.
    pub(super) fn filter(&self, user: Option<&str>, client: &str) -> Option<TopicFilter> {
        let mut filter = String::new();
        for part in &self.parts {
            let name = match part {
                Part::Text(text) => {
                    filter.push_str(text);
                    continue;
                }
                Part::User => user.unwrap_or_default(),
                Part::Client => client,
            };
            let abused = crate::faults::active("open-patterns");
            if !abused && (name.is_empty() || name.contains(['+', '#', '/']) || (filter.is_empty() && name.starts_with('$'))) {
                return None;
            }
            filter.push_str(name);
        }
        TopicFilter::new(&filter).ok()
    }

    pub(super) fn has_client(&self) -> bool {
        self.parts.contains(&Part::Client)
    }

    pub(super) fn has_user(&self) -> bool {
        self.parts.contains(&Part::User)
    }
}

/// What lines have said so far.
struct Reader {
    acl: Acl,
    rules: Vec<Rules>,
    /// Whom the next rule is for.
    at: usize,
    /// Patterns are for every client here, as Mosquitto has them.
    patterns_for_all: bool,
    line: usize,
    /// The line that first named a group, and its members' lines.
    named: Vec<(Arc<str>, usize)>,
    known_groups: HashMap<Arc<str>, Vec<Arc<str>>>,
    members: usize,
    count: usize,
}

impl Reader {
    fn new() -> Self {
        let mut reader = Self {
            acl: Acl::default(),
            rules: Vec::new(),
            at: ANONYMOUS,
            patterns_for_all: true,
            line: 0,
            named: Vec::new(),
            known_groups: HashMap::new(),
            members: 0,
            count: 0,
        };
        // Everyone, and anonymous clients.
        reader.add_section();
        reader.add_section();
        reader
    }

    fn add_section(&mut self) -> usize {
        self.acl.sections.push(Section::default());
        self.rules.push(Rules::default());
        self.rules.len() - 1
    }

    fn take(&mut self, line: &str) -> Result<(), Cause> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim_start()));
        match word {
            "anonymous" => self.all("anonymous", ANONYMOUS, rest),
            "everyone" => self.all("everyone", EVERYONE, rest),
            "user" => self.one("user", rest, |acl| &mut acl.users),
            "group" => {
                self.one("group", rest, |acl| &mut acl.groups)?;
                self.named.push((rest.into(), self.line));
                Ok(())
            }
            "client" => self.one("client", rest, |acl| &mut acl.clients),
            "listener" => self.one("listener", rest, |acl| &mut acl.listeners),
            "members" => self.members(rest),
            "topic" => {
                let (access, filter) = split_access("topic", rest)?;
                let filter = checked(filter)?;
                self.add(self.at, |rules, _| rules.add(filter, access))
            }
            "pattern" => {
                let (access, filter) = split_access("pattern", rest)?;
                let pattern = Pattern { parts: parts_of(filter)?, access };
                let at = if self.patterns_for_all { EVERYONE } else { self.at };
                self.add(at, |_, section| section.patterns.push(pattern))
            }
            other => Err(Cause::Word(other.chars().take(40).collect())),
        }
    }

    fn all(&mut self, word: &'static str, section: usize, rest: &str) -> Result<(), Cause> {
        if !rest.is_empty() {
            return Err(Cause::Alone(word));
        }
        self.at = section;
        self.patterns_for_all = false;
        Ok(())
    }

    fn one(&mut self, word: &'static str, name: &str, of: impl Fn(&mut Acl) -> &mut HashMap<Arc<str>, usize>) -> Result<(), Cause> {
        if name.is_empty() {
            return Err(Cause::NoName(word));
        }
        let known = of(&mut self.acl).get(name).copied();
        self.at = known.unwrap_or_else(|| {
            let at = self.add_section();
            of(&mut self.acl).insert(name.into(), at);
            at
        });
        self.patterns_for_all = word == "user";
        Ok(())
    }

    fn members(&mut self, rest: &str) -> Result<(), Cause> {
        let mut names = rest.split_whitespace();
        let group = names.next().ok_or(Cause::NoName("members"))?;
        let members = self.known_groups.entry(group.into()).or_default();
        for name in names {
            self.members += 1;
            if self.members > MEMBERS_MAX {
                return Err(Cause::Members);
            }
            members.push(name.into());
        }
        Ok(())
    }

    fn add(&mut self, at: usize, add: impl FnOnce(&mut Rules, &mut Section)) -> Result<(), Cause> {
        self.count += 1;
        if self.count > RULES_MAX {
            return Err(Cause::Rules);
        }
        let (Some(rules), Some(section)) = (self.rules.get_mut(at), self.acl.sections.get_mut(at)) else { return Ok(()) };
        if rules.len() + section.patterns.len() >= RULES_OF_ONE_MAX {
            return Err(Cause::RulesOfOne);
        }
        add(rules, section);
        Ok(())
    }

    fn end(mut self) -> Result<Acl, Mistake> {
        for (group, line) in &self.named {
            if !self.known_groups.contains_key(group) {
                return Err(Mistake { line: *line, cause: Cause::Group(group.to_string()) });
            }
        }
        for (group, members) in self.known_groups {
            // A group that no rule names has nothing to give.
            let Some(section) = self.acl.groups.get(&group).copied() else { continue };
            for user in members {
                let of = self.acl.members.entry(Arc::clone(&user)).or_default();
                if !of.contains(&section) {
                    of.push(section);
                }
                if of.len() > GROUPS_OF_ONE_MAX {
                    return Err(Mistake { line: self.line, cause: Cause::Groups(user.to_string()) });
                }
            }
        }
        self.acl.members.values_mut().for_each(|groups| groups.sort_unstable());
        for (section, rules) in self.acl.sections.iter_mut().zip(self.rules) {
            section.rules = Arc::new(rules);
        }
        Ok(self.acl)
    }
}

/// The access of a rule and its filter, which may have spaces where the access is written.
fn split_access<'a>(word: &'static str, rest: &'a str) -> Result<(Access, &'a str), Cause> {
    if rest.is_empty() {
        return Err(Cause::NoFilter(word));
    }
    let Some((access, filter)) = rest.split_once(char::is_whitespace) else { return Ok((Access::READ_WRITE, rest)) };
    let access = match access {
        "read" => Access::READ,
        "write" | "publish" => Access::PUBLISH,
        "readwrite" => Access::READ_WRITE,
        "deny" => Access::DENY,
        "receive" => Access::RECEIVE,
        "subscribe" => Access::SUBSCRIBE,
        other => return Err(Cause::Access(other.chars().take(40).collect())),
    };
    Ok((access, filter.trim_start()))
}

fn checked(filter: &str) -> Result<TopicFilter, Cause> {
    if filter.len() > FILTER_MAX {
        return Err(Cause::LongFilter);
    }
    if filter.split('/').count() > LEVELS_MAX {
        return Err(Cause::DeepFilter);
    }
    if filter.starts_with("$share/") {
        return Err(Cause::Shared);
    }
    Ok(TopicFilter::new(filter)?)
}

/// A pattern in parts, checked as a filter with some name in it.
fn parts_of(filter: &str) -> Result<Vec<Part>, Cause> {
    checked(&filter.replace("%u", "u").replace("%c", "c"))?;
    let first = filter.split('/').next().unwrap_or_default();
    if first.starts_with('$') && (first.contains("%u") || first.contains("%c")) {
        return Err(Cause::DollarName);
    }
    let (mut parts, mut rest) = (Vec::new(), filter);
    while let Some(at) = [rest.find("%u"), rest.find("%c")].into_iter().flatten().min() {
        let (text, name) = rest.split_at(at);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        parts.push(if name.starts_with("%u") { Part::User } else { Part::Client });
        rest = name.get(2..).unwrap_or_default();
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
