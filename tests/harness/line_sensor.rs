//! A sensor on a serial line: a pty into which a line with a rising counter goes at a steady rate. It knows nothing of who reads: it goes on
//! while the gateway is dead, as a sensor does, and its port stays the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr};
use tidegate::clock;
use tidegate::model::Mono;

/// Sends `C=n`, n from 1, at a steady rate.
#[derive(Debug)]
pub struct LineSensor {
    port: PathBuf,
    emitted: Arc<Mutex<BTreeMap<u64, Mono>>>,
}

impl LineSensor {
    /// Starts to send so many lines a second.
    pub fn start(lines_per_second: u32) -> Self {
        let (mut line, port) = Line::open();
        let emitted = Arc::new(Mutex::new(BTreeMap::new()));
        let told = Arc::downgrade(&emitted);
        let every = Duration::from_secs(1) / lines_per_second;
        thread::spawn(move || {
            let mut due = clock::mono();
            let mut n = 0;
            // Ends with its owner.
            while told.strong_count() > 0 {
                n += 1;
                if line.send(format!("C={n}\r\n").as_bytes()) {
                    let Some(emitted) = told.upgrade() else { break };
                    emitted.lock().unwrap_or_else(PoisonError::into_inner).insert(n, clock::mono());
                }
                due = due + every;
                clock::block_for(due.since(clock::mono()));
            }
        });
        Self { port, emitted }
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

    /// The lines that went out whole, and when.
    pub fn emitted(&self) -> BTreeMap<u64, Mono> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sensor's end of the wire.
struct Line {
    master: File,
    /// Held open, so that the port and what waits in it outlive a gateway that dies.
    slave: OwnedFd,
    /// The rest of a line of which the port took only a part.
    rest: Vec<u8>,
}

impl Line {
    fn open() -> (Self, PathBuf) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&master).expect("a pty");
        unlockpt(&master).expect("a pty");
        let port = PathBuf::from(ptsname(&master, Vec::new()).expect("a pty has a name").into_string().expect("in ASCII"));
        let slave = open(&port, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the other end");
        let mut termios = tcgetattr(&slave).expect("a terminal");
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios).expect("a terminal");
        // A line that nobody reads must not hold the sensor up.
        fcntl_setfl(&master, OFlags::NONBLOCK).expect("a descriptor");
        (Self { master: master.into(), slave, rest: Vec::new() }, port)
    }

    /// Whether the line went out whole. While nobody reads, the port is full after 4 KiB and lines are gone, as on a wire.
    fn send(&mut self, line: &[u8]) -> bool {
        // A gateway that was killed leaves the port claimed for itself, since we hold it open; on a real port its end would give it free.
        let _ = ioctl_tiocnxcl(&self.slave);
        if !self.push_rest() {
            return false;
        }
        self.rest = line.to_vec();
        // Of a line that goes out in part now, the rest follows before the next one.
        self.push_rest() || self.rest.len() < line.len()
    }

    fn push_rest(&mut self) -> bool {
        while !self.rest.is_empty() {
            match self.master.write(&self.rest) {
                Ok(n) => drop(self.rest.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("the sensor's pty fails: {error}"),
            }
        }
        true
    }
}
