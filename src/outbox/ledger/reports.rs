//! What the outcome of a job of the store means.

use super::disk::{Busy, RETRY_MAX, RETRY_MIN, Writing, WritingRow};
use super::*;
use crate::outbox::job::{Row, Trim, Trouble};

impl Ledger {
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
        self.disk.rows += writing.rows.iter().filter(|row| row.is_owed).count() as u64;
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
        // As are losses: an entry whose row is here may wait for one.
        for id in writing.dropped {
            self.loss_recorded(id);
        }
        for row in writing.rows {
            self.row_committed(&row, now.mono);
        }
        for change in writing.changes {
            self.change_committed(&change);
        }
    }

    fn row_committed(&mut self, row: &WritingRow, now: Mono) {
        let WritingRow { id, mask, cost, .. } = *row;
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
        held.forced = false;
        (held.entry.received, held.entry.retained) = (None, false);
        // Also what a change has added meanwhile: its own row comes with that.
        for due in held.due.drain(..) {
            self.sessions.row_committed(due.session, id, due.prompt.then_some(held.entry.accepted));
        }
        self.cached_bytes += cost;
        // The row settles those whose bit it carries; one who refused before it was written waits for its dead letter.
        if refused.bits() & !mask.bits() == 0 && held.dropped == 0 {
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
        let page = self.hand_over(upstream, entries, now.mono);
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
        for WritingRow { id, .. } in writing.rows {
            let Some(held) = self.held.get_mut(&id) else { continue };
            held.place = Place::Waiting;
            self.check(id);
        }
        for id in writing.dropped {
            if let Some(held) = self.held.get(&id) {
                self.sessions.wait_for_loss(&held.entry);
            }
        }
        self.sessions.take_back(writing.changes, writing.removed, writing.losses, now);
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
        self.keep_changes_in_memory();
    }
}
