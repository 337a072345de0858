//! `[[bus]]` → ports, lines and protocols, as yet without devices.

use std::sync::Arc;

use super::super::error::{Mistake, Report};
use super::super::reader::{At, Table};
use super::{Names, name, path};
use crate::bus::{Line, ModbusOptions, Options, Parity, Protocol, SerialOptions};
use crate::frame::Framing;

/// Longest delimiter in bytes.
const DELIMITER_MAX: usize = 16;
/// What serial hardware commonly offers (Linux's termios).
const BAUDS: &[u32] = &[
    50, 75, 110, 134, 150, 200, 300, 600, 1_200, 1_800, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000,
    576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

/// A bus, also one with mistakes in it, so that devices that name it are no mistakes.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) name: At<String>,
    /// `None` where the file gives no protocol that there is.
    pub(super) options: Option<Options>,
}

pub(super) fn buses(tables: Vec<Table<'_>>) -> Vec<Bus> {
    let (mut names, mut ports) = (Names::default(), Names::default());
    tables.into_iter().filter_map(|table| bus(table, &mut names, &mut ports)).collect()
}

fn bus(mut table: Table<'_>, names: &mut Names, ports: &mut Names) -> Option<Bus> {
    let report = table.report;
    let name = table.take("name").and_then(name);
    let is_new = name.as_ref().is_none_or(|name| names.add(report, "two buses are called", name));
    let protocol = table.choice("protocol").map(|protocol| protocol.value);
    let port = table.take("port").and_then(|item| {
        let span = item.span.clone();
        let is_windows = item.as_str().is_some_and(|text| text.to_uppercase().starts_with("COM"));
        let value = if is_windows {
            return item.wrong_with(
                "this is a port of Windows",
                "on Linux a USB adapter is /dev/ttyUSB0, or better its name in /dev/serial/by-id",
            );
        } else {
            path(item)?
        };
        ports.add(report, "two buses have the port", &At { value: value.display().to_string(), span });
        Some(value)
    });
    let line = line(&mut table, protocol);
    let protocol = match protocol {
        Some("modbus-rtu") => {
            table.refuse("frame", "is for `protocol = \"serial\"`: a Modbus frame ends by its own rules", "");
            match (table.duration("timeout"), table.duration("late_window")) {
                (Some(timeout), Some(late_window)) => {
                    Some(Protocol::ModbusRtu(ModbusOptions { timeout, late_window, devices: Vec::new() }))
                }
                _ => None,
            }
        }
        Some(_) => {
            for key in ["timeout", "late_window"] {
                table.refuse(key, "is for `protocol = \"modbus-rtu\"`: nothing is asked on a serial bus", "");
            }
            frame(&mut table).map(|framing| Protocol::Serial(SerialOptions { framing, devices: Vec::new() }))
        }
        None => {
            // Either may be meant, so each key is only looked at for itself.
            let _ = (table.take_given("timeout").and_then(|i| i.duration()), table.take_given("late_window").and_then(|i| i.duration()));
            if table.has("frame") {
                let _ = frame(&mut table);
            }
            None
        }
    };
    table.finish();
    let name = name.filter(|_| is_new)?;
    let options = protocol.map(|protocol| Options {
        name: Arc::from(name.value.as_str()),
        port: port.unwrap_or_default(),
        line: line.unwrap_or(Line { baud: 9_600, data_bits: 8, parity: Parity::None, stop_bits: 1 }),
        protocol,
    });
    Some(Bus { name, options })
}

fn line(table: &mut Table<'_>, protocol: Option<&str>) -> Option<Line> {
    let report = table.report;
    let baud = table.take("baud").and_then(|item| {
        let span = item.span.clone();
        let baud = u32::try_from(item.whole()?.value).ok()?;
        if !BAUDS.contains(&baud) {
            let near = BAUDS.iter().min_by_key(|known| known.abs_diff(baud)).copied().unwrap_or(baud);
            let mistake = Mistake::warning(format!("{baud} is no common baud rate"));
            report.add(&span, mistake.help(format_args!("did you mean {near}?")));
        }
        Some(baud)
    });
    let data_bits = table.take("data_bits").and_then(|item| {
        let span = item.span.clone();
        let bits = u8::try_from(item.whole()?.value).ok()?;
        if bits != 8 && protocol == Some("modbus-rtu") {
            let mistake = Mistake::error("Modbus RTU has 8 data bits (Modbus over Serial Line 1.02, 2.5.1)");
            report.add(&span, mistake.note("devices that need 7 speak Modbus ASCII, which is not supported yet in this version"));
        }
        Some(bits)
    });
    let parity = table.choice("parity").map(|parity| match parity.value {
        "even" => Parity::Even,
        "odd" => Parity::Odd,
        _ => Parity::None,
    });
    let stop_bits = table.whole("stop_bits");
    Some(Line { baud: baud?, data_bits: data_bits?, parity: parity?, stop_bits: stop_bits? })
}

fn frame(table: &mut Table<'_>) -> Option<Framing> {
    let mut frame = table.table("frame")?;
    let delimiter = frame.text("delimiter").filter(|text| delimiter_is_good(frame.report, text));
    let max_length = frame.size("max_length");
    frame.finish();
    Some(Framing { delimiter: delimiter?.value.into_bytes(), max_length: max_length? })
}

fn delimiter_is_good(report: &Report<'_>, text: &At<String>) -> bool {
    let mistake = if text.value.is_empty() {
        Mistake::error("`delimiter` is empty")
    } else if text.value.len() > DELIMITER_MAX {
        Mistake::error(format!("`delimiter` is longer than {DELIMITER_MAX} bytes"))
    } else if text.value.starts_with('\\') && text.value.chars().all(|c| matches!(c, '\\' | 'r' | 'n')) {
        Mistake::error("in single quotes `\\r` and `\\n` are no line ends, but a backslash and a letter").help("write it in double quotes")
    } else {
        return true;
    };
    report.add(&text.span, mistake.expected("1 to 16 bytes, as delimiter = \"\\r\\n\""));
    false
}
