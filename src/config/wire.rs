//! How long a bus's schedule takes on the wire. Pure arithmetic on the options.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bus::{Line, ModbusDevice, ModbusPoint, Parity};
use crate::modbus::{Table, ValueType};

/// Most words and bits of one read (Application Protocol 1.1b3, 6.1 to 6.4).
const WORDS_MAX: u32 = 125;
const BITS_MAX: u32 = 2_000;
/// Unit, function code, address, quantity, CRC.
const REQUEST_BYTES: u32 = 8;
/// Unit, function code, byte count, CRC.
const REPLY_BYTES: u32 = 5;
/// Above this baud rate t3.5 is a fixed time (Serial Line 1.02, 2.5.1.1).
const FIXED_GAP_BAUD: u32 = 19_200;
const FIXED_GAP: Duration = Duration::from_micros(1_750);

/// Registers or bits that a value takes.
pub(super) const fn words(value_type: ValueType) -> u16 {
    match value_type {
        ValueType::Bool | ValueType::U16 | ValueType::I16 => 1,
        ValueType::U32 | ValueType::I32 | ValueType::F32 => 2,
        ValueType::U64 | ValueType::I64 | ValueType::F64 => 4,
    }
}

/// The arithmetic in words, if the schedule takes more time than there is, devices answering at once.
pub(super) fn overload(line: Line, devices: &[ModbusDevice]) -> Option<String> {
    let requests: Vec<Request> = devices.iter().flat_map(|device| requests(&device.points)).collect();
    let share = |request: &Request| request.time(line).as_secs_f64() / request.poll.as_secs_f64();
    let load: f64 = requests.iter().map(share).sum();
    if load <= 1.0 {
        return None;
    }
    let busy: Duration = requests.iter().map(|request| request.time(line)).sum();
    let costly = requests.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
    Some(format!(
        "its {}, together {} on the wire, would take {:.0} % of the time if devices answered at once\n\
         at {} baud a character of {} bits takes {:.2} ms; the costliest, {} + {} characters and two pauses, takes {} every {}",
        if requests.len() == 1 { "request".to_owned() } else { format!("{} requests", requests.len()) },
        milliseconds(busy),
        load * 100.0,
        line.baud,
        bits(line),
        character(line).as_secs_f64() * 1e3,
        REQUEST_BYTES,
        costly.reply,
        milliseconds(costly.time(line)),
        milliseconds(costly.poll),
    ))
}

/// One read and how often it is due.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Bytes of the reply.
    reply: u32,
    poll: Duration,
}

impl Request {
    fn time(&self, line: Line) -> Duration {
        let gap = if line.baud > FIXED_GAP_BAUD { FIXED_GAP } else { character(line) * 7 / 2 };
        character(line) * (REQUEST_BYTES + self.reply) + gap * 2
    }
}

/// Contiguous points of one table and period share a request.
fn requests(points: &[ModbusPoint]) -> Vec<Request> {
    let mut groups: BTreeMap<(Table, Duration), Vec<(u32, u32)>> = BTreeMap::new();
    for point in points {
        let first = u32::from(point.register.address);
        groups.entry((point.register.table, point.poll)).or_default().push((first, first + u32::from(words(point.value_type))));
    }
    let mut requests = Vec::new();
    for ((table, poll), mut spans) in groups {
        spans.sort_unstable();
        let is_bit = matches!(table, Table::Coil | Table::Discrete);
        let most = if is_bit { BITS_MAX } else { WORDS_MAX };
        let reply = |first: u32, end: u32| REPLY_BYTES + if is_bit { (end - first).div_ceil(8) } else { (end - first) * 2 };
        let mut open: Option<(u32, u32)> = None;
        for (first, end) in spans {
            match &mut open {
                Some((start, until)) if first <= *until && end.max(*until) - *start <= most => *until = end.max(*until),
                _ => {
                    requests.extend(open.replace((first, end)).map(|(first, end)| Request { reply: reply(first, end), poll }));
                }
            }
        }
        requests.extend(open.map(|(first, end)| Request { reply: reply(first, end), poll }));
    }
    requests
}

