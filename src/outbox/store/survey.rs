//! The survey of what the start found: counted in slices, and what nobody is owed is removed.

use rusqlite::{Connection, params};

use super::super::job::{Bit, Count, Report};
use super::super::schema;
use super::super::times::When;
use super::{ROWS_A_LOOK, SLICE};
use crate::clock;
use crate::model::{Entry, EntryId};

/// Rows of one slice.
const ROWS: usize = 10_000;

/// One slice of a survey, as it is counted.
#[derive(Default)]
struct Tally {
    counts: Vec<Count>,
    rows: u64,
    damaged: u64,
    /// Owed to nobody.
    idle: Vec<i64>,
    next: Option<EntryId>,
}

pub(super) fn survey(
    db: &mut Connection,
    after: EntryId,
    upto: EntryId,
    owing: &[(Bit, EntryId)],
    when: When<'_>,
) -> rusqlite::Result<Report> {
    let tally = tally(db, after, upto, owing, when)?;
    if !tally.idle.is_empty() {
        // A kill came between a cursor's commit and the last of its trims.
        let transaction = db.transaction()?;
        for id in tally.idle {
            transaction.prepare_cached("DELETE FROM entry WHERE id = ?1")?.execute(params![id])?;
        }
        transaction.commit()?;
    }
    Ok(Report::Surveyed { counts: tally.counts, rows: tally.rows, damaged: tally.damaged, next: tally.next })
}

fn tally(db: &Connection, after: EntryId, upto: EntryId, owing: &[(Bit, EntryId)], when: When<'_>) -> rusqlite::Result<Tally> {
    let query = format!("SELECT {} FROM entry WHERE id > ?1 AND id <= ?2 ORDER BY id", schema::ENTRY_COLUMNS);
    let mut statement = db.prepare_cached(&query)?;
    let mut rows = statement.query(params![after.as_i64(), upto.as_i64()])?;
    let mut is_due = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM due WHERE entry = ?1)")?;
    let mut tally = Tally::default();
    let known = owing.iter().fold(0, |mask, (bit, _)| mask | bit.mask());
    let deadline = clock::mono() + SLICE;
    let mut seen = 0_usize;
    while let Some(row) = rows.next()? {
        let id = EntryId::from_i64(row.get(0)?);
        let mask = row.get::<_, i64>(1).unwrap_or(-1) as u32;
        let mut owed = false;
        for &(bit, _) in owing.iter().filter(|(bit, cursor)| mask & bit.mask() != 0 && id > *cursor) {
            owed = true;
            tally.add(bit, row)?;
        }
        if owed || is_due.query_row(params![id.as_i64()], |row| row.get(0))? {
            tally.rows += 1;
        } else if mask & !known == 0 && schema::read_entry(row, when)?.is_some() {
            tally.idle.push(id.as_i64());
        } else {
            // It may be the mask that is damaged, or the row of the upstream: it stays for a person to look at.
            tally.damaged += 1;
        }
        seen += 1;
        if seen == ROWS || seen.is_multiple_of(ROWS_A_LOOK) && clock::mono() >= deadline {
            tally.next = Some(id);
            break;
        }
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, bit: Bit, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let length = |column| row.get_ref(column).map(|value| value.as_bytes().map_or(0, <[u8]>::len));
        let bytes = Entry::OVERHEAD + length(3)? + length(5)?;
        let known = self.counts.iter().position(|count| count.bit == bit);
        let at = known.unwrap_or(self.counts.len());
        if known.is_none() {
            let oldest = schema::accepted_wall(row.get_ref(4)?.as_blob().unwrap_or_default());
            self.counts.push(Count { bit, entries: 0, bytes: 0, oldest });
        }
        if let Some(count) = self.counts.get_mut(at) {
            count.entries += 1;
            count.bytes += bytes as u64;
        }
        Ok(())
    }
}
