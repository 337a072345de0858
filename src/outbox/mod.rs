//! The outbox: what is owed to upstreams, in memory and in SQLite, until they have it.
//!
//! Job: takes entries from the broker, hands them to the bridges in id order, commits what they do not acknowledge in time, and tells the
//! broker what is secured. [`ledger`] and [`commit`] decide and are pure; `store` and `recover` run on a thread of their own and do what they
//! are told; `task` joins them to the rest and never waits for the disk.
//!
//! Invariants: an entry is secured when each upstream has acknowledged it, or its row or its dead letter is in a commit that returned
//! success, and not before. A queue's first deliveries are in id order. A row goes when nobody is owed it. The store has one job at a time.
//! A receiver that answers in time leaves the disk untouched.
//!
//! Failure: no space: commits are tried again with back-off. Any other error of the disk: the file is not used again by this process, what
//! an upstream acknowledges is still secured, and the rest waits in memory. A damaged file or a newer one is set aside at the start. A second
//! process on the same file is an error.

pub mod claim;
pub mod commit;
pub mod job;
pub mod ledger;
mod queue;
pub mod recover;
mod restore;
mod schema;
pub mod store;
mod system;
mod task;
mod thread;
pub mod times;

#[cfg(test)]
mod tests;

pub use claim::{Claim, claim};
pub use task::run;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::model::status::OutboxStatus;
use crate::model::{BridgeToOutbox, OutboxToBroker, Page, Phase, Query, ToOutbox};
use crate::stats::Heartbeat;

/// `[store]` (outbox.md 6), and the upstreams' names.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub path: PathBuf,
    pub max_bytes: u64,
    pub ack_wait: Duration,
    pub ack_delay: Duration,
    pub flush_interval: Duration,
    pub commit_rows: usize,
    pub commit_bytes: usize,
    pub commits_per_second: f64,
    pub progress_rows: u64,
    pub wal_max_bytes: u64,
    pub trust: ClockTrust,
    /// In the order of the site's file: [`crate::model::UpstreamId`] is the index. At most [`crate::model::UpstreamSet::MAX`].
    pub upstreams: Vec<Arc<str>>,
}

impl Options {
    /// The defaults of `[store]`.
    pub fn new(path: PathBuf, upstreams: Vec<Arc<str>>) -> Self {
        Self {
            path,
            max_bytes: 1 << 30,
            ack_wait: Duration::from_millis(500),
            ack_delay: Duration::from_millis(200),
            flush_interval: Duration::from_secs(1),
            commit_rows: 256,
            commit_bytes: 256 << 10,
            commits_per_second: 6.0,
            progress_rows: 4_096,
            wal_max_bytes: 4 << 20,
            trust: ClockTrust::Auto,
            upstreams,
        }
    }
}

/// Whether the wall clock may be relied on over a time without power (outbox.md 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockTrust {
    /// While systemd-timesyncd says that it is synchronised.
    #[default]
    Auto,
    Always,
    Never,
}

/// How the outbox is joined to the rest.
#[derive(Debug)]
pub struct Links {
    pub from_broker: mpsc::Receiver<ToOutbox>,
    pub to_broker: mpsc::Sender<OutboxToBroker>,
    pub from_bridge: mpsc::Receiver<BridgeToOutbox>,
    /// One an upstream, in the order of the options. Capacity 1 is enough: a pull is answered once.
    pub to_bridge: Vec<mpsc::Sender<Page>>,
    pub query: mpsc::Receiver<Query<OutboxStatus>>,
    /// Commits at once from [`Phase::StopBroker`] on; ends at [`Phase::StopOutbox`].
    pub phase: watch::Receiver<Phase>,
    pub heartbeat: Heartbeat,
    /// The store thread's own.
    pub store_heartbeat: Heartbeat,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process ends with exit code 2.
    #[error("the store {} is held by another process{holder}", path.display())]
    Held { path: PathBuf, holder: String },
    #[error("the store's thread ended")]
    StoreEnded,
}
