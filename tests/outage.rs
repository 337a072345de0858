//! An upstream that goes away and comes back, and a connection that is cut again and again in mid-stream, lose nothing.

use std::time::Duration;

use crate::harness::ledger::Verdict;
use tidegate::clock;

use crate::harness::proxy::Mode;
use crate::harness::random::Random;
use crate::harness::readings::{Absence, ReadingsVerdict};
use crate::harness::rig::{AWAY, Rig, shut};
use crate::harness::{alone, full, has_faults, let_run, report};

/// An upstream as far away as a good mobile network: some entries are always in flight.
const ONE_WAY: Duration = Duration::from_millis(20);
/// The upstream's `window`.
const DUPLICATES_PER_CUT: usize = 100;
/// The longest back-off is 15 s.
const BACK_WITHIN: Duration = Duration::from_secs(30);

struct Plan {
    away: Duration,
    cuts: usize,
    fault: Option<&'static str>,
}

#[test]
fn an_outage_and_cuts_in_mid_stream_lose_nothing() {
    let _alone = alone();
    let mut random = Random::of("outage");
    let plan = Plan { away: Duration::from_secs(20), cuts: if full() { 100 } else { 10 }, fault: None };
    let (verdict, readings) = endure(&mut random, &plan);
    say("outage", &plan, &verdict, &readings);
    // The three ways of being away each end a connection at most once more than they let one begin.
    verdict.assert_kept(DUPLICATES_PER_CUT * (plan.cuts + 2 * AWAY.len()));
    readings.assert_kept(Duration::ZERO);
}

#[test]
fn an_event_loop_that_is_kept_is_seen_as_a_loss() {
    if !has_faults("outage") {
        return;
    }
    let _alone = alone();
    let mut random = Random::of("outage, control keep-eventloop");
    let plan = Plan { away: Duration::from_secs(6), cuts: 5, fault: Some("keep-eventloop") };
    let (verdict, readings) = endure(&mut random, &plan);
    say("outage, control keep-eventloop", &plan, &verdict, &readings);
    assert!(!verdict.lost.is_empty(), "the test does not see what `keep-eventloop` loses: {}", verdict.line());
}

fn say(name: &str, plan: &Plan, verdict: &Verdict, readings: &ReadingsVerdict) {
    report(&format!("{name}: away {:?}, {} cuts in mid-stream", plan.away, plan.cuts));
    report(&format!("{name}: {}", verdict.line()));
    report(&format!("{name}: {}", readings.line()));
}

fn endure(random: &mut Random, plan: &Plan) -> (Verdict, ReadingsVerdict) {
    let rig = Rig::new();
    rig.proxy.delay(ONE_WAY, ONE_WAY);
    let launch = plan.fault.map_or(rig.site.launch(), |fault| rig.site.launch().fault(fault));
    let _gateway = launch.start();
    let absences = [Absence::until(clock::mono())];
    let publishers = rig.publishers();
    rig.wait_flow(100, BACK_WITHIN);
    for way in AWAY {
        shut(&rig.proxy, way);
        let_run(plan.away / AWAY.len() as u32);
    }
    rig.proxy.set(Mode::Open);
    let mut cuts = 0;
    // Now and then a connection ends by itself just before it is cut.
    for _ in 0..plan.cuts * 2 {
        if cuts < plan.cuts {
            rig.wait_flow(50, BACK_WITHIN);
            let_run(Duration::from_millis(random.between(0, 300)));
            cuts += rig.proxy.cut();
        }
    }
    assert_eq!(cuts, plan.cuts, "cuts that met a connection");
    rig.settle(publishers, &absences)
}
