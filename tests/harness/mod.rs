//! Equipment of the tests of the whole: the real binary, and peers that are not ours.
//!
//! Everything that waits has a deadline and says what it waited for; everything that was started ends with the value that owns it.
//! What a test has shown goes out by [`report`], so that it is seen also when the test passes.

pub mod bridge;
pub mod broker;
pub mod certificates;
pub mod clients;
pub mod fake_upstream;
pub mod gateway;
pub mod honest;
pub mod layers;
pub mod ledger;
pub mod line_sensor;
pub mod modbus;
pub mod mosquitto;
pub mod packet;
pub mod proxy;
pub mod publisher;
pub mod python;
pub mod random;
pub mod raw;
pub mod readings;
pub mod receiver;
pub mod rig;
pub mod script;
pub mod wire;
pub mod words;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tidegate::clock;
use tidegate::model::Mono;

/// Between two looks of a test that waits for something.
const LOOK_EVERY: Duration = Duration::from_millis(20);

static ALONE: Mutex<()> = Mutex::new(());

/// Held by a test that loads the machine or measures time: only one of them runs at once.
pub fn alone() -> MutexGuard<'static, ()> {
    // A test that failed with the lock held has nothing that the next one could find half done.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks until there is an answer. Panics with `what` when there is none in time.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::mono() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::mono() < deadline, "waited {within:?} in vain for: {what}");
        clock::block_for(LOOK_EVERY);
    }
}

/// Looks until it is true. Panics with `what` when it is not in time.
pub fn wait_until(what: &str, within: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, within, || look().then_some(()));
}

/// Lets time pass while others do what is to be seen; not a way to wait for something.
pub fn let_run(duration: Duration) {
    clock::block_for(duration);
}

/// Says what was shown, past the test runner's capture, and adds it to the report that `tests/run` prints at its end.
pub fn report(line: &str) {
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.txt");
    let _ = writeln!(std::io::stderr(), "    {line}");
    if let Ok(mut file) = std::fs::File::options().create(true).append(true).open(report) {
        let _ = writeln!(file, "{line}");
    }
}

/// Whether the full numbers are asked for (`FULL=1`), instead of those of continuous integration.
pub fn full() -> bool {
    std::env::var("FULL").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// Whether the binary has the faults that the controls need; says so when it has not.
pub fn has_faults(test: &str) -> bool {
    if !cfg!(feature = "faults") {
        report(&format!("{test}: CONTROL SKIPPED, the binary was built without the feature \"faults\""));
    }
    cfg!(feature = "faults")
}

/// Runs one test of this binary in a process of its own, with a fault or without ("").
pub fn alone_in_a_process(test: &str, fault: &str) -> std::process::Output {
    let itself = std::env::current_exe().expect("this test");
    let mut command = std::process::Command::new(itself);
    command.args([test, "--exact", "--nocapture"]).env("TIDEGATE_FAULT", fault).output().expect("this test runs again")
}

/// The [`Mono`] of a moment that another process of this machine has read from CLOCK_MONOTONIC, in nanoseconds.
pub fn mono_of(nanos: u64) -> Mono {
    // Both count the same clock from different origins.
    let (ours, theirs) = (clock::mono().as_nanos(), clock_gettime(ClockId::Monotonic));
    let theirs = u64::try_from(theirs.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(theirs.tv_nsec).unwrap_or(0);
    Mono::from_nanos(nanos.saturating_sub(theirs.saturating_sub(ours)))
}

/// Waits for the end of a process; kills it and panics when it does not come.
pub fn wait_exit(what: &str, child: &mut Child, within: Duration) -> ExitStatus {
    let deadline = clock::mono() + within;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return status;
        }
        if clock::mono() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} has not ended within {within:?}");
        }
        clock::block_for(LOOK_EVERY);
    }
}
