//! What sessions are owed, and changes of their state: which wait for a commit, which rows are to go.
//!
//! What a session is done with is deleted by a later commit that nobody waits for; until then its row is harmless, since what it says is
//! sent twice at worst. Rows of a session that has ended are dropped at the next start.

use super::disk::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Writing};
use super::*;
use crate::model::{Change, DoneHow, DueDone, DueState, SessionId, StateChange};
use crate::outbox::commit::{Besides, Due as DueNow, Latency};
use crate::outbox::job::Loss;

/// Of one page to the broker; one item passes, however large.
pub const RESTORED_ITEMS: usize = 256;
pub const RESTORED_BYTES: usize = 256 << 10;

/// The state of sessions, as far as the store has to do with it.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// What each is owed. As long as the sessions' queues, which the broker bounds.
    due: BTreeMap<SessionId, BTreeMap<EntryId, DueRow>>,
    /// Sessions whose end waits for its commit.
    ended: BTreeSet<SessionId>,
    /// In no batch yet.
    changes: BTreeMap<EntryId, Change>,
    /// Of `changes`: the oldest that somebody waits for, and that nobody does.
    awaited: Option<Mono>,
    quiet: Option<Mono>,
    /// Rows of `due` to be deleted.
    removed: BTreeSet<(EntryId, SessionId)>,
    losses: BTreeMap<SessionId, Loss>,
    /// Entries in memory that wait for these records, one each time, and since when a promise hangs on one.
    dropped: Vec<EntryId>,
    dropped_since: Option<Mono>,
    /// Since when there are some of these.
    unhurried_since: Option<Mono>,
    latency: Latency,
    /// Acknowledgements that `latency` has not taken up.
    took: Vec<Duration>,
    /// Messages that were dropped because a session's queue was full: ever, and since the start.
    pub lost: u64,
    pub lost_now: u64,
    /// Messages that expired in a session's queue.
    pub expired: u64,
}

/// Where it stands what a session is owed of an entry.
#[derive(Debug, Clone, Copy)]
enum DueRow {
    /// With the entry in memory.
    Memory,
    /// In a row; `prompt`: acceptance of the entry, if the session was to answer in time.
    Disk { prompt: Option<Mono> },
}

impl Sessions {
    pub fn restored(&mut self, restored: &[Restored], lost: u64) {
        self.lost = lost;
        for entry in restored.iter().filter_map(|item| if let Restored::Entry(entry) = item { Some(entry) } else { None }) {
            for due in &entry.due {
                self.due.entry(due.session).or_default().insert(entry.id, DueRow::Disk { prompt: None });
            }
        }
    }

    pub fn owe(&mut self, session: SessionId, id: EntryId) {
        self.due.entry(session).or_default().insert(id, DueRow::Memory);
    }

    pub fn claims(&self, held: &Held) -> Claims {
        let by_commit = |due: &Due| !due.prompt || due.qos == QoS::ExactlyOnce || self.ended.contains(&due.session);
        Claims {
            upstreams: held.owed.bits(),
            sessions: !held.due.is_empty(),
            commit: held.forced || held.entry.received.is_some() || held.entry.retained || held.due.iter().any(by_commit),
        }
    }

    /// What was acknowledged since it was last asked bears on what is to be expected.
    pub fn learn(&mut self) {
        if !self.took.is_empty() {
            self.latency.push(&std::mem::take(&mut self.took));
        }
    }

