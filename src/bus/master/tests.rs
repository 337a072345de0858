//! The master before a simulated line. Time is a number; a slave's every fault is a choice of the seed.

mod line;

use std::time::Duration;

use super::*;
use crate::bus::{ModbusDevice, ModbusPoint, Parity};
use crate::modbus::{ByteOrder, Read, RegisterAddress, Reply, Table, UnitId, ValueType};
use crate::model::{Topic, Value};
use crate::normalize::PointOptions;
use line::{Faults, Quantities, Simulation};

const LINE: Line = Line { baud: 115_200, data_bits: 8, parity: Parity::Even, stop_bits: 1 };

pub(super) fn ms(n: u64) -> Mono {
    Mono::from_millis(n)
}

pub(super) fn unit(n: u8) -> UnitId {
    UnitId::new(n).unwrap()
}

pub(super) fn device(n: u8, poll_ms: u64, points: &[(Table, u16, ValueType)]) -> ModbusDevice {
    let point = |&(table, address, value_type): &(Table, u16, ValueType)| ModbusPoint {
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
    ModbusDevice { name: format!("d{n}").into(), unit_id: unit(n), max_failures: 3, points: points.iter().map(point).collect() }
}

pub(super) fn options(late_window_ms: u64, devices: Vec<ModbusDevice>) -> ModbusOptions {
    ModbusOptions { timeout: Duration::from_millis(100), late_window: Duration::from_millis(late_window_ms), devices }
}

/// A master whose port is open and quiet, with its clock.
struct Bench {
    master: Master,
    now: Mono,
    readings: Vec<Reading>,
}

impl Bench {
    fn new(options: &ModbusOptions) -> Self {
        let mut bench = Self { master: Master::new(&LINE, options), now: ms(10_000), readings: Vec::new() };
        bench.apply(Event::Opened);
        bench
    }

    fn apply(&mut self, event: Event<'_>) -> Option<Vec<u8>> {
        let effects = self.master.apply(event, self.now);
        self.readings.extend(effects.readings);
        effects.send
    }

    /// Lets time pass until something is sent; the request's unit, and what it reads.
    fn request(&mut self) -> (u8, Read) {
        for _ in 0..100 {
            self.now = self.now.max(self.master.wake());
            if let Some(mut sent) = self.apply(Event::Tick) {
                self.apply(Event::Sent);
                let request = rtu::take_request(&mut sent).expect("a request");
                return (request.unit.as_u8(), request.read.expect("a read"));
            }
        }
        panic!("nothing is sent; {:?}", self.master);
    }

    fn after(&mut self, millis: u64, bytes: &[u8]) -> Vec<Reading> {
        self.now = self.now + Duration::from_millis(millis);
        self.readings.clear();
        self.apply(Event::Received(bytes));
        std::mem::take(&mut self.readings)
    }

    /// Lets time pass up to the next readings.
    fn readings(&mut self) -> Vec<Reading> {
        self.readings.clear();
        while self.readings.is_empty() {
            self.now = self.now.max(self.master.wake());
            assert_eq!(self.apply(Event::Tick), None, "before any reading");
        }
        std::mem::take(&mut self.readings)
    }
}

fn words(n: u8, table: Table, words: &[u16]) -> Vec<u8> {
    rtu::encode_reply(unit(n), &Reply::words(table, words))
}

fn exception(n: u8, function: u8, code: u8) -> Vec<u8> {
    rtu::encode_reply(unit(n), &Reply::Exception { function, code })
}

fn good(point: usize, n: u64) -> Reading {
    Reading { point, value: Ok(Value::U64(n)) }
}

fn bad(point: usize, cause: Cause) -> Reading {
    Reading { point, value: Err(cause) }
}

const H: Table = Table::Holding;
const U16: ValueType = ValueType::U16;

fn asked((n, read): (u8, Read)) -> (u8, u16, u16) {
    (n, read.first().address, read.quantity())
}

#[test]
fn a_late_reply_is_not_taken_for_another_requests() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[(H, 0, U16), (H, 10, U16)])]));
    assert_eq!(asked(bench.request()), (1, 0, 1));
    assert_eq!(bench.readings(), [bad(0, Cause::Timeout)]);
    assert_eq!(asked(bench.request()), (1, 10, 2), "one register more than needed");
    assert_eq!(bench.after(5, &words(1, H, &[111])), [], "the late one");
    assert_eq!(bench.after(5, &words(1, H, &[222, 333])), [good(1, 222)]);
}

