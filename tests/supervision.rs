//! The gateway's life under a supervisor: a part that hangs starves the watchdog, one that ends ends the whole, a stop drains.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tidegate::clock;

use crate::harness::gateway::Site;
use crate::harness::line_sensor::LineSensor;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::Mode;
use crate::harness::readings::{Absence, counter_of};
use crate::harness::rig::{Rig, upstream};
use crate::harness::{alone, has_faults, let_run, report, wait_until};

/// Every part that the watchdog looks after.
const PARTS: [&str; 5] = ["bus", "broker", "outbox", "store", "bridge"];
const WATCHDOG: Duration = Duration::from_secs(2);
/// What systemd would wait for a stop, and the drain's limit.
const DRAIN: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(20);

/// A site in which every part has something to do.
struct Plant {
    site: Site,
    _broker: Mosquitto,
    _sensor: LineSensor,
}

fn plant() -> Plant {
    let broker = Mosquitto::start();
    let sensor = LineSensor::start(20);
    let site = Site::new(&format!("{}{}", sensor.config(), upstream("cloud", broker.port(), "#")));
    Plant { site, _broker: broker, _sensor: sensor }
}

/// `WATCHDOG=1` in two periods, after a first one in which the fault sets in.
fn beats(fault: Option<&str>) -> usize {
    let plant = plant();
    let launch = fault.map_or(plant.site.launch(), |fault| plant.site.launch().fault(fault)).watchdog(WATCHDOG);
    let gateway = launch.start_unready();
    let_run(WATCHDOG);
    let from = clock::mono();
    let_run(WATCHDOG * 2);
    gateway.watchdog_beats().iter().filter(|at| **at >= from).count()
}

#[test]
fn a_healthy_gateway_feeds_the_watchdog() {
    let _alone = alone();
    let beats = beats(None);
    report(&format!("supervision: no part hangs: {beats} × WATCHDOG=1 in 2 periods"));
    assert!(beats >= 2, "{beats} beats in 2 periods");
}

#[test]
fn a_part_that_hangs_starves_the_watchdog() {
    if !has_faults("supervision") {
        return;
    }
    let _alone = alone();
    for part in PARTS {
        let beats = beats(Some(&format!("hang:{part}")));
        report(&format!("supervision: hang:{part}: {beats} × WATCHDOG=1 in 2 periods"));
        assert_eq!(beats, 0, "hang:{part}");
    }
}

#[test]
fn a_part_that_ends_ends_the_whole() {
    if !has_faults("supervision") {
        return;
    }
    let _alone = alone();
    for part in PARTS {
        let plant = plant();
        let mut gateway = plant.site.launch().fault(&format!("end:{part}")).start_unready();
        let status = gateway.wait_exit();
        report(&format!("supervision: end:{part}: drained {}, {status}", gateway.is_stopping()));
        assert!(gateway.is_stopping(), "end:{part}: no STOPPING=1, so no drain");
        assert!(status.code().is_some_and(|code| code != 0), "end:{part}: {status}\n{}", plant.site.log_tail());
    }
}

#[test]
fn a_stop_drains_what_was_read_and_acknowledged() {
    let _alone = alone();
    let rig = Rig::new();
    rig.proxy.set(Mode::Closed);
    let gateway = rig.site.start();
    let unread = Absence::until(clock::mono());
    let publishers = rig.publishers();
    let since = clock::mono();
    wait_until("acknowledgements", SOON, || publishers.acked_between(since, clock::mono()) >= 100);
    let stopped = clock::mono();
    let (status, took) = gateway.terminate();
    report(&format!("supervision: SIGTERM under load: {status} after {took:?}"));
    assert_eq!(status.code(), Some(0), "{}", rig.site.log_tail());
    assert!(took <= DRAIN, "the drain took {took:?}");

    let _again = rig.site.start();
    rig.proxy.set(Mode::Open);
    let (verdict, readings) = rig.settle(publishers, &[unread, Absence { killed: stopped, ready: clock::mono() }]);
    report(&format!("supervision: SIGTERM under load: {}", verdict.line()));
    report(&format!("supervision: SIGTERM under load: {}", readings.line()));
    verdict.assert_kept(0);
    // What was read before the stop is written by it; what the sensor sent while it went on has no reader.
    readings.assert_kept(Duration::ZERO);
    assert!(rig.receiver.all().iter().any(|message| counter_of(message).is_some()));
}

#[test]
fn a_second_instance_is_told_who_holds_the_store() {
    let site = Site::new("");
    let first = site.start();
    // Another address, so that it is the store over which they meet.
    let other = Site::new("");
    let text = std::fs::read_to_string(other.config()).expect("the site's file");
    let same_store = text.replace(&other.store().display().to_string(), &site.store().display().to_string());
    std::fs::write(other.config(), same_store).expect("the site's file");
    let second = other.run(&["run", "--config", &other.config().display().to_string()]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains(&first.pid().to_string()), "it does not say that process {} holds the store: {said}", first.pid());
    let (status, _) = first.terminate();
    assert_eq!(status.code(), Some(0), "the first instance is not disturbed");
}

#[test]
fn a_broken_configuration_ends_run_and_check() {
    let site = Site::new("[[bus]]\nname = \"meters\"\nprotokol = \"modbus-rtu\"\n");
    for command in [&["run", "--config"][..], &["check"][..]] {
        let config = site.config().display().to_string();
        let ended = site.run(&[command, &[config.as_str()]].concat());
        let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(2), "{command:?}: {said}");
        for hint in ["protokol", "protocol", "tidegate.toml:9:1"] {
            assert!(said.contains(hint), "{command:?} does not say {hint:?}: {said}");
        }
    }
}

#[test]
fn status_says_by_its_exit_code_whether_all_is_well() {
    let broker = Mosquitto::start();
    let dead = format!(
        "[[bus]]\nname = \"line\"\nprotocol = \"serial\"\nport = \"{}\"\nbaud = 9600\nframe = {{ delimiter = \"\\n\", max_length = 64 }}\n",
        "/dev/absent"
    );
    let site = Site::new(&upstream("cloud", broker.port(), "#"));
    let nobody = site.tidegate(&["status"]).stdin(Stdio::null()).output().expect("the binary runs");
    assert!(!nobody.status.success(), "no gateway runs, and that is not well");

    let gateway = site.start();
    site.status_with("a status that is well", SOON, |status| status.ok.then_some(()));
    let well = site.run(&["status"]);
    assert_eq!(well.status.code(), Some(0), "{}", String::from_utf8_lossy(&well.stdout));
    let (status, _) = gateway.terminate();
    assert_eq!(status.code(), Some(0));

    site.rewrite(&dead);
    let _gateway = site.start();
    site.status_with("a status that is not well", SOON, |status| (!status.ok).then_some(()));
    let ill = site.run(&["status"]);
    assert_eq!(ill.status.code(), Some(1), "{}", String::from_utf8_lossy(&ill.stdout));
    let json: Value = serde_json::from_slice(&site.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(json["buses"][0]["open"], Value::Bool(false));
}
