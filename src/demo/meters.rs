//! Two simulated Modbus meters on one line.

use std::time::Duration;

use super::pty::Pty;
use super::sim::{self, Running};
use crate::clock;
use crate::modbus::rtu::{self, Request};
use crate::modbus::{Read, Reply, Table, pdu};

/// From a request to its reply: what a small meter takes to think.
const THINKS: Duration = Duration::from_millis(8);

/// Answers requests until it is told to stop. An error of the line is its end.
pub fn run(pty: &Pty, running: &Running) {
    let mut heard = Vec::new();
    let mut buffer = [0; rtu::FRAME_MAX];
    while running.goes_on() {
        let Ok(length) = pty.read(&mut buffer, sim::LOOK_EVERY) else { return };
        heard.extend_from_slice(buffer.get(..length).unwrap_or_default());
        while let Some(request) = rtu::take_request(&mut heard) {
            if let Some(reply) = Meters::at(sim::seconds(clock::mono())).answer(request) {
                clock::block_for(THINKS);
                pty.write(&rtu::encode_reply(request.unit, &reply));
            }
        }
    }
}

/// The tables of both meters at one moment.
#[derive(Debug, Clone, Copy)]
struct Meters {
    t: f64,
}

impl Meters {
    /// At second `t`.
    const fn at(t: f64) -> Self {
        Self { t }
    }

    /// `None`: there is no such unit, nobody answers.
    fn answer(self, request: Request) -> Option<Reply> {
        let read = match request.read {
            Ok(read) => read,
            Err(code) => return matches!(request.unit.as_u8(), 1 | 2).then(|| request.refusal(code)),
        };
        let table = read.first().table;
        let reply = match (request.unit.as_u8(), table) {
            (1, Table::Input) => window(&self.main(), read).map(|words| Reply::words(table, words)),
            (2, Table::Holding) => window(&self.pump(), read).map(|words| Reply::words(table, words)),
            (2, Table::Coil) => window(&[self.pump_runs()], read).map(|bits| Reply::bits(table, bits)),
            (1 | 2, _) => None,
            _ => return None,
        };
        Some(reply.unwrap_or_else(|| request.refusal(pdu::ILLEGAL_ADDRESS)))
    }

    /// Voltage, current, power and frequency as f32, energy in Wh as u64.
    fn main(self) -> Vec<u16> {
        let t = self.t;
        let voltage = 230.0 + 2.5 * sim::wave(t, 60.0) + 0.4 * sim::noise(t, 11);
        let current = 14.0 + 5.0 * sim::wave(t, 90.0) + 0.3 * sim::noise(t, 12) + if self.pump_runs() { 4.8 } else { 0.0 };
        let power = voltage * current * 0.97;
        let frequency = 50.0 + 0.02 * sim::wave(t, 45.0) + 0.005 * sim::noise(t, 13);
        // 14 A on the average, and the pump's 1.1 kW half of the time.
        let energy = 48_210_337 + (t * (14.0 * 230.0 * 0.97 + 550.0) / 3_600.0) as u64;
        let floats = [voltage, current, power, frequency].map(|value| (value as f32).to_bits());
        let words = floats.into_iter().flat_map(|bits| [(bits >> 16) as u16, bits as u16]);
        words.chain([48, 32, 16, 0].map(|shift| (energy >> shift) as u16)).collect()
    }

    /// Voltage in 0.1 V, current in 0.01 A, power in W, nothing, energy in 0.1 kWh as u32 with its lower word first.
    fn pump(self) -> Vec<u16> {
        let t = self.t;
        let voltage = 229.4 + 2.5 * sim::wave(t, 60.0) + 0.3 * sim::noise(t, 21);
        let current = if self.pump_runs() { 4.8 + 0.2 * sim::noise(t, 22) } else { 0.0 };
        let energy = 91_443 + (t * 550.0 / 360_000.0) as u32;
        vec![(voltage * 10.0) as u16, (current * 100.0) as u16, (voltage * current) as u16, 0, energy as u16, (energy >> 16) as u16]
    }

    /// 20 seconds on, 20 seconds off.
    fn pump_runs(self) -> bool {
        (self.t as u64 / 20).is_multiple_of(2)
    }
}

fn window<T>(all: &[T], read: Read) -> Option<&[T]> {
    let first = usize::from(read.first().address);
    all.get(first..first + usize::from(read.quantity()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{RegisterAddress, UnitId};

    fn ask(t: f64, unit: u8, table: Table, address: u16, quantity: u16) -> Option<Reply> {
        let read = Read::new(RegisterAddress { table, address }, quantity).unwrap();
        let unit = UnitId::new(unit).unwrap();
        Meters::at(t).answer(Request { unit, function: table.function(), read: Ok(read) })
    }

    #[test]
    fn a_meter_answers_within_its_tables() {
        for (unit, table, address, quantity, want) in [
            (1, Table::Input, 0, 12, Some(24)),
            (1, Table::Input, 4, 2, Some(4)),
            (1, Table::Input, 11, 2, None),
            (1, Table::Input, 12, 1, None),
            (1, Table::Input, 65_535, 1, None),
            (1, Table::Holding, 0, 1, None),
            (2, Table::Holding, 0, 6, Some(12)),
            (2, Table::Coil, 0, 1, Some(1)),
            (2, Table::Coil, 1, 1, None),
        ] {
            let got = match ask(5.0, unit, table, address, quantity).expect("the unit is there") {
                Reply::Data { data, .. } => Some(data.len()),
                Reply::Exception { code, .. } => {
                    assert_eq!(code, pdu::ILLEGAL_ADDRESS);
                    None
                }
            };
            assert_eq!(got, want, "unit {unit}, {table:?}:{address}, {quantity}");
        }
        assert_eq!(ask(5.0, 3, Table::Input, 0, 1), None, "nobody is there");
    }

    #[test]
    fn values_move_and_stay_plausible() {
        let voltage = |t: f64| match ask(t, 1, Table::Input, 0, 2) {
            Some(Reply::Data { data, .. }) => f32::from_be_bytes(data.try_into().unwrap()),
            other => panic!("{other:?}"),
        };
        assert!((0..500).all(|t| (225.0..235.0).contains(&voltage(f64::from(t)))));
        assert!(voltage(1.0) != voltage(2.0));
    }
}
