//! QoS 2 in both directions (4.3.3): what a client sends stays known by its packet id until PUBREL, what it is sent until PUBCOMP.

use foldhash::{HashMap, HashMapExt};

use super::apply::Work;
use super::end::End;
use super::id::{ConnId, SessionIndex};
use super::inflight::{DUP, Stage};
use super::state::Broker;
use crate::faults;
use crate::model::{DoneHow, Due, DueState, EntryId, QoS, SessionId, StateChange};
use crate::mqtt::{Reason, encode, kind};

/// Packet ids of one client whose PUBREL has not come; one that has more is disconnected: it leaves QoS 2 unfinished. 5.0 bounds them by the
/// receive maximum on each connection, which is no part of the session (4.9).
pub(super) const RECEIVED_MAX: usize = 16_384;

/// Packet ids of all clients together, as for [`RECEIVED_MAX`]; a client that has few of them may have them nevertheless.
const RECEIVED_TOGETHER: usize = 131_072;

const RECEIVED_FEW: usize = 256;

/// Sessions that are asked how many ids they have in the time of one delivery.
const SESSIONS_A_DELIVERY: usize = 8;

/// The packet ids that a client has sent at QoS 2 and not released: that of the message's entry by each, 0: none.
#[derive(Debug, Default)]
pub(super) struct Received(Option<Box<HashMap<u16, u64>>>);

impl Received {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.len())
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn ids(&self) -> std::collections::BTreeSet<u16> {
        self.0.iter().flat_map(|ids| ids.keys().copied()).collect()
    }

    pub(super) fn get(&self, packet_id: u16) -> Option<u64> {
        if faults::active("forget-received") {
            return None;
        }
        self.0.as_ref()?.get(&packet_id).copied()
    }

    pub(super) fn insert(&mut self, packet_id: u16, counter: u64) {
        self.0.get_or_insert_with(|| Box::new(HashMap::new())).insert(packet_id, counter);
    }

    /// True if it was known.
    pub(super) fn remove(&mut self, packet_id: u16) -> bool {
        self.0.as_mut().is_some_and(|ids| ids.remove(&packet_id).is_some())
    }
}

impl Broker {
    /// PUBREL: the client will not send the message again, the id is free [MQTT-4.3.3-10].
    pub(super) fn pubrel(&mut self, id: ConnId, packet_id: u16) {
        let Some((conn, session)) = self.both_mut(id) else { return };
        let version = conn.version;
        let known = session.received.remove(packet_id);
        let reason = if known { Reason::Success } else { Reason::PacketIdNotFound };
        let packet = encode::acknowledgement(kind::PUBCOMP, version, packet_id, reason);
        let durable = session.durable.filter(|_| known);
        let counter = durable.map_or(0, |session| self.change(StateChange::Released { session, packet_id }, Some(id)));
        self.answer_removal(id, counter, packet.as_bytes());
    }

    /// PUBREC: the client has the message, or refuses it.
    pub(super) fn pubrec(&mut self, id: ConnId, packet_id: u16, reason: Reason) {
        let Some(index) = self.conns.get(id).and_then(|c| c.session) else { return };
        let now = self.now.mono;
        let version = self.conns.get(id).map(|c| c.version).unwrap_or_default();
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.heard = now;
        let sent = session.inflight.find(packet_id).map(|s| (s.stage, s.wait, s.entry));
        let (wait, entry) = match sent {
            Some((Stage::ExactlyOnce, 0, _)) if reason.is_error() => return self.finish(id, index, packet_id),
            Some((Stage::ExactlyOnce, 0, entry)) => {
                session.inflight.release(packet_id, &self.budget);
                (0, entry)
            }
            // Sent again: so is the answer.
            Some((Stage::Release, wait, _)) => (wait, EntryId::ZERO),
            // Not one that was sent at QoS 2: there is nothing to release, which a client of 3.x has no way to hear.
            _ => return self.send_pubrel(id, packet_id, if version.is_5() { Reason::PacketIdNotFound } else { Reason::Success }),
        };
        match self.sessions.get(index).and_then(|s| s.durable).filter(|_| entry != EntryId::ZERO) {
            Some(session) => {
                let counter = self.put_due(entry, due(session, QoS::ExactlyOnce, DueState::Released(packet_id)));
                self.wait_for(index, packet_id, counter);
            }
            None if wait == 0 => {
                self.send_pubrel(id, packet_id, Reason::Success);
                if let Some(sent) = self.sessions.get_mut(index).and_then(|s| s.inflight.find(packet_id)) {
                    sent.written = true;
                }
            }
            None => {}
        }
    }

    /// PUBCOMP: the client has released the packet id.
    pub(super) fn pubcomp(&mut self, id: ConnId, packet_id: u16) {
        let Some(index) = self.conns.get(id).and_then(|c| c.session) else { return };
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.heard = self.now.mono;
        if session.inflight.find(packet_id).is_some_and(|s| s.stage == Stage::Release && s.wait == 0) {
            self.finish(id, index, packet_id);
        }
    }

    /// PUBACK: the client has the message, or refuses it for good.
    pub(super) fn puback(&mut self, id: ConnId, packet_id: u16) {
        let now = self.now.mono;
        let Some((conn, session)) = self.both_mut(id) else { return };
        let Some(index) = conn.session else { return };
        session.heard = now;
        if session.inflight.find(packet_id).is_some_and(|s| s.stage == Stage::AtLeastOnce && s.wait == 0) {
            self.finish(id, index, packet_id);
        }
    }

