//! A message goes to its local receivers, each by what it asked for.

use std::rc::Rc;
use std::sync::Arc;

use super::conn::Conn;
use super::flow::{EASY_AT, SLOW_AT};
use super::id::{ConnId, SessionIndex};
use super::inflight::{Sent, Stage};
use super::letter::Letter;
use super::limit::{Limit, Who};
use super::output::{Envelope, Stored};
use super::queue::Waiting;
use super::session::Session;
use super::shared::{Choice, GroupId};
use super::state::Broker;
use super::subscriptions::{Receiver, Route};
use crate::model::{DoneHow, Due, DueDone, DueState, EntryId, Mono, QoS, SessionId};
use crate::mqtt::encode::Extra;

/// First byte of PUBLISH, without its flags.
const PUBLISH: u8 = 0x30;

/// One message on its way, beside its content.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The session that published it, for those who do not want their own.
    pub(super) publisher: Option<SessionIndex>,
    /// The id that it will have, if it is given one.
    pub(super) entry: EntryId,
    /// Its packet id has to be in the store before anybody gets it (outbox.md 4): sessions in the store have it put down, the others get it when
    /// that is committed.
    pub(super) gated: bool,
    /// The part of a gated message that was put off.
    pub(super) late: bool,
    /// Of that part: the counter of the packet id.
    pub(super) counter: u64,
    /// Nothing of it is ever stored: sessions in the store get it at QoS 0, while their clients are there.
    pub(super) volatile: bool,
    /// Sessions from this serial on have no part in it.
    pub(super) before: u64,
    /// A receiver is slow: until when its feeder is to wait.
    pub(super) pause: Option<Mono>,
    /// What the store is to keep of it for sessions.
    pub(super) due: Vec<Due>,
    /// What it has no more to keep, because room was needed; told after the message.
    pub(super) dones: Vec<DueDone>,
}

impl Delivery {
    pub(super) const fn of(publisher: Option<SessionIndex>) -> Self {
        Self {
            publisher,
            entry: EntryId::ZERO,
            gated: false,
            late: false,
            counter: 0,
            volatile: false,
            before: u64::MAX,
            pause: None,
            due: Vec::new(),
            dones: Vec::new(),
        }
    }

    /// Whether the store is to keep it for the session by a subscription of its own, or another group.
    pub(super) fn owes(&self, session: &Session) -> bool {
        self.due.iter().any(|due| Some(due.session) == session.durable)
    }
}

/// What one receiver is to get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portion<'a> {
    pub(super) session: SessionIndex,
    /// Granted by the subscription.
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Option<&'a Arc<[u32]>>,
    pub(super) group: Option<GroupId>,
}

/// One receiver's copy of a message.
#[derive(Debug, Clone)]
struct Parcel<'a> {
    portion: Portion<'a>,
    /// Of the delivery.
    qos: QoS,
    /// The session, if it outlives its connection and the store is to keep the message for it.
    stored_for: Option<SessionId>,
    /// [`EntryId::ZERO`]: the store does not keep it.
    entry: EntryId,
}

/// A gated message, for those who get it when its packet id is committed.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) route: Rc<Route>,
    pub(super) stored: Rc<Stored>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) publisher: Option<SessionIndex>,
    /// Sessions from this serial on began later.
    pub(super) before: u64,
    /// Of each group of shared subscriptions.
    pub(super) chosen: Vec<Choice>,
}

impl Broker {
    /// Whether anybody who outlives a connection is owed it: it then needs an id. Chooses who of each group gets it.
    pub(super) fn has_durable_receiver(&mut self, route: &Route, qos: QoS) -> bool {
        let chosen = !route.shared.is_empty() && self.choose_members(route, qos);
        if self.durable == 0 || qos == QoS::AtMostOnce {
            return false;
        }
        let durable = |sub: &Receiver| sub.all.qos != QoS::AtMostOnce && self.sessions.get(sub.session).is_some_and(|s| !s.is_brief());
        chosen || route.receivers.iter().any(durable)
    }

