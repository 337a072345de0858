//! Shared subscriptions (5.0, 4.8.2): the members of a group get a message in turn.
//!
//! A member is skipped while it is away, its window is full or it reads slowly, as long as another is not; where all are away, a member whose
//! session is in the store has it queued. What a member leaves unanswered when its session ends goes to another one, except what it may have
//! taken at QoS 2.

use foldhash::HashMap;

use super::deliver::{Delivery, Portion};
use super::flow::SLOW_AT;
use super::id::SessionIndex;
use super::inflight::{DUP, Sent, Stage};
use super::letter::Letter;
use super::limit::{Limit, Who};
use super::limits::Limits;
use super::queue::Waiting;
use super::session::Session;
use super::state::Broker;
use super::subscriptions::{Route, Sub};
use crate::access::rights::is_closed;
use crate::model::{DoneHow, DueState, Entry, EntryId, QoS, StateChange, TopicFilter};
use crate::mqtt::packet::Shared;

/// A group. Numbers rise and are not given again, so that a message which still names a group that is gone finds none.
pub(super) type GroupId = u32;

/// All groups, by number and by `$share/NAME/FILTER`.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<GroupId, Group>,
    by_name: HashMap<Box<str>, GroupId>,
    last: GroupId,
    members: usize,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    members: Vec<Sub>,
    /// Whose turn it is.
    next: usize,
}

/// What became of adding a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// The group is new.
    Founded(GroupId),
    Added,
    /// It was one already.
    Replaced,
}

/// What became of removing a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    No,
    Yes,
    /// It was the last one.
    Dissolved(GroupId),
}

/// Who gets a message of a group: chosen once, because what is asked of the outbox before depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    group: GroupId,
    /// Place among the members, and the member's subscription.
    place: usize,
    sub: Sub,
}

/// How well a member can take a message now; the first is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    Ready,
    /// Connected, but it would have to wait.
    Busy,
    /// Away, in the store.
    Away,
}

impl Groups {
    /// Members of all groups.
    pub(super) const fn members(&self) -> usize {
        self.members
    }

    #[cfg(any(test, feature = "fuzz"))]
    /// All members, each with its group's filter.
    pub(super) fn all(&self, all: &mut Vec<(String, SessionIndex)>) {
        for (name, id) in &self.by_name {
            let members = self.groups.get(id).map(|group| &group.members[..]).unwrap_or_default();
            all.extend(members.iter().map(|member| (name.to_string(), member.session)));
        }
    }

    /// The limit that one more member would be beyond.
    pub(super) fn limit_for(&self, filter: &TopicFilter, limits: &Limits) -> Option<Limit> {
        match self.by_name.get(filter.as_str()) {
            Some(id) => {
                let members = self.groups.get(id).map_or(0, |group| group.members.len());
                (members >= limits.shared_members_max).then_some(Limit::SharedMembersMax)
            }
            None => (self.groups.len() >= limits.shared_groups_max).then_some(Limit::SharedGroupsMax),
        }
    }

    pub(super) fn join(&mut self, filter: &TopicFilter, sub: Sub) -> Joined {
        let known = self.by_name.get(filter.as_str()).copied();
        let id = known.unwrap_or_else(|| {
            self.last = self.last.wrapping_add(1);
            self.by_name.insert(filter.as_str().into(), self.last);
            self.last
        });
        let members = &mut self.groups.entry(id).or_default().members;
        if let Some(old) = members.iter_mut().find(|member| member.session == sub.session) {
            *old = sub;
            return Joined::Replaced;
        }
        members.push(sub);
        self.members += 1;
        if known.is_some() { Joined::Added } else { Joined::Founded(id) }
    }

    pub(super) fn leave(&mut self, filter: &TopicFilter, session: SessionIndex) -> Left {
        let Some(&id) = self.by_name.get(filter.as_str()) else { return Left::No };
        let Some(group) = self.groups.get_mut(&id) else { return Left::No };
        let Some(place) = group.members.iter().position(|member| member.session == session) else { return Left::No };
        group.members.remove(place);
        self.members -= 1;
        // Whose turn it was keeps it.
        if place < group.next {
            group.next -= 1;
        }
        if !group.members.is_empty() {
            return Left::Yes;
        }
        self.groups.remove(&id);
        self.by_name.remove(filter.as_str());
        Left::Dissolved(id)
    }

    /// The group's members from the one whose turn it is.
    fn in_turn(&self, id: GroupId) -> impl Iterator<Item = (usize, &Sub)> {
        let (members, next) = self.groups.get(&id).map_or((&[][..], 0), |group| (&group.members, group.next));
        let (before, from) = members.split_at_checked(next).unwrap_or((&[], members));
        from.iter().chain(before).enumerate().map(move |(i, sub)| ((next + i) % members.len().max(1), sub))
    }

