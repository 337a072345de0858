//! What waits where: the state of the outbox, and every decision of it but the commit rule. Pure: events in, effects out.
//!
//! An entry is in memory from its `Put` until it is done for all or its row is committed; it is handed over before it is stored
//! (outbox.md 5). Of rows that are on disk only, nothing is kept here but how far each queue has read.

mod disk;
mod reports;
mod sessions;
mod status;
mod upstreams;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::faults;
use crate::model::status::StoreState;
use crate::model::{
    BridgeToOutbox, Due, Entry, EntryId, IdRange, Mono, Now, Outcome, Page, Put, QoS, Restored, Settled, Start, UpstreamId, UpstreamSet,
    Wall,
};

use super::commit::{Claims, Rule, Waiting, earliest};
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
    /// To be told to the broker first of all, page by page.
    pub restored: Vec<Vec<Restored>>,
    /// To be told to the broker after that.
    pub started: Option<Start>,
    /// Upstreams whose connection is up or down now.
    pub links: Vec<(UpstreamId, bool)>,
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
    sessions: sessions::Sessions,
    /// What the start found and the broker has not been told.
    restored: Vec<Restored>,
    links: Vec<(UpstreamId, bool)>,
    /// Entries that were not handed over because they had expired.
    expired: u64,
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
    /// Its `due` is empty.
    entry: Entry,
    /// Those that have neither acknowledged nor refused it.
    owed: UpstreamSet,
    /// Those that refused it for good, until the dead letter's row is committed.
    refused: UpstreamSet,
    /// What sessions are owed of it and no row says yet.
    due: Vec<Due>,
    /// Sessions whose full queue dropped it before a row said that they are owed it, and whose loss record is not committed.
    dropped: usize,
    /// A change of what a session is owed of it wants a commit: it has to be in that one.
    forced: bool,
    place: Place,
    /// Under which it stands in `waiting`.
    waits: Option<Claims>,
}

impl Held {
    fn is_settled(&self) -> bool {
        let by_commit = self.entry.received.is_some() || self.entry.retained;
        self.owed.is_empty() && self.refused.is_empty() && self.due.is_empty() && self.dropped == 0 && !by_commit
    }
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
            sessions: sessions::Sessions::default(),
            restored: Vec::new(),
            links: Vec::new(),
            expired: 0,
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
            Event::Put(puts) => {
                for put in puts {
                    match put {
                        Put::Entry(entry) => self.put(entry),
                        Put::Change(change) => self.change(change),
                        Put::Done(done) => self.due_done(done, now),
                    }
                }
                self.sessions.learn();
            }
            Event::Bridge(BridgeToOutbox::Link { upstream, up }) => {
                self.links.push((upstream, up));
                self.link(upstream, up);
            }
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
            effects.restored = sessions::pages(std::mem::take(&mut self.restored));
            effects.started = self.started;
        }
        effects.links = std::mem::take(&mut self.links);
        if self.started.is_some() {
            for upstream in 0..self.queues.len() {
                if let Some(page) = self.serve(upstream, now.mono) {
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

    fn put(&mut self, mut entry: Entry) {
        let id = entry.id;
        self.last = self.last.max(id);
        let due = std::mem::take(&mut entry.due);
        let cost = entry.cost();
        let mut owed = UpstreamSet::EMPTY;
        for upstream in entry.owed.iter() {
            if let Some(queue) = self.queues.get_mut(usize::from(upstream.0)) {
                owed.insert(upstream);
                queue.ready.insert(id);
                queue.undone += 1;
                queue.memory_bytes += cost;
            }
        }
        due.iter().for_each(|due| self.sessions.owe(due.session, id));
        let early = faults::active("early-ack") || due.iter().any(|due| due.qos == QoS::ExactlyOnce) && faults::active("qos2-early");
        let held = Held { entry, owed, refused: UpstreamSet::EMPTY, due, dropped: 0, forced: false, place: Place::Waiting, waits: None };
        self.unsecured.insert(id);
        if held.is_settled() || early {
            self.secure(id);
        }
        if !held.is_settled() {
            self.held.insert(id, held);
            self.wait_again(id);
        }
    }

    /// Puts an entry where it belongs in `waiting`, after something about it has changed.
    fn wait_again(&mut self, id: EntryId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let claims = match held.place {
            Place::Waiting => Some(self.sessions.claims(held)).filter(|claims| !claims.is_empty()),
            Place::Writing | Place::Stored => None,
        };
        if held.waits == claims {
            return;
        }
        if let Some(before) = held.waits {
            self.waiting.remove(id, before, held.entry.awaited);
        }
        if let Some(claims) = claims {
            self.waiting.insert(id, claims, held.entry.awaited, held.entry.accepted, held.entry.cost());
        }
        held.waits = claims;
    }

    /// After a destination of this entry was settled: all may be.
    fn check(&mut self, id: EntryId) {
        let Some(held) = self.held.get(&id) else { return };
        let (settled, place) = (held.is_settled(), held.place);
        if settled {
            self.secure(id);
        }
        self.wait_again(id);
        // One that is being written is looked up again when the store reports.
        if settled && place == Place::Waiting {
            self.held.remove(&id);
        }
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

    fn opened(&mut self, opened: Opened) {
        let Opened { start, starts, last, queues, gone, usage, dead_letters, restored, lost, diskless, alarms } = opened;
        self.started = Some(start);
        self.starts = starts.into();
        self.announce = true;
        self.last = last;
        self.alarms = alarms;
        self.sessions.restored(&restored, lost);
        self.restored = restored;
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
