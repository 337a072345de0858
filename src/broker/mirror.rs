//! What the store is told of the broker's state, and who waits for it (outbox.md 3, 4).

use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::id::{ConnId, SessionIndex};
use super::state::Broker;
use crate::model::{Change, DoneHow, Due, DueDone, EntryId, SessionId, StateChange, StoredSession};

/// Time since its client left that a session's row need not know of: after a crash it lives so much longer.
const LEFT_GRAIN: Duration = Duration::from_secs(60);

impl Broker {
    /// A change for the store; its counter. `waits`: the connection that is woken when it is committed.
    pub(super) fn change(&mut self, what: StateChange, waits: Option<ConnId>) -> u64 {
        self.put_change(what, waits.is_some(), 0, waits)
    }

    /// The session's row as it is now, if that is not what the store has: a client that comes and goes and says the same each time costs no
    /// write. Nobody waits for it.
    pub(super) fn put_session(&mut self, index: SessionIndex) {
        let Some(row) = self.row(index) else { return };
        let digest = row.digest();
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.row.replace(digest) != Some(digest) {
            self.change(StateChange::Session(row), None);
        }
    }

    /// The store has this session no more. A client that comes and has none waits until that is committed.
    pub(super) fn put_end(&mut self, session: SessionId, client: &Rc<str>, awaited: bool) {
        self.durable -= 1;
        let counter = self.put_change(StateChange::SessionEnded(session), awaited, 0, None);
        self.ended.note(client, counter);
    }

    fn row(&self, index: SessionIndex) -> Option<StoredSession> {
        let session = self.sessions.get(index)?;
        let will = session.conn.and_then(|id| self.conns.get(id)?.will.as_deref()).or(session.will.as_ref().map(|(_, will)| &**will));
        // Full again after a crash where nothing else is said, so it is worth saying only once some of it is gone.
        let full = Duration::from_secs(session.expiry.into());
        let left = session.ends.map(|ends| ends.since(self.now.mono)).filter(|left| *left + LEFT_GRAIN <= full);
        Some(StoredSession {
            id: session.durable?,
            client: Arc::from(&*session.client),
            user: session.user.clone(),
            expiry: session.expiry,
            left_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            listener: self.door_name(session.listener),
            will: will.cloned(),
        })
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

    /// Sends `packet`, which says that a packet id or subscriptions are not there any more, once that is committed. `counter`: of the last row that
    /// takes one away; 0: all were gone, perhaps by rows that are still on their way: an earlier connection has not had its answer.
    pub(super) fn answer_removal(&mut self, id: ConnId, counter: u64, packet: &[u8]) {
        let Some((_, session)) = self.both_mut(id) else { return };
        session.removed = session.removed.max(counter);
        let removed = session.removed;
        if self.owed.is_secured(removed, removed) {
            return self.send(id, packet);
        }
        self.owed.wake_instead(removed, id);
        self.answer_when(id, removed, packet.to_vec());
    }

    /// Sends `packet` once what `counter` stands for is committed.
    pub(super) fn answer_when(&mut self, id: ConnId, counter: u64, packet: Vec<u8>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.answers.push(counter, packet);
        }
    }
}

impl StoredSession {
    /// Tells rows of one session apart, within one run.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        (self.id, &self.user, self.expiry, self.left_ms, &self.listener).hash(&mut hasher);
        if let Some(will) = &self.will {
            (&will.topic, &will.body, will.qos, will.retain, &will.properties).hash(&mut hasher);
            (will.expiry, will.delay).hash(&mut hasher);
        }
        hasher.finish()
    }
}
