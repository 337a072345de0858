//! The ledger's dealings with the store: which job comes next, and what its outcome means.

use std::time::Duration;

use crate::model::{EntryId, Mono, Now, UpstreamId, UpstreamSet};

use super::*;
use crate::outbox::commit::{Besides, Decision, Receiver};
use crate::outbox::job::{Batch, Read, Row, Trim, Trouble};

/// Most rows and bytes of one commit.
const BATCH_ROWS_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Rows that one transaction looks at to delete them: few where a publisher waits for it.
const TRIM_ROWS: usize = 10_000;
const TRIM_ROWS_AWAITED: usize = 1_000;
/// The writer is idle when it has not committed for so long; then the WAL is moved into the file, and free pages are given back.
const IDLE: Duration = Duration::from_secs(10);
/// Free bytes that are kept for the next outage before any are given back.
const FREE_BYTES_KEPT: u64 = 4 << 20;
/// Pages given back at a time.
const VACUUM_PAGES: u32 = 256;
/// After a commit that found no space.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What is known of the store.
#[derive(Debug)]
pub(super) struct Disk {
    pub state: StoreState,
    busy: Busy,
    /// A commit was the last job: one read goes before the next, so that neither starves the other.
    read_first: bool,
    retry_at: Option<Mono>,
    retry_after: Duration,
    /// Where the survey goes on; `None`: it is over.
    survey: Option<EntryId>,
    /// Rows of an earlier run end here.
    survey_upto: EntryId,
    /// A trim stopped at its limit.
    pub trim_left: bool,
    /// The queue whose read is next.
    next_reader: usize,
    /// Something was written since the last checkpoint or vacuum, and when.
    written: bool,
    last_write: Mono,
    wal_max: u64,
    pub usage: Usage,
    /// Rows on disk that are owed to somebody, as far as the survey has come.
    pub rows: u64,
    pub commits: u64,
    pub committed_rows: u64,
    pub failed_commits: u64,
    pub dead_letters: u64,
    pub damaged_rows: u64,
    pub failed_to_open: bool,
}

/// What the store is at.
#[derive(Debug)]
enum Busy {
    /// It has not said that it is open.
    Opening,
    Idle,
    Commit(Writing),
    Read(usize),
    Survey,
    Tidy,
    Closing,
    Closed,
}

/// A batch that the store has, as it will be looked up when it reports.
#[derive(Debug, Default)]
struct Writing {
    rows: Vec<(EntryId, UpstreamSet, usize)>,
    refusals: Vec<Refusal>,
    /// Queue, its new cursor, its progress as it was.
    cursors: Vec<(usize, EntryId, u64)>,
}

impl Disk {
    pub fn new(options: &Options) -> Self {
        Self {
            state: StoreState::Good,
            busy: Busy::Opening,
            read_first: false,
            retry_at: None,
            retry_after: RETRY_MIN,
            survey: None,
            survey_upto: EntryId::ZERO,
            trim_left: false,
            next_reader: 0,
            written: false,
            last_write: Mono::ZERO,
            wal_max: options.wal_max_bytes.min(options.max_bytes / 8),
            usage: Usage::default(),
            rows: 0,
            commits: 0,
            committed_rows: 0,
            failed_commits: 0,
            dead_letters: 0,
            damaged_rows: 0,
            failed_to_open: false,
        }
    }

    pub fn opened(&mut self, usage: Usage, dead_letters: u64, last: EntryId, diskless: bool) {
        self.busy = Busy::Idle;
        self.usage = usage;
        self.dead_letters = dead_letters;
        self.survey = (last > EntryId::ZERO && !diskless).then_some(EntryId::ZERO);
        self.survey_upto = last;
        if diskless {
            self.state = StoreState::Diskless;
            self.failed_to_open = true;
        }
    }

