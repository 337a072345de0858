//! The last traffic of a bus, to be looked at when something is wrong. Pure.

use std::collections::VecDeque;
use std::fmt;

use crate::model::Mono;

/// Bytes kept; the oldest records go first. At 19,200 baud about half a minute.
pub(super) const CAPTURE_BYTES_MAX: usize = 64 * 1024;
/// What a record counts for beside its bytes.
const RECORD_OVERHEAD: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Sent,
    Received,
}

#[derive(Debug)]
struct Record {
    at: Mono,
    direction: Direction,
    bytes: Box<[u8]>,
}

/// Shown one record a line, the oldest first: milliseconds, `>` sent or `<` received, bytes in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct Capture {
    records: VecDeque<Record>,
    cost: usize,
}

impl Capture {
    pub(super) fn push(&mut self, at: Mono, direction: Direction, bytes: &[u8]) {
        // A longer read than fits is kept by its end.
        let bytes = bytes.get(bytes.len().saturating_sub(CAPTURE_BYTES_MAX / 2)..).unwrap_or_default();
        self.cost += bytes.len() + RECORD_OVERHEAD;
        self.records.push_back(Record { at, direction, bytes: bytes.into() });
        while self.cost > CAPTURE_BYTES_MAX
            && let Some(oldest) = self.records.pop_front()
        {
            self.cost -= oldest.bytes.len() + RECORD_OVERHEAD;
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.direction == Direction::Sent { '>' } else { '<' };
        write!(f, "{:.3} {arrow}", self.at.as_nanos() as f64 / 1e6)?;
        self.bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.records.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_traffic_goes_first_and_memory_is_bounded() {
        let mut capture = Capture::default();
        for n in 0..10_000 {
            capture.push(Mono::from_millis(n), Direction::Received, &[n as u8; 100]);
            assert!(capture.cost <= CAPTURE_BYTES_MAX);
        }
        let kept: Vec<_> = capture.records.iter().map(|record| record.at).collect();
        assert_eq!(kept.len(), CAPTURE_BYTES_MAX / 132);
        assert_eq!(kept.last(), Some(&Mono::from_millis(9_999)));
        capture.push(Mono::ZERO, Direction::Received, &vec![0; 10 * CAPTURE_BYTES_MAX]);
        assert!(capture.cost <= CAPTURE_BYTES_MAX && capture.records.len() > 1);
    }

    #[test]
    fn a_record_is_shown_on_one_line() {
        let mut capture = Capture::default();
        capture.push(Mono::from_millis(2), Direction::Sent, &[1, 0xab]);
        capture.push(Mono::from_millis(3), Direction::Received, &[]);
        assert_eq!(capture.to_string(), "2.000 > 01 ab\n3.000 <\n");
    }
}
