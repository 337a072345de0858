//! Every limit of the broker, reached from outside: what the client is told, what is counted, what the log says, and what memory does.

mod rows;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tidegate::broker::Limit;
use tidegate::model::status::Status;

use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::script::hold;
use crate::harness::wait_until;

/// A limit, the rest of the site's file, who is named in the log, how often it is tried, and the conversation.
#[derive(Debug, Clone)]
struct Reaching {
    limit: &'static str,
    site: String,
    /// The name of the script's client; `?`: nobody has said a name.
    who: &'static str,
    tries: usize,
    script: String,
}

/// Gateways that run at once.
const AT_ONCE: usize = 6;

/// Tries before memory is looked at.
const WARM: usize = 10;

/// By which the gateway's memory may have grown in the tries after that: what is left of each would be many times of it.
const GROWTH_MAX_KIB: u64 = 1_024;

#[test]
fn every_limit_is_told_counted_and_said_once_and_costs_no_memory() {
    let rows = rows::all();
    let missing: Vec<_> = Limit::ALL.iter().map(|limit| limit.name()).filter(|name| !rows.iter().any(|row| row.limit == *name)).collect();
    assert_eq!(missing, rows::ELSEWHERE, "limits without a row");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = reach(row) {
                        let script = row.script.replace('\n', "\n  ");
                        failures.lock().expect("no row panics with it").push(format!("{}: {why}\n  {script:.1000}", row.limit));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no row panics with it");
    assert!(failures.is_empty(), "{} of {} rows\n{}", failures.len(), rows.len(), failures.join("\n"));
}

#[test]
fn a_listener_has_limits_of_its_own() {
    let port = free_port();
    let strict =
        "packet_max = \"4KiB\"\nkeep_alive_max = \"30s\"\npublish_rate = 5\nconnect_timeout = \"100ms\"\nconnections_per_address = 2";
    let site = Site::new(&format!("[[broker.listener]]\nurl = \"tcp://127.0.0.1:{port}\"\n{strict}\n"));
    let _gateway = site.start();
    let large = "a > publish q1 #1 t x*5000\n";
    let hold_at = |port, script: &str| hold(port, "r", script).unwrap_or_else(|why| panic!("{why}\n{script}"));
    hold_at(port, &format!("a > connect 5\na < connack 0 max-packet=4096 server-keep-alive=30\n{large}a < disconnect 0x95\na < closed"));
    hold_at(site.port, &format!("a > connect 5\na < connack 0 max-packet=2097152\n{large}a < puback #1\na < nothing"));
    let ten = "a > publish q1 #1 t x\na < puback #1\n".repeat(10);
    hold_at(port, &format!("a > connect 4\na < connack 0\nmark\n{ten}took 500..9000"));
    hold_at(
        port,
        "a > connect 4\na < connack 0\nb > connect 4\nb < connack 0\nc > hex 10\nc < closed\na > disconnect\na < closed\nb > disconnect\nb < closed",
    );
    hold_at(port, "a > hex 10\nmark\na < closed\ntook 0..9000");
    let status = site.status().expect("it runs");
    for limit in ["packet_max", "keep_alive_max", "publish_rate", "connections_per_address", "connect_timeout"] {
        assert!(status.broker.limits.get(limit).is_some_and(|count| *count > 0), "{limit}: {:?}", status.broker.limits);
    }
    assert!(site.log().contains("limit=\"packet_max\" value=\"4096\""), "{}", site.log_tail());
}

/// What comes before MQTT.
#[test]
fn strangers_who_wait_or_talk_too_long_before_mqtt_are_counted_and_said_once() {
    let port = free_port();
    let limits = "[broker.limits]\nhandshakes_max = 2\nwebsocket_header_max = \"1KiB\"\n";
    let site = Site::new(&format!("[[broker.listener]]\nurl = \"ws://127.0.0.1:{port}\"\n{limits}"));
    let gateway = site.start();
    let open = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    };
    let long = || {
        let mut stream = open();
        let _ = stream.write_all(format!("GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {}\r\n\r\n", "x".repeat(2_000)).as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    };
    let idle = || {
        let mut all: Vec<_> = (0..4).map(|_| open()).collect();
        let first = all.first_mut().expect("one");
        assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)), "whoever has waited longest goes");
    };
    for (limit, value, reach) in [("websocket_header_max", "1024", &long as &dyn Fn()), ("handshakes_max", "2", &idle)] {
        reach();
        let before = gateway.rss_kib();
        (0..60).for_each(|_| reach());
        assert!(gateway.rss_kib() <= before + GROWTH_MAX_KIB, "{limit}: memory grows from {before} KiB to {}", gateway.rss_kib());
        let times = |status: &Status| status.broker.limits.get(limit).copied().filter(|times| *times >= 61);
        site.status_with("each time is counted", Duration::from_secs(10), times);
        let (log, name) = (site.log(), format!("limit=\"{limit}\" value=\"{value}\" client=\"?\" peer=\"127.0.0.1"));
        assert_eq!(log.lines().filter(|line| line.contains(&name)).count(), 1, "{}", site.log_tail());
    }
}

fn reach(row: &Reaching) -> Result<(), String> {
    let site = Site::new(&row.site);
    let gateway = site.start();
    let try_it = || hold(site.port, "r", &row.script);
    let count = || site.status().and_then(|status| status.broker.limits.get(row.limit).copied()).unwrap_or_default();
    try_it()?;
    wait_until("it is counted", Duration::from_secs(10), || count() > 0);
    let first = count();
    let others: Vec<_> = site.status().map(|status| status.broker.limits).unwrap_or_default().into_iter().collect();
    let others: Vec<_> = others.iter().filter(|(name, n)| *n > 0 && *name != row.limit).collect();
    if !others.is_empty() {
        return Err(format!("others were reached, too: {others:?}"));
    }
    for _ in 0..WARM.min(row.tries) {
        try_it()?;
    }
    let before = gateway.rss_kib();
    for _ in 0..row.tries {
        try_it()?;
    }
    let after = gateway.rss_kib();
    if after > before + GROWTH_MAX_KIB {
        return Err(format!("its memory has grown from {before} to {after} KiB in {} tries", row.tries));
    }
    let tries = (1 + WARM.min(row.tries) + row.tries) as u64;
    wait_until("each time is counted", Duration::from_secs(10), || count() >= first.min(1) * tries);
    let log = site.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&format!("limit=\"{}\"", row.limit))).collect();
    let client = if row.who == "?" { "client=\"?\"".to_owned() } else { format!("client=\"r{}\"", row.who) };
    match lines[..] {
        [line]
            if line.contains(&client)
                && (line.contains("peer=\"127.0.0.1") || line.contains("peer=\"away"))
                && line.contains("value=\"") =>
        {
            Ok(())
        }
        _ => Err(format!("one line with {client} is wanted, not {lines:#?}")),
    }
}
