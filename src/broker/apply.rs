//! Bytes of a connection → packets → changes of state, as many as one turn's budget allows.

use std::time::Duration;

use super::conn::{Conn, Hold};
use super::end::End;
use super::id::ConnId;
use super::limit::{Limit, Who};
use super::state::Broker;
use crate::faults;
use crate::model::{Mono, Now};
use crate::mqtt::{Error, Frame, encode, kind, packet, split};

/// Deliveries of one turn. Measured: 64 KiB of 5-byte publishes to 1,000 subscribers hold the thread 110 ms without this limit.
const TURN_DELIVERIES: usize = 4_096;

/// Input of one turn in bytes.
const TURN_BYTES: usize = 64 << 10;

/// Largest CONNECT: fits the largest will topic and a password of some kilobytes, so that memory before CONNECT is small.
const CONNECT_MAX: usize = 80 << 10;

/// What is left of a turn. One packet is always applied.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) deliveries: usize,
    pub(super) bytes: usize,
}

impl Work {
    pub(super) fn turn() -> Self {
        if faults::active("no-budget") {
            return Self { deliveries: usize::MAX, bytes: usize::MAX };
        }
        Self { deliveries: TURN_DELIVERIES, bytes: TURN_BYTES }
    }

    pub(super) const fn half(&self) -> Self {
        Self { deliveries: self.deliveries / 2, bytes: self.bytes }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.deliveries == 0 || self.bytes == 0
    }

    pub(super) const fn spend(&mut self, deliveries: usize) {
        self.deliveries = self.deliveries.saturating_sub(deliveries);
    }
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// All whole packets are applied: more bytes are wanted.
    Hungry,
    /// The budget is spent: again, after the others.
    Again,
    /// The packet at the head cannot be applied now; the connection is woken when it may be tried again.
    Held,
    /// The connection ends.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    /// Bytes that are dealt with.
    pub(super) used: usize,
    pub(super) turn: Turn,
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    /// Applied, and its connection is to wait: it feeds a slow receiver.
    Pause(Mono),
    /// Not applied.
    Hold(Hold),
}

impl Broker {
    /// Applies packets from the front of `input`, which begins at a packet's first byte.
    pub(super) fn apply(&mut self, id: ConnId, input: &[u8], now: Now) -> Applied {
        self.now = now;
        let mut work = Work::turn();
        self.replay(id, &mut work);
        let mut used = 0;
        let turn = loop {
            let Some(conn) = self.conns.get(id).filter(|c| c.end.is_none()) else { break Turn::Ended };
            if conn.hold.is_some() {
                break Turn::Held;
            }
            if conn.has_too_many_waiting(self.limits.receive_maximum.into()) {
                self.reached(Limit::ReceiveMaximum, Who::Conn(id));
                self.hold(id, Hold::Acks);
                break Turn::Held;
            }
            if conn.is_unread(self.is_crowded()) {
                self.hold(id, Hold::Unread);
                break Turn::Held;
            }
            if work.is_done() {
                break Turn::Again;
            }
            let max = self.limits_at(conn.listener).packet_max;
            let max = if conn.connected { max } else { max.min(CONNECT_MAX) };
            let rest = input.get(used..).unwrap_or_default();
            let step = match first_byte(rest, conn).and_then(|()| split(rest, max)) {
                Ok(None) => break Turn::Hungry,
                Ok(Some(frame)) => self
                    .packet(id, &frame.with_user_properties(self.limits.user_properties_max), &mut work)
                    .map(|step| (step, frame.raw.len())),
                Err(error) => Err(error.into()),
            };
            match step {
                Ok((Step::Hold(hold), _)) => self.hold(id, hold),
                Ok((step, length)) => {
                    used += length;
                    self.traffic.packets_received += 1;
                    work.bytes = work.bytes.saturating_sub(length);
                    work.spend(1);
                    if let Step::Pause(until) = step {
                        self.pause(id, until);
                    }
                }
                Err(end) => self.end(id, end),
            }
        };
        // Part of a large packet is a sign of life, too: on a slow line it may take longer than the keep-alive.
        if let Some(conn) = self.conns.get_mut(id)
            && !input.is_empty()
        {
            conn.seen = now.mono;
        }
        self.mark_answered(id);
        self.traffic.bytes_received += used as u64;
        Applied { used, turn }
    }

