//! A hundred clients for a while, with cuts, take-overs, slow readers, sessions that run out and kills of the gateway, against a model that knows
//! what each subscriber may get, must get and must not get. `SEED=n` repeats one seed, `SEEDS=n` sets how many are run.

mod client;
mod judge;
mod world;

use std::panic::catch_unwind;

/// Seeds unless `SEEDS` says otherwise; a control needs few to fail.
const SEEDS: u64 = 30;
const SEEDS_OF_A_CONTROL: u64 = 10;
const SIMULATION: &str = "broker::tests::simulation::a_hundred_clients_get_what_they_were_promised";

/// What came of all runs.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) published: usize,
    pub(super) acknowledged: usize,
    pub(super) delivered: usize,
    pub(super) required: usize,
    pub(super) excused: usize,
    pub(super) cuts: usize,
    pub(super) kills: usize,
}

impl Outcomes {
    fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.required += other.required;
        self.excused += other.excused;
        self.cuts += other.cuts;
        self.kills += other.kills;
    }
}

#[test]
fn a_hundred_clients_get_what_they_were_promised() {
    let number = |name| std::env::var(name).ok().and_then(|n: String| n.parse::<u64>().ok());
    let seeds = number("SEED").map_or_else(|| 0..number("SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let whole = seeds.end - seeds.start >= SEEDS;
    let mut total = Outcomes::default();
    for seed in seeds {
        let outcomes = catch_unwind(|| world::run(seed)).unwrap_or_else(|_| panic!("SEED={seed} fails"));
        total.add(&outcomes);
    }
    println!("{total:?}");
    assert!(!whole || total.required > 5_000 && total.kills > 10 && total.cuts > 300, "the seeds try everything: {total:?}");
}

#[test]
fn a_broker_that_breaks_a_promise_is_seen() {
    if !cfg!(feature = "faults") {
        return;
    }
    for (fault, sees) in [
        ("drop-queued", "what sessions are owed"),
        ("dup-id", "is in use"),
        ("forget-received", "twice"),
        ("ack-at-once", "in the order of PUBLISHes"),
    ] {
        let itself = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(itself);
        command.args([SIMULATION, "--exact", "--nocapture"]).env("TIDEGATE_FAULT", fault).env("SEEDS", SEEDS_OF_A_CONTROL.to_string());
        let output = command.env_remove("SEED").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(sees), "`{fault}` is not seen as {sees:?}:\n{said}");
    }
}
