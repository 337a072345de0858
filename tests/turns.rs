//! What the broker's thread takes for its longest turn, what it holds and what an honest client sees, with a thousand subscribers.

use std::time::Duration;

use crate::harness::broker::{LocalBroker, options};
use crate::harness::honest::Honest;
use crate::harness::raw::{Raw, publish};
use crate::harness::{alone, let_run, report, wait_until};

const SUBSCRIBERS: usize = 1_000;
const WITHIN: Duration = Duration::from_secs(90);
const IN_CHILD: &str = "TIDEGATE_TEST_TURNS";

/// Bounds with room for a debug build and a machine that does other things, too; the figures are in the report.
const TURN_MAX: Duration = Duration::from_millis(10);
/// A debug build copies megabytes slowly.
const LARGE_TURN_MAX: Duration = Duration::from_millis(100);
const RSS_MAX_KIB: u64 = 64 << 10;
const PING_P99_MAX: Duration = Duration::from_millis(100);
const LARGE_PING_P99_MAX: Duration = Duration::from_millis(200);
/// Where the machine is busy with something else a ping waits for that. A broker that can be held is held each time.
const TRIES: usize = 3;

/// What came of one case.
#[derive(Debug, Clone, Copy)]
struct Figures {
    turn: Duration,
    rss_kib: u64,
    p99: Duration,
    longest: Duration,
}

impl Figures {
    fn are_good(&self, (turn, p99): (Duration, Duration)) -> bool {
        self.turn < turn && self.rss_kib < RSS_MAX_KIB && self.p99 < p99
    }
}

fn broker() -> LocalBroker {
    let limits = tidegate::broker::Limits { connections_max: 2 * SUBSCRIBERS, ..Default::default() };
    LocalBroker::start(tidegate::broker::Options { limits, ..options(&[]) })
}

fn subscribers(port: u16) -> Vec<Raw> {
    let one = |i: usize| {
        let mut subscriber = Raw::connect(port, &format!("s{i}"));
        subscriber.subscribe("a", u8::from(i % 2 == 1));
        subscriber
    };
    (0..SUBSCRIBERS).map(one).collect()
}

/// `packets` to a thousand that do not read, with an honest client beside them.
fn figures(packet: impl Fn(u16) -> Vec<u8>, count: u16) -> Figures {
    let broker = broker();
    let port = broker.port();
    let subscribers = subscribers(port);
    let honest = Honest::start(port);
    let mut publisher = Raw::connect(port, "publisher");
    (0..count).for_each(|n| publisher.send(&packet(n)));
    let packets = if count == 1 { SMALL_COUNT as u64 } else { count.into() };
    wait_until("all of it is applied", WITHIN, || broker.status().received >= packets);
    let_run(Duration::from_millis(500));
    let (p99, longest) = honest.stop();
    let turn = Duration::from_micros(broker.status().longest_turn_us);
    drop(subscribers);
    Figures { turn, rss_kib: peak_rss_kib(), p99, longest }
}

/// 64 KiB of 5 bytes each.
const SMALL_COUNT: usize = (64 << 10) / 5;

/// All in one write.
fn small() -> Figures {
    let packet = publish("a", b"", 0);
    assert_eq!(packet.len(), 5);
    figures(|_| packet.repeat(SMALL_COUNT), 1)
}

fn large() -> Figures {
    let body = vec![b'x'; 1 << 20];
    // Half of them at QoS 1, whose acknowledgements nobody waits for.
    figures(|n| publish("a", &body, n / 2 * (n % 2)), 24)
}

/// A thousand fall silent at once, each with a will for a thousand others: a million deliveries that nobody waits for.
fn wills() -> Figures {
    let broker = broker();
    let port = broker.port();
    let _subscribers = subscribers(port);
    let mut going: Vec<_> = (0..SUBSCRIBERS - 2).map(|i| Raw::connect_for(port, &format!("g{i}"), 2, "a", b"gone")).collect();
    let before = broker.status().delivered;
    for client in &mut going {
        client.ping();
    }
    let honest = Honest::start(port);
    wait_until("they are silent for too long", WITHIN, || broker.status().clients <= SUBSCRIBERS as u64 + 1);
    wait_until("their wills are published", WITHIN, || broker.status().wills_pending == 0);
    let (p99, longest) = honest.stop();
    assert!(broker.status().delivered - before >= (SUBSCRIBERS * (SUBSCRIBERS - 2) / 2) as u64, "to all that have room");
    let turn = Duration::from_micros(broker.status().longest_turn_us);
    Figures { turn, rss_kib: peak_rss_kib(), p99, longest }
}

