//! The open file and the jobs that it runs, one at a time. It decides nothing.

use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, params};

use super::claim::Lock;
use super::job::{Batch, Bit, Count, DeadLetter, Job, Read, Report, Row, Trim, Trouble, Usage};
use super::schema;
use crate::clock;
use crate::faults;
use crate::model::{Entry, EntryId};

/// Longest a read or a slice of a survey keeps a commit waiting.
const SLICE: Duration = Duration::from_millis(5);
/// Rows between two looks at the clock.
const ROWS_A_LOOK: usize = 64;
/// Rows of one slice of a survey.
const SURVEY_ROWS: usize = 10_000;
/// Dead letters that are kept; beyond it the oldest go.
const DEAD_LETTERS_MAX: u32 = 10_000;
/// How long the fault `hang-fsync` holds a commit.
const HANG: Duration = Duration::from_secs(3);

/// The open file; without a connection every job but [`Job::Close`] fails.
#[derive(Debug)]
pub struct File {
    pub db: Option<Connection>,
    /// Held until the file is closed.
    pub lock: Option<Lock>,
}

impl File {
    /// Runs one job. After an error other than "full" the caller hands in nothing more but [`Job::Close`] without a checkpoint.
    pub fn run(&mut self, job: Job) -> Report {
        let Some(db) = &mut self.db else {
            return match job {
                Job::Close { .. } => Report::Closed,
                _ => Report::Failed { trouble: Trouble::Broken, error: "there is no file".to_owned() },
            };
        };
        let result = match job {
            Job::Commit(batch) => commit(db, &batch),
            Job::Read(job) => read(db, &job),
            Job::Survey { after, upto, owing } => survey(db, after, upto, &owing),
            Job::Checkpoint => checkpoint(db),
            Job::Vacuum { pages } => vacuum(db, pages),
            Job::Close { checkpoint: wanted } => {
                // A clean end leaves an empty WAL; if that fails, the next start reads it.
                let done = if wanted { checkpoint(db).map(drop) } else { Ok(()) };
                if let Err(error) = done {
                    tracing::warn!(%error, "the store could not be tidied at its end; the next start does it");
                }
                self.db = None;
                Ok(Report::Closed)
            }
        };
        result.unwrap_or_else(|error| Report::Failed { trouble: trouble(&error), error: error.to_string() })
    }
}

/// Who has to act on an error of SQLite.
pub fn trouble(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Corrupt,
        _ => Trouble::Broken,
    }
}

fn commit(db: &mut Connection, batch: &Batch) -> rusqlite::Result<Report> {
    let transaction = db.transaction()?;
    for row in &batch.rows {
        schema::write_entry(&transaction, row)?;
    }
    for letter in &batch.dead_letters {
        dead_letter(&transaction, letter)?;
    }
    if !batch.dead_letters.is_empty() {
        let keep = "DELETE FROM dead_letter WHERE id < (SELECT id FROM dead_letter ORDER BY id DESC LIMIT 1 OFFSET ?1)";
        let dropped = transaction.execute(keep, params![DEAD_LETTERS_MAX])?;
        if dropped > 0 {
            tracing::warn!(dropped, "the oldest dead letters were dropped");
        }
    }
    for &(bit, cursor) in &batch.cursors {
        schema::write_queue(&transaction, bit, cursor)?;
    }
    let (trimmed, deleted) = trim(&transaction, batch)?;
    if faults::active("hang-fsync") {
        clock::block_for(HANG);
    }
    transaction.commit()?;
    Ok(Report::Committed { trimmed, deleted, usage: usage(db)? })
}

fn dead_letter(db: &Connection, letter: &DeadLetter) -> rusqlite::Result<()> {
    if let Some(entry) = &letter.entry {
        return schema::write_dead_letter(db, letter, entry);
    }
    let query = format!("SELECT {} FROM entry WHERE id = ?1", schema::ENTRY_COLUMNS);
    let mut statement = db.prepare_cached(&query)?;
    let mut rows = statement.query(params![letter.id.as_i64()])?;
    let found = rows.next()?.map(schema::read_entry).transpose()?.flatten();
    match found {
        Some(Row { entry, .. }) => schema::write_dead_letter(db, letter, &entry),
        None => {
            tracing::error!(entry = %letter.id, upstream = %letter.upstream, "the row of a refused message is damaged; it cannot be kept");
            Ok(())
        }
    }
}

