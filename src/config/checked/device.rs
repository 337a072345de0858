//! `[[device]]` and its points → devices on their buses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::error::{Mistake, Report, Span};
use super::super::item::Item;
use super::super::reader::{At, Table, nearest};
use super::super::wire;
use super::bus::Bus;
use super::serial;
use super::{Names, fill, name};
use crate::bus::{ModbusDevice, ModbusPoint, Options, Protocol, SerialDevice};
use crate::modbus::{ByteOrder, RegisterAddress, Table as RegisterTable, UnitId, ValueType};
use crate::model::Topic;
use crate::normalize::PointOptions;

/// Longest unit in bytes (model::Sample).
const UNIT_MAX: usize = 254;

/// Puts the devices on their buses. Buses with mistakes in them are left out.
pub(super) fn devices(
    tables: Vec<Table<'_>>,
    mut buses: Vec<Bus>,
    gateway: &str,
    gateway_topic: Option<&At<String>>,
    report: &Report<'_>,
) -> Vec<Options> {
    let mut all = All { gateway, names: Names::default(), topics: BTreeMap::new(), units: BTreeMap::new() };
    for table in tables {
        device(table, &mut buses, gateway_topic, &mut all);
    }
    let mut done = Vec::new();
    for Bus { name, options } in buses {
        let Some(options) = options else { continue };
        for (title, arithmetic) in wire::trouble(&options) {
            let mistake = Mistake::warning(title).note(arithmetic);
            report.add(&name.span, mistake.help("change the periods, the timeout, or the baud rate on the devices and here"));
        }
        let is_empty = match &options.protocol {
            Protocol::ModbusRtu(modbus) => modbus.devices.is_empty(),
            Protocol::Serial(serial) => serial.devices.is_empty(),
        };
        if is_empty {
            report.missing(&name.span, Mistake::warning(format!("the bus `{}` has no device: its port is opened for nothing", name.value)));
        }
        done.push(options);
    }
    done
}

/// What is unique over all devices.
#[derive(Debug)]
pub(super) struct All<'a> {
    gateway: &'a str,
    names: Names,
    /// Topic → whose it is, and where.
    topics: BTreeMap<String, (String, Span)>,
    /// Bus and unit id → the device.
    units: BTreeMap<(String, i64), String>,
}

fn device(mut table: Table<'_>, buses: &mut [Bus], gateway_topic: Option<&At<String>>, all: &mut All<'_>) {
    let report = table.report;
    let name = table.take("name").and_then(name);
    // The second of a name has no name of its own, lest its points be told for the same topics, too.
    let name = name.filter(|name| all.names.add(report, "two devices are called", name));
    let bus = table.text("bus").and_then(|bus| find(report, &bus, buses).map(|i| (i, bus.value)));
    let topic = table.take_given("topic").and_then(Item::text);
    let points = table.tables("point");
    if points.is_empty() {
        let named = name.as_ref().map_or("this device", |name| name.value.as_str());
        report.missing(&table.span, Mistake::warning(format!("`{named}` has no [[device.point]]: nothing of it is published")));
    }
    let mut own =
        Own { device: name.as_ref().map_or("", |name| &name.value), topic: topic.as_ref().or(gateway_topic), names: Names::default() };
    let options = bus.as_ref().and_then(|(i, _)| buses.get_mut(*i)).and_then(|bus| bus.options.as_mut());
    match options.map(|options| &mut options.protocol) {
        Some(Protocol::ModbusRtu(options)) => {
            let bus_name = bus.as_ref().map_or("", |(_, name)| name);
            options.devices.extend(modbus(table, points, &mut own, all, bus_name));
        }
        Some(Protocol::Serial(options)) => {
            for key in ["unit_id", "poll", "max_failures"] {
                table.refuse(key, "is for devices on a Modbus bus: on a serial bus a device sends by itself", "");
            }
            let device = own.device;
            let decoded = serial::decoder(&mut table);
            table.finish();
            let read = points.into_iter().filter_map(|point| serial::point(point, decoded.as_ref(), &mut own, all)).collect();
            if let Some((decoder, _)) = decoded {
                options.devices.push(SerialDevice { name: Arc::from(device), decoder, points: read });
            }
        }
        // Without its bus it is not known which keys belong here; those that nobody knows are mistakes all the same.
        None => unplaced(table, points, &mut own, all),
    }
}

fn find(report: &Report<'_>, bus: &At<String>, buses: &[Bus]) -> Option<usize> {
    let found = buses.iter().position(|known| known.name.value == bus.value);
    if found.is_none() {
        let known: Vec<&str> = buses.iter().map(|bus| bus.name.value.as_str()).collect();
        let expected = if known.is_empty() { "a [[bus]] of this name".to_owned() } else { format!("one of {}", known.join(", ")) };
        let mistake = Mistake::error(format!("there is no bus `{}`", bus.value)).expected(expected);
        report.missing(&bus.span, mistake.near(nearest(&bus.value, known.iter().copied())));
    }
    found
}

fn modbus(mut table: Table<'_>, points: Vec<Table<'_>>, own: &mut Own<'_>, all: &mut All<'_>, bus: &str) -> Option<ModbusDevice> {
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
    let points = points.into_iter().filter_map(|point| modbus_point(point, poll, own, all)).collect();
    Some(ModbusDevice {
        name: Arc::from(own.device),
        unit_id: UnitId::new(u8::try_from(unit?.value).ok()?)?,
        max_failures: max_failures?,
        points,
    })
}

