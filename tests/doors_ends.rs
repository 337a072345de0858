//! Connections that end badly, by every transport: what was to be written to them holds neither the broker nor a place in it.

use std::fs;

use crate::harness::certificates::Certificates;
use crate::harness::clients::WITHIN;
use crate::harness::gateway::Site;
use crate::harness::raw::{Raw, publish as publish_packet};
use crate::harness::{layers, wait_until};

const SCHEMES: [&str; 4] = ["tcp", "ws", "tls", "wss"];

/// More than a connection's buffers on both sides hold, to whoever reads `n`.
fn flood(publisher: &mut Raw) {
    for n in 0..200_u8 {
        publisher.send(&publish_packet("n", &vec![n; 100_000], u16::from(n) + 1));
    }
    assert_eq!((0..200).filter(|_| publisher.next().0 == 0x40).count(), 200);
}

fn sockets(pid: u32) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    let targets = all.flatten().filter_map(|one| fs::read_link(one.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn a_connection_that_breaks_with_output_waiting_holds_nobody_up() {
    let certificates = Certificates::make();
    let config = layers::config(&certificates, false);
    for scheme in SCHEMES {
        let (port, lines) = layers::door(scheme, &certificates);
        let site = Site::new(&lines);
        let gateway = site.start();
        let mut publisher = Raw::connect(site.port, "publisher");
        let before = sockets(gateway.pid());
        let mut reader = layers::Client::connect(scheme, port, &config, "reader");
        reader.subscribe("n", 0);
        flood(&mut publisher);
        // What it has not read makes this a reset.
        drop(reader);
        wait_until("the socket is closed", WITHIN, || {
            publisher.ping();
            sockets(gateway.pid()) == before
        });
    }
}

#[test]
fn an_ended_connection_that_reads_nothing_does_not_keep_its_place() {
    let certificates = Certificates::make();
    let config = layers::config(&certificates, false);
    for scheme in SCHEMES {
        let (port, lines) = layers::door(scheme, &certificates);
        let site = Site::new(&lines);
        let gateway = site.start();
        let mut publisher = Raw::connect(site.port, "publisher");
        let mut reader = layers::Client::connect(scheme, port, &config, "reader");
        let before = sockets(gateway.pid());
        reader.subscribe("n", 0);
        flood(&mut publisher);
        // The same client from elsewhere ends it.
        let next = layers::Client::connect(scheme, port, &config, "reader");
        wait_until("the first one's socket is closed", WITHIN, || sockets(gateway.pid()) == before);
        drop((reader, next));
    }
}