    pub fn p95(&self) -> Option<Duration> {
        self.latency.p95()
    }

    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some() || self.dropped_since.is_some()
    }

    /// Entries that sessions are owed; one that several are owed counts for each.
    pub fn owed(&self) -> u64 {
        self.due.values().map(BTreeMap::len).sum::<usize>() as u64
    }

    pub fn besides(&self, finishing: bool) -> Besides {
        let progress = (self.removed.len() + self.losses.len()) as u64;
        Besides {
            others: self.changes.len() + self.dropped.len(),
            awaited: earliest(self.awaited, self.dropped_since),
            quiet: self.quiet,
            progress: if finishing && progress > 0 { u64::MAX } else { progress },
            progress_since: self.unhurried_since,
            drain: false,
        }
    }

    /// Whether the end of the session is among these.
    pub fn ends_in(&self, session: SessionId, changes: &[Change]) -> bool {
        self.ended.contains(&session) && changes.iter().any(|change| change.what == StateChange::SessionEnded(session))
    }

    /// What a session is owed of this entry stands in a row now.
    pub fn row_committed(&mut self, session: SessionId, id: EntryId, prompt: Option<Mono>) {
        if let Some(row) = self.due.get_mut(&session).and_then(|due| due.get_mut(&id)) {
            *row = DueRow::Disk { prompt };
        }
    }

    /// Nothing of this was committed.
    pub fn take_back(&mut self, changes: Vec<Change>, removed: Vec<(EntryId, SessionId)>, losses: Vec<Loss>, now: Mono) {
        if !removed.is_empty() || !losses.is_empty() {
            self.unhurried_since.get_or_insert(now);
        }
        for change in changes {
            self.wait(change);
        }
        self.removed.extend(removed);
        for loss in losses {
            self.note_loss(loss);
        }
    }

    fn wait(&mut self, change: Change) {
        let since = if change.awaited { &mut self.awaited } else { &mut self.quiet };
        *since = earliest(*since, Some(change.at));
        self.changes.insert(change.id, change);
    }

    fn remove_row(&mut self, id: EntryId, session: SessionId, now: Mono) {
        self.removed.insert((id, session));
        self.unhurried_since.get_or_insert(now);
    }

    /// An entry without a row was dropped.
    pub fn wait_for_loss(&mut self, entry: &Entry) {
        self.dropped.push(entry.id);
        self.dropped_since = earliest(self.dropped_since, entry.awaited.then_some(entry.accepted));
    }

    fn note_loss(&mut self, loss: Loss) {
        let all = self.losses.entry(loss.session).or_insert(Loss { count: 0, ..loss });
        all.first = all.first.min(loss.first);
        all.last = all.last.max(loss.last);
        all.count += loss.count;
        all.at = loss.at;
    }
}

impl Ledger {
    pub(super) fn change(&mut self, change: Change) {
        let id = change.id;
        self.unsecured.insert(id);
        let early = match &change.what {
            StateChange::SessionEnded(session) => {
                self.sessions.ended.insert(*session);
                let owed = self.sessions.due.get(session);
                let ids: Vec<EntryId> = owed.into_iter().flat_map(|due| due.keys().copied()).collect();
                // Only a commit settles them now: that of the end.
                ids.into_iter().for_each(|id| self.wait_again(id));
                false
            }
            StateChange::Due { entry, due } => {
                self.due_changed(*entry, due.clone());
                matches!(due.state, DueState::Sent(_)) && faults::active("qos2-early")
            }
            StateChange::Subscribed { .. } => faults::active("suback-early"),
            StateChange::Released { .. } => faults::active("pubcomp-early"),
            _ => false,
        };
        if early {
            self.secure(id);
        }
        self.sessions.wait(change);
        if !self.disk.is_usable() {
            self.keep_changes_in_memory();
        }
    }

    fn due_changed(&mut self, id: EntryId, due: Due) {
        let session = due.session;
        let Some(held) = self.held.get_mut(&id).filter(|held| held.place != Place::Stored) else {
            self.sessions.due.entry(session).or_default().entry(id).or_insert(DueRow::Disk { prompt: None });
            return;
        };
        match held.due.iter_mut().find(|known| known.session == session) {
            Some(known) => *known = due,
            None => held.due.push(due),
        }
        held.forced = self.disk.is_usable();
        self.sessions.owe(session, id);
        self.wait_again(id);
    }

