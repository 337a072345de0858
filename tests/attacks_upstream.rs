//! The upstream broker is hostile, too: what it sends down the bridge's connection is untrusted input. Whatever that is, the gateway's memory stays
//! bounded, its clients are served, the log says what is wrong once, and tries follow at growing distances until the upstream is good.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tidegate::clock;

use crate::harness::fake_upstream::{Answer, FakeUpstream};
use crate::harness::gateway::Site;
use crate::harness::honest::Honest;
use crate::harness::rig::upstream;
use crate::harness::script::hold;
use crate::harness::{alone, let_run, report, wait_until};

const WITHIN: Duration = Duration::from_secs(40);
const RSS_MAX_KIB: u64 = 40 << 10;
/// CONNACK of 5.0: welcome.
const WELCOME: &[u8] = &[0x20, 3, 0, 0, 0];
/// How long an upstream is hostile.
const HOSTILE: Duration = Duration::from_secs(5);

/// What it does to a connection, until that ends.
type Deed = fn(&mut TcpStream) -> io::Result<()>;

/// Hostile until it is told to be good; then it is a door to an upstream that takes everything.
struct Hostile {
    name: &'static str,
    port: u16,
    connections: Arc<AtomicUsize>,
    good: Arc<AtomicBool>,
    behind: FakeUpstream,
}

impl Hostile {
    fn start(name: &'static str, deed: Deed) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (connections, good) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let behind = FakeUpstream::start(|_| Answer::Ack);
        let (count, is_good, door) = (Arc::clone(&connections), Arc::clone(&good), behind.port());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                if is_good.load(Ordering::Relaxed) {
                    thread::spawn(move || pass_on(&stream, door));
                } else {
                    thread::spawn(move || {
                        // The attacker's own use of the processor is no part of what is measured.
                        let _ = rustix::process::nice(19);
                        deed(&mut stream)
                    });
                }
            }
        });
        Self { name, port, connections, good, behind }
    }

    fn tries(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn pass_on(stream: &TcpStream, door: u16) -> io::Result<()> {
    let behind = TcpStream::connect((Ipv4Addr::LOCALHOST, door))?;
    let (mut from, mut to) = (stream.try_clone()?, behind.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut to));
    io::copy(&mut &behind, &mut &*stream).map(drop)
}

/// Until the other side has had enough.
fn repeat(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}

fn drip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        clock::block_for(Duration::from_millis(50));
    }
    io::copy(stream, &mut io::sink()).map(drop)
}

/// A packet with this first byte.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    tidegate::mqtt::encode::remaining_length(&mut packet, body.len());
    packet.extend(body);
    packet
}

/// The client's CONNECT is read, then it is let in.
fn welcome(stream: &mut TcpStream) -> io::Result<()> {
    let _ = stream.read(&mut [0; 512])?;
    stream.write_all(WELCOME)
}

/// A quarter of a million of them, with their length: as much as a packet of our own clients may have.
fn properties() -> Vec<u8> {
    let all = [0x26, 0, 1, b'a', 0, 1, b'b'].repeat(280_000);
    let mut with_length = Vec::new();
    tidegate::mqtt::encode::remaining_length(&mut with_length, all.len());
    with_length.extend(all);
    with_length
}

const QUIET: [(&str, Deed); 7] = [
    ("garbage", |stream| {
        let noise: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        stream.write_all(&noise)?;
        io::copy(stream, &mut io::sink()).map(drop)
    }),
    ("mute", |stream| io::copy(stream, &mut io::sink()).map(drop)),
    ("slow", |stream| drip(stream, &packet(0x20, &[0; 200]))),
    ("claim", |stream| {
        welcome(stream)?;
        stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f])?;
        repeat(stream, &[b'x'; 16 << 10])
    }),
    ("endless", |stream| {
        welcome(stream)?;
        drip(stream, &[&[0x30, 0x80, 0x7d, 0, 1, b't'][..], &[0; 4_000]].concat())
    }),
    ("properties", |stream| {
        stream.write_all(&packet(0x20, &[&[0, 0][..], &properties()].concat()))?;
        io::copy(stream, &mut io::sink()).map(drop)
    }),
    ("words", |stream| {
        welcome(stream)?;
        let text = b"\x1b[2J\r\nWARN forged";
        let property = [&[0x1f, 0, u8::try_from(text.len()).expect("short")][..], text].concat();
        let body = [&[0x87, u8::try_from(property.len()).expect("short")][..], &property].concat();
        stream.write_all(&packet(0xe0, &body))?;
        stream.shutdown(Shutdown::Write)?;
        io::copy(stream, &mut io::sink()).map(drop)
    }),
];

