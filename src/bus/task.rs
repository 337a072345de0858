//! The task of a Modbus RTU port: reads, writes and waits as its [`Master`] says, and publishes what it has learned.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::error::TrySendError;

use super::master::{Effects, Event, Master};
use super::plan::Reading;
use super::{Links, ModbusOptions, Options, serial};
use crate::clock;
use crate::faults::{self, PartFault};
use crate::model::status::BusStatus;
use crate::model::{Cause, Mono, Now, Phase, Query};
use crate::normalize::Normalizer;

/// Time between two attempts to open a port: the first, and the longest.
const REOPEN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// A port that is lost again sooner than this has not come back: it is tried as rarely as before, and nothing is said.
const STEADY: Duration = Duration::from_secs(10);
/// A port that does not take a request within this is lost.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// What is left to wait when the timer of tokio, which is 1.1 ms late, gives way to an exact one that blocks this port's thread.
const EXACT: Duration = Duration::from_millis(2);
/// Bytes a read.
const READ_SIZE: usize = 1_024;

/// Runs the port until [`Phase::StopBuses`].
pub(super) async fn run(options: &Options, modbus: &ModbusOptions, mut links: Links) {
    let mut bus = Bus::new(options, modbus);
    let mut buffer = vec![0; READ_SIZE];
    loop {
        links.heartbeat.beat();
        match faults::part(links.heartbeat.part()) {
            Some(PartFault::Hang) => std::future::pending().await,
            Some(PartFault::End) => return,
            None => {}
        }
        let wake = if bus.port.is_some() { bus.master.wake() } else { bus.reopen_at };
        let latest = clock::mono() + links.heartbeat.every();
        match next(&mut links, bus.port.as_mut(), &mut buffer, wake, latest).await {
            Turn::Stop => return,
            // Who asked may have gone.
            Turn::Query(query) => drop(query.reply.send(bus.status())),
            Turn::Read(read) => bus.read(read, &buffer, &links),
            Turn::Woke => bus.woke(wake, &mut buffer, &links).await,
        }
    }
}

enum Turn {
    Stop,
    Query(Query<BusStatus>),
    /// 0 bytes are the end of a port.
    Read(io::Result<usize>),
    Woke,
}

async fn next(links: &mut Links, port: Option<&mut serial::Port>, buffer: &mut [u8], wake: Mono, latest: Mono) -> Turn {
    let read = async {
        match port {
            Some(port) => port.read(buffer).await,
            None => std::future::pending().await,
        }
    };
    let early = Mono::from_nanos(wake.as_nanos().saturating_sub(EXACT.as_nanos() as u64)).min(latest);
    tokio::select! {
        biased;
        // An error is the end of who would say it.
        _ = links.phase.wait_for(|phase| *phase >= Phase::StopBuses) => Turn::Stop,
        Some(query) = links.query.recv() => Turn::Query(query),
        // Before the reads, or a line that babbles without end would keep it away.
        () = clock::sleep_until(early) => Turn::Woke,
        read = read => Turn::Read(read),
    }
}

struct Bus<'a> {
    options: &'a Options,
    master: Master,
    normalizer: Normalizer,
    port: Option<serial::Port>,
    opened_at: Option<Mono>,
    reopen_at: Mono,
    reopen_after: Duration,
    last_error: Option<String>,
    /// That the port is away was said, and that it is back was not.
    said: bool,
    /// It was lost soon after it came.
    flapping: bool,
    dropped: u64,
    /// The last reading was dropped; said once.
    dropping: bool,
    /// Points whose reading "closed" was dropped. No other comes until the port is back, so it is handed over again until it is taken.
    unsaid: Vec<usize>,
}

impl<'a> Bus<'a> {
    fn new(options: &'a Options, modbus: &ModbusOptions) -> Self {
        let points = modbus.devices.iter().flat_map(|device| device.points.iter().map(|point| point.publish.clone()));
        Self {
            options,
            master: Master::new(&options.line, modbus),
            normalizer: Normalizer::new(points),
            port: None,
            opened_at: None,
            reopen_at: clock::mono(),
            reopen_after: REOPEN.0,
            last_error: None,
            said: false,
            flapping: false,
            dropped: 0,
            dropping: false,
            unsaid: Vec::new(),
        }
    }

