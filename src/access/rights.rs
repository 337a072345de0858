//! What one client may do: by the rules that hold for it, or where a site has none, by what is built in.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::acl::Acl;
use super::rules::{Access, Rules};
use crate::model::Identity;

/// What a user's name begins with who is no client but an upstream: what it sends acts with the rights of this user.
pub const UPSTREAM: &str = "upstream:";

/// Rights that are known for the next client with the same, before those that nobody has any more are looked for. Who has some bounds the rest.
const KNOWN: usize = 256;

/// Rights; clients that have the same may share them.
#[derive(Debug)]
pub struct Rights {
    id: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Built in, for named users.
    Everything,
    /// Built in, for anonymous clients: everything but [`is_closed`].
    Open,
    /// Nothing where there are none.
    Ruled(Box<[Arc<Rules>]>),
}

impl Rights {
    pub const EVERYTHING: Self = Self { id: 0, kind: Kind::Everything };
    pub const OPEN: Self = Self { id: 1, kind: Kind::Open };

    pub fn nothing() -> Self {
        Self { id: 2, kind: Kind::Ruled([].into()) }
    }

    /// Rights with the same number are the same. Numbers are not used again.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// What is built in says of any topic, given whether it [`is_closed`]; `None`: there are rules to ask.
    pub const fn built_in(&self, closed: bool) -> Option<bool> {
        match self.kind {
            Kind::Everything => Some(true),
            Kind::Open => Some(!closed),
            Kind::Ruled(_) => None,
        }
    }

    /// Rules that are asked to compare them with others.
    pub fn weight(&self) -> usize {
        if let Kind::Ruled(all) = &self.kind { all.iter().map(|rules| rules.len()).sum() } else { 0 }
    }

    pub fn may_publish(&self, topic: &str) -> bool {
        self.may(topic, Access::PUBLISH)
    }

    pub fn may_receive(&self, topic: &str) -> bool {
        self.may(topic, Access::RECEIVE)
    }

    fn may(&self, topic: &str, access: Access) -> bool {
        let Kind::Ruled(all) = &self.kind else { return self.built_in(is_closed(topic)).unwrap_or_default() };
        let said = all.iter().fold(Access::NONE, |said, rules| said.and(rules.of(topic)));
        said.has(access) && !said.has(Access::DENY)
    }

    /// Whether a subscription to `filter` is granted; of a shared one, to the filter within. Of what it matches there may be more than the client
    /// may receive: that does not come to it.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let Kind::Ruled(all) = &self.kind else { return self.built_in(is_closed(filter)).unwrap_or_default() };
        let covering = covering(all, filter);
        let overlapping = || all.iter().any(|rules| rules.overlapping(filter).has(Access::OVERLAP));
        !covering.has(Access::DENY) && (covering.has(Access::SUBSCRIBE) || overlapping())
    }

    /// Whether nothing that `other` allows is forbidden by these. In doubt it says no: what several rules cover only together counts as not
    /// covered.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            _ if self.id == other.id => true,
            (Kind::Everything, _) | (Kind::Open, Kind::Open) => true,
            (_, Kind::Everything) => false,
            (Kind::Open, Kind::Ruled(theirs)) => grants(theirs).all(|(filter, _)| !may_name_closed(filter)),
            (Kind::Ruled(mine), Kind::Open) => {
                let all = covering(mine, "#");
                all.has(Access::PUBLISH.and(Access::READ)) && denials(mine).all(is_closed)
            }
            (Kind::Ruled(mine), Kind::Ruled(theirs)) if mine == theirs => true,
            (Kind::Ruled(mine), Kind::Ruled(theirs)) => {
                let granted = |(filter, access): (&str, Access)| {
                    let have = covering(mine, filter);
                    // Whoever may read all of it may subscribe to any part of it.
                    let have = if have.has(Access::OVERLAP) { have.and(Access::SUBSCRIBE) } else { have };
                    have.has(access)
                };
                let denied = |filter: &str| {
                    let before = covering(theirs, filter).has(Access::DENY);
                    before || !theirs.iter().any(|rules| !rules.overlapping(filter).common(GRANTS).is_empty())
                };
                grants(theirs).all(granted) && denials(mine).all(denied)
            }
        }
    }
}

const GRANTS: Access = Access::READ_WRITE.and(Access::SUBSCRIBE);

fn covering(all: &[Arc<Rules>], filter: &str) -> Access {
    all.iter().fold(Access::NONE, |said, rules| said.and(rules.covering(filter)))
}

/// What is granted, and not denied altogether. A filter that goes beyond what is denied may be subscribed to nevertheless.
fn grants(all: &[Arc<Rules>]) -> impl Iterator<Item = (&str, Access)> {
    let rules = all.iter().flat_map(|rules| rules.iter()).map(|(filter, access)| (filter.as_str(), access));
    let left = |(filter, access): (_, Access)| {
        let left = if covering(all, filter).has(Access::DENY) { Access::OVERLAP } else { GRANTS };
        (filter, access.common(left))
    };
    rules.map(left).filter(|(_, access)| !access.is_empty())
}

fn denials(all: &[Arc<Rules>]) -> impl Iterator<Item = &str> {
    let rules = all.iter().flat_map(|rules| rules.iter());
    rules.filter(|(_, access)| access.has(Access::DENY)).map(|(filter, _)| filter.as_str())
}

