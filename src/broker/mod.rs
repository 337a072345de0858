//! The embedded MQTT broker: state and all connections on one thread.
//!
//! Job: MQTT 3.1, 3.1.1 and 5.0 for local clients; readings to those who subscribed; what is owed to upstreams and to sessions that outlive their
//! connection gets an id and goes to the outbox, and its acknowledgement leaves when the outbox calls it secured.
//!
//! `state` and the files that add to it are the whole broker without I/O: bytes and events in, output and wake-ups out. `apply` takes packets,
//! `connect`, `auth`, `publish`, `qos2`, `subscribe` each their own; `deliver` hands messages to receivers; `lifecycle` and `will` see connections
//! and sessions to their end; `restore` brings back what the store held, `mirror` and `left` tell it what changes.
//! `io` moves the bytes and joins it all to the other parts; nothing above it does.
//!
//! Invariants:
//! - `apply` never re-enters: what it causes elsewhere (closed connections, wills, wake-ups) is queued.
//! - A turn is bounded by deliveries and input; whatever is O(n) goes in slices. One timer sweeps for all connections.
//! - A PUBLISH is applied whole or not at all: one that cannot be accepted now stays at the head of its connection's input.
//! - Acknowledgements leave a connection in the order of its PUBLISHes, each when its ids are secured.
//! - Memory follows bytes that are there, never claimed lengths; all output and queues share one budget, all unfinished packets another.
//!
//! Failure: a peer's mistake ends its connection, with a reason in the log, and for a client of 5.0 in DISCONNECT. A receiver that does not read
//! slows its feeders a tenth of the time, then loses QoS 0 (counted) and has QoS 1 and 2 queued within limits. An outbox that stops answering
//! holds publishers within `unsecured_max` and drops readings, counted. A listener that cannot be bound ends the part.

mod access;
mod acks;
mod alias;
mod apply;
mod auth;
mod conn;
mod connect;
mod deliver;
mod destination;
mod dirty;
mod door;
mod end;
mod ended;
mod flow;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod id;
mod inflight;
mod io;
mod left;
mod letter;
mod lifecycle;
mod mirror;
mod output;
mod owed;
mod publish;
mod qos2;
mod queue;
mod replay;
mod restore;
mod retained;
mod secured;
mod session;
mod shared;
mod spell;
mod state;
mod subscribe;
mod subscriptions;
mod sys;
#[cfg(test)]
mod tests;
mod will;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::model::status::BrokerStatus;
use crate::model::{Message, OutboxToBroker, Phase, Query, StoredSession, ToOutbox, TopicFilter};
use crate::mqtt::Version;
use crate::mqtt::packet::Connect;
use crate::stats::Heartbeat;
pub use door::{Arrival, At, Listener, Peer};

/// `[broker]`, and what of the rest of the site's file the broker has to know.
#[derive(Debug, Clone)]
pub struct Options {
    pub listeners: Vec<Listener>,
    /// The topics of each upstream, in the order of the site's file: [`crate::model::UpstreamId`] is the index.
    pub upstreams: Vec<Vec<TopicFilter>>,
    /// The upstreams' names in that order, for the log.
    pub names: Vec<Arc<str>>,
    pub limits: Limits,
}

/// Every limit of the broker. What happens at each stands at the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet in bytes; the connection of a larger one is closed.
    pub packet_max: usize,
    /// Bytes of all output and queues together; beyond it QoS 0 is dropped and counted, feeders are slowed.
    pub output_max: usize,
    /// Messages that a session queues; beyond it its oldest not in flight is dropped and counted.
    pub session_queue: usize,
    /// Bytes that a session queues; as for `session_queue`. As many may be in flight to its client, to be sent again; what comes then is queued.
    pub session_queue_bytes: usize,
    /// Whether a session whose client is away queues QoS 0, too.
    pub queue_qos0: bool,
    /// QoS 1 and 2 messages in flight to a client, and unacknowledged from a client: one of 5.0, which is told, is disconnected beyond it (0x93),
    /// one of 3.x is not parsed at it.
    pub receive_maximum: u16,
    /// Connections; one more is closed at accept.
    pub connections_max: usize,
    /// From accept to CONNECT; then closed.
    pub connect_timeout: Duration,
    /// Bytes given to the outbox and not yet secured; above it publishes that have a destination are held until it is below ¾, and above twice
    /// of it CONNECT, SUBSCRIBE and UNSUBSCRIBE, too.
    pub unsecured_max: usize,
    /// Longest session expiry interval in seconds; a client that asks for more has its session for so long, and is told so in 5.0. `u32::MAX`:
    /// as long as clients want, for ever with 3.x's persistent sessions.
    pub session_expiry_max: u32,
    /// Longest keep-alive in seconds for clients of 5.0, which are told in CONNACK; `u16::MAX`: as they want, none, too. 3.x has no way to
    /// be told.
    pub keep_alive_max: u16,
    /// Time between two looks at what `$SYS` says; zero: there is no `$SYS`.
    pub sys_interval: Duration,
    /// How long a publish is held for a full upstream queue before its connection is closed.
    pub refuse_close: Duration,
}