    pub fn is_usable(&self) -> bool {
        self.state != StoreState::Diskless
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.busy, Busy::Closed)
    }

    /// The survey still counts what the start found.
    pub fn is_counting(&self) -> bool {
        self.survey.is_some()
    }

    pub fn survey_goes_on(&mut self, next: Option<EntryId>) {
        self.survey = next;
    }
}

impl Ledger {
    /// The next job, if the store is idle, and when to ask again.
    pub(super) fn next_job(&mut self, now: Now) -> (Option<Job>, Option<Mono>) {
        if !matches!(self.disk.busy, Busy::Idle) {
            return (None, None);
        }
        if !self.disk.is_usable() {
            if self.finishing {
                return (self.close(), None);
            }
            return (None, None);
        }
        let read_first = std::mem::take(&mut self.disk.read_first);
        if read_first && let Some(read) = self.next_read() {
            return (Some(read), None);
        }
        if self.disk.usage.wal >= self.disk.wal_max && self.disk.written && self.disk.retry_at.is_none() {
            self.disk.busy = Busy::Tidy;
            return (Some(Job::Checkpoint), None);
        }
        let (commit, wake) = self.next_commit(now);
        let job = commit.or_else(|| self.next_read()).or_else(|| self.next_chore(now.mono));
        if job.is_none() && self.finishing {
            return (self.close(), None);
        }
        let idle = self.disk.written.then(|| self.disk.last_write + IDLE).filter(|at| *at > now.mono);
        (job, earliest(wake, idle))
    }

    fn close(&mut self) -> Option<Job> {
        self.disk.busy = Busy::Closing;
        Some(Job::Close { checkpoint: self.disk.is_usable() })
    }

    fn next_commit(&mut self, now: Now) -> (Option<Job>, Option<Mono>) {
        if let Some(at) = self.disk.retry_at.filter(|at| now.mono < *at) {
            // At the end there is no time to wait for space.
            return (None, Some(at).filter(|_| !self.finishing));
        }
        let receivers: Vec<Receiver> = self.queues.iter().map(|q| q.receiver(|id| self.held.get(&id).map(|h| h.entry.accepted))).collect();
        let besides = self.besides();
        match self.rule.decide(&self.waiting, &receivers, &besides, now.mono) {
            Decision::Wait(wake) if !self.disk.trim_left || self.finishing => (None, wake),
            _ => (Some(Job::Commit(self.batch(&receivers, now))), None),
        }
    }

    fn besides(&self) -> Besides {
        let mut besides = Besides { dead_letters: self.refusals.len(), drain: self.draining, ..Besides::default() };
        for refusal in &self.refusals {
            let slot = if refusal.awaited { &mut besides.dead_awaited } else { &mut besides.dead_quiet };
            *slot = earliest(*slot, Some(refusal.since));
        }
        for queue in &self.queues {
            // Behind an entry that is still in flight nothing can be stored, however much was done.
            if queue.done_high > queue.cursor && queue.done_up_to(self.last) > queue.cursor {
                besides.progress = besides.progress.max(if self.finishing { u64::MAX } else { queue.progress });
                besides.progress_since = earliest(besides.progress_since, queue.progress_since);
            }
        }
        besides
    }

