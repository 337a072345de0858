//! What a door costs: memory of idle connections by TLS and WebSocket, time of TLS handshakes. The figures of docs/performance.md are those of
//! `cargo test --release --test tidegate -- doors_cost`.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tidegate::clock;

use crate::harness::certificates::Certificates;
use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::report;

const CONNECTIONS: usize = 200;
/// Before those that are counted.
const BEFORE: usize = 50;
const HANDSHAKES: usize = 500;
/// The promise: bytes of an idle connection.
const IDLE_MAX: usize = 30_000;

fn config(certificates: &Certificates, resume: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).expect("a certificate")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn open(port: u16, tls: Option<&Arc<ClientConfig>>) -> Box<dyn Stream> {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    tcp.set_nodelay(true).expect("a socket");
    tcp.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let Some(config) = tls else { return Box::new(tcp) };
    let name = ServerName::try_from("localhost").expect("a name");
    Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), tcp))
}

/// An MQTT client that has subscribed, by WebSocket or not.
fn client(stream: &mut dyn Stream, web: bool, n: usize) {
    let say = |stream: &mut dyn Stream, packet: &[u8], answer: usize| {
        let length = u8::try_from(packet.len()).expect("a short packet");
        // The mask is zero, which is one.
        let frame = if web { [&[0x82, 0x80 | length, 0, 0, 0, 0], packet].concat() } else { packet.to_vec() };
        stream.write_all(&frame).expect("it is taken");
        stream.flush().expect("it is taken");
        stream.read_exact(&mut vec![0; answer + if web { 2 } else { 0 }]).expect("an answer");
    };
    if web {
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it is taken");
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            seen.extend(byte);
        }
    }
    let id = format!("idle-{n:04}");
    let connect = [b"\x10\x15\0\x04MQTT\x04\x02\0\0\0\x09", id.as_bytes()].concat();
    say(stream, &connect, 4);
    let subscribe = [b"\x82\x0e\0\x01\0\x09", id.as_bytes(), b"\x01"].concat();
    say(stream, &subscribe, 5);
}

fn of_status(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Time that all threads of a process have used.
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let of = |path: std::path::PathBuf| fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(tasks.flatten().filter_map(|task| of(task.path())).sum())
}

#[test]
fn an_idle_connection_by_tls_or_websocket_is_small() {
    let certificates = Certificates::make();
    let (cert, key) = (certificates.server.0.display(), certificates.server.1.display());
    let mut lines = String::new();
    let doors = ["tcp", "ws", "tls", "wss"].map(|scheme| {
        let port = free_port();
        let _ = writeln!(lines, "[[broker.listener]]\nurl = \"{scheme}://127.0.0.1:{port}\"");
        if matches!(scheme, "tls" | "wss") {
            let _ = writeln!(lines, "cert = \"{cert}\"\nkey = \"{key}\"");
        }
        (scheme, port)
    });
    let config = config(&certificates, false);
    for (scheme, port) in doors {
        let site = Site::new(&lines);
        let gateway = site.start();
        let (mut open_connections, mut before) = (Vec::new(), 0);
        for n in 0..BEFORE + CONNECTIONS {
            if n == BEFORE {
                before = of_status(gateway.pid(), "RssAnon:");
            }
            let mut stream = open(port, matches!(scheme, "tls" | "wss").then_some(&config));
            client(&mut *stream, scheme.starts_with('w'), n);
            open_connections.push(stream);
        }
        let bytes = of_status(gateway.pid(), "RssAnon:").saturating_sub(before) * 1024 / CONNECTIONS;
        report(&format!("doors: an idle connection with a subscription by {scheme} takes {bytes} B"));
        assert!(bytes <= IDLE_MAX, "{scheme}: {bytes} B");
    }
}

#[test]
fn a_handshake_of_tls_costs_so_much() {
    let certificates = Certificates::make();
    let (cert, key) = (certificates.server.0.display(), certificates.server.1.display());
    let door = |more: &str| {
        let port = free_port();
        (port, format!("[[broker.listener]]\nurl = \"tls://127.0.0.1:{port}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n{more}"))
    };
    let (port, lines) = door("");
    let site = Site::new(&lines);
    let gateway = site.start();
    for resume in [false, true] {
        let config = config(&certificates, resume);
        let once = || {
            let mut stream = open(port, Some(&config));
            // CONNECT and PINGREQ, which has TLS read to its tickets.
            stream.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a\xc0\0").and_then(|()| stream.flush()).expect("it is taken");
            stream.read_exact(&mut [0; 6]).expect("an answer");
        };
        once();
        let (cpu_before, begun) = (cpu(gateway.pid()), clock::mono());
        for _ in 0..HANDSHAKES {
            once();
        }
        let (took, used) = (clock::mono().since(begun), cpu(gateway.pid()).saturating_sub(cpu_before));
        let of_one = used.as_secs_f64() * 1e3 / HANDSHAKES as f64;
        let what = if resume { "resumed" } else { "full" };
        let rate = HANDSHAKES as f64 / took.as_secs_f64();
        report(&format!(
            "doors: {what} TLS 1.3 handshakes, P-256: {rate:.0}/s by one client, {of_one:.3} ms of CPU each, CONNECT included"
        ));
        assert!(of_one < 50.0, "{of_one} ms");
    }
}
