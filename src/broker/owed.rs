//! What was given to the outbox and is not secured yet: ids, bytes, and who waits for them (outbox.md 1, 3, 12).

use std::collections::{BTreeMap, VecDeque};

use super::id::ConnId;
use crate::model::{Change, DueDone, Entry, EntryId, IdRange, Put, Start, UpstreamSet};

/// Slots kept by place. Beyond it the oldest unsecured ones move to a tree, so that one id that waits for ever costs one node, not the
/// space of all that came after it.
const RECENT_MAX: usize = 8_192;

/// Most items of one `Put`.
const PUT_MAX: usize = 1_024;

/// Bytes that a change of state counts for beside what it carries.
const CHANGE_COST: usize = 256;

/// The ledger of the broker's side.
#[derive(Debug)]
pub(super) struct Owed {
    start: Option<Start>,
    /// Counter of the next id.
    next: u64,
    /// Slots of `base ..`, without a gap up to `next`.
    recent: VecDeque<Slot>,
    base: u64,
    old: BTreeMap<u64, Slot>,
    bytes: usize,
    max: usize,
    /// Above `max`, and not yet below ¾ of it.
    pressed: bool,
    pub(super) full: UpstreamSet,
    /// Not yet sent.
    pending: VecDeque<Put>,
    news: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Bytes that count; 0: secured.
    cost: u32,
    /// Whose acknowledgement waits for it.
    waits: Option<ConnId>,
}

impl Owed {
    /// `max` is `unsecured_max`.
    pub(super) const fn new(max: usize) -> Self {
        Self {
            start: None,
            next: 1,
            recent: VecDeque::new(),
            base: 1,
            old: BTreeMap::new(),
            bytes: 0,
            max,
            pressed: false,
            full: UpstreamSet::EMPTY,
            pending: VecDeque::new(),
            news: false,
        }
    }

    pub(super) const fn is_started(&self) -> bool {
        self.start.is_some()
    }

    /// Ids may be given from now on. A second start in one run would use ids twice and is ignored.
    pub(super) const fn begin(&mut self, start: Start) {
        if self.start.is_none() {
            self.start = Some(start);
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.bytes == 0 && self.pending.is_empty()
    }

    /// Whether an entry of `cost` bytes has room. Where nothing is held, one entry of any size has.
    pub(super) const fn has_room(&mut self, cost: usize) -> bool {
        if self.bytes > 0 && self.bytes + cost > self.max {
            self.pressed = true;
        }
        !self.pressed
    }

    /// Whether clients who have nothing to publish are to wait, too: the store does not keep up with what they change. Publishes alone never come
    /// so far.
    pub(super) const fn is_flooded(&mut self) -> bool {
        let flooded = self.bytes > 2 * self.max;
        self.pressed |= flooded;
        flooded
    }

    /// The id that comes next; [`EntryId::ZERO`] before the start.
    pub(super) const fn next_id(&self) -> EntryId {
        match self.start {
            Some(start) => EntryId::new(start.epoch, self.next),
            None => EntryId::ZERO,
        }
    }

    /// Gives `entry` its id and takes it; its counter. Callers ask for the start and for room first.
    pub(super) fn give(&mut self, mut entry: Entry, waits: Option<ConnId>) -> u64 {
        let cost = entry.cost();
        entry.id = self.next_id();
        self.pending.push_back(Put::Entry(entry));
        self.take(cost, waits)
    }

    /// As [`Owed::give`]; `held`: bytes that are kept elsewhere until it is secured.
    pub(super) fn change(&mut self, mut change: Change, held: usize, waits: Option<ConnId>) -> u64 {
        change.id = self.next_id();
        let size = change.what.size();
        self.pending.push_back(Put::Change(change));
        self.take(CHANGE_COST + size + held, waits)
    }

    pub(super) fn done(&mut self, done: DueDone) {
        self.pending.push_back(Put::Done(done));
        self.news = true;
    }

    fn take(&mut self, cost: usize, waits: Option<ConnId>) -> u64 {
        let counter = self.next;
        self.next += 1;
        self.bytes += cost;
        self.recent.push_back(Slot { cost: u32::try_from(cost).unwrap_or(u32::MAX), waits });
        self.news = true;
        self.keep_recent_short();
        counter
    }

    fn keep_recent_short(&mut self) {
        while let Some(slot) = self.recent.front()
            && (slot.cost == 0 || self.recent.len() > RECENT_MAX)
        {
            if slot.cost > 0 {
                self.old.insert(self.base, *slot);
            }
            self.recent.pop_front();
            self.base += 1;
        }
    }

    /// Takes what is to be sent, at most one `Put`'s worth, in id order.
    pub(super) fn take_pending(&mut self) -> Vec<Put> {
        let n = self.pending.len().min(PUT_MAX);
        self.pending.drain(..n).collect()
    }

    /// Whether entries have come since it was last asked.
    pub(super) const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.news, false)
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether nothing in `first ..= last` is unsecured. An empty range is secured.
    pub(super) fn is_secured(&self, first: u64, last: u64) -> bool {
        if first > last {
            return true;
        }
        let mut recent = first.max(self.base)..=last;
        let by_place = recent.all(|c| self.place(c).and_then(|i| self.recent.get(i)).is_none_or(|s| s.cost == 0));
        by_place && (first >= self.base || self.old.range(first..=last).next().is_none())
    }

