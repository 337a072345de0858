//! The bridge loses nothing and keeps the order, whatever the network does. Mosquitto stays up throughout; the proxy before it is what fails.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use tidegate::bridge::{Options, Version};
use tidegate::faults;

use crate::harness::bridge::{Rig, impatient, options};
use crate::harness::fake_upstream::{Answer, FakeUpstream};
use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::random::Random;
use crate::harness::receiver::{Received, Receiver};
use crate::harness::{full, has_faults, let_run, report, wait_until};

const LONG: Duration = Duration::from_secs(60);
const WINDOW: usize = 100;

struct Upstream {
    broker: Mosquitto,
    proxy: Proxy,
    receiver: Receiver,
}

impl Upstream {
    fn start() -> Self {
        let broker = Mosquitto::start();
        let proxy = Proxy::before(broker.port());
        let receiver = Receiver::start(broker.port(), "#");
        Self { broker, proxy, receiver }
    }

    fn rig(&self) -> Rig {
        self.rig_of(None)
    }

    fn rig_of(&self, version: Option<Version>) -> Rig {
        Rig::start(Options { version, ..options(self.proxy.port()) }, impatient())
    }
}

fn numbers(received: &[Received]) -> Vec<usize> {
    received.iter().map(|r| r.text().parse().expect("a number")).collect()
}

/// All of `1..=count` arrived, the first of each in order; returns how many came more than once.
fn arrived_in_order(upstream: &Upstream, count: usize) -> usize {
    let all = |received: &[Received]| numbers(received).into_iter().collect::<BTreeSet<_>>().len() >= count;
    assert!(upstream.receiver.wait_until(LONG, all), "{} of {count} arrived\n{}", upstream.receiver.count(), upstream.broker.log());
    let numbers = numbers(&upstream.receiver.all());
    let mut seen = BTreeSet::new();
    let first = numbers.iter().copied().filter(|n| seen.insert(*n));
    assert!(first.eq(1..=count), "the first of each arrive in order");
    numbers.len() - count
}

/// Most runs of a control until one shows a loss.
const CONTROL_RUNS: usize = 5;

#[test]
fn entries_arrive_unchanged_and_in_order() {
    let upstream = Upstream::start();
    let mut rig = upstream.rig();
    rig.put_numbers(1, 1_000);
    rig.wait_settled(1_000, LONG);
    assert_eq!(arrived_in_order(&upstream, 1_000), 0);
    assert!(rig.settled().iter().map(|s| s.id.counter()).eq(1..=1_000));
    let first = &upstream.receiver.all()[0];
    assert_eq!((first.topic.as_str(), first.text().as_str(), first.qos, first.retain), ("numbers", "1", 1, false));
    let status = rig.status();
    assert_eq!((status.acknowledged, status.in_flight, status.connects, status.dead_letters), (1_000, 0, 1, 0));
    assert_eq!(status.oldest_unacknowledged_age_ms, None);
    rig.stop();
    assert_eq!(rig.links(), [true, false]);
    let farewell = format!("Client tidegate-test-{} disconnected.", upstream.proxy.port());
    wait_until("a farewell in Mosquitto's log", LONG, || upstream.broker.log().contains(&farewell));
}

#[test]
fn an_upstream_with_an_address_of_ipv6_is_reached() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return report("bridge_loss: SKIPPED, this machine has no IPv6");
    }
    let upstream = FakeUpstream::start_at(Ipv6Addr::LOCALHOST.into(), |_| Answer::Ack);
    let rig = Rig::start(Options { host: "::1".to_owned(), ..options(upstream.port()) }, impatient());
    rig.put_numbers(1, 1);
    rig.wait_settled(1, LONG);
    assert_eq!(rig.status().url, format!("mqtt://[::1]:{}", upstream.port()));
}

/// Cuts all connections again and again while entries are under way. Returns how many of them never arrived.
fn cut_in_mid_stream(cuts: usize, version: Version) -> usize {
    let upstream = Upstream::start();
    let rig = upstream.rig_of(Some(version));
    let mut random = Random::of("bridge_loss");
    upstream.proxy.delay(Duration::from_millis(2), Duration::from_millis(2));
    let mut count = 0;
    for _ in 0..cuts {
        rig.put_numbers(count + 1, count + 50);
        count += 50;
        let moment = upstream.receiver.count() + random.between(0, 49) as usize;
        upstream.receiver.wait_until(Duration::from_secs(1), |all| all.len() >= moment);
        wait_until("a connection to cut", LONG, || upstream.proxy.cut() > 0);
    }
    rig.wait_settled(count, LONG);
    if faults::active("keep-eventloop") {
        // What is still on its way has time to arrive; what is lost never does.
        let_run(Duration::from_secs(2));
        return count - numbers(&upstream.receiver.all()).into_iter().collect::<BTreeSet<_>>().len();
    }
    assert!(rig.dead().is_empty(), "{:?}", rig.dead());
    let twice = arrived_in_order(&upstream, count);
    let connects = rig.status().connects;
    assert!(twice <= WINDOW * (connects as usize), "{twice} duplicates at {connects} connects");
    report(&format!(
        "bridge_loss: {version:?}, {count} entries, {cuts} cuts in mid-stream, {connects} connects: lost: 0, duplicates: {twice}"
    ));
    0
}