/// A character's bits on the wire: start, data, parity, stop.
const fn bits(line: Line) -> u32 {
    let parity = match line.parity {
        Parity::None => 0,
        Parity::Even | Parity::Odd => 1,
    };
    1 + line.data_bits as u32 + parity + line.stop_bits as u32
}

fn character(line: Line) -> Duration {
    Duration::from_secs(1) * bits(line) / line.baud.max(1)
}

fn milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10_000.0 { format!("{ms:.1} ms") } else { format!("{:.0} s", ms / 1e3) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::modbus::{ByteOrder, RegisterAddress, UnitId};
    use crate::model::Topic;
    use crate::normalize::PointOptions;

    const LINE: Line = Line { baud: 9_600, data_bits: 8, parity: Parity::None, stop_bits: 1 };

    fn point(table: Table, address: u16, value_type: ValueType, poll_ms: u64) -> ModbusPoint {
        let topic = Topic::new("t").unwrap();
        ModbusPoint {
            name: Arc::from("p"),
            register: RegisterAddress { table, address },
            value_type,
            order: ByteOrder::Abcd,
            poll: Duration::from_millis(poll_ms),
            publish: PointOptions { topic, unit: None, scale: 1.0, offset: 0.0, decimals: None, deadband: None, max_silence: None },
        }
    }

    /// Bytes of the replies that these points are read by.
    fn check(points: &[ModbusPoint], want: &[u32]) {
        let got: Vec<u32> = requests(points).iter().map(|request| request.reply).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn contiguous_points_of_one_table_and_period_share_a_request() {
        use Table::{Coil, Holding, Input};
        use ValueType::{Bool, F32, F64, U16};
        check(&[point(Input, 0, F32, 1_000), point(Input, 2, F32, 1_000)], &[5 + 8]);
        check(&[point(Input, 2, F32, 1_000), point(Input, 0, F32, 1_000)], &[5 + 8]);
        check(&[point(Input, 0, F32, 1_000), point(Input, 3, F32, 1_000)], &[5 + 4, 5 + 4]);
        check(&[point(Input, 0, F32, 1_000), point(Input, 2, F32, 500)], &[5 + 4, 5 + 4]);
        check(&[point(Input, 0, U16, 1_000), point(Holding, 1, U16, 1_000)], &[5 + 2, 5 + 2]);
        check(&[point(Input, 0, F64, 1_000), point(Input, 2, U16, 1_000)], &[5 + 8]);
        check(&[point(Coil, 0, Bool, 1_000), point(Coil, 1, Bool, 1_000)], &[5 + 1]);
        let many: Vec<ModbusPoint> = (0..126).map(|address| point(Input, address, U16, 1_000)).collect();
        check(&many, &[5 + 250, 5 + 2]);
    }

    #[test]
    fn a_schedule_is_told_from_the_first_percent_too_many() {
        let device = |poll_ms| ModbusDevice {
            name: Arc::from("d"),
            unit_id: UnitId::new(1).unwrap(),
            max_failures: 3,
            points: vec![point(Table::Input, 0, ValueType::F32, poll_ms)],
        };
        // 8 + 9 characters and two pauses of 3.5, each character 10 bits at 9600 baud: 25 ms.
        assert_eq!(overload(LINE, &[device(25)]), None);
        let told = overload(LINE, &[device(24)]).expect("one millisecond short");
        assert!(told.contains("104 % of the time") && told.contains("25.0 ms every 24.0 ms"), "{told}");
        assert!(overload(LINE, &[device(50), device(49)]).is_some_and(|told| told.contains("its 2 requests, together 50.0 ms")));
        // Above 19200 baud a pause is 1.75 ms: 17 characters of 86.8 µs and 3.5 ms.
        let fast = Line { baud: 115_200, ..LINE };
        assert_eq!(overload(fast, &[device(5)]), None);
        assert!(overload(fast, &[device(4)]).is_some());
    }
}
