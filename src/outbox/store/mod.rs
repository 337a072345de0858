//! The open file and the jobs that it runs, one at a time. It decides nothing.

mod commit;
mod survey;

use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, params};

use super::claim::Lock;
use super::job::{Job, Read, Report, Trouble, Usage};
use super::times::{Times, When};
use super::{ClockTrust, schema, system};
use crate::clock;
use crate::model::{EntryId, Mono, Now};

/// Longest a read or a slice of a survey keeps a commit waiting.
const SLICE: Duration = Duration::from_millis(5);
/// Rows between two looks at the clock.
const ROWS_A_LOOK: usize = 64;
/// The clocks are looked at, and what they say goes along with a commit, when it was so long ago.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The open file; without a connection every job but [`Job::Close`] fails.
#[derive(Debug)]
pub struct File {
    pub db: Option<Connection>,
    /// Held until the file is closed.
    pub lock: Option<Lock>,
    pub times: Times,
    pub trust: ClockTrust,
    /// When the clocks were last looked at.
    pub looked: Mono,
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
            Job::Commit(batch) => {
                let look = batch.now.mono.since(self.looked) >= LOOK_EVERY;
                if look {
                    self.looked = batch.now.mono;
                    self.times.look(batch.now, system::is_trusted(self.trust));
                }
                commit::commit(db, &batch, &self.times, look)
            }
            Job::Read(job) => read(db, &job, When { times: &self.times, now: job.now }),
            Job::Survey { after, upto, owing } => survey::survey(db, after, upto, &owing, When { times: &self.times, now: Mono::ZERO }),
            Job::Checkpoint => checkpoint(db),
            Job::Vacuum { pages } => vacuum(db, pages),
            Job::Close { now } => {
                let end = |now: Now| {
                    // What expires counts the time of this boot on; nothing else may have been written for days.
                    self.times.look(now, system::is_trusted(self.trust));
                    let said = self.times.boot().map_or(Ok(()), |boot| schema::write_boot(db, boot));
                    // A clean end leaves an empty WAL; if that fails, the next start reads it.
                    checkpoint(db).map(drop).and(said)
                };
                if let Err(error) = now.map_or(Ok(()), end) {
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

fn read(db: &Connection, job: &Read, when: When<'_>) -> rusqlite::Result<Report> {
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
            match schema::read_entry(row, when)? {
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
