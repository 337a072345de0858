//! What one upstream is owed: what was handed to it, what waits in memory, and how far the rows on disk still have to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{EntryId, Mono, Now, Wall};

use super::commit::{Latency, Receiver, earliest};
use super::job::{Bit, Count, StoredQueue};

/// The queue of one upstream. Ids above `handed` are in `ready` (in memory), or on disk up to `disk_high`, or both.
/// Rows that are on disk only have no state here: a backlog of a million entries costs nothing.
#[derive(Debug)]
pub struct Queue {
    pub name: Arc<str>,
    pub bit: Bit,
    pub connected: bool,
    /// Entries that the bridge asks for and has not got yet.
    pub pull: Option<usize>,
    /// Everything owed up to here was handed over.
    pub handed: EntryId,
    /// The last row that is on disk only. Behind `handed`: none is.
    pub disk_high: EntryId,
    /// In memory and not handed over.
    pub ready: BTreeSet<EntryId>,
    pub in_flight: BTreeMap<EntryId, Flight>,
    /// Of those in memory or in flight: rows that are on disk.
    pub stored: BTreeSet<EntryId>,
    /// Refused for good; their rows are not committed yet. They are in flight, too.
    pub refused: BTreeSet<EntryId>,
    /// Entries owed, in memory and on disk. Below zero for moments while the start's survey is still counting.
    pub undone: i64,
    /// Bytes of the rows on disk that are not done.
    pub stored_bytes: i64,
    /// Bytes of what is in memory only.
    pub memory_bytes: usize,
    /// The cursor as it is on disk.
    pub cursor: EntryId,
    /// Up to here rows that became done are deleted.
    pub trimmed: EntryId,
    /// The last stored row that became done: behind `cursor` there is progress to store, behind `trimmed` a row to delete.
    pub done_high: EntryId,
    /// Stored rows that became done since the cursor was stored, and since when.
    pub progress: u64,
    pub progress_since: Option<Mono>,
    /// When what is first on disk was accepted.
    pub disk_oldest: Wall,
    pub full: bool,
    latency: Latency,
}

/// An entry that the bridge has.
#[derive(Debug, Clone, Copy)]
pub struct Flight {
    pub accepted: Mono,
    pub accepted_wall: Wall,
    pub cost: usize,
}

impl Queue {
    /// The queue as the start found it: `last` is the last row of the file.
    pub fn new(stored: StoredQueue, last: EntryId) -> Self {
        let StoredQueue { bit, name, cursor } = stored;
        Self {
            name,
            bit,
            connected: false,
            pull: None,
            handed: cursor,
            disk_high: last,
            ready: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            stored: BTreeSet::new(),
            refused: BTreeSet::new(),
            undone: 0,
            stored_bytes: 0,
            memory_bytes: 0,
            cursor,
            trimmed: cursor,
            done_high: EntryId::ZERO,
            progress: 0,
            progress_since: None,
            disk_oldest: Wall::default(),
            full: false,
            latency: Latency::default(),
        }
    }

    /// Whether rows have to be read before what is in memory is next.
    pub fn is_behind(&self) -> bool {
        self.disk_high > self.handed
    }

    /// Everything owed up to here is done. `last`: the last entry that was accepted at all.
    pub fn done_up_to(&self, last: EntryId) -> EntryId {
        let first = earliest(self.in_flight.keys().next().copied(), self.ready.first().copied());
        let first = if self.is_behind() { earliest(first, Some(self.handed.next())) } else { first };
        first.map_or(last, before).max(self.cursor)
    }

    pub fn receiver(&self, accepted: impl Fn(EntryId) -> Option<Mono>) -> Receiver {
        let on_disk = self.is_behind().then(|| self.handed.next());
        let waiting = self.ready.first().and_then(|&id| accepted(id));
        let flying = self.in_flight.values().next().map(|flight| flight.accepted);
        Receiver {
            connected: self.connected,
            p95: self.latency.p95(),
            stored: earliest(self.stored.first().copied(), on_disk),
            oldest: earliest(waiting, flying),
        }
    }

    pub fn note_acks(&mut self, took: &[Duration]) {
        self.latency.push(took);
    }

    /// A stored row became done.
    pub fn note_progress(&mut self, id: EntryId, cost: usize, now: Mono) {
        self.stored_bytes -= cost as i64;
        self.done_high = self.done_high.max(id);
        self.progress += 1;
        self.progress_since.get_or_insert(now);
    }

    /// An entry that was ready is now on disk only.
    pub fn leave_to_disk(&mut self, id: EntryId, accepted: Wall) {
        if self.ready.remove(&id) {
            self.stored.remove(&id);
            if !self.is_behind() {
                self.disk_oldest = accepted;
            }
            self.disk_high = self.disk_high.max(id);
        }
    }

    pub fn add_count(&mut self, count: &Count) {
        if self.stored_bytes <= 0 && count.entries > 0 {
            self.disk_oldest = count.oldest;
        }
        self.undone += count.entries as i64;
        self.stored_bytes += count.bytes as i64;
    }

    /// Age of the oldest entry that is not done, by the wall clock.
    pub fn oldest_age(&self, accepted: impl Fn(EntryId) -> Option<Wall>, now: Now) -> Option<Duration> {
        if self.undone <= 0 {
            return None;
        }
        let flying = self.in_flight.values().next().map(|flight| flight.accepted_wall);
        let waiting = self.ready.first().and_then(|&id| accepted(id));
        let on_disk = self.is_behind().then_some(self.disk_oldest);
        let oldest = earliest(earliest(flying, on_disk), waiting)?;
        Some(Duration::from_millis(u64::try_from(now.wall.0.saturating_sub(oldest.0)).unwrap_or(0)))
    }
}

/// The id before `id`.
pub fn before(id: EntryId) -> EntryId {
    EntryId::from_i64(id.as_i64() - 1)
}
