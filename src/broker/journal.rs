//! One line of the log a connect, one a disconnect, one a refusal; never a flood of them.
//!
//! Who connects ten thousand times a second must not fill the journal, nor cost the thread a line each time: after [`LINES`] lines in [`WINDOW`]
//! the rest is counted, and said in one line. A refusal has a line a minute for each address, with the number of all refusals so far.

use std::time::Duration;

use super::end::End;
use super::id::ConnId;
use super::state::Broker;
use crate::faults;
use crate::model::Mono;

/// Lines in a [`WINDOW`]; further connects and disconnects are counted. A site's clients that come back together fit.
const LINES: u32 = 100;

const WINDOW: Duration = Duration::from_secs(10);

/// Longest piece of a client id that a refusal shows, in bytes: nobody has looked at its length yet.
const SHOWN_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Journal {
    began: Option<Mono>,
    lines: u32,
    unsaid: u64,
}

impl Journal {
    /// Whether one more line may be written; else it is counted.
    fn may_say(&mut self, now: Mono) -> bool {
        if self.unsaid == 0 && self.began.is_none_or(|began| now.since(began) >= WINDOW) {
            *self = Self { began: Some(now), lines: 0, unsaid: 0 };
        }
        let may = self.lines < LINES || faults::active("log-flood");
        self.lines += u32::from(may);
        self.unsaid += u64::from(!may);
        may
    }

    /// What was not said, once the window is over.
    fn over(&mut self, now: Mono) -> Option<u64> {
        self.began.take_if(|began| now.since(*began) >= WINDOW)?;
        let unsaid = std::mem::take(&mut self.unsaid);
        self.lines = 0;
        Some(unsaid).filter(|unsaid| *unsaid > 0)
    }
}

impl Broker {
    /// The client is let in.
    pub(super) fn say_connected(&mut self, id: ConnId, resumed: bool) {
        if !tracing::enabled!(tracing::Level::INFO) || !self.journal.may_say(self.now.mono) {
            return;
        }
        let Some(conn) = self.conns.get(id) else { return };
        let client = conn.session.and_then(|index| self.sessions.get(index)).map(|session| &*session.client).unwrap_or_default();
        let (listener, user, version) = (self.listener_name(conn.listener), self.user_of(id), conn.version);
        tracing::info!(?client, peer = %conn.peer, ?listener, user = ?user.as_deref().unwrap_or(""), ?version, resumed, "client connected");
    }

    /// The connection of a client that was let in ends. Called while it is still known.
    pub(super) fn say_closed(&mut self, id: ConnId, client: &str, end: End) {
        if !tracing::enabled!(tracing::Level::INFO) || !self.journal.may_say(self.now.mono) {
            return;
        }
        let Some(conn) = self.conns.get(id) else { return };
        let (peer, listener, user) = (conn.peer, self.listener_name(conn.listener), self.user_of(id));
        tracing::info!(?client, %peer, ?listener, user = ?user.as_deref().unwrap_or(""), "connection closed: {end}");
    }

    /// What a session held is not its client's any more: so many filters and messages.
    pub(super) fn say_filtered(&mut self, client: &str, filters: usize, messages: usize) {
        if self.journal.may_say(self.now.mono) {
            tracing::info!(?client, filters, messages, "a session lost what its rights do not allow any more");
        }
    }

    /// Somebody is not let in, or ends before that. `client`: as it calls itself, where it has.
    pub(super) fn say_refused(&mut self, id: ConnId, client: &str, user: Option<&str>, end: End) {
        let Some(peer) = self.conns.get(id).map(|conn| conn.peer) else { return };
        // A line about a look at the port does not keep one about a password back.
        let login = matches!(end, End::Password | End::Anonymous | End::NotAuthorized | End::Foreign);
        if !self.may_say(if login { "login" } else { "refused" }, peer) {
            return;
        }
        let Some(conn) = self.conns.get(id) else { return };
        let (client, user) = (shortened(client), shortened(user.unwrap_or("")));
        let (listener, refused) = (self.listener_name(conn.listener), self.counters.connects_refused + 1);
        if login {
            tracing::warn!(?client, %peer, ?listener, ?user, refused, "client not let in: {end}");
        } else {
            tracing::info!(?client, %peer, ?listener, ?user, refused, "client not let in: {end}");
        }
    }

    /// Says what was not said, once it is over.
    pub(super) fn sum_up_journal(&mut self) {
        if let Some(unsaid) = self.journal.over(self.now.mono) {
            tracing::info!(unsaid, "so many connects and disconnects were not logged: there were too many");
        }
    }
}

fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(SHOWN_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_summed_up() {
        let at = Mono::from_millis;
        let mut journal = Journal::default();
        let said = |journal: &mut Journal, n: u64, ms: u64| (0..n).filter(|_| journal.may_say(at(ms))).count();
        assert_eq!(said(&mut journal, 60, 1_000), 60);
        assert_eq!(said(&mut journal, 10_000, 2_000), 40);
        assert_eq!((journal.over(at(10_999)), journal.over(at(11_000))), (None, Some(9_960)));
        assert_eq!(said(&mut journal, 100, 11_001), 100, "a new window");
        assert_eq!(journal.over(at(30_000)), None, "nothing was left out");
        assert_eq!(said(&mut journal, 100, 30_000), 100);
        assert_eq!(said(&mut journal, 100, 40_000), 100, "a window that nobody has closed is over by itself");
    }
}
