//! Retained messages: the last of each topic is kept, and goes to new subscriptions.

use super::apply::Work;
use super::flow::SLOW_AT;
use super::id::{ConnId, SessionIndex};
use super::inflight::{Sent, Stage};
use super::letter::{self, Letter};
use super::limit::Who;
use super::output::Stored;
use super::retained::is_expired;
use super::session::Session;
use super::state::Broker;
use crate::model::{Due, DueState, Entry, EntryId, Publisher, QoS, RetainedMessage, SessionId, StateChange};

/// What a look at one retained topic costs of a turn, in deliveries. Measured: half a microsecond; ten clients with wildcards over 60,000 topics
/// held up others' pings for 670 ms when eight looks cost one.
const DELIVERIES_A_LOOK: usize = 4;

/// Topics that one slice of a flush writes.
const FLUSH: usize = 256;

/// First byte of a PUBLISH with RETAIN at QoS 0: it answers a new subscription [MQTT-3.3.1-8].
const RETAINED: u8 = 0x31;

/// What the store is to hear of a retained message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// Its entry says it.
    pub(super) by_entry: bool,
    /// That the topic's row goes.
    pub(super) gone: bool,
}

impl Broker {
    /// Keeps a message as its topic's last, or takes that away [MQTT-3.3.1-10]. `promised`: its publisher waits until the store has it.
    pub(super) fn retain(&mut self, letter: &mut Letter<'_>, promised: bool, source: &Publisher, publisher: Who) -> Told {
        if letter.is_empty() {
            let gone = self.retained.clear(letter.topic) && !promised;
            return Told { by_entry: promised, gone };
        }
        let body = letter.kept_body(&self.budget);
        let properties = bytes::Bytes::copy_from_slice(letter.properties);
        let (topic, qos, expires) = (letter.topic.clone(), letter.qos, letter.expires);
        let source = source.clone();
        let outcome = self.retained.set(RetainedMessage { topic, body, qos, properties, expires, source }, promised);
        if let Some(limit) = outcome.beyond {
            self.reached(limit, publisher);
        }
        Told { by_entry: promised && outcome.beyond.is_none(), gone: outcome.forget }
    }

    /// A slice of what brings the store up to date with readings and QoS 0, while that is going on; true if there is more that can be done now.
    /// It waits while much is unsecured: publishers come first.
    pub(super) fn flush_retained(&mut self) -> bool {
        if !self.retained.is_flushing() || self.owed.bytes() > self.limits.unsecured_max / 2 {
            return false;
        }
        let (changes, more) = self.retained.take_dirty(FLUSH, self.now.mono);
        for change in changes {
            self.put_change(change, false, 0, None);
        }
        more
    }

    /// A slice of the search for retained messages that have expired.
    pub(super) fn expire_retained(&mut self) {
        for topic in self.retained.expire(self.now.mono) {
            self.change(StateChange::RetainedGone(topic), None);
        }
    }

    /// Sends retained messages to new subscriptions. A long replay leaves half of the turn to the client's own packets.
    pub(super) fn replay(&mut self, id: ConnId, work: &mut Work) {
        let (all, mut share) = (work.half().deliveries, work.half());
        self.replay_within(id, &mut share);
        work.spend(all - share.deliveries);
    }

