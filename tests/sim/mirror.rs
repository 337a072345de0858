//! What the model disk holds of sessions: the tables of the real store, one map each.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::model::{
    Change, Due, Entry, EntryId, Restored, RetainedMessage, SessionId, StateChange, StoredSession, Subscription, Topic, UpstreamId,
    UpstreamSet,
};
use tidegate::outbox::job::{Batch, Bit, Loss, Row};

#[derive(Default)]
pub struct Mirror {
    sessions: BTreeMap<SessionId, StoredSession>,
    subscriptions: BTreeMap<(SessionId, String), Subscription>,
    received: BTreeSet<(SessionId, u16)>,
    due: BTreeMap<(EntryId, SessionId), Due>,
    retained: BTreeMap<Topic, RetainedMessage>,
    losses: Vec<Loss>,
}

impl Mirror {
    /// Entries and changes in the order of their ids. Returns the entries that get a row.
    pub fn commit(&mut self, batch: &Batch) -> Vec<Row> {
        let ids: Vec<EntryId> = batch.rows.iter().map(|row| row.entry.id).collect();
        assert!(ids.is_sorted() && batch.changes.is_sorted_by_key(|change| change.id), "in the order of ids");
        let mut changes = batch.changes.iter().peekable();
        for row in &batch.rows {
            while let Some(change) = changes.next_if(|change| change.id < row.entry.id) {
                self.change(change);
            }
            self.row(&row.entry);
        }
        changes.for_each(|change| self.change(change));
        for (entry, session) in &batch.removed {
            self.due.remove(&(*entry, *session));
        }
        self.losses.extend(&batch.losses);
        batch.rows.iter().filter(|row| row.is_owed()).cloned().collect()
    }

    fn row(&mut self, entry: &Entry) {
        for due in &entry.due {
            self.due.insert((entry.id, due.session), due.clone());
        }
        self.received.extend(entry.received);
        if entry.retained && entry.body.bytes.is_empty() {
            self.retained.remove(&entry.topic);
        } else if entry.retained {
            let Entry { topic, body, qos, properties, expires, source, .. } = entry.clone();
            self.retained.insert(topic.clone(), RetainedMessage { topic, body, qos, properties, expires, source });
        }
    }

    fn change(&mut self, change: &Change) {
        match change.what.clone() {
            StateChange::Session(session) => drop(self.sessions.insert(session.id, session)),
            StateChange::SessionEnded(session) => {
                self.sessions.remove(&session);
                self.subscriptions.retain(|(of, _), _| *of != session);
                self.received.retain(|(of, _)| *of != session);
            }
            StateChange::Subscribed { session, subscription } => {
                self.subscriptions.insert((session, subscription.filter.as_str().to_owned()), subscription);
            }
            StateChange::Unsubscribed { session, filter } => drop(self.subscriptions.remove(&(session, filter.as_str().to_owned()))),
            StateChange::Received { session, packet_id } => drop(self.received.insert((session, packet_id))),
            StateChange::Released { session, packet_id } => drop(self.received.remove(&(session, packet_id))),
            StateChange::Due { entry, due } => drop(self.due.insert((entry, due.session), due)),
            StateChange::Retained(message) => drop(self.retained.insert(message.topic.clone(), message)),
            StateChange::RetainedGone(topic) => drop(self.retained.remove(&topic)),
        }
    }

    pub fn is_due(&self, entry: EntryId) -> bool {
        self.due.range((entry, SessionId(EntryId::ZERO))..).next().is_some_and(|((of, _), _)| *of == entry)
    }

    pub fn rows_due(&self) -> usize {
        self.due.len()
    }

    pub fn lost(&self) -> u64 {
        self.losses.iter().map(|loss| loss.count).sum()
    }

    /// As the start hands it to the broker. What hangs on nothing goes.
    pub fn restore(&mut self, rows: &BTreeMap<EntryId, Row>, queues: &[(Bit, EntryId)]) -> Vec<Restored> {
        let Self { sessions, subscriptions, received, due, retained, .. } = self;
        subscriptions.retain(|(session, _), _| sessions.contains_key(session));
        received.retain(|(session, _)| sessions.contains_key(session));
        due.retain(|(entry, session), _| sessions.contains_key(session) && rows.contains_key(entry));
        let mut restored: Vec<Restored> = sessions.values().cloned().map(Restored::Session).collect();
        let subscription = |((session, _), subscription): (&(SessionId, String), &Subscription)| Restored::Subscription {
            session: *session,
            subscription: subscription.clone(),
        };
        restored.extend(subscriptions.iter().map(subscription));
        restored.extend(received.iter().map(|&(session, packet_id)| Restored::Received { session, packet_id }));
        let due: Vec<(EntryId, Due)> = due.iter().map(|((entry, _), due)| (*entry, Due { prompt: false, ..due.clone() })).collect();
        for of_entry in due.chunk_by(|one, other| one.0 == other.0) {
            let id = of_entry[0].0;
            let mut owed = UpstreamSet::EMPTY;
            for (n, (bit, cursor)) in queues.iter().enumerate() {
                if rows[&id].mask & bit.mask() != 0 && id > *cursor {
                    owed.insert(UpstreamId(n as u8));
                }
            }
            let due = of_entry.iter().map(|(_, due)| due.clone()).collect();
            let entry = Entry { owed, due, awaited: false, received: None, retained: false, ..rows[&id].entry.clone() };
            restored.push(Restored::Entry(entry));
        }
        restored.extend(retained.values().cloned().map(Restored::Retained));
        restored
    }
}
