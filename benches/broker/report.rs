//! Samples → the table.

use crate::process::Kind;
use crate::scenario::{Goal, PEAK_KB_MAX, Scenario, What};

/// What one run of one broker came to; or, by [`median`], all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// The scenario's own; see [`What`].
    pub figure: f64,
    /// CPU time of the broker a delivery, in µs.
    pub cpu_us: f64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// The most memory that the process ever held, in kB.
    pub peak_kb: u64,
    pub lost: u64,
    pub disordered: u64,
}

/// A broker's result in a scenario, or why there is none.
pub type Outcome = Result<Sample, String>;

#[derive(Debug)]
pub struct Row {
    pub scenario: Scenario,
    pub results: Vec<(Kind, Outcome)>,
}

/// Each column's median by itself; the most memory, and all that went wrong in any run.
pub fn median(samples: &[Sample]) -> Sample {
    let middle = |of: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Sample {
        figure: middle(|s| s.figure),
        cpu_us: middle(|s| s.cpu_us),
        per_second: middle(|s| s.per_second),
        p50_us: middle(|s| s.p50_us),
        p99_us: middle(|s| s.p99_us),
        peak_kb: samples.iter().map(|s| s.peak_kb).max().unwrap_or_default(),
        lost: samples.iter().map(|s| s.lost).sum(),
        disordered: samples.iter().map(|s| s.disordered).sum(),
    }
}

pub fn print_head() {
    println!("| Scenario | Broker | CPU µs | a second | p50 µs | p99 µs | peak RSS MB | lost | out of order | Goal |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|---|");
}

impl Row {
    pub fn print(&self) {
        for (kind, result) in &self.results {
            let (name, broker) = (self.scenario.name, kind.name());
            match result {
                Ok(sample) => println!("| {name} | {broker} | {} | {} |", self.columns(sample), self.verdict_on(*kind)),
                Err(why) => println!("| {name} | {broker} | {why} | | | | | | | {} |", self.verdict_on(*kind)),
            }
        }
    }

    pub fn sample(&self, kind: Kind) -> Option<&Sample> {
        self.results.iter().find(|(k, _)| *k == kind).and_then(|(_, result)| result.as_ref().ok())
    }

    /// Ours ran, and lost or disordered something.
    pub fn went_wrong(&self) -> bool {
        self.sample(Kind::Tidegate).is_some_and(|s| s.lost + s.disordered > 0)
    }

    fn columns(&self, s: &Sample) -> String {
        let peak = s.peak_kb as f64 / 1e3;
        match self.scenario.what {
            What::Load(_) | What::Connects(_) => format!(
                "{} | {} | {:.0} | {:.0} | {peak:.1} | {} | {}",
                short(s.cpu_us),
                thousands(s.per_second),
                s.p50_us,
                s.p99_us,
                s.lost,
                s.disordered
            ),
            What::Idle => format!("**{} B** a connection | | | | {peak:.1} | |", thousands(s.figure)),
            What::FirstConnack => format!("**{:.1} ms** | | | | {peak:.1} | |", s.figure),
        }
    }

    fn verdict_on(&self, kind: Kind) -> String {
        match (kind, self.verdict()) {
            (Kind::Tidegate, Some((goal, true))) => format!("{goal}: reached"),
            (Kind::Tidegate, Some((goal, false))) => format!("{goal}: **not reached**"),
            _ => String::new(),
        }
    }

    /// The goal in words, and whether it was reached; none where there is no goal or nothing to judge.
    pub fn verdict(&self) -> Option<(String, bool)> {
        let ours = self.sample(Kind::Tidegate)?;
        let theirs = self.sample(Kind::Mosquitto);
        let unit = self.scenario.what.unit();
        let sound = ours.lost + ours.disordered == 0 && ours.peak_kb <= PEAK_KB_MAX;
        let ratio = |theirs: &Sample| ours.figure / theirs.figure;
        let (goal, reached) = match self.scenario.goal {
            Goal::None => return (!sound).then(|| ("nothing lost, ≤ 16 MB".into(), false)),
            Goal::AtMost(most) => (format!("≤ {} {unit}", short(most)), ours.figure <= most),
            Goal::AtMostTimes(times) => {
                let ratio = ratio(theirs?);
                (format!("≤ {times} × Mosquitto's ({ratio:.2})"), ratio <= times)
            }
            Goal::AtMostTimesAndNoLater(times) => {
                let (ratio, later) = (ratio(theirs?), ours.p50_us / theirs?.p50_us);
                (format!("CPU ≤ {times} × ({ratio:.2}), p50 ≤ 1.0 × ({later:.2}) Mosquitto's"), ratio <= times && later <= 1.0)
            }
            Goal::AtLeastTimes(times) => {
                let ratio = ratio(theirs?);
                (format!("≥ {times} × Mosquitto's ({ratio:.2})"), ratio >= times)
            }
        };
        Some((goal, reached && sound))
    }
}

/// Two significant digits or more.
pub fn short(value: f64) -> String {
    match value {
        v if v < 0.1 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 1_000.0 => format!("{v:.1}"),
        v => thousands(v),
    }
}

pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
