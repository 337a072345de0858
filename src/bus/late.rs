//! Replies that may still come after their request was given up. Pure.

use std::time::Duration;

use crate::modbus::{Read, Table, UnitId};
use crate::model::Mono;

/// The reads of the last `late_window` that have had no reply. Nothing in a late reply tells it from a fresh one but its length, so a read to the
/// same unit and function must expect another one.
///
/// At most one entry a timeout of the window, and one a length: 250 for each unit and table.
///
/// An entry stays for the whole window, even when a reply like its own has been skipped: on a noisy line that one may have been another's.
#[derive(Debug)]
pub(super) struct Late {
    window: Duration,
    reads: Vec<Unanswered>,
    resting: Vec<(UnitId, Mono)>,
}

#[derive(Debug)]
struct Unanswered {
    unit: UnitId,
    table: Table,
    data_length: usize,
    until: Mono,
}

impl Late {
    pub(super) const fn new(window: Duration) -> Self {
        Self { window, reads: Vec::new(), resting: Vec::new() }
    }

    pub(super) fn expire(&mut self, now: Mono) {
        self.reads.retain(|read| read.until > now);
        self.resting.retain(|(_, until)| *until > now);
    }

    /// The read was given up at `now`.
    pub(super) fn add(&mut self, unit: UnitId, read: Read, now: Mono) {
        if !self.window.is_zero() {
            let (table, data_length, until) = (read.first().table, read.data_length(), now + self.window);
            self.reads.push(Unanswered { unit, table, data_length, until });
        }
    }

    /// Whether a reply to an earlier read could be taken for the reply to this one.
    pub(super) fn confuses(&self, unit: UnitId, read: Read) -> bool {
        let same = |late: &&Unanswered| late.unit == unit && late.table == read.first().table;
        self.reads.iter().filter(same).any(|late| late.data_length == read.data_length())
    }

    /// Whether an exception to this function may belong to an earlier read: all exceptions have one length.
    pub(super) fn confuses_exceptions(&self, unit: UnitId, table: Table) -> bool {
        self.reads.iter().any(|late| late.unit == unit && late.table == table)
    }

    /// Nothing is left to ask the unit for: it rests until the first of these reads can come no more. False if there is none.
    pub(super) fn rest(&mut self, unit: UnitId, table: Table) -> bool {
        let until = self.reads.iter().filter(|late| late.unit == unit && late.table == table).map(|late| late.until).min();
        self.resting.extend(until.map(|until| (unit, until)));
        until.is_some()
    }

    pub(super) fn rests_until(&self, unit: UnitId) -> Mono {
        self.resting.iter().filter(|(resting, _)| *resting == unit).map(|(_, until)| *until).max().unwrap_or(Mono::ZERO)
    }
}
