//! What the store is told of the broker's state, and who waits for it (outbox.md 3, 4).

use std::sync::Arc;

use super::id::{ConnId, SessionIndex};
use super::state::Broker;
use crate::model::{Change, DoneHow, Due, DueDone, EntryId, SessionId, StateChange, StoredSession};

impl Broker {
    /// A change for the store; its counter. `waits`: the connection that is woken when it is committed.
    pub(super) fn change(&mut self, what: StateChange, waits: Option<ConnId>) -> u64 {
        self.put_change(what, waits.is_some(), 0, waits)
    }

    /// The session's row as it is now. Its counter; 0: it has none.
    pub(super) fn put_session(&mut self, index: SessionIndex) -> u64 {
        let now = self.now.mono;
        let Some(session) = self.sessions.get(index) else { return 0 };
        let Some(id) = session.durable else { return 0 };
        let will = session.conn.and_then(|id| self.conns.get(id)?.will.as_deref()).or(session.will.as_ref().map(|(_, will)| &**will));
        let left = session.ends.map(|ends| u64::try_from(ends.since(now).as_millis()).unwrap_or(u64::MAX));
        let stored = StoredSession {
            id,
            client: Arc::from(&*session.client),
            user: None,
            expiry: session.expiry,
            left_ms: left,
            restricted: session.restricted,
            will: will.cloned(),
        };
        self.change(StateChange::Session(stored), None)
    }

    /// What a session is owed of an entry has come further: a packet waits for its commit.
    pub(super) fn put_due(&mut self, entry: EntryId, due: Due) -> u64 {
        self.put_change(StateChange::Due { entry, due }, true, 0, None)
    }

    /// As [`Broker::change`]; `held`: bytes that are kept in memory until it is committed, which count as unsecured.
    pub(super) fn put_change(&mut self, what: StateChange, awaited: bool, held: usize, waits: Option<ConnId>) -> u64 {
        let change = Change { id: EntryId::ZERO, awaited, at: self.now.mono, at_wall: self.now.wall, what };
        self.owed.change(change, held, waits)
    }

    /// The session needs the entry no more.
    pub(super) fn done(&mut self, session: SessionId, entry: EntryId, how: DoneHow) {
        self.owed.done(DueDone { session, entry, how });
    }

    /// Sends `packet` once what `counter` stands for is committed.
    pub(super) fn answer_when(&mut self, id: ConnId, counter: u64, packet: Vec<u8>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.answers.push(counter, packet);
        }
    }
}