    pub(super) fn deliver(&mut self, route: &Route, letter: &mut Letter<'_>, delivery: &mut Delivery) {
        for sub in &route.receivers {
            let own = delivery.publisher == Some(sub.session);
            let Some(wish) = sub.wish(own) else { continue };
            let retain = wish.retain_as_published && letter.retain;
            let portion = Portion { session: sub.session, qos: wish.qos, retain, identifiers: wish.identifiers.as_ref(), group: None };
            self.deliver_to(portion, letter, delivery);
        }
        if !route.shared.is_empty() {
            self.deliver_shared(letter, delivery);
        }
    }

    /// One receiver's copy: written, queued, or dropped.
    pub(super) fn deliver_to(&mut self, portion: Portion<'_>, letter: &mut Letter<'_>, delivery: &mut Delivery) {
        let Some(session) = self.sessions.get(portion.session) else { return };
        if session.serial >= delivery.before {
            return;
        }
        // Its receivers were chosen before, by what their rights were then.
        if delivery.late && !self.may_receive(session, letter.topic.as_str()) {
            return;
        }
        let qos = portion.qos.min(letter.qos);
        let qos = if delivery.volatile && session.durable.is_some() { QoS::AtMostOnce } else { qos };
        // The store owes a session a message once (outbox.md 2). What comes to it by a shared subscription, too, is kept in memory alone, and
        // at QoS 1: a packet id of QoS 2 that is not in the store would be given again after a restart.
        let second = portion.group.is_some() && (delivery.owes(session) || delivery.late && session.durable.is_some());
        let qos = if second { qos.min(QoS::AtLeastOnce) } else { qos };
        let stored_for = session.durable.filter(|_| qos != QoS::AtMostOnce && !second);
        if delivery.gated && delivery.late == stored_for.is_some() {
            return;
        }
        // When the message came the session was in the store: it has it.
        if delivery.late && qos != QoS::AtMostOnce && session.ceased > delivery.counter {
            return;
        }
        let entry = if stored_for.is_some() { delivery.entry } else { EntryId::ZERO };
        let parcel = Parcel { portion, qos, stored_for, entry };
        let conn = session.conn;
        let keeps_up = conn.is_some_and(|id| self.keeps_up(id, delivery));
        if qos == QoS::AtMostOnce {
            return self.deliver_at_most_once(&parcel, conn.map(|id| (id, keeps_up)), letter, delivery);
        }
        if let Some(id) = conn.filter(|_| keeps_up)
            && self.send_now(id, &parcel, letter, delivery)
        {
            return;
        }
        if let Some(session) = stored_for {
            delivery.due.push(portion.due(session, qos, DueState::Queued, false));
        }
        self.enqueue(&parcel, letter, delivery);
        let (limits, now) = (self.queue_limits(), self.now.mono);
        let half_full = self.sessions.get(portion.session).is_some_and(|s| s.queue.is_half_full(limits));
        if let Some(conn) = conn.filter(|_| half_full).and_then(|id| self.conns.get_mut(id)) {
            delivery.pause = delivery.pause.max(conn.slow.press(now));
        }
    }

    /// Whether the connection may be written to; one that is slow slows its feeders first.
    fn keeps_up(&mut self, id: ConnId, delivery: &mut Delivery) -> bool {
        let now = self.now.mono;
        let over = self.budget.used() > self.limits.output_max;
        let Some(conn) = self.conns.get_mut(id) else { return false };
        if conn.out.waiting() <= SLOW_AT && (!over || conn.out.waiting() == 0) {
            return true;
        }
        let until = if over { self.slow.press(now) } else { conn.slow.press(now) };
        delivery.pause = delivery.pause.max(until);
        // While its feeders are held up, what each has sent before it is paused still goes in.
        until.is_some() && !over
    }

