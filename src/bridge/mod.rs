//! Entries → upstream, and its acknowledgements back. One task an upstream, on the main thread.
//!
//! ```text
//! outbox ──Page──▶ task ─▶ state ─▶ pump   which entry when, what became of it   (sans-I/O)
//!        ◀──Done──┘  │       └────▶ backoff
//!                    └──▶ sink: mqtt (rumqttc, 5.0 or 3.1.1) ─▶ the upstream
//! ```
//!
//! Job: brings the entries that the outbox hands over to the upstream, each at least once, in order, and says which were acknowledged.
//!
//! Invariants:
//! - The outbox is the only queue. What is here stands in memory and is the outbox's still; when this part dies nothing is lost.
//! - An entry is settled once: by the upstream's acknowledgement on the connection on which it was sent, or as a dead letter.
//! - First offers are in id order; after a connection is lost the unacknowledged ones are offered again, in order, before any other.
//! - At most `window` entries stand between the oldest unacknowledged and the newest offered one.
//! - Every deadline lives here, none in the client library: connect, acknowledgement (from the offer, so it covers a hand-over to a network
//!   that takes nothing), silence.
//!
//! Failure: an upstream that is away, silent, closing or refusing is tried again for ever with back-off, said once, and seen in the status by
//! the age of the oldest unacknowledged entry. An entry that can never be sent, on which alone the upstream closes, or which it refuses for good
//! or again and again while it takes others, becomes a dead letter, so that it does not stop those behind it. Duplicates: what was in flight
//! when a connection was lost.

mod backoff;
mod mqtt;
mod pump;
mod secret;
pub mod sink;
mod state;
mod task;
mod tls;

pub use secret::read as read_secret;
pub use tls::{TlsError, client_config};

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
    /// The gateway's id, by which receivers tell ids of several gateways apart.
    pub gateway: Arc<str>,
    pub name: Arc<str>,
    /// Host name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// `None`: 5.0, and 3.1.1 where the upstream knows no other.
    pub version: Option<Version>,
    /// `mqtts://`.
    pub tls: Option<Tls>,
    pub client_id: String,
    pub auth: Option<Auth>,
    /// Unacknowledged entries in flight.
    pub window: u16,
    /// From the offer of an entry to its acknowledgement; then the connection is thrown away.
    pub ack_timeout: Duration,
    pub connect_timeout: Duration,
    /// At 5.0 at least 5 s. The upstream may set another.
    pub keep_alive: Duration,
    /// Largest packet, as the broker's.
    pub packet_max: usize,
}

/// Of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
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

/// What no site sets and tests do.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The first wait before a new connect is at least this.
    pub backoff_min: Duration,
    /// And none is longer than this.
    pub backoff_max: Duration,
    /// Of the back-off's jitter.
    pub seed: u64,
}

impl Default for Tuning {
    /// 1 s to 15 s, and a seed of its own.
    fn default() -> Self {
        // Without entropy the jitter is the same at each start, which is no reason not to start.
        let seed = getrandom::u64().unwrap_or_default();
        Self { backoff_min: Duration::from_secs(1), backoff_max: Duration::from_secs(15), seed }
    }
}

impl Options {
    /// As in the site's file, with the port.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// Runs the upstream until [`Phase::StopBridge`]. An upstream that is away is no error: it is tried again, for ever.
pub async fn run(options: Options, links: Links) {
    run_tuned(options, Tuning::default(), links).await;
}

/// As [`run`], with another back-off.
pub async fn run_tuned(options: Options, tuning: Tuning, links: Links) {
    let sink = mqtt::Mqtt::new(options.clone());
    task::run(options, tuning, sink, links).await;
}
