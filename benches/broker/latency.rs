//! A histogram of durations: 16 steps a doubling, so that a figure is within 7 % of the truth.

const STEPS: usize = 16;

#[derive(Debug, Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    all: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; 64 * STEPS], all: 0 }
    }
}

impl Latencies {
    pub fn add(&mut self, nanos: u64) {
        self.counts[step(nanos)] += 1;
        self.all += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, more)| *own += more);
        self.all += other.all;
    }

    /// In µs; 0 if nothing was added.
    pub fn percentile(&self, percent: u64) -> f64 {
        let mut left = (self.all * percent).div_ceil(100);
        for (step, count) in self.counts.iter().enumerate() {
            if left <= *count && *count > 0 {
                return middle(step) / 1e3;
            }
            left -= count;
        }
        0.0
    }
}

fn step(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let doubling = nanos.ilog2() as usize;
    (doubling - 3) * STEPS + ((nanos >> (doubling - 4)) as usize & (STEPS - 1))
}

/// The middle of a step, in ns.
fn middle(step: usize) -> f64 {
    if step < STEPS {
        return step as f64;
    }
    let width = (1u64 << (step / STEPS - 1)) as f64;
    ((STEPS + step % STEPS) as f64 + 0.5) * width
}
