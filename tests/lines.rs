//! A framed serial port, by the real task over a pty: what a line sensor and its cable do to it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;
use tidegate::bus::{self, Line, Links, Options, Parity, Protocol, SerialDevice, SerialOptions, SerialPoint};
use tidegate::clock;
use tidegate::frame::Framing;
use tidegate::frame::decode::{Decoder, Field};
use tidegate::model::status::{BusStatus, DeviceState};
use tidegate::model::{Message, Phase, Query, Topic};
use tidegate::normalize::{PointOptions, json};
use tidegate::stats::Heartbeat;
use tokio::sync::{mpsc, oneshot, watch};

/// For what happens at once.
const SOON: Duration = Duration::from_secs(5);

/// The sensor's end of a pty, and a symbolic link to the other.
struct Sensor {
    master: File,
}

impl Sensor {
    fn plug_in(port: &Path) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&master).expect("a pty");
        unlockpt(&master).expect("a pty");
        let name = ptsname(&master, Vec::new()).expect("a pty has a name").into_string().expect("in ASCII");
        let fresh = port.with_extension("new");
        symlink(name, &fresh).expect("the folder is ours");
        std::fs::rename(fresh, port).expect("the folder is ours");
        Self { master: master.into() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).expect("the pty takes it");
    }
}

/// A bus as its neighbours see it.
struct Bench {
    _folder: TempDir,
    port: PathBuf,
    messages: mpsc::Receiver<Message>,
    query: mpsc::Sender<Query<BusStatus>>,
    phase: watch::Sender<Phase>,
    heartbeat: Heartbeat,
}

