//! A line with slaves on it that delay, cut, damage and mislabel their replies, each by a choice of the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Effects, Event, Master};
use super::{LINE, device, ms, options, unit};
use crate::bus::blocks::blocks;
use crate::bus::{ModbusDevice, ModbusOptions};
use crate::modbus::rtu::{self, Request};
use crate::modbus::{Read, RegisterAddress, Reply, Table, UnitId, ValueType, pdu};
use crate::model::{Mono, Value};

/// What may come so late that it is out of the promise: the timeout (100 ms) and the window (250 ms), and no more.
const LATEST: Duration = Duration::from_millis(345);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantities {
    Any,
    /// Only the blocks as configured are answered, all else with an exception.
    AsConfigured,
}

/// Chances in a thousand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    late: u64,
    crossing: u64,
    cut: u64,
    damaged: u64,
    foreign_unit: u64,
    foreign_function: u64,
    silent: u64,
    exception: u64,
    noise: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            late: 200,
            crossing: 60,
            cut: 40,
            damaged: 40,
            foreign_unit: 30,
            foreign_function: 30,
            silent: 20,
            exception: 30,
            noise: 150,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) exchanges: usize,
    /// Replies that came after the timeout.
    pub(super) late: usize,
    pub(super) good: usize,
    pub(super) wrong: usize,
    pub(super) first_wrong: Option<String>,
}

pub(super) struct Simulation {
    random: Random,
    faults: Faults,
    quantities: Quantities,
    configured: Vec<(UnitId, Read)>,
    points: Vec<(UnitId, RegisterAddress)>,
    master: Master,
    now: Mono,
    /// Bytes on their way to the master, by the time at which they arrive.
    coming: BTreeMap<(Mono, u64), Vec<u8>>,
    sequence: u64,
    /// A slave sends one thing after another.
    busy_until: BTreeMap<u8, Mono>,
    outcome: Outcome,
}

