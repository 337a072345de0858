//! `[[device]]` and its points → devices on their buses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::error::{Mistake, Report};
use super::super::item::Item;
use super::super::reader::{At, Table, nearest};
use super::super::wire;
use super::bus::Bus;
use super::point::{All, Own, common};
use super::{Names, modbus, name, serial};
use crate::bus::{Options, Protocol, SerialDevice};

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
            options.devices.extend(modbus::device(table, points, &mut own, all, bus_name));
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

/// A device whose bus is not known: each key is looked at for itself.
fn unplaced(mut table: Table<'_>, points: Vec<Table<'_>>, own: &mut Own<'_>, all: &mut All<'_>) {
    let _ = table.take_given("unit_id").and_then(modbus::unit_id);
    let _ = table.take_given("poll").and_then(Item::duration);
    let _ = table.take_given("max_failures").and_then(Item::whole);
    let decoded = if table.has("decode") { serial::decoder(&mut table) } else { None };
    for key in ["pattern", "separator"] {
        let _ = table.take_given(key);
    }
    table.finish();
    for mut point in points {
        let _ = point.take_given("register").and_then(modbus::register);
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
