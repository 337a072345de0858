//! Model upstreams: what has arrived, and a bridge with a window and no memory over a kill.

use std::collections::BTreeSet;

use tidegate::model::{Entry, EntryId};

/// Unacknowledged entries of a bridge.
pub const WINDOW: usize = 20;

/// A receiver. What is sent to it has arrived, whether it says so or not.
#[derive(Default)]
pub struct Sink {
    pub away: bool,
    pub silent: bool,
    pub connections: u64,
    /// (File, id) in the order of their first arrival.
    pub first: Vec<(u64, EntryId)>,
    pub duplicates: u64,
    /// A life without a disk went before: order is no promise over it.
    pub unordered: bool,
    seen: BTreeSet<(u64, EntryId)>,
    messages: BTreeSet<usize>,
    broken_order: Option<(EntryId, EntryId)>,
}

impl Sink {
    pub fn receive(&mut self, key: (u64, EntryId), message: usize) {
        self.messages.insert(message);
        if !self.seen.insert(key) {
            self.duplicates += 1;
            return;
        }
        if let Some(last) = self.first.last().filter(|last| **last > key && !self.unordered) {
            self.broken_order.get_or_insert((last.1, key.1));
        }
        self.first.push(key);
    }

    pub fn has(&self, message: usize) -> bool {
        self.messages.contains(&message)
    }

    pub fn check_order(&self, name: &str) {
        assert_eq!(self.broken_order, None, "{name} got them in another order than that of their ids");
    }
}

#[derive(Default)]
pub struct Bridge {
    /// Of its connection: acknowledgements of an older one are not heard.
    pub generation: u64,
    pub in_flight: Vec<Entry>,
    pulling: bool,
}

impl Bridge {
    /// How many entries to ask for, if now is the time.
    pub fn wants(&mut self) -> Option<usize> {
        let room = WINDOW.saturating_sub(self.in_flight.len());
        (room > 0 && !std::mem::replace(&mut self.pulling, true)).then_some(room)
    }

    pub fn takes(&mut self, entries: &[Entry]) {
        assert!(self.pulling && !entries.is_empty() && self.in_flight.len() + entries.len() <= WINDOW, "a page answers a pull");
        let ids: Vec<EntryId> = self.in_flight.iter().chain(entries).map(|entry| entry.id).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "in id order, behind all before: {ids:?}");
        self.pulling = false;
        self.in_flight.extend_from_slice(entries);
    }

    /// Whether it was in flight.
    pub fn forget(&mut self, id: EntryId) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|entry| entry.id != id);
        self.in_flight.len() < before
    }
}
