//! Upstreams are independent: one that is away holds up neither the others nor their publishers, and a name keeps what it is owed.

use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;

use crate::harness::gateway::Site;
use crate::harness::ledger::{Verdict, percentile};
use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::publisher::{Load, Publishers};
use crate::harness::receiver::Receiver;
use crate::harness::rig::{mark, upstream};
use crate::harness::{alone, has_faults, let_run, report, wait_until};

const SOON: Duration = Duration::from_secs(20);
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// A cut each at most; the upstream's `window`.
const WINDOW: usize = 100;

/// An upstream of its own: a Mosquitto that stays up, the network before it, and who receives there.
struct Cloud {
    broker: Mosquitto,
    proxy: Proxy,
    receiver: Receiver,
}

impl Cloud {
    fn new() -> Self {
        let broker = Mosquitto::start();
        let proxy = Proxy::before(broker.port());
        let receiver = Receiver::start(broker.port(), "#");
        Self { broker, proxy, receiver }
    }

    fn config(&self, name: &str, topics: &str) -> String {
        upstream(name, self.proxy.port(), topics)
    }
}

fn load(topic: &'static str) -> Load {
    Load { publishers: 3, rate: 30, window: 20, topic }
}

fn owes_nothing(site: &Site) {
    site.status_with("an outbox that owes nothing", DRAINED_WITHIN, |status| (status.outbox.entries == 0).then_some(()));
}

fn slowest(times: &[Duration]) -> String {
    format!("median {:?}, p99 {:?}, slowest {:?}", percentile(times, 50), percentile(times, 99), percentile(times, 100))
}

/// Sends to both while one is shut, and measures the way to the open one.
#[test]
fn an_upstream_that_is_away_does_not_slow_the_other() {
    let _alone = alone();
    let (open, shut) = (Cloud::new(), Cloud::new());
    let site = Site::new(&format!("{}{}", open.config("open", "#"), shut.config("shut", "#")));
    let _gateway = site.start();
    let publishers = Publishers::start(site.port, load("pub/{p}"));
    wait_until("messages at both upstreams", SOON, || open.receiver.count() > 50 && shut.receiver.count() > 50);
    shut.proxy.set(Mode::Closed);
    let from = clock::mono();
    let_run(Duration::from_secs(10));
    let to = clock::mono();
    // The last ones are still on their way.
    let_run(Duration::from_secs(1));
    let travel = publishers.ledger().travel_times(&open.receiver.all(), from, to);
    report(&format!("upstreams: one shut, the way to the open one: {}", slowest(&travel)));

    shut.proxy.set(Mode::Open);
    let ledger = publishers.finish(SOON);
    owes_nothing(&site);
    for (name, cloud) in [("open", &open), ("shut", &shut)] {
        mark(cloud.broker.port(), &cloud.receiver);
        let verdict = ledger.judge(&cloud.receiver.all());
        report(&format!("upstreams: {name}: {}", verdict.line()));
        verdict.assert_kept(WINDOW);
    }
    assert!(percentile(&travel, 99) < Duration::from_millis(100), "the open one waits for the shut one: {}", slowest(&travel));
}

