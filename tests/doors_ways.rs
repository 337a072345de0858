//! The broker's doors by clients that are not ours: WebSocket, unix socket, IPv6, reverse proxies; and strangers who do nothing but wait.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use rustix::net::{AddressFamily, SocketType};

use crate::harness::certificates::Certificates;
use crate::harness::clients::{WITHIN, Way};
use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::raw::{Raw, publish as publish_packet};
use crate::harness::{layers, python, report, wait_until};

/// Lines of a door at a free port of loopback.
fn door(scheme: &str, host: &str, rest: &str, lines: &str) -> (u16, String) {
    let port = free_port();
    (port, format!("[[broker.listener]]\nurl = \"{scheme}://{host}:{port}{rest}\"\n{lines}\n"))
}

fn server(certificates: &Certificates) -> String {
    let (cert, key) = &certificates.server;
    format!("cert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display())
}

#[test]
fn paho_speaks_over_websocket_with_and_without_tls() {
    let certificates = Certificates::make();
    let origins = "origins = [\"https://panel.example\"]\n";
    let (plain, first) = door("ws", "127.0.0.1", "/mqtt", origins);
    let (secure, second) = door("wss", "127.0.0.1", "/mqtt", &format!("{origins}{}", server(&certificates)));
    let site = Site::new(&format!("{first}{second}"));
    let _gateway = site.start();
    for (port, ca) in [(plain, None), (secure, Some(&certificates.ca))] {
        let output = python::peer("websocket_cases.py").arg(port.to_string()).args(ca).output().expect("python starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), site.log_tail());
        report(&format!(
            "doors: paho-mqtt passed {} cases over WebSocket{}",
            said.lines().count(),
            if ca.is_some() { " and TLS" } else { "" }
        ));
        assert_eq!(said.lines().count(), 5, "{said}");
    }
}

#[test]
fn clients_of_this_machine_come_by_a_unix_socket_and_through_socat() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    let site = Site::new(&format!("[[broker.listener]]\nurl = \"unix://{}\"\npeer_users = true\n", path.display()));
    // One that was left by a gateway that was killed.
    site.start().kill();
    assert!(path.exists());
    let gateway = site.start();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a socket").permissions());
    assert_eq!(mode & 0o777, 0o660);
    let port = free_port();
    let relay = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr");
    let _socat =
        Killed(Command::new("socat").args([&relay, &format!("UNIX-CONNECT:{}", path.display())]).spawn().expect("socat is installed"));
    let through = Way::tcp("127.0.0.1", port);
    wait_until("socat listens", WITHIN, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    let subscriber = through.subscribe("a/#");
    assert!(Way::unix(&path).publish("a/b", "1").status.success());
    assert!(through.publish("a/c", "2").status.success());
    assert_eq!((subscriber.next(), subscriber.next()), ("a/b 1".to_owned(), "a/c 2".to_owned()));
    drop(subscriber);
    assert!(gateway.terminate().0.success());
    assert!(!path.exists(), "the socket is taken away");
}

#[test]
fn an_ipv6_door_takes_ipv4_too_unless_it_is_told_not_to() {
    let open = "insecure_plaintext = true\ninsecure_anonymous = true\n";
    let (own, first) = door("tcp", "[::1]", "", "");
    let (dual, second) = door("tcp", "[::]", "", open);
    let (six, third) = door("tcp", "[::]", "", &format!("v6_only = true\n{open}"));
    let site = Site::new(&format!("{first}{second}{third}"));
    let _gateway = site.start();
    for (host, port, want) in [
        ("::1", own, true),
        ("127.0.0.1", own, false),
        ("::1", dual, true),
        ("127.0.0.1", dual, true),
        ("::1", six, true),
        ("127.0.0.1", six, false),
    ] {
        assert_eq!(Way::tcp(host, port).gets_in(), want, "{host} {port}");
    }
}

/// A reverse proxy that puts these bytes before each connection; where it listens.
fn proxy(header: &'static [u8], to: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
            if server.write_all(header).is_err() {
                continue;
            }
            for (mut from, mut to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))]
                .into_iter()
                .filter_map(|(from, to)| Some((from.ok()?, to.ok()?)))
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    port
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 1883\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x08\xc0\0\x02\x01\x12\x67\x07\x5b";

#[test]
fn a_proxy_says_who_connects_and_nobody_else_may() {
    let certificates = Certificates::make();
    let (plain, first) = door("tcp", "127.0.0.1", "", "proxy_from = [\"127.0.0.0/8\"]\ninsecure_anonymous = true\n");
    let (secure, second) =
        door("tls", "127.0.0.1", "", &format!("proxy_from = [\"127.0.0.1\"]\ninsecure_anonymous = true\n{}", server(&certificates)));
    let (others, third) = door("tcp", "127.0.0.1", "", "proxy_from = [\"192.0.2.9\", \"2001:db8::/32\"]\ninsecure_anonymous = true\n");
    let site = Site::new(&format!("{first}{second}{third}"));
    let _gateway = site.start();
    for header in [V1, V2] {
        assert!(Way::tcp("127.0.0.1", proxy(header, plain)).gets_in(), "{}", site.log_tail());
        assert!(Way::tls(proxy(header, secure), &certificates.ca).gets_in(), "TLS behind it: {}", site.log_tail());
        assert!(!Way::tcp("127.0.0.1", proxy(header, others)).gets_in(), "this address may not say who connects");
    }
    assert!(!Way::tcp("127.0.0.1", plain).gets_in(), "no header");
    // Who fails at TLS is named as the proxy says.
    assert!(!Way::tls(proxy(V2, secure), &certificates.other_ca).gets_in());
    wait_until("whom it was", WITHIN, || site.log().contains("peer=203.0.113.8:4711"));
    let log = site.log();
    assert!(log.contains("not one of the listener's proxies") && log.contains("does not begin with a PROXY header"), "{}", site.log_tail());
}

/// From another address than honest clients, connections that begin and go on no further: more than may wait, and again and again.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<usize>>,
}

