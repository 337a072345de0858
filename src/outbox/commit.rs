//! When the disk is written (outbox.md 6). Pure: who waits and what time it is in, "commit" or "wait until" out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{EntryId, Mono, UpstreamId, UpstreamSet};

/// Acks that the p95 of a receiver is taken of.
const ACKS: usize = 256;
/// With fewer acks than this nothing is known of a receiver, and it is given all of `ack_wait`.
const ACKS_KNOWN: usize = 16;
/// Shortest time that a prompt receiver is given.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// A receiver whose oldest entry is this old is not prompt.
const PROMPT_AGE_MAX: Duration = Duration::from_secs(5);
/// Commits that may follow each other at once for a promise that somebody waits for.
const BURST: f64 = 20.0;
/// Progress alone is committed this long after the first stored row became done.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How long a receiver took from acceptance to its acknowledgement, over its last [`ACKS`].
#[derive(Debug, Default)]
pub struct Latency {
    last: Vec<Duration>,
    next: usize,
    p95: Duration,
}

impl Latency {
    pub fn push(&mut self, took: &[Duration]) {
        // More than the ring holds would only overwrite itself.
        for &one in took.iter().rev().take(ACKS).rev() {
            if self.last.len() < ACKS {
                self.last.push(one);
            } else if let Some(slot) = self.last.get_mut(self.next) {
                *slot = one;
            }
            self.next = (self.next + 1) % ACKS;
        }
        let mut sorted = self.last.clone();
        let at = (sorted.len() * 95 / 100).min(sorted.len().saturating_sub(1));
        if !sorted.is_empty() {
            self.p95 = *sorted.select_nth_unstable(at).1;
        }
    }

    /// `None` while too little is known.
    pub fn p95(&self) -> Option<Duration> {
        (self.last.len() >= ACKS_KNOWN).then_some(self.p95)
    }
}

/// What the rule has to know of one upstream's queue.
#[derive(Debug, Clone, Copy)]
pub struct Receiver {
    pub connected: bool,
    pub p95: Option<Duration>,
    /// The first entry in its queue that is stored and not done; whatever stands behind it is due.
    pub stored: Option<EntryId>,
    /// When the oldest entry that it has not acknowledged was accepted.
    pub oldest: Option<Mono>,
}

/// All receivers.
#[derive(Debug, Clone, Copy)]
pub struct Receivers<'a> {
    pub upstreams: &'a [Receiver],
    /// [`Receiver::p95`] of all prompt sessions together. Whether one is prompt the broker says, entry by entry.
    pub sessions: Option<Duration>,
}

/// Whom an entry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Claims {
    /// As [`UpstreamSet::bits`].
    pub upstreams: u32,
    /// Prompt sessions.
    pub sessions: bool,
    /// A commit: it is due at once.
    pub commit: bool,
}

impl Claims {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Entries in memory that are in no commit, by whom they wait for and whether a promise hangs on them.
#[derive(Debug, Default)]
pub struct Waiting {
    groups: BTreeMap<(Claims, bool), Group>,
    len: usize,
}

type Group = BTreeMap<EntryId, Waiter>;

#[derive(Debug, Clone, Copy)]
struct Waiter {
    accepted: Mono,
    cost: usize,
}

impl Waiting {
    pub fn insert(&mut self, id: EntryId, claims: Claims, awaited: bool, accepted: Mono, cost: usize) {
        self.len += usize::from(self.groups.entry((claims, awaited)).or_default().insert(id, Waiter { accepted, cost }).is_none());
    }

    pub fn remove(&mut self, id: EntryId, claims: Claims, awaited: bool) {
        let key = (claims, awaited);
        if let Some(group) = self.groups.get_mut(&key) {
            self.len -= usize::from(group.remove(&id).is_some());
            if group.is_empty() {
                self.groups.remove(&key);
            }
        }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What is due besides entries, and what else bears on the decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Besides {
    /// Dead letters and changes of sessions that wait for their commit, and since when the oldest that a promise hangs on, or none, waits.
    pub others: usize,
    pub awaited: Option<Mono>,
    pub quiet: Option<Mono>,
    /// Most stored rows that became done in one queue since its cursor was stored, or for sessions, and since when.
    pub progress: u64,
    pub progress_since: Option<Mono>,
    /// Nothing waits for a batch to fill.
    pub drain: bool,
}

/// The keys of `[store]` that bear on the rule.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub ack_wait: Duration,
    pub ack_delay: Duration,
    pub flush_interval: Duration,
    pub commit_rows: usize,
    pub commit_bytes: usize,
    pub commits_per_second: f64,
    pub progress_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Commit,
    /// Ask again then, or when something has happened. `None`: nothing will become due by time alone.
    Wait(Option<Mono>),
}

/// The rule, with its tokens.
#[derive(Debug)]
pub struct Rule {
    limits: Limits,
    tokens: f64,
    filled: Mono,
}

impl Rule {
    pub const fn new(limits: Limits, now: Mono) -> Self {
        Self { limits, tokens: BURST, filled: now }
    }