#[test]
fn cuts_in_mid_stream_lose_nothing() {
    let lost = cut_in_mid_stream(if full() { 1_000 } else { 100 }, Version::V5);
    println!("lost: {lost}");
}

#[test]
fn cuts_in_mid_stream_lose_nothing_at_3_1_1_either() {
    let lost = cut_in_mid_stream(if full() { 1_000 } else { 30 }, Version::V311);
    println!("lost: {lost}");
}

#[test]
fn cuts_in_mid_stream_lose_something_if_the_event_loop_is_kept() {
    if !has_faults("bridge_loss: cuts with the event loop kept") {
        return;
    }
    for test in ["cuts_in_mid_stream_lose_nothing", "cuts_in_mid_stream_lose_nothing_at_3_1_1_either"] {
        // Whether a cut meets something that the event loop forgets is a matter of moments.
        let lost = (0..CONTROL_RUNS).map(|_| lost_with_the_event_loop_kept(test)).find(|lost| *lost > 0);
        report(&format!("bridge_loss: control, the event loop kept over errors, {test}: lost: {lost:?}"));
        assert!(lost.is_some(), "the test cannot see a loss");
    }
}

fn lost_with_the_event_loop_kept(test: &str) -> usize {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &format!("bridge_loss::{test}"), "--nocapture"])
        .env("TIDEGATE_FAULT", "keep-eventloop")
        .output()
        .expect("this test starts");
    let out = String::from_utf8_lossy(&child.stdout).into_owned();
    let lost = out.lines().find_map(|line| line.split("lost: ").nth(1)?.trim().parse::<usize>().ok());
    lost.unwrap_or_else(|| panic!("it says how many it lost:\n{out}\n{}", String::from_utf8_lossy(&child.stderr)))
}

#[test]
fn an_upstream_that_is_away_in_any_way_gets_all_when_it_is_back() {
    for mode in [Mode::Refusing, Mode::Closed, Mode::Silent, Mode::SwallowReplies] {
        let upstream = Upstream::start();
        let options = Options {
            ack_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_millis(500),
            ..options(upstream.proxy.port())
        };
        let rig = Rig::start(options, impatient());
        rig.put_numbers(1, 10);
        rig.wait_settled(10, LONG);
        upstream.proxy.set(mode);
        if mode == Mode::Refusing {
            upstream.proxy.cut();
        }
        rig.put_numbers(11, 500);
        let away = rig.wait_status("away", LONG, |s| s.last_error.is_some());
        assert_eq!(away.acknowledged, 10, "{mode:?}");
        let accepted = upstream.proxy.accepted();
        if matches!(mode, Mode::Silent | Mode::SwallowReplies) {
            wait_until("new connections are tried", LONG, || upstream.proxy.accepted() > accepted + 1);
        }
        assert!(rig.status().oldest_unacknowledged_age_ms.is_some(), "{mode:?}");
        upstream.proxy.set(Mode::Open);
        rig.wait_settled(500, LONG);
        arrived_in_order(&upstream, 500);
        assert!(rig.dead().is_empty(), "{mode:?}: {:?}", rig.dead());
        assert_eq!(rig.links()[..3], [true, false, true], "{mode:?}");
    }
}

#[test]
fn what_is_in_flight_at_the_end_is_waited_for_and_handed_in() {
    let upstream = Upstream::start();
    let mut rig = upstream.rig();
    rig.wait_status("up", LONG, |s| s.connects == 1);
    upstream.proxy.delay(Duration::from_millis(100), Duration::from_millis(100));
    rig.put_numbers(1, 300);
    rig.wait_status("in flight", LONG, |s| s.in_flight == WINDOW as u64);
    rig.stop();
    assert_eq!(rig.settled().len(), WINDOW, "what was in flight, and nothing new");
    assert_eq!(rig.links(), [true, false]);
}
