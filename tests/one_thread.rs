//! The broker's one thread cannot be held: not by a burst to many subscribers, not by a subscriber that never reads.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use tidegate::{clock, faults};

use crate::harness::broker::{LocalBroker, options};
use crate::harness::raw::{Raw, publish};
use crate::harness::{alone, alone_in_a_process, has_faults, report, wait_until};

const SUBSCRIBERS: usize = 1_000;
const BURST: usize = 64 << 10;
const TRIES: usize = 4;
const PING_MAX: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(60);

/// 64 KiB of 5-byte publishes to 1,000 subscribers: the longest ping of a third client meanwhile, and the longest turn in µs.
fn burst() -> (Duration, u64) {
    let broker = LocalBroker::start(tidegate::broker::Options {
        limits: tidegate::broker::Limits { connections_max: 2 * SUBSCRIBERS, ..Default::default() },
        ..options(&[])
    });
    let port = broker.port();
    let mut subscribers: Vec<Raw> = (0..SUBSCRIBERS).map(|i| Raw::connect(port, &format!("s{i}"))).collect();
    subscribers.iter_mut().for_each(|s| s.subscribe("a", 0));
    let mut third = Raw::connect(port, "third");
    let mut publisher = Raw::connect(port, "publisher");
    let packet = publish("a", b"", 0);
    assert_eq!(packet.len(), 5);
    let count = BURST / packet.len();
    let bytes = packet.repeat(count);
    let writer = thread::spawn(move || {
        publisher.send(&bytes);
        publisher
    });
    let mut longest = Duration::ZERO;
    wait_until("the burst is applied", WITHIN, || {
        let asked = clock::mono();
        assert_eq!(third.ping(), []);
        longest = longest.max(clock::mono().since(asked));
        broker.status().received == count as u64
    });
    drop(writer.join().expect("it was sent"));
    (longest, broker.status().longest_turn_us)
}

#[test]
fn a_burst_to_a_thousand_subscribers_lets_others_in_between() {
    let _alone = alone();
    let (mut ping, mut turn) = burst();
    if faults::active("no-budget") {
        report(&format!("LONGEST_TURN_US={turn}"));
        return;
    }
    // Where the machine is busy with something else, a ping waits for that. A broker that can be held is held each time.
    for _ in 1..TRIES {
        if ping >= PING_MAX {
            (ping, turn) = burst();
        }
    }
    report(&format!("one_thread: 64 KiB of 5-byte publishes to 1,000 subscribers: third client's ping ≤ {ping:?}, longest turn {turn} µs"));
    assert!(ping < PING_MAX, "a ping took {ping:?}");
    if !has_faults("one_thread") {
        return;
    }
    let output = alone_in_a_process("one_thread::a_burst_to_a_thousand_subscribers_lets_others_in_between", "no-budget");
    let said = String::from_utf8_lossy(&output.stderr);
    let without = said.lines().find_map(|line| line.trim().strip_prefix("LONGEST_TURN_US=")).and_then(|n| n.parse::<u64>().ok());
    let without = without.unwrap_or_else(|| panic!("the control did not say its longest turn:\n{said}"));
    report(&format!("one_thread: CONTROL no-budget: longest turn {without} µs, {:.0} times", without as f64 / turn.max(1) as f64));
    assert!(without >= 5 * turn, "{turn} µs with a budget, {without} µs without");
}

const IN_CHILD: &str = "TIDEGATE_TEST_DEAF";
const RSS_MAX_KIB: u64 = 32 << 10;

#[test]
fn a_subscriber_that_never_reads_stops_nobody() {
    if std::env::var_os(IN_CHILD).is_some() {
        return deaf_subscribers();
    }
    let _alone = alone();
    // In a process of its own, so that its memory is the broker's.
    let itself = std::env::current_exe().expect("this test");
    let mut command = std::process::Command::new(itself);
    command.args(["one_thread::a_subscriber_that_never_reads_stops_nobody", "--exact", "--nocapture"]);
    let output = command.env(IN_CHILD, "1").output().expect("this test runs again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    report(&format!("one_thread: {}", said.lines().find(|l| l.contains("never reads")).unwrap_or("?").trim()));
}

fn deaf_subscribers() {
    let broker = LocalBroker::start(options(&[]));
    let port = broker.port();
    let mut deaf: Vec<Raw> = (0..10).map(|i| Raw::connect(port, &format!("deaf{i}"))).collect();
    for (i, subscriber) in deaf.iter_mut().enumerate() {
        subscriber.subscribe("#", u8::from(i % 2 == 0));
    }
    let mut hears = Raw::connect(port, "hears");
    hears.subscribe("last", 0);
    let bodies = [vec![b'x'; 64], vec![b'x'; 10_000]];
    let sent = clock::mono();
    let mut publisher = Raw::connect(port, "publisher");
    let mut count = 0;
    for body in &bodies {
        let packet = publish("a", body, 0);
        let times = (100 << 20) / 4 / packet.len();
        let batch = packet.repeat((64 << 10) / packet.len());
        for _ in 0..times / (batch.len() / packet.len()) {
            publisher.send(&batch);
            count += batch.len() / packet.len();
        }
        // At QoS 1 each waits for its acknowledgement.
        for id in 1..2_000 {
            publisher.send(&publish("a", body, id));
            assert_eq!(publisher.next().0, 0x40);
        }
    }
    publisher.send(&publish("last", b"", 0));
    assert_eq!(hears.next().0, 0x30);
    let took = clock::mono().since(sent);
    let status = broker.status();
    assert!(status.dropped_qos0 > 0 && status.dropped_queue > 0, "{status:?}");
    let rss = peak_rss_kib();
    report(&format!(
        "10 subscribers that never reads: {count} publishes in {took:.1?}, peak RSS {rss} KiB, {} dropped",
        status.dropped_qos0
    ));
    assert!(rss < RSS_MAX_KIB, "peak RSS {rss} KiB");
    deaf.iter_mut().for_each(|s| assert!(s.stream.read(&mut [0; 1]).expect("it is still connected") == 1));
}

/// Memory follows bytes that are there, but not without end: many clients may each begin a large packet and never finish it.
#[test]
fn unfinished_packets_take_bounded_memory() {
    let broker = LocalBroker::start(options(&[]));
    let port = broker.port();
    let whole = publish("a", &[b'x'; 1_000_000], 0);
    let begun: Vec<Raw> = (0..60)
        .map(|i| {
            let mut client = Raw::connect(port, &format!("c{i}"));
            // It may be closed in the middle of it.
            let _ = client.stream.write_all(&whole[..900_000]);
            client
        })
        .collect();
    wait_until("most of them are closed", WITHIN, || broker.status().clients <= 20);
    let mut other = Raw::connect(port, "other");
    assert_eq!(other.ping(), []);
    drop(begun);
    wait_until("they are gone", WITHIN, || broker.status().clients == 1);
    other.subscribe("a", 0);
    other.send(&whole);
    assert_eq!(other.next().1.len(), 3 + 1_000_000, "there is room again");
}

fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
