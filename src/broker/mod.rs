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

mod acks;
mod alias;
mod apply;
mod ask;
mod auth;
mod conn;
mod connect;
mod crowd;
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
mod journal;
mod left;
mod letter;
mod lifecycle;
mod limit;
mod limits;
mod lobby;
mod login;
mod mirror;
mod output;
mod owed;
mod passwords;
mod publish;
mod qos2;
mod queue;
mod replay;
mod restore;
mod retained;
mod rights;
mod scram;
mod secured;
mod session;
mod shared;
mod state;
mod subscribe;
mod subscriptions;
mod sys;
#[cfg(test)]
mod tests;
mod will;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::access::Policy;
use crate::model::admin::Ask;
use crate::model::status::BrokerStatus;
use crate::model::{Message, OutboxToBroker, Phase, Query, ToOutbox, TopicFilter};
use crate::stats::Heartbeat;
pub use door::{Arrival, At, Bound, Clients, Listener, Network, Origin, OwnLimits, Peer, Tls, Web};
pub use io::doors::{DoorError, Doors, DoorsLink, DoorsThread, Renewal, open as doors};
pub use io::tls::TlsError;
pub use limit::Limit;
pub use limits::Limits;

/// `[broker]`, and what of the rest of the site's file the broker has to know.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub listeners: Vec<Listener>,
    /// The file of the rights of what comes by no listener; `None`: those that are built in.
    pub acl: Option<PathBuf>,
    /// What the files say that stand here and at the listeners, as it was read at the start.
    pub policy: Policy,
    /// The topics of each upstream, in the order of the site's file: [`crate::model::UpstreamId`] is the index.
    pub upstreams: Vec<Vec<TopicFilter>>,
    /// The upstreams' names in that order, for the log.
    pub names: Vec<Arc<str>>,
    pub limits: Limits,
}

/// How the broker is joined to the rest.
#[derive(Debug)]
pub struct Links {
    /// Readings, and later what comes down from upstreams.
    pub inject: mpsc::Receiver<Message>,
    pub to_outbox: mpsc::Sender<ToOutbox>,
    pub from_outbox: mpsc::Receiver<OutboxToBroker>,
    pub query: mpsc::Receiver<Query<BrokerStatus>>,
    /// What the site's files say from now on.
    pub policy: mpsc::Receiver<Policy>,
    /// What people want to know and do.
    pub asks: mpsc::Receiver<Ask>,
    /// Ends at [`Phase::StopBroker`], once what was accepted is secured and acknowledged, or `drain` has passed.
    pub phase: watch::Receiver<Phase>,
    pub heartbeat: Heartbeat,
    /// Told once: what listens, in the order of the options (port 0 resolved).
    pub bound: oneshot::Sender<Vec<Bound>>,
    /// Where listeners need one ([`doors`]): its thread shakes hands for this one.
    pub doors: Option<DoorsLink>,
    /// Longest time from [`Phase::StopBroker`] to the end.
    pub drain: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {at}")]
    Listen { at: At, source: std::io::Error },
    #[error("a listener needs the doors' thread, and there is none")]
    NoDoors,
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error("the system has no random numbers")]
    Random(#[source] std::io::Error),
    #[error("cannot start the thread that checks passwords")]
    Thread(#[source] std::io::Error),
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