impl Simulation {
    pub(super) fn new(seed: u64, late_window_ms: u64, quantities: Quantities, faults: Faults) -> Self {
        let devices = devices();
        let configured = blocks(&devices).iter().filter_map(|block| Some((devices[block.device].unit_id, block.whole()?))).collect();
        let points = devices.iter().flat_map(|d| d.points.iter().map(|p| (d.unit_id, p.register))).collect();
        let ModbusOptions { timeout, late_window, devices } = options(late_window_ms, devices);
        Self {
            random: Random(seed),
            faults,
            quantities,
            configured,
            points,
            master: Master::new(&LINE, &ModbusOptions { timeout, late_window, devices }),
            now: ms(1_000),
            coming: BTreeMap::new(),
            sequence: 0,
            busy_until: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    pub(super) fn run(mut self, exchanges: usize) -> Outcome {
        self.apply(Event::Opened);
        while self.outcome.exchanges < exchanges {
            let wake = self.master.wake();
            match self.coming.first_key_value() {
                Some((&key, _)) if key.0 <= wake => {
                    self.now = self.now.max(key.0);
                    let bytes = self.coming.remove(&key).unwrap();
                    self.apply(Event::Received(&bytes));
                }
                _ => {
                    self.now = self.now.max(wake);
                    if let Some(mut sent) = self.apply(Event::Tick) {
                        self.apply(Event::Sent);
                        self.outcome.exchanges += 1;
                        let request = rtu::take_request(&mut sent).expect("the master sends whole requests");
                        self.answer(request);
                    }
                }
            }
        }
        self.outcome
    }

    fn apply(&mut self, event: Event<'_>) -> Option<Vec<u8>> {
        let Effects { send, readings } = self.master.apply(event, self.now);
        for reading in readings {
            let (unit, register) = self.points[reading.point];
            let Ok(value) = reading.value else { continue };
            let word = word(unit, register.table, register.address);
            let want = if register.table.is_bits() { Value::Bool(word & 1 == 1) } else { Value::U64(word.into()) };
            if value == want {
                self.outcome.good += 1;
            } else {
                self.outcome.wrong += 1;
                let first = || format!("{unit:?} {register:?}: {value:?} for {want:?}\n{}", self.master.capture());
                self.outcome.first_wrong.get_or_insert_with(first);
            }
        }
        send
    }

    fn answer(&mut self, request: Request) {
        let faults = self.faults;
        let heard = self.now + LINE_REQUEST;
        if self.random.one_in(1_000, faults.noise) {
            self.noise(request, heard);
        }
        let mut fate = self.random.below(1_000);
        let mut is = |chance: u64| {
            let hit = fate < chance;
            fate = if hit { u64::MAX } else { fate.saturating_sub(chance) };
            hit
        };
        let [silent, exception, foreign_unit, foreign_function, damaged, cut, late, crossing] = [
            faults.silent,
            faults.exception,
            faults.foreign_unit,
            faults.foreign_function,
            faults.damaged,
            faults.cut,
            faults.late,
            faults.crossing,
        ]
        .map(&mut is);
        if silent {
            return;
        }
        let mut reply = self.reply(request);
        if exception {
            reply = request.refusal(4);
        }
        let mut bytes = rtu::encode_reply(request.unit, &reply);
        if foreign_unit {
            bytes = rtu::encode_reply(unit(77), &reply);
        }
        if foreign_function {
            bytes = foreign(request.unit, &reply);
        }
        if damaged {
            let at = self.random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.random.below(8);
        }
        if cut {
            let keep = 1 + self.random.below(bytes.len() as u64 - 1) as usize;
            bytes = if self.random.one_in(2, 1) { bytes[..keep].to_vec() } else { bytes[bytes.len() - keep..].to_vec() };
        }
        let is_late = late || (exception && self.random.one_in(3, 1)) || ((foreign_unit || foreign_function) && self.random.one_in(2, 1));
        let delay = if is_late { 101_000 + self.random.below(230_000) } else { 500 + self.random.below(90_000) };
        if crossing {
            let at = 1 + self.random.below(bytes.len() as u64 - 1) as usize;
            let tail = bytes.split_off(at);
            let before = 99_900 - self.random.below(20_000);
            let after = 100_001 + self.random.below(40_000);
            self.transmit(request.unit, heard, before, &bytes);
            self.transmit(request.unit, heard, after, &tail);
            self.outcome.late += 1;
        } else {
            self.outcome.late += usize::from(is_late);
            self.transmit(request.unit, heard, delay, &bytes);
        }
    }

    fn reply(&self, request: Request) -> Reply {
        let read = match request.read {
            Ok(read) => read,
            Err(code) => return request.refusal(code),
        };
        if self.quantities == Quantities::AsConfigured && !self.configured.contains(&(request.unit, read)) {
            return request.refusal(pdu::ILLEGAL_VALUE);
        }
        let RegisterAddress { table, address } = read.first();
        let words: Vec<u16> = (0..read.quantity()).map(|i| word(request.unit, table, address + i)).collect();
        if table.is_bits() {
            Reply::bits(table, &words.iter().map(|word| word & 1 == 1).collect::<Vec<_>>())
        } else {
            Reply::words(table, &words)
        }
    }

    /// Some bytes at some time: of no meaning, or like the beginning of a reply to this request.
    fn noise(&mut self, request: Request, heard: Mono) {
        let mut bytes: Vec<u8> = (0..1 + self.random.below(12)).map(|_| self.random.below(256) as u8).collect();
        if self.random.one_in(2, 1) {
            let read = request.read.expect("the master reads");
            bytes.splice(0..0, [request.unit.as_u8(), request.function, read.data_length() as u8]);
        }
        let delay = self.random.below(200_000);
        self.transmit(unit(99), heard, delay, &bytes);
    }

    fn transmit(&mut self, from: UnitId, heard: Mono, delay_us: u64, bytes: &[u8]) {
        let busy = self.busy_until.get(&from.as_u8()).copied().unwrap_or(Mono::ZERO);
        let mut at = (heard + Duration::from_micros(delay_us)).max(busy);
        if at.since(heard) > LATEST {
            return;
        }
        // As an adapter hands it over: in one piece, or in some.
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(1 + self.random.below(rest.len() as u64) as usize);
            self.sequence += 1;
            self.coming.insert((at, self.sequence), chunk.to_vec());
            at = at + Duration::from_micros(self.random.below(2_000));
            rest = tail;
        }
        self.busy_until.insert(from.as_u8(), at);
    }
}

const LINE_REQUEST: Duration = Duration::from_micros(764);

fn devices() -> Vec<ModbusDevice> {
    let many = |table, from: u16, last: u16, value_type| (from..=last).map(move |address| (table, address, value_type));
    let words = |table, from, to| many(table, from, to, ValueType::U16);
    let bits = |table, from, to| many(table, from, to, ValueType::Bool);
    // Each function has blocks of equal length, or no late reply could be taken for another's.
    let first: Vec<_> =
        [words(Table::Holding, 0, 9), words(Table::Holding, 20, 29), words(Table::Input, 100, 103)].into_iter().flatten().collect();
    let first: Vec<_> = first.into_iter().chain(bits(Table::Coil, 0, 19)).chain(bits(Table::Coil, 32, 51)).collect();
    let second: Vec<_> = words(Table::Holding, 50, 52).chain(words(Table::Holding, 60, 62)).chain(bits(Table::Coil, 7, 7)).collect();
    let third: Vec<_> =
        bits(Table::Discrete, 5, 11).chain(bits(Table::Discrete, 40, 48)).chain(words(Table::Holding, 65_530, 65_535)).collect();
    vec![device(1, 60, &first), device(2, 100, &second), device(3, 80, &third)]
}

/// The reply under the function of a table that is not read from this unit.
fn foreign(unit: UnitId, reply: &Reply) -> Vec<u8> {
    let function = match unit.as_u8() {
        1 => 2,
        2 => 4,
        _ => 1,
    };
    let mut pdu = reply.encode();
    pdu[0] = pdu[0] & pdu::EXCEPTION_FLAG | function;
    rtu::frame(unit, &pdu)
}

/// What stands in a slave's register, or in the lowest bit, its coil.
fn word(unit: UnitId, table: Table, address: u16) -> u16 {
    let key = u64::from(unit.as_u8()) << 24 | u64::from(table.function()) << 16 | u64::from(address);
    Random(key).next() as u16
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn one_in(&mut self, n: u64, chances: u64) -> bool {
        self.below(n) < chances
    }
}
