//! What is on its way to one client at QoS 1 and 2, in the order in which it was first sent (4.3.2, 4.3.3, 4.4).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::output::{Budget, RECEIVER_OVERHEAD, Stored};
use super::shared::GroupId;
use crate::faults;
use crate::model::{EntryId, QoS};

/// The bit of a PUBLISH that is sent again.
pub(super) const DUP: u8 = 8;

/// What may be in flight to one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) messages: u16,
    /// Of what is kept to be sent again; a single message always fits.
    pub(super) bytes: usize,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// QoS 1: PUBACK is awaited.
    AtLeastOnce,
    /// QoS 2: PUBREC is awaited.
    ExactlyOnce,
    /// QoS 2: PUBREC has come, PUBCOMP is awaited.
    Release,
}

impl Stage {
    pub(super) const fn of(qos: QoS) -> Self {
        if matches!(qos, QoS::ExactlyOnce) { Self::ExactlyOnce } else { Self::AtLeastOnce }
    }
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) packet_id: u16,
    pub(super) stage: Stage,
    /// First byte of its PUBLISH; DUP is set when it has to be sent again.
    pub(super) first: u8,
    /// What its stage wants was written on the present connection.
    pub(super) written: bool,
    /// Counter of what has to be secured before its next packet leaves; 0: nothing.
    pub(super) wait: u64,
    /// What the store is to be told of; [`EntryId::ZERO`]: nothing.
    pub(super) entry: EntryId,
    /// `None` where the session ends with its connection, or PUBREC has come: it is never sent again.
    pub(super) message: Option<Rc<Stored>>,
    pub(super) identifiers: Option<Arc<[u32]>>,
    /// The shared subscription by which it came.
    pub(super) group: Option<GroupId>,
}

#[derive(Debug, Default)]
pub(super) struct Inflight {
    last_id: u16,
    sent: VecDeque<Sent>,
    /// Of the messages that are kept to be sent again.
    bytes: usize,
    /// Some were not sent again yet, because the client takes fewer at a time than it did.
    pub(super) held_back: bool,
    /// Ids from before a restart are among them, which need not stand in turn.
    restored: bool,
}

impl Inflight {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sent> {
        self.sent.iter_mut()
    }

    /// Whether one more message may be in flight.
    pub(super) fn has_room(&self, window: Window) -> bool {
        self.sent.len() < usize::from(window.messages) && self.bytes < window.bytes.max(1)
    }

    /// A packet id for one more message, `None` while the window is full: the next that is free after the last that was given.
    pub(super) fn take_id(&mut self, window: Window) -> Option<u16> {
        if !self.has_room(window) {
            return None;
        }
        let mut id = self.last_id.checked_add(1).unwrap_or(1);
        while self.restored && self.sent.iter().any(|s| s.packet_id == id) {
            id = id.checked_add(1).unwrap_or(1);
        }
        if faults::active("dup-id") {
            id = self.sent.front().map_or(id, |sent| sent.packet_id);
            return Some(id);
        }
        // Ids are given in turn, so those in flight stand in turn, too: whoever has the next one is the oldest, and so on.
        for sent in &self.sent {
            if sent.packet_id != id {
                break;
            }
            id = id.checked_add(1).unwrap_or(1);
        }
        self.last_id = id;
        Some(id)
    }

    /// The message with the id that was just taken is on its way.
    pub(super) fn push(&mut self, sent: Sent, budget: &Budget) {
        if let Some(message) = &sent.message {
            budget.add(RECEIVER_OVERHEAD);
            self.bytes += message.len();
        }
        self.sent.push_back(sent);
    }

    /// One that was on its way before the restart; ids go on behind it.
    pub(super) fn restore(&mut self, sent: Sent, budget: &Budget) {
        self.last_id = sent.packet_id;
        self.restored = true;
        self.push(sent, budget);
    }

    pub(super) fn find(&mut self, packet_id: u16) -> Option<&mut Sent> {
        let at = self.position(packet_id)?;
        self.sent.get_mut(at)
    }

    /// Takes it out: it is done, or was never ours.
    pub(super) fn remove(&mut self, packet_id: u16, budget: &Budget) -> Option<Sent> {
        let at = self.position(packet_id)?;
        let sent = self.sent.remove(at)?;
        self.forget(sent.message.as_ref(), budget);
        self.restored &= !self.sent.is_empty();
        if self.sent.is_empty() && self.sent.capacity() > 64 {
            self.sent = VecDeque::new();
        }
        Some(sent)
    }

    /// The client has the message of `packet_id` and says so: what is left of it is the id.
    pub(super) fn release(&mut self, packet_id: u16, budget: &Budget) {
        let Some(sent) = self.find(packet_id) else { return };
        sent.stage = Stage::Release;
        sent.written = false;
        let message = sent.message.take();
        self.forget(message.as_ref(), budget);
    }

    /// By halves, since ids stand in turn: with a thousand in flight at QoS 2, PUBREC after PUBREC would look past all before it. Those from before
    /// a restart, and what was sent behind one that a whole round of ids has overtaken, may stand elsewhere.
    fn position(&self, packet_id: u16) -> Option<usize> {
        let first = self.sent.front()?.packet_id;
        if first == packet_id {
            return Some(0);
        }
        let turn = |id: u16| id.wrapping_sub(first);
        let found = self.sent.binary_search_by_key(&turn(packet_id), |s| turn(s.packet_id)).ok();
        found.or_else(|| self.sent.iter().position(|s| s.packet_id == packet_id))
    }

    fn forget(&mut self, message: Option<&Rc<Stored>>, budget: &Budget) {
        if let Some(message) = message {
            budget.sub(RECEIVER_OVERHEAD);
            self.bytes -= message.len();
        }
    }

    /// Takes out what `keep` does not want.
    pub(super) fn take_unless(&mut self, budget: &Budget, keep: impl Fn(&Sent) -> bool) -> Vec<Sent> {
        let (kept, taken): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sent).into_iter().partition(keep);
        self.sent = kept.into();
        for sent in &taken {
            self.forget(sent.message.as_ref(), budget);
        }
        taken
    }

    pub(super) fn clear(&mut self, budget: &Budget) {
        self.take_unless(budget, |_| false);
    }

    #[cfg(test)]
    pub(super) fn newest(&self) -> Option<u16> {
        self.sent.back().map(|s| s.packet_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_by_its_id_wherever_it_stands() {
        for ids in [vec![1, 2, 3, 4, 5], vec![65_533, 65_535, 1, 2, 9], vec![5, 7, 8, 900, 6], vec![40, 3, 17, 2, 1], vec![8]] {
            let mut inflight = Inflight::default();
            let budget = Budget::default();
            for packet_id in &ids {
                let (stage, packet_id) = (Stage::AtLeastOnce, *packet_id);
                let (first, written, wait, entry) = (0x32, true, 0, EntryId::ZERO);
                let sent = Sent { packet_id, stage, first, written, wait, entry, message: None, identifiers: None, group: None };
                inflight.push(sent, &budget);
            }
            for id in 1..=u16::MAX {
                assert_eq!(inflight.find(id).map(|s| s.packet_id), ids.contains(&id).then_some(id), "{id} of {ids:?}");
            }
        }
    }
}
