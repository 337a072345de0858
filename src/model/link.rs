//! The messages that cross between parts. The parts do not know each other; `daemon` joins them by channels of these.
//! Bodies that cross are `Bytes`; nothing else is shared. Every channel is bounded.
//!
//! ```text
//! bus ──Message──▶ broker ──ToOutbox──▶ outbox ──Page──▶ bridge (one an upstream)
//!                    ▲────OutboxToBroker───┘  ◀──BridgeToOutbox──┘
//! ops ──Query──▶ any
//! ```

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Body, Change, Due, DueDone, EntryId, IdRange, Mono, Publisher, QoS, Restored, SessionId, Start, Topic, UpstreamId, UpstreamSet, Wall,
};

/// A message that has a destination (outbox.md 1, 2). Cheap to clone unless many sessions are owed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: EntryId,
    pub owed: UpstreamSet,
    /// Sessions that outlive their connection and match at QoS 1 or 2; each once.
    pub due: Vec<Due>,
    /// The packet id of a QoS 2 publisher whose session outlives its connection; settled by a commit only.
    pub received: Option<(SessionId, u16)>,
    /// The retained store is owed it: `topic`'s row is replaced, or removed where the body is empty. Settled by a commit only.
    pub retained: bool,
    /// Who published it, for the retained store.
    pub source: Publisher,
    pub topic: Topic,
    pub body: Body,
    pub qos: QoS,
    pub retain: bool,
    /// The properties of its PUBLISH that go on to receivers (5.0, 3.3.2.3), encoded and checked; empty: none. Neither its length, nor message
    /// expiry interval, topic alias and subscription identifiers are among them.
    pub properties: Bytes,
    /// When it expires (message expiry interval); it is not handed to anybody after that.
    pub expires: Option<Mono>,
    /// Somebody waits for this promise: a PUBACK hangs on it. False for readings and QoS 0.
    pub awaited: bool,
    /// When it was accepted; for a row of an earlier run, when it was read back.
    pub accepted: Mono,
    pub accepted_wall: Wall,
}

impl Entry {
    /// What an entry costs in memory beside its topic and body; the same figure on every side that counts.
    pub const OVERHEAD: usize = 128;
    /// What each session that is owed it adds.
    pub const DUE: usize = 64;

    /// Owed to nobody yet, at QoS 1.
    pub const fn new(topic: Topic, body: Body) -> Self {
        Self {
            id: EntryId::ZERO,
            owed: UpstreamSet::EMPTY,
            due: Vec::new(),
            received: None,
            retained: false,
            source: Publisher::Gateway,
            topic,
            body,
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Bytes::new(),
            expires: None,
            awaited: false,
            accepted: Mono::ZERO,
            accepted_wall: Wall(0),
        }
    }

    /// Bytes that this entry counts for, against `unsecured_max` and a page's size.
    pub fn cost(&self) -> usize {
        Self::OVERHEAD + self.topic.as_bytes().len() + self.properties.len() + self.body.bytes.len() + self.due.len() * Self::DUE
    }
}

/// broker → outbox.
#[derive(Debug)]
pub enum ToOutbox {
    /// In the order in which it happened; entries and changes rise in id, also from one `Put` to the next.
    Put(Vec<Put>),
}

#[derive(Debug)]
pub enum Put {
    Entry(Entry),
    Change(Change),
    /// For entries that were put before, in this run or an earlier one.
    Done(DueDone),
}

impl Put {
    /// The id that is reported as secured; [`Put::Done`] has none of its own.
    pub const fn id(&self) -> Option<EntryId> {
        match self {
            Self::Entry(entry) => Some(entry.id),
            Self::Change(change) => Some(change.id),
            Self::Done(_) => None,
        }
    }
}

/// outbox → broker.
#[derive(Debug, Clone, PartialEq)]
pub enum OutboxToBroker {
    /// What the store held, in pages of bounded size, before `Started`. Not sent where it held nothing.
    Restored(Vec<Restored>),
    /// After all that was restored, once: ids may be given from `counter` 1 on. Until then nothing that has a destination is accepted.
    Started(Start),
    /// These became secured (outbox.md 3). Ranges, because 7 may be secured while 6 waits. A range may span ids of which only some were ever
    /// given; it never spans one that is unsecured.
    Secured(Vec<IdRange>),
    /// The upstreams whose queue has no room now (outbox.md 11), replacing the set of the last such message.
    Full(UpstreamSet),
    /// An upstream's connection is up or down, for `$SYS`.
    Link { upstream: UpstreamId, up: bool },
}

/// bridge → outbox.
#[derive(Debug)]
pub enum BridgeToOutbox {
    /// The upstream's connection is up (CONNACK received) or down. It bears on whether a receiver is prompt (outbox.md 6).
    Link { upstream: UpstreamId, up: bool },
    /// Asks for up to `entries` more entries after those already handed over in this run. Answered by exactly one [`Page`], as soon as there is at
    /// least one entry. At most one pull an upstream is open.
    Pull { upstream: UpstreamId, entries: usize },
    /// What became of entries that were handed over. In any order; each id once.
    Done { upstream: UpstreamId, settled: Vec<Settled> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub id: EntryId,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// Its message expiry interval passed before it could be sent: nobody is owed it any more.
    Expired,
    /// Refused for good: it counts as settled only once its dead-letter row is committed (outbox.md 3).
    /// `code` is the standard's reason code, where the protocol has one.
    DeadLetter {
        code: Option<u8>,
        cause: String,
    },
}

/// outbox → bridge: 1 to `Pull::entries` entries in id order, after all that were handed over before.
#[derive(Debug)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The starts that gave these entries their ids, by rising epoch; those that the store does not know are missing.
    pub starts: Arc<[Start]>,
}

impl Page {
    /// Of the start that gave this id.
    pub fn nonce(&self, id: EntryId) -> Option<u32> {
        let at = self.starts.binary_search_by_key(&id.epoch(), |start| start.epoch).ok()?;
        self.starts.get(at).map(|start| start.nonce)
    }
}

/// ops → a part. The part answers from its own state, at once.
#[derive(Debug)]
pub struct Query<T> {
    pub reply: oneshot::Sender<T>,
}