    fn read(&mut self, read: io::Result<usize>, buffer: &[u8], links: &Links) {
        match read {
            Ok(length @ 1..) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                self.apply(Event::Received(bytes), links);
            }
            Ok(_) => self.lost(&io::ErrorKind::UnexpectedEof.into(), links),
            Err(error) => self.lost(&error, links),
        }
    }

    /// It is `wake`, or nearly.
    async fn woke(&mut self, wake: Mono, buffer: &mut [u8], links: &Links) {
        let Some(port) = &mut self.port else {
            if clock::mono() >= self.reopen_at {
                self.open(links);
            }
            return;
        };
        let left = wake.since(clock::mono());
        if left > EXACT {
            return;
        }
        if !left.is_zero() {
            clock::block_for(left);
        }
        // What came in the meantime belongs to no request that the tick may send.
        match port.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => self.read(read, buffer, links),
        }
        if let Some(request) = self.apply(Event::Tick, links) {
            self.send(&request, links).await;
        }
    }

    async fn send(&mut self, request: &[u8], links: &Links) {
        let Some(port) = &mut self.port else { return };
        match clock::before(clock::mono() + WRITE_MAX, port.write_all(request)).await {
            Some(Ok(())) => drop(self.apply(Event::Sent, links)),
            Some(Err(error)) => self.lost(&error, links),
            None => self.lost(&io::ErrorKind::TimedOut.into(), links),
        }
    }

    fn open(&mut self, links: &Links) {
        match serial::open(&self.options.port, &self.options.line) {
            Ok(port) => {
                if !self.flapping {
                    tracing::info!(bus = %self.options.name, port = %self.options.port.display(), "the port is open");
                }
                self.port = Some(port);
                self.opened_at = Some(clock::mono());
                self.last_error = None;
                self.unsaid.clear();
                self.apply(Event::Opened, links);
            }
            Err(error) => self.lost(&error, links),
        }
    }

    fn lost(&mut self, error: &io::Error, links: &Links) {
        if let Some(at) = self.opened_at.take() {
            self.flapping = clock::mono().since(at) < STEADY;
            if !self.flapping {
                (self.said, self.reopen_after) = (false, REOPEN.0);
            }
        }
        if !self.said {
            self.said = true;
            tracing::warn!(bus = %self.options.name, port = %self.options.port.display(), %error, "the port is away; trying again until it is back");
            tracing::debug!(bus = %self.options.name, "the last traffic:\n{}", self.master.capture());
        }
        self.last_error = Some(error.to_string());
        self.port = None;
        self.reopen_at = clock::mono() + self.reopen_after;
        self.reopen_after = (self.reopen_after * 2).min(REOPEN.1);
        self.apply(Event::Closed, links);
        let unsaid = std::mem::take(&mut self.unsaid).into_iter();
        self.publish(unsaid.map(|point| Reading { point, value: Err(Cause::Closed) }), clock::now(), links);
    }

    /// What is to be sent, if anything.
    fn apply(&mut self, event: Event<'_>, links: &Links) -> Option<Vec<u8>> {
        let now = clock::now();
        let Effects { send, readings } = self.master.apply(event, now.mono);
        self.publish(readings, now, links);
        send
    }

    fn publish(&mut self, readings: impl IntoIterator<Item = Reading>, now: Now, links: &Links) {
        for Reading { point, value } in readings {
            let Some(message) = self.normalizer.apply(point, value, now) else { continue };
            match links.to_broker.try_send(message) {
                Ok(()) => self.taken(),
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.dropped(point),
            }
        }
    }

    fn taken(&mut self) {
        if self.dropping {
            tracing::info!(bus = %self.options.name, dropped = self.dropped, "the broker takes readings again");
            self.dropping = false;
        }
    }

    fn dropped(&mut self, point: usize) {
        if !self.dropping {
            tracing::warn!(bus = %self.options.name, "the broker has no room for readings; dropping the newest");
            self.dropping = true;
        }
        self.dropped += 1;
        self.normalizer.forget(point);
        if self.port.is_none() {
            self.unsaid.push(point);
        }
    }

    fn status(&self) -> BusStatus {
        BusStatus {
            name: self.options.name.to_string(),
            port: self.options.port.to_string_lossy().into_owned(),
            open: self.port.is_some(),
            last_error: self.last_error.clone(),
            dropped: self.dropped,
            devices: self.master.status(clock::mono()),
        }
    }
}
