//! One connection as the broker's state knows it: no socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::acks::{Acks, Answers};
use super::alias::{ALIASES_MAX, AliasesIn, AliasesOut};
use super::flow::Slow;
use super::id::{ConnId, SessionIndex};
use super::output::{Budget, Out};
use crate::model::{Mono, StoredWill, Subscription, Topic, UpstreamSet};
use crate::mqtt::packet::Publish;
use crate::mqtt::{self, Version};

/// Why a connection ends. Its will is published unless the client said DISCONNECT or the gateway stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    #[error("the client disconnected")]
    Disconnect,
    #[error("the client closed the connection without DISCONNECT")]
    Eof,
    #[error("the connection broke")]
    Broken,
    #[error("{0}")]
    Packet(#[from] mqtt::Error),
    #[error("no room for its unfinished packet beside those of others")]
    Unfinished,
    #[error("the client id is too long")]
    LongId,
    #[error("no room for another session")]
    NoSession,
    #[error("more QoS 1 and 2 messages unfinished than the receive maximum allows")]
    ReceiveMaximum,
    #[error("a topic alias that is 0, above the maximum or unknown")]
    Alias,
    #[error("no CONNECT in time")]
    ConnectTimeout,
    #[error("nothing heard for 1.5 times the keep-alive")]
    KeepAlive,
    #[error("another connection took over the client id")]
    TakenOver,
    #[error("the queue of an upstream had no room for too long")]
    Refused(u8),
    #[error("the gateway stops")]
    Stop,
}

impl End {
    /// Whether the client's will is published [MQTT-3.1.2-8]. At an orderly stop all wills have been published before the connections end.
    pub(super) const fn publishes_will(self) -> bool {
        !matches!(self, Self::Disconnect | Self::Stop)
    }

    /// Whether the peer broke the protocol.
    pub(super) const fn is_protocol_error(self) -> bool {
        matches!(self, Self::Packet(_) | Self::LongId | Self::ReceiveMaximum | Self::Alias)
    }
}

/// Why what a connection has sent is not applied now. A held connection is exempt from keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Ids cannot be given before the outbox has started.
    NotStarted,
    /// `unsecured_max` is reached.
    Unsecured,
    /// The queues of these upstreams have no room.
    Full(UpstreamSet),
    /// `receive_maximum` acknowledgements wait.
    Acks,
    /// A receiver of its messages is slow.
    Slow,
    /// What the id with this counter stands for is not committed.
    Commit(u64),
}

/// Retained messages that a new subscription is still to get.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) subscription: Subscription,
    /// The last topic that was looked at.
    pub(super) after: Option<Topic>,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: SocketAddr,
    pub(super) restricted: bool,
    pub(super) opened: Mono,
    pub(super) seen: Mono,
    /// 1.5 times what the client asked for; zero: none.
    pub(super) patience: Duration,
    pub(super) session: Option<SessionIndex>,
    pub(super) connected: bool,
    pub(super) version: Version,
    /// Largest packet that the client takes, in bytes.
    pub(super) packet_max: u32,
    /// Whether reason strings and user properties may go to the client (request problem information).
    pub(super) explains: bool,
    pub(super) aliases_in: AliasesIn,
    pub(super) aliases_out: AliasesOut,
    pub(super) will: Option<Box<StoredWill>>,
    pub(super) out: Out,
    pub(super) dirty: bool,
    pub(super) acks: Acks,
    pub(super) answers: Answers,
    pub(super) hold: Option<Hold>,
    /// Since when full upstreams have refused its publish.
    pub(super) refused_since: Option<Mono>,
    pub(super) end: Option<End>,
    pub(super) slow: Slow,
    pub(super) replays: VecDeque<Replay>,
}

impl Conn {
    /// The topic that the packet names by an alias; `None`: the packet's own. A new alias is taken note of.
    pub(super) fn topic_of(&mut self, publish: &Publish<'_>) -> Result<Option<Topic>, End> {
        let Some(alias) = publish.alias else { return Ok(None) };
        if alias == 0 || alias > ALIASES_MAX {
            return Err(End::Alias);
        }
        if publish.topic.is_empty() {
            return self.aliases_in.get(alias).cloned().map(Some).ok_or(End::Alias);
        }
        let topic = Topic::from_bytes(bytes::Bytes::copy_from_slice(publish.topic)).map_err(mqtt::Error::from)?;
        self.aliases_in.set(alias, topic);
        Ok(None)
    }
}

/// All connections, by id.
#[derive(Debug, Default)]
pub(super) struct Conns {
    slab: slab::Slab<(u32, Conn)>,
    generation: u32,
}

impl Conns {
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn open(&mut self, peer: SocketAddr, restricted: bool, now: Mono, budget: &Budget) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let conn = Conn {
            peer,
            restricted,
            opened: now,
            seen: now,
            patience: Duration::ZERO,
            session: None,
            connected: false,
            version: Version::default(),
            packet_max: u32::MAX,
            explains: true,
            aliases_in: AliasesIn::default(),
            aliases_out: AliasesOut::default(),
            will: None,
            out: Out::new(budget),
            dirty: false,
            acks: Acks::default(),
            answers: Answers::default(),
            hold: None,
            refused_since: None,
            end: None,
            slow: Slow::default(),
            replays: VecDeque::new(),
        };
        let index = u32::try_from(self.slab.insert((self.generation, conn))).unwrap_or(u32::MAX);
        ConnId { index, generation: self.generation }
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.slab.get(id.index as usize).filter(|(generation, _)| *generation == id.generation).map(|(_, conn)| conn)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slab.get_mut(id.index as usize).filter(|(generation, _)| *generation == id.generation).map(|(_, conn)| conn)
    }

    /// The wills of all connections that have not ended, which are without one then.
    pub(super) fn take_wills(&mut self) -> Vec<StoredWill> {
        self.slab.iter_mut().filter_map(|(_, (_, conn))| conn.will.take()).map(|will| *will).collect()
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.slab.remove(id.index as usize);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.slab
            .iter()
            .map(|(index, (generation, conn))| (ConnId { index: u32::try_from(index).unwrap_or(u32::MAX), generation: *generation }, conn))
    }
}
