//! The whole gateway beside Mosquitto, in the same run on the same machine: CPU a delivered message, start, memory.
//!
//! ```text
//! cargo bench --bench broker
//! QUICK=1 cargo bench --bench broker     a tenth of the messages, to see that it works
//! ```
//!
//! CPU time and not throughput is compared: on a gateway the broker shares its processor with everything else, and the
//! figure does not depend on how fast the load comes. docs/performance.md says how to read the table.

mod client;
mod gateway;
mod process;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use client::{Load, Outcome};
use process::Broker;
use tidegate::clock;

/// Each case is run so often for each broker, in turn; the median counts.
const RUNS: usize = 3;
const STARTS: usize = 10;
const MEMORY_AFTER: Duration = Duration::from_secs(60);

const CASES: [(&str, Load); 4] = [
    ("fan-in 10 → 1, QoS 0", Load { publishers: 10, subscribers: 1, qos: 0, messages: 100_000, batch: 50, window: 2_000 }),
    ("fan-in 10 → 1, QoS 1", Load { publishers: 10, subscribers: 1, qos: 1, messages: 50_000, batch: 50, window: 2_000 }),
    ("fan-out 1 → 50, QoS 0", Load { publishers: 1, subscribers: 50, qos: 0, messages: 40_000, batch: 50, window: 1_000 }),
    ("one at a time 1 → 1, QoS 0", Load { publishers: 1, subscribers: 1, qos: 0, messages: 20_000, batch: 1, window: 1 }),
];

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// CPU time of the broker a delivered message, in µs.
    cpu_us: f64,
    per_second: f64,
    lost: u64,
    disordered: u64,
}

fn main() -> io::Result<()> {
    let quick = std::env::var_os("QUICK").is_some();
    let folder = tempfile::tempdir()?;
    println!("{}, {}", process::version(env!("CARGO_BIN_EXE_tidegate"), "--version")?, process::version("mosquitto", "-h")?);
    println!("payload {} bytes, medians of {RUNS} runs in turn\n", client::PAYLOAD);
    println!("| Case | Tidegate µs CPU | Mosquitto µs CPU | ratio | Tidegate msg/s | Mosquitto msg/s | lost | out of order |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut wrong = 0;
    for (name, mut load) in CASES {
        if quick {
            load.messages /= 10;
        }
        wrong += compare(name, load, folder.path())?;
    }
    let starts = sorted(gateway::start_to_first_reading(folder.path(), STARTS)?, Duration::cmp);
    println!(
        "\nexec to first reading at a subscriber, sensor speaking every {:?}: median {:.1?}, worst of {STARTS} {:.1?}",
        gateway::SENSOR_PERIOD,
        starts[STARTS / 2],
        starts[STARTS - 1]
    );
    let after = if quick { MEMORY_AFTER / 10 } else { MEMORY_AFTER };
    let memory = gateway::memory_after(folder.path(), after)?;
    println!("VmHWM after {after:?} with a sensor and a subscriber: {memory} kB");
    if wrong > 0 { Err(io::Error::other(format!("{wrong} deliveries lost or out of order"))) } else { Ok(()) }
}

/// Runs the case for both brokers in turn and prints its row. Returns how many deliveries went wrong.
fn compare(name: &str, load: Load, folder: &Path) -> io::Result<u64> {
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..RUNS {
        ours.push(sample(&start_tidegate(folder)?, load)?);
        theirs.push(sample(&Broker::mosquitto(folder)?, load)?);
    }
    let wrong = |samples: &[Sample]| samples.iter().fold((0, 0), |(lost, disordered), s| (lost + s.lost, disordered + s.disordered));
    let (our_wrong, their_wrong) = (wrong(&ours), wrong(&theirs));
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "| {name} | {:.2} | {:.2} | {:.1} | {:.0} | {:.0} | {} / {} | {} / {} |",
        ours.cpu_us,
        theirs.cpu_us,
        theirs.cpu_us / ours.cpu_us,
        ours.per_second,
        theirs.per_second,
        our_wrong.0,
        their_wrong.0,
        our_wrong.1,
        their_wrong.1
    );
    Ok(our_wrong.0 + our_wrong.1)
}

fn start_tidegate(folder: &Path) -> io::Result<Broker> {
    let address: SocketAddr = process::free_address()?;
    let config = folder.join("broker.toml");
    let store = folder.join("broker.db");
    std::fs::write(
        &config,
        format!("[gateway]\nid = \"bench\"\n[store]\npath = \"{}\"\n[broker]\nlisten = [\"tcp://{address}\"]\n", store.display()),
    )?;
    let broker = Broker::tidegate(&config, address)?;
    broker.wait_for_listener()?;
    Ok(broker)
}

fn sample(broker: &Broker, load: Load) -> io::Result<Sample> {
    let mut before = Ok(Duration::ZERO);
    let mut start = clock::mono();
    let Outcome { delivered, disordered } = client::run(broker.address, load, || {
        before = broker.cpu();
        start = clock::mono();
    })?;
    let took = clock::mono().since(start);
    let cpu = broker.cpu()?.saturating_sub(before?);
    Ok(Sample {
        cpu_us: cpu.as_secs_f64() * 1e6 / delivered.max(1) as f64,
        per_second: delivered as f64 / took.as_secs_f64(),
        lost: load.deliveries() - delivered,
        disordered,
    })
}

/// By CPU time.
fn median(samples: Vec<Sample>) -> Sample {
    sorted(samples, |a, b| a.cpu_us.total_cmp(&b.cpu_us))[RUNS / 2]
}

fn sorted<T>(mut values: Vec<T>, order: impl FnMut(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
    values.sort_by(order);
    values
}
