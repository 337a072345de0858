//! The one place that reads the clocks and waits on them. Everything else is handed a [`Now`] or a [`Mono`].

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{ClockId, NanosleepRelativeResult, clock_nanosleep_relative};

use crate::model::{Mono, Now, Wall};

static ANCHOR: OnceLock<Instant> = OnceLock::new();

#[expect(clippy::disallowed_methods, reason = "the home of the clocks")]
fn anchor() -> Instant {
    *ANCHOR.get_or_init(Instant::now)
}

/// Monotonic time now.
#[expect(clippy::disallowed_methods, reason = "the home of the clocks")]
pub fn mono() -> Mono {
    let start = anchor();
    Mono::from_nanos(u64::try_from(Instant::now().saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX))
}

/// Wall-clock time now. A clock before 1970 reads as negative milliseconds.
#[expect(clippy::disallowed_methods, reason = "the home of the clocks")]
pub fn wall() -> Wall {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    Wall(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    })
}

/// Both clocks now.
pub fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}

/// CPU time that this thread has used. A system call, other than the clocks above.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Time since this boot of the machine, with the time that it slept.
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Waits until `deadline` by tokio's timer, which is up to 1.1 ms late.
pub async fn sleep_until(deadline: Mono) {
    tokio::time::sleep_until((anchor() + Duration::from_nanos(deadline.as_nanos())).into()).await;
}

/// Waits for `duration` by tokio's timer.
pub async fn sleep(duration: Duration) {
    sleep_until(mono() + duration).await;
}

/// The result of `future`, or `None` if `deadline` comes first.
pub async fn before<F: Future>(deadline: Mono, future: F) -> Option<F::Output> {
    let deadline = anchor() + Duration::from_nanos(deadline.as_nanos());
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

/// Blocks this thread for `duration` by `clock_nanosleep`: exact to some tens of microseconds. Only for threads that own a bus, or nothing but a file.
pub fn block_for(duration: Duration) {
    let mut left =
        rustix::time::Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() };
    while let NanosleepRelativeResult::Interrupted(rest) = clock_nanosleep_relative(ClockId::Monotonic, &left) {
        left = rest;
    }
}