    /// A message is done with: its place in the window is free.
    fn finish(&mut self, id: ConnId, index: SessionIndex, packet_id: u16) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(sent) = session.inflight.remove(packet_id, &self.budget) else { return };
        let more = !session.queue.is_empty();
        let held_back = session.inflight.held_back;
        if let Some(session) = session.durable.filter(|_| sent.entry != EntryId::ZERO) {
            self.done(session, sent.entry, DoneHow::Acknowledged);
        }
        if held_back {
            self.send_unwritten(id, index);
        }
        if self.conns.get(id).is_some_and(|conn| more || !conn.replays.is_empty() || conn.slow.is_slow()) {
            self.refill(id, now);
        }
    }

    fn send_pubrel(&mut self, id: ConnId, packet_id: u16, reason: Reason) {
        let version = self.conns.get(id).map(|c| c.version).unwrap_or_default();
        self.send(id, encode::acknowledgement(kind::PUBREL, version, packet_id, reason).as_bytes());
    }

    /// The next packet of this message leaves when `counter` is secured.
    pub(super) fn wait_for(&mut self, index: SessionIndex, packet_id: u16, counter: u64) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if let Some(sent) = session.inflight.find(packet_id) {
            sent.wait = counter;
            self.gates.insert((counter, index, session.serial));
        }
    }

    /// What `first ..= last` stand for is secured: packets that waited for it leave.
    pub(super) fn open_gates(&mut self, first: u64, last: u64) {
        let mut opened: Vec<(ConnId, SessionIndex)> = Vec::new();
        while let Some(&gate) = self.gates.range((first, 0, 0)..=(last, SessionIndex::MAX, u64::MAX)).next() {
            self.gates.remove(&gate);
            let (counter, index, serial) = gate;
            let Some(session) = self.sessions.get_mut(index).filter(|s| s.serial == serial) else { continue };
            let conn = session.conn;
            for sent in session.inflight.iter_mut().filter(|s| s.wait == counter) {
                sent.wait = 0;
            }
            opened.extend(conn.map(|id| (id, index)).filter(|pair| opened.last() != Some(pair)));
        }
        for (id, index) in opened {
            self.send_unwritten(id, index);
        }
    }

    /// Sends what waits for nothing and was not written on this connection, in order: PUBLISH, or PUBREL where PUBREC has come.
    pub(super) fn send_unwritten(&mut self, id: ConnId, index: SessionIndex) {
        let now = self.now.mono;
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        if session.checked != self.access.generation {
            return;
        }
        let (mut dropped, mut held_back) = (Vec::new(), false);
        // A client that came back may take fewer at a time than it did before [MQTT-3.3.4-9].
        let counts = session.inflight.iter().filter(|s| s.written || s.stage == Stage::Release).count();
        let mut room = usize::from(session.receive_maximum).saturating_sub(counts);
        for sent in session.inflight.iter_mut().filter(|s| s.wait == 0 && !s.written) {
            if sent.stage != Stage::Release && room == 0 {
                held_back = true;
                continue;
            }
            if sent.stage == Stage::Release {
                sent.written = true;
                conn.out.push(encode::acknowledgement(kind::PUBREL, conn.version, sent.packet_id, Reason::Success).as_bytes());
            } else if conn.push_sent(sent, now) {
                room -= 1;
                self.counters.delivered += 1;
                self.traffic.publish_bytes_sent += sent.message.as_ref().map_or(0, |message| message.body.len() as u64);
            } else {
                dropped.push(sent.packet_id);
            }
        }
        session.inflight.held_back = held_back;
        self.mark_dirty(id);
        for packet_id in dropped {
            self.finish(id, index, packet_id);
        }
    }

    /// Sends all that is in flight again, in order [MQTT-4.4.0-1] [MQTT-4.6.0-1].
    pub(super) fn resend(&mut self, id: ConnId, index: SessionIndex) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.heard = self.now.mono;
        for sent in session.inflight.iter_mut() {
            if sent.written && sent.stage != Stage::Release {
                sent.first |= DUP;
            }
            sent.written = false;
        }
        self.send_unwritten(id, index);
    }

    /// Whether one more QoS 2 PUBLISH may be taken from the client.
    pub(super) fn check_received(&self, index: SessionIndex, work: &mut Work) -> Result<(), End> {
        let held = self.sessions.get(index).map_or(0, |s| s.received.len());
        if held >= RECEIVED_FEW {
            work.spend(self.sessions.len() / SESSIONS_A_DELIVERY);
        }
        let all = || self.sessions.iter().map(|(_, session)| session.received.len()).sum::<usize>();
        if held >= RECEIVED_MAX || (held >= RECEIVED_FEW && all() >= RECEIVED_TOGETHER) { Err(End::ReceiveMaximum) } else { Ok(()) }
    }
}

/// The row of a QoS 2 message in this state; identifiers and RETAIN are those of its row.
pub(super) fn due(session: SessionId, qos: QoS, state: DueState) -> Due {
    Due { session, qos, retain: false, identifiers: [].into(), state, prompt: false }
}
