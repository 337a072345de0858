//! The embedded MQTT broker: state and all connections on one thread.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::model::status::BrokerStatus;
use crate::model::{Message, OutboxToBroker, Phase, Query, ToOutbox, TopicFilter};
use crate::stats::Heartbeat;

/// `[broker]`, and what of the rest of the site's file the broker has to know.
#[derive(Debug, Clone)]
pub struct Options {
    pub listeners: Vec<Listener>,
    /// The topics of each upstream, in the order of the site's file: [`crate::model::UpstreamId`] is the index.
    pub upstreams: Vec<Vec<TopicFilter>>,
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// Beyond loopback: `.../set` and `$` topics are closed to its clients.
    pub restricted: bool,
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
    /// Bytes that a session queues; as for `session_queue`.
    pub session_queue_bytes: usize,
    /// QoS 1 and 2 messages in flight to a client, and unacknowledged from a client; a connection at its limit is not parsed.
    pub receive_maximum: u16,
    /// Connections; one more is closed at accept.
    pub connections_max: usize,
    /// From accept to CONNECT; then closed.
    pub connect_timeout: Duration,
    /// Bytes given to the outbox and not yet secured; above it publishes that have a destination are held until it is below ¾.
    pub unsecured_max: usize,
    /// How long a publish is held for a full upstream queue before its connection is closed.
    pub refuse_close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_max: 2 << 20,
            output_max: 8 << 20,
            session_queue: 1_000,
            session_queue_bytes: 1 << 20,
            receive_maximum: 1_024,
            connections_max: 1_000,
            connect_timeout: Duration::from_secs(10),
            unsecured_max: 8 << 20,
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
    #[error("cannot listen on tcp://{address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// Runs the broker until [`Phase::StopBroker`]. Wants a `tokio` local runtime (`build_local`) of its own thread.
///
/// # Errors
/// A listener's address that cannot be bound.
pub async fn run(_options: Options, _links: Links) -> Result<(), Error> {
    Ok(())
}