    /// The member at `place` has had its turn.
    fn took(&mut self, id: GroupId, place: usize) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.next = (place + 1) % group.members.len().max(1);
        }
    }

    /// The group's number.
    pub(super) fn find(&self, filter: &TopicFilter) -> Option<GroupId> {
        self.by_name.get(filter.as_str()).copied()
    }
}

impl Broker {
    /// Chooses a member of each group that the topic has; true if one of them outlives its connection, so that the message needs an id.
    pub(super) fn choose_members(&mut self, route: &Route, qos: QoS) -> bool {
        let mut chosen = std::mem::take(&mut self.chosen);
        chosen.clear();
        chosen.extend(route.shared.iter().filter_map(|id| self.choose(*id, route.topic.as_str(), qos, u64::MAX)));
        let any = chosen.iter().any(|choice| self.is_kept_for(choice, qos));
        self.chosen = chosen;
        any
    }

    /// The member who is to get a message at `qos`: one that may receive it. `before`: only sessions that began before this serial.
    fn choose(&self, group: GroupId, topic: &str, qos: QoS, before: u64) -> Option<Choice> {
        let mut best: Option<(Readiness, Choice)> = None;
        let closed = is_closed(topic);
        for (place, sub) in self.subscriptions.groups.in_turn(group) {
            let Some(session) = self.sessions.get(sub.session).filter(|session| session.serial < before) else { continue };
            let Some(readiness) = self.readiness(session, qos.min(sub.qos)) else { continue };
            if best.as_ref().is_some_and(|(than, _)| readiness >= *than) || !self.access.may_receive(session, &self.doors, topic, closed) {
                continue;
            }
            best = Some((readiness, Choice { group, place, sub: *sub }));
            if readiness == Readiness::Ready {
                break;
            }
        }
        best.map(|(_, choice)| choice)
    }

    /// At the `qos` that it would get.
    fn readiness(&self, session: &Session, qos: QoS) -> Option<Readiness> {
        let Some(conn) = session.conn.and_then(|id| self.conns.get(id)) else {
            let queues = !session.is_brief() && (qos != QoS::AtMostOnce || self.limits.queue_qos0);
            return queues.then_some(Readiness::Away);
        };
        let room = qos == QoS::AtMostOnce || (session.queue.is_empty() && session.inflight.has_room(self.limits.window(session)));
        Some(if room && conn.out.waiting() <= SLOW_AT { Readiness::Ready } else { Readiness::Busy })
    }

    /// The chosen member of each group gets the message.
    pub(super) fn deliver_shared(&mut self, letter: &mut Letter<'_>, delivery: &mut Delivery) {
        let mut chosen = std::mem::take(&mut self.chosen);
        // Who gets it when its packet id is committed.
        let mut later = Vec::new();
        for &choice @ Choice { group, place, sub } in &chosen {
            let retain = sub.retain_as_published && letter.retain;
            let identifiers = sub.identifier.map(|n| [n].into());
            let there = self.sessions.get(sub.session).is_some_and(|s| s.serial < delivery.before);
            if delivery.late && !there {
                // It has gone since it was chosen.
                let (qos, message) = (letter.qos, letter.stored(&self.budget));
                let (retain, entry) = (letter.retain, EntryId::ZERO);
                let waiting = Waiting { message, qos, retain, entry, identifiers, group: Some(group), gate: 0 };
                self.hand_over(group, waiting);
                continue;
            }
            if !delivery.late {
                self.subscriptions.groups.took(group, place);
            }
            let portion = Portion { session: sub.session, qos: sub.qos, retain, identifiers: identifiers.as_ref(), group: Some(group) };
            if delivery.gated
                && (!self.is_kept_for(&choice, letter.qos) || self.sessions.get(sub.session).is_some_and(|s| delivery.owes(s)))
            {
                later.push(choice);
            }
            self.deliver_to(portion, letter, delivery);
        }
        if delivery.gated {
            chosen = later;
        }
        self.chosen = chosen;
    }

    /// Whether the store keeps a message at `qos` for the member.
    fn is_kept_for(&self, choice: &Choice, qos: QoS) -> bool {
        choice.sub.qos.min(qos) != QoS::AtMostOnce && self.sessions.get(choice.sub.session).is_some_and(|s| !s.is_brief())
    }

    /// Which of the session's groups a topic comes by, if it comes by no other subscription: what was queued before a restart is known by its
    /// session only.
    pub(super) fn group_of(&self, index: SessionIndex, topic: &str) -> Option<GroupId> {
        let filters = &self.sessions.get(index)?.filters;
        if !filters.iter().any(|subscription| subscription.filter.as_str().starts_with("$share/")) {
            return None;
        }
        let mut group = None;
        for subscription in filters {
            match Shared::parse(subscription.filter.as_str()) {
                Ok(Some(shared)) if TopicFilter::new(shared.filter).is_ok_and(|filter| filter.matches(topic)) => {
                    group = self.subscriptions.groups.find(&subscription.filter);
                }
                Ok(None) if subscription.filter.matches(topic) => return None,
                _ => {}
            }
        }
        group
    }

