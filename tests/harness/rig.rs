//! The whole rig of the loss tests: a line sensor at 200 readings/s and five QoS 1 publishers → the gateway → a proxy → Mosquitto, which
//! stays up → `mosquitto_sub`, subscribed throughout. Only the gateway can lose.

use std::process::Command;
use std::time::Duration;

use super::gateway::Site;
use super::ledger::Verdict;
use super::line_sensor::LineSensor;
use super::mosquitto::Mosquitto;
use super::proxy::{Mode, Proxy};
use super::publisher::{Load, Publishers};
use super::readings::{self, Absence, ReadingsVerdict};
use super::receiver::Receiver;
use super::{let_run, wait_until};

/// 5 × 50 messages/s; a publisher's window is the library's default.
pub const LOAD: Load = Load { publishers: 5, rate: 50, window: 20, topic: "pub/{p}" };
const READINGS_PER_SECOND: u32 = 200;
/// For what waits in the store to go up, after the last outage: back-off, then some ten thousand messages at a debug build's speed.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(10);

/// An `[[upstream]]` at `port` of the loopback, with deadlines short enough for a test.
pub fn upstream(name: &str, port: u16, topics: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopics = [\"{topics}\"]\n\
         connect_timeout = \"2s\"\nack_timeout = \"3s\"\nkeep_alive = \"5s\"\n"
    )
}

/// The three ways in which an upstream is away.
pub const AWAY: [Mode; 3] = [Mode::Refusing, Mode::Closed, Mode::Silent];

/// Shuts the proxy in this way.
pub fn shut(proxy: &Proxy, way: Mode) {
    proxy.set(way);
    if way == Mode::Refusing {
        // It lets those stay that are there.
        proxy.cut();
    }
}

/// What is around the gateway.
#[derive(Debug)]
pub struct Rig {
    pub site: Site,
    pub broker: Mosquitto,
    pub proxy: Proxy,
    pub receiver: Receiver,
    pub sensor: LineSensor,
}

impl Rig {
    pub fn new() -> Self {
        let broker = Mosquitto::start();
        let proxy = Proxy::before(broker.port());
        let receiver = Receiver::start(broker.port(), "#");
        let sensor = LineSensor::start(READINGS_PER_SECOND);
        let site = Site::new(&format!("{}{}", sensor.config(), upstream("cloud", proxy.port(), "#")));
        Self { site, broker, proxy, receiver, sensor }
    }

    pub fn publishers(&self) -> Publishers {
        Publishers::start(self.site.port, LOAD)
    }

    /// Waits until the gateway is connected, and then until so many more have gone up.
    pub fn wait_flow(&self, more: usize, within: Duration) {
        wait_until("a connection to the upstream", within, || self.proxy.connections() > 0);
        let before = self.receiver.count();
        wait_until("messages at the upstream", within, || self.receiver.count() >= before + more);
    }

    /// Ends the load, waits until the gateway owes nothing any more, and holds what arrived against what was promised.
    pub fn settle(&self, publishers: Publishers, absences: &[Absence]) -> (Verdict, ReadingsVerdict) {
        let ledger = publishers.finish(DRAINED_WITHIN);
        let readings = self.settle_readings(absences);
        (ledger.judge(&self.receiver.all()), readings)
    }

    /// As [`Rig::settle`], where nobody publishes.
    pub fn settle_readings(&self, absences: &[Absence]) -> ReadingsVerdict {
        self.sensor.stop();
        // The last lines are still on their way in, and count only once they are in.
        let_run(Duration::from_millis(500));
        self.site.status_with("an outbox that owes nothing", DRAINED_WITHIN, |status| (status.outbox.entries == 0).then_some(()));
        mark(self.broker.port(), &self.receiver);
        readings::judge(&self.sensor.emitted(), &self.receiver.all(), absences)
    }
}

/// Sends a message past the gateway and waits for it: what Mosquitto had before has arrived before it.
pub fn mark(port: u16, receiver: &Receiver) {
    let sent = Command::new("mosquitto_pub").args(["-q", "1", "-t", "mark", "-m", "mark", "-p", &port.to_string()]).status();
    assert!(sent.expect("the program mosquitto_pub").success(), "mosquitto_pub failed");
    let arrived = receiver.wait_until(SOON, |all| all.iter().any(|message| message.topic == "mark"));
    assert!(arrived, "what Mosquitto had has not arrived within {SOON:?}");
}