    fn deliver_at_most_once(
        &mut self,
        parcel: &Parcel<'_>,
        conn: Option<(ConnId, bool)>,
        letter: &mut Letter<'_>,
        delivery: &mut Delivery,
    ) {
        let now = self.now.mono;
        let first = PUBLISH | u8::from(parcel.portion.retain);
        match conn {
            Some((id, true)) => {
                let Some(conn) = self.conns.get_mut(id) else { return };
                if conn.push_letter(letter, first, None, parcel.portion.identifiers, now, &self.budget) {
                    self.note_delivery(id, letter);
                }
            }
            Some((id, false)) => {
                self.counters.dropped_qos0 += 1;
                if self.is_crowded() {
                    self.reached(Limit::OutputMax, Who::Conn(id));
                }
            }
            None if self.limits.queue_qos0 && !delivery.volatile => self.enqueue(parcel, letter, delivery),
            None => {}
        }
    }

    /// Puts a QoS 1 or 2 message in flight, written or waiting for its commit. False: it has to queue.
    fn send_now(&mut self, id: ConnId, parcel: &Parcel<'_>, letter: &mut Letter<'_>, delivery: &mut Delivery) -> bool {
        let now = self.now.mono;
        let Parcel { portion, qos, stored_for, entry } = *parcel;
        let over = self.budget.used() > self.limits.output_max;
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(portion.session)) else { return false };
        // What a session keeps to send again stays in memory until it is acknowledged, however fast its client reads.
        let keepable = session.is_brief() || !over || (session.inflight.is_empty() && letter.is_small());
        if !keepable || !session.queue.is_empty() {
            return false;
        }
        let Some(packet_id) = session.inflight.take_id(self.limits.window(session)) else { return false };
        let first = PUBLISH | (qos as u8) << 1 | u8::from(portion.retain);
        let wait = if stored_for.is_some() && (qos == QoS::ExactlyOnce || delivery.gated) { delivery.entry.counter() } else { 0 };
        // Larger than the client takes: as good as delivered (5.0, 3.1.2.11.4).
        if wait == 0 && !conn.push_letter(letter, first, Some(packet_id), portion.identifiers, now, &self.budget) {
            return true;
        }
        if let Some(stored_for) = stored_for {
            let state = if qos == QoS::ExactlyOnce { DueState::Sent(packet_id) } else { DueState::Queued };
            delivery.due.push(portion.due(stored_for, qos, state, wait == 0 && session.is_prompt(now)));
        }
        if session.inflight.is_empty() {
            session.heard = now;
        }
        // What one member of a group leaves unanswered goes to another.
        let keep = !session.is_brief() || wait > 0 || portion.group.is_some();
        let message = keep.then(|| letter.stored(&self.budget));
        let identifiers = portion.identifiers.filter(|_| keep).cloned();
        let (stage, written) = (Stage::of(qos), wait == 0);
        let sent = Sent { packet_id, stage, first, written, wait, entry, message, identifiers, group: portion.group };
        session.inflight.push(sent, &self.budget);
        if wait > 0 {
            self.gates.insert((wait, portion.session, session.serial));
        } else {
            self.note_delivery(id, letter);
        }
        true
    }

    /// `length`: bytes of the body.
    pub(super) fn count_sent(&mut self, sent: bool, length: u64) {
        self.counters.delivered += u64::from(sent);
        self.traffic.publish_bytes_sent += if sent { length } else { 0 };
    }

    fn note_delivery(&mut self, id: ConnId, letter: &mut Letter<'_>) {
        self.count_sent(true, letter.body_len() as u64);
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.mark(id);
        }
    }

    /// The message waits in its session's queue; what has to go for it is counted, and the store hears of it.
    fn enqueue(&mut self, parcel: &Parcel<'_>, letter: &mut Letter<'_>, delivery: &mut Delivery) {
        let Parcel { portion, qos, entry, .. } = *parcel;
        let limits = self.queue_limits();
        let Some(session) = self.sessions.get_mut(portion.session) else { return };
        let message = letter.stored(&self.budget);
        let identifiers = portion.identifiers.cloned();
        let gate = if delivery.gated && !delivery.late { delivery.entry.counter() } else { 0 };
        let waiting = Waiting { message, qos, retain: portion.retain, entry, identifiers, group: portion.group, gate };
        let mut dropped = std::mem::take(&mut self.dropped_entries);
        let beyond = session.queue.push(waiting, limits, &self.budget, &mut dropped);
        let durable = session.durable;
        self.counters.dropped_queue += dropped.len() as u64;
        for entry in dropped.drain(..).filter(|entry| *entry != EntryId::ZERO) {
            delivery.dones.extend(durable.map(|session| DueDone { session, entry, how: DoneHow::Overflow }));
        }
        self.dropped_entries = dropped;
        if let Some(limit) = beyond {
            self.reached(limit, Who::Session(portion.session));
        }
    }

    /// Moves what waits in the session's queue to its connection while window and output have room.
    pub(super) fn pump(&mut self, id: ConnId, index: SessionIndex) {
        let now = self.now.mono;
        loop {
            let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
            let window = self.limits.window(session);
            // What it holds by rights of before is looked through first.
            if conn.out.waiting() > EASY_AT || session.checked != self.access.generation {
                return;
            }
            let Some(front) = session.queue.front() else { return };
            let (qos, durable) = (front.qos, session.durable.filter(|_| front.entry != EntryId::ZERO));
            if front.message.is_expired(now) {
                let entry = front.entry;
                session.queue.pop(&self.budget);
                self.counters.expired += 1;
                if let Some(session) = durable {
                    self.done(session, entry, DoneHow::Expired);
                }
                continue;
            }
            let packet_id = if qos == QoS::AtMostOnce { 0 } else { session.inflight.take_id(window).unwrap_or(0) };
            if packet_id == 0 && qos != QoS::AtMostOnce {
                return;
            }
            let Some(waiting) = session.queue.pop(&self.budget) else { return };
            if session.inflight.is_empty() {
                session.heard = now;
            }
            self.send_waiting(id, index, packet_id, waiting);
        }
    }

    fn send_waiting(&mut self, id: ConnId, index: SessionIndex, packet_id: u16, waiting: Waiting) {
        let now = self.now.mono;
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        let Waiting { message, qos, retain, entry, identifiers, group, gate } = waiting;
        let length = message.body.len() as u64;
        let first = PUBLISH | (qos as u8) << 1 | u8::from(retain);
        if qos == QoS::AtMostOnce {
            let fits = conn.push_message(&message, first, None, identifiers.as_ref(), now);
            self.count_sent(fits, length);
            return;
        }
        let durable = session.durable.filter(|_| entry != EntryId::ZERO);
        let stage = Stage::of(qos);
        let mut sent = Sent { packet_id, stage, first, written: false, wait: 0, entry, message: Some(message), identifiers, group };
        match durable.filter(|_| qos == QoS::ExactlyOnce) {
            Some(durable) => {
                let identifiers = sent.identifiers.clone();
                let portion = Portion { session: index, qos, retain, identifiers: identifiers.as_ref(), group };
                session.inflight.push(sent, &self.budget);
                let counter = self.put_due(entry, portion.due(durable, qos, DueState::Sent(packet_id), false));
                self.wait_for(index, packet_id, counter);
            }
            None if !self.owed.is_secured(gate, gate) => {
                session.inflight.push(sent, &self.budget);
                self.wait_for(index, packet_id, gate);
            }
            None if conn.push_sent(&mut sent, now) => {
                if session.is_brief() && group.is_none() {
                    sent.message = None;
                    sent.identifiers = None;
                }
                session.inflight.push(sent, &self.budget);
                self.count_sent(true, length);
            }
            // Larger than the client takes.
            None => {
                if let Some(session) = durable {
                    self.done(session, entry, DoneHow::Acknowledged);
                }
            }
        }
    }

    /// The rest of gated messages whose packet ids are committed.
    pub(super) fn deliver_deferred(&mut self, first: u64, last: u64) {
        while let Some((&counter, _)) = self.deferred.range(first..=last).next() {
            let Some(deferred) = self.deferred.remove(&counter) else { return };
            let Deferred { route, stored, qos, retain, publisher, before, chosen } = deferred;
            self.chosen = chosen;
            let scratch = std::mem::take(&mut self.scratch);
            let mut letter = Letter::of_stored(&stored, qos, retain, scratch);
            let mut delivery = Delivery { gated: true, late: true, counter, before, ..Delivery::of(publisher) };
            self.deliver(&route, &mut letter, &mut delivery);
            self.scratch = letter.into_scratch();
            for done in delivery.dones {
                self.owed.done(done);
            }
            let feeder = publisher.and_then(|index| self.sessions.get(index)).filter(|session| session.serial < before);
            if let Some(until) = delivery.pause
                && let Some(id) = feeder.and_then(|session| session.conn)
                && self.hold_of(id).is_none()
            {
                self.pause(id, until);
            }
        }
    }
}

