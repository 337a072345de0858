//! The release build beside other brokers, in the same run on the same machine.
//!
//! ```text
//! benches/prepare                               once: Mosquitto from Debian, rumqttd by cargo
//! cargo bench --bench broker                    all of it, 12 minutes
//! cargo bench --bench broker -- paced "QoS 2"   the scenarios whose names contain one of these
//!     --quick   one short run of each, to see that it works
//!     --alone   ours only, for a profiler
//! ```
//!
//! CPU time counts more than throughput: on a gateway the broker shares its processor with everything else, and the figure does not depend on
//! how fast the load comes. docs/performance.md says how to read the table. A chart of it is written to target/bench/broker.svg.

mod chart;
mod client;
mod connections;
mod gateway;
mod latency;
mod process;
mod report;
mod scenario;
mod wire;

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use process::{Broker, Kind};
use report::{Row, Sample, median};
use scenario::{SCENARIOS, Scenario, What};

/// Each scenario is run so often for each broker, in turn; the median counts.
const RUNS: usize = 3;
/// Turns of a broker in a run.
const SLICES: u32 = 8;
const STARTS: usize = 10;
const MEMORY_AFTER: Duration = Duration::from_secs(60);
/// The name by which the whole gateway's figures are chosen.
const GATEWAY: &str = "gateway";

#[derive(Debug, Default)]
struct Choice {
    quick: bool,
    alone: bool,
    names: Vec<String>,
}

impl Choice {
    fn from_args() -> Self {
        let mut choice = Self::default();
        for arg in std::env::args().skip(1) {
            match arg.as_str() {
                "--quick" => choice.quick = true,
                "--alone" => choice.alone = true,
                // Said by cargo.
                "--bench" => {}
                name => choice.names.push(name.to_lowercase()),
            }
        }
        choice
    }

    fn takes(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| name.to_lowercase().contains(wanted))
    }

    fn runs(&self) -> usize {
        if self.quick { 1 } else { RUNS }
    }
}

fn main() -> io::Result<()> {
    let choice = Choice::from_args();
    let there: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| *kind == Kind::Tidegate || !choice.alone && kind.version().is_some()).collect();
    let notes = notes(&there, choice.runs());
    notes.iter().for_each(|note| println!("{note}"));
    println!();
    report::print_head();
    let mut rows = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| choice.takes(scenario.name)) {
        let row = compare(*scenario, &choice, &there);
        row.print();
        rows.push(row);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("broker.svg"), chart::draw(&rows, &notes))?;
    if choice.takes(GATEWAY) {
        whole_gateway(&choice)?;
    }
    let wrong: Vec<&str> = rows.iter().filter(|row| row.went_wrong()).map(|row| row.scenario.name).collect();
    if wrong.is_empty() { Ok(()) } else { Err(io::Error::other(format!("deliveries lost or out of order: {wrong:?}"))) }
}

