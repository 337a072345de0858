//! Devices and points of a Modbus bus.

use std::sync::Arc;
use std::time::Duration;

use super::super::error::Mistake;
use super::super::item::Item;
use super::super::reader::{At, Table, nearest};
use super::point::{All, Own, common};
use crate::bus::{ModbusDevice, ModbusPoint};
use crate::modbus::{ByteOrder, RegisterAddress, Table as RegisterTable, UnitId, ValueType};

pub(super) fn device(
    mut table: Table<'_>,
    points: Vec<Table<'_>>,
    own: &mut Own<'_>,
    all: &mut All<'_>,
    bus: &str,
) -> Option<ModbusDevice> {
    let report = table.report;
    for key in ["decode", "pattern", "separator"] {
        table.refuse(key, "is for devices on a serial bus", "");
    }
    let unit = table.take("unit_id").and_then(unit_id);
    if let Some(unit) = &unit
        && let Some(other) = all.units.insert((bus.to_owned(), unit.value), own.device.to_owned())
    {
        let mistake = Mistake::error(format!("unit {} on the bus `{bus}` is `{other}` already", unit.value));
        report.add(&unit.span, mistake.expected("one device a unit: give that one these points, too"));
    }
    let (poll, max_failures) = (table.duration("poll"), table.whole("max_failures"));
    table.finish();
    let points = points.into_iter().filter_map(|point| self::point(point, poll, own, all)).collect();
    Some(ModbusDevice {
        name: Arc::from(own.device),
        unit_id: UnitId::new(u8::try_from(unit?.value).ok()?)?,
        max_failures: max_failures?,
        points,
    })
}

pub(super) fn unit_id(item: Item<'_>) -> Option<At<i64>> {
    let source = item.source();
    match source {
        "0" => item.wrong("unit 0 is for broadcasts: no device answers it"),
        _ => item.whole(),
    }
}

fn point(mut table: Table<'_>, device_poll: Option<Duration>, own: &mut Own<'_>, all: &mut All<'_>) -> Option<ModbusPoint> {
    let report = table.report;
    table.refuse("field", "is for devices on a serial bus", "a point of a Modbus device has a `register`");
    let register = table.take("register").and_then(register);
    let is_bit = register.as_ref().is_some_and(|register| matches!(register.value.table, RegisterTable::Coil | RegisterTable::Discrete));
    let is_given = table.has("type");
    let given = table.choice("type");
    let value_type = match &given {
        None if is_bit => ValueType::Bool,
        None => ValueType::U16,
        Some(given) => value_type(given.value),
    };
    if is_bit
        && value_type != ValueType::Bool
        && let Some(given) = &given
    {
        let mistake = Mistake::error(format!("coils and discrete inputs are single bits, no {}", given.value));
        report.add(&given.span, mistake.expected("type = \"bool\", or no type"));
    }
    if let Some(register) = &register {
        let words = value_type.registers();
        if u32::from(register.value.address) + u32::from(words) > 65_536 {
            let mistake = Mistake::error(format!("the {words} registers of this value go beyond the last address, 65535"));
            report.add(&register.span, mistake);
        }
    }
    if value_type == ValueType::Bool && (is_bit || is_given) {
        table.refuse("order", "means nothing for a bool", "");
        for key in ["scale", "offset", "decimals"] {
            table.refuse(key, "means nothing for a bool, which is published as true or false", "");
        }
    }
    let order = table.choice("order").map_or(ByteOrder::Abcd, |order| match order.value {
        "BADC" => ByteOrder::Badc,
        "CDAB" => ByteOrder::Cdab,
        "DCBA" => ByteOrder::Dcba,
        _ => ByteOrder::Abcd,
    });
    let poll = match table.take_given("poll") {
        Some(item) => item.duration(),
        None => device_poll,
    };
    let common = common(table, own, all);
    let (name, publish) = common?;
    Some(ModbusPoint { name, register: register?.value, value_type, order, poll: poll?, publish })
}

/// `table:address`.
pub(super) fn register(item: Item<'_>) -> Option<At<RegisterAddress>> {
    const TABLES: [(&str, RegisterTable); 4] = [
        ("coil", RegisterTable::Coil),
        ("discrete", RegisterTable::Discrete),
        ("input", RegisterTable::Input),
        ("holding", RegisterTable::Holding),
    ];
    let text = match item.as_str() {
        Some(text) => text.to_owned(),
        None if item.is_whole() => item.source().to_owned(),
        None => return item.wrong_type(),
    };
    let Some((table, address)) = text.split_once(':') else {
        let title = format!("`{text}` has no table");
        return match from_data_sheet(&text) {
            Some((table, address)) => item.wrong_with(
                title,
                &format!("if {text} is a data sheet's number, which counts from 1 behind the table's digit, write \"{table}:{address}\""),
            ),
            None => item.wrong(title),
        };
    };
    let (table, address) = (table.trim(), address.trim());
    let Some((_, known)) = TABLES.iter().find(|(name, _)| *name == table) else {
        let near = match table.to_lowercase().as_str() {
            "coils" | "c" | "do" => Some("coil"),
            "discretes" | "discrete_input" | "discrete-input" | "d" | "di" => Some("discrete"),
            "inputs" | "ir" | "i" | "input_register" | "input-register" => Some("input"),
            "hr" | "h" | "holding_register" | "holding-register" | "register" => Some("holding"),
            other => nearest(other, TABLES.iter().map(|(name, _)| *name)),
        };
        let title = format!("`{table}` is no table of a Modbus device");
        return match near {
            Some(near) => item.wrong_with(title, &format!("did you mean \"{near}:{address}\"?")),
            None => item.wrong_with(title, "the tables are coil, discrete, input and holding"),
        };
    };
    let parsed = match address.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => address.parse(),
    };
    match parsed {
        Ok(address) if !text.contains('+') => Some(At { value: RegisterAddress { table: *known, address }, span: item.span }),
        _ => item.wrong(format!("`{address}` is no address: 0 to 65535, or 0x0 to 0xffff")),
    }
}

/// Data sheets number coils from 1 or 00001, discrete inputs from 10001, inputs from 30001, holding registers from 40001, or with six digits.
fn from_data_sheet(text: &str) -> Option<(&'static str, u32)> {
    let number: u32 = text.trim().parse().ok()?;
    let (digit, rest) = match number {
        10_001..=49_999 => (number / 10_000, number % 10_000),
        100_001..=465_536 => (number / 100_000, number % 100_000),
        _ => return None,
    };
    let table = match digit {
        1 => "discrete",
        3 => "input",
        4 => "holding",
        _ => return None,
    };
    rest.checked_sub(1).filter(|address| *address <= 65_535).map(|address| (table, address))
}

fn value_type(name: &str) -> ValueType {
    match name {
        "bool" => ValueType::Bool,
        "i16" => ValueType::I16,
        "u32" => ValueType::U32,
        "i32" => ValueType::I32,
        "u64" => ValueType::U64,
        "i64" => ValueType::I64,
        "f32" => ValueType::F32,
        "f64" => ValueType::F64,
        _ => ValueType::U16,
    }
}
