//! Time over restarts (outbox.md 17). A clock of one run means nothing in the next, so what expires is kept as "so much was left at this
//! moment", and a moment as "so long after this boot of the machine". Pure.
//!
//! Time with power counts always, time without power only where the clock was synchronised in the boots at both of its ends.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Mono, Now};

/// One boot of the machine, as far as a run of ours saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Rising in one file, from 1.
    pub n: u32,
    /// The kernel's.
    pub id: Arc<str>,
    /// Wall-clock time when it began, in milliseconds: when the clock was last seen synchronised, or else last seen.
    pub began: i64,
    /// The clock was seen synchronised.
    pub trusted: bool,
    /// The machine ran at least so long.
    pub last_ms: u64,
}

/// A moment of the machine's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// [`Boot::n`].
    pub boot: u32,
    /// Since it began.
    pub ms: u64,
}

/// What the system says of the time at the start of a run.
#[derive(Debug, Clone)]
pub struct Moment {
    pub now: Now,
    pub boot: Arc<str>,
    pub since_boot: Duration,
    /// The wall clock is synchronised now.
    pub trusted: bool,
}

/// The boots that a file knows; the last of them is this one.
#[derive(Debug, Clone, Default)]
pub struct Times {
    boots: Vec<Boot>,
    /// Milliseconds since this boot at [`Mono::ZERO`].
    zero_ms: i64,
}

impl Times {
    /// `known` rises in [`Boot::n`]. The boot of `moment` is taken up if it is none of them.
    pub fn new(known: Vec<Boot>, moment: &Moment) -> Self {
        let since = millis(moment.since_boot);
        let mut times = Self { boots: known, zero_ms: since as i64 - millis_of(moment.now.mono) as i64 };
        if times.boots.last().is_none_or(|boot| boot.id != moment.boot) {
            let n = times.boots.last().map_or(1, |boot| boot.n.saturating_add(1));
            let began = moment.now.wall.0.saturating_sub(since as i64);
            times.boots.push(Boot { n, id: moment.boot.clone(), began, trusted: false, last_ms: since });
        }
        times.look(moment.now, moment.trusted);
        times
    }

    /// This boot, as its row is to be.
    pub fn boot(&self) -> Option<&Boot> {
        self.boots.last()
    }

    /// Takes note of the clocks.
    pub fn look(&mut self, now: Now, trusted: bool) {
        let since = self.stamp(now.mono).ms;
        let Some(boot) = self.boots.last_mut() else { return };
        boot.last_ms = boot.last_ms.max(since);
        if trusted || !boot.trusted {
            boot.began = now.wall.0.saturating_sub(since as i64);
            boot.trusted = trusted;
        }
    }

    pub fn stamp(&self, at: Mono) -> Stamp {
        let ms = self.zero_ms.saturating_add(millis_of(at) as i64);
        Stamp { boot: self.boot().map_or(0, |boot| boot.n), ms: u64::try_from(ms).unwrap_or(0) }
    }

    /// Milliseconds from `from` to `to` that count.
    pub fn elapsed(&self, from: Stamp, to: Stamp) -> u64 {
        if from.boot == to.boot {
            return to.ms.saturating_sub(from.ms);
        }
        let between = self.boots.iter().filter(|boot| from.boot <= boot.n && boot.n < to.boot);
        let with_power = between.map(|boot| boot.last_ms.saturating_sub(if boot.n == from.boot { from.ms } else { 0 }));
        let with_power = with_power.fold(to.ms, u64::saturating_add);
        let trusted = |n| self.boots.iter().find(|boot| boot.n == n && boot.trusted);
        let (Some(one), Some(other)) = (trusted(from.boot), trusted(to.boot)) else { return with_power };
        let by_wall = (other.began.saturating_add_unsigned(to.ms)).saturating_sub(one.began.saturating_add_unsigned(from.ms));
        with_power.max(u64::try_from(by_wall).unwrap_or(0))
    }
}

/// What turns points in time into what is left of them, and back.
#[derive(Debug, Clone, Copy)]
pub struct When<'a> {
    pub times: &'a Times,
    pub now: Mono,
}