/// What is compared, and where.
fn notes(there: &[Kind], runs: usize) -> Vec<String> {
    let mut versions: Vec<String> = there.iter().filter_map(|kind| kind.version()).collect();
    if let Some(ours) = versions.first_mut()
        && let Some(commit) = first_line(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=8"]))
    {
        ours.push_str(&format!(" ({commit})"));
    }
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/ostype").unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.split('-').next().unwrap_or_default().trim();
    vec![
        versions.join(" · "),
        format!("{count} × {model} · {} {release} · payload 64 bytes · medians of {runs} runs in turn", kernel.trim()),
    ]
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// Runs the scenario for all its brokers.
fn compare(scenario: Scenario, choice: &Choice, there: &[Kind]) -> Row {
    let mut results: Vec<(Kind, report::Outcome)> = Vec::new();
    let kinds: Vec<Kind> = scenario.kinds.iter().copied().filter(|kind| there.contains(kind)).collect();
    let mut runs: Vec<Vec<Sample>> = vec![Vec::new(); kinds.len()];
    let mut failed: Vec<Option<String>> = vec![None; kinds.len()];
    for _ in 0..choice.runs() {
        let wanted: Vec<Kind> = kinds.iter().zip(&failed).filter(|(_, why)| why.is_none()).map(|(kind, _)| *kind).collect();
        for (kind, sample) in wanted.iter().zip(run(scenario.what, &wanted, choice.quick)) {
            let place = kinds.iter().position(|k| k == kind).expect("it is one of them");
            match sample {
                Ok(sample) => runs[place].push(sample),
                Err(e) if e.kind() == io::ErrorKind::Unsupported => failed[place] = Some(format!("not yet: {e}")),
                Err(e) => failed[place] = Some(format!("failed: {e}")),
            }
        }
    }
    for ((kind, samples), why) in kinds.into_iter().zip(runs).zip(failed) {
        results.push((kind, why.map_or_else(|| Ok(median(&samples)), Err)));
    }
    Row { scenario, results }
}

/// One run: each with a process of its own that knows nothing of earlier runs. Messages come in slices to one broker after the other, so that
/// whatever else the machine does meanwhile hits all of them.
fn run(what: What, kinds: &[Kind], quick: bool) -> Vec<io::Result<Sample>> {
    let slices = match what {
        What::Load(_) | What::Connects(_) => SLICES,
        What::Idle | What::FirstConnack => return kinds.iter().map(|kind| alone(what, *kind)).collect(),
    };
    let before = if what.is_on_one_cpu() { Some(process::stay_on_one_cpu()) } else { None };
    let mut trials: Vec<io::Result<Trial>> = kinds.iter().map(|kind| Trial::start(*kind, what)).collect();
    for _ in 0..slices {
        for trial in &mut trials {
            let Ok(running) = trial else { continue };
            if let Err(e) = running.slice(what, what.duration(quick) / slices) {
                *trial = Err(e);
            }
        }
    }
    drop(before);
    trials.into_iter().map(|trial| trial?.sample(what)).collect()
}

/// A broker under load, and what came of it.
struct Trial {
    broker: Broker,
    outcome: client::Outcome,
    /// Where the broker keeps its files; removed with it.
    _folder: tempfile::TempDir,
}

impl Trial {
    fn start(kind: Kind, what: What) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = Broker::start(kind, folder.path(), what.is_durable())?;
        broker.wait_for_listener()?;
        Ok(Self { broker, outcome: client::Outcome::default(), _folder: folder })
    }

    fn slice(&mut self, what: What, duration: Duration) -> io::Result<()> {
        let outcome = match what {
            What::Load(load) => client::run(&self.broker, load, duration)?,
            What::Connects(clients) => connections::connects(&self.broker, clients, duration)?,
            What::Idle | What::FirstConnack => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.outcome.add(&outcome);
        Ok(())
    }

    fn sample(self, what: What) -> io::Result<Sample> {
        let outcome = self.outcome;
        let cpu_us = outcome.cpu.as_secs_f64() * 1e6 / outcome.delivered.max(1) as f64;
        let per_second = outcome.delivered as f64 / outcome.took.as_secs_f64();
        Ok(Sample {
            figure: if let What::Connects(_) = what { per_second } else { cpu_us },
            cpu_us,
            per_second,
            p50_us: outcome.latencies.percentile(50),
            p99_us: outcome.latencies.percentile(99),
            peak_kb: self.broker.peak_kb()?,
            lost: outcome.due.saturating_sub(outcome.delivered),
            disordered: outcome.disordered,
        })
    }
}

/// What is measured of a broker that has the machine for itself.
fn alone(what: What, kind: Kind) -> io::Result<Sample> {
    let folder = tempfile::tempdir()?;
    if let What::FirstConnack = what {
        return first_connack(kind, folder.path());
    }
    let broker = Broker::start(kind, folder.path(), false)?;
    broker.wait_for_listener()?;
    let figure = connections::idle_bytes(&broker)?;
    Ok(Sample { figure, peak_kb: broker.peak_kb()?, ..Sample::default() })
}

/// The median of some starts. All but the first find what the one before has left, as after a power cut.
fn first_connack(kind: Kind, folder: &Path) -> io::Result<Sample> {
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        let (took, broker) = connections::first_connack(|| Broker::start(kind, folder, true))?;
        samples.push(Sample { figure: took.as_secs_f64() * 1e3, peak_kb: broker.peak_kb()?, ..Sample::default() });
    }
    Ok(median(&samples))
}

/// Start and memory of ours with a sensor and a subscriber.
fn whole_gateway(choice: &Choice) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut starts = gateway::start_to_first_reading(folder.path(), STARTS)?;
    starts.sort();
    println!(
        "\nexec to first reading at a subscriber, sensor speaking every {:?}: median {:.1?}, worst of {STARTS} {:.1?}",
        gateway::SENSOR_PERIOD,
        starts[STARTS / 2],
        starts[STARTS - 1]
    );
    let after = if choice.quick { MEMORY_AFTER / 10 } else { MEMORY_AFTER };
    println!("VmHWM after {after:?} with a sensor and a subscriber: {} kB", gateway::memory_after(folder.path(), after)?);
    Ok(())
}
