//! The gateway at work: how long from its start to the first reading, and how much memory it takes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tidegate::clock;

use crate::process::{Broker, free_address};
use crate::wire::{self, Version};

/// The sensor says a line this often.
pub const SENSOR_PERIOD: Duration = Duration::from_millis(10);
const CONNECT_PERIOD: Duration = Duration::from_millis(1);
const FIRST_READING_MAX: Duration = Duration::from_secs(20);

/// A site of one sensor that says lines on a pseudo-terminal.
#[derive(Debug)]
struct Site {
    config: PathBuf,
    address: SocketAddr,
    sensor: File,
    /// Kept open: without it the sensor's end fails while no gateway runs.
    _port: rustix::fd::OwnedFd,
}

impl Site {
    fn new(folder: &Path) -> io::Result<Self> {
        let sensor = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&sensor)?;
        unlockpt(&sensor)?;
        let path = ptsname(&sensor, Vec::new())?.into_string().map_err(io::Error::other)?;
        let port = open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        let mut line = tcgetattr(&port)?;
        line.make_raw();
        tcsetattr(&port, OptionalActions::Now, &line)?;
        // Lines that nobody reads are thrown away.
        fcntl_setfl(&sensor, OFlags::NONBLOCK)?;
        let address = free_address()?;
        let config = folder.join("site.toml");
        let text = format!(
            r#"[gateway]
id = "bench"
[store]
path = "{store}"
[broker]
listen = ["tcp://{address}"]
[[bus]]
name = "weather"
protocol = "serial"
port = "{path}"
baud = 9600
frame = {{ delimiter = "\r\n", max_length = 1024 }}
[[device]]
name = "station"
bus = "weather"
decode = "regex"
pattern = '^T=(?<temp>[-\d.]+)'
[[device.point]]
name = "temperature"
field = "temp"
"#,
            store = folder.join("store.db").display()
        );
        fs::write(&config, text)?;
        Ok(Self { config, address, sensor: sensor.into(), _port: port })
    }

    /// Runs `body` while the sensor speaks.
    fn speaking<T>(&self, body: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Full: nobody reads at present.
                    let _ = (&self.sensor).write(b"T=21.5\r\n");
                    clock::block_for(SENSOR_PERIOD);
                }
            });
            let result = body();
            done.store(true, Ordering::Relaxed);
            result
        })
    }
}

/// From exec until a subscriber has the first reading. Each time with the store of the last time, as after a power cut.
pub fn start_to_first_reading(folder: &Path, runs: usize) -> io::Result<Vec<Duration>> {
    let site = Site::new(folder)?;
    site.speaking(|| {
        (0..runs)
            .map(|_| {
                let start = clock::mono();
                let gateway = Broker::tidegate(&site.config, site.address)?;
                first_reading(&gateway)?;
                Ok(clock::mono().since(start))
            })
            .collect()
    })
}

/// The most memory in kB that the gateway held in `duration`, with a sensor and a subscriber.
pub fn memory_after(folder: &Path, duration: Duration) -> io::Result<u64> {
    let site = Site::new(folder)?;
    site.speaking(|| {
        let gateway = Broker::tidegate(&site.config, site.address)?;
        let mut subscriber = first_reading(&gateway)?;
        let end = clock::mono() + duration;
        while clock::mono() < end {
            subscriber.read_exact(&mut [0])?;
        }
        gateway.peak_kb()
    })
}

/// A subscriber that has got the first bytes of a reading.
fn first_reading(gateway: &Broker) -> io::Result<TcpStream> {
    let deadline = clock::mono() + FIRST_READING_MAX;
    loop {
        match subscribe(gateway.address) {
            Ok(mut subscriber) => {
                subscriber.read_exact(&mut [0])?;
                return Ok(subscriber);
            }
            Err(error) if clock::mono() > deadline => return Err(error),
            Err(_) => clock::block_for(CONNECT_PERIOD),
        }
    }
}

fn subscribe(broker: SocketAddr) -> io::Result<TcpStream> {
    let mut socket = wire::connect(broker, Version::V311, "first", false)?;
    wire::subscribe(&mut socket, Version::V311, "bench/station/temperature", 0)?;
    Ok(socket)
}
