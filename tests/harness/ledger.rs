//! What publishers sent and saw acknowledged, held against what arrived.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tidegate::model::Mono;

use super::receiver::Received;

/// A message by its publisher and its number, from 1.
pub type Name = (u32, u64);

/// The publishers' side.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// When it was sent for the first time.
    pub sent: BTreeMap<Name, Mono>,
    /// When its PUBACK came.
    pub acked: BTreeMap<Name, Mono>,
    /// How often publishers sent something again.
    pub resends: usize,
}

impl Ledger {
    /// Takes in a line of `tests/peers/publisher.py`.
    pub fn add(&mut self, line: &str, mono_of: impl Fn(u64) -> Mono) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, publisher, n, at] = fields[..] else { panic!("no line of a ledger: {line:?}") };
        let name = (publisher.parse().expect("a number"), n.parse().expect("a number"));
        let at = mono_of(at.parse().expect("a number"));
        match kind {
            "s" => drop(self.sent.insert(name, at)),
            "a" => drop(self.acked.insert(name, at)),
            "r" => self.resends += 1,
            _ => panic!("no line of a ledger: {line:?}"),
        }
    }

    /// From a message's first sending to its PUBACK, for those sent in `from ..= to`, in rising order.
    pub fn ack_times(&self, from: Mono, to: Mono) -> Vec<Duration> {
        let sent = self.sent.iter().filter(|(_, at)| from <= **at && **at <= to);
        // What never was acknowledged counts as what it is: very late.
        let mut times: Vec<Duration> =
            sent.map(|(name, at)| self.acked.get(name).map_or(Duration::MAX, |acked| acked.since(*at))).collect();
        times.sort_unstable();
        times
    }

    /// From a message's first sending to its first arrival, for those sent in `from ..= to`, in rising order.
    pub fn travel_times(&self, received: &[Received], from: Mono, to: Mono) -> Vec<Duration> {
        let mut first: HashMap<Name, Mono> = HashMap::new();
        for message in received {
            if let Some(name) = name_of(message) {
                first.entry(name).or_insert(message.at);
            }
        }
        let sent = self.sent.iter().filter(|(_, at)| from <= **at && **at <= to);
        let mut times: Vec<Duration> = sent.map(|(name, at)| first.get(name).map_or(Duration::MAX, |came| came.since(*at))).collect();
        times.sort_unstable();
        times
    }

    /// Holds what arrived against this ledger.
    pub fn judge(&self, received: &[Received]) -> Verdict {
        let mut verdict = Verdict { sent: self.sent.len(), acked: self.acked.len(), resends: self.resends, ..Verdict::default() };
        let mut seen: HashSet<Name> = HashSet::new();
        let mut newest: HashMap<u32, u64> = HashMap::new();
        for name in received.iter().filter_map(name_of) {
            if !self.sent.contains_key(&name) {
                verdict.invented.push(name);
            } else if !seen.insert(name) {
                verdict.duplicates += 1;
            } else {
                let newest = newest.entry(name.0).or_default();
                if name.1 < *newest {
                    verdict.out_of_order.push(name);
                }
                *newest = (*newest).max(name.1);
            }
        }
        verdict.delivered = seen.len();
        verdict.lost = self.acked.keys().filter(|name| !seen.contains(name)).copied().collect();
        verdict
    }
}

/// The message that a payload "publisher n" names; `None` for readings and others.
pub fn name_of(message: &Received) -> Option<Name> {
    let text = std::str::from_utf8(&message.payload).ok()?;
    let (publisher, n) = text.split_once(' ')?;
    Some((publisher.parse().ok()?, n.parse().ok()?))
}

/// The value under `percent` of the sorted `times`.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let last = times.len().checked_sub(1).expect("nothing was measured");
    times[(times.len() * percent / 100).min(last)]
}

/// What became of the promises.
#[derive(Debug, Default)]
pub struct Verdict {
    pub sent: usize,
    pub acked: usize,
    /// Different messages that arrived.
    pub delivered: usize,
    /// Acknowledged, and never arrived.
    pub lost: Vec<Name>,
    /// Arrived, and never sent.
    pub invented: Vec<Name>,
    /// Arrived for the first time after a later one of the same publisher.
    pub out_of_order: Vec<Name>,
    pub duplicates: usize,
    pub resends: usize,
}

impl Verdict {
    pub fn line(&self) -> String {
        format!(
            "sent {}, acked {}, delivered {}, LOST {}, invented {}, out of order {}, duplicates {} (the publishers sent {} again)",
            self.sent,
            self.acked,
            self.delivered,
            self.lost.len(),
            self.invented.len(),
            self.out_of_order.len(),
            self.duplicates,
            self.resends
        )
    }

    /// Panics unless all that was acknowledged arrived, in order, nothing else did, and not more than `duplicates_max` twice,
    /// beside what the publishers themselves sent again.
    pub fn assert_kept(&self, duplicates_max: usize) {
        let first = |names: &[Name]| names.iter().take(10).copied().collect::<Vec<_>>();
        assert!(self.acked > 0, "nothing was acknowledged: {}", self.line());
        assert!(self.lost.is_empty(), "lost: {:?} ...; {}", first(&self.lost), self.line());
        assert!(self.invented.is_empty(), "invented: {:?} ...; {}", first(&self.invented), self.line());
        assert!(self.out_of_order.is_empty(), "out of order: {:?} ...; {}", first(&self.out_of_order), self.line());
        let bound = duplicates_max + self.resends;
        assert!(self.duplicates <= bound, "more than {bound} duplicates: {}", self.line());
    }
}
