//! One connection as the broker's state knows it: no socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::acks::Acks;
use super::flow::Slow;
use super::id::{ConnId, SessionIndex};
use super::output::{Budget, Out};
use crate::model::{Body, Mono, QoS, Topic, TopicFilter, UpstreamSet};
use crate::mqtt;

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
    #[error("QoS 2 is not supported yet")]
    Qos2,
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
        matches!(self, Self::Packet(_) | Self::LongId | Self::Qos2)
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
}

#[derive(Debug, Clone)]
pub(super) struct StoredWill {
    pub(super) topic: Topic,
    pub(super) body: Body,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// By a restricted listener.
    pub(super) restricted: bool,
}

/// Retained messages that a new subscription is still to get.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) filter: TopicFilter,
    pub(super) qos: QoS,
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
    pub(super) will: Option<Box<StoredWill>>,
    pub(super) out: Out,
    pub(super) dirty: bool,
    pub(super) acks: Acks,
    pub(super) hold: Option<Hold>,
    /// Since when full upstreams have refused its publish.
    pub(super) refused_since: Option<Mono>,
    pub(super) end: Option<End>,
    pub(super) slow: Slow,
    pub(super) replays: VecDeque<Replay>,
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
            will: None,
            out: Out::new(budget),
            dirty: false,
            acks: Acks::default(),
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
