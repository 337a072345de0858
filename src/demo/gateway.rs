//! The gateway of the demo: the daemon on a thread of its own, as `tidegate run` has it on its main one.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Error;
use super::upstream::joined;
use super::view::{Heard, Row};
use crate::bus::Protocol;
use crate::clock;
use crate::config::{self, Environment, Site};
use crate::daemon::{self, Setup, Stop};
use crate::model::status::{BrokerStatus, Status};
use crate::normalize::PointOptions;
use crate::ops::sources::Sources;

/// For its parts' answers; a page is drawn more often than a slow one would matter.
const PATIENCE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct Gateway {
    /// Of its broker, on the loopback.
    pub port: u16,
    /// Its points, in the order of the file.
    pub rows: Vec<Row>,
    sources: Sources,
    stop: oneshot::Sender<()>,
    counted: oneshot::Receiver<BrokerStatus>,
    /// Ends with the thread.
    alive: oneshot::Receiver<()>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Gateway {
    /// Runs the site with this text, once its broker listens.
    pub async fn start(toml: &str) -> Result<Self, Error> {
        let site = config::parse(toml, "demo.toml", &Environment::unknown()).map_err(Error::Site)?;
        let rows = rows(&site);
        let (stop, told) = oneshot::channel();
        let (ready, running) = oneshot::channel();
        let (life, alive) = oneshot::channel();
        let (count, counted) = oneshot::channel();
        let setup = Setup { stop: Stop::Told(told), socket: None, ready: Some(ready), counted: Some(count) };
        let thread = std::thread::Builder::new().name("demo:gateway".to_owned()).spawn(move || {
            let result = daemon::run(site, setup).map_err(Error::Gateway);
            drop(life);
            result
        });
        let thread = thread.map_err(Error::Runtime)?;
        let Ok(running) = running.await else {
            return Err(joined(thread).err().unwrap_or(Error::Silent("the gateway")));
        };
        let port = running.listeners.first().and_then(|bound| bound.address).map(|address| address.port()).unwrap_or_default();
        Ok(Self { port, rows, sources: running.sources, stop, counted, alive, thread: Some(thread) })
    }

    /// Why it has ended by itself; pending until it has.
    pub async fn ended(&mut self) -> Error {
        // Nothing is ever sent.
        let _ = (&mut self.alive).await;
        match self.thread.take().map(joined) {
            Some(Err(error)) => error,
            _ => Error::Silent("the gateway"),
        }
    }

    pub fn heard(&mut self, topic: &str, heard: Heard) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.topic == topic) {
            row.heard = Some(heard);
        }
    }

    /// Stops and drains it; the messages that its broker has accepted for the upstream in all.
    pub fn end(self) -> Result<u64, Error> {
        // It may have ended.
        let _ = self.stop.send(());
        self.thread.map_or(Ok(()), joined)?;
        let mut counted = self.counted;
        Ok(counted.try_recv().map_err(|_| Error::Silent("the gateway's broker"))?.owed)
    }

    pub async fn status(&self) -> Status {
        self.sources.collect(clock::mono() + PATIENCE).await
    }
}

fn rows(site: &Site) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |device: &str, point: &str, publish: &PointOptions| {
        rows.push(Row { device: device.to_owned(), point: point.to_owned(), topic: publish.topic.to_string(), heard: None });
    };
    for bus in &site.buses {
        match &bus.protocol {
            Protocol::ModbusRtu(modbus) => {
                for device in &modbus.devices {
                    device.points.iter().for_each(|point| add(&device.name, &point.name, &point.publish));
                }
            }
            Protocol::Serial(serial) => {
                for device in &serial.devices {
                    device.points.iter().for_each(|point| add(&device.name, &point.name, &point.publish));
                }
            }
        }
    }
    rows
}
