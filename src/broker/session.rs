//! A client's session: what it subscribed to, what is in flight to it and from it, what waits for it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::conn::Replays;
use super::id::ConnId;
use super::inflight::Inflight;
use super::output::Budget;
use super::qos2::Received;
use super::queue::Queue;
use super::rights::NEVER;
use crate::access::rights::Rights;
use crate::model::{EntryId, Identity, Mono, SessionId, StoredSession, StoredWill, Subscription};

/// A client that has left something unanswered for so long is not prompt: what it is sent next goes to the store at once (outbox.md 6).
const PROMPT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Rc<str>,
    /// Rises with each session: tells it from those that had its place before.
    pub(super) serial: u64,
    /// Its number in the store, if it outlives its connection.
    pub(super) durable: Option<SessionId>,
    /// Session expiry interval in seconds; 0: ends with its connection; [`StoredSession::NEVER`]: never.
    pub(super) expiry: u32,
    pub(super) conn: Option<ConnId>,
    /// When it ends, while its client is away. `None`: connected, or never.
    pub(super) ends: Option<Mono>,
    /// Under which it stands in the broker's deadlines.
    pub(super) deadline: Option<Mono>,
    /// Stands for what its row says, to tell whether it has changed.
    pub(super) row: Option<u64>,
    /// The will of a connection that is over, and when it is published, if that is not now.
    pub(super) will: Option<(Mono, Box<StoredWill>)>,
    /// Whose it is, and what they may do. `None`: nobody's.
    pub(super) user: Option<Arc<str>>,
    pub(super) rights: Rc<Rights>,
    /// The generation of the site's lists by which all that the session holds was looked through.
    pub(super) checked: u32,
    /// Index of the listener by which its client came last.
    pub(super) listener: u16,
    /// Its client, as the source of what is kept of it.
    pub(super) source: Option<Arc<Identity>>,
    /// Messages that the client takes at a time (receive maximum).
    pub(super) receive_maximum: u16,
    /// Each filter once, with what was granted.
    pub(super) filters: Vec<Subscription>,
    pub(super) inflight: Inflight,
    pub(super) queue: Queue,
    /// Retained messages that its subscriptions are still to get; its connection has them while there is one.
    pub(super) replays: Replays,
    pub(super) received: Received,
    /// Counter of the row by which it ceased to outlive its connection; 0: there is none.
    pub(super) ceased: u64,
    /// Counter of the last row that took away one of `filters` or `received`; 0: none.
    pub(super) removed: u64,
    /// When its client last answered, or was first sent something after it had answered all.
    pub(super) heard: Mono,
}

impl Session {
    pub(super) fn new(client: Rc<str>, serial: u64, rights: Rc<Rights>) -> Self {
        Self {
            client,
            serial,
            durable: None,
            expiry: 0,
            conn: None,
            ends: None,
            deadline: None,
            row: None,
            will: None,
            user: None,
            rights,
            checked: NEVER,
            listener: u16::MAX,
            source: None,
            receive_maximum: u16::MAX,
            filters: Vec::new(),
            inflight: Inflight::default(),
            queue: Queue::default(),
            replays: Replays::default(),
            received: Received::default(),
            ceased: 0,
            removed: 0,
            heard: Mono::ZERO,
        }
    }

    /// Ends with its connection: ids are kept, not messages.
    pub(super) const fn is_brief(&self) -> bool {
        self.durable.is_none()
    }

    pub(super) const fn never_expires(&self) -> bool {
        self.expiry == StoredSession::NEVER
    }

    /// Whether the client is likely to acknowledge in time what it is sent now.
    pub(super) fn is_prompt(&self, now: Mono) -> bool {
        self.inflight.is_empty() || now.since(self.heard) < PROMPT
    }

    /// Whether it holds the message of this entry.
    pub(super) fn has_entry(&self, entry: EntryId) -> bool {
        entry != EntryId::ZERO && (self.inflight.iter().any(|sent| sent.entry == entry) || self.queue.iter().any(|one| one.entry == entry))
    }

    /// Gives back what the session holds of the budget, before it is dropped.
    pub(super) fn clear(&mut self, budget: &Budget) {
        self.inflight.clear(budget);
        self.queue.clear(budget);
    }
}
