//! Every type in every order, from registers that pymodbus' encoders and Python's `struct` have written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tidegate::bus::{ModbusOptions, ModbusPoint};
use tidegate::modbus::{ByteOrder, RegisterAddress, Table, ValueType};
use tidegate::model::status::DeviceState;
use tidegate::model::{Cause, Sample, Value};

use crate::harness::modbus::{Bus, Slaves, device, point};
use crate::harness::{report, wait_until};

const UNIT: u8 = 7;
const POLL: Duration = Duration::from_millis(50);

const ORDERS: [(&str, ByteOrder); 4] =
    [("ABCD", ByteOrder::Abcd), ("BADC", ByteOrder::Badc), ("CDAB", ByteOrder::Cdab), ("DCBA", ByteOrder::Dcba)];

/// Type, the value as Python reads it, and as it must be published.
fn rows() -> Vec<(&'static str, ValueType, &'static str, Value)> {
    vec![
        ("u16", ValueType::U16, "0", Value::U64(0)),
        ("u16", ValueType::U16, "65535", Value::U64(65_535)),
        ("u16", ValueType::U16, "258", Value::U64(258)),
        ("i16", ValueType::I16, "-32768", Value::I64(-32_768)),
        ("i16", ValueType::I16, "513", Value::I64(513)),
        ("u32", ValueType::U32, "4294967295", Value::U64(u32::MAX.into())),
        ("u32", ValueType::U32, "16909060", Value::U64(0x0102_0304)),
        ("i32", ValueType::I32, "-2147483648", Value::I64(i32::MIN.into())),
        ("i32", ValueType::I32, "-2", Value::I64(-2)),
        ("u64", ValueType::U64, "72623859790382856", Value::U64(0x0102_0304_0506_0708)),
        ("u64", ValueType::U64, "18446744073709551615", Value::U64(u64::MAX)),
        ("i64", ValueType::I64, "-9223372036854775808", Value::I64(i64::MIN)),
        ("i64", ValueType::I64, "-3", Value::I64(-3)),
        ("f32", ValueType::F32, "230.1", Value::F64(230.1)),
        ("f32", ValueType::F32, "-1.5e-20", Value::F64(-1.5e-20)),
        ("f64", ValueType::F64, "3.141592653589793", Value::F64(std::f64::consts::PI)),
        ("f64", ValueType::F64, "-1e300", Value::F64(-1e300)),
        ("bool", ValueType::Bool, "1", Value::Bool(true)),
        ("bool", ValueType::Bool, "0", Value::Bool(false)),
    ]
}

struct Site {
    points: Vec<ModbusPoint>,
    values: Vec<Json>,
    want: BTreeMap<String, Result<Value, Cause>>,
}

#[test]
fn every_type_in_every_order_comes_as_pymodbus_wrote_it() {
    let mut site = site();
    // Registers that the slave does not have: an exception, and no harm to the others.
    let nowhere = RegisterAddress { table: Table::Holding, address: 9_000 };
    site.points.push(point("nowhere", nowhere, ValueType::U16, ByteOrder::Abcd, POLL));
    site.want.insert("nowhere".into(), Err(Cause::Exception(2)));

    let slaves = Slaves::start(&json!({ "buses": 1, "values": site.values }));
    let modbus = ModbusOptions {
        timeout: Duration::from_millis(500),
        late_window: Duration::from_secs(3),
        devices: vec![device(UNIT, 3, site.points)],
    };
    let mut bus = Bus::start(slaves.ports[0].clone(), modbus);
    let mut got = BTreeMap::new();
    wait_until("a reading of every point", Duration::from_secs(15), || {
        for message in bus.waiting() {
            let sample = Sample::from_body(&message.body).expect("a sample");
            // Before the port is open, all are bad.
            if sample.value != Err(Cause::Closed) {
                got.insert(message.topic.to_string(), sample.value);
            }
        }
        got.len() == site.want.len()
    });
    assert_eq!(got, site.want);
    let status = bus.status();
    assert!(status.open && status.devices[0].state == DeviceState::Good && status.devices[0].exceptions > 0, "{status:?}");
    report(&format!("types: {} points of every type and order as pymodbus wrote them", site.want.len()));
}

/// Each row in each order in both tables of words, one behind the other; and coils.
fn site() -> Site {
    let mut site = Site { points: Vec::new(), values: Vec::new(), want: BTreeMap::new() };
    for table in [Table::Holding, Table::Input] {
        let mut address = 100;
        for (kind, value_type, text, want) in rows() {
            for (order_name, order) in ORDERS {
                let name = format!("{}/{kind}/{order_name}/{address}", table.function());
                site.add(&name, RegisterAddress { table, address }, (kind, value_type), (order_name, order), text, want.clone());
                address += value_type.registers();
            }
        }
    }
    for table in [Table::Coil, Table::Discrete] {
        for address in 0..21 {
            let on = address % 3 == 1;
            let (name, text) = (format!("{}/{address}", table.function()), if on { "1" } else { "0" });
            let (kind, order) = (("bool", ValueType::Bool), ("ABCD", ByteOrder::Abcd));
            site.add(&name, RegisterAddress { table, address }, kind, order, text, Value::Bool(on));
        }
    }
    site
}

impl Site {
    fn add(&mut self, name: &str, at: RegisterAddress, kind: (&str, ValueType), order: (&str, ByteOrder), text: &str, want: Value) {
        let table = at.table.function();
        let value = json!({ "unit": UNIT, "table": table, "address": at.address, "type": kind.0, "order": order.0, "value": text });
        self.values.push(value);
        self.points.push(point(name, at, kind.1, order.1, POLL));
        self.want.insert(name.to_owned(), Ok(want));
    }
}
