//! The ledger's dealings with the store: which job comes next, and what its outcome means.

use super::*;
use crate::model::{Change, SessionId};
use crate::outbox::commit::{Besides, Decision, Receiver, Receivers};
use crate::outbox::job::{Batch, Loss, Read, Row, Trim};

/// Most rows and bytes of one commit.
pub(super) const BATCH_ROWS_MAX: usize = 4_096;
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
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
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

/// What is known of the store.
#[derive(Debug)]
pub(super) struct Disk {
    pub state: StoreState,
    pub busy: Busy,
    /// A commit was the last job: one read goes before the next, so that neither starves the other.
    pub read_first: bool,
    pub retry_at: Option<Mono>,
    pub retry_after: Duration,
    /// Where the survey goes on; `None`: it is over.
    pub survey: Option<EntryId>,
    /// Rows of an earlier run end here.
    survey_upto: EntryId,
    /// A trim stopped at its limit.
    pub trim_left: bool,
    /// The queue whose read is next.
    next_reader: usize,
    /// Something was written since the last checkpoint or vacuum, and when.
    pub written: bool,
    pub last_write: Mono,
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
pub(super) enum Busy {
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
pub(super) struct Writing {
    pub rows: Vec<WritingRow>,
    pub changes: Vec<Change>,
    pub removed: Vec<(EntryId, SessionId)>,
    pub losses: Vec<Loss>,
    /// What waits for the losses, as [`Ledger::loss_recorded`] wants it.
    pub dropped: Vec<EntryId>,
    pub refusals: Vec<Refusal>,
    /// Queue, its new cursor, its progress as it was.
    pub cursors: Vec<(usize, EntryId, u64)>,
}

#[derive(Debug)]
pub(super) struct WritingRow {
    pub id: EntryId,
    /// Whose bits the row carries.
    pub mask: UpstreamSet,
    pub cost: usize,
    /// There is a row of the entry; else only of what hangs on it.
    pub is_owed: bool,
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
                return (self.close(now), None);
            }
            return (None, None);
        }
        let read_first = std::mem::take(&mut self.disk.read_first);
        if read_first && let Some(read) = self.next_read(now.mono) {
            return (Some(read), None);
        }
        if self.disk.usage.wal >= self.disk.wal_max && self.disk.written && self.disk.retry_at.is_none() {
            self.disk.busy = Busy::Tidy;
            return (Some(Job::Checkpoint), None);
        }
        let (commit, wake) = self.next_commit(now);
        let job = commit.or_else(|| self.next_read(now.mono)).or_else(|| self.next_chore(now.mono));
        if job.is_none() && self.finishing {
            return (self.close(now), None);
        }
        let idle = self.disk.written.then(|| self.disk.last_write + IDLE).filter(|at| *at > now.mono);
        (job, earliest(wake, idle))
    }

    fn close(&mut self, now: Now) -> Option<Job> {
        self.disk.busy = Busy::Closing;
        Some(Job::Close { now: self.disk.is_usable().then_some(now) })
    }

    fn next_commit(&mut self, now: Now) -> (Option<Job>, Option<Mono>) {
        if let Some(at) = self.disk.retry_at.filter(|at| now.mono < *at) {
            // At the end there is no time to wait for space.
            return (None, Some(at).filter(|_| !self.finishing));
        }
        let upstreams: Vec<Receiver> = self.queues.iter().map(|q| q.receiver(|id| self.held.get(&id).map(|h| h.entry.accepted))).collect();
        let receivers = Receivers { upstreams: &upstreams, sessions: self.sessions.p95() };
        let besides = self.besides();
        match self.rule.decide(&self.waiting, receivers, &besides, now.mono) {
            Decision::Wait(wake) if !self.disk.trim_left || self.finishing => (None, wake),
            _ => (Some(Job::Commit(self.batch(receivers, now))), None),
        }
    }

    fn besides(&self) -> Besides {
        let mut besides = self.sessions.besides(self.finishing);
        besides.others += self.refusals.len();
        besides.drain = self.draining;
        for refusal in &self.refusals {
            let slot = if refusal.awaited { &mut besides.awaited } else { &mut besides.quiet };
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

    fn batch(&mut self, receivers: Receivers<'_>, now: Now) -> Batch {
        let due = self.rule.due(&self.waiting, receivers, self.draining, now.mono, BATCH_ROWS_MAX, BATCH_BYTES_MAX);
        let awaited = due.awaited.is_some() || self.sessions.is_awaited();
        let mut writing = Writing::default();
        let trim_rows = if awaited { TRIM_ROWS_AWAITED } else { TRIM_ROWS };
        let mut batch = Batch { now, trim_rows, ..Batch::default() };
        for id in self.take_changes(due, &mut writing) {
            let Some(held) = self.held.get_mut(&id) else { continue };
            let mask = held.owed.iter().filter_map(|u| self.queues.get(usize::from(u.0))).fold(0, |mask, q| mask | q.bit.mask());
            let due = held.due.iter().filter(|due| !self.sessions.ends_in(due.session, &writing.changes)).cloned().collect();
            held.place = Place::Writing;
            let row = Row { mask, entry: Entry { due, ..held.entry.clone() } };
            writing.rows.push(WritingRow { id, mask: held.owed, cost: held.entry.cost(), is_owed: row.is_owed() });
            batch.rows.push(row);
            self.wait_again(id);
        }
        batch.changes.clone_from(&writing.changes);
        batch.removed.clone_from(&writing.removed);
        batch.losses.clone_from(&writing.losses);
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
    fn next_read(&mut self, now: Mono) -> Option<Job> {
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
        let read = Read { bit: queue.bit, after: queue.handed, upto: queue.disk_high, entries: most, bytes: PAGE_BYTES, now };
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
}