fn check(test: &str, what: &str, most: (Duration, Duration), case: fn() -> Figures) {
    if is_child(case) {
        return;
    }
    let _alone = alone();
    let mut last = None;
    for _ in 0..TRIES {
        let figures = figures_of(test, what, None);
        if figures.are_good(most) {
            return;
        }
        last = Some(figures);
    }
    panic!("{what}: {last:?}, at most {most:?} and {RSS_MAX_KIB} KiB");
}

/// The process is one that [`figures_of`] has started.
fn is_child(case: fn() -> Figures) -> bool {
    let child = std::env::var_os(IN_CHILD).is_some();
    if child {
        let Figures { turn, rss_kib, p99, longest } = case();
        eprintln!("FIGURES={} {rss_kib} {} {}", turn.as_micros(), p99.as_micros(), longest.as_micros());
    }
    child
}

/// In a process of its own, so that its memory is the broker's and that of its clients' ends.
fn figures_of(test: &str, what: &str, fault: Option<&str>) -> Figures {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
    command.args([test, "--exact", "--nocapture"]).env(IN_CHILD, "1").envs(fault.map(|fault| ("TIDEGATE_FAULT", fault)));
    let output = command.output().expect("this test runs again");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().find_map(|line| line.trim().strip_prefix("FIGURES=")).unwrap_or_else(|| panic!("no figures:\n{said}"));
    let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().expect("a number")).collect();
    let [turn, rss_kib, p99, longest] = numbers[..] else { panic!("four figures: {line}") };
    let micros = Duration::from_micros;
    let figures = Figures { turn: micros(turn), rss_kib, p99: micros(p99), longest: micros(longest) };
    let Figures { turn, rss_kib, p99, longest } = figures;
    report(&format!(
        "turns: {what}: longest turn {turn:?} of CPU, peak RSS {rss_kib} KiB, honest ping p99 {p99:?}, longest {longest:?}{}",
        fault.map(|fault| format!(" (control: {fault})")).unwrap_or_default()
    ));
    figures
}

#[test]
fn the_smallest_publishes_to_a_thousand_hold_nobody_up() {
    check(
        "turns::the_smallest_publishes_to_a_thousand_hold_nobody_up",
        "64 KiB of 5-byte publishes to 1,000 that do not read",
        (TURN_MAX, PING_P99_MAX),
        small,
    );
}

#[test]
fn large_payloads_to_a_thousand_slow_subscribers_hold_nobody_up() {
    check(
        "turns::large_payloads_to_a_thousand_slow_subscribers_hold_nobody_up",
        "24 payloads of 1 MiB to 1,000 that do not read",
        (LARGE_TURN_MAX, LARGE_PING_P99_MAX),
        large,
    );
}

/// Slices alone are not enough: others have to have their turn between them. How long that takes depends on the machine, so this is held
/// against the same broker that goes through with it.
#[test]
fn the_wills_of_a_thousand_that_fall_silent_hold_nobody_up() {
    if is_child(wills) {
        return;
    }
    let _alone = alone();
    let test = "turns::the_wills_of_a_thousand_that_fall_silent_hold_nobody_up";
    let what = "1,000 that fall silent at once, each with a will for 1,000 others";
    let mut last = None;
    for _ in 0..TRIES {
        let sliced = figures_of(test, what, None);
        if !cfg!(feature = "faults") {
            return;
        }
        let held = figures_of(test, what, Some("no-yield"));
        if sliced.turn < LARGE_TURN_MAX && sliced.longest * 2 < held.longest {
            return;
        }
        last = Some((sliced, held));
    }
    panic!("{what}: {last:?}");
}

fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
