//! What the simulated devices have in common: curves, noise, and when to end.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::Mono;

/// How often a device looks whether it is to end.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether the devices go on; shared with who ends them.
#[derive(Debug, Clone)]
pub struct Running(Arc<AtomicBool>);

impl Running {
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub fn goes_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Time as the curves count it.
pub fn seconds(at: Mono) -> f64 {
    at.since(Mono::ZERO).as_secs_f64()
}

/// -1 to 1, once around in `period` seconds.
pub fn wave(t: f64, period: f64) -> f64 {
    (t / period * TAU).sin()
}

/// -1 to 1, another number each second and channel, the same for the same ones.
pub fn noise(t: f64, channel: u64) -> f64 {
    // SplitMix64, by Sebastiano Vigna: one round mixes well enough to look at.
    let mut z = (t.max(0.0) as u64).wrapping_mul(31).wrapping_add(channel).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from((z >> 32) as u32) / f64::from(u32::MAX) * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_stays_in_range_and_differs() {
        let all: Vec<f64> = (0..1_000).map(|t| noise(f64::from(t), 1)).collect();
        assert!(all.iter().all(|n| (-1.0..=1.0).contains(n)));
        assert!(all.iter().sum::<f64>().abs() < 100.0, "around zero");
        assert!(noise(5.0, 1) != noise(5.0, 2) && noise(5.0, 1) != noise(6.0, 1) && noise(5.0, 1) == noise(5.9, 1));
    }
}
