//! What waits where: the state of the outbox, and every decision of it but the commit rule. Pure: events in, effects out.
//!
//! An entry is in memory from its `Put` until it is done for all or its row is committed; it is handed over before it is stored
//! (outbox.md 5). Of rows that are on disk only, nothing is kept here but how far each queue has read.

mod disk;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::faults;
use crate::model::status::StoreState;
use crate::model::{BridgeToOutbox, Entry, EntryId, IdRange, Mono, Now, Outcome, Page, Put, Settled, Start, UpstreamId, UpstreamSet, Wall};

use super::commit::{Rule, Waiting, earliest};
use super::job::{Bit, DeadLetter, Job, Opened, Report, StoredQueue, Usage};
use super::queue::{Flight, Queue};
use super::{Options, commit};

/// Bytes of one page to a bridge; one entry passes, however large.
pub const PAGE_BYTES: usize = 256 << 10;
/// Bytes of stored entries that stay in memory for prompt queues that are about to take them; more are read back from disk.
pub const CACHE_BYTES: usize = 1 << 20;

/// What happens to the ledger.
#[derive(Debug)]
pub enum Event {
    /// From the broker, in id order.
    Put(Vec<Put>),
    Bridge(BridgeToOutbox),
    Store(Report),
    /// Commit at once from now on.
    Drain,
    /// Nothing more comes: write what is left, then close.
    Finish,
}

/// What the ledger wants done, once a turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be told to the broker first of all.
    pub started: Option<Start>,
    pub secured: Vec<IdRange>,
    /// The set has changed.
    pub full: Option<UpstreamSet>,
    pub pages: Vec<(UpstreamId, Page)>,
    /// For the store, which has none now.
    pub job: Option<Job>,
    /// When to take another turn, if nothing happens before.
    pub wake: Option<Mono>,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    options: Options,
    queues: Vec<Queue>,
    gone: Vec<Gone>,
    held: BTreeMap<EntryId, Held>,
    waiting: Waiting,
    /// Accepted, and not secured.
    unsecured: BTreeSet<EntryId>,
    /// Became secured since the last turn.
    secured: Vec<EntryId>,
    refusals: Vec<Refusal>,
    /// Pages that were read since the last turn.
    read_pages: Vec<(UpstreamId, Page)>,
    rule: Rule,
    /// The last entry that was accepted, in this run or before.
    last: EntryId,
    cached_bytes: usize,
    started: Option<Start>,
    /// For the receivers: an entry's id is whole only with the nonce of its start.
    starts: Arc<[Start]>,
    announce: bool,
    draining: bool,
    finishing: bool,
    disk: disk::Disk,
    told_full: UpstreamSet,
    crowded: bool,
    alarms: Vec<String>,
}

/// An entry in memory.
#[derive(Debug)]
struct Held {
    entry: Entry,
    /// Those that have neither acknowledged nor refused it.
    owed: UpstreamSet,
    /// Those that refused it for good, until the dead letter's row is committed.
    refused: UpstreamSet,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In `waiting`, unless it waits for dead letters only.
    Waiting,
    /// In the batch that the store has.
    Writing,
    /// Its row is committed; it is kept for a queue that is about to take it.
    Stored,
}

/// An upstream that is no longer in the site's file.
#[derive(Debug)]
struct Gone {
    queue: StoredQueue,
    entries: u64,
    oldest: Wall,
}

/// A dead letter without a committed row.
#[derive(Debug)]
struct Refusal {
    upstream: usize,
    letter: DeadLetter,
    since: Mono,
    awaited: bool,
}

impl Ledger {
    pub fn new(options: Options, now: Mono) -> Self {
        let queue = |(n, name): (usize, &Arc<str>)| {
            let stored = StoredQueue { bit: Bit(n as u8), name: name.clone(), cursor: EntryId::ZERO };
            Queue::new(stored, EntryId::ZERO)
        };
        let limits = commit::Limits {
            ack_wait: options.ack_wait,
            ack_delay: options.ack_delay,
            flush_interval: options.flush_interval,
            commit_rows: options.commit_rows,
            commit_bytes: options.commit_bytes,
            commits_per_second: options.commits_per_second,
            progress_rows: options.progress_rows,
        };
        Self {
            queues: options.upstreams.iter().enumerate().map(queue).collect(),
            gone: Vec::new(),
            held: BTreeMap::new(),
            waiting: Waiting::default(),
            unsecured: BTreeSet::new(),
            secured: Vec::new(),
            refusals: Vec::new(),
            read_pages: Vec::new(),
            rule: Rule::new(limits, now),
            last: EntryId::ZERO,
            cached_bytes: 0,
            started: None,
            starts: Arc::default(),
            announce: false,
            draining: false,
            finishing: false,
            disk: disk::Disk::new(&options),
            told_full: UpstreamSet::EMPTY,
            crowded: false,
            alarms: Vec::new(),
            options,
        }
    }

