//! Entries → upstream, and its acknowledgements back. One task an upstream, on the main thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::model::status::UpstreamStatus;
use crate::model::{BridgeToOutbox, Page, Phase, Query, Secret, UpstreamId};
use crate::stats::Heartbeat;

/// One `[[upstream]]`.
#[derive(Debug, Clone)]
pub struct Options {
    pub upstream: UpstreamId,
    pub name: Arc<str>,
    /// Host name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// `mqtts://`.
    pub tls: Option<Tls>,
    pub client_id: String,
    pub auth: Option<Auth>,
    /// Unacknowledged entries in flight.
    pub window: u16,
    /// From the offer of an entry to its acknowledgement; then the connection is thrown away.
    pub ack_timeout: Duration,
    pub connect_timeout: Duration,
    pub keep_alive: Duration,
    /// Largest packet, as the broker's.
    pub packet_max: usize,
}

/// Files are read at each connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// PEM, chain and key, for a client certificate.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    pub user: String,
    pub password: Option<Secret>,
}

/// How one upstream is joined to the rest.
#[derive(Debug)]
pub struct Links {
    pub to_outbox: mpsc::Sender<BridgeToOutbox>,
    pub pages: mpsc::Receiver<Page>,
    pub query: mpsc::Receiver<Query<UpstreamStatus>>,
    /// Ends at [`Phase::StopBridge`].
    pub phase: watch::Receiver<Phase>,
    pub heartbeat: Heartbeat,
}

/// Runs the upstream until [`Phase::StopBridge`]. An upstream that is away is no error: it is tried again, for ever.
pub async fn run(_options: Options, _links: Links) {}
