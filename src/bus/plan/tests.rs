use super::*;
use crate::bus::{Line, ModbusPoint, Options, Parity, Protocol, wire_load};
use crate::modbus::{ByteOrder, RegisterAddress, Table, ValueType};
use crate::model::Topic;
use crate::normalize::PointOptions;

fn device(n: u8, points: &[(Table, u16, ValueType, u64)]) -> ModbusDevice {
    let point = |&(table, address, value_type, poll_ms): &(Table, u16, ValueType, u64)| ModbusPoint {
        name: "p".into(),
        register: RegisterAddress { table, address },
        value_type,
        order: ByteOrder::Abcd,
        poll: Duration::from_millis(poll_ms),
        publish: PointOptions {
            topic: Topic::new("t").unwrap(),
            unit: None,
            scale: 1.0,
            offset: 0.0,
            decimals: None,
            deadband: None,
            max_silence: None,
        },
    };
    let points = points.iter().map(point).collect();
    ModbusDevice { name: format!("d{n}").into(), unit_id: UnitId::new(n).unwrap(), max_failures: 3, points }
}

fn options(devices: Vec<ModbusDevice>) -> ModbusOptions {
    ModbusOptions { timeout: Duration::from_millis(100), late_window: Duration::from_secs(3), devices }
}

const H: Table = Table::Holding;
const U16: ValueType = ValueType::U16;
const F32: ValueType = ValueType::F32;
const F64: ValueType = ValueType::F64;

fn at(millis: u64) -> Mono {
    Mono::from_millis(millis)
}

#[test]
fn points_without_a_gap_are_read_together() {
    let many = |table, count: u16, value_type: ValueType| -> Vec<_> {
        (0..count).map(|i| (table, i * value_type.registers(), value_type, 1_000)).collect()
    };
    let bools = many(Table::Coil, 2_001, ValueType::Bool);
    for (name, points, want) in [
        ("in any order", vec![(H, 2, F32, 1_000), (H, 0, F32, 1_000), (H, 4, U16, 1_000)], vec![(0, 5)]),
        ("a gap", vec![(H, 0, U16, 1_000), (H, 2, U16, 1_000)], vec![(0, 1), (2, 1)]),
        ("another table", vec![(H, 0, U16, 1_000), (Table::Input, 1, U16, 1_000)], vec![(0, 1), (1, 1)]),
        ("another period", vec![(H, 0, U16, 1_000), (H, 1, U16, 2_000)], vec![(0, 1), (1, 1)]),
        ("one in another", vec![(H, 0, F64, 1_000), (H, 1, U16, 1_000), (H, 4, U16, 1_000)], vec![(0, 5)]),
        ("the same twice", vec![(H, 0, U16, 1_000), (H, 0, ValueType::Bool, 1_000)], vec![(0, 1)]),
        ("125 registers", many(H, 126, U16), vec![(0, 125), (125, 1)]),
        ("no value is cut", many(H, 32, F64), vec![(0, 124), (124, 4)]),
        ("2,000 coils", bools, vec![(0, 2_000), (2_000, 1)]),
        ("the end of the table", vec![(H, 65_534, F32, 1_000), (H, 65_535, F32, 1_000)], vec![(65_534, 2)]),
    ] {
        let reads = blocks(&[device(1, &points)]).iter().map(|block| block.whole().unwrap()).collect::<Vec<_>>();
        let got: Vec<_> = reads.iter().map(|read| (read.first().address, read.quantity())).collect();
        assert_eq!(got, want, "{name}");
    }
}

/// Runs a plan whose exchanges take 1 ms, or 100 ms to a unit that is silent; the requests as (ms, unit).
fn run(plan: &mut Plan, from: u64, until: u64, silent: impl Fn(u8, u64) -> bool, out: &mut Vec<Reading>) -> Vec<(u64, u8)> {
    let (mut now, mut asked) = (at(from), Vec::new());
    while now < at(until) {
        match plan.next(now) {
            Err(wake) => now = wake,
            Ok(ask) => {
                let millis = now.as_nanos() / 1_000_000;
                let unit = ask.unit.as_u8();
                asked.push((millis, unit));
                if silent(unit, millis) {
                    now = now + Duration::from_millis(100);
                    plan.failed(&ask, Cause::Timeout, now, out);
                } else {
                    now = now + Duration::from_millis(1);
                    plan.answered(&ask, &vec![0; ask.read.data_length()], now, out);
                }
            }
        }
    }
    asked
}

