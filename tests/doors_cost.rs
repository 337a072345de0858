//! What a door costs: memory of idle connections by TLS and WebSocket, time of TLS handshakes. The figures of docs/performance.md are those of
//! `cargo test --test tidegate -- doors_cost --test-threads=1`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use tidegate::clock;

use crate::harness::certificates::Certificates;
use crate::harness::gateway::Site;
use crate::harness::layers::{Client, config, door, open};
use crate::harness::report;

const CONNECTIONS: usize = 200;
/// Before those that are counted.
const BEFORE: usize = 50;
const HANDSHAKES: usize = 500;
/// The promise: bytes of an idle connection.
const IDLE_MAX: usize = 30_000;

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
    let config = config(&certificates, false);
    for scheme in ["tcp", "ws", "tls", "wss"] {
        let (port, lines) = door(scheme, &certificates);
        let site = Site::new(&lines);
        let gateway = site.start();
        let (mut clients, mut before) = (Vec::new(), 0);
        for n in 0..BEFORE + CONNECTIONS {
            if n == BEFORE {
                before = of_status(gateway.pid(), "RssAnon:");
            }
            let mut client = Client::connect(scheme, port, &config, &format!("idle-{n:04}"));
            client.subscribe(&format!("idle/{n:04}/on"), 1);
            clients.push(client);
        }
        let bytes = of_status(gateway.pid(), "RssAnon:").saturating_sub(before) * 1024 / CONNECTIONS;
        report(&format!("doors: an idle connection with a subscription by {scheme} takes {bytes} B"));
        assert!(bytes <= IDLE_MAX, "{scheme}: {bytes} B");
    }
}

#[test]
fn a_handshake_of_tls_costs_so_much() {
    let certificates = Certificates::make();
    let (port, lines) = door("tls", &certificates);
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