#[test]
fn without_a_window_a_late_reply_is_taken() {
    let mut bench = Bench::new(&options(0, vec![device(1, 50, &[(H, 0, U16), (H, 10, U16)])]));
    bench.request();
    bench.readings();
    assert_eq!(asked(bench.request()), (1, 10, 1));
    assert_eq!(bench.after(5, &words(1, H, &[111])), [good(1, 111)], "the control: a wrong value");
}

#[test]
fn a_late_reply_that_crosses_the_timeout_is_drained() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[(H, 0, U16)])]));
    bench.request();
    let reply = words(1, H, &[7]);
    assert_eq!(bench.after(95, &reply[..4]), []);
    assert_eq!(bench.readings(), [bad(0, Cause::Crc)]);
    let late = bench.now;
    assert_eq!(bench.after(3, &reply[4..]), []);
    assert_eq!(asked(bench.request()), (1, 0, 2));
    assert!(bench.now.since(late) >= Duration::from_millis(24), "quiet for a gap after its last byte");
    assert_eq!(bench.after(3, &words(1, H, &[8, 9])), [good(0, 8)]);
}

#[test]
fn a_late_exception_does_not_end_the_wait_for_the_reply() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[(H, 0, U16), (H, 10, U16)])]));
    bench.request();
    bench.readings();
    assert_eq!(asked(bench.request()), (1, 10, 2));
    assert_eq!(bench.after(5, &exception(1, 3, 2)), []);
    assert_eq!(bench.after(5, &words(1, H, &[5, 6])), [good(1, 5)]);
}

/// Had the exception been taken for the answer, nobody would know that the real reply is still to come.
#[test]
fn after_an_exception_that_may_be_late_the_reply_is_still_expected() {
    let points = [(H, 0, U16), (H, 10, U16), (H, 11, U16), (H, 20, U16), (H, 21, U16)];
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &points)]));
    assert_eq!(asked(bench.request()), (1, 0, 1));
    bench.readings();
    assert_eq!(asked(bench.request()), (1, 10, 2));
    assert_eq!(bench.after(5, &exception(1, 3, 4)), []);
    assert_eq!(bench.readings(), [bad(1, Cause::Exception(4)), bad(2, Cause::Exception(4))]);
    assert_eq!(asked(bench.request()), (1, 20, 3), "1 and 2 may both still come");
    assert_eq!(bench.after(5, &words(1, H, &[1, 2])), []);
    assert_eq!(bench.after(5, &words(1, H, &[5, 6, 7])), [good(3, 5), good(4, 6)]);
}

#[test]
fn a_block_is_split_before_more_is_asked_for() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[(H, 0, U16), (H, 1, U16), (H, 2, U16)])]));
    assert_eq!(asked(bench.request()), (1, 0, 3));
    assert_eq!(bench.readings().len(), 3);
    assert_eq!(asked(bench.request()), (1, 0, 2));
    assert_eq!(bench.after(5, &words(1, H, &[5, 6])), [good(0, 5), good(1, 6)]);
    assert_eq!(asked(bench.request()), (1, 2, 1));
    assert_eq!(bench.after(5, &words(1, H, &[7])), [good(2, 7)]);
    assert_eq!(asked(bench.request()), (1, 0, 2), "the reply to 3 may still come");
    bench.now = bench.now + Duration::from_secs(3);
    assert_eq!(bench.after(0, &words(1, H, &[5, 6])), [good(0, 5), good(1, 6)]);
    assert_eq!(asked(bench.request()), (1, 2, 1));
    bench.after(5, &words(1, H, &[7]));
    assert_eq!(asked(bench.request()), (1, 0, 3), "the window is over");
}

#[test]
fn a_device_that_allows_one_quantity_rests_while_others_are_asked() {
    let other = device(2, 100, &[(H, 0, U16)]);
    let mut bench = Bench::new(&options(1_000, vec![device(1, 50, &[(H, 0, U16)]), other]));
    assert_eq!(asked(bench.request()), (1, 0, 1));
    bench.readings();
    let mut refused = false;
    let end = bench.now + Duration::from_secs(1);
    while bench.now < end {
        match asked(bench.request()) {
            (1, 0, 2) if !refused => {
                refused = true;
                assert_eq!(bench.after(1, &exception(1, 3, 3)), []);
                bench.now = bench.now.max(bench.master.wake());
                assert_eq!(bench.apply(Event::Tick), None);
                assert_eq!(bench.readings, [], "a quantity of our own that is refused is not the point's fault");
            }
            (2, 0, 1) => assert_eq!(bench.after(1, &words(2, H, &[9])), [good(1, 9)]),
            other if bench.now < end => panic!("{other:?} at {:?}", bench.now),
            _ => {}
        }
    }
    assert!(refused);
}