    /// Whether to start a commit, the writer being idle. Takes a token when one is what lets it start.
    pub fn decide(&mut self, waiting: &Waiting, receivers: Receivers<'_>, besides: &Besides, now: Mono) -> Decision {
        let due = self.due(waiting, receivers, besides.drain, now, self.limits.commit_rows, self.limits.commit_bytes);
        let rows = due.ids.len() + besides.others;
        let awaited = earliest(due.awaited, besides.awaited);
        let quiet = earliest(due.quiet, besides.quiet);
        let progress = besides.progress_since.map(|since| since + PROGRESS_EVERY);
        if rows >= self.limits.commit_rows
            || due.bytes >= self.limits.commit_bytes
            || besides.drain && rows > 0
            || besides.progress >= self.limits.progress_rows
        {
            return Decision::Commit;
        }
        let mut wake = due.next;
        if let Some(oldest) = awaited {
            if self.take_token(now) {
                return Decision::Commit;
            }
            wake = earliest(wake, earliest(Some(oldest + self.limits.ack_delay), self.next_token()));
            if now >= oldest + self.limits.ack_delay {
                return Decision::Commit;
            }
        }
        for deadline in [quiet.map(|oldest| oldest + self.limits.flush_interval), progress].into_iter().flatten() {
            if now >= deadline {
                return Decision::Commit;
            }
            wake = earliest(wake, Some(deadline));
        }
        Decision::Wait(wake)
    }

    /// The due entries, oldest first, until one of the limits is met (one entry passes any limit of bytes).
    pub fn due(&self, waiting: &Waiting, receivers: Receivers<'_>, drain: bool, now: Mono, rows_max: usize, bytes_max: usize) -> Due {
        let mut due = Due::default();
        let mut found: Vec<(EntryId, usize)> = Vec::new();
        for (&(claims, awaited), group) in &waiting.groups {
            let patience = if drain { Patience::NONE } else { self.patience(claims, receivers, now) };
            let before = found.len();
            let mut bytes = 0;
            for (&id, waiter) in group.iter().take(rows_max) {
                if !patience.is_over(id, waiter.accepted, now) {
                    due.next = earliest(due.next, Some((waiter.accepted + patience.wait).min(patience.until)));
                    break;
                }
                found.push((id, waiter.cost));
                bytes += waiter.cost;
                note_oldest(&mut due, awaited, waiter.accepted);
                if bytes >= bytes_max {
                    break;
                }
            }
            // Behind the first stored entry all are due, also when some before it still have time.
            if let Some(stored) = patience.stored.filter(|_| found.len() - before < rows_max && bytes < bytes_max) {
                let last = found.get(before..).and_then(|of_group| of_group.last()).map_or(EntryId::ZERO, |(id, _)| *id);
                for (&id, waiter) in group.range(stored.max(last).next()..).take(rows_max) {
                    found.push((id, waiter.cost));
                    note_oldest(&mut due, awaited, waiter.accepted);
                }
            }
        }
        found.sort_unstable();
        for (id, cost) in found {
            if due.ids.len() >= rows_max || due.bytes >= bytes_max {
                break;
            }
            due.ids.push(id);
            due.bytes += cost;
        }
        due
    }

    /// How long the entries that wait for exactly these may wait before they are due.
    fn patience(&self, claims: Claims, receivers: Receivers<'_>, now: Mono) -> Patience {
        let mut all = Patience { wait: WAIT_MIN.min(self.limits.ack_wait), until: Mono::from_nanos(u64::MAX), stored: None, none: false };
        let slow = |p95: Option<Duration>| p95.is_some_and(|p95| p95 > self.limits.ack_wait);
        let wait = |p95: Option<Duration>| p95.map_or(self.limits.ack_wait, |p95| (p95 * 2).min(self.limits.ack_wait));
        if claims.commit || claims.sessions && slow(receivers.sessions) {
            return Patience::NONE;
        }
        if claims.sessions {
            all.wait = all.wait.max(wait(receivers.sessions));
        }
        for UpstreamId(upstream) in UpstreamSet::from_bits(claims.upstreams).iter() {
            let Some(receiver) = receivers.upstreams.get(usize::from(upstream)) else { return Patience::NONE };
            let until = receiver.oldest.map_or(Mono::from_nanos(u64::MAX), |oldest| oldest + PROMPT_AGE_MAX);
            if !receiver.connected || slow(receiver.p95) || now >= until {
                return Patience::NONE;
            }
            all.wait = all.wait.max(wait(receiver.p95));
            all.until = all.until.min(until);
            all.stored = earliest(all.stored, receiver.stored);
        }
        all
    }

    fn take_token(&mut self, now: Mono) -> bool {
        let gained = now.since(self.filled).as_secs_f64() * self.limits.commits_per_second;
        self.tokens = (self.tokens + gained).min(BURST);
        self.filled = now;
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    fn next_token(&self) -> Option<Mono> {
        let missing = (1.0 - self.tokens).max(0.0) / self.limits.commits_per_second;
        Duration::try_from_secs_f64(missing).ok().map(|wait| self.filled + wait + Duration::from_micros(1))
    }
}

/// What may be written now.
#[derive(Debug, Default)]
pub struct Due {
    pub ids: Vec<EntryId>,
    pub bytes: usize,
    /// When the oldest of them that a promise hangs on was accepted.
    pub awaited: Option<Mono>,
    /// When the oldest of them that nobody waits for was accepted.
    pub quiet: Option<Mono>,
    /// When the next entry becomes due by time.
    pub next: Option<Mono>,
}

fn note_oldest(due: &mut Due, awaited: bool, accepted: Mono) {
    let slot = if awaited { &mut due.awaited } else { &mut due.quiet };
    *slot = earliest(*slot, Some(accepted));
}

/// How long a group of entries may wait for its receivers.
#[derive(Debug, Clone, Copy)]
struct Patience {
    wait: Duration,
    /// When one of the receivers stops being prompt.
    until: Mono,
    stored: Option<EntryId>,
    none: bool,
}

impl Patience {
    const NONE: Self = Self { wait: Duration::ZERO, until: Mono::ZERO, stored: None, none: true };

    fn is_over(&self, id: EntryId, accepted: Mono, now: Mono) -> bool {
        self.none || now >= accepted + self.wait || self.stored.is_some_and(|stored| id > stored)
    }
}

/// The earlier of two that may be absent.
pub fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests;
