//! A simulated weather station that sends one line a second.

use super::pty::Pty;
use super::sim::{self, Running};
use crate::clock;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

/// Sends lines until it is told to stop. A line that nobody has read is lost, as on a wire.
pub fn run(pty: &Pty, running: &Running) {
    let mut due = clock::mono();
    while running.goes_on() {
        let now = clock::mono();
        if now >= due {
            due = due + EVERY;
            pty.write(line(sim::seconds(now)).as_bytes());
        }
        clock::block_for(sim::LOOK_EVERY.min(due.since(now)));
    }
}

/// What the station says at second `t`.
fn line(t: f64) -> String {
    let temperature = 12.0 + 6.0 * sim::wave(t, 240.0) + 0.1 * sim::noise(t, 1);
    let humidity = 65.0 - 12.0 * sim::wave(t, 240.0) + 0.5 * sim::noise(t, 2);
    let pressure = 1013.2 + 4.0 * sim::wave(t, 900.0) + 0.1 * sim::noise(t, 3);
    let wind = (4.0 + 2.5 * sim::wave(t, 37.0) + 1.2 * sim::noise(t, 4)).max(0.0);
    format!("T={temperature:.1} H={humidity:.0} P={pressure:.1} W={wind:.1}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_lines_fit_the_pattern_of_the_site() {
        let pattern = regex::Regex::new(r"^T=-?\d+\.\d H=\d+ P=\d{3,4}\.\d W=\d+\.\d\r\n$").unwrap();
        for second in 0..2_000 {
            let line = line(f64::from(second));
            assert!(pattern.is_match(&line), "{line:?}");
        }
    }
}