    pub fn apply(&mut self, event: Event, now: Now) {
        match event {
            Event::Put(puts) => puts.into_iter().for_each(|put| self.take(put)),
            Event::Bridge(BridgeToOutbox::Link { upstream, up }) => self.link(upstream, up),
            Event::Bridge(BridgeToOutbox::Pull { upstream, entries }) => {
                if let Some(queue) = self.queues.get_mut(usize::from(upstream.0)) {
                    queue.pull = Some(entries.max(1));
                }
            }
            Event::Bridge(BridgeToOutbox::Done { upstream, settled }) => self.done(upstream, settled, now),
            Event::Store(report) => self.report(report, now),
            Event::Drain => self.draining = true,
            Event::Finish => {
                self.draining = true;
                self.finishing = true;
            }
        }
    }

    /// What is to be done now. To be called after the events of a turn, and at `wake`.
    pub fn effects(&mut self, now: Now) -> Effects {
        let mut effects = Effects { pages: std::mem::take(&mut self.read_pages), ..Effects::default() };
        if self.announce {
            self.announce = false;
            effects.started = self.started;
        }
        if self.started.is_some() {
            for upstream in 0..self.queues.len() {
                if let Some(page) = self.serve(upstream) {
                    effects.pages.push((UpstreamId(upstream as u8), page));
                }
            }
        }
        effects.full = self.full_changed();
        (effects.job, effects.wake) = self.next_job(now);
        effects.secured = self.take_secured();
        effects
    }

    /// The store is closed, or there is none: the outbox may end.
    pub fn is_closed(&self) -> bool {
        self.finishing && self.disk.is_closed()
    }

    fn take(&mut self, put: Put) {
        match put {
            Put::Entry(entry) => self.put(entry),
            Put::Change(change) => self.secured.push(change.id),
            Put::Done(_) => {}
        }
    }

    fn put(&mut self, entry: Entry) {
        self.last = self.last.max(entry.id);
        let cost = entry.cost();
        let mut owed = UpstreamSet::EMPTY;
        for upstream in entry.owed.iter() {
            if let Some(queue) = self.queues.get_mut(usize::from(upstream.0)) {
                owed.insert(upstream);
                queue.ready.insert(entry.id);
                queue.undone += 1;
                queue.memory_bytes += cost;
            }
        }
        self.unsecured.insert(entry.id);
        if owed.is_empty() || faults::active("early-ack") {
            self.secure(entry.id);
        }
        if !owed.is_empty() {
            self.waiting.insert(entry.id, owed, entry.awaited, entry.accepted, cost);
            self.held.insert(entry.id, Held { entry, owed, refused: UpstreamSet::EMPTY, place: Place::Waiting });
        }
    }

    fn link(&mut self, upstream: UpstreamId, up: bool) {
        let Some(queue) = self.queues.get_mut(usize::from(upstream.0)) else { return };
        queue.connected = up;
        if !up && self.disk.is_usable() {
            // What is kept in memory for it only because it was about to take it.
            let ids: Vec<EntryId> = queue.ready.intersection(&queue.stored).copied().collect();
            for id in ids {
                self.leave_to_disk(usize::from(upstream.0), id);
            }
        }
    }

