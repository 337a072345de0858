//! A sensor on a serial line: a pty into which a line with a rising counter goes at a steady rate. It knows nothing of who reads: it goes on
//! while the gateway is dead, as a sensor does, and its port stays the same.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::termios::ioctl_tiocnxcl;
use tidegate::clock;
use tidegate::model::Mono;

use super::wire::Port;

/// Sends `C=n`, n from 1, at a steady rate.
#[derive(Debug)]
pub struct LineSensor {
    port: PathBuf,
    emitted: Arc<Mutex<BTreeMap<u64, Mono>>>,
    stop: Arc<AtomicBool>,
}

impl LineSensor {
    /// Starts to send so many lines a second.
    pub fn start(lines_per_second: u32) -> Self {
        let (mut line, port) = Line::open();
        let emitted = Arc::new(Mutex::new(BTreeMap::new()));
        let told = Arc::downgrade(&emitted);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let every = Duration::from_secs(1) / lines_per_second;
        thread::spawn(move || {
            let mut due = clock::mono();
            let mut n = 0;
            // Ends with its owner.
            while told.strong_count() > 0 {
                due = due + every;
                clock::block_for(due.since(clock::mono()));
                if stopped.load(Ordering::Relaxed) {
                    continue;
                }
                n += 1;
                if line.send(format!("C={n}\r\n").as_bytes()) {
                    let Some(emitted) = told.upgrade() else { break };
                    emitted.lock().unwrap_or_else(PoisonError::into_inner).insert(n, clock::mono());
                }
            }
        });
        Self { port, emitted, stop }
    }

    /// The tables of a site's file that read it: readings of `n` as topic `plant-7/sensor/count`.
    pub fn config(&self) -> String {
        format!(
            "[[bus]]\nname = \"line\"\nprotocol = \"serial\"\nport = \"{}\"\nbaud = 115200\nframe = {{ delimiter = \"\\r\\n\", max_length = 64 }}\n\
             [[device]]\nname = \"sensor\"\nbus = \"line\"\ndecode = \"regex\"\npattern = '^C=(?<n>\\d+)$'\n\
             [[device.point]]\nname = \"count\"\nfield = \"n\"\n",
            self.port.display()
        )
    }

    pub fn port(&self) -> &Path {
        &self.port
    }

    /// Sends no more; the port stays.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The lines that went out whole, and when.
    pub fn emitted(&self) -> BTreeMap<u64, Mono> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sensor's end of the wire.
struct Line {
    port: Port,
    /// The rest of a line of which the port took only a part.
    rest: Vec<u8>,
}

impl Line {
    fn open() -> (Self, PathBuf) {
        let port = Port::open();
        // A line that nobody reads must not hold the sensor up.
        fcntl_setfl(&port.master, OFlags::NONBLOCK).expect("a descriptor");
        let path = port.path.clone();
        (Self { port, rest: Vec::new() }, path)
    }

    /// Whether the line went out whole. While nobody reads, the port is full after 4 KiB and lines are gone, as on a wire.
    fn send(&mut self, line: &[u8]) -> bool {
        // A gateway that was killed leaves the port claimed for itself, since we hold it open; on a real port its end would give it free.
        let _ = ioctl_tiocnxcl(&self.port.slave);
        if !self.push_rest() {
            return false;
        }
        self.rest = line.to_vec();
        // Of a line that goes out in part now, the rest follows before the next one.
        self.push_rest() || self.rest.len() < line.len()
    }

    fn push_rest(&mut self) -> bool {
        while !self.rest.is_empty() {
            match self.port.master.write(&self.rest) {
                Ok(n) => drop(self.rest.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("the sensor's pty fails: {error}"),
            }
        }
        true
    }
}