    fn batch(&mut self, receivers: &[Receiver], now: Now) -> Batch {
        let due = self.rule.due(&self.waiting, receivers, self.draining, now.mono, BATCH_ROWS_MAX, BATCH_BYTES_MAX);
        let mut writing = Writing::default();
        let mut batch = Batch { trim_rows: if due.awaited.is_some() { TRIM_ROWS_AWAITED } else { TRIM_ROWS }, ..Batch::default() };
        for id in due.ids {
            let Some(held) = self.held.get_mut(&id) else { continue };
            let mask = held.owed.iter().filter_map(|u| self.queues.get(usize::from(u.0))).fold(0, |mask, q| mask | q.bit.mask());
            self.waiting.remove(id, held.owed, held.entry.awaited);
            held.place = Place::Writing;
            writing.rows.push((id, held.owed, held.entry.cost()));
            batch.rows.push(Row { mask, entry: held.entry.clone() });
        }
        writing.refusals = std::mem::take(&mut self.refusals);
        batch.dead_letters = writing.refusals.iter().map(|refusal| refusal.letter.clone()).collect();
        self.disk.trim_left = false;
        for (n, queue) in self.queues.iter_mut().enumerate() {
            let cursor = queue.done_up_to(self.last);
            if cursor > queue.cursor {
                batch.cursors.push((queue.bit, cursor));
                writing.cursors.push((n, cursor, queue.progress));
                queue.progress = 0;
                queue.progress_since = (queue.done_high > cursor).then_some(now.mono);
            }
            if self.disk.survey.is_none() && queue.done_high > queue.trimmed && cursor > queue.trimmed {
                batch.trims.push(Trim { bit: queue.bit, from: queue.trimmed, to: cursor });
            }
            batch.owing.push((queue.bit, cursor));
        }
        batch.owing.extend(self.gone.iter().map(|gone| (gone.queue.bit, gone.queue.cursor)));
        self.disk.busy = Busy::Commit(writing);
        batch
    }

    /// A read for the queue that asks for entries which are on disk; each in turn.
    fn next_read(&mut self) -> Option<Job> {
        if self.finishing {
            return None;
        }
        let n = self.queues.len();
        let start = self.disk.next_reader;
        let wants = |queue: &Queue| queue.pull.is_some() && queue.is_behind();
        let upstream = (0..n).map(|i| (start + i) % n).find(|&u| self.queues.get(u).is_some_and(wants))?;
        self.disk.next_reader = (upstream + 1) % n;
        let queue = self.queues.get(upstream)?;
        let most = queue.pull.unwrap_or(1);
        let read = Read { bit: queue.bit, after: queue.handed, upto: queue.disk_high, entries: most, bytes: PAGE_BYTES };
        self.disk.busy = Busy::Read(upstream);
        Some(Job::Read(read))
    }

    fn next_chore(&mut self, now: Mono) -> Option<Job> {
        if self.finishing || self.disk.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        if let Some(after) = self.disk.survey {
            self.disk.busy = Busy::Survey;
            return Some(Job::Survey { after, upto: self.disk.survey_upto, owing: self.owing_at_start() });
        }
        if !self.disk.written || now < self.disk.last_write + IDLE {
            return None;
        }
        let usage = self.disk.usage;
        let job = if usage.free > FREE_BYTES_KEPT.max(usage.file / 4) {
            Job::Vacuum { pages: VACUUM_PAGES }
        } else if usage.wal > 0 {
            Job::Checkpoint
        } else {
            return None;
        };
        self.disk.busy = Busy::Tidy;
        Some(job)
    }

    /// The cursors as they were found: the survey counts against these, what became done since is counted down as it happens.
    fn owing_at_start(&self) -> Vec<(Bit, EntryId)> {
        let queues = self.queues.iter().map(|queue| (queue.bit, queue.trimmed));
        queues.chain(self.gone.iter().map(|gone| (gone.queue.bit, gone.queue.cursor))).collect()
    }

