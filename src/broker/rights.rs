//! Who may do what, asked wherever something is done: the rights are those of a session's client, by what holds now.
//!
//! As Mosquitto does it in 3.1.1, which has no code for it: a publish that is not allowed is acknowledged and dropped, a subscription that is not
//! granted gets 0x80, and one that is wider than what may be received is granted and sees no more than that.
//!
//! Rights change when a client comes back, and when the site's lists are read anew. From then on everything is asked by the new ones; what sessions
//! hold by their old ones is looked through in slices, and until that is done nothing leaves their queues.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::conn::Conn;
use super::door::Listener;
use super::end::End;
use super::id::SessionIndex;
use super::inflight::Sent;
use super::queue::Waiting;
use super::session::Session;
use super::shared::waiting_again;
use super::state::Broker;
use super::subscriptions::Route;
use crate::access::Policy;
use crate::access::rights::{Grants, Lists, Rights};
use crate::faults;
use crate::model::{DoneHow, EntryId, Identity, Publisher, RetainedMessage, SessionId, StateChange, StoredWill, Topic};
use crate::mqtt::Forwarded;
use crate::mqtt::packet::Shared;

/// What one turn of looking through sessions does: a session counts as one, and each filter and message of it.
const CHECKED_A_TURN: usize = 4_096;

/// Rules that are made or compared for one session alone in the time that one counts for.
const RULES: usize = 2;

/// What the end of a connection counts for.
const END: usize = 32;

/// Of a session that was not looked through since it came from the store.
pub(super) const NEVER: u32 = 0;

/// The site's lists as they hold now.
#[derive(Debug)]
pub(super) struct Access {
    grants: RefCell<Grants>,
    /// Raised by each change of the lists. A session that was looked through by the present ones has the same.
    pub(super) generation: u32,
    /// Which session is to be looked at next; `None`: all were.
    at: Option<SessionIndex>,
    /// Which rights cover which, while sessions are looked through: most have the same.
    covering: HashMap<(u64, u64), bool>,
    /// Who was last asked about as the source of a message.
    source: RefCell<Option<Asked>>,
    /// What it has cost to make rights of those who may be away, in deliveries, since it was last asked.
    spent: Cell<usize>,
    /// Sources that came from the store, each once; those that no message has any more are thrown out as it doubles.
    sources: HashSet<Arc<Identity>>,
    full_at: usize,
}

/// The rights of a source, by lists of this generation.
#[derive(Debug)]
struct Asked {
    identity: Arc<Identity>,
    generation: u32,
    rights: Rc<Rights>,
}

impl Access {
    pub(super) fn new(policy: &Policy, doors: &[Listener]) -> Self {
        let mut grants = Grants::default();
        grants.replace(lists(policy, doors));
        Self {
            grants: RefCell::new(grants),
            generation: NEVER + 1,
            at: None,
            covering: HashMap::new(),
            source: RefCell::new(None),
            spent: Cell::new(0),
            sources: HashSet::new(),
            full_at: 1_024,
        }
    }

    /// What it has cost to ask for the rights of those who may be away: many may have some of their own.
    pub(super) fn take_spent(&self) -> usize {
        self.spent.take()
    }

    /// By now. A session that is still to be looked through has its old ones.
    fn of(&self, session: &Session, doors: &[Listener]) -> Rc<Rights> {
        if session.checked == self.generation || faults::active("keep-rights") {
            return Rc::clone(&session.rights);
        }
        self.grants.borrow_mut().of(&identity_of(session, doors))
    }

    /// Whether what is published to `topic` may come to the session. `closed`: the topic is, where there are no lists.
    pub(super) fn may_receive(&self, session: &Session, doors: &[Listener], topic: &str, closed: bool) -> bool {
        let ask = |rights: &Rights| rights.built_in(closed).unwrap_or_else(|| rights.may_receive(topic));
        if faults::active("receive-all") {
            return true;
        }
        if session.checked == self.generation { ask(&session.rights) } else { ask(&self.of(session, doors)) }
    }
}

/// A realm a listener, by the listeners' names.
fn lists(policy: &Policy, doors: &[Listener]) -> Lists {
    let acl = |at: usize| policy.realms.get(at).and_then(|realm| realm.acl.clone());
    let listeners = doors.iter().enumerate().map(|(at, door)| (Arc::clone(&door.name), acl(at))).collect();
    Lists { common: policy.acl.clone(), listeners }
}

fn identity_of(session: &Session, doors: &[Listener]) -> Identity {
    Identity { user: session.user.clone(), client: (*session.client).into(), listener: name_of(doors, session.listener) }
}

