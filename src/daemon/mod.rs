//! Builds the parts, joins them by channels, supervises them and drains them.
//!
//! Invariants: data flows one way, bus → broker → outbox → bridge, and a shutdown follows it; only this folder knows all parts.
//! The main thread runs the outbox, the bridge and ops and never makes a blocking call; the broker and each bus have their own thread.
//!
//! Failure: the first part that ends starts the drain, under one deadline; the process then ends non-zero and is started again by its
//! supervisor. A part that hangs starves the watchdog. A panic anywhere aborts the process (`crate::cli::main` sees to it): what was acknowledged
//! is on disk or upstream, what was not will be sent again.

mod build;
mod drain;
mod policy;
mod reload;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::access::file::FileError;
use crate::broker::Bound;
use crate::clock;
use crate::config::Site;
use crate::model::status::BrokerStatus;
use crate::ops::control::Server;
use crate::ops::sources::Sources;
use crate::ops::systemd::{self, Watchdog};
use crate::{broker, outbox};
use build::{Ended, Parts};

/// Longest time from the order to stop to the end of the process.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// What ends the gateway.
#[derive(Debug)]
pub enum Stop {
    /// SIGTERM or SIGINT.
    Signals,
    /// The other end sends or is dropped.
    Told(oneshot::Receiver<()>),
}

/// How the process runs the gateway, beside what the site's file says.
#[derive(Debug)]
pub struct Setup {
    pub stop: Stop,
    /// Path of the control socket; `None`: without one.
    pub socket: Option<PathBuf>,
    /// Told once everything listens.
    pub ready: Option<oneshot::Sender<Running>>,
    /// Told what the broker has counted when it ends.
    pub counted: Option<oneshot::Sender<BrokerStatus>>,
}

/// A gateway that is up.
#[derive(Debug)]
pub struct Running {
    pub listeners: Vec<Bound>,
    pub sources: Sources,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Broker(#[from] broker::Error),
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
    #[error(transparent)]
    Access(#[from] FileError),
    #[error("{part} ended by itself")]
    Ended { part: String },
    #[error("{part} did not end within its share of the {} s that a drain may take", DRAIN_DEADLINE.as_secs())]
    Drain { part: String },
}

impl Error {
    /// Starting again cannot help before a person has changed something.
    pub const fn is_setup(&self) -> bool {
        matches!(self, Self::Outbox(outbox::Error::Held { .. }) | Self::Access(_))
    }
}

/// Runs the gateway on this thread until it is told to stop or a part ends; drains either way.
///
/// # Errors
/// The part that ended and why; the drain that was not over in time.
pub fn run(site: Site, setup: Setup) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(supervise(site, setup));
    // A part that did not end in time must not hold the process.
    runtime.shutdown_background();
    result
}

async fn supervise(site: Site, setup: Setup) -> Result<(), Error> {
    let watchdog_period = systemd::watchdog_period();
    // From here on SIGHUP does not end the process.
    let signals = Signals::new().map_err(Error::Runtime)?;
    let mut parts = build::start(site, systemd::beat_interval(watchdog_period), setup.counted)?;
    let cause = async {
        let listeners = parts.bound().await?;
        announce(&parts, &listeners);
        let (files, policies) = (parts.files.clone(), parts.policies.clone());
        tokio::task::spawn_local(reload::run(signals.hangup, parts.doors.take(), files, policies));
        if let Some(path) = setup.socket {
            serve_control(&path, &parts);
        }
        if let Some(ready) = setup.ready {
            // Who started us may have lost interest.
            let _ = ready.send(Running { listeners, sources: parts.sources.clone() });
        }
        let mut watchdog = Watchdog::new(parts.heartbeats.clone());
        tokio::select! {
            ended = parts.next_ended() => Err(unexpected(ended)),
            () = told(setup.stop, signals.terminate, signals.interrupt) => Ok(()),
            never = feed(&mut watchdog, watchdog_period) => match never {},
        }
    }
    .await;
    if let Err(error) = &cause {
        tracing::error!(error = error as &dyn std::error::Error, "draining, because a part ended");
    } else {
        tracing::info!("draining");
    }
    systemd::stopping();
    cause.and(drain::drain(parts, clock::mono() + DRAIN_DEADLINE).await)
}

fn unexpected(ended: Ended) -> Error {
    match ended.result {
        Err(error) => error,
        Ok(()) => Error::Ended { part: ended.part },
    }
}

fn announce(parts: &Parts, listeners: &[Bound]) {
    let listen = listeners.iter().map(|bound| bound.url.as_str()).collect::<Vec<_>>().join(" ");
    tracing::info!(gateway = %parts.sources.gateway, listen, "ready");
    systemd::ready(&format!("listening on {listen}"));
}

fn serve_control(path: &std::path::Path, parts: &Parts) {
    match Server::bind(path) {
        Ok(server) => {
            tokio::task::spawn_local(server.serve(parts.sources.clone()));
        }
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "running without a control socket"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt?, hangup: hangup? })
    }
}

async fn told(stop: Stop, mut terminate: Signal, mut interrupt: Signal) {
    match stop {
        Stop::Told(told) => {
            // A dropped sender means the same.
            let _ = told.await;
        }
        Stop::Signals => {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
        }
    }
}

async fn feed(watchdog: &mut Watchdog, period: Option<Duration>) -> std::convert::Infallible {
    let Some(period) = period else { return std::future::pending().await };
    loop {
        clock::sleep(systemd::check_interval(period)).await;
        if watchdog.check() {
            systemd::feed_watchdog();
        }
    }
}
