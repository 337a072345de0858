//! What the ledger says of itself: which queues have no room, and the status with its alarms.

use super::*;
use crate::model::status::{OutboxStatus, QueueStatus};
use crate::outbox::job::Count;

/// Bytes that all queues together hold in memory while the store takes nothing; a queue above its share of it has no room, so that the
/// memory that the broker allows for what is unsecured is left to those whose upstreams are there.
const MEMORY_BYTES: usize = 4 << 20;

impl Ledger {
    /// The upstreams whose queue has no room (outbox.md 11), if the set has changed. There is room again at 7/8 of a limit.
    pub(super) fn full_changed(&mut self) -> Option<UpstreamSet> {
        let over = |level: u64, limit: u64, was: bool| level >= limit || was && level >= limit - limit / 8;
        let room = self.options.max_bytes / 10 * 9;
        // What stands in a file that is not used any more takes no room from what comes.
        let usable = self.disk.is_usable();
        self.crowded = usable && over(self.disk.usage.used(), room, self.crowded);
        let count = self.queues.len().max(1);
        let trouble = self.disk.state != StoreState::Good;
        let mut set = UpstreamSet::EMPTY;
        for (n, queue) in self.queues.iter_mut().enumerate() {
            let stored = u64::try_from(queue.stored_bytes).unwrap_or(0) * u64::from(usable);
            // Alone, a queue may fill the file; with others it has its share, whatever they leave free.
            let share = count > 1 && over(stored, room / count as u64, queue.full);
            let memory = trouble && over(queue.memory_bytes as u64, (MEMORY_BYTES / count) as u64, queue.full);
            let full = share || memory || self.crowded && stored > 0;
            if full != queue.full {
                queue.full = full;
                if full {
                    tracing::warn!(upstream = %queue.name, bytes = stored, "the queue has no room; messages for it are refused or dropped");
                } else {
                    tracing::info!(upstream = %queue.name, "the queue has room again");
                }
            }
            if full {
                set.insert(UpstreamId(n as u8));
            }
        }
        let changed = set != self.told_full;
        self.told_full = set;
        changed.then_some(set)
    }

    pub(super) fn surveyed(&mut self, counts: &[Count], rows: u64, next: Option<EntryId>) {
        self.disk.rows += rows;
        for count in counts {
            if let Some(queue) = self.queues.iter_mut().find(|queue| queue.bit == count.bit) {
                queue.add_count(count);
            }
            if let Some(gone) = self.gone.iter_mut().find(|gone| gone.queue.bit == count.bit) {
                if gone.entries == 0 {
                    gone.oldest = count.oldest;
                }
                gone.entries += count.entries;
            }
        }
        self.disk.survey_goes_on(next);
        if next.is_none() {
            self.disk.trim_left = self.queues.iter().any(|queue| queue.trimmed < queue.cursor.min(queue.done_high));
            for gone in self.gone.iter().filter(|gone| gone.entries > 0) {
                tracing::warn!(upstream = %gone.queue.name, entries = gone.entries, "{}", gone_alarm(gone));
            }
        }
    }

    pub fn status(&self, now: Now) -> OutboxStatus {
        let age = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut queues: Vec<QueueStatus> = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let oldest = queue.oldest_age(|id| self.held.get(&id).map(|held| held.entry.accepted_wall), now);
            let entries = u64::try_from(queue.undone).unwrap_or(0);
            queues.push(QueueStatus { upstream: queue.name.to_string(), entries, oldest_age_ms: oldest.map(age), gone: false });
        }
        for gone in self.gone.iter().filter(|gone| gone.entries > 0) {
            let oldest_age_ms = Some(u64::try_from(now.wall.0.saturating_sub(gone.oldest.0)).unwrap_or(0));
            queues.push(QueueStatus { upstream: gone.queue.name.to_string(), entries: gone.entries, oldest_age_ms, gone: true });
        }
        // An entry that is owed to several counts once: not more than there are rows, and not more than are owed.
        let in_memory = self.held.values().filter(|held| held.place != Place::Stored).count() as u64;
        let owed = queues.iter().map(|queue| queue.entries).sum::<u64>() + self.sessions.owed();
        OutboxStatus {
            path: self.options.path.display().to_string(),
            store: self.disk.state,
            epoch: self.started.map_or(0, |start| start.epoch),
            entries: owed.min(in_memory + self.disk.rows),
            bytes: self.disk.usage.used(),
            max_bytes: self.options.max_bytes,
            oldest_age_ms: queues.iter().filter_map(|queue| queue.oldest_age_ms).max(),
            commits: self.disk.commits,
            rows: self.disk.committed_rows,
            failed_commits: self.disk.failed_commits,
            dead_letters: self.disk.dead_letters,
            lost: self.sessions.lost,
            expired: self.expired + self.sessions.expired,
            queues,
            alarms: self.alarms_now(),
        }
    }

    fn alarms_now(&self) -> Vec<String> {
        let path = self.options.path.display();
        let mut alarms = self.alarms.clone();
        match self.disk.state {
            StoreState::Good => {}
            StoreState::Full => alarms.push(format!("no space for {path}: free some on its file system; commits are tried again")),
            // The start has said why, if it was the start.
            StoreState::Diskless if self.disk.failed_to_open => {}
            StoreState::Diskless => {
                alarms.push(format!("{path} failed and is not used any more: check the disk, then restart; what it holds is kept"));
            }
        }
        if self.disk.damaged_rows > 0 {
            alarms.push(format!("{} rows of {path} were damaged and are lost: check the disk", self.disk.damaged_rows));
        }
        if self.sessions.lost_now > 0 {
            alarms.push(format!(
                "{} messages were dropped since the start because the queue of a session was full: a client is away for long, or too slow",
                self.sessions.lost_now
            ));
        }
        for queue in self.queues.iter().filter(|queue| queue.full) {
            alarms.push(format!("the queue of upstream {} has no room: messages for it are refused or dropped", queue.name));
        }
        alarms.extend(self.gone.iter().filter(|gone| gone.entries > 0 && !self.disk.is_counting()).map(gone_alarm));
        alarms
    }
}

fn gone_alarm(gone: &Gone) -> String {
    let name = &gone.queue.name;
    format!(
        "{} entries are owed to upstream {name}, which is no longer configured, and are kept: write [[upstream]] name = \"{name}\" with its \
         url to have them sent",
        gone.entries
    )
}
