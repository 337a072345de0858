//! Counters that one part raises and another reads, and the heartbeats behind the watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only rises. Cheap to share between threads.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A part's sign of progress. Its loop calls [`Heartbeat::beat`] at every turn and wakes at least every [`Heartbeat::every`];
/// the watchdog is fed only while every part's count rises.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    part: Arc<str>,
    beats: Counter,
    every: Duration,
}

impl Heartbeat {
    pub fn new(part: &str, every: Duration) -> Self {
        Self { part: part.into(), beats: Counter::default(), every }
    }

    /// The part's name, as in `hang:NAME` and in logs: `broker`, `outbox`, `store`, `bus:NAME`, `bridge:NAME`.
    pub fn part(&self) -> &str {
        &self.part
    }

    pub fn beat(&self) {
        self.beats.add(1);
    }

    pub fn beats(&self) -> u64 {
        self.beats.value()
    }

    /// Longest time between two beats of a healthy part that has nothing to do.
    pub const fn every(&self) -> Duration {
        self.every
    }
}
