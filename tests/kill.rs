//! Nothing that was acknowledged is lost when the gateway is killed, with its upstream there or away; readings of the last moment are.

use std::time::Duration;

use tidegate::clock;

use crate::harness::ledger::Verdict;
use crate::harness::proxy::Mode;
use crate::harness::random::Random;
use crate::harness::readings::{Absence, ReadingsVerdict};
use crate::harness::rig::{AWAY, Rig, shut};
use crate::harness::{alone, full, has_faults, let_run, report, wait_until};

const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// A reading that becomes due just after a commit has started waits for that one's fsync and for its own.
const TWO_FSYNCS: Duration = Duration::from_millis(250);
/// The upstream's `window` and the store's `progress_rows`.
const DUPLICATES_PER_KILL: usize = 100 + 4_096;
/// Some entries are always in flight.
const ONE_WAY: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(20);

struct Outcome {
    verdict: Verdict,
    readings: ReadingsVerdict,
    kills: usize,
    kills_while_shut: usize,
    /// Kills of a gateway that was still starting; not among the kills.
    kills_at_start: usize,
    acked_while_away: usize,
}

#[test]
fn nothing_acknowledged_is_lost_at_a_kill() {
    let _alone = alone();
    let mut random = Random::of("kill");
    let outcome = kill_again_and_again(&mut random, if full() { 50 } else { 10 }, |kill| kill % 2 == 0, None);
    say("kill", &outcome);
    assert!(outcome.acked_while_away > 0, "nothing was acknowledged while the upstream was away: nothing was shown");
    assert!(outcome.kills_while_shut * 2 >= outcome.kills);
    let restarts = outcome.kills + outcome.kills_at_start;
    outcome.verdict.assert_kept(DUPLICATES_PER_KILL * restarts);
    outcome.readings.assert_kept(FLUSH_INTERVAL + TWO_FSYNCS);
    let duplicates = outcome.verdict.duplicates + outcome.readings.duplicates;
    assert!(duplicates <= DUPLICATES_PER_KILL * restarts + outcome.verdict.resends, "{duplicates} duplicates of both kinds");
}

/// Without publishers nobody waits for a commit, so it is `flush_interval` alone that bounds what a kill takes.
#[test]
fn a_kill_takes_no_more_readings_than_the_flush_interval() {
    let _alone = alone();
    let mut random = Random::of("kill, readings alone");
    let rig = Rig::new();
    let mut gateway = rig.site.start();
    let mut absences = vec![Absence::until(clock::mono())];
    rig.wait_flow(100, SOON);
    for way in AWAY {
        shut(&rig.proxy, way);
        let before = rig.site.status().map_or(0, |status| status.outbox.commits);
        rig.site.status_with("two commits", SOON, |status| (status.outbox.commits >= before + 2).then_some(()));
        let_run(Duration::from_millis(random.between(0, 1_000)));
        let killed = gateway.kill();
        gateway = rig.site.start();
        absences.push(Absence { killed, ready: clock::mono() });
    }
    rig.proxy.set(Mode::Open);
    let readings = rig.settle_readings(&absences);
    report(&format!("kill, readings alone: {}", readings.line()));
    assert!(readings.worst_gap() > Duration::ZERO, "no kill has taken a reading: nothing was shown");
    readings.assert_kept(FLUSH_INTERVAL + TWO_FSYNCS);
}

#[test]
fn an_early_acknowledgement_is_seen_as_a_loss() {
    if !has_faults("kill") {
        return;
    }
    let _alone = alone();
    let mut random = Random::of("kill, control early-ack");
    let outcome = kill_again_and_again(&mut random, 3, |_| true, Some("early-ack"));
    say("kill, control early-ack", &outcome);
    assert!(!outcome.verdict.lost.is_empty(), "the test does not see what `early-ack` loses: {}", outcome.verdict.line());
}

fn say(name: &str, outcome: &Outcome) {
    let Outcome { verdict, readings, kills, kills_while_shut, kills_at_start, acked_while_away } = outcome;
    report(&format!(
        "{name}: {kills} kills, {kills_while_shut} of them while shut, and {kills_at_start} during the start; acked while away: {acked_while_away}"
    ));
    report(&format!("{name}: {}", verdict.line()));
    report(&format!("{name}: {}", readings.line()));
}

/// Kills under load, each time at a random moment after messages have passed, with the upstream away where `while_shut` says so.
fn kill_again_and_again(random: &mut Random, kills: usize, while_shut: fn(usize) -> bool, fault: Option<&str>) -> Outcome {
    let rig = Rig::new();
    let launch = || fault.map_or(rig.site.launch(), |fault| rig.site.launch().fault(fault));
    rig.proxy.delay(ONE_WAY, ONE_WAY);
    let mut gateway = launch().start();
    let mut absences = vec![Absence::until(clock::mono())];
    let publishers = rig.publishers();
    rig.wait_flow(100, SOON);
    let mut acked_while_away = 0;
    let mut kills_while_shut = 0;
    let mut kills_at_start = 0;
    for kill in 0..kills {
        let shut_now = while_shut(kill);
        if shut_now {
            kills_while_shut += 1;
            shut(&rig.proxy, AWAY[kills_while_shut % AWAY.len()]);
        } else {
            rig.proxy.set(Mode::Open);
            rig.wait_flow(20, SOON);
        }
        let since = clock::mono();
        wait_until("acknowledgements", SOON, || publishers.acked_between(since, clock::mono()) >= 20);
        let_run(Duration::from_millis(random.between(0, 1_000)));
        let killed = gateway.kill();
        acked_while_away += if shut_now { publishers.acked_between(since, killed) } else { 0 };
        if random.between(0, 3) == 0 {
            kills_at_start += 1;
            let starting = launch().start_unready();
            let_run(Duration::from_millis(random.between(0, 150)));
            starting.kill();
        }
        gateway = launch().start();
        absences.push(Absence { killed, ready: clock::mono() });
    }
    rig.proxy.set(Mode::Open);
    let (verdict, readings) = rig.settle(publishers, &absences);
    Outcome { verdict, readings, kills, kills_while_shut, kills_at_start, acked_while_away }
}