#[test]
fn a_silent_device_is_asked_after_1_2_4_up_to_60_seconds_and_costs_the_others_one_timeout_each() {
    let mut plan = Plan::new(&options(vec![device(1, &[(H, 0, U16, 500), (H, 9, U16, 500)]), device(2, &[(H, 0, U16, 200)])]));
    plan.opened(at(0));
    let mut out = Vec::new();
    let asked = run(&mut plan, 0, 400_000, |unit, _| unit == 1, &mut out);
    let dead: Vec<u64> = asked.iter().filter(|(_, unit)| *unit == 1).map(|(at, _)| *at).collect();
    let pauses: Vec<_> = dead.windows(2).map(|pair| (pair[1] - pair[0] - 100) / 1_000).collect();
    assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    let alive: Vec<u64> = asked.iter().filter(|(_, unit)| *unit == 2).map(|(at, _)| *at).collect();
    let longest = alive.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= 200 + 100 + 1, "{longest} ms");
    assert!(alive.len() > 1_990, "{}", alive.len());
    let bad = |point| out.iter().filter(|reading| reading.point == point && reading.value == Err(Cause::Timeout)).count();
    assert_eq!((bad(0) + bad(1), bad(2)), (2 + 2 * (dead.len() - 2), 0), "each failure its block, from the third on all of the device");
    assert_eq!(plan.status(at(400_000))[0].state, DeviceState::Bad);
}

#[test]
fn a_device_that_answers_again_is_asked_for_everything_at_once() {
    let mut plan = Plan::new(&options(vec![device(1, &[(H, 0, U16, 60_000), (H, 9, U16, 60_000)])]));
    plan.opened(at(0));
    let mut out = Vec::new();
    let asked = run(&mut plan, 0, 100_000, |_, at| at < 63_000, &mut out);
    let after: Vec<_> = asked.iter().filter(|(at, _)| *at >= 63_000).collect();
    assert!(after.len() >= 2 && after[1].0 - after[0].0 <= 2, "{asked:?}");
    assert_eq!(plan.status(at(100_000))[0].state, DeviceState::Good);
}

#[test]
fn an_exception_is_its_blocks_alone_and_the_device_is_alive() {
    let mut plan = Plan::new(&options(vec![device(1, &[(H, 0, U16, 500), (H, 9, U16, 500)])]));
    plan.opened(at(0));
    let mut out = Vec::new();
    for _ in 0..5 {
        let ask = plan.next(at(0)).unwrap();
        plan.failed(&ask, Cause::Timeout, at(0), &mut Vec::new());
        let ask = plan.next(at(0)).unwrap();
        plan.refused(&ask, 4, false, at(0), &mut out);
        plan.opened(at(0));
        plan.late = Late::new(Duration::ZERO);
    }
    assert_eq!(out, vec![Reading { point: 1, value: Err(Cause::Exception(4)) }; 5]);
    let status = &plan.status(at(0))[0];
    assert_eq!((status.state, status.exceptions, status.timeouts), (DeviceState::Good, 5, 5));
}

#[test]
fn the_earliest_deadline_is_first_and_nobody_starves() {
    // 3 ms of wire each 1 ms: more than can be had.
    let fast = device(1, &[(H, 0, U16, 1), (H, 10, U16, 1), (H, 20, U16, 1)]);
    let mut plan = Plan::new(&options(vec![fast, device(2, &[(H, 0, U16, 100)])]));
    plan.opened(at(0));
    let asked = run(&mut plan, 0, 10_000, |_, _| false, &mut Vec::new());
    let slow = asked.iter().filter(|(_, unit)| *unit == 2).count();
    assert!((90..=101).contains(&slow), "{slow}");
    assert_eq!(asked[..4].iter().map(|(_, unit)| *unit).collect::<Vec<_>>(), [1, 1, 1, 1], "a period of 100 ms can wait");
}

#[test]
fn a_read_beyond_a_block_stays_within_its_table() {
    let mut plan = Plan::new(&options(vec![device(1, &[(H, 65_535, U16, 1)])]));
    plan.opened(at(0));
    let mut out = Vec::new();
    let ask = plan.next(at(0)).unwrap();
    plan.failed(&ask, Cause::Timeout, at(0), &mut out);
    let ask = plan.next(at(1)).unwrap();
    assert_eq!((ask.read.first().address, ask.read.quantity()), (65_534, 2));
    out.clear();
    plan.answered(&ask, &[0, 1, 0, 2], at(1), &mut out);
    assert_eq!(out, [Reading { point: 0, value: Ok(Value::U64(2)) }]);
}

#[test]
fn the_load_of_a_wire_is_its_arithmetic() {
    let line = Line { baud: 9_600, data_bits: 8, parity: Parity::Even, stop_bits: 1 };
    let devices = vec![device(1, &[(H, 0, F32, 1_000), (H, 2, F32, 1_000), (H, 100, U16, 500)])];
    let protocol = Protocol::ModbusRtu(options(devices));
    let load = wire_load(&Options { name: "b".into(), port: "/dev/null".into(), line, protocol });
    // 11 bits a character: 1.146 ms; request 8, reply 5 + data, 3.5 before each.
    let got: Vec<_> = load.lines.iter().map(|l| (l.quantity, l.busy.as_micros() / 100, l.reply.as_micros() / 100)).collect();
    assert_eq!(got, [(1, 252, 80), (4, 320, 148)]);
    assert!((load.busy_per_second - (0.0252 * 2.0 + 0.0321)).abs() < 0.001, "{load:?}");
}
