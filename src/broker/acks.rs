//! The FIFO of acknowledgements of one connection (outbox.md 3): they leave in the order of the PUBLISHes, each when all that it stands for
//! is secured.

use std::collections::VecDeque;

use super::owed::Owed;
use crate::faults;
use crate::mqtt::encode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckKind {
    PubAck,
}

/// One acknowledgement that waits.
#[derive(Debug, Clone, Copy)]
struct Ack {
    packet_id: u16,
    kind: AckKind,
    /// Counters of the ids that it stands for; `first > last`: none.
    first: u64,
    last: u64,
}

impl Ack {
    const fn encode(self) -> [u8; 4] {
        match self.kind {
            AckKind::PubAck => encode::puback(self.packet_id),
        }
    }
}

/// Bounded by its caller: a connection with `receive_maximum` of them is not parsed.
#[derive(Debug, Default)]
pub(super) struct Acks(VecDeque<Ack>);

impl Acks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// An acknowledgement of what the ids `first ..= last` were given to (`None`: owed to nobody). What can leave at once goes to `send`.
    pub(super) fn push(&mut self, packet_id: u16, kind: AckKind, ids: Option<(u64, u64)>, owed: &Owed, send: impl FnMut([u8; 4])) {
        let (first, last) = ids.unwrap_or((1, 0));
        let ack = Ack { packet_id, kind, first, last };
        self.0.push_back(ack);
        self.release(owed, send);
    }

    /// Hands to `send` what may leave now.
    pub(super) fn release(&mut self, owed: &Owed, mut send: impl FnMut([u8; 4])) {
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
