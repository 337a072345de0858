//! `tidegate demo`: simulated devices, the gateway and an upstream in one process.
//!
//! Job: shows a newcomer the whole way of a reading in one command, with nothing installed and nothing left behind. The devices are simulated on
//! pseudo terminals, so the gateway opens and reads them like any port; the upstream is a second instance of our broker, and what is shown comes
//! from an ordinary MQTT client of the gateway. The site is a file like any other ([`site::EXAMPLE`]).
//!
//! Invariants: the gateway runs as in `tidegate run`, on what the file says; the demo only counts, at both ends.
//!
//! Failure: whatever cannot be had (a pseudo terminal, a folder, a port) ends the demo with its reason. A part that ends early does so too.

pub mod site;

mod devices;
mod folder;
mod gateway;
mod log;
mod meters;
mod port;
mod pty;
mod screen;
mod sim;
mod upstream;
mod view;
mod watch;
mod weather;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::{broker, clock, config, daemon};
use devices::Devices;
use folder::Folder;
use gateway::Gateway;
use screen::Screen;
pub use screen::print;
use upstream::Upstream;
use view::Heard;

/// Where a newcomer's MQTT client looks first.
const LISTEN: u16 = 1883;
/// Readings that wait to be shown; more wait in the client's socket.
const READINGS_MAX: usize = 64;

/// From the silence of the devices to the order to stop, at most. Milliseconds are usual; after 300 ms the meters' silence is read as timeouts.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_LOOK: Duration = Duration::from_millis(10);

/// How the demo is to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Until it ends by itself; `None`: it does not.
    pub length: Option<Duration>,
}

/// What was counted at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Messages that the gateway's broker has accepted for the upstream.
    pub published: u64,
    /// PUBLISH packets that the upstream has received.
    pub received: u64,
}

impl Outcome {
    /// Something went, and all of it arrived once.
    pub const fn is_good(self) -> bool {
        self.published > 0 && self.published == self.received
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { published, received } = self;
        match published == received {
            true => write!(f, "published = upstream received = {published}"),
            false => write!(f, "published = {published}, but upstream received = {received}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make a pseudo terminal for a simulated device")]
    Pty(#[source] std::io::Error),
    #[error("cannot make a folder for the demo's store in {}", std::env::temp_dir().display())]
    Folder(#[source] std::io::Error),
    #[error("cannot start a thread or a runtime")]
    Runtime(#[source] std::io::Error),
    #[error("the demo's own site is wrong\n{0}")]
    Site(config::Errors),
    #[error("the upstream has ended")]
    Upstream(#[source] broker::Error),
    #[error("the gateway has ended")]
    Gateway(#[source] daemon::Error),
    #[error("{0} does not answer")]
    Silent(&'static str),
}

/// Runs the demo until its time is over or SIGINT or SIGTERM comes, and drains.
///
/// # Errors
/// What it cannot have, or a part that has ended.
pub fn run(options: Options) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(Error::Runtime)?;
    runtime.block_on(demonstrate(options))
}

async fn demonstrate(options: Options) -> Result<Outcome, Error> {
    let mut screen = Screen::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    // What is declared first ends last: the folder after the devices, whose ports have their names in it.
    let folder = Folder::create().map_err(Error::Folder)?;
    let mut devices = Devices::plug_in(&folder)?;
    let upstream = Upstream::start().await?;
    let mut gateway = start_gateway(&folder, &devices, upstream.port).await?;
    screen.hello(gateway.port, upstream.port, options.length);
    let (tell, mut readings) = mpsc::channel::<(String, Heard)>(READINGS_MAX);
    let watching = tokio::task::spawn_local(watch::run(gateway.port, tell));
    let end = options.length.map(|length| clock::mono() + length);
    loop {
        let redraw = screen.due();
        let wake = end.map_or(redraw, |end| end.min(redraw));
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            ended = gateway.ended() => return Err(ended),
            Some((topic, heard)) = readings.recv() => gateway.heard(&topic, heard),
            () = clock::sleep_until(wake) => {
                let now = clock::mono();
                if end.is_some_and(|end| now >= end) {
                    break;
                }
                let status = gateway.status().await;
                let received = upstream.received().await.unwrap_or_default();
                screen.draw(&gateway.rows, &status, received, end, now);
            }
        }
    }
    watching.abort();
    screen.goodbye();
    devices.hush();
    settle(&gateway, &upstream).await;
    let published = gateway.end()?;
    let received = upstream.end()?;
    Ok(Outcome { published, received })
}

/// Waits a little until all that was published has arrived: an order to stop keeps what is on its way upstream for the next start, and here is none.
async fn settle(gateway: &Gateway, upstream: &Upstream) {
    let deadline = clock::mono() + SETTLE_MAX;
    while clock::mono() < deadline {
        let status = gateway.status().await;
        if status.outbox.entries == 0 && upstream.received().await == Some(status.broker.owed) {
            return;
        }
        clock::sleep(SETTLE_LOOK).await;
    }
}

/// On the usual port if it is free, else on any.
async fn start_gateway(folder: &Folder, devices: &Devices, upstream: u16) -> Result<Gateway, Error> {
    let store = folder.path().join("store.db");
    let listen = if port::is_free(LISTEN) { LISTEN } else { 0 };
    let places = site::Places { store: &store, listen, meters: &devices.meters, weather: &devices.weather, upstream };
    match Gateway::start(&site::toml(places)).await {
        // Somebody else was quicker.
        Err(Error::Gateway(daemon::Error::Broker(broker::Error::Listen { .. }))) => {
            Gateway::start(&site::toml(site::Places { listen: 0, ..places })).await
        }
        started => started,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_counts_above_zero_are_good() {
        for (published, received, good, text) in [
            (7, 7, true, "published = upstream received = 7"),
            (7, 6, false, "published = 7, but upstream received = 6"),
            (7, 8, false, "published = 7, but upstream received = 8"),
            (0, 0, false, "published = upstream received = 0"),
        ] {
            let outcome = Outcome { published, received };
            assert_eq!((outcome.is_good(), outcome.to_string().as_str()), (good, text));
        }
    }
}
