//! What has hurt other brokers, each tried from outside against the running gateway: packets, lengths and memory. Those who use others' names and
//! rights are in `attacks_access`, those who come in numbers in `attacks_floods`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::raw::{Raw, publish};
use crate::harness::script::{check, check_at, hold};
use crate::harness::wait_until;

const WITHIN: Duration = Duration::from_secs(20);

/// A turn in a debug build, on a machine that does other things; the goal is 10 ms of CPU.
const TURN_MAX_US: u64 = if cfg!(debug_assertions) { 60_000 } else { 10_000 };

fn stranger(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    stream
}

/// The whole gateway works on, and no turn was long.
fn is_well(site: &Site) {
    let mut honest = Raw::connect(site.port, "honest");
    honest.subscribe("well", 1);
    honest.send(&publish("well", b"yes", 0));
    assert_eq!(honest.ping().len(), 1, "{}", site.log_tail());
    let status = site.status().expect("it answers");
    assert!(status.broker.longest_turn_us < TURN_MAX_US, "a turn of {} us", status.broker.longest_turn_us);
}

#[test]
fn memory_before_connect_is_bounded_however_many_begin_one() {
    let site = Site::new("[broker.limits]\nunfinished_max = \"4MiB\"\npending_max = 900\n");
    let gateway = site.start();
    let before = gateway.rss_kib();
    // A CONNECT of 70,000 bytes, of which the last is missing.
    let begin = [&[0x10, 0xf0, 0xa2, 0x04, 0, 4][..], b"MQTT", &[4, 2, 0, 0, 0xff, 0xff], &[b'x'; 65_000]].concat();
    let mut all: Vec<_> = (0..500).map(|_| stranger(site.port)).collect();
    all.iter_mut().for_each(|one| drop(one.write_all(&begin)));
    let reached = |name: &str| site.status().and_then(|status| status.broker.limits.get(name).copied()).unwrap_or_default();
    wait_until("most are ended", WITHIN, || reached("unfinished_max") >= 400);
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB for 500 strangers");
    drop(all);
    is_well(&site);
}

#[test]
fn a_length_that_is_claimed_allocates_nothing() {
    let site = Site::new("");
    let gateway = site.start();
    let mut clients: Vec<_> = (0..200).map(|n| Raw::connect(site.port, &format!("c{n}"))).collect();
    let before = gateway.rss_kib();
    // A PUBLISH of 2 MiB less a little, of which five bytes are there: 400 MB are claimed.
    clients.iter_mut().for_each(|client| client.send(&[0x30, 0xf0, 0xff, 0x7f, 0]));
    is_well(&site);
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} KiB for 1,000 bytes");
    check_at(
        site.port,
        &[
            ("a stranger's 256 MB", "a > hex 10ffffff7f\na < closed"),
            ("a client's", "a > connect 5\na < connack 0\na > hex 30ffffff7f\na < disconnect 0x95\na < closed"),
            ("of a topic", "a > connect 5\na < connack 0\na > hex 3005ffff616263\na < disconnect 0x81\na < closed"),
            ("of a user property", "a > connect 5\na < connack 0\na > hex 300b000174 0726ffff6162ffff\na < disconnect 0x81\na < closed"),
        ],
    );
}

#[test]
fn sixty_five_thousand_levels_of_a_topic_are_refused_at_once() {
    let site = Site::new("");
    let gateway = site.start();
    let deep = "/*65000";
    let rows = [
        format!("a > connect 5\na < connack 0\na > publish q0 {deep} x\na < disconnect 0x90\na < closed"),
        format!("a > connect 5\na < connack 0\na > publish q1 #1 {deep} x\na < puback #1 0x90\na < nothing"),
        format!(
            "a > connect 5\na < connack 0\na > subscribe #1 {deep}=0\na < suback #1 0x97\na > unsubscribe #2 {deep}\na < unsuback #2 17"
        ),
        format!("a > connect 4\na < connack 0\na > publish q1 #1 {deep} x\na < closed"),
        format!("a > connect 5 will={deep}:x\na < connack 0x90\na < closed"),
    ];
    let try_all = || rows.iter().for_each(|row| hold(site.port, "r", row).expect("as the standard has it"));
    try_all();
    let before = gateway.rss_kib();
    (0..30).for_each(|_| try_all());
    assert!(gateway.rss_kib() < before + 2_048, "{before} KiB, then {}", gateway.rss_kib());
    is_well(&site);
}

