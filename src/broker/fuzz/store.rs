//! The outbox as the broker's contract has it, in memory: what was put, what of it is committed, and what a kill leaves.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Change, DoneHow, Due, DueDone, DueState, Entry, EntryId, IdRange, Put, Restored, RetainedMessage, SessionId, Start, StateChange,
    StoredSession, Subscription, Topic,
};

/// What one session has in the store.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Rows {
    pub(in crate::broker) session: StoredSession,
    pub(in crate::broker) subscriptions: BTreeMap<String, Subscription>,
    pub(in crate::broker) received: BTreeSet<u16>,
}

/// All rows.
#[derive(Debug, Clone, Default)]
pub(in crate::broker) struct Disk {
    pub(in crate::broker) sessions: BTreeMap<SessionId, Rows>,
    /// Messages that sessions are owed.
    pub(in crate::broker) entries: BTreeMap<EntryId, Entry>,
    pub(in crate::broker) due: BTreeMap<(SessionId, EntryId), Due>,
    pub(in crate::broker) retained: BTreeMap<Topic, RetainedMessage>,
}

#[derive(Debug)]
enum Item {
    Entry(Entry),
    Change(Change),
    Done(DueDone),
}

/// The store, and what is on its way to it.
#[derive(Debug, Default)]
pub(in crate::broker) struct Store {
    epoch: u32,
    last: Option<EntryId>,
    /// As if all that was put were committed: what the broker's state has to agree with.
    pub(in crate::broker) latest: Disk,
    /// What a kill leaves.
    pub(in crate::broker) durable: Disk,
    /// In the order in which it was put.
    waiting: Vec<Item>,
    /// Of entries that receivers in time may settle before they are written: who is left.
    straight: BTreeMap<EntryId, BTreeSet<SessionId>>,
    unsecured: BTreeSet<EntryId>,
    newly: Vec<EntryId>,
    /// What queues had no room for, or what expired: client and body.
    dropped: BTreeSet<(String, Vec<u8>)>,
}

impl Store {
    pub(in crate::broker) fn start(&mut self) -> Start {
        self.epoch += 1;
        Start { epoch: self.epoch, nonce: self.epoch }
    }

    /// A kill: what was not committed is gone.
    pub(in crate::broker) fn kill(&mut self) {
        self.latest = self.durable.clone();
        self.waiting.clear();
        self.straight.clear();
        self.unsecured.clear();
        self.newly.clear();
        self.last = None;
    }

    /// What a start after it reads, in pages.
    pub(in crate::broker) fn restored(&self, page: usize) -> Vec<Vec<Restored>> {
        let disk = &self.durable;
        let mut all: Vec<Restored> = disk.sessions.values().map(|rows| Restored::Session(rows.session.clone())).collect();
        for (&session, rows) in &disk.sessions {
            all.extend(rows.subscriptions.values().map(|s| Restored::Subscription { session, subscription: s.clone() }));
            all.extend(rows.received.iter().map(|&packet_id| Restored::Received { session, packet_id }));
        }
        for (id, entry) in &disk.entries {
            let due: Vec<Due> = disk.due.iter().filter(|((_, entry), _)| entry == id).map(|(_, due)| due.clone()).collect();
            if !due.is_empty() {
                let entry = Entry { due, received: None, retained: false, awaited: false, ..entry.clone() };
                all.push(Restored::Entry(entry));
            }
        }
        all.extend(disk.retained.values().cloned().map(Restored::Retained));
        all.chunks(page.max(1)).map(<[Restored]>::to_vec).collect()
    }

    /// What the broker has put, in order.
    pub(in crate::broker) fn take(&mut self, puts: Vec<Put>) {
        for put in puts {
            let item = match put {
                Put::Entry(entry) => {
                    self.rises(entry.id);
                    self.check_entry(&entry);
                    let settled_by_acks = !entry.retained && entry.received.is_none() && entry.due.iter().all(|due| due.prompt);
                    if settled_by_acks {
                        self.straight.insert(entry.id, entry.due.iter().map(|due| due.session).collect());
                    }
                    Item::Entry(entry)
                }
                Put::Change(change) => {
                    self.rises(change.id);
                    self.check_change(&change);
                    if let StateChange::Due { entry, .. } = &change.what {
                        // A row of a message that is not written would point nowhere.
                        self.straight.remove(entry);
                    }
                    Item::Change(change)
                }
                Put::Done(done) => {
                    let was = self.latest.due.contains_key(&(done.session, done.entry));
                    assert!(was, "{done:?} is said of what nobody is owed");
                    self.note_dropped(&done);
                    self.settle(&done);
                    Item::Done(done)
                }
            };
            self.latest.apply(&item);
            self.waiting.push(item);
        }
    }