impl Portion<'_> {
    pub(super) fn due(&self, session: SessionId, qos: QoS, state: DueState, prompt: bool) -> Due {
        let identifiers = self.identifiers.cloned().unwrap_or_else(|| [].into());
        Due { session, qos, retain: self.retain, identifiers, state, prompt }
    }
}

impl Conn {
    /// Appends a message to the output. False: it is larger than the client takes.
    fn push_letter(
        &mut self,
        letter: &mut Letter<'_>,
        first: u8,
        id: Option<u16>,
        identifiers: Option<&Arc<[u32]>>,
        now: Mono,
        budget: &super::output::Budget,
    ) -> bool {
        let extra = self.extra(letter.expires, identifiers, now);
        let mut envelope = Envelope { version: self.version, first, id, extra, topic_known: false };
        if self.version.is_5() {
            if self.packet_max < u32::MAX && letter.packet_len(&envelope) + self.aliases_out.cost() > self.packet_max as usize {
                return false;
            }
            (envelope.extra.alias, envelope.topic_known) = self.aliases_out.alias(letter.topic);
        }
        letter.push_to(&mut self.out, &envelope, budget);
        true
    }

    /// As [`Conn::push_letter`], for a message that is kept.
    pub(super) fn push_message(
        &mut self,
        message: &Rc<Stored>,
        first: u8,
        id: Option<u16>,
        identifiers: Option<&Arc<[u32]>>,
        now: Mono,
    ) -> bool {
        let extra = self.extra(message.expires, identifiers, now);
        let mut envelope = Envelope { version: self.version, first, id, extra, topic_known: false };
        if self.version.is_5() {
            let length = envelope.packet_len(message.topic.as_bytes().len(), message.properties.len(), message.body.len());
            if length + self.aliases_out.cost() > self.packet_max as usize {
                return false;
            }
            (envelope.extra.alias, envelope.topic_known) = self.aliases_out.alias(&message.topic);
        }
        self.out.push_stored(message, &envelope);
        true
    }

    /// A message in flight is written, or written again. False: it is larger than the client takes, or there is nothing of it.
    pub(super) fn push_sent(&mut self, sent: &mut Sent, now: Mono) -> bool {
        let Some(message) = sent.message.clone() else { return false };
        sent.written = self.push_message(&message, sent.first, Some(sent.packet_id), sent.identifiers.as_ref(), now);
        sent.written
    }

    fn extra<'a>(&self, expires: Option<Mono>, identifiers: Option<&'a Arc<[u32]>>, now: Mono) -> Extra<'a> {
        if !self.version.is_5() {
            return Extra::default();
        }
        // What is left, in whole seconds begun.
        let left = |at: Mono| u32::try_from(at.since(now).as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
        Extra { expiry: expires.map(left), alias: None, identifiers: identifiers.map_or(&[], |ids| ids) }
    }
}