#[test]
fn coils_are_told_apart_by_their_byte_count() {
    let coil = (Table::Coil, 3, ValueType::Bool);
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[coil])]));
    assert_eq!(asked(bench.request()), (1, 3, 1));
    bench.readings();
    assert_eq!(asked(bench.request()), (1, 3, 9));
    assert_eq!(bench.after(1, &rtu::encode_reply(unit(1), &Reply::bits(Table::Coil, &[false]))), []);
    let reply = rtu::encode_reply(unit(1), &Reply::bits(Table::Coil, &[true; 9]));
    assert_eq!(bench.after(1, &reply), [Reading { point: 0, value: Ok(Value::Bool(true)) }]);
}

#[test]
fn an_adapter_that_hears_itself_is_not_an_answer() {
    // The request 01 01 03 00 00 11 reads as a reply of three bytes.
    let coils: Vec<_> = (0x300..0x311).map(|address| (Table::Coil, address, ValueType::Bool)).collect();
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &coils)]));
    let (n, read) = bench.request();
    assert_eq!(bench.after(1, &rtu::encode_request(unit(n), read)), []);
    let readings = bench.after(1, &rtu::encode_reply(unit(1), &Reply::bits(Table::Coil, &[true; 17])));
    assert_eq!(readings.iter().filter(|reading| reading.value == Ok(Value::Bool(true))).count(), 17);
}

#[test]
fn t35_is_kept_before_each_request() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 0, &[(H, 0, U16)])]));
    bench.request();
    bench.after(5, &words(1, H, &[1]));
    let replied = bench.now;
    bench.request();
    assert_eq!(bench.now.since(replied), Duration::from_micros(1_750));
    for (baud, micros) in [(9_600, 4_010), (19_200, 2_005), (38_400, 1_750)] {
        assert_eq!(Timing::new(&Line { baud, ..LINE }).silence.as_micros(), micros, "{baud}");
    }
}

#[test]
fn a_bus_that_is_never_quiet_is_asked_all_the_same() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[(H, 0, U16)])]));
    let mut causes = Vec::new();
    for _ in 0..4_000 {
        bench.now = bench.now + Duration::from_millis(1);
        bench.apply(Event::Received(&[0x55]));
        if bench.apply(Event::Tick).is_some() {
            bench.apply(Event::Sent);
        }
        causes.extend(bench.readings.drain(..).map(|reading| reading.value));
    }
    assert!(causes.len() >= 3 && causes.iter().all(|value| *value == Err(Cause::Crc)), "{causes:?}");
}

#[test]
fn a_lost_port_is_published_once_and_its_reply_stays_late() {
    let mut bench = Bench::new(&options(3_000, vec![device(1, 50, &[(H, 0, U16), (H, 5, U16)])]));
    bench.request();
    bench.readings.clear();
    bench.apply(Event::Closed);
    assert_eq!(std::mem::take(&mut bench.readings), [bad(0, Cause::Closed), bad(1, Cause::Closed)]);
    bench.apply(Event::Closed);
    assert_eq!(bench.readings, []);
    bench.apply(Event::Opened);
    assert_eq!(asked(bench.request()), (1, 0, 2));
}

fn simulate(name: &str, late_window_ms: u64, quantities: Quantities, exchanges: usize) -> line::Outcome {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x7469_6465_u64);
    let outcome = Simulation::new(seed, late_window_ms, quantities, Faults::default()).run(exchanges);
    println!("{name}: SEED={seed} {outcome:?}");
    outcome
}

#[test]
fn no_value_is_ever_wrong_on_a_bad_line() {
    let outcome = simulate("any quantity", 250, Quantities::Any, 200_000);
    assert_eq!(outcome.wrong, 0, "{:?}", outcome.first_wrong);
    assert!(outcome.good * 3 > outcome.exchanges && outcome.late * 5 > outcome.exchanges, "{outcome:?}");
}

#[test]
fn no_value_is_ever_wrong_from_a_device_that_allows_one_quantity() {
    let outcome = simulate("one quantity", 250, Quantities::AsConfigured, 50_000);
    assert_eq!(outcome.wrong, 0, "{:?}", outcome.first_wrong);
    assert!(outcome.good * 3 > outcome.exchanges, "{outcome:?}");
}

#[test]
fn without_the_window_values_are_wrong() {
    let outcome = simulate("no window", 0, Quantities::Any, 20_000);
    assert!(outcome.wrong > 0, "the control must fail: {outcome:?}");
}