impl Bench {
    /// Runs `test` beside a bus whose broker has room for `room` messages. The bus must end when it is told to.
    fn run<F: Future<Output = Self>>(room: usize, test: impl FnOnce(Self) -> F) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = folder.path().join("port");
        let (to_broker, messages) = mpsc::channel(room);
        let (query, queries) = mpsc::channel(1);
        let (phase, phases) = watch::channel(Phase::Running);
        let heartbeat = Heartbeat::new("bus:weather", Duration::from_millis(100));
        let links = Links { to_broker, query: queries, phase: phases, heartbeat: heartbeat.clone() };
        let options = options(&port);
        let bench = Self { _folder: folder, port, messages, query, phase, heartbeat };
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async move {
            let mut bus = std::pin::pin!(bus::run(options, links));
            let bench = tokio::select! {
                biased;
                // First, so that what the test does before it waits is done before the bus begins.
                bench = test(bench) => bench,
                () = &mut bus => panic!("the bus has ended by itself"),
            };
            bench.phase.send(Phase::StopBuses).expect("the bus listens");
            clock::before(clock::mono() + SOON, bus).await.expect("the bus ends when it is told to");
        });
    }

    /// The next message as topic and text without its time; fails after `within`.
    async fn next(&mut self, within: Duration) -> String {
        let message = clock::before(clock::mono() + within, self.messages.recv()).await.expect("a message in time").expect("the bus runs");
        let text = String::from_utf8(json(&message.body).to_vec()).expect("the text is UTF-8");
        let (before, after) = text.split_once(r#","t":""#).expect("every reading has a time");
        format!("{} {before}{}", message.topic, &after[after.find('"').expect("the time ends") + 1..])
    }

    async fn status(&self) -> BusStatus {
        let (reply, answer) = oneshot::channel();
        self.query.send(Query { reply }).await.expect("the bus runs");
        clock::before(clock::mono() + SOON, answer).await.expect("an answer in time").expect("the bus answers")
    }

    async fn wait(&self, what: &str, mut look: impl FnMut(&BusStatus) -> bool) {
        let deadline = clock::mono() + SOON;
        while !look(&self.status().await) {
            assert!(clock::mono() < deadline, "waited in vain for: {what}");
            clock::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn options(port: &Path) -> Options {
    let topic = Topic::new("station/temp").expect("a topic");
    let publish = PointOptions { topic, unit: None, scale: 1.0, offset: 0.0, decimals: None, deadband: None, max_silence: None };
    let device = SerialDevice {
        name: "station".into(),
        decoder: Decoder::Regex(regex::Regex::new(r"^T=(?<temp>\S+)$").expect("a pattern")),
        points: vec![SerialPoint { name: "temp".into(), field: Field::Group("temp".into()), publish }],
    };
    let framing = Framing { delimiter: b"\r\n".to_vec(), max_length: 32 };
    Options {
        name: "weather".into(),
        port: port.to_owned(),
        line: Line { baud: 9_600, data_bits: 8, parity: Parity::None, stop_bits: 1 },
        protocol: Protocol::Serial(SerialOptions { framing, devices: vec![device] }),
    }
}

fn good(value: &str) -> String {
    format!(r#"station/temp {{"v":{value},"q":"good"}}"#)
}

const CLOSED: &str = r#"station/temp {"v":null,"q":"bad","cause":"closed"}"#;

#[test]
fn lines_are_read_wherever_the_cable_cuts_them() {
    Bench::run(64, async |mut bench| {
        let mut sensor = Sensor::plug_in(&bench.port);
        bench.wait("the port to be open", |status| status.open).await;
        let before = bench.heartbeat.beats();
        sensor.send(b"nd of a line\r\n");
        let bytes = b"T=1\r\nT=2\r\nT=-3.5\r\n";
        for chunk in bytes.chunks(2) {
            sensor.send(chunk);
            clock::sleep(Duration::from_millis(2)).await;
        }
        for want in ["1", "2", "-3.5"] {
            assert_eq!(bench.next(SOON).await, good(want));
        }
        sensor.send(&[b'x'; 500]);
        sensor.send(b"\r\n\xff\x00\x1b[2J\r\r\n\x03\x04\x11\x13\x1a\r\nT=4\r\nT=five\r\nT=6\r\n");
        assert_eq!(bench.next(SOON).await, good("4"), "control characters reach the framer and do nothing to the line");
        assert_eq!(bench.next(SOON).await, good(r#""five""#), "a point without unit or scale may be text");
        assert_eq!(bench.next(SOON).await, good("6"));
        let status = bench.status().await;
        let device = &status.devices[0];
        assert_eq!((device.exchanges, device.skipped, device.state), (6, 3, DeviceState::Good), "{status:?}");
        assert_eq!((status.dropped, status.last_error), (0, None));
        let beats = bench.heartbeat.beats();
        assert!(beats > before);
        while bench.heartbeat.beats() < beats + 2 {
            clock::sleep(Duration::from_millis(10)).await;
        }
        bench
    });
}

#[test]
fn a_port_that_comes_back_is_read_within_five_seconds() {
    Bench::run(64, async |mut bench| {
        assert_eq!(bench.next(SOON).await, CLOSED, "a port that was never there is said once");
        for round in 0..3 {
            let mut sensor = Sensor::plug_in(&bench.port);
            let plugged = clock::mono();
            bench.wait("the port to be open", |status| status.open).await;
            sensor.send(format!("\r\nT={round}\r\nT=7").as_bytes());
            assert_eq!(bench.next(SOON).await, good(&round.to_string()));
            assert!(clock::mono().since(plugged) < Duration::from_secs(5));
            drop(sensor);
            assert_eq!(bench.next(SOON).await, CLOSED);
            bench.wait("the port to be away", |status| !status.open && status.last_error.is_some()).await;
            assert_eq!(bench.status().await.devices[0].state, DeviceState::Bad);
        }
        bench
    });
}

#[test]
fn a_broker_without_room_does_not_hold_up_the_port() {
    Bench::run(2, async |mut bench| {
        let mut sensor = Sensor::plug_in(&bench.port);
        bench.wait("the port to be open", |status| status.open).await;
        sensor.send(b"\r\nT=1\r\nT=2\r\nT=3\r\nT=4\r\n");
        bench.wait("two readings to be dropped", |status| status.dropped == 2).await;
        assert_eq!(bench.next(SOON).await, good("1"));
        assert_eq!(bench.next(SOON).await, good("2"));
        sensor.send(b"T=5\r\n");
        assert_eq!(bench.next(SOON).await, good("5"));
        bench
    });
}
