//! What the store keeps of sessions that outlive their connection, and of retained messages: the broker owns the state, the store mirrors it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Body, EntryId, Mono, QoS, Topic, TopicFilter, Wall};

/// A session that outlives its connection: the id of the change that began it, so never used twice in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub EntryId);

/// Who a client is: what rights go by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `None`: an anonymous client.
    pub user: Option<Arc<str>>,
    pub client: Arc<str>,
    /// The name of the listener by which it came; empty: none is known.
    pub listener: Arc<str>,
}

/// Who published a message that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Publisher {
    /// The gateway itself.
    #[default]
    Gateway,
    /// Nobody has noted it: it was kept by a version that did not.
    Unknown,
    Client(Arc<Identity>),
}

/// What one session is owed of an entry: one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub session: SessionId,
    /// Of the delivery: 1 or 2.
    pub qos: QoS,
    /// RETAIN goes out set: the subscription asked for it as published, or it answers a new subscription.
    pub retain: bool,
    /// Subscription identifiers that go out with it (5.0, 3.3.2.3.8).
    pub identifiers: Arc<[u32]>,
    pub state: DueState,
    /// Written to a client that answers in time: its acknowledgement may come before a row is worth writing. False: only a commit settles it.
    pub prompt: bool,
}

/// How far an entry is on its way to one session. A QoS 1 PUBLISH that was sent stays `Queued` on disk: its packet id is not worth a row, since
/// after a restart it may go out under another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueState {
    Queued,
    /// QoS 2, the PUBLISH has this packet id; it leaves once that is committed.
    Sent(u16),
    /// QoS 2, PUBREC has come; PUBREL leaves once that is committed.
    Released(u16),
}

/// How a subscription is delivered (5.0, 3.8.3.1). 3.1.1 knows the QoS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

impl SubscribeOptions {
    /// As in 3.1.1.
    pub const fn at(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    Send = 0,
    SendIfNew = 1,
    DoNotSend = 2,
}

/// One subscription of a session. `filter` is as the client wrote it, `$share/GROUP/` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub filter: TopicFilter,
    pub options: SubscribeOptions,
    pub identifier: Option<u32>,
}

/// A will (5.0, 3.1.3.2). Properties are those of the PUBLISH that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWill {
    pub topic: Topic,
    pub body: Bytes,
    pub qos: QoS,
    pub retain: bool,
    pub properties: Bytes,
    /// Message expiry interval in seconds, from its publication on.
    pub expiry: Option<u32>,
    /// Seconds from the end of the connection to its publication.
    pub delay: u32,
}

impl StoredWill {
    /// That it takes.
    pub fn bytes(&self) -> usize {
        self.topic.as_bytes().len() + self.body.len() + self.properties.len()
    }
}

/// The row of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    pub id: SessionId,
    pub client: Arc<str>,
    /// Who it belongs to, where clients have names.
    pub user: Option<Arc<str>>,
    /// Session expiry interval in seconds, never 0; [`StoredSession::NEVER`]: it does not expire.
    pub expiry: u32,
    /// Milliseconds of `expiry` that were left when the row was written; `None` while connected, and where it does not expire. What is counted
    /// down by the clock of a run is written at its orderly end, and once an hour.
    pub left_ms: Option<u64>,
    /// The name of the listener by which its client came last; empty: none is known.
    pub listener: Arc<str>,
    /// Of the connection that is there, or whose will is still to be published.
    pub will: Option<StoredWill>,
}

impl StoredSession {
    pub const NEVER: u32 = u32::MAX;
}

/// A change of what the store mirrors. Committed in the order of ids, among the entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub id: EntryId,
    /// A CONNACK, SUBACK, UNSUBACK, PUBREC, PUBCOMP, PUBREL or PUBLISH waits for its commit.
    pub awaited: bool,
    pub at: Mono,
    pub at_wall: Wall,
    pub what: StateChange,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StateChange {
    /// The session begins (its id is the change's), or its row is replaced.
    Session(StoredSession),
    /// The session and all rows of it go; what it was still owed is settled.
    SessionEnded(SessionId),
    /// Added, or replaced (same filter).
    Subscribed {
        session: SessionId,
        subscription: Subscription,
    },
    Unsubscribed {
        session: SessionId,
        filter: TopicFilter,
    },
    /// The packet id of a QoS 2 PUBLISH that is owed to nobody else.
    Received {
        session: SessionId,
        packet_id: u16,
    },
    /// PUBREL has come: the packet id is free. PUBCOMP waits for it.
    Released {
        session: SessionId,
        packet_id: u16,
    },
    /// Adds or replaces the row of what a session is owed of an entry that was put before and is not settled for all.
    Due {
        entry: EntryId,
        due: Due,
    },
    /// A retained message whose ack does not wait (readings, QoS 0): written at an orderly end and once an hour.
    Retained(RetainedMessage),
    /// The topic has no retained message any more.
    RetainedGone(Topic),
}

impl StateChange {
    /// Bytes of what it carries.
    pub fn size(&self) -> usize {
        match self {
            Self::Session(session) => {
                let will = session.will.as_ref().map_or(0, |will| will.topic.as_bytes().len() + will.body.len() + will.properties.len());
                session.client.len() + session.listener.len() + session.user.as_ref().map_or(0, |user| user.len()) + will
            }
            Self::Subscribed { subscription, .. } => subscription.filter.as_str().len(),
            Self::Unsubscribed { filter, .. } => filter.as_str().len(),
            Self::Retained(message) => message.topic.as_bytes().len() + message.body.bytes.len() + message.properties.len(),
            Self::RetainedGone(topic) => topic.as_bytes().len(),
            Self::SessionEnded(_) | Self::Received { .. } | Self::Released { .. } | Self::Due { .. } => 0,
        }
    }
}

/// One retained message.
#[derive(Debug, Clone, PartialEq)]
pub struct RetainedMessage {
    pub topic: Topic,
    pub body: Body,
    pub qos: QoS,
    pub properties: Bytes,
    /// When it expires; on disk the rest is kept.
    pub expires: Option<Mono>,
    pub source: Publisher,
}

/// A session is done with an entry: it was acknowledged, or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueDone {
    pub session: SessionId,
    pub entry: EntryId,
    pub how: DoneHow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoneHow {
    /// Acknowledged, refused for good by the client, or passed to another member of its group; nothing is to be said of it.
    Acknowledged,
    /// Its queue was full (outbox.md 11): counted in a loss record of the same commit that removes the row.
    Overflow,
    /// Its message expiry interval passed.
    Expired,
}

/// What the store held at the start, in this order: sessions; their subscriptions and received packet ids; entries by id; retained messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Restored {
    /// `left_ms` is lowered by the time without power where the clock was synchronised at both ends.
    Session(StoredSession),
    Subscription {
        session: SessionId,
        subscription: Subscription,
    },
    Received {
        session: SessionId,
        packet_id: u16,
    },
    /// An entry of an earlier run with what sessions are owed of it (`due` is not empty; `owed` may be).
    Entry(super::Entry),
    Retained(RetainedMessage),
}