#[test]
fn fields_of_no_length_are_what_the_standard_makes_of_them() {
    let in_and = |version: u8, packet: &str, end: &str| format!("a > connect {version}\na < connack 0\na > {packet}\na < {end}");
    check(&[
        ("no body at all", "a > hex 1000\na < closed"),
        ("no protocol name", "a > hex 10080000040200000000\na < closed"),
        ("no client id, clean", "a > connect 4 id=\na < connack 0\na < nothing"),
        ("no client id, not clean", "a > connect 4 id= clean=0\na < connack 2\na < closed"),
        ("no topic", &in_and(5, "hex 3003000000", "disconnect 0x82")),
        ("no topic, 3.1.1", &in_and(4, "hex 30020000", "closed")),
        ("an empty will topic", "a > connect 4 will=:x\na < closed"),
        ("no filter", &in_and(4, "hex 82020001", "closed")),
        ("an empty filter", &in_and(4, "hex 8205000100 0000", "closed")),
        ("an empty list", &in_and(5, "hex 8203000100", "disconnect 0x82")),
        ("an empty PUBLISH", &in_and(4, "hex 3000", "closed")),
        ("an empty PUBACK", &in_and(4, "hex 4000", "closed")),
        ("an empty user property", "a > connect 5\na < connack 0\na > publish q1 #1 t x up=:\na < puback #1"),
        ("an empty share name", &in_and(5, "subscribe #1 $share//t=0", "suback #1 0x8f")),
        ("an empty user and password", "a > connect 4 user= pass=\na < connack *"),
    ]);
}

#[test]
fn a_flood_of_user_properties_ends_at_the_first_that_is_too_many() {
    let site = Site::new("");
    let gateway = site.start();
    // A third of a million of them in one packet, and the value of one is the rest.
    let all = [0x26, 0, 0, 0, 0].repeat(390_000);
    let mut length = Vec::new();
    tidegate::mqtt::encode::remaining_length(&mut length, all.len());
    let mut body = [&[0, 1, b't'][..], &length, &all].concat();
    let mut packet = vec![0x30];
    tidegate::mqtt::encode::remaining_length(&mut packet, body.len());
    packet.append(&mut body);
    let flood = || {
        let mut stream = stranger(site.port);
        let connect = [&[0x10, 14, 0, 4][..], b"MQTT", &[5, 2, 0, 0, 0, 0, 1, b'f']].concat();
        stream.write_all(&connect).expect("it reads");
        let _ = stream.write_all(&packet);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.windows(2).any(|two| two[0] == 0xe0) || answer.is_empty(), "{answer:02x?}");
    };
    flood();
    let before = gateway.rss_kib();
    (0..20).for_each(|_| flood());
    assert!(gateway.rss_kib() < before + 4_096, "{before} KiB, then {}", gateway.rss_kib());
    is_well(&site);
}

#[test]
fn qos_2_that_is_never_released_is_bounded() {
    let site = Site::new("");
    let gateway = site.start();
    let before = gateway.rss_kib();
    for n in 0..8 {
        let mut client = Raw::connect(site.port, &format!("two{n}"));
        let all: Vec<u8> = (1..=65_535_u16).flat_map(|id| [&[0x34, 5, 0, 1, b't'][..], &id.to_be_bytes()].concat()).collect();
        let mut reader = client.stream.try_clone().expect("a socket can be shared");
        // Its PUBRECs are read, its PUBRELs never sent.
        let reading = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        let _ = client.stream.write_all(&all);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        let _ = reading.join();
    }
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    is_well(&site);
}

#[test]
fn numbers_of_five_bytes_are_malformed() {
    check(&[
        ("a remaining length", "a > hex 10ffffffff01\na < closed"),
        ("of a client", "a > connect 5\na < connack 0\na > hex 30ffffffff7f\na < disconnect 0x81\na < closed"),
        ("a property length", "a > connect 5\na < connack 0\na > hex 300a000174ffffffff7f0000\na < disconnect 0x81\na < closed"),
        ("of CONNECT", "a > hex 101100044d515454050200 00ffffffff7f000161\na < connack 0x81 *\na < closed"),
        (
            "a subscription identifier",
            "a > connect 5\na < connack 0\na > hex 820d0001060bffffffff7f000161 00\na < disconnect 0x81\na < closed",
        ),
    ]);
}

/// [MQTT-6.0.0-4]: frames say nothing of packets.
#[test]
fn a_packet_longer_than_its_websocket_frame_waits_for_the_next_frame() {
    let port = free_port();
    let site = Site::new(&format!("[[broker.listener]]\nurl = \"ws://127.0.0.1:{port}/mqtt\"\n"));
    let gateway = site.start();
    let upgrade = format!(
        "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let open = || {
        let mut stream = stranger(port);
        stream.write_all(upgrade.as_bytes()).expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        stream
    };
    // Masked with zeros.
    let frame = |bytes: &[u8]| [&[0x82, 0x80 | u8::try_from(bytes.len()).expect("a short frame"), 0, 0, 0, 0][..], bytes].concat();
    let connect = [&[0x10, 13, 0, 4][..], b"MQTT", &[4, 2, 0, 0, 0, 1, b'w']].concat();
    let mut stream = open();
    for byte in &connect {
        stream.write_all(&frame(&[*byte])).expect("it reads");
    }
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).expect("CONNACK in a frame");
    assert_eq!(answer, [0x82, 4, 0x20, 2, 0, 0]);
    let before = gateway.rss_kib();
    let mut others: Vec<_> = (0..100).map(|_| open()).collect();
    for other in &mut others {
        // A packet that is to have 256 MB, and a frame that is to have 2^62 bytes.
        other.write_all(&frame(&[0x10, 0xff, 0xff, 0xff, 0x7f])).expect("it reads");
        let _ = other.write_all(&[0x82, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x10]);
    }
    is_well(&site);
    assert!(gateway.rss_kib() < before + 8_192, "{before} KiB, then {}", gateway.rss_kib());
}