    /// Goes on while the budget, the connection's output and its window have room. What is left goes on when its output or window has room again,
    /// and after others' turns where it was the budget that ended.
    fn replay_within(&mut self, id: ConnId, work: &mut Work) {
        let now = self.now.mono;
        while !work.is_done() {
            let Some(conn) = self.conns.get(id) else { return };
            let Some((index, session)) = conn.session.and_then(|s| Some((s, self.sessions.get(s)?))) else { return };
            let Some(replay) = conn.replays.front() else { return };
            let Some(kept) = self.retained.next(&replay.subscription.filter, replay.after.as_ref()) else {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.replays.pop_front();
                }
                continue;
            };
            work.spend(DELIVERIES_A_LOOK);
            let retained = &kept.message;
            let topic = retained.topic.clone();
            // At QoS 0 it may not have come: its client was away, or slow.
            let qos = wanted_qos(retained, replay.subscription.options.qos, session);
            let came = kept.serial >= replay.until && qos != QoS::AtMostOnce;
            if is_expired(retained, now) {
                if self.retained.clear(&topic) {
                    self.change(StateChange::RetainedGone(topic.clone()), None);
                }
            } else if !came && replay.subscription.filter.matches(topic.as_str()) && self.may_replay(index, retained) {
                if conn.out.waiting() > SLOW_AT || self.budget.used() > self.limits.output_max || !session.queue.is_empty() {
                    return;
                }
                let identifier = replay.subscription.identifier;
                let retained = retained.clone();
                if !self.push_retained(id, &retained, qos, identifier) {
                    return;
                }
                work.spend(1);
            }
            work.spend(self.access.take_spent());
            if let Some(replay) = self.conns.get_mut(id).and_then(|conn| conn.replays.front_mut()) {
                replay.after = Some(topic);
            }
        }
        if self.wants_turn(id) {
            self.wakes.push(id);
        }
    }

    /// Whether its receiver may have it, and who published it might publish it now: a right that was taken from either ends what is retained by it.
    fn may_replay(&self, index: SessionIndex, retained: &RetainedMessage) -> bool {
        let topic = retained.topic.as_str();
        self.sessions.get(index).is_some_and(|session| self.may_receive(session, topic)) && self.may_still_publish(retained)
    }

    /// `identifier`: of the subscription. False when the window is full.
    fn push_retained(&mut self, id: ConnId, retained: &RetainedMessage, qos: QoS, identifier: Option<u32>) -> bool {
        let now = self.now.mono;
        let Some((conn, session)) = self.both_mut(id) else { return true };
        let (Some(index), durable) = (conn.session, session.durable) else { return true };
        let first = RETAINED | (qos as u8) << 1;
        let identifiers = identifier.map(|n| [n].into());
        let (topic, properties) = (retained.topic.clone(), retained.properties.clone());
        let body = letter::text(&retained.body);
        let length = body.len() as u64;
        if qos == QoS::AtMostOnce {
            let stored = Stored::new(topic, body, properties, retained.expires, &self.budget);
            let Some(conn) = self.conns.get_mut(id) else { return true };
            let fits = conn.push_message(&stored, first, None, identifiers.as_ref(), now);
            self.count_sent(fits, length);
            return true;
        }
        let room = durable.is_none() || self.owed.has_room(entry_cost(retained, body.len()));
        if !room && qos == QoS::ExactlyOnce {
            return false;
        }
        // At QoS 1 it need not wait for room in the store: it is in flight for as long as this process lives.
        let durable = durable.filter(|_| room);
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return true };
        let Some(packet_id) = session.inflight.take_id(self.limits.window(session)) else { return false };
        let stored = Stored::new(topic, body, properties, retained.expires, &self.budget);
        let mut sent = Sent {
            packet_id,
            stage: Stage::of(qos),
            first,
            written: false,
            wait: 0,
            entry: EntryId::ZERO,
            message: Some(stored),
            identifiers,
            group: None,
        };
        // At QoS 2 its packet id has to outlive a kill, so that it leaves when its row is committed.
        let waits = durable.is_some() && qos == QoS::ExactlyOnce;
        if !waits {
            if !conn.push_sent(&mut sent, now) {
                // Larger than the client takes.
                return true;
            }
            self.counters.delivered += 1;
            self.traffic.publish_bytes_sent += length;
        }
        let prompt = !waits && session.is_prompt(now);
        if session.inflight.is_empty() {
            session.heard = now;
        }
        if let Some(durable) = durable {
            let entry = Entry { accepted: now, accepted_wall: self.now.wall, ..entry_of(retained, durable, &sent, prompt) };
            sent.entry = self.owed.next_id();
            let counter = self.owed.give(entry, None);
            if waits {
                sent.wait = counter;
                self.gates.insert((counter, index, session.serial));
            }
        } else if session.is_brief() {
            sent.message = None;
            sent.identifiers = None;
        }
        session.inflight.push(sent, &self.budget);
        true
    }
}

/// At which QoS a session gets a retained message by a subscription.
fn wanted_qos(retained: &RetainedMessage, granted: QoS, session: &Session) -> QoS {
    if !session.is_brief() && super::sys::is_sys(retained.topic.as_str()) {
        // Never stored, so not promised either.
        return QoS::AtMostOnce;
    }
    granted.min(retained.qos)
}

/// What a session in the store is owed: this copy is an entry of its own.
fn entry_of(retained: &RetainedMessage, session: SessionId, sent: &Sent, prompt: bool) -> Entry {
    let (qos, state) = match sent.stage {
        Stage::AtLeastOnce => (QoS::AtLeastOnce, DueState::Queued),
        Stage::ExactlyOnce | Stage::Release => (QoS::ExactlyOnce, DueState::Sent(sent.packet_id)),
    };
    let identifiers = sent.identifiers.clone().unwrap_or_else(|| [].into());
    Entry {
        due: vec![Due { session, qos, retain: true, identifiers, state, prompt }],
        qos,
        retain: true,
        properties: retained.properties.clone(),
        expires: retained.expires,
        awaited: qos == QoS::ExactlyOnce,
        ..Entry::new(retained.topic.clone(), retained.body.clone())
    }
}

/// What that counts for, beside a body of so many bytes.
fn entry_cost(retained: &RetainedMessage, body: usize) -> usize {
    Entry::OVERHEAD + Entry::DUE + retained.topic.as_bytes().len() + retained.properties.len() + body
}
