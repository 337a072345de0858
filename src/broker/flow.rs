//! How long a receiver that does not keep up may slow those who feed it.

use std::time::Duration;

use crate::model::Mono;

/// Bytes waiting for one receiver above which it is slow.
pub(super) const SLOW_AT: usize = 256 << 10;

/// Below it, it is slow no longer.
pub(super) const EASY_AT: usize = SLOW_AT / 2;

/// Of each [`WINDOW`], the time that one receiver may hold up its feeders. Without a bound one subscriber that never reads stops the broker
/// for ever; without any pause a burst of a fast publisher is dropped that the receiver would have taken a moment later.
const ALLOWANCE: Duration = Duration::from_millis(100);

const WINDOW: Duration = Duration::from_secs(1);

/// The account of one receiver, or of one who feeds such.
#[derive(Debug, Default)]
pub(super) struct Slow {
    window: Mono,
    used: Duration,
    since: Option<Mono>,
}

impl Slow {
    /// The receiver is slow. Until when its feeders may be paused; `None` when it has used up its time.
    pub(super) fn press(&mut self, now: Mono) -> Option<Mono> {
        if now.since(self.window) >= WINDOW {
            *self = Self { window: now, used: Duration::ZERO, since: Some(now) };
        }
        let since = *self.since.get_or_insert(now);
        let left = ALLOWANCE.checked_sub(self.used + now.since(since)).filter(|left| !left.is_zero())?;
        Some(now + left)
    }

    /// It is slow no longer. True if it was.
    pub(super) fn ease(&mut self, now: Mono) -> bool {
        let Some(since) = self.since.take() else { return false };
        self.used += now.since(since);
        true
    }

    pub(super) const fn is_slow(&self) -> bool {
        self.since.is_some()
    }
}

/// Between two looks at clients that wait for their pace, so that those who wait are not woken one by one.
const PACE_STEP: Duration = Duration::from_millis(50);

/// How far a client that may publish so often a second is ahead of that: to which moment what it has published would have taken it. It may be a
/// second ahead.
#[derive(Debug, Default)]
pub(super) struct Pace(Mono);

impl Pace {
    /// One more. When it may be, if not now. `rate`: a second; not 0.
    pub(super) fn step(&mut self, rate: u32, now: Mono) -> Option<Mono> {
        let one = WINDOW / rate.max(1);
        let at = self.0.max(now);
        let ahead = at.since(now) + one;
        if ahead > WINDOW.max(one) {
            return Some(now + (ahead - WINDOW.max(one)).max(PACE_STEP));
        }
        self.0 = at + one;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many at once as a second has, then as many a second.
    #[test]
    fn a_client_publishes_no_faster_than_it_may() {
        for (rate, first, all) in [(1, 1, 11), (10, 10, 110), (1_000, 1_000, 11_000), (1_000_000, 1_000_000, 11_000_000)] {
            let (mut pace, mut now) = (Pace::default(), Mono::from_millis(5_000));
            let mut taken = 0;
            while now < Mono::from_millis(15_000) {
                let until = loop {
                    match pace.step(rate, now) {
                        None => taken += 1,
                        Some(until) => break until,
                    }
                };
                if now == Mono::from_millis(5_000) {
                    assert_eq!(taken, first, "{rate} at once");
                }
                assert!(until > now, "{rate}");
                now = until;
            }
            assert!(taken <= all && taken > all / 11 * 10 - 2, "{taken} in ten seconds at {rate}");
        }
    }

    #[test]
    fn a_slow_receiver_holds_its_feeders_a_tenth_of_the_time() {
        let mut slow = Slow::default();
        let mut paused = 0;
        for ms in 5_000..15_000 {
            if slow.press(Mono::from_millis(ms)).is_some() {
                paused += 1;
            }
        }
        assert_eq!(paused, 1_000, "of 10,000 ms");
        assert!(slow.ease(Mono::from_millis(15_000)));
        assert!(!slow.ease(Mono::from_millis(15_000)));
    }

    #[test]
    fn time_between_two_slow_spells_does_not_count() {
        let mut slow = Slow::default();
        assert_eq!(slow.press(Mono::from_millis(5_000)), Some(Mono::from_millis(5_100)));
        slow.ease(Mono::from_millis(5_060));
        assert_eq!(slow.press(Mono::from_millis(5_500)), Some(Mono::from_millis(5_540)));
        assert_eq!(slow.press(Mono::from_millis(5_540)), None);
        assert_eq!(slow.press(Mono::from_millis(6_000)), Some(Mono::from_millis(6_100)));
    }
}