impl Limits {
    /// For how long the session of this CONNECT outlives its connection, in seconds (5.0, 3.1.2.11.2; 3.1.1, 3.1.2.4).
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        let wanted = match (connect.version, connect.clean) {
            (Version::V5, _) => connect.properties.session_expiry,
            (_, true) => 0,
            (_, false) => StoredSession::NEVER,
        };
        wanted.min(self.session_expiry_max)
    }

    /// The keep-alive that holds, in seconds; 0: none.
    fn keep_alive(&self, connect: &Connect<'_>) -> u16 {
        match (connect.keep_alive, self.keep_alive_max) {
            (wanted, u16::MAX) => wanted,
            (wanted, _) if !connect.version.is_5() => wanted,
            (0, max) => max,
            (wanted, max) => wanted.min(max),
        }
    }

    /// What may be in flight to this session's client.
    fn window(&self, session: &session::Session) -> inflight::Window {
        inflight::Window { messages: session.receive_maximum.min(self.receive_maximum), bytes: self.session_queue_bytes }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_max: 2 << 20,
            output_max: 8 << 20,
            session_queue: 1_000,
            session_queue_bytes: 1 << 20,
            queue_qos0: false,
            receive_maximum: 1_024,
            connections_max: 1_000,
            connect_timeout: Duration::from_secs(10),
            unsecured_max: 8 << 20,
            session_expiry_max: u32::MAX,
            keep_alive_max: u16::MAX,
            sys_interval: Duration::from_secs(10),
            refuse_close: Duration::from_secs(30),
        }
    }
}

/// How the broker is joined to the rest.
#[derive(Debug)]
pub struct Links {
    /// Readings, and later what comes down from upstreams.
    pub inject: mpsc::Receiver<Message>,
    pub to_outbox: mpsc::Sender<ToOutbox>,
    pub from_outbox: mpsc::Receiver<OutboxToBroker>,
    pub query: mpsc::Receiver<Query<BrokerStatus>>,
    /// Ends at [`Phase::StopBroker`], once what was accepted is secured and acknowledged, or `drain` has passed.
    pub phase: watch::Receiver<Phase>,
    pub heartbeat: Heartbeat,
    /// Told once: the addresses that listen, in the order of the options (port 0 resolved).
    pub bound: oneshot::Sender<Vec<SocketAddr>>,
    /// Longest time from [`Phase::StopBroker`] to the end.
    pub drain: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {at}")]
    Listen { at: At, source: std::io::Error },
    #[error("the broker's task ended by itself")]
    Ended(#[source] tokio::task::JoinError),
}

/// Tasks between two looks at the sockets. A turn takes up to a quarter of a millisecond; tokio's own 61 of them would keep the others waiting.
const EVENT_INTERVAL: u32 = 8;

/// The runtime that [`run`] wants, for the broker's thread to make.
///
/// # Errors
/// The system has no descriptors left.
pub fn runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().event_interval(EVENT_INTERVAL).build_local(tokio::runtime::LocalOptions::default())
}

/// Runs the broker until [`Phase::StopBroker`]; says what it has counted in the end. Wants a [`runtime`] on a thread of its own.
///
/// # Errors
/// A listener's address that cannot be bound.
pub async fn run(options: Options, links: Links) -> Result<BrokerStatus, Error> {
    io::task::run(options, links).await
}
