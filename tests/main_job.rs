//! The whole length once: a Modbus meter and a line sensor → readings → local clients and the upstream; local clients → the upstream.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::gateway::Site;
use crate::harness::line_sensor::LineSensor;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::publisher::{Load, Publishers};
use crate::harness::readings::counter_of;
use crate::harness::receiver::{Received, Receiver};
use crate::harness::report;
use crate::harness::rig::upstream;
use crate::harness::wire::{Meter, Wire};

const SOON: Duration = Duration::from_secs(20);
const BAUD: u32 = 19_200;

/// The points of `tests/peers/meter.py`: topic, value, unit.
const POINTS: [(&str, &str, &str); 4] = [
    ("plant-7/main-meter/voltage_l1", "230.5", "V"),
    ("plant-7/main-meter/inlet", "-5.5", "°C"),
    ("plant-7/main-meter/relay", "true", ""),
    ("plant-7/main-meter/door", "false", ""),
];

fn meter_config(wire: &Wire) -> String {
    format!(
        r#"
[[bus]]
name = "meters"
protocol = "modbus-rtu"
port = "{}"
baud = {BAUD}
parity = "even"
timeout = "300ms"
[[device]]
name = "main-meter"
bus = "meters"
unit_id = 1
poll = "200ms"
[[device.point]]
name = "voltage_l1"
register = "input:0"
type = "f32"
unit = "V"
[[device.point]]
name = "inlet"
register = "holding:10"
type = "i16"
scale = 0.1
decimals = 1
unit = "°C"
[[device.point]]
name = "relay"
register = "coil:3"
type = "bool"
[[device.point]]
name = "door"
register = "discrete:4"
type = "bool"
"#,
        wire.near.display()
    )
}

#[test]
fn readings_and_clients_messages_reach_local_clients_and_the_upstream() {
    let broker = Mosquitto::start();
    let cloud = Receiver::start(broker.port(), "#");
    let (wire, sensor) = (Wire::new(), LineSensor::start(10));
    let _meter = Meter::start(&wire.far, BAUD);
    let site = Site::new(&[meter_config(&wire), sensor.config(), upstream("cloud", broker.port(), "#")].concat());
    let check = site.run(&["check", &site.config().display().to_string()]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));

    let _gateway = site.start();
    let local = Receiver::start(site.port, "plant-7/#");
    for (who, receiver) in [("a local client", &local), ("the upstream", &cloud)] {
        let complete = receiver.wait_until(SOON, |all| POINTS.iter().all(|(topic, ..)| good(all, topic).is_some()) && counted(all) > 5);
        assert!(complete, "{who} has not received all readings: {:?}\n{}", receiver.all(), site.log_tail());
        for (topic, value, unit) in POINTS {
            check_reading(&good(&receiver.all(), topic).expect("seen above"), value, unit);
        }
    }
    // Somebody who comes later sees the latest of each at once, as retained.
    let late = Receiver::start(site.port, "plant-7/main-meter/#");
    let seen = late.wait_until(SOON, |all| POINTS.iter().all(|(topic, ..)| all.iter().any(|m| m.topic == *topic && m.retain)));
    assert!(seen, "a new subscriber does not see the latest readings: {:?}", late.all());
    assert!(cloud.all().iter().all(|message| !message.retain), "retain is off upward");

    let well = site.run(&["status"]);
    assert_eq!(well.status.code(), Some(0), "{}", String::from_utf8_lossy(&well.stdout));
    report(&format!("main job: {} readings at a local client, {} at the upstream", local.count(), cloud.count()));
}

#[test]
fn what_local_clients_publish_goes_up_unchanged() {
    let broker = Mosquitto::start();
    let cloud = Receiver::start(broker.port(), "#");
    let site = Site::new(&upstream("cloud", broker.port(), "#"));
    let _gateway = site.start();
    let local = Receiver::start(site.port, "#");

    let publishers = Publishers::start(site.port, Load { publishers: 2, rate: 100, window: 20, topic: "paho/{p}/ü" });
    assert!(cloud.wait_for(100, SOON), "{}", site.log_tail());
    let ledger = publishers.finish(SOON);
    for (who, receiver) in [("a local client", &local), ("the upstream", &cloud)] {
        let all = receiver.wait_until(SOON, |all| ledger.judge(all).lost.is_empty());
        assert!(all, "{who} has not received all: {}", ledger.judge(&receiver.all()).line());
        ledger.judge(&receiver.all()).assert_kept(0);
    }
    assert!(cloud.all().iter().all(|message| message.topic == "paho/1/ü" || message.topic == "paho/2/ü"));

    for (qos, retain, topic, payload) in
        [("0", false, "pub/zero", "a b\n\u{1}"), ("1", true, "pub/one/kept", "{\"k\": 1}"), ("1", false, "/pub//", "")]
    {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-p", &site.port.to_string(), "-q", qos, "-t", topic, "-m", payload]).args(retain.then_some("-r"));
        assert!(command.status().expect("the program mosquitto_pub").success(), "{}", site.log_tail());
        let came = |all: &[Received]| all.iter().any(|m| m.topic == topic && m.payload == payload.as_bytes() && !m.retain && m.qos == 1);
        assert!(cloud.wait_until(SOON, came), "{topic} at QoS {qos} has not gone up: {}", site.log_tail());
    }
    let late = Receiver::start(site.port, "pub/#");
    let kept = late.wait_until(SOON, |all| all.iter().any(|m| m.topic == "pub/one/kept" && m.retain && m.text() == "{\"k\": 1}"));
    assert!(kept, "a new subscriber does not see what was retained: {:?}", late.all());
}

/// The first good reading of `topic`.
fn good(all: &[Received], topic: &str) -> Option<Value> {
    let bodies = all.iter().filter(|message| message.topic == topic).map(|message| serde_json::from_slice(&message.payload).expect("JSON"));
    bodies.into_iter().find(|body: &Value| body["q"] == "good")
}

fn counted(all: &[Received]) -> usize {
    all.iter().filter_map(counter_of).count()
}

fn check_reading(body: &Value, value: &str, unit: &str) {
    let value: Value = value.parse().expect("a value of JSON");
    assert_eq!(body["v"], value, "{body}");
    if !unit.is_empty() {
        assert_eq!(body["u"], json!(unit), "{body}");
    }
    // 2026-11-21T14:00:00.000Z
    let time = body["t"].as_str().unwrap_or_default();
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{body}");
}