/// They let us in, acknowledge nothing, and send as fast as the line carries it; what we answer they do not read.
const FLOODS: [(&str, Deed); 5] = [
    ("fat", |stream| {
        welcome(stream)?;
        repeat(stream, &packet(0x30, &[&[0, 1, b't'][..], &properties()].concat()))
    }),
    ("large", |stream| {
        welcome(stream)?;
        repeat(stream, &packet(0x30, &[&[0, 1, b't', 0][..], &[b'x'; 1 << 20]].concat()))
    }),
    ("tiny", |stream| {
        welcome(stream)?;
        repeat(stream, &packet(0x30, &[0, 1, b't', 0]).repeat(1_000))
    }),
    ("twice", |stream| {
        welcome(stream)?;
        let all: Vec<u8> = (1..=2_000_u16).flat_map(|id| [&[0x34, 6, 0, 1, b't'][..], &id.to_be_bytes(), &[0]].concat()).collect();
        repeat(stream, &all)
    }),
    ("pongs", |stream| {
        welcome(stream)?;
        repeat(stream, &[0xd0, 0].repeat(2_000))
    }),
];

/// All of them at once; the honest client's 99th percentile meanwhile.
fn beside(deeds: &[(&'static str, Deed)]) -> Duration {
    let all: Vec<_> = deeds.iter().map(|(name, deed)| Hostile::start(name, *deed)).collect();
    let site = Site::new(&all.iter().map(|one| upstream(one.name, one.port, "m")).collect::<String>());
    let gateway = site.start();
    let honest = Honest::start(site.port);
    let all_numbers: String = (0..20).map(|n| format!("a > publish q1 #1 m {n}\na < puback #1\n")).collect();
    hold(site.port, "r", &format!("a > connect 4\na < connack 0\n{all_numbers}")).expect("they are kept for the upstreams");
    let_run(HOSTILE);
    let (p99, _) = honest.stop();
    let rss = gateway.rss_kib();
    report(&format!("attacks: hostile upstreams: gateway {rss} KiB"));
    assert!(rss < RSS_MAX_KIB, "{rss} KiB");
    let status = site.status().expect("it answers");
    for (one, seen) in all.iter().zip(&status.upstreams) {
        // After 1, 2 and 4 s, and once more at once in the other version.
        assert!((1..=6).contains(&one.tries()), "{}: {} tries", one.name, one.tries());
        assert_eq!(seen.acknowledged, 0, "{}", one.name);
        let error = seen.last_error.clone().unwrap_or_else(|| panic!("nothing is said of {}", one.name));
        report(&format!("attacks: upstream {}: {} tries, {error:.200}", one.name, one.tries()));
        let log = site.log();
        let away = log.lines().filter(|line| line.contains("upstream away") && line.contains(one.name)).count();
        assert_eq!(away, 1, "{}: {}", one.name, site.log_tail());
    }
    let log = site.log();
    assert!(log.len() < 32 << 10, "{} bytes of log", log.len());
    assert!(!log.contains('\x1b') && !log.lines().any(|line| line.starts_with("WARN forged")), "{}", site.log_tail());
    all.iter().for_each(|one| one.good.store(true, Ordering::Relaxed));
    for one in &all {
        let wanted: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        wait_until(one.name, WITHIN, || wanted.iter().all(|n| one.behind.acked().contains(n)));
    }
    p99
}

#[test]
fn whatever_an_upstream_sends_it_is_left_and_tried_again() {
    let _alone = alone();
    let p99 = beside(&QUIET);
    report(&format!("attacks: hostile upstreams: honest ping p99 {p99:?}"));
    assert!(p99 < Duration::from_millis(100), "{p99:?}");
}

#[test]
fn floods_of_upstreams_hurt_neither_clients_nor_the_outbox() {
    let _alone = alone();
    let p99 = beside(&FLOODS);
    report(&format!("attacks: flooding upstreams: honest ping p99 {p99:?}"));
    assert!(p99 < Duration::from_millis(100), "{p99:?}");
}
