//! What was told to the store, key by key, and what may therefore come back: for each key the last value that was secured, or a later one.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::model::{DueState, Entry, EntryId, QoS, Restored, SessionId, StateChange};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Session(SessionId),
    Subscription(SessionId, String),
    Received(SessionId, u16),
    Due(EntryId, SessionId),
    Retained(String),
}

/// As text; `None`: it is not there.
type Value = Option<String>;

#[derive(Default)]
pub struct History {
    /// With the id that stands for each; none: a session was done with it, which nobody waits for.
    values: BTreeMap<Key, Vec<(Option<EntryId>, Value)>>,
    secured: BTreeSet<EntryId>,
    clients: BTreeMap<SessionId, String>,
    owed: BTreeMap<(SessionId, EntryId), (QoS, DueState)>,
}

impl History {
    fn note(&mut self, key: Key, id: Option<EntryId>, value: Value) {
        self.values.entry(key).or_insert_with(|| vec![(None, None)]).push((id, value));
    }

    pub fn entry(&mut self, entry: &Entry) {
        for due in &entry.due {
            self.note(Key::Due(entry.id, due.session), Some(entry.id), Some(format!("{:?} {:?}", due.qos, due.state)));
        }
        if let Some((session, packet)) = entry.received {
            self.note(Key::Received(session, packet), Some(entry.id), Some(String::new()));
        }
        if entry.retained {
            let value = (!entry.body.bytes.is_empty()).then(|| format!("{:?}", entry.body.bytes));
            self.note(Key::Retained(entry.topic.to_string()), Some(entry.id), value);
        }
    }

    pub fn change(&mut self, id: EntryId, what: &StateChange) {
        let (key, value) = match what {
            StateChange::Session(session) => {
                self.clients.insert(session.id, session.client.to_string());
                (Key::Session(session.id), Some(session.client.to_string()))
            }
            StateChange::SessionEnded(session) => {
                // With all that hangs on it, whatever becomes of that before.
                let of_it: Vec<Key> = self.values.keys().filter(|key| key.session() == Some(*session)).cloned().collect();
                of_it.into_iter().for_each(|key| self.note(key, Some(id), None));
                return;
            }
            StateChange::Subscribed { session, subscription } => {
                (Key::Subscription(*session, subscription.filter.as_str().to_owned()), Some(format!("{:?}", subscription.options)))
            }
            StateChange::Unsubscribed { session, filter } => (Key::Subscription(*session, filter.as_str().to_owned()), None),
            StateChange::Received { session, packet_id } => (Key::Received(*session, *packet_id), Some(String::new())),
            StateChange::Released { session, packet_id } => (Key::Received(*session, *packet_id), None),
            StateChange::Due { entry, due } => (Key::Due(*entry, due.session), Some(format!("{:?} {:?}", due.qos, due.state))),
            StateChange::Retained(message) => (Key::Retained(message.topic.to_string()), Some(format!("{:?}", message.body.bytes))),
            StateChange::RetainedGone(topic) => (Key::Retained(topic.to_string()), None),
        };
        self.note(key, Some(id), value);
    }

    /// Its row goes some time later.
    pub fn done(&mut self, entry: EntryId, session: SessionId) {
        self.note(Key::Due(entry, session), None, None);
    }

    pub fn secured(&mut self, id: EntryId) {
        self.secured.insert(id);
    }

    /// Holds what came back against what may; from here on it is what came back. Returns what is wrong.
    pub fn restart(&mut self, restored: impl Iterator<Item = Restored>) -> Vec<String> {
        let mut found: BTreeMap<Key, String> = BTreeMap::new();
        self.owed.clear();
        for item in restored {
            match item {
                Restored::Session(session) => drop(found.insert(Key::Session(session.id), session.client.to_string())),
                Restored::Subscription { session, subscription } => {
                    let key = Key::Subscription(session, subscription.filter.as_str().to_owned());
                    found.insert(key, format!("{:?}", subscription.options));
                }
                Restored::Received { session, packet_id } => drop(found.insert(Key::Received(session, packet_id), String::new())),
                Restored::Entry(entry) => {
                    for due in &entry.due {
                        found.insert(Key::Due(entry.id, due.session), format!("{:?} {:?}", due.qos, due.state));
                        self.owed.insert((due.session, entry.id), (due.qos, due.state));
                    }
                }
                Restored::Retained(message) => {
                    found.insert(Key::Retained(message.topic.to_string()), format!("{:?}", message.body.bytes));
                }
            }
        }
        let mut wrong = Vec::new();
        for (key, values) in &self.values {
            let since = values.iter().rposition(|(id, _)| id.is_some_and(|id| self.secured.contains(&id))).unwrap_or(0);
            let value = found.get(key);
            if !values[since..].iter().any(|(_, allowed)| allowed.as_ref() == value) {
                wrong.push(format!("{key:?} is {value:?} after a start, and was {:?} since it was secured", &values[since..]));
            }
        }
        wrong.extend(found.keys().filter(|key| !self.values.contains_key(key)).map(|key| format!("{key:?} comes from nowhere")));
        self.values = found.into_iter().map(|(key, value)| (key, vec![(None, Some(value))])).collect();
        wrong
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.values.keys()
    }

    pub fn session_of(&self, client: &str) -> Option<SessionId> {
        let session = |key: &Key| if let Key::Session(session) = key { Some(*session) } else { None };
        self.keys().filter_map(session).filter(|session| self.clients.get(session).is_some_and(|name| name == client)).max()
    }

    pub fn owed(&self, session: SessionId) -> BTreeMap<EntryId, (QoS, DueState)> {
        self.owed
            .range((session, EntryId::ZERO)..)
            .take_while(|((of, _), _)| *of == session)
            .map(|((_, id), state)| (*id, *state))
            .collect()
    }
}

impl Key {
    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(session) | Self::Subscription(session, _) | Self::Received(session, _) | Self::Due(_, session) => Some(*session),
            Self::Retained(_) => None,
        }
    }
}