/// Each commit takes 3 s, one upstream is away, so there is always one under way; the other upstream is not concerned.
#[test]
fn a_store_that_stands_still_does_not_hold_up_the_live_upstream() {
    if !has_faults("upstreams") {
        return;
    }
    let _alone = alone();
    let (live, away) = (Cloud::new(), Cloud::new());
    let site = Site::new(&format!("{}{}", live.config("live", "live/#"), away.config("away", "away/#")));
    away.proxy.set(Mode::Closed);
    let _gateway = site.launch().fault("hang-fsync").start();
    let to_live = Publishers::start(site.port, load("live/{p}"));
    let to_away = Publishers::start(site.port, load("away/{p}"));
    wait_until("messages at the live upstream", SOON, || live.receiver.count() > 50);
    let since = clock::mono();
    wait_until("acknowledgements of what is stored", SOON, || to_away.acked_between(since, clock::mono()) > 0);
    let from = clock::mono();
    let_run(Duration::from_secs(10));
    let to = clock::mono();
    let_run(Duration::from_secs(1));
    let acks = to_live.ledger().ack_times(from, to);
    let stored = to_away.ledger().ack_times(Mono::ZERO, from);
    report(&format!("upstreams: the store 3 s in each fsync, PUBACK of the live one's publishers: {}", slowest(&acks)));
    report(&format!("upstreams: the store 3 s in each fsync, PUBACK of what must be stored: {}", slowest(&stored)));
    away.proxy.set(Mode::Open);
    let verdicts: [Verdict; 2] = [(to_live, &live), (to_away, &away)].map(|(publishers, cloud)| {
        let ledger = publishers.finish(DRAINED_WITHIN);
        wait_until("all that was acknowledged", DRAINED_WITHIN, || ledger.judge(&cloud.receiver.all()).lost.is_empty());
        ledger.judge(&cloud.receiver.all())
    });
    for verdict in &verdicts {
        report(&format!("upstreams: the store 3 s in each fsync: {}", verdict.line()));
        verdict.assert_kept(WINDOW);
    }
    assert!(percentile(&stored, 50) > Duration::from_secs(1), "the fault does not hold the store: nothing was shown");
    assert!(percentile(&acks, 100) < Duration::from_millis(200), "the live one's publishers wait for the store: {}", slowest(&acks));
}

/// Three upstreams away, each owed its own topics; then the same file in another order, one of them under a new name.
#[test]
fn a_name_keeps_what_it_is_owed() {
    let _alone = alone();
    let clouds = [Cloud::new(), Cloud::new(), Cloud::new()];
    let [north, south, west] = &clouds;
    clouds.iter().for_each(|cloud| cloud.proxy.set(Mode::Closed));
    let site = Site::new(&[north.config("north", "n/#"), south.config("south", "s/#"), west.config("west", "w/#")].concat());
    let gateway = site.start();
    let ledgers = ["n/{p}", "s/{p}", "w/{p}"].map(|topic| {
        let publishers = Publishers::start(site.port, load(topic));
        let since = clock::mono();
        wait_until("acknowledgements", SOON, || publishers.acked_between(since, clock::mono()) >= 50);
        publishers.finish(SOON)
    });
    gateway.kill();

    site.rewrite(&[west.config("west", "w/#"), south.config("sud", "s/#"), north.config("north", "n/#")].concat());
    clouds.iter().for_each(|cloud| cloud.proxy.set(Mode::Open));
    let gateway = site.start();
    for (cloud, ledger) in [(north, &ledgers[0]), (west, &ledgers[2])] {
        wait_until("what the upstream is owed", DRAINED_WITHIN, || ledger.judge(&cloud.receiver.all()).lost.is_empty());
        ledger.judge(&cloud.receiver.all()).assert_kept(0);
    }
    mark(south.broker.port(), &south.receiver);
    assert_eq!(south.receiver.count(), 1, "a new name is owed nothing of the old one's");
    let kept = site.status_with("the queue of the name that is gone", SOON, |status| {
        status.outbox.queues.iter().find(|queue| queue.gone && queue.upstream == "south").map(|queue| queue.entries)
    });
    assert_eq!(kept, ledgers[1].acked.len() as u64, "entries of the name that is gone");
    let announced = site.log().lines().any(|line| line.contains("south") && line.contains(&kept.to_string()));
    assert!(announced, "the start does not say that south is owed {kept}");
    report(&format!("upstreams: another order and one renamed: each got its own, {kept} entries of the old name kept and announced"));

    gateway.terminate();
    site.rewrite(&[west.config("west", "w/#"), south.config("south", "s/#")].concat());
    let _gateway = site.start();
    wait_until("what the old name is owed, now that it is back", DRAINED_WITHIN, || {
        ledgers[1].judge(&south.receiver.all()).lost.is_empty()
    });
    ledgers[1].judge(&south.receiver.all()).assert_kept(0);
}