impl Flood {
    /// At these ports, with these first bytes. Returns once more have begun than may wait anywhere.
    fn begin(doors: Vec<(u16, &'static [u8])>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, began) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut waiting, mut count) = (VecDeque::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                for (port, beginning) in &doors {
                    waiting.extend(stranger(*port, beginning));
                    count += 1;
                }
                if waiting.len() > 1_600 {
                    waiting.drain(..doors.len());
                }
                if count == 1_200 {
                    let _ = told.send(());
                }
            }
            count
        });
        began.recv_timeout(WITHIN).expect("strangers come");
        Self { stop, thread: Some(thread) }
    }

    fn end(&mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().expect("it ends"))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}

fn stranger(port: u16, beginning: &[u8]) -> Option<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 0)).ok()?;
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(beginning).ok()?;
    Some(stream)
}

#[test]
fn strangers_who_only_wait_keep_nobody_out() {
    let certificates = Certificates::make();
    let (tls, first) = door("tls", "127.0.0.1", "", &server(&certificates));
    let (web, second) = door("ws", "127.0.0.1", "", "");
    let (behind, third) = door("tcp", "127.0.0.1", "", "proxy_from = [\"127.0.0.0/8\"]\ninsecure_anonymous = true\n");
    let site = Site::new(&format!("{first}{second}{third}[broker.limits]\nconnect_timeout = \"5m\"\n"));
    let gateway = site.start();
    let mut flood = Flood::begin(vec![
        (tls, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        (web, b"GET /mqtt HTTP/1.1\r\nHost: "),
        (behind, b"PROXY TCP4 203"),
        (site.port, b"\x10"),
    ]);
    for _ in 0..5 {
        assert!(Way::tls(tls, &certificates.ca).gets_in(), "{}", site.log_tail());
        assert!(Way::tcp("127.0.0.1", proxy(V1, behind)).gets_in(), "{}", site.log_tail());
        assert!(Way::tcp("127.0.0.1", site.port).gets_in(), "{}", site.log_tail());
        assert!(opens_websocket(web), "{}", site.log_tail());
    }
    let limits = site.status().expect("a status").broker.limits;
    let memory = resident(gateway.pid());
    report(&format!("doors: {} strangers who only waited, {memory} kB", flood.end()));
    for name in ["handshakes_max", "pending_max"] {
        assert!(limits.get(name).is_some_and(|times| *times > 100), "{name}: {limits:?}");
    }
    assert!(memory < 64 << 10, "{memory} kB");
    // The log does not grow with them.
    assert!(site.log().lines().count() < 200, "{}", site.log_tail());
}

/// In kB.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What is written in parts must come out whole, through TLS's records and WebSocket's frames, too.
#[test]
fn a_client_that_stops_reading_for_a_while_finds_its_stream_whole() {
    let certificates = Certificates::make();
    let config = layers::config(&certificates, false);
    for scheme in ["tcp", "ws", "tls", "wss"] {
        let (port, lines) = layers::door(scheme, &certificates);
        let site = Site::new(&lines);
        let gateway = site.start();
        let mut reader = layers::Client::connect(scheme, port, &config, "reader");
        reader.subscribe("n", 0);
        let mut publisher = Raw::connect(site.port, "publisher");
        for n in 0..200_u8 {
            publisher.send(&publish_packet("n", &vec![n; 100_000], u16::from(n) + 1));
        }
        let acked = (0..200).filter(|_| publisher.next().0 == 0x40).count();
        assert_eq!(acked, 200, "the publisher is not held up for long");
        let memory = resident(gateway.pid());
        assert!(memory < 64 << 10, "{scheme}: {memory} kB");
        let ended = Arc::new(AtomicBool::new(false));
        let telling = Arc::clone(&ended);
        let end = thread::spawn(move || {
            // What comes while the reader is behind may be dropped at QoS 0.
            wait_until("the reader reads to the end", WITHIN, || {
                publisher.send(&publish_packet("n", b"end", 1_000));
                publisher.next();
                telling.load(Ordering::Relaxed)
            });
        });
        let (mut last, mut count) = (None, 0);
        loop {
            let (first, body) = reader.next();
            let payload = body.strip_prefix(b"\0\x01n").filter(|_| first == 0x30).unwrap_or_else(|| panic!("{scheme}: no PUBLISH"));
            if payload == b"end" {
                break;
            }
            assert!(payload.len() == 100_000 && payload.iter().all(|byte| *byte == payload[0]), "{scheme}: {count}");
            assert!(last < Some(payload[0]), "{scheme}: in order");
            (last, count) = (Some(payload[0]), count + 1);
        }
        ended.store(true, Ordering::Relaxed);
        end.join().expect("it ends");
        report(&format!("doors: by {scheme}, {count} of 200 large messages to a client that did not read, {memory} kB"));
        assert!(count > 2, "{scheme}: {count}");
    }
}

#[test]
fn a_websocket_answers_pings_and_ends_as_its_standard_says() {
    let certificates = Certificates::make();
    let config = layers::config(&certificates, false);
    let (plain, first) = layers::door("ws", &certificates);
    let (secure, second) = layers::door("wss", &certificates);
    let site = Site::new(&format!("{first}{second}"));
    let _gateway = site.start();
    // The masks are zero. A ping; a close; a text, which MQTT does not use (1003); a frame without a mask (1002).
    let rows: [(&[u8], &[u8]); 4] = [
        (b"\x89\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8", b"\x8a\x02hi\x88\x02\x03\xe8"),
        (b"\x88\x80\0\0\0\0", b"\x88\0"),
        (b"\x81\x81\0\0\0\0x", b"\x88\x02\x03\xeb"),
        (b"\x82\x02\xc0\0", b"\x88\x02\x03\xea"),
    ];
    for (port, tls) in [(plain, None), (secure, Some(&config))] {
        for (say, want) in rows {
            let mut stream = layers::open(port, tls);
            layers::upgrade(&mut *stream);
            let (ping, rest) = say.split_at(if want.len() > 4 { 8 } else { 0 });
            let mut pong = vec![0; want.len().saturating_sub(4)];
            if !ping.is_empty() {
                stream.write_all(ping).expect("it is taken");
                stream.read_exact(&mut pong).expect("a pong");
            }
            stream.write_all(rest).expect("it is taken");
            let mut left = Vec::new();
            stream.read_to_end(&mut left).expect("an end that is said");
            assert_eq!([pong, left].concat(), want, "{say:?}");
        }
    }
}

/// Nothing follows a close (RFC 6455, 5.5.1).
#[test]
fn a_websocket_that_closes_is_sent_no_more_messages() {
    let certificates = Certificates::make();
    let config = layers::config(&certificates, false);
    for scheme in ["ws", "wss"] {
        let (port, lines) = layers::door(scheme, &certificates);
        let site = Site::new(&lines);
        let _gateway = site.start();
        let mut client = layers::Client::connect(scheme, port, &config, "closing");
        client.subscribe("t", 0);
        // A message to itself, and a close in the same breath.
        client.say_raw(b"\x82\x86\0\0\0\0\x30\x04\0\x01tx\x88\x82\0\0\0\0\x03\xe8");
        assert_eq!(client.read_to_end().expect("an end that is said"), [0x88, 2, 0x03, 0xe8], "{scheme}");
    }
}

#[test]
fn a_gateway_that_stops_takes_its_leave_of_every_layer() {
    let certificates = Certificates::make();
    let config = layers::config(&certificates, false);
    let schemes = ["tcp", "ws", "tls", "wss"];
    let doors = schemes.map(|scheme| layers::door(scheme, &certificates));
    let site = Site::new(&doors.each_ref().map(|(_, lines)| lines.as_str()).concat());
    let gateway = site.start();
    let mut clients: Vec<_> = schemes
        .iter()
        .zip(&doors)
        .map(|(scheme, (port, _))| layers::Client::connect(scheme, *port, &config, &format!("at-{scheme}")))
        .collect();
    let (status, took) = gateway.terminate();
    assert!(status.success() && took < WITHIN / 2, "{status} after {took:?}");
    for (scheme, client) in schemes.iter().zip(&mut clients) {
        let left = client.read_to_end().unwrap_or_else(|error| panic!("{scheme}: {error}"));
        // 1000: a normal end (RFC 6455, 7.4.1).
        let want: &[u8] = if scheme.starts_with('w') { &[0x88, 2, 0x03, 0xe8] } else { &[] };
        assert_eq!(left, want, "{scheme}");
    }
}

fn opens_websocket(port: u16) -> bool {
    let request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(WITHIN)).expect("a socket");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 101"
}

#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