    fn note_dropped(&mut self, done: &DueDone) {
        let rows = self.latest.sessions.get(&done.session);
        let entry = self.latest.entries.get(&done.entry);
        if let (Some(rows), Some(entry)) = (rows, entry)
            && done.how != DoneHow::Acknowledged
        {
            self.dropped.insert((rows.session.client.to_string(), entry.body.bytes.to_vec()));
        }
    }

    #[cfg(test)]
    /// Whether a session of `client` had to let go of a message with this body.
    pub(in crate::broker) fn dropped(&self, client: &str, body: &[u8]) -> bool {
        self.dropped.contains(&(client.to_owned(), body.to_vec()))
    }

    fn rises(&mut self, id: EntryId) {
        assert!(Some(id) > self.last, "{id} comes after {:?}", self.last);
        assert_eq!(id.epoch(), self.epoch, "{id} is of another start");
        self.last = Some(id);
        self.unsecured.insert(id);
    }

    fn check_entry(&self, entry: &Entry) {
        let mut seen = BTreeSet::new();
        for due in &entry.due {
            assert!(self.latest.sessions.contains_key(&due.session), "{} is owed to a session that the store does not know", entry.id);
            assert!(seen.insert(due.session), "{} is owed twice to one session", entry.id);
            assert!(!(due.prompt && due.qos == crate::model::QoS::ExactlyOnce), "QoS 2 is never prompt");
        }
        if let Some((session, _)) = entry.received {
            assert!(self.latest.sessions.contains_key(&session), "a packet id of a session that the store does not know");
        }
        let owed = !entry.owed.is_empty() || !entry.due.is_empty() || entry.retained;
        assert!(owed, "{} is owed to nobody", entry.id);
    }

    fn check_change(&self, change: &Change) {
        let known = |session: &SessionId| self.latest.sessions.contains_key(session);
        let ok = match &change.what {
            StateChange::Session(stored) => {
                let other = self.latest.sessions.values().any(|rows| rows.session.client == stored.client && rows.session.id != stored.id);
                assert!(!other, "two sessions of the client {:?}", stored.client);
                assert!(stored.expiry > 0, "a session that ends with its connection is not stored");
                known(&stored.id) || stored.id.0 == change.id
            }
            StateChange::SessionEnded(session)
            | StateChange::Subscribed { session, .. }
            | StateChange::Unsubscribed { session, .. }
            | StateChange::Received { session, .. }
            | StateChange::Released { session, .. } => known(session),
            StateChange::Due { entry, due } => known(&due.session) && self.latest.entries.contains_key(entry),
            StateChange::Retained(_) | StateChange::RetainedGone(_) => true,
        };
        assert!(ok, "{change:?} speaks of what the store does not know");
    }

    /// A receiver has acknowledged an entry that is perhaps not written yet.
    fn settle(&mut self, done: &DueDone) {
        let Some(left) = self.straight.get_mut(&done.entry) else { return };
        left.remove(&done.session);
        let entry = self.waiting.iter().position(|item| matches!(item, Item::Entry(entry) if entry.id == done.entry));
        let owed =
            entry.and_then(|at| self.waiting.get(at)).is_some_and(|item| matches!(item, Item::Entry(entry) if !entry.owed.is_empty()));
        if left.is_empty() && !owed {
            self.straight.remove(&done.entry);
            self.secure(done.entry);
        }
    }

    fn settle_all(&mut self, session: SessionId) {
        let owed: Vec<EntryId> = self.straight.iter().filter(|(_, left)| left.contains(&session)).map(|(id, _)| *id).collect();
        for entry in owed {
            self.settle(&DueDone { session, entry, how: DoneHow::Acknowledged });
        }
    }

    /// The upstreams acknowledge what they are owed.
    pub(in crate::broker) fn upstreams_settle(&mut self) {
        let mut settled = Vec::new();
        for item in &mut self.waiting {
            if let Item::Entry(entry) = item
                && !entry.owed.is_empty()
            {
                entry.owed = crate::model::UpstreamSet::EMPTY;
                if self.straight.get(&entry.id).is_some_and(BTreeSet::is_empty) {
                    settled.push(entry.id);
                }
            }
        }
        for id in settled {
            self.straight.remove(&id);
            self.secure(id);
        }
    }

    fn secure(&mut self, id: EntryId) {
        if self.unsecured.remove(&id) {
            self.newly.push(id);
        }
    }

