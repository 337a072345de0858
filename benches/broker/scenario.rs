//! What is run, for whom, and what is wanted of ours.

use std::time::Duration;

use crate::client::{Feed, Load};
use crate::process::Kind;
use crate::wire::Version;

#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub what: What,
    pub kinds: &'static [Kind],
    pub goal: Goal,
}

#[derive(Debug, Clone, Copy)]
pub enum What {
    /// The figure is CPU time a delivery in µs.
    Load(Load),
    /// The figure is connects a second, by so many clients, each one after another.
    Connects(u32),
    /// The figure is bytes a connection.
    Idle,
    /// The figure is ms from exec.
    FirstConnack,
}

/// What is wanted of our figure. Every row wants more: nothing lost, nothing out of order, at most [`PEAK_KB_MAX`].
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    None,
    AtMost(f64),
    /// So many times Mosquitto's in the same run.
    AtMostTimes(f64),
    /// So many times Mosquitto's in the same run, and p50 no later than Mosquitto's.
    AtMostTimesAndNoLater(f64),
    AtLeastTimes(f64),
}

/// Most memory of ours in any row.
pub const PEAK_KB_MAX: u64 = 16_000;

const ALL: &[Kind] = &Kind::ALL;
/// For what rumqttd does not have at all, or on another port with other code.
const TWO: &[Kind] = &[Kind::Tidegate, Kind::Mosquitto];

const SMALL: usize = 64;
const LARGE: usize = 16 << 10;

const FAN_IN: Load = Load {
    version: Version::V311,
    groups: 1,
    publishers: 10,
    subscribers: 1,
    qos: 0,
    body: SMALL,
    durable: false,
    one_cpu: false,
    feed: Feed::Flat { batch: 50, window: 2_000 },
};
const FAN_OUT: Load = Load { publishers: 1, subscribers: 50, feed: Feed::Flat { batch: 50, window: 1_000 }, ..FAN_IN };
const PAIRS: Load = Load { groups: 50, publishers: 1, qos: 1, feed: Feed::Flat { batch: 50, window: 200 }, ..FAN_IN };
const PACED: Load = Load { groups: 10, feed: Feed::Paced { per_second: 1_000 }, ..PAIRS };
const PACED_5: Load = Load { feed: Feed::Paced { per_second: 5_000 }, ..PACED };
const BULKY: Load = Load { groups: 10, body: LARGE, feed: Feed::Flat { batch: 4, window: 16 }, ..PAIRS };
const ONE: Load = Load { publishers: 1, feed: Feed::Flat { batch: 1, window: 1 }, ..FAN_IN };

const fn load(name: &'static str, load: Load, kinds: &'static [Kind], goal: Goal) -> Scenario {
    Scenario { name, what: What::Load(load), kinds, goal }
}

pub const SCENARIOS: &[Scenario] = &[
    load("fan-in 10 → 1, QoS 0", FAN_IN, ALL, Goal::AtMost(0.25)),
    load("fan-in 10 → 1, QoS 1", Load { qos: 1, ..FAN_IN }, ALL, Goal::AtMost(0.45)),
    load("fan-in 10 → 1, QoS 2", Load { qos: 2, ..FAN_IN }, ALL, Goal::AtMost(0.8)),
    load("fan-in 10 → 1, QoS 1, MQTT 5.0", Load { qos: 1, version: Version::V5, ..FAN_IN }, TWO, Goal::AtMost(0.45)),
    load("fan-out 1 → 50, QoS 0", FAN_OUT, ALL, Goal::AtMost(0.10)),
    load("fan-out 1 → 50, QoS 1", Load { qos: 1, ..FAN_OUT }, ALL, Goal::AtMost(0.25)),
    load("50 pairs, QoS 1", PAIRS, ALL, Goal::AtMost(1.5)),
    load("50 pairs, QoS 1, MQTT 5.0", Load { version: Version::V5, ..PAIRS }, TWO, Goal::AtMost(1.5)),
    load("10 pairs, QoS 1, durable sessions", Load { groups: 10, durable: true, ..PAIRS }, TWO, Goal::None),
    load("paced 1,000/s over 10 pairs, QoS 1", PACED, ALL, Goal::AtMostTimesAndNoLater(0.9)),
    load("paced 5,000/s over 10 pairs, QoS 1", PACED_5, ALL, Goal::AtMostTimes(0.8)),
    load("paced 1,000/s, QoS 1, one CPU for all", Load { one_cpu: true, ..PACED }, ALL, Goal::AtMostTimesAndNoLater(0.9)),
    load("paced 5,000/s, QoS 1, one CPU for all", Load { one_cpu: true, ..PACED_5 }, ALL, Goal::AtMostTimes(0.8)),
    load("16 KiB, 10 pairs, QoS 1", BULKY, ALL, Goal::AtMostTimes(0.48)),
    load("one at a time 1 → 1, QoS 0", ONE, ALL, Goal::None),
    Scenario { name: "connects, one client", what: What::Connects(1), kinds: ALL, goal: Goal::AtLeastTimes(1.1) },
    Scenario { name: "connects, four clients", what: What::Connects(4), kinds: ALL, goal: Goal::AtLeastTimes(1.1) },
    Scenario { name: "idle connection with a subscription", what: What::Idle, kinds: ALL, goal: Goal::AtMost(2_000.0) },
    Scenario { name: "first CONNACK after exec", what: What::FirstConnack, kinds: ALL, goal: Goal::AtMost(15.0) },
];

impl What {
    /// How long one run of it lasts.
    pub const fn duration(self, quick: bool) -> Duration {
        let full = match self {
            Self::Load(Load { feed: Feed::Paced { .. }, .. }) => 4_000,
            _ => 2_000,
        };
        Duration::from_millis(if quick { full / 5 } else { full })
    }

    pub const fn is_on_one_cpu(self) -> bool {
        matches!(self, Self::Load(Load { one_cpu: true, .. }))
    }

    pub const fn is_durable(self) -> bool {
        matches!(self, Self::Load(Load { durable: true, .. }))
    }

    /// Of the figure that counts.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Load(_) => "µs",
            Self::Connects(_) => "/s",
            Self::Idle => "B",
            Self::FirstConnack => "ms",
        }
    }
}
