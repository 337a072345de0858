//! Simulation of the outbox's contract without sleeping. `SEED=n` repeats one seed, `SEEDS=n` sets how many are run; one that fails is named.

mod cases;
mod clients;
mod disk;
mod gateway;
mod history;
mod mirror;
mod nonce;
mod random;
mod session_cases;
mod upstream;
mod world;

use std::panic::catch_unwind;

use world::{Outcomes, Plan};

use crate::harness::{alone_in_a_process, has_faults, report};

/// Seeds unless `SEEDS` says otherwise, and how many of them run on a real file.
const SEEDS: u64 = 1_000;
const REAL_ONE_IN: u64 = 50;
/// A run that does not look at each notice is there to be compared with its control; few seeds show a loss.
const SEEDS_COMPARED: u64 = 30;

#[test]
fn the_contract_holds_whatever_fails() {
    let total = run_all(SEEDS, true);
    report(&format!("simulation: {}", say(&total)));
    assert!(total.lost.is_empty(), "{} lost, the first: {:?}", total.lost.len(), total.lost.first());
    let tried = total.seeds < SEEDS || total.acked_while_away > 0 && total.kills > 0 && total.failed_commits > 0 && total.dead_letters > 0;
    assert!(tried, "the seeds try everything");
}

#[test]
fn nothing_acknowledged_is_lost() {
    let total = run_all(SEEDS_COMPARED, false);
    println!("lost: {}", total.lost.len());
    assert!(total.lost.is_empty(), "{} lost, the first: {:?}", total.lost.len(), total.lost.first());
}

#[test]
fn something_is_lost_if_it_is_acknowledged_before_it_is_secured() {
    if !has_faults("simulation: nothing acknowledged is lost") {
        return;
    }
    let child = alone_in_a_process("sim::nothing_acknowledged_is_lost", "early-ack");
    let out = String::from_utf8_lossy(&child.stdout).into_owned();
    let lost = out.lines().find_map(|line| line.split("lost: ").nth(1)?.trim().parse::<usize>().ok());
    let lost = lost.unwrap_or_else(|| panic!("it says how many it lost:\n{out}\n{}", String::from_utf8_lossy(&child.stderr)));
    report(&format!("simulation: CONTROL early-ack, {SEEDS_COMPARED} seeds: lost: {lost}"));
    assert!(lost > 0 && !child.status.success(), "the test cannot see a loss");
}

/// Seeds of sessions unless `SEEDS` says otherwise.
const SEEDS_OF_SESSIONS: u64 = 300;

#[test]
fn nothing_secured_of_a_session_is_missing_and_nothing_ended_comes_back() {
    let mut total = clients::Count::default();
    for seed in seeds(SEEDS_OF_SESSIONS) {
        let real = seed % REAL_ONE_IN == 1;
        let one = catch_unwind(|| clients::run(seed, real)).unwrap_or_else(|_| panic!("SEED={seed} fails"));
        total.kills += one.kills;
        total.failed += one.failed;
        total.restored += one.restored;
        total.spared += one.spared;
        total.dropped += one.dropped;
        total.ended += one.ended;
        total.wrong.extend(one.wrong);
    }
    let clients::Count { kills, failed, restored, spared, dropped, ended, wrong } = total;
    println!("wrong: {}", wrong.len());
    report(&format!(
        "simulation of sessions: {kills} kills, {failed} failed jobs, {restored} items restored, {spared} entries never due, {dropped} dropped, \
         {ended} sessions ended, wrong: {}",
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{} wrong, the first: {:?}", wrong.len(), wrong.first());
    let few = seeds(SEEDS_OF_SESSIONS).count() < 100;
    assert!(few || [kills, failed, restored, spared, dropped, ended].iter().all(|count| *count > 0), "the seeds try everything");
}

#[test]
fn something_of_a_session_is_missing_if_it_is_told_before_its_commit() {
    if !has_faults("simulation of sessions") {
        return;
    }
    let test = "sim::nothing_secured_of_a_session_is_missing_and_nothing_ended_comes_back";
    for fault in ["pubcomp-early", "suback-early", "qos2-early"] {
        let child = alone_in_a_process(test, fault);
        let out = String::from_utf8_lossy(&child.stdout).into_owned();
        let wrong = out.lines().find_map(|line| line.split("wrong: ").nth(1)?.trim().parse::<usize>().ok()).unwrap_or(0);
        report(&format!("simulation of sessions: CONTROL {fault}: wrong: {wrong}"));
        assert!(wrong > 0 && !child.status.success(), "{fault} is not seen:\n{out}");
    }
}

fn seeds(most: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n: String| n.parse::<u64>().ok());
    number("SEED").map_or_else(|| 0..number("SEEDS").unwrap_or(most), |seed| seed..seed + 1)
}

fn run_all(most: u64, strict: bool) -> Outcomes {
    let seeds = seeds(most);
    let mut total = Outcomes { first_seed: seeds.start, ..Outcomes::default() };
    let run = |seed| {
        let plan = Plan { seed, real: seed % REAL_ONE_IN == 1, strict };
        catch_unwind(|| world::run(plan)).unwrap_or_else(|_| panic!("SEED={seed} fails"))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let share = |thread| seeds.clone().skip(thread).step_by(threads).map(run).collect::<Vec<Outcomes>>();
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        for outcomes in all {
            let outcomes = outcomes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcomes.into_iter().for_each(|one| total.add(one));
        }
    });
    total
}

fn say(total: &Outcomes) -> String {
    let Outcomes { first_seed, seeds, kills, acked, acked_while_away, delivered, duplicates, failed_commits, dead_letters, lost } = total;
    format!(
        "{seeds} seeds from {first_seed}: {kills} kills, {failed_commits} failed commits, {acked} acked ({acked_while_away} while away), \
         {delivered} delivered, {duplicates} twice, {dead_letters} dead letters, lost: {}",
        lost.len()
    )
}