impl When<'_> {
    pub fn stamp(self) -> Stamp {
        self.times.stamp(self.now)
    }

    /// Milliseconds from now to `expires`.
    pub const fn left(self, expires: Mono) -> u64 {
        millis(expires.since(self.now))
    }

    /// Of `left_ms` that were left at `stamp`: what is left now.
    pub fn left_of(self, left_ms: u64, stamp: Stamp) -> u64 {
        left_ms.saturating_sub(self.times.elapsed(stamp, self.stamp()))
    }

    /// When something expires of which `left_ms` were left at `stamp`.
    pub fn expires(self, left_ms: u64, stamp: Stamp) -> Mono {
        self.now + Duration::from_millis(self.left_of(left_ms, stamp))
    }
}

const fn millis(duration: Duration) -> u64 {
    let ms = duration.as_millis();
    if ms > i64::MAX as u128 { i64::MAX as u64 } else { ms as u64 }
}

const fn millis_of(at: Mono) -> u64 {
    millis(at.since(Mono::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Wall;

    const HOUR: u64 = 3_600_000;

    fn moment(boot: &str, since_boot: u64, wall: i64, trusted: bool) -> Moment {
        // The process began a second before it looks.
        let now = Now { mono: Mono::from_millis(1_000), wall: Wall(wall) };
        Moment { now, boot: boot.into(), since_boot: Duration::from_millis(since_boot), trusted }
    }

    #[test]
    fn time_without_power_counts_only_between_two_trusted_clocks() {
        let hours = |n: i64| n * HOUR as i64;
        for (what, first, second, expected) in [
            ("the same boot", moment("a", HOUR, 0, false), moment("a", 3 * HOUR, hours(99), false), 2 * HOUR),
            ("off for 9 h, trusted", moment("a", HOUR, 0, true), moment("b", HOUR, hours(10), true), 10 * HOUR),
            ("off, not trusted before", moment("a", HOUR, 0, false), moment("b", HOUR, hours(10), true), HOUR),
            ("off, not trusted after", moment("a", HOUR, 0, true), moment("b", HOUR, hours(10), false), HOUR),
            ("a clock that was set back", moment("a", HOUR, 0, true), moment("b", HOUR, hours(-10), true), HOUR),
        ] {
            let before = Times::new(Vec::new(), &first);
            let stamp = before.stamp(first.now.mono);
            let after = Times::new(before.boots, &second);
            assert_eq!(after.elapsed(stamp, after.stamp(second.now.mono)), expected, "{what}");
        }
    }

    #[test]
    fn boots_in_between_count_for_as_long_as_they_were_seen() {
        let mut times = Times::new(Vec::new(), &moment("a", 0, 0, false));
        let stamp = times.stamp(Mono::from_millis(1_000));
        times.look(Now { mono: Mono::from_millis(11_000), wall: Wall(0) }, false);
        let mut times = Times::new(times.boots, &moment("b", 0, 0, true));
        times.look(Now { mono: Mono::from_millis(6_000), wall: Wall(0) }, true);
        let times = Times::new(times.boots, &moment("c", 2_000, 0, false));
        let when = When { times: &times, now: Mono::from_millis(1_000) };
        assert_eq!(times.elapsed(stamp, when.stamp()), 10_000 + 5_000 + 2_000);
        assert_eq!(when.left_of(20_000, stamp), 3_000);
        assert_eq!(when.expires(20_000, stamp), Mono::from_millis(4_000));
        assert_eq!(when.left_of(5_000, stamp), 0);
    }

    #[test]
    fn a_clock_that_is_synchronised_later_in_a_boot_is_trusted_for_all_of_it() {
        let mut times = Times::new(Vec::new(), &moment("a", 0, -99, false));
        let stamp = times.stamp(Mono::from_millis(1_000));
        times.look(Now { mono: Mono::from_millis(2_000), wall: Wall(1_000_000) }, true);
        let times = Times::new(times.boots, &moment("b", 0, 1_000_000 + 59_000, true));
        assert_eq!(times.elapsed(stamp, times.stamp(Mono::from_millis(1_000))), 60_000);
    }
}
