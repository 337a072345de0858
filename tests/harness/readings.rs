//! What a [`super::line_sensor::LineSensor`] sent, held against the readings that arrived.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use tidegate::model::Mono;

use super::receiver::Received;

/// The port is opened, and what waited in it thrown away, a moment before or after the gateway says that it is ready.
const PORT_OPENS_WITHIN: Duration = Duration::from_secs(1);

/// A gateway that was not there: killed, and ready again.
#[derive(Debug, Clone, Copy)]
pub struct Absence {
    pub killed: Mono,
    pub ready: Mono,
}

impl Absence {
    /// Before the first start.
    pub fn until(ready: Mono) -> Self {
        Self { killed: Mono::ZERO, ready }
    }
}

#[derive(Debug, Default)]
pub struct ReadingsVerdict {
    pub emitted: usize,
    /// Different readings that arrived.
    pub delivered: usize,
    /// For each absence, how long before the kill the oldest reading was sent that never arrived.
    pub gaps: Vec<Duration>,
    /// Sent to a gateway that was not killed after it, and never arrived.
    pub lost: Vec<u64>,
    pub invented: Vec<u64>,
    pub out_of_order: Vec<u64>,
    pub duplicates: usize,
}

/// The counter that a message of topic `plant-7/sensor/count` carries; `None` for others and for failed readings.
pub fn counter_of(message: &Received) -> Option<u64> {
    if message.topic != "plant-7/sensor/count" {
        return None;
    }
    let body: Value = serde_json::from_slice(&message.payload).unwrap_or_else(|e| panic!("no JSON ({e}): {:?}", message.text()));
    match &body["v"] {
        Value::Null => None,
        Value::Number(n) => n.as_f64().map(|n| n as u64),
        other => panic!("the sensor counts, and this is {other}"),
    }
}

/// Holds what arrived against what was sent, in the presence of `absences`, oldest first.
pub fn judge(emitted: &BTreeMap<u64, Mono>, received: &[Received], absences: &[Absence]) -> ReadingsVerdict {
    let mut verdict = ReadingsVerdict { emitted: emitted.len(), gaps: vec![Duration::ZERO; absences.len()], ..ReadingsVerdict::default() };
    let mut seen = HashSet::new();
    let mut newest = 0;
    for n in received.iter().filter_map(counter_of) {
        if !emitted.contains_key(&n) {
            verdict.invented.push(n);
        } else if !seen.insert(n) {
            verdict.duplicates += 1;
        } else {
            if n < newest {
                verdict.out_of_order.push(n);
            }
            newest = newest.max(n);
        }
    }
    verdict.delivered = seen.len();
    for (n, at) in emitted.iter().filter(|(n, _)| !seen.contains(n)) {
        match absences.iter().position(|absence| *at <= absence.ready + PORT_OPENS_WITHIN) {
            Some(i) => verdict.gaps[i] = verdict.gaps[i].max(absences[i].killed.since(*at)),
            None => verdict.lost.push(*n),
        }
    }
    verdict
}

impl ReadingsVerdict {
    pub fn worst_gap(&self) -> Duration {
        self.gaps.iter().max().copied().unwrap_or_default()
    }

    pub fn line(&self) -> String {
        format!(
            "readings sent {}, delivered {}, worst gap before a kill {:.3} s, LOST otherwise {}, invented {}, out of order {}, duplicates {}",
            self.emitted,
            self.delivered,
            self.worst_gap().as_secs_f64(),
            self.lost.len(),
            self.invented.len(),
            self.out_of_order.len(),
            self.duplicates
        )
    }

    /// Panics unless all arrived in order, but for at most `gap_max` before each kill.
    pub fn assert_kept(&self, gap_max: Duration) {
        assert!(self.delivered > 0, "no reading arrived: {}", self.line());
        assert!(self.lost.is_empty(), "lost: {:?} ...; {}", self.lost.iter().take(10).collect::<Vec<_>>(), self.line());
        assert!(self.invented.is_empty(), "invented: {:?}; {}", self.invented.iter().take(10).collect::<Vec<_>>(), self.line());
        assert!(self.out_of_order.is_empty(), "out of order: {:?}; {}", self.out_of_order.iter().take(10).collect::<Vec<_>>(), self.line());
        assert!(self.worst_gap() <= gap_max, "a gap above {gap_max:?}: {:?}; {}", self.gaps, self.line());
    }
}