    /// One commit of the first `items` that were put. `all`: also of what receivers may yet settle without it.
    pub(in crate::broker) fn commit(&mut self, items: usize, all: bool) {
        let items = items.min(self.waiting.len());
        let batch: Vec<Item> = self.waiting.drain(..items).collect();
        let mut kept = Vec::new();
        let mut later: BTreeSet<EntryId> = BTreeSet::new();
        for item in batch {
            match &item {
                Item::Entry(entry) if !all && self.straight.contains_key(&entry.id) => {
                    later.insert(entry.id);
                    kept.push(item);
                    continue;
                }
                // What is said of an entry that is not written stays behind it.
                Item::Done(done) if later.contains(&done.entry) => {
                    kept.push(item);
                    continue;
                }
                Item::Entry(entry) => {
                    self.straight.remove(&entry.id);
                    let id = entry.id;
                    self.secure(id);
                }
                Item::Change(change) => {
                    let id = change.id;
                    self.secure(id);
                    if let StateChange::SessionEnded(session) = change.what {
                        self.settle_all(session);
                    }
                }
                Item::Done(_) => {}
            }
            self.durable.apply(&item);
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
    }

    /// What became secured since it was last asked.
    pub(in crate::broker) fn secured(&mut self) -> Vec<IdRange> {
        std::mem::take(&mut self.newly).into_iter().map(IdRange::one).collect()
    }

    pub(in crate::broker) fn is_secured(&self, id: EntryId) -> bool {
        !self.unsecured.contains(&id)
    }

    pub(in crate::broker) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Disk {
    fn apply(&mut self, item: &Item) {
        match item {
            Item::Entry(entry) => self.entry(entry),
            Item::Change(change) => self.change(&change.what),
            Item::Done(done) => {
                self.due.remove(&(done.session, done.entry));
                self.trim(done.entry);
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        if let Some((session, packet_id)) = entry.received
            && let Some(rows) = self.sessions.get_mut(&session)
        {
            rows.received.insert(packet_id);
        }
        if entry.retained {
            if entry.body.bytes.is_empty() {
                self.retained.remove(&entry.topic);
            } else {
                let Entry { topic, body, qos, properties, expires, source, .. } = entry.clone();
                self.retained.insert(topic.clone(), RetainedMessage { topic, body, qos, properties, expires, source });
            }
        }
        // A session may have ended since: what could wait for its acknowledgement is written after that.
        let sessions = &self.sessions;
        let due: Vec<&Due> = entry.due.iter().filter(|due| sessions.contains_key(&due.session)).collect();
        if !due.is_empty() {
            self.entries.insert(entry.id, entry.clone());
        }
        self.due.extend(due.into_iter().map(|due| ((due.session, entry.id), due.clone())));
    }

    fn change(&mut self, what: &StateChange) {
        match what {
            StateChange::Session(stored) => match self.sessions.get_mut(&stored.id) {
                Some(rows) => rows.session = stored.clone(),
                None => {
                    let (subscriptions, received) = Default::default();
                    self.sessions.insert(stored.id, Rows { session: stored.clone(), subscriptions, received });
                }
            },
            StateChange::SessionEnded(id) => {
                self.sessions.remove(id);
                let owed: Vec<_> = self.due.keys().filter(|(session, _)| session == id).copied().collect();
                for key in owed {
                    self.due.remove(&key);
                    self.trim(key.1);
                }
            }
            StateChange::Subscribed { session, subscription } => {
                if let Some(rows) = self.sessions.get_mut(session) {
                    rows.subscriptions.insert(subscription.filter.as_str().to_owned(), subscription.clone());
                }
            }
            StateChange::Unsubscribed { session, filter } => {
                if let Some(rows) = self.sessions.get_mut(session) {
                    rows.subscriptions.remove(filter.as_str());
                }
            }
            StateChange::Received { session, packet_id } => {
                if let Some(rows) = self.sessions.get_mut(session) {
                    rows.received.insert(*packet_id);
                }
            }
            StateChange::Released { session, packet_id } => {
                if let Some(rows) = self.sessions.get_mut(session) {
                    rows.received.remove(packet_id);
                }
            }
            StateChange::Due { entry, due } => {
                if self.entries.contains_key(entry) {
                    self.due.insert((due.session, *entry), due.clone());
                }
            }
            StateChange::Retained(message) => {
                self.retained.insert(message.topic.clone(), message.clone());
            }
            StateChange::RetainedGone(topic) => {
                self.retained.remove(topic);
            }
        }
    }

    fn trim(&mut self, entry: EntryId) {
        if !self.due.keys().any(|(_, owed)| *owed == entry) {
            self.entries.remove(&entry);
        }
    }

    /// The row of the QoS 2 message that this session has under this packet id: whether PUBREC has come for it.
    pub(in crate::broker) fn sent(&self, session: SessionId, packet_id: u16) -> Option<bool> {
        self.due.range((session, EntryId::ZERO)..).take_while(|((owner, _), _)| *owner == session).find_map(|(_, due)| match due.state {
            DueState::Sent(id) if id == packet_id => Some(false),
            DueState::Released(id) if id == packet_id => Some(true),
            _ => None,
        })
    }
}