    pub(super) fn report(&mut self, report: Report, now: Now) {
        let busy = std::mem::replace(&mut self.disk.busy, Busy::Idle);
        match (report, busy) {
            (Report::Opened(opened), _) => self.opened(opened),
            (Report::Committed { trimmed, deleted, usage }, Busy::Commit(writing)) => {
                self.disk.usage = usage;
                self.disk.written = true;
                self.disk.last_write = now.mono;
                self.disk.rows = self.disk.rows.saturating_sub(deleted);
                self.committed(writing, &trimmed, now);
            }
            (Report::Read { rows, through, damaged, .. }, Busy::Read(upstream)) => self.was_read(upstream, rows, through, damaged, now),
            (Report::Surveyed { counts, rows, damaged, next }, Busy::Survey) => {
                self.disk.damaged_rows += damaged;
                self.surveyed(&counts, rows, next);
            }
            (Report::Tidied { usage }, _) => {
                // A vacuum leaves its pages in the WAL: it is followed by another, or by the checkpoint.
                self.disk.written = usage.wal > 0 && self.disk.usage.wal < usage.wal;
                self.disk.usage = usage;
                if self.waiting.is_empty() {
                    self.space_again();
                }
            }
            (Report::Failed { trouble, error }, busy) => self.failed(busy, trouble, &error, now),
            (Report::Closed, _) => self.disk.busy = Busy::Closed,
            // A report for another job than the one that was given: the store's thread is ours, so this is a fault of ours.
            (report, busy) => tracing::error!(?report, ?busy, "the store reports what it was not asked for"),
        }
    }

    fn committed(&mut self, writing: Writing, trimmed: &[Trim], now: Now) {
        self.disk.commits += 1;
        self.disk.committed_rows += writing.rows.len() as u64;
        self.disk.rows += writing.rows.len() as u64;
        self.disk.dead_letters += writing.refusals.len() as u64;
        self.disk.read_first = true;
        self.space_again();
        for (n, cursor, _) in writing.cursors {
            if let Some(queue) = self.queues.get_mut(n) {
                queue.cursor = cursor;
            }
        }
        for trim in trimmed {
            if let Some(queue) = self.queues.iter_mut().find(|queue| queue.bit == trim.bit) {
                queue.trimmed = queue.trimmed.max(trim.to);
                self.disk.trim_left |= queue.trimmed < queue.cursor.min(queue.done_high);
            }
        }
        // Dead letters first: what is left of `refused` then tells whether the row settles the rest.
        for refusal in writing.refusals {
            self.settle(refusal.upstream, refusal.letter.id, now.mono);
        }
        for (id, mask, cost) in writing.rows {
            self.row_committed(id, mask, cost, now.mono);
        }
    }

    fn row_committed(&mut self, id: EntryId, mask: UpstreamSet, cost: usize, now: Mono) {
        let (owed, refused) = self.held.get(&id).map_or((UpstreamSet::EMPTY, UpstreamSet::EMPTY), |held| (held.owed, held.refused));
        for upstream in mask.iter() {
            let Some(queue) = self.queues.get_mut(usize::from(upstream.0)) else { continue };
            queue.stored_bytes += cost as i64;
            if owed.contains(upstream) || refused.contains(upstream) {
                queue.stored.insert(id);
                queue.memory_bytes = queue.memory_bytes.saturating_sub(cost);
            } else {
                // It was acknowledged while the row was being written.
                queue.note_progress(id, cost, now);
            }
        }
        let Some(held) = self.held.get_mut(&id) else { return };
        held.place = Place::Stored;
        self.cached_bytes += cost;
        // The row settles those whose bit it carries; one who refused before it was written waits for its dead letter.
        if refused.bits() & !mask.bits() == 0 {
            self.secure(id);
        }
        for UpstreamId(upstream) in mask.iter() {
            let upstream = usize::from(upstream);
            let stays = self.queues.get(upstream).is_some_and(|queue| queue.connected && !queue.is_behind());
            if !stays || self.cached_bytes > CACHE_BYTES {
                self.leave_to_disk(upstream, id);
            }
        }
        self.forget_stored(id);
    }

