//! On a bad line, with software that is not ours as the slaves: values may be missing, and none is ever wrong.
//!
//! 1,000 exchanges on four buses at once; `FULL=1` makes them 10,000.

use std::time::Duration;

use serde_json::json;
use tidegate::bus::ModbusOptions;
use tidegate::modbus::{ByteOrder, RegisterAddress, Table, ValueType};
use tidegate::model::{Sample, Value};

use crate::harness::modbus::{Bus, Slaves, device, point};
use crate::harness::random::Random;
use crate::harness::{alone, full, let_run, report};

const BUSES: usize = 4;
const UNITS: [u8; 3] = [1, 2, 3];
const TIMEOUT: Duration = Duration::from_millis(20);
const LATE_WINDOW: Duration = Duration::from_millis(200);
/// A relay keeps its replies no longer than this, counted from the request, so that none is out of the promise.
const LATEST_MS: u64 = 150;

#[derive(Debug, Default)]
struct Outcome {
    exchanges: u64,
    good: u64,
    bad: u64,
    wrong: Vec<String>,
    replies: u64,
    late: u64,
}

#[test]
fn no_value_is_wrong_on_a_bad_line() {
    let _alone = alone();
    let outcome = exchange(LATE_WINDOW, if full() { 10_000 } else { 1_000 });
    let Outcome { exchanges, good, bad, wrong, replies, late } = &outcome;
    report(&format!(
        "no wrong value: {exchanges} exchanges, {good} values good, {bad} bad, {} wrong; {late} of {replies} replies late",
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(good > exchanges, "most blocks have several values");
    assert!(late * 5 >= *replies, "at least a fifth of the replies crosses the timeout");
}

/// The control.
#[test]
fn without_a_late_window_some_value_is_wrong() {
    let _alone = alone();
    let outcome = exchange(Duration::ZERO, if full() { 2_000 } else { 500 });
    report(&format!(
        "no wrong value, control late_window = 0: {} of {} values wrong",
        outcome.wrong.len(),
        outcome.good + outcome.wrong.len() as u64
    ));
    assert!(!outcome.wrong.is_empty(), "the test must see what the window prevents");
}

/// Runs the buses for so many exchanges in all, and compares every value with what stands in the slave.
fn exchange(late_window: Duration, exchanges: u64) -> Outcome {
    let seed = Random::of("no wrong value").between(0, u64::from(u32::MAX));
    let slaves = Slaves::start(&json!({ "buses": BUSES, "units": UNITS, "faults": true, "seed": seed, "latest_ms": LATEST_MS }));
    let mut buses: Vec<_> = slaves.ports.iter().map(|port| Bus::start(port.clone(), options(late_window))).collect();
    let mut outcome = Outcome::default();
    loop {
        let_run(Duration::from_millis(100));
        for bus in &mut buses {
            for message in bus.waiting() {
                let sample = Sample::from_body(&message.body).expect("a sample");
                outcome.count(message.topic.as_str(), sample);
            }
        }
        let statuses: Vec<_> = buses.iter().map(Bus::status).collect();
        assert!(statuses.iter().all(|status| status.dropped == 0), "{statuses:?}");
        outcome.exchanges = statuses.iter().flat_map(|status| &status.devices).map(|device| device.exchanges).sum();
        if outcome.exchanges >= exchanges {
            break;
        }
    }
    drop(buses);
    let done = slaves.stop();
    report(&format!("    the relays: {done}"));
    outcome.replies = done["replies"].as_u64().expect("a number");
    outcome.late = done["late"].as_u64().expect("a number");
    outcome
}

impl Outcome {
    fn count(&mut self, topic: &str, sample: Sample) {
        let parts: Vec<u32> = topic.split('/').map(|part| part.parse().expect("unit, function, address")).collect();
        let word = word(parts[0], parts[1], parts[2]);
        let want = if parts[1] <= 2 { Value::Bool(word & 1 == 1) } else { Value::U64(word.into()) };
        match sample.value {
            Ok(value) if value == want => self.good += 1,
            Ok(value) => self.wrong.push(format!("{topic}: {value:?} for {want:?}")),
            Err(_) => self.bad += 1,
        }
    }
}

/// What the slaves hold, as in `tests/peers/modbus_slave.py`.
fn word(unit: u32, function: u32, address: u32) -> u16 {
    let mut x = (unit.wrapping_mul(7_919)).wrapping_add(function.wrapping_mul(104_729)).wrapping_add(address.wrapping_mul(2_654_435_761));
    x ^= x >> 15;
    x = x.wrapping_mul(0x2c1b_3c6d);
    (x ^ x >> 12) as u16
}

/// Each function has blocks of equal length, or no late reply could be taken for another's. Function 4 is nobody's.
fn options(late_window: Duration) -> ModbusOptions {
    let points = |unit: u8| {
        let blocks = [(Table::Holding, 0..6), (Table::Holding, 10..16), (Table::Holding, 20..21), (Table::Holding, 30..31)];
        let coils = [(Table::Coil, 0..12), (Table::Coil, 40..52), (Table::Discrete, 3..20), (Table::Discrete, 65_519..65_536)];
        let place = |(table, range): (Table, std::ops::Range<u32>)| range.map(move |address| (table, address as u16));
        let points = blocks.into_iter().chain(coils).flat_map(place).map(|(table, address)| {
            let value_type = if table.is_bits() { ValueType::Bool } else { ValueType::U16 };
            let name = format!("{unit}/{}/{address}", table.function());
            point(&name, RegisterAddress { table, address }, value_type, ByteOrder::Abcd, Duration::from_millis(10))
        });
        points.collect()
    };
    // Bad devices would be asked less often; here all are asked as often as the rule allows.
    let devices = UNITS.into_iter().map(|unit| device(unit, u32::MAX, points(unit))).collect();
    ModbusOptions { timeout: TIMEOUT, late_window, devices }
}
