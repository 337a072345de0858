//! How long to wait before the next try. Sans-I/O: the caller brings the seed and the clock.

use std::time::Duration;

/// Doubles from `min` to `max`, and takes a random point in the upper half of each step (never below `min`), so that the gateways of a
/// whole fleet do not come back to a broker at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
    random: u64,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        let mut new = Self { min, max: max.max(min), step: Duration::ZERO, random: seed };
        new.reset();
        new
    }

    /// The wait before the next try, and makes the one after it longer.
    pub fn next(&mut self) -> Duration {
        let low = (self.step / 2).max(self.min);
        let wait = low + (self.step.saturating_sub(low)).mul_f64(self.unit());
        self.step = (self.step * 2).min(self.max);
        wait
    }

    /// As [`Backoff::next`], but a wait of the longest step.
    pub fn longest_next(&mut self) -> Duration {
        self.step = self.max;
        self.next()
    }

    /// The upstream has proved good.
    pub fn reset(&mut self) {
        self.step = (self.min * 2).min(self.max);
    }

    /// The longest wait.
    pub const fn longest(&self) -> Duration {
        self.max
    }

    /// A number in 0..1 (splitmix64).
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_wait_is_within_its_step_and_the_last_step_repeats() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(SECOND, 15 * SECOND, seed);
            for (low, high) in [(1, 2), (2, 4), (4, 8), (7, 15), (7, 15), (7, 15)] {
                let wait = backoff.next();
                assert!(low * SECOND <= wait && wait <= high * SECOND, "seed {seed}: {wait:?} is not in {low}..{high} s");
            }
            backoff.reset();
            assert!(backoff.next() <= 2 * SECOND);
        }
    }

    #[test]
    fn two_gateways_wait_differently() {
        let waits = |seed| {
            let mut backoff = Backoff::new(SECOND, 15 * SECOND, seed);
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