    /// A session is done with an entry.
    pub(super) fn due_done(&mut self, done: DueDone, now: Now) {
        let DueDone { session, entry: id, how } = done;
        let Some(owed) = self.sessions.due.get_mut(&session) else { return };
        let Some(row) = owed.remove(&id) else { return };
        let mut prompt = None;
        match (row, self.held.get_mut(&id)) {
            (DueRow::Memory, Some(held)) => {
                if held.due.iter().any(|due| due.session == session && due.prompt) {
                    prompt = Some(held.entry.accepted);
                }
                held.due.retain(|due| due.session != session);
                if how == DoneHow::Overflow && self.disk.is_usable() {
                    // After a kill nothing would tell of it: its promise waits for the record of the loss.
                    held.dropped += 1;
                    self.sessions.wait_for_loss(&held.entry);
                }
                // Its row is being written, or would be by a change that waits.
                if held.place == Place::Writing || held.forced {
                    self.sessions.remove_row(id, session, now.mono);
                }
                self.check(id);
            }
            (DueRow::Disk { prompt: accepted }, _) => {
                prompt = accepted;
                self.sessions.remove_row(id, session, now.mono);
            }
            (DueRow::Memory, None) => {}
        }
        match how {
            DoneHow::Acknowledged => self.sessions.took.extend(prompt.map(|accepted| now.mono.since(accepted))),
            DoneHow::Expired => self.sessions.expired += 1,
            DoneHow::Overflow => {
                self.sessions.lost += 1;
                self.sessions.lost_now += 1;
                self.sessions.unhurried_since.get_or_insert(now.mono);
                self.sessions.note_loss(Loss { session, first: id, last: id, count: 1, cause: "overflow", at: now.wall });
            }
        }
    }

    /// Moves changes into the batch, in the order of ids and among its entries: what stands before one goes with it or went before. Returns
    /// the entries that go.
    pub(super) fn take_changes(&mut self, due: DueNow, writing: &mut Writing) -> Vec<EntryId> {
        let mut ids = due.ids;
        let full = ids.len() >= BATCH_ROWS_MAX || due.bytes >= BATCH_BYTES_MAX;
        let upto = if full { ids.last().copied() } else { None };
        let mut bytes = 0;
        let sessions = &mut self.sessions;
        while let Some(next) = sessions.changes.first_entry() {
            let fits = writing.changes.len() < BATCH_ROWS_MAX && bytes < BATCH_BYTES_MAX;
            if !fits || upto.is_some_and(|upto| *next.key() > upto) {
                let first_left = *next.key();
                ids.retain(|id| *id < first_left);
                break;
            }
            let change = next.remove();
            bytes += cost(&change);
            if let StateChange::SessionEnded(session) = change.what {
                let owed = sessions.due.get(&session);
                sessions.removed.extend(owed.into_iter().flat_map(|due| due.keys().map(|id| (*id, session))));
            }
            writing.changes.push(change);
        }
        let oldest = |awaited| sessions.changes.values().find(|change| change.awaited == awaited).map(|change| change.at);
        (sessions.awaited, sessions.quiet) = (oldest(true), oldest(false));
        // A row is deleted after all changes of it.
        if sessions.changes.is_empty() {
            writing.removed = std::mem::take(&mut sessions.removed).into_iter().collect();
            writing.losses = std::mem::take(&mut sessions.losses).into_values().collect();
            writing.dropped = std::mem::take(&mut sessions.dropped);
            sessions.dropped_since = None;
            sessions.unhurried_since = None;
        }
        ids
    }

    pub(super) fn change_committed(&mut self, change: &Change) {
        self.secure(change.id);
        if let StateChange::SessionEnded(session) = change.what {
            self.session_is_gone(session);
        }
    }

    /// The loss of this entry to one session is in a commit.
    pub(super) fn loss_recorded(&mut self, id: EntryId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.dropped -= 1;
        if held.place != Place::Stored {
            return self.check(id);
        }
        if held.dropped == 0 {
            self.secure(id);
        }
        self.forget_stored(id);
    }

