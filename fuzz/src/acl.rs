//! The access list: whatever its bytes, reading it ends well; and what it says of one client is what a second, simple reading of the same lines says,
//! rule by rule.
//!
//! The input: user, client id, listener, topic and filter, each up to a zero byte, then the list. No user is an anonymous client.

use std::sync::Arc;

use tidegate::access::acl::Acl;
use tidegate::access::rights::{Grants, Lists};
use tidegate::model::{Identity, Topic, TopicFilter};

pub fn check(input: &[u8]) {
    let mut fields = input.splitn(6, |byte| *byte == 0);
    let mut text = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (Some(user), Some(client), Some(listener), Some(topic), Some(filter)) = (text(), text(), text(), text(), text()) else { return };
    let list = fields.next().unwrap_or_default();
    let acl = match Acl::parse(list) {
        Ok(acl) => acl,
        Err(mistake) => {
            assert!(mistake.line >= 1 && mistake.line <= 1 + list.iter().filter(|&&byte| byte == b'\n').count());
            assert!(!mistake.to_string().contains(char::is_control), "a log could be forged: {mistake}");
            return;
        }
    };
    let whose = Identity { user: (!user.is_empty()).then(|| user.into()), client: client.into(), listener: listener.into() };
    let mut grants = Grants::default();
    grants.replace(Lists { common: Some(Arc::new(acl)), ..Lists::default() });
    let rights = grants.of(&whose);
    assert!(rights.covers(&rights));

    let list = list.strip_prefix(b"\xef\xbb\xbf").unwrap_or(list);
    let rules = rules(std::str::from_utf8(list).expect("it was read"), &whose);
    if Topic::new(topic).is_err() {
        return;
    }
    let matching = |rule: &&Rule| TopicFilter::new(&rule.filter).is_ok_and(|filter| filter.matches(topic));
    let said = |any: &[&str]| rules.iter().filter(matching).any(|rule| any.contains(&rule.access.as_str()));
    let denied = said(&["deny"]);
    assert_eq!(rights.may_publish(topic), !denied && said(&["write", "readwrite", "publish"]), "publish, of {rules:?}");
    assert_eq!(rights.may_receive(topic), !denied && said(&["read", "readwrite", "receive"]), "receive, of {rules:?}");
    if TopicFilter::new(filter).is_ok() && !filter.starts_with("$share/") {
        let covering = |access: &str| rules.iter().any(|rule| rule.access == access && covers(&rule.filter, filter));
        let overlapping = rules.iter().any(|rule| matches!(rule.access.as_str(), "read" | "readwrite") && overlaps(&rule.filter, filter));
        let granted = !covering("deny") && (covering("subscribe") || overlapping);
        assert_eq!(rights.may_subscribe(filter), granted, "subscribe to {filter:?}, of {rules:?}");
    }
}

#[derive(Debug)]
struct Rule {
    access: String,
    filter: String,
}

/// The rules that hold for a client, its names in the place of `%u` and `%c`.
fn rules(list: &str, whose: &Identity) -> Vec<Rule> {
    let words = |line: &'_ str| {
        let line = line.trim().to_owned();
        let (word, rest) = line.split_once(char::is_whitespace).map_or((line.as_str(), ""), |(word, rest)| (word, rest.trim_start()));
        (word.to_owned(), rest.to_owned())
    };
    let lines: Vec<_> = list.split('\n').map(words).filter(|(word, _)| !word.is_empty() && !word.starts_with('#')).collect();
    let user = whose.user.as_deref();
    let in_group = |group: &str| {
        let members = lines.iter().filter(|(word, _)| word == "members").map(|(_, rest)| rest.split_whitespace());
        members.into_iter().any(|mut names| names.next() == Some(group) && user.is_some_and(|user| names.any(|name| name == user)))
    };
    let (mut holds, mut for_all) = (user.is_none(), true);
    let mut rules = Vec::new();
    for (word, rest) in &lines {
        match word.as_str() {
            "topic" | "pattern" => {
                let (access, filter) = rest.split_once(char::is_whitespace).unwrap_or(("readwrite", rest));
                let filter = filter.trim_start();
                let filter = if word == "pattern" { spelled(filter, user, &whose.client) } else { Some(filter.to_owned()) };
                if let Some(filter) = filter.filter(|_| holds || (word == "pattern" && for_all)) {
                    rules.push(Rule { access: access.to_owned(), filter });
                }
            }
            "members" => {}
            who => {
                for_all = who == "user";
                holds = match who {
                    "anonymous" => user.is_none(),
                    "everyone" => true,
                    "user" => user == Some(rest),
                    "group" => in_group(rest),
                    "client" => *whose.client == **rest,
                    "listener" => *whose.listener == **rest,
                    other => panic!("{other:?} begins no line"),
                };
            }
        }
    }
    rules
}

/// A pattern with a client's names in it, unless they would be more than names there.
fn spelled(pattern: &str, user: Option<&str>, client: &str) -> Option<String> {
    let names = [("%u", user.unwrap_or_default()), ("%c", client)];
    let used = names.iter().filter(|(place, _)| pattern.contains(place));
    if used.into_iter().any(|(_, name)| name.is_empty() || name.contains(['+', '#', '/'])) {
        return None;
    }
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        match names.iter().find(|(place, _)| rest.starts_with(place)) {
            Some((place, name)) => {
                out.push_str(name);
                rest = &rest[place.len()..];
            }
            None => {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    (pattern.starts_with('$') || !out.starts_with('$')).then_some(out)
}

fn levels(filter: &str) -> Vec<&str> {
    if filter == "#" { vec!["+", "#"] } else { filter.split('/').collect() }
}

/// Whether all that `narrow` matches is matched by `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    fn go(wide: &[&str], narrow: &[&str], first: bool) -> bool {
        match (wide, narrow) {
            (["#", ..], _) | ([], []) => true,
            (["+", wide @ ..], [level, narrow @ ..]) => *level != "#" && !(first && level.starts_with('$')) && go(wide, narrow, false),
            ([a, wide @ ..], [b, narrow @ ..]) => a == b && go(wide, narrow, false),
            _ => false,
        }
    }
    go(&levels(wide), &levels(narrow), true)
}

/// Whether there is a topic that both match.
fn overlaps(one: &str, other: &str) -> bool {
    fn go(one: &[&str], other: &[&str], first: bool) -> bool {
        match (one, other) {
            (["#", ..], _) | (_, ["#", ..]) | ([], []) => true,
            ([a, one @ ..], [b, other @ ..]) => {
                let plus = |plus: &str, level: &str| plus == "+" && !(first && level.starts_with('$'));
                (a == b || plus(a, b) || plus(b, a)) && go(one, other, false)
            }
            _ => false,
        }
    }
    go(&levels(one), &levels(other), true)
}
