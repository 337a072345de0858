//! The log has a line a connect and one a disconnect, and nobody can flood it with them.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::harness::gateway::{Gateway, Site};
use crate::harness::raw::Raw;
use crate::harness::{has_faults, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn lines(site: &Site, what: &str) -> Vec<String> {
    site.log().lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
}

#[test]
fn a_connect_and_a_disconnect_have_a_line_each_with_who_where_and_why() {
    let site = Site::new("");
    let _gateway = site.start();
    let mut polite = Raw::connect(site.port, "pump\r\n\x1b[31m7");
    polite.send(&[0xe0, 0]);
    drop(polite);
    drop(Raw::connect(site.port, "broken"));
    wait_until("both are gone", SOON, || lines(&site, "connection closed").len() == 2);
    let (connected, closed) = (lines(&site, "client connected"), lines(&site, "connection closed"));
    assert_eq!(connected.len(), 2, "{connected:?}");
    for (line, words) in [
        (&connected[0], &["pump\\r\\n\\u{1b}[31m7", "peer=127.0.0.1:", "listener=", "user=", "resumed=false", "INFO"][..]),
        (&closed[0], &["pump\\r\\n\\u{1b}[31m7", "peer=127.0.0.1:", "listener=", "user=", "the client disconnected", "INFO"]),
        (&closed[1], &["broken", "without DISCONNECT"]),
    ] {
        for word in words {
            assert!(line.contains(word), "{word} is not in {line}");
        }
    }
    assert!(!site.log().contains("\x1b[31m"), "no escape sequence of a client");
}

/// Says what is no CONNECT, and waits for the end.
fn knock(site: &Site, bytes: &[u8]) {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, site.port)).expect("it listens");
    stream.write_all(bytes).expect("it is read");
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn who_is_refused_again_and_again_has_one_line_a_minute() {
    let site = Site::new("");
    let _gateway = site.start();
    for _ in 0..20 {
        knock(&site, b"\x10\x0c\0\x04MQTT\x09\x02\0\0\0\0");
        knock(&site, b"GET / HTTP/1.1\r\n\r\n");
    }
    wait_until("all are counted", SOON, || site.status().is_some_and(|status| status.broker.connects_refused == 40));
    let refused = lines(&site, "client not let in");
    assert!(refused.len() == 1 && refused[0].contains("refused=1") && refused[0].contains("peer=127.0.0.1:"), "{refused:?}");
}

/// Lines about connects and disconnects after so many of each.
fn flooded(site: &Site, _gateway: &Gateway<'_>, connects: usize) -> usize {
    for i in 0..connects {
        drop(Raw::connect(site.port, &format!("flood-{i}")));
    }
    wait_until("all are gone", SOON, || site.status().is_some_and(|status| status.broker.clients == 0));
    lines(site, "client connected").len() + lines(site, "connection closed").len()
}

#[test]
fn a_flood_of_connects_is_no_flood_of_lines() {
    let site = Site::new("");
    let gateway = site.start();
    let said = flooded(&site, &gateway, 500);
    // A second window may have begun on a slow machine.
    assert!((100..=400).contains(&said), "{said} lines of 1000");
    wait_until("the rest is summed up", Duration::from_secs(20), || !lines(&site, "were not logged").is_empty());
    let sum = lines(&site, "were not logged");
    assert!(sum[0].contains("unsaid="), "{sum:?}");
    drop(gateway);
    if has_faults("a flood of connects") {
        let site = Site::new("");
        let gateway = site.launch().fault("log-flood").start();
        assert_eq!(flooded(&site, &gateway, 500), 1_000, "the control must fail");
    }
}