    /// A page for this upstream, if it asked for one and what comes next is in memory.
    fn serve(&mut self, upstream: usize) -> Option<Page> {
        let queue = self.queues.get(upstream)?;
        let most = queue.pull?;
        if queue.is_behind() {
            return None;
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for held in queue.ready.iter().filter_map(|id| self.held.get(id)).take(most) {
            bytes += held.entry.cost();
            if bytes > PAGE_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(held.entry.clone());
        }
        self.hand_over(upstream, entries)
    }

    /// The bridge gets these; they are in id order and behind all that it got before.
    fn hand_over(&mut self, upstream: usize, entries: Vec<Entry>) -> Option<Page> {
        let queue = self.queues.get_mut(upstream).filter(|_| !entries.is_empty())?;
        queue.pull = None;
        for entry in &entries {
            queue.ready.remove(&entry.id);
            queue.handed = queue.handed.max(entry.id);
            let flight = Flight { accepted: entry.accepted, accepted_wall: entry.accepted_wall, cost: entry.cost() };
            queue.in_flight.insert(entry.id, flight);
            queue.disk_oldest = queue.disk_oldest.max(entry.accepted_wall);
        }
        for entry in &entries {
            self.forget_stored(entry.id);
        }
        Some(Page { entries, starts: self.starts.clone() })
    }

    fn done(&mut self, upstream: UpstreamId, settled: Vec<Settled>, now: Now) {
        let upstream = usize::from(upstream.0);
        let mut took: Vec<Duration> = Vec::new();
        for Settled { id, outcome } in settled {
            let Some(queue) = self.queues.get(upstream) else { return };
            // Not handed over, or settled before: nothing of ours.
            let Some(flight) = queue.in_flight.get(&id).filter(|_| !queue.refused.contains(&id)) else { continue };
            match outcome {
                Outcome::Acknowledged => {
                    took.push(now.mono.since(flight.accepted));
                    self.settle(upstream, id, now.mono);
                }
                Outcome::Expired => self.settle(upstream, id, now.mono),
                Outcome::DeadLetter { code, cause } => self.refuse(upstream, id, code, cause, now),
            }
        }
        if let Some(queue) = self.queues.get_mut(upstream).filter(|_| !took.is_empty()) {
            queue.note_acks(&took);
        }
    }

    /// The entry is done in this queue: acknowledged, or its dead letter is committed.
    fn settle(&mut self, upstream: usize, id: EntryId, now: Mono) {
        let Some(queue) = self.queues.get_mut(upstream) else { return };
        let Some(flight) = queue.in_flight.remove(&id) else { return };
        queue.undone -= 1;
        queue.refused.remove(&id);
        if queue.stored.remove(&id) {
            queue.note_progress(id, flight.cost, now);
        } else {
            queue.memory_bytes = queue.memory_bytes.saturating_sub(flight.cost);
        }
        let Some(held) = self.held.get_mut(&id) else { return };
        held.refused.remove(UpstreamId(upstream as u8));
        self.no_longer_owed(upstream, id);
        let Some(held) = self.held.get(&id) else { return };
        if held.owed.is_empty() && held.refused.is_empty() {
            let place = held.place;
            self.secure(id);
            // One that is being written is looked up again when the store reports.
            if place == Place::Waiting {
                self.held.remove(&id);
            }
        }
        self.forget_stored(id);
    }

    fn no_longer_owed(&mut self, upstream: usize, id: EntryId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let before = held.owed;
        held.owed.remove(UpstreamId(upstream as u8));
        if held.place == Place::Waiting && before != held.owed {
            self.waiting.remove(id, before, held.entry.awaited);
            if !held.owed.is_empty() {
                self.waiting.insert(id, held.owed, held.entry.awaited, held.entry.accepted, held.entry.cost());
            }
        }
    }

    fn refuse(&mut self, upstream: usize, id: EntryId, code: Option<u8>, cause: String, now: Now) {
        let Some(queue) = self.queues.get_mut(upstream) else { return };
        queue.refused.insert(id);
        let (bit, name) = (queue.bit, queue.name.clone());
        self.no_longer_owed(upstream, id);
        let held = self.held.get_mut(&id);
        let awaited = held.as_ref().is_some_and(|held| held.entry.awaited) && self.unsecured.contains(&id);
        let entry = held.map(|held| {
            held.refused.insert(UpstreamId(upstream as u8));
            held.entry.clone()
        });
        tracing::warn!(upstream = %name, entry = %id, code, %cause, "the upstream refuses a message for good; it becomes a dead letter");
        let letter = DeadLetter { id, bit, upstream: name, entry, code, cause, at: now.wall };
        self.refusals.push(Refusal { upstream, letter, since: now.mono, awaited });
    }

    fn secure(&mut self, id: EntryId) {
        if self.unsecured.remove(&id) {
            self.secured.push(id);
        }
    }

    /// What became secured, as few ranges: a gap is spanned where nothing unsecured is in it.
    fn take_secured(&mut self) -> Vec<IdRange> {
        self.secured.sort_unstable();
        let mut ranges: Vec<IdRange> = Vec::new();
        for id in self.secured.drain(..) {
            match ranges.last_mut() {
                Some(range) if self.unsecured.range(range.last..=id).next().is_none() => range.last = id,
                _ => ranges.push(IdRange::one(id)),
            }
        }
        ranges
    }

    /// Takes a stored entry out of a queue's memory.
    fn leave_to_disk(&mut self, upstream: usize, id: EntryId) {
        let (Some(queue), Some(held)) = (self.queues.get_mut(upstream), self.held.get(&id)) else { return };
        queue.leave_to_disk(id, held.entry.accepted_wall);
        self.forget_stored(id);
    }

    /// Frees a stored entry that no queue is about to take.
    fn forget_stored(&mut self, id: EntryId) {
        let Some(held) = self.held.get(&id).filter(|held| held.place == Place::Stored) else { return };
        let needed = held.owed.iter().any(|u| self.queues.get(usize::from(u.0)).is_some_and(|queue| queue.ready.contains(&id)));
        if !needed {
            self.cached_bytes = self.cached_bytes.saturating_sub(held.entry.cost());
            self.held.remove(&id);
        }
    }

    fn opened(&mut self, opened: Opened) {
        let Opened { start, starts, last, queues, gone, usage, dead_letters, diskless, alarms } = opened;
        self.started = Some(start);
        self.starts = starts.into();
        self.announce = true;
        self.last = last;
        self.alarms = alarms;
        self.disk.opened(usage, dead_letters, last, diskless);
        for (queue, stored) in self.queues.iter_mut().zip(queues) {
            let (connected, pull) = (queue.connected, queue.pull);
            *queue = Queue::new(stored, if diskless { EntryId::ZERO } else { last });
            queue.connected = connected;
            queue.pull = pull;
        }
        self.gone = gone.into_iter().map(|queue| Gone { queue, entries: 0, oldest: Wall::default() }).collect();
    }
}
