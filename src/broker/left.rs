//! How much of their time the sessions of clients that are away have left: the store hears of it at most once an hour and at an orderly end, and
//! nobody waits for it. After a crash a session has what it had then.

use std::time::Duration;

use super::state::Broker;
use crate::model::Mono;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(3_600);

/// Sessions that are looked at in one turn.
const SLICE: usize = 256;

/// How far a round is.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// When the next one begins; `None`: not known yet.
    due: Option<Mono>,
    /// The place of the next session; `None`: it is over.
    at: Option<usize>,
}

impl Left {
    pub(super) const fn is_written(&self) -> bool {
        self.at.is_none()
    }
}

impl Broker {
    /// A round begins.
    pub(super) fn begin_left(&mut self) {
        self.left = Left { due: Some(self.now.mono + EVERY), at: Some(0) };
        self.news = true;
    }

    /// A slice of a round. True if there is more to be done now: it waits while much is unsecured.
    pub(super) fn write_left(&mut self) -> bool {
        let due = *self.left.due.get_or_insert(self.now.mono + EVERY);
        if due <= self.now.mono {
            self.begin_left();
        }
        let Some(from) = self.left.at.filter(|_| self.owed.bytes() <= self.limits.unsecured_max / 2) else { return false };
        let (to, end) = (from + SLICE, self.sessions.capacity());
        for index in from..to.min(end) {
            if self.sessions.get(index).is_some_and(|session| session.ends.is_some()) {
                self.put_session(index);
            }
        }
        self.left.at = (to < end).then_some(to);
        !self.left.is_written()
    }
}