    fn packet(&mut self, id: ConnId, frame: &Frame<'_>, work: &mut Work) -> Result<Step, End> {
        let version = self.conns.get(id).map(|c| c.version).unwrap_or_default();
        if frame.kind() == kind::CONNECT {
            // It may have to wait for us now: that is no fault of it.
            self.lobby.pending.leave(id);
        }
        if matches!(frame.kind(), kind::CONNECT | kind::SUBSCRIBE | kind::UNSUBSCRIBE) && self.owed.is_flooded() {
            return Ok(Step::Hold(Hold::Unsecured));
        }
        match frame.kind() {
            kind::PUBLISH => return self.publish(id, frame, work),
            kind::PUBACK => self.puback(id, packet::Ack::parse(frame, version)?.id),
            kind::PUBREC => {
                let ack = packet::Ack::parse(frame, version)?;
                self.pubrec(id, ack.id, ack.reason);
            }
            kind::PUBREL => self.pubrel(id, packet::Ack::parse(frame, version)?.id),
            kind::PUBCOMP => self.pubcomp(id, packet::Ack::parse(frame, version)?.id),
            kind::PINGREQ => {
                packet::empty(frame, version)?;
                self.send(id, &encode::PINGRESP);
            }
            kind::SUBSCRIBE => self.subscribe(id, packet::Subscribe::parse(frame, version)?, work)?,
            kind::UNSUBSCRIBE => self.unsubscribe(id, &packet::Unsubscribe::parse(frame, version)?, work)?,
            kind::DISCONNECT => return Err(self.disconnect(id, &packet::Disconnect::parse(frame, version)?)?),
            kind::AUTH => return self.authenticate(id, &packet::Auth::parse(frame, version)?),
            kind::CONNECT if self.conns.get(id).is_some_and(|c| !c.connected) => {
                let step = self.connect(id, frame)?;
                self.traffic.connections += u64::from(step == Step::Done);
                return Ok(step);
            }
            kind::CONNECT => return Err(Error::Protocol("a second CONNECT [MQTT-3.1.0-2]").into()),
            _ => return Err(Error::Protocol("a packet that only a server sends").into()),
        }
        Ok(Step::Done)
    }

    pub(super) fn send(&mut self, id: ConnId, packet: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.answer(packet);
        }
    }

    /// Keeps track of the longest turn of the thread.
    pub(super) fn took(&mut self, cpu: Duration) {
        let us = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        self.counters.longest_turn_us = self.counters.longest_turn_us.max(us);
    }
}

/// Whether the packet that begins here may come now. Asked before the packet is complete, so that a stranger cannot make us gather anything
/// but a CONNECT [MQTT-3.1.0-1], and where that wants to prove who it is, AUTH or DISCONNECT [MQTT-3.1.2-30].
fn first_byte(input: &[u8], conn: &Conn) -> Result<(), Error> {
    match input.first() {
        _ if conn.connected => Ok(()),
        Some(first) if conn.is_authenticating() => match first >> 4 {
            kind::AUTH | kind::DISCONNECT => Ok(()),
            _ => Err(Error::Protocol("a packet other than AUTH before CONNACK [MQTT-3.1.2-30]")),
        },
        // Its flags are CONNECT's to check: a client of 5.0 is told.
        Some(first) if *first >> 4 != kind::CONNECT => Err(Error::Protocol("the first packet is not CONNECT [MQTT-3.1.0-1]")),
        _ => Ok(()),
    }
}