/// Whether `topic`, or a filter that names it, is one of those that are closed to anonymous clients where a site has no rules: commands, which end
/// in `set`, and those that begin with `$`.
pub fn is_closed(topic: &str) -> bool {
    topic.starts_with('$') || ends_in_set(topic)
}

/// Whether the last level is `set`.
pub fn ends_in_set(topic: &str) -> bool {
    topic.rsplit('/').next() == Some("set")
}

/// Whether `filter` matches a closed topic.
fn may_name_closed(filter: &str) -> bool {
    is_closed(filter) || filter.ends_with(['+', '#'])
}

/// The access lists of a site.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lists {
    /// Of every listener that has none of its own, and of what comes by none.
    pub common: Option<Arc<Acl>>,
    /// By their names, all that there are; with the list of its own, if it has one.
    pub listeners: HashMap<Arc<str>, Option<Arc<Acl>>>,
}

impl Lists {
    /// Where there are none, what is built in holds.
    fn of(&self, identity: &Identity) -> Result<&Acl, Rights> {
        let upstream = identity.user.as_ref().is_some_and(|user| user.starts_with(UPSTREAM));
        let own = self.listeners.get(&identity.listener).filter(|_| !upstream);
        match (own.and_then(Option::as_deref), self.common.as_deref()) {
            (Some(acl), _) | (None, Some(acl)) => Ok(acl),
            _ if upstream => Err(Rights::OPEN),
            // It came by a listener that is not there any more, and what that allowed is not known.
            _ if own.is_none() && self.listeners.values().any(Option::is_some) => Err(Rights::nothing()),
            _ if identity.user.is_some() => Err(Rights::EVERYTHING),
            _ => Err(Rights::OPEN),
        }
    }
}

/// Says who has which rights, and lets those share them who have the same.
#[derive(Debug)]
pub struct Grants {
    lists: Lists,
    known: HashMap<Key, Weak<Rights>>,
    /// At so many in `known` it is cleared of those that nobody has.
    full_at: usize,
    open: Rc<Rights>,
    /// Of the next rights.
    id: u64,
}

/// What decides rights: the list, the sections of it that hold, and the names that stand in patterns of theirs.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    BuiltIn(u64),
    Ruled { list: *const Acl, sections: Vec<usize>, user: Option<Arc<str>> },
}

impl Default for Grants {
    fn default() -> Self {
        Self { lists: Lists::default(), known: HashMap::new(), full_at: KNOWN, open: Rc::new(Rights::OPEN), id: 3 }
    }
}

impl Grants {
    /// Other lists hold from now on: rights that were given before are no longer right. False: they are the same, and so are the rights.
    pub fn replace(&mut self, lists: Lists) -> bool {
        if lists == self.lists {
            return false;
        }
        self.lists = lists;
        self.known.clear();
        true
    }

    /// The rights of a client.
    pub fn of(&mut self, identity: &Identity) -> Rc<Rights> {
        let acl = match self.lists.of(identity) {
            Ok(acl) => acl,
            Err(built_in) => {
                let key = Key::BuiltIn(built_in.id);
                return self.known(&key).unwrap_or_else(|| self.remember(key, built_in));
            }
        };
        let user = identity.user.as_deref();
        let sections = acl.sections_of(user, &identity.client, &identity.listener);
        let of = |at: &usize| acl.section(*at);
        let patterns = || sections.iter().filter_map(of).flat_map(|section| &section.patterns);
        let key = Key::Ruled {
            list: acl,
            sections: sections.clone(),
            user: identity.user.clone().filter(|_| patterns().any(|pattern| pattern.has_user())),
        };
        // Who has a client's own id in its rights shares them with nobody.
        let alone = patterns().any(|pattern| pattern.has_client());
        if !alone && let Some(rights) = self.known(&key) {
            return rights;
        }
        let mut own = Rules::default();
        for pattern in patterns() {
            if let Some(filter) = pattern.filter(user, &identity.client) {
                own.add(filter, pattern.access);
            }
        }
        let rules = sections.iter().filter_map(of).map(|section| &section.rules).filter(|rules| !rules.is_empty()).cloned();
        let rules = rules.chain((!own.is_empty()).then(|| Arc::new(own))).collect();
        let rights = Rights { id: self.id, kind: Kind::Ruled(rules) };
        self.id += 1;
        if alone { Rc::new(rights) } else { self.remember(key, rights) }
    }

    /// The rights of what comes from the upstream of this name. Without a rule for it they are those of an anonymous client.
    pub fn upstream(&mut self, name: &str) -> Rc<Rights> {
        self.of(&Identity { user: Some(format!("{UPSTREAM}{name}").into()), client: "".into(), listener: "".into() })
    }

    /// The rights of somebody of whom nothing is known, by whatever rules: those of an anonymous client where a site has none.
    pub fn unknown(&self) -> Rc<Rights> {
        Rc::clone(&self.open)
    }

    fn known(&self, key: &Key) -> Option<Rc<Rights>> {
        self.known.get(key)?.upgrade()
    }

    fn remember(&mut self, key: Key, rights: Rights) -> Rc<Rights> {
        if self.known.len() >= self.full_at {
            self.known.retain(|_, rights| rights.strong_count() > 0);
            self.full_at = KNOWN.max(2 * self.known.len());
        }
        let rights = Rc::new(rights);
        self.known.insert(key, Rc::downgrade(&rights));
        rights
    }
}

#[cfg(test)]
mod tests;
