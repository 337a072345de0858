//! Random choices that a seed repeats.

use super::report;

/// SplitMix64: enough for choices of a test, and the same everywhere.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `SEED`, or from the clock; the seed is printed.
    pub fn of(test: &str) -> Self {
        let seed = std::env::var("SEED")
            .ok()
            .map_or_else(|| u64::from_ne_bytes(tidegate::clock::wall().0.to_ne_bytes()), |text| text.parse().expect("SEED is a number"));
        report(&format!("{test}: SEED={seed}"));
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `low ..= high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}
