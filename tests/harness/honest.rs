//! A client that is well behaved and impatient.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tidegate::clock;

use super::raw::Raw;

/// A client that does nothing but ask for signs of life.
#[derive(Debug)]
pub struct Honest {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<Duration>>,
}

impl Honest {
    pub fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut client = Raw::connect(port, "honest");
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let asked = clock::mono();
                assert_eq!(client.ping(), []);
                times.push(clock::mono().since(asked));
                clock::block_for(Duration::from_millis(2));
            }
            times.sort_unstable();
            times
        });
        Self { stop, thread }
    }

    /// The 99th percentile and the longest.
    pub fn stop(self) -> (Duration, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.thread.join().expect("it was answered");
        (times[times.len() * 99 / 100], *times.last().expect("a ping"))
    }
}