/// Empty: it is not there any more.
fn name_of(doors: &[Listener], listener: u16) -> Arc<str> {
    doors.get(usize::from(listener)).map_or_else(|| "".into(), |door| Arc::clone(&door.name))
}

/// Whether no client may publish to `topic`: what the broker itself says, and names that only filters have.
fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$') && matches!(topic.split('/').next(), Some("$SYS" | "$share" | "$event"))
}

/// The bridge of which a reserved topic tells the state. Another broker's says it itself, by a retained message and a will, unless it is told
/// otherwise (Mosquitto's `notifications`), so that one topic is open to clients as it is in Mosquitto, by their rights.
pub(super) fn bridge_of(topic: &str) -> Option<&str> {
    let name = topic.strip_prefix("$SYS/broker/connection/")?.strip_suffix("/state")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

impl Broker {
    /// Who the client of a session is.
    pub(super) fn identity(&self, session: &Session) -> Arc<Identity> {
        session.source.clone().unwrap_or_else(|| Arc::new(identity_of(session, &self.doors)))
    }

    /// Who the client of a connection is, under this client id.
    pub(super) fn identity_at(&self, conn: &Conn, client: &str) -> Identity {
        Identity { user: conn.user.clone(), client: client.into(), listener: name_of(&self.doors, conn.listener) }
    }

    pub(super) fn rights_of(&self, identity: &Identity) -> Rc<Rights> {
        self.access.grants.borrow_mut().of(identity)
    }

    /// The listener of this name; one that is not there any more is none.
    pub(super) fn door_of(&self, name: &str) -> u16 {
        let at = self.doors.iter().position(|door| *door.name == *name);
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX)
    }

    pub(super) fn door_name(&self, listener: u16) -> Arc<str> {
        name_of(&self.doors, listener)
    }

    /// Whether the topic is closed to all clients: ours to speak of, and no bridge's that is not ours.
    fn is_reserved(&self, topic: &str) -> bool {
        is_reserved(topic) && bridge_of(topic).is_none_or(|name| self.names.iter().any(|own| **own == *name))
    }

    /// Whether somebody with these rights may publish to `topic`.
    pub(super) fn may_publish(&self, rights: &Rights, topic: &str) -> bool {
        !self.is_reserved(topic) && rights.may_publish(topic)
    }

    /// Whether the session's client may publish this. What answers its message acts for it, so that it must have the right to publish the answer,
    /// too (5.0, 4.10).
    pub(super) fn may_publish_now(&self, index: SessionIndex, route: &Route, properties: &Forwarded<'_>) -> bool {
        let Some(session) = self.sessions.get(index) else { return false };
        let fresh;
        let rights = if session.checked == self.access.generation {
            &session.rights
        } else {
            fresh = self.access.of(session, &self.doors);
            &fresh
        };
        let topic = route.topic.as_str();
        let may = rights.built_in(route.closed).unwrap_or_else(|| route.remembered(rights.id(), || rights.may_publish(topic)));
        may && !(route.closed && self.is_reserved(topic)) && (properties.is_empty() || self.may_be_answered(rights, properties))
    }

    fn may_be_answered(&self, rights: &Rights, properties: &Forwarded<'_>) -> bool {
        properties.response_topic().is_none_or(|topic| faults::active("any-answer") || self.may_publish(rights, topic))
    }

    /// Whether the client may leave this will, and whether it may be told that it may not: a bridge that may not say that it is there is let in all
    /// the same.
    pub(super) fn may_will(&self, identity: &Identity, topic: &Topic, properties: &Forwarded<'_>) -> Result<(), bool> {
        let may = self.may_ask(&self.rights_of(identity), topic.as_str(), properties);
        if may { Ok(()) } else { Err(bridge_of(topic.as_str()).is_none()) }
    }

    /// Whether a will may still be published.
    pub(super) fn may_still_will(&self, will: &StoredWill, of: &Identity) -> bool {
        let may = || self.may_ask(&self.rights_still(of), will.topic.as_str(), &Forwarded::from(&will.properties));
        faults::active("will-unasked") || may()
    }

    /// Whether this may be published, and answered.
    fn may_ask(&self, rights: &Rights, topic: &str, properties: &Forwarded<'_>) -> bool {
        self.may_publish(rights, topic) && self.may_be_answered(rights, properties)
    }

    /// Of who may be away by now: whose user is gone has none, whatever the lists still say of that name.
    fn rights_still(&self, identity: &Identity) -> Rc<Rights> {
        let rights = if self.is_gone(identity) { Rc::new(Rights::nothing()) } else { self.rights_of(identity) };
        self.access.spent.set(self.access.spent.get() + rights.weight() / RULES);
        rights
    }

    /// Whether the session's client may receive what is published to `topic`.
    pub(super) fn may_receive(&self, session: &Session, topic: &str) -> bool {
        self.access.may_receive(session, &self.doors, topic, crate::access::rights::is_closed(topic))
    }

    /// Whether a subscription to `filter` is granted to the session's client; a shared one is taken as what it is within.
    pub(super) fn may_subscribe(&self, session: &Session, filter: &str) -> bool {
        let within = Shared::parse(filter).ok().flatten().map_or(filter, |shared| shared.filter);
        self.access.of(session, &self.doors).may_subscribe(within)
    }

    /// The session's client as the source of a message that is kept.
    pub(super) fn source(&mut self, index: SessionIndex) -> Publisher {
        let Some(session) = self.sessions.get_mut(index) else { return Publisher::Unknown };
        let identity = session.source.take().unwrap_or_else(|| Arc::new(identity_of(session, &self.doors)));
        session.source = Some(Arc::clone(&identity));
        Publisher::Client(identity)
    }

    /// Whether who published a kept message might publish it now, and have it answered.
    pub(super) fn may_still_publish(&self, kept: &RetainedMessage) -> bool {
        let rights = match &kept.source {
            _ if faults::active("source-unasked") => return true,
            Publisher::Gateway => return true,
            Publisher::Unknown => self.access.grants.borrow().unknown(),
            Publisher::Client(identity) => {
                let (mut last, generation) = (self.access.source.borrow_mut(), self.access.generation);
                let known = last.as_ref().filter(|asked| Arc::ptr_eq(&asked.identity, identity) && asked.generation == generation);
                let rights = known.map_or_else(|| self.rights_still(identity), |asked| Rc::clone(&asked.rights));
                if known.is_none() {
                    *last = Some(Asked { identity: Arc::clone(identity), generation, rights: Rc::clone(&rights) });
                }
                rights
            }
        };
        let may_be_answered = || kept.properties.is_empty() || self.may_be_answered(&rights, &Forwarded::from(&kept.properties));
        rights.may_publish(kept.topic.as_str()) && may_be_answered()
    }

    /// A source that came from the store: many messages have the same.
    pub(super) fn known_source(&mut self, source: Publisher) -> Publisher {
        let Publisher::Client(identity) = source else { return source };
        let Access { sources, full_at, .. } = &mut self.access;
        if let Some(known) = sources.get(&identity) {
            return Publisher::Client(Arc::clone(known));
        }
        if sources.len() >= *full_at {
            sources.retain(|source| Arc::strong_count(source) > 1);
            *full_at = 1_024.max(2 * sources.len());
        }
        sources.insert(Arc::clone(&identity));
        Publisher::Client(identity)
    }

    /// What comes from an upstream acts with the rights of the user `upstream:NAME`.
    pub(super) fn upstream_rights(&self, upstream: u8) -> Rc<Rights> {
        self.access.grants.borrow_mut().upstream(self.name_of(upstream))
    }

    /// The site's lists were read anew: they hold from now on. Sessions are looked through in [`Broker::check_sessions`].
    pub(super) fn change_rights(&mut self, policy: &Policy) {
        // Its user may be gone.
        *self.access.source.get_mut() = None;
        if self.access.grants.get_mut().replace(lists(policy, &self.doors)) {
            self.access.generation += 1;
            self.subscriptions.rights_changed();
            self.begin_check();
        }
    }

    /// All sessions that were not looked through by the present lists are to be.
    pub(super) fn begin_check(&mut self) {
        self.access.at = Some(0);
        self.news = true;
    }

    /// A slice of looking through sessions. True if there is more.
    pub(super) fn check_sessions(&mut self) -> bool {
        let Some(mut at) = self.access.at else { return false };
        let mut done = 0;
        while at < self.sessions.capacity() {
            if done >= CHECKED_A_TURN {
                self.access.at = Some(at);
                return true;
            }
            done += self.check_session(at);
            at += 1;
        }
        self.access.at = None;
        self.access.covering = HashMap::new();
        false
    }

    /// What it cost.
    fn check_session(&mut self, index: SessionIndex) -> usize {
        let Some(session) = self.sessions.get(index).filter(|session| session.checked != self.access.generation) else { return 1 };
        let (conn, first) = (session.conn, session.checked == NEVER);
        let rights = self.access.of(session, &self.doors);
        let old = Rc::clone(&session.rights);
        let pair = (rights.id(), old.id());
        let mut compared = 0;
        let kept = *self.access.covering.entry(pair).or_insert_with(|| {
            compared = (rights.weight() + old.weight()) / RULES;
            rights.covers(&old)
        });
        if faults::active("keep-rights") {
            return 1;
        }
        self.set_rights(index, rights);
        let cost = compared + if kept && !first { 1 } else { self.filter_session(index) };
        match conn {
            Some(id) if !kept => {
                self.end(id, End::RightLost);
                cost + END
            }
            Some(id) => {
                // What was held back until now.
                self.send_unwritten(id, index);
                self.refill(id, self.now);
                cost
            }
            None => cost,
        }
    }

    /// These are the session's rights; it has been looked through, or is about to be.
    pub(super) fn set_rights(&mut self, index: SessionIndex, rights: Rc<Rights>) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let same = session.rights.id() == rights.id() && session.checked == self.access.generation;
        session.rights = rights;
        session.checked = self.access.generation;
        if !same && !session.filters.is_empty() {
            self.subscriptions.rights_changed();
        }
    }

    /// Takes from a session what its rights do not allow: subscriptions, and what waits for its client or is on the way to it. What it would have
    /// got as the member of a group goes to another one. What it cost.
    pub(super) fn filter_session(&mut self, index: SessionIndex) -> usize {
        let Some(session) = self.sessions.get(index) else { return 1 };
        let cost = 1 + session.filters.len() + session.queue.len() + session.inflight.len();
        if faults::active("resume-unasked") {
            return cost;
        }
        let rights = self.access.of(session, &self.doors);
        let lost = session.filters.iter().filter(|subscription| !self.may_subscribe(session, subscription.filter.as_str()));
        let lost: Vec<_> = lost.map(|subscription| subscription.filter.clone()).collect();
        let Some(session) = self.sessions.get_mut(index) else { return cost };
        let (durable, conn) = (session.durable, session.conn);
        let may = |topic: &Topic| rights.may_receive(topic.as_str());
        let sent = session.inflight.take_unless(&self.budget, |s| s.message.as_ref().is_none_or(|m| may(&m.topic)));
        let waiting = session.queue.take_unless(&self.budget, |w| may(&w.message.topic));
        // They stand in the same order.
        let mut next = lost.iter().peekable();
        session.filters.retain(|subscription| next.next_if(|filter| **filter == subscription.filter).is_none());
        lost.iter().for_each(|filter| session.replays.remove(filter));
        if !lost.is_empty() || !sent.is_empty() || !waiting.is_empty() {
            let client = Rc::clone(&session.client);
            self.say_filtered(&client, lost.len(), sent.len() + waiting.len());
        }
        for filter in lost {
            self.subscriptions.remove(&filter, index);
            if let Some(conn) = conn.and_then(|id| self.conns.get_mut(id)) {
                conn.replays.remove(&filter);
            }
            if let Some(session) = durable {
                let counter = self.change(StateChange::Unsubscribed { session, filter }, None);
                if let Some(session) = self.sessions.get_mut(index) {
                    session.removed = session.removed.max(counter);
                }
            }
        }
        self.pass_on(durable, sent, waiting);
        cost
    }

    /// What a session does not get any more: to others of its groups, as far as it came by one.
    fn pass_on(&mut self, durable: Option<SessionId>, sent: Vec<Sent>, waiting: Vec<Waiting>) {
        let done = |waiting: &Waiting| (waiting.entry, waiting.group);
        let entries: Vec<EntryId> = sent.iter().map(|sent| sent.entry).chain(waiting.iter().map(|w| done(w).0)).collect();
        let sent = sent.into_iter().filter(|sent| !sent.may_be_taken()).filter_map(waiting_again);
        for waiting in sent.chain(waiting) {
            if let Some(group) = waiting.group {
                let entry = if durable.is_some() { waiting.entry } else { EntryId::ZERO };
                self.hand_over(group, Waiting { entry, ..waiting });
            }
        }
        for entry in entries.into_iter().filter(|entry| *entry != EntryId::ZERO) {
            if let Some(session) = durable {
                self.done(session, entry, DoneHow::Acknowledged);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_says_itself_is_reserved_but_for_the_state_of_bridges() {
        for (topic, reserved, bridge) in [
            ("a/b", false, None),
            ("a/set", false, None),
            ("$SYS/x", true, None),
            ("$SYS", true, None),
            ("$share/g/x", true, None),
            ("$event/x", true, None),
            ("$other/x", false, None),
            ("$SYSTEM/x", false, None),
            ("$SYS/broker/connection/site/state", true, Some("site")),
            ("$SYS/broker/connection/a/b/state", true, None),
            ("$SYS/broker/connection//state", true, None),
        ] {
            assert_eq!((is_reserved(topic), bridge_of(topic)), (reserved, bridge), "{topic}");
        }
    }
}