    /// The session is about to be removed: it leaves its groups, and what it had of them goes to other members. Bounded by its window and queue.
    pub(super) fn leave_groups(&mut self, index: SessionIndex) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let durable = session.durable;
        let unanswered = session.inflight.take_unless(&self.budget, |sent| sent.group.is_none() || sent.may_be_taken());
        let queued = session.queue.take_unless(&self.budget, |waiting| waiting.group.is_none());
        let shared = session.filters.iter().map(|s| &s.filter).filter(|f| f.as_str().starts_with("$share/"));
        for filter in shared {
            self.subscriptions.remove(filter, index);
        }
        for waiting in unanswered.into_iter().filter_map(waiting_again).chain(queued) {
            let (Some(group), entry) = (waiting.group, waiting.entry) else { continue };
            let kept = durable.filter(|_| entry != EntryId::ZERO);
            let waiting = Waiting { entry: kept.map_or(EntryId::ZERO, |_| entry), ..waiting };
            self.hand_over(group, waiting);
            if let Some(session) = kept {
                self.done(session, entry, DoneHow::Acknowledged);
            }
        }
    }

    /// A message of a group goes to the member who can take it best; nobody there: it is dropped. Where the store has it, it has it for the new
    /// member before the old one's row goes.
    pub(super) fn hand_over(&mut self, group: GroupId, waiting: Waiting) {
        let now = self.now;
        if waiting.message.is_expired(now.mono) {
            self.counters.expired += 1;
            return;
        }
        let Some(Choice { place, sub, .. }) = self.choose(group, waiting.message.topic.as_str(), waiting.qos, u64::MAX) else { return };
        self.subscriptions.groups.took(group, place);
        let (index, qos) = (sub.session, sub.qos.min(waiting.qos));
        let retain = waiting.retain && sub.retain_as_published;
        let identifiers = sub.identifier.map(|n| [n].into());
        let limits = self.queue_limits();
        let Some(heir) = self.sessions.get(index) else { return };
        let durable = heir.durable;
        // The store owes a session a message once: as for a copy that comes to it twice at once.
        let second = durable.is_some() && heir.has_entry(waiting.entry);
        let qos = if second { qos.min(QoS::AtLeastOnce) } else { qos };
        let entry = match durable.filter(|_| qos != QoS::AtMostOnce && !second) {
            Some(session) => {
                let portion = Portion { session: index, qos, retain, identifiers: identifiers.as_ref(), group: Some(group) };
                let due = portion.due(session, qos, DueState::Queued, false);
                if waiting.entry == EntryId::ZERO {
                    let id = self.owed.next_id();
                    self.owed.give(self.entry_for(&waiting, due), None);
                    id
                } else {
                    self.change(StateChange::Due { entry: waiting.entry, due }, None);
                    waiting.entry
                }
            }
            None => EntryId::ZERO,
        };
        let Some(session) = self.sessions.get_mut(index) else { return };
        let mut dropped = std::mem::take(&mut self.dropped_entries);
        let beyond = session.queue.push(Waiting { qos, retain, identifiers, entry, ..waiting }, limits, &self.budget, &mut dropped);
        let conn = session.conn;
        self.counters.dropped_queue += dropped.len() as u64;
        for entry in dropped.drain(..).filter(|entry| *entry != EntryId::ZERO) {
            if let Some(session) = durable {
                self.done(session, entry, DoneHow::Overflow);
            }
        }
        self.dropped_entries = dropped;
        if let Some(limit) = beyond {
            self.reached(limit, Who::Session(index));
        }
        if let Some(id) = conn {
            self.refill(id, now);
        }
    }

    /// A message that the store does not have yet.
    fn entry_for(&self, waiting: &Waiting, due: crate::model::Due) -> Entry {
        let message = &waiting.message;
        Entry {
            due: vec![due],
            qos: waiting.qos,
            retain: waiting.retain,
            properties: message.properties.clone(),
            expires: message.expires,
            accepted: self.now.mono,
            accepted_wall: self.now.wall,
            ..Entry::new(message.topic.clone(), crate::model::Body::raw(message.body.clone()))
        }
    }
}

impl Sent {
    /// What was sent at QoS 2 may have been taken: it is finished with this client only (5.0, 4.8.2).
    pub(super) fn may_be_taken(&self) -> bool {
        match self.stage {
            Stage::AtLeastOnce => false,
            Stage::ExactlyOnce => self.written || self.first & DUP != 0,
            Stage::Release => true,
        }
    }
}

/// A message that was on its way, to be sent to somebody else.
pub(super) fn waiting_again(sent: Sent) -> Option<Waiting> {
    let retain = sent.first & 1 != 0;
    let qos = if sent.stage == Stage::AtLeastOnce { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    Some(Waiting { message: sent.message?, qos, retain, entry: sent.entry, identifiers: None, group: sent.group, gate: sent.wait })
}