/// Deletes rows that nobody is owed any more. Looks at most at `trim_rows` rows, so a backlog is trimmed in steps.
fn trim(db: &Connection, batch: &Batch) -> rusqlite::Result<(Vec<Trim>, u64)> {
    let mut left = batch.trim_rows;
    let mut deleted = 0;
    let mut trimmed = Vec::with_capacity(batch.trims.len());
    for &Trim { bit, from, to } in &batch.trims {
        if left == 0 {
            trimmed.push(Trim { bit, from, to: from });
            continue;
        }
        let mut slice = db.prepare_cached("SELECT id FROM entry WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?;
        let (mut seen, mut end) = (0, to);
        let mut rows = slice.query(params![from.as_i64(), to.as_i64(), left as i64])?;
        while let Some(row) = rows.next()? {
            seen += 1;
            if seen == left {
                end = EntryId::from_i64(row.get(0)?);
            }
        }
        left -= seen;
        // Whoever has not come as far as the end of the slice may still be owed some of it.
        let behind = batch.owing.iter().filter(|(other, cursor)| *other != bit && *cursor < end);
        let kept: String =
            behind.map(|(other, cursor)| format!(" AND NOT (mask & {} AND id > {})", other.mask(), cursor.as_i64())).collect();
        let delete = format!("DELETE FROM entry WHERE id > ?1 AND id <= ?2 AND mask & ?3{kept}");
        deleted += db.execute(&delete, params![from.as_i64(), end.as_i64(), bit.mask()])? as u64;
        trimmed.push(Trim { bit, from, to: end });
    }
    Ok((trimmed, deleted))
}

fn read(db: &Connection, job: &Read) -> rusqlite::Result<Report> {
    let query = format!("SELECT {} FROM entry WHERE id > ?1 AND id <= ?2 ORDER BY id", schema::ENTRY_COLUMNS);
    let mut statement = db.prepare_cached(&query)?;
    let mut rows = statement.query(params![job.after.as_i64(), job.upto.as_i64()])?;
    let deadline = clock::mono() + SLICE;
    let (mut found, mut bytes, mut damaged, mut seen) = (Vec::new(), 0, 0, 0_usize);
    while let Some(row) = rows.next()? {
        let id = EntryId::from_i64(row.get(0)?);
        seen += 1;
        // A mask that is no number is damage, whoever is owed the row.
        let mask = match row.get_ref(1)? {
            ValueRef::Integer(mask) => mask as u32,
            _ => u32::MAX,
        };
        if mask & job.bit.mask() != 0 {
            match schema::read_entry(row)? {
                Some(row) => {
                    bytes += row.entry.cost();
                    found.push(row);
                }
                None => {
                    damaged += 1;
                    tracing::error!(entry = %id, "a row of the store is damaged");
                }
            }
        }
        let full = found.len() >= job.entries || bytes >= job.bytes;
        if full || seen.is_multiple_of(ROWS_A_LOOK) && clock::mono() >= deadline {
            return Ok(Report::Read { bit: job.bit, rows: found, through: id, damaged });
        }
    }
    Ok(Report::Read { bit: job.bit, rows: found, through: job.upto, damaged })
}

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

fn survey(db: &mut Connection, after: EntryId, upto: EntryId, owing: &[(Bit, EntryId)]) -> rusqlite::Result<Report> {
    let tally = tally(db, after, upto, owing)?;
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

fn tally(db: &Connection, after: EntryId, upto: EntryId, owing: &[(Bit, EntryId)]) -> rusqlite::Result<Tally> {
    let query = format!("SELECT {} FROM entry WHERE id > ?1 AND id <= ?2 ORDER BY id", schema::ENTRY_COLUMNS);
    let mut statement = db.prepare_cached(&query)?;
    let mut rows = statement.query(params![after.as_i64(), upto.as_i64()])?;
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
        if owed {
            tally.rows += 1;
        } else if mask & !known == 0 && schema::read_entry(row)?.is_some() {
            tally.idle.push(id.as_i64());
        } else {
            // It may be the mask that is damaged, or the row of the upstream: it stays for a person to look at.
            tally.damaged += 1;
        }
        seen += 1;
        if seen == SURVEY_ROWS || seen.is_multiple_of(ROWS_A_LOOK) && clock::mono() >= deadline {
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

/// Moves the WAL into the file; there is no other reader, so it always comes to its end.
pub fn checkpoint(db: &Connection) -> rusqlite::Result<Report> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(Report::Tidied { usage: usage(db)? })
}

fn vacuum(db: &Connection, pages: u32) -> rusqlite::Result<Report> {
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    drop(steps);
    drop(statement);
    Ok(Report::Tidied { usage: usage(db)? })
}

/// What the file takes now.
///
/// # Errors
/// SQLite's.
pub fn usage(db: &Connection) -> rusqlite::Result<Usage> {
    let number =
        |pragma: &str| db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0)).map(|n| u64::try_from(n).unwrap_or(0));
    let (page, pages, free) = (number("page_size")?, number("page_count")?, number("freelist_count")?);
    // Looks without doing anything: frames in the WAL, and those of them that are in the file already.
    let (log, moved) = db.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
    let frames = u64::try_from(log - moved).unwrap_or(0);
    Ok(Usage { file: pages.saturating_sub(free) * page, free: free * page, wal: frames * (page + 24) })
}