fn unit_id(item: Item<'_>) -> Option<At<i64>> {
    let source = item.source();
    match source {
        "0" => item.wrong("unit 0 is for broadcasts: no device answers it"),
        _ => item.whole(),
    }
}

fn modbus_point(mut table: Table<'_>, device_poll: Option<Duration>, own: &mut Own<'_>, all: &mut All<'_>) -> Option<ModbusPoint> {
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
fn register(item: Item<'_>) -> Option<At<RegisterAddress>> {
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

/// What a device gives its points.
#[derive(Debug)]
pub(super) struct Own<'a> {
    device: &'a str,
    topic: Option<&'a At<String>>,
    names: Names,
}

/// The keys that points of every protocol have; the last to be read of a point.
pub(super) fn common(mut table: Table<'_>, own: &mut Own<'_>, all: &mut All<'_>) -> Option<(Arc<str>, PointOptions)> {
    let report = table.report;
    let name = table.take("name").and_then(name);
    let is_new = name.as_ref().is_none_or(|name| own.names.add(report, "two points of one device are called", name));
    let topic = table.take_given("topic").and_then(Item::text);
    let topic = topic.as_ref().or(own.topic);
    let topic = match (&name, topic) {
        (Some(name), Some(template)) if is_new => self::topic(report, template, &name.value, own.device, all, &name.span),
        _ => None,
    };
    let unit = table.text("unit").filter(|unit| {
        let fits = unit.value.len() <= UNIT_MAX;
        if !fits {
            report.add(&unit.span, Mistake::error(format!("`unit` is longer than {UNIT_MAX} bytes")));
        }
        fits
    });
    let scale = table.number("scale");
    if let Some(scale) = scale.as_ref().filter(|scale| scale.value == 0.0) {
        report.add(&scale.span, Mistake::error("a `scale` of 0 makes every value the same"));
    }
    let offset = table.number("offset");
    let decimals = table.whole("decimals");
    let deadband = table.number("deadband");
    if let Some(deadband) = deadband.as_ref().filter(|deadband| deadband.value < 0.0) {
        report.add(&deadband.span, Mistake::error("a `deadband` is a distance: not below 0"));
    }
    let silence = table.take("max_silence");
    if let (Some(silence), None) = (&silence, &deadband) {
        let mistake = Mistake::warning("`max_silence` does nothing without a `deadband`: every reading is published anyway");
        report.add(&silence.key_span, mistake);
    }
    let max_silence = silence.and_then(Item::duration);
    table.finish();
    let (name, topic) = (name.filter(|_| is_new)?, topic?);
    Some((
        Arc::from(name.value),
        PointOptions {
            topic,
            unit: unit.map(|unit| Arc::from(unit.value)),
            scale: scale?.value,
            offset: offset?.value,
            decimals,
            deadband: deadband.map(|deadband| deadband.value),
            max_silence,
        },
    ))
}

fn topic(report: &Report<'_>, template: &At<String>, point: &str, device: &str, all: &mut All<'_>, at: &Span) -> Option<Topic> {
    let filled = fill(report, template, &[("gateway", all.gateway), ("device", device), ("point", point)])?;
    // A name that is wrong or missing has been told already, and would leave holes here.
    if all.gateway.is_empty() || device.is_empty() {
        return None;
    }
    // A template of the device or gateway serves many points: what is wrong with this one's topic is shown at this one's name.
    let own = template.value.contains("{point}");
    let place = if own { at } else { &template.span };
    let topic = match Topic::new(&filled) {
        Ok(topic) => topic,
        Err(error) => {
            report.add(&template.span, Mistake::error(format!("`{filled}` is no topic: {error}")));
            return None;
        }
    };
    if filled.starts_with('$') {
        report.add(&template.span, Mistake::error(format!("the topic `{filled}` begins with `$`: such topics never go up")));
    }
    if filled.ends_with("/set") {
        let mistake = Mistake::warning(format!("the topic `{filled}` ends in /set, as commands do: other machines' clients do not get it"));
        report.add(place, mistake);
    }
    let whose = format!("{device}/{point}");
    if let Some((other, first)) = all.topics.get(&filled) {
        let line = report.line_number(first);
        let mistake = Mistake::error(format!("the points {other} and {whose} have the same topic `{filled}`"));
        let mistake = mistake.note(format_args!("the first is on line {line}"));
        report.add(at, mistake.help("use {device} and {point} in the template"));
        return None;
    }
    all.topics.insert(filled, (whose, at.clone()));
    Some(topic)
}

/// A device whose bus is not known: each key is looked at for itself.
fn unplaced(mut table: Table<'_>, points: Vec<Table<'_>>, own: &mut Own<'_>, all: &mut All<'_>) {
    let _ = table.take_given("unit_id").and_then(unit_id);
    let _ = table.take_given("poll").and_then(Item::duration);
    let _ = table.take_given("max_failures").and_then(Item::whole);
    let decoded = if table.has("decode") { serial::decoder(&mut table) } else { None };
    for key in ["pattern", "separator"] {
        let _ = table.take_given(key);
    }
    table.finish();
    for mut point in points {
        let _ = point.take_given("register").and_then(register);
        let _ = point.take_given("type").and_then(Item::choice);
        let _ = point.take_given("order").and_then(Item::choice);
        let _ = point.take_given("poll").and_then(Item::duration);
        if decoded.is_some() {
            let _ = serial::field(&mut point, decoded.as_ref());
        }
        let _ = point.take_given("field");
        let _ = common(point, own, all);
    }
}