    /// Settles what entries in memory were still waiting for of a session that has ended.
    fn session_is_gone(&mut self, session: SessionId) {
        self.sessions.ended.remove(&session);
        let owed = self.sessions.due.remove(&session).unwrap_or_default();
        for id in owed.into_keys() {
            if let Some(held) = self.held.get_mut(&id) {
                held.due.retain(|due| due.session != session);
                self.check(id);
            }
        }
    }

    /// Without a disk changes of sessions stand in memory, under the alarm; what stands for a message still waits (outbox.md 14).
    pub(super) fn keep_changes_in_memory(&mut self) {
        let waits = |change: &Change| matches!(change.what, StateChange::Received { .. });
        let ended = |change: &Change| if let StateChange::SessionEnded(session) = change.what { Some(session) } else { None };
        let ends: Vec<SessionId> = self.sessions.changes.values().filter_map(ended).collect();
        let of_ended = |change: &Change| matches!(change.what, StateChange::Received { session, .. } if ends.contains(&session));
        let all = std::mem::take(&mut self.sessions.changes);
        for change in all.into_values() {
            if waits(&change) && !of_ended(&change) {
                self.sessions.changes.insert(change.id, change);
            } else {
                self.change_committed(&change);
            }
        }
        (self.sessions.awaited, self.sessions.quiet, self.sessions.unhurried_since) = (None, None, None);
        self.sessions.removed.clear();
        self.sessions.losses.clear();
        self.sessions.dropped_since = None;
        for id in std::mem::take(&mut self.sessions.dropped) {
            self.loss_recorded(id);
        }
    }
}

fn cost(change: &Change) -> usize {
    Entry::OVERHEAD + change.what.size()
}

/// Cuts what was restored into pages.
pub(super) fn pages(restored: Vec<Restored>) -> Vec<Vec<Restored>> {
    let mut pages: Vec<Vec<Restored>> = Vec::new();
    let mut bytes = 0;
    for item in restored {
        let cost = match &item {
            Restored::Entry(entry) => entry.cost(),
            Restored::Session(session) => {
                let will = session.will.as_ref().map_or(0, |will| will.topic.as_bytes().len() + will.body.len() + will.properties.len());
                Entry::OVERHEAD + session.client.len() + will
            }
            Restored::Subscription { subscription, .. } => Entry::OVERHEAD + subscription.filter.as_str().len(),
            Restored::Received { .. } => Entry::OVERHEAD,
            Restored::Retained(message) => Entry::OVERHEAD + message.topic.as_bytes().len() + message.body.bytes.len(),
        };
        match pages.last_mut() {
            Some(page) if page.len() < RESTORED_ITEMS && bytes + cost <= RESTORED_BYTES => page.push(item),
            _ => {
                pages.push(vec![item]);
                bytes = 0;
            }
        }
        bytes += cost;
    }
    pages
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Body, Publisher, RetainedMessage, Topic};

    #[test]
    fn a_page_has_its_bounds_and_one_item_passes_however_large() {
        let message = |bytes| {
            let body = Body::raw(Bytes::from(vec![0; bytes]));
            let topic = Topic::new("a").expect("a topic");
            let (qos, properties, source) = (QoS::AtLeastOnce, Bytes::new(), Publisher::Gateway);
            Restored::Retained(RetainedMessage { topic, body, qos, properties, expires: None, source })
        };
        for (what, sizes, expected) in [
            ("nothing", vec![], vec![]),
            ("many small ones", vec![1; 600], vec![256, 256, 88]),
            ("large ones", vec![100 << 10; 5], vec![2, 2, 1]),
            ("one too large among small ones", vec![1, 1 << 20, 1], vec![1, 1, 1]),
        ] {
            let pages = pages(sizes.into_iter().map(message).collect());
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{what}");
        }
    }
}
