//! systemd's notification protocol (sd_notify(3)), and when the watchdog is fed.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::stats::Heartbeat;

/// Longest time between two beats of an idle part where no watchdog sets a pace.
const IDLE_BEAT_MAX: Duration = Duration::from_secs(5);
const IDLE_BEAT_MIN: Duration = Duration::from_millis(20);
/// Checks of all heartbeats in one watchdog period: one may fail (an SD card stalls an fsync for seconds) without a restart.
const CHECKS_A_PERIOD: u32 = 4;
/// Beats of an idle part in one check.
const BEATS_A_CHECK: u32 = 4;
/// Least beats in one check that count as progress: a part that hangs in its first turn has beaten once.
const PROGRESS_BEATS: u64 = 2;

/// The watchdog's period, if systemd (or a test in its place) keeps one on this process.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// How often a part has to beat, given the watchdog's period.
pub fn beat_interval(period: Option<Duration>) -> Duration {
    period.map_or(IDLE_BEAT_MAX, |p| (p / (CHECKS_A_PERIOD * BEATS_A_CHECK)).clamp(IDLE_BEAT_MIN, IDLE_BEAT_MAX))
}

/// How often [`Watchdog::check`] wants to be called.
pub fn check_interval(period: Duration) -> Duration {
    period / CHECKS_A_PERIOD
}

pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

pub fn feed_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}

/// Decides whether the watchdog may be fed. Pure: it reads only the parts' counts.
#[derive(Debug)]
pub struct Watchdog {
    parts: Vec<(Heartbeat, u64)>,
    stalled: bool,
}

impl Watchdog {
    pub fn new(parts: Vec<Heartbeat>) -> Self {
        Self { parts: parts.into_iter().map(|part| (part.clone(), part.beats())).collect(), stalled: false }
    }

    /// Whether every part made progress since the last check. Says once which part does not, and once that all do again.
    pub fn check(&mut self) -> bool {
        let mut stalled = Vec::new();
        for (part, seen) in &mut self.parts {
            let beats = part.beats();
            if beats - *seen < PROGRESS_BEATS {
                stalled.push(part.part().to_owned());
            }
            *seen = beats;
        }
        if stalled.is_empty() != self.stalled {
            return stalled.is_empty();
        }
        self.stalled = !stalled.is_empty();
        if self.stalled {
            tracing::error!(parts = stalled.join(","), "no progress: the watchdog is not fed");
        } else {
            tracing::info!("all parts make progress again");
        }
        !self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_only_while_every_part_beats() {
        let beat = |part: &Heartbeat, times| (0..times).for_each(|_| part.beat());
        let (a, b) = (Heartbeat::new("a", Duration::ZERO), Heartbeat::new("b", Duration::ZERO));
        let mut watchdog = Watchdog::new(vec![a.clone(), b.clone()]);
        for (beats_a, beats_b, fed) in
            [(2, 2, true), (9, 1, false), (9, 0, false), (0, 0, false), (4, 4, true), (2, 0, false), (2, 2, true)]
        {
            beat(&a, beats_a);
            beat(&b, beats_b);
            assert_eq!(watchdog.check(), fed, "a {beats_a}, b {beats_b}");
        }
    }

    #[test]
    fn a_part_beats_often_enough_for_every_check() {
        for (period, want) in [(None, 5_000), (Some(60_000), 3_750), (Some(2_000), 125), (Some(1), 20), (Some(600_000), 5_000)] {
            assert_eq!(beat_interval(period.map(Duration::from_millis)), Duration::from_millis(want), "{period:?} ms");
        }
    }
}