    /// When what `counter` stands for is secured, `conn` is woken instead of who waited before, which is returned: that connection is over.
    pub(super) fn wake_instead(&mut self, counter: u64, conn: ConnId) -> Option<ConnId> {
        let place = self.place(counter);
        let slot = place.and_then(|at| self.recent.get_mut(at)).or_else(|| self.old.get_mut(&counter));
        slot.filter(|slot| slot.cost > 0)?.waits.replace(conn)
    }

    fn place(&self, counter: u64) -> Option<usize> {
        usize::try_from(counter.checked_sub(self.base)?).ok()
    }

    /// The counters of `range` that were given in this run, first and last.
    pub(super) fn counters(&self, range: IdRange) -> Option<(u64, u64)> {
        let start = self.start?;
        let first = range.first.max(EntryId::new(start.epoch, 1));
        let last = range.last.min(EntryId::new(start.epoch, self.next - 1));
        (first <= last).then_some((first.counter(), last.counter()))
    }

    /// The last of `n` counters from `first` on, those that are long secured not counted.
    pub(super) fn count_on(&self, first: u64, n: usize) -> u64 {
        first.max(self.base).saturating_add(n as u64).saturating_sub(1)
    }

    /// Takes note that `first ..= last` are secured; `woken` gets the connections that wait for them. True if room has come back.
    pub(super) fn secure(&mut self, first: u64, last: u64, woken: &mut Vec<ConnId>) -> bool {
        while let Some((&counter, _)) = self.old.range(first..=last).next() {
            if let Some(slot) = self.old.remove(&counter) {
                self.settle(slot, woken);
            }
        }
        for counter in first.max(self.base)..=last {
            let slot = self.place(counter).and_then(|i| self.recent.get_mut(i));
            if let Some(slot) = slot.map(|s| std::mem::replace(s, Slot { cost: 0, waits: None })) {
                self.settle(slot, woken);
            }
        }
        self.keep_recent_short();
        if self.pressed && self.bytes <= self.max / 4 * 3 {
            self.pressed = false;
            return true;
        }
        false
    }

    fn settle(&mut self, slot: Slot, woken: &mut Vec<ConnId>) {
        self.bytes = self.bytes.saturating_sub(slot.cost as usize);
        if let Some(conn) = slot.waits
            && woken.last() != Some(&conn)
        {
            woken.push(conn);
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.recent.len() + self.old.len()
    }
}