#[test]
fn packets_that_only_a_server_sends_end_the_connection() {
    let mut rows = Vec::new();
    for (name, packet) in [
        ("CONNACK", "20020000"),
        ("SUBACK", "9003000100"),
        ("UNSUBACK", "b0020001"),
        ("PINGRESP", "d000"),
        ("type 0", "0000"),
        ("a second CONNECT", "100d00044d5154540402000000 0161"),
    ] {
        rows.push((format!("{name}, 3.1.1"), format!("a > connect 4\na < connack 0\na > hex {packet}\na < closed")));
        rows.push((format!("{name}, 5.0"), format!("a > connect 5\na < connack 0\na > hex {packet}\na < disconnect *\na < closed")));
        if !packet.starts_with("10") {
            rows.push((format!("{name} of a stranger"), format!("a > hex {packet}\na < closed")));
        }
    }
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

/// Many at once under few names, who subscribe, publish with retain and a will, and go without a word.
#[test]
fn those_who_connect_subscribe_and_take_over_at_once_leave_nothing_behind() {
    let site = Site::new("");
    let gateway = site.start();
    let race = || {
        thread::scope(|scope| {
            for worker in 0..8_usize {
                let port = site.port;
                scope.spawn(move || {
                    for round in 0..60_usize {
                        let id = (worker + round) % 4;
                        let script = format!(
                            "a > connect 5 id=race{id} clean={} session-expiry=0 will=race/{id}:gone\na > subscribe #1 race/#=2 $share/g/race/#=1\n\
                             a > publish q2 retain #2 race/{id} x\na > unsubscribe #3 race/#\na > publish q1 retain #4 race/{id} \"\"",
                            round % 2
                        );
                        // It may be taken over at any of them.
                        let _ = hold(port, "r", &script);
                    }
                });
            }
        });
        site.status_with("all sessions are over", WITHIN, |status| (status.broker.sessions == 0).then_some(()));
    };
    race();
    race();
    let before = gateway.rss_kib();
    race();
    race();
    assert!(gateway.rss_kib() < before + 6_144, "{before} KiB, then {}", gateway.rss_kib());
    is_well(&site);
}

/// A topic is no path, and a name is no SQL: they are kept and come back as they were.
#[test]
fn names_that_look_like_paths_or_statements_are_names() {
    let site = Site::new("");
    let names = [
        "../../../tmp/tidegate-was-here",
        "/etc/passwd",
        "'); DROP TABLE session; --",
        "x' OR 'a' < 'b",
        "%s%n",
        "<script>alert(1)</script>",
    ];
    let gateway = site.start();
    for (n, name) in names.iter().enumerate() {
        let quoted = if name.contains(' ') { format!("\"{name}\"") } else { (*name).to_owned() };
        let script = format!(
            "a > connect 5 id={quoted} session-expiry=600\na < connack 0\na > subscribe #1 {quoted}=1\na < suback #1 1
             b > connect 4\nb < connack 0\nb > publish q1 retain #1 {quoted} {n}\nb < puback #1\na < publish q1 #m {quoted} \"{n}\"\na > puback #m\na < nothing"
        );
        hold(site.port, "r", &script).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    gateway.terminate();
    let _again = site.start();
    for (n, name) in names.iter().enumerate() {
        let quoted = if name.contains(' ') { format!("\"{name}\"") } else { (*name).to_owned() };
        let script = format!(
            "a > connect 5 id={quoted} clean=0 session-expiry=600\na < connack 0 present\na > unsubscribe #1 {quoted}\na < unsuback #1 0
             b > connect 4\nb < connack 0\nb > subscribe #1 {quoted}=0\nb < suback #1 0\nb < publish q0 retain {quoted} \"{n}\"\nb < nothing"
        );
        hold(site.port, "r", &script).unwrap_or_else(|why| panic!("{name}, after a restart: {why}"));
    }
    assert!(!std::path::Path::new("/tmp/tidegate-was-here").exists());
    is_well(&site);
}

/// CR, LF and ESC in a client id would forge lines of the log, or talk to the terminal of whoever reads it.
#[test]
fn a_client_id_that_would_write_into_the_log_is_escaped() {
    let site = Site::new("[broker.limits]\nsubscriptions_max = 1\n");
    let gateway = site.start();
    let script =
        "a > connect 5 id=\\x1b[2J\\x0d\\x0aWARN\\x20forged\na < connack 0\na > subscribe #1 a=0 b=0\na < suback #1 0 0x97\na < nothing";
    hold(site.port, "r", script).expect("it is let in: the standard allows it");
    wait_until("the log names it", WITHIN, || site.log().contains("forged"));
    let clients = site.run(&["clients", "list"]);
    let shown = [site.run(&["status"]).stdout, clients.stdout, site.log().into_bytes()];
    for text in shown {
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("WARN forged")), "{text}");
    }
    drop(gateway);
}
