//! The FIFO of acknowledgements of one connection (outbox.md 3): they leave in the order of the PUBLISHes, each when all that it stands for
//! is secured.

use std::collections::VecDeque;

use super::owed::Owed;
use crate::faults;
use crate::mqtt::encode::{self, Short};
use crate::mqtt::{Reason, Version, kind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckKind {
    PubAck,
    PubRec,
}

/// One acknowledgement that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) packet_id: u16,
    pub(super) kind: AckKind,
    pub(super) version: Version,
    pub(super) reason: Reason,
    /// Counters of the ids that it stands for; `first > last`: none.
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Ack {
    const fn encode(self) -> Short {
        let kind = match self.kind {
            AckKind::PubAck => kind::PUBACK,
            AckKind::PubRec => kind::PUBREC,
        };
        encode::acknowledgement(kind, self.version, self.packet_id, self.reason)
    }
}

/// Bounded by its caller: a connection with `receive_maximum` of them is not parsed.
#[derive(Debug, Default)]
pub(super) struct Acks(VecDeque<Ack>);

impl Acks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One more.
    pub(super) fn push(&mut self, ack: Ack) {
        self.0.push_back(ack);
    }

    /// Hands to `send` what may leave now.
    pub(super) fn release(&mut self, owed: &Owed, mut send: impl FnMut(Short)) {
        if faults::active("ack-at-once") {
            self.0.retain(|ack| {
                let secured = owed.is_secured(ack.first, ack.last);
                if secured {
                    send(ack.encode());
                }
                !secured
            });
            return;
        }
        while let Some(ack) = self.0.front()
            && owed.is_secured(ack.first, ack.last)
        {
            send(ack.encode());
            self.0.pop_front();
        }
        if self.0.is_empty() && self.0.capacity() > 64 {
            self.0 = VecDeque::new();
        }
    }
}

/// Answers that wait for a commit each by itself: SUBACK, UNSUBACK, PUBCOMP. Bounded by the input that is applied: a client has as many as it
/// sends packets within one commit.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<(u64, Vec<u8>)>);

impl Answers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// `packet` leaves when the id with this counter is secured, and after those before it.
    pub(super) fn push(&mut self, counter: u64, packet: Vec<u8>) {
        self.0.push_back((counter, packet));
    }

    pub(super) fn release(&mut self, owed: &Owed, mut send: impl FnMut(&[u8])) {
        while let Some((counter, packet)) = self.0.front()
            && owed.is_secured(*counter, *counter)
        {
            send(packet);
            self.0.pop_front();
        }
    }
}