    fn was_read(&mut self, upstream: usize, rows: Vec<Row>, through: EntryId, damaged: u64, now: Now) {
        self.disk.damaged_rows += damaged;
        if damaged > 0 {
            tracing::error!(damaged, "rows of the store are damaged; these messages are lost");
        }
        let to_set = |mask: u32, queues: &[Queue]| {
            let mut set = UpstreamSet::EMPTY;
            let carried = queues.iter().enumerate().filter(|(_, q)| mask & q.bit.mask() != 0);
            carried.for_each(|(n, _)| set.insert(UpstreamId(n as u8)));
            set
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(rows.len());
        for Row { mask, mut entry } in rows {
            entry.owed = to_set(mask, &self.queues);
            entry.accepted = now.mono;
            entries.push(entry);
        }
        let Some(queue) = self.queues.get_mut(upstream) else { return };
        queue.undone -= damaged as i64;
        // What is in memory stands between what was read: both together are all that is owed up to `through`.
        let in_memory: Vec<EntryId> = queue.ready.range(..=through).copied().collect();
        for id in in_memory {
            if let Some(held) = self.held.get(&id) {
                entries.retain(|entry| entry.id != id);
                entries.push(held.entry.clone());
            }
        }
        entries.sort_unstable_by_key(|entry| entry.id);
        let most = queue.pull.unwrap_or(0);
        let whole = entries.len() <= most;
        entries.truncate(most);
        for entry in &entries {
            if self.held.get(&entry.id).is_none_or(|held| held.place == Place::Stored) {
                queue.stored.insert(entry.id);
            }
        }
        if whole {
            queue.handed = queue.handed.max(through);
        }
        let page = self.hand_over(upstream, entries);
        self.read_pages.extend(page.map(|page| (UpstreamId(upstream as u8), page)));
    }

    fn failed(&mut self, busy: Busy, trouble: Trouble, error: &str, now: Now) {
        if let Busy::Commit(writing) = busy {
            self.disk.failed_commits += 1;
            self.take_back(writing, now.mono);
        }
        match trouble {
            // At the end there is no time to wait for space.
            Trouble::Full if self.finishing => self.disk.retry_at = Some(Mono::from_nanos(u64::MAX)),
            Trouble::Full => self.no_space(error, now.mono),
            Trouble::Broken | Trouble::Corrupt => self.go_diskless(error),
        }
    }

    /// Nothing of the batch is secured: it waits again.
    fn take_back(&mut self, writing: Writing, now: Mono) {
        for (id, _, _) in writing.rows {
            let Some(held) = self.held.get_mut(&id) else { continue };
            if held.owed.is_empty() && held.refused.is_empty() {
                self.held.remove(&id);
                continue;
            }
            held.place = Place::Waiting;
            if !held.owed.is_empty() {
                self.waiting.insert(id, held.owed, held.entry.awaited, held.entry.accepted, held.entry.cost());
            }
        }
        self.refusals.splice(0..0, writing.refusals);
        for (n, _, progress) in writing.cursors {
            if let Some(queue) = self.queues.get_mut(n).filter(|queue| queue.done_high > queue.cursor) {
                queue.progress += progress;
                queue.progress_since.get_or_insert(now);
            }
        }
    }

    fn no_space(&mut self, error: &str, now: Mono) {
        if self.disk.state == StoreState::Good {
            tracing::error!(error, "the store has no space; commits are tried again");
        }
        self.disk.state = StoreState::Full;
        self.disk.retry_at = Some(now + self.disk.retry_after);
        self.disk.retry_after = (self.disk.retry_after * 2).min(RETRY_MAX);
    }

    fn space_again(&mut self) {
        if self.disk.state == StoreState::Full {
            tracing::info!("the store has space again");
            self.disk.state = StoreState::Good;
        }
        self.disk.retry_at = None;
        self.disk.retry_after = RETRY_MIN;
    }

    /// The file is not used again by this process. What is on disk only stays there until the next start.
    fn go_diskless(&mut self, error: &str) {
        tracing::error!(error, "the store cannot be used any more; going on without a disk");
        self.disk.state = StoreState::Diskless;
        self.disk.survey = None;
        for queue in &mut self.queues {
            queue.disk_high = EntryId::ZERO;
            queue.progress_since = None;
        }
    }
}
