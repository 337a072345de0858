//! The start: the file, the epoch and what is owed. Whatever the file is like, the process starts.
//!
//! | The file | What is done |
//! |---|---|
//! | is absent or empty | a fresh one, epoch 1, a random nonce |
//! | is no database, or damaged | it is set aside as `NAME.damaged-N`, untouched; a fresh one; an alarm |
//! | has a newer schema | the same, as `NAME.newer-N` |
//! | has an older schema | it is migrated in the transaction of the start; without space for that there is no disk |
//! | has no space for its start | it is used; the epoch is above all that it holds, and not written; commits are tried again |
//! | cannot be opened or written | no disk: ids by the nonce alone; an alarm |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::claim::{Claim, beside};
use super::job::{Bit, Opened, StoredQueue, Trouble, Usage};
use super::store::{self, File};
use super::times::{Moment, Times, When};
use super::{ClockTrust, restore, schema};
use crate::faults;
use crate::model::{EntryId, Mono, Start, UpstreamSet};

/// Starts that are remembered, for receivers that remember an epoch.
const STARTS_KEPT: u32 = 10_000;
/// Files set aside with one name; beyond it there is no disk until a person has looked.
const ASIDE_MAX: u32 = 1_000;

/// Opens the store at `path` for these upstreams, in the order of the site's file. Whatever it is like, there is something to go on with.
///
/// `moment`: what the system says of the time now, and `trust` of that its clock is to be trusted later on.
pub fn open(path: &Path, upstreams: &[Arc<str>], Claim(lock): Claim, moment: &Moment, trust: ClockTrust) -> (File, Opened) {
    let nonce = nonce();
    let mut alarms = Vec::new();
    let lock = match lock {
        Ok(lock) => lock,
        Err(why) => return diskless(path, upstreams, nonce, alarms, &why),
    };
    if marker(path).exists() {
        set_aside(path, "damaged", &mut alarms);
    }
    loop {
        match open_file(path, upstreams, nonce, moment, &mut alarms) {
            Ok((db, times, opened)) => {
                let file = File { db: Some(db), lock: Some(lock), times, trust, looked: moment.now.mono };
                return (file, Opened { alarms, ..opened });
            }
            Err(OpenError::Damaged(why)) => {
                tracing::error!(path = %path.display(), why, "the store is damaged");
                if set_aside(path, "damaged", &mut alarms) {
                    continue;
                }
            }
            Err(OpenError::Newer(schema)) => {
                tracing::error!(path = %path.display(), schema, "the store was written by a newer version");
                if set_aside(path, "newer", &mut alarms) {
                    continue;
                }
            }
            Err(OpenError::Full(why) | OpenError::Unusable(why)) => return diskless(path, upstreams, nonce, alarms, &why),
        }
        return diskless(path, upstreams, nonce, alarms, "it cannot be moved aside");
    }
}

/// Remembers that the content of this file is damaged, so that the next start sets it aside.
pub fn mark_damaged(path: &Path) {
    if let Err(error) = fs::write(marker(path), b"") {
        tracing::error!(%error, path = %path.display(), "the damaged store could not be marked");
    }
}

fn marker(path: &Path) -> PathBuf {
    beside(path, ".damaged")
}

fn nonce() -> u32 {
    if faults::active("no-nonce") {
        return 0;
    }
    // Without the kernel's randomness, the time and the process id still tell two starts apart.
    getrandom::u32().unwrap_or_else(|_| (crate::clock::wall().0 as u32).rotate_left(16) ^ std::process::id())
}

fn diskless(path: &Path, upstreams: &[Arc<str>], nonce: u32, mut alarms: Vec<String>, why: &str) -> (File, Opened) {
    tracing::error!(path = %path.display(), why, "the store cannot be used; going on without a disk");
    alarms.push(format!("the store {} cannot be used ({why}): nothing is kept over a restart until that is mended", path.display()));
    let queue = |(n, name): (usize, &Arc<str>)| StoredQueue { bit: Bit(n as u8), name: name.clone(), cursor: EntryId::ZERO };
    let opened = Opened {
        start: Start { epoch: 1, nonce },
        starts: vec![Start { epoch: 1, nonce }],
        last: EntryId::ZERO,
        queues: upstreams.iter().enumerate().map(queue).collect(),
        gone: Vec::new(),
        usage: Usage::default(),
        dead_letters: 0,
        restored: Vec::new(),
        lost: 0,
        diskless: true,
        alarms,
    };
    (File { db: None, lock: None, times: Times::default(), trust: ClockTrust::Never, looked: Mono::ZERO }, opened)
}

/// Moves the file and its WAL to a free name. They belong together: the file's WAL moves last, and a WAL without a file is moved aside
/// before a fresh file is made, so that no cut in between gives one file's WAL to another.
fn set_aside(path: &Path, why: &str, alarms: &mut Vec<String>) -> bool {
    let free = |n: &u32| !beside(path, &format!(".{why}-{n}")).exists();
    let Some(n) = (1..=ASIDE_MAX).find(free) else { return false };
    let aside = beside(path, &format!(".{why}-{n}"));
    if let Err(error) = fs::rename(path, &aside) {
        tracing::error!(%error, path = %path.display(), "the store cannot be set aside");
        return false;
    }
    let wal = fs::rename(beside(path, "-wal"), beside(&aside, "-wal"));
    let _none = fs::remove_file(marker(path));
    let moved = wal.is_ok() || wal.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let aside = aside.display();
    alarms.push(match why {
        "newer" => format!("the store was written by a newer version of tidegate and is kept as {aside}: install that version to read it"),
        _ => format!("the store was damaged and is kept as {aside}; what it held is not sent: keep it for a rescue"),
    });
    tracing::error!(kept = %aside, "a fresh store is made");
    moved
}

enum OpenError {
    Damaged(String),
    Newer(i64),
    Full(String),
    Unusable(String),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match (&error, store::trouble(&error)) {
            (_, Trouble::Corrupt) => Self::Damaged(error.to_string()),
            (_, Trouble::Full) => Self::Full(error.to_string()),
            // What is not there, or of another type, was written by nobody of ours.
            (rusqlite::Error::SqlInputError { .. } | rusqlite::Error::QueryReturnedNoRows | rusqlite::Error::InvalidColumnType(..), _) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Unusable(error.to_string()),
        }
    }
}

type OpenedFile = (Connection, Times, Opened);

fn open_file(path: &Path, upstreams: &[Arc<str>], nonce: u32, moment: &Moment, alarms: &mut Vec<String>) -> Result<OpenedFile, OpenError> {
    if !path.exists() && beside(path, "-wal").exists() {
        let orphan = (1..=ASIDE_MAX).map(|n| beside(path, &format!(".orphan-{n}-wal"))).find(|name| !name.exists());
        let moved = orphan.ok_or(io::ErrorKind::AlreadyExists.into()).and_then(|name| fs::rename(beside(path, "-wal"), name));
        moved.map_err(|error: io::Error| OpenError::Unusable(error.to_string()))?;
    }
    let created = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    drop(created.map_err(|error| OpenError::Unusable(error.to_string()))?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    // Closing must not write: after an I/O error the file is not touched again, and a clean end makes its own checkpoint.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Before anything looks into the file: only so SQLite keeps the index of the WAL in memory and not in a -shm
    // file, for which a full disk has no room.
    db.pragma_update(None, "locking_mode", "exclusive")?;
    // Everything that is prepared again and again, and some to spare.
    db.set_prepared_statement_cache_capacity(64);
    let schema = schema_of(&db)?;
    if schema > schema::MIGRATIONS.len() as i64 {
        return Err(OpenError::Newer(schema));
    }
    schema::set_pragmas(&db, schema == 0)?;
    let told = alarms.len();
    let (times, opened) = match begin(&mut db, schema, upstreams, nonce, moment, alarms, true) {
        Err(OpenError::Full(why)) if schema > 0 => {
            tracing::error!(path = %path.display(), why, "the store has no space for this start; what it holds is sent");
            alarms.truncate(told);
            begin(&mut db, schema, upstreams, nonce, moment, alarms, false)?
        }
        begun => begun?,
    };
    Ok((db, times, opened))
}

/// The first transaction. If it is not to write, it can only be done where the file knows all upstreams as they are.
fn begin(
    db: &mut Connection,
    schema: i64,
    upstreams: &[Arc<str>],
    nonce: u32,
    moment: &Moment,
    alarms: &mut Vec<String>,
    write: bool,
) -> Result<(Times, Opened), OpenError> {
    let transaction = db.transaction()?;
    migrate(&transaction, schema)?;
    let last = EntryId::from_i64(number(&transaction, "SELECT ifnull(max(id), 0) FROM entry")?);
    // A session's id is one of the same counter.
    let session = EntryId::from_i64(number(&transaction, "SELECT ifnull(max(id), 0) FROM session")?);
    let start = next_start(&transaction, nonce, last.max(session))?;
    let mut starts = known_starts(&transaction)?;
    starts.push(start);
    let times = Times::new(schema::boots(&transaction)?, moment);
    if write {
        write_start(&transaction, start)?;
        times.boot().map_or(Ok(()), |boot| schema::write_boot(&transaction, boot))?;
    }
    let (queues, gone) = match_upstreams(&transaction, upstreams, last, alarms)?;
    let cursors: Vec<(Bit, EntryId)> = queues.iter().map(|queue| (queue.bit, queue.cursor)).collect();
    let found = restore::find(&transaction, &cursors, When { times: &times, now: moment.now.mono })?;
    if found.damaged > 0 {
        let (rows, path) = (found.damaged, transaction.path().unwrap_or_default());
        alarms.push(format!("{rows} rows of sessions or retained messages in {path} were damaged and are lost: check the disk"));
    }
    if write && !found.is_whole() {
        found.tidy(&transaction, moment.now.wall)?;
    }
    let lost = schema::lost_so_far(&transaction)?;
    transaction.commit()?;
    if write {
        // What follows counts on a WAL that is empty: online, nothing is written for as long as receivers answer in time.
        store::checkpoint(db)?;
    }
    let dead_letters = number(db, "SELECT count(*) FROM dead_letter")?;
    let usage = store::usage(db)?;
    let dead_letters = u64::try_from(dead_letters).unwrap_or(0);
    let restored = found.restored;
    Ok((times, Opened { start, starts, last, queues, gone, usage, dead_letters, restored, lost, diskless: false, alarms: Vec::new() }))
}

fn number(db: &Connection, query: &str) -> rusqlite::Result<i64> {
    db.query_row(query, [], |row| row.get(0))
}

/// The version of the schema; 0 for an empty file.
fn schema_of(db: &Connection) -> Result<i64, OpenError> {
    if number(db, "SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(0);
    }
    let (value, crc): (i64, i64) =
        db.query_row("SELECT value, crc FROM meta WHERE key = 'schema'", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if crc == i64::from(schema::meta_crc("schema", value)) {
        Ok(value)
    } else {
        Err(OpenError::Damaged("its schema row is damaged".to_owned()))
    }
}

fn migrate(db: &Connection, from: i64) -> Result<(), OpenError> {
    let from = usize::try_from(from).unwrap_or(0);
    for migration in schema::MIGRATIONS.iter().skip(from) {
        db.execute_batch(migration)?;
    }
    if from < schema::MIGRATIONS.len() {
        let version = schema::MIGRATIONS.len() as i64;
        db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?1, ?2)", params![version, schema::meta_crc("schema", version)])?;
    }
    Ok(())
}

/// Raises the epoch above every start and every id of the file. The cursors tell of ids whose rows are gone, also when the row of their start
/// is damaged: an id that is given twice would be taken for done.
fn next_start(db: &Connection, nonce: u32, last: EntryId) -> Result<Start, OpenError> {
    let mut highest = last.max(highest_cursor(db)?).epoch();
    let mut statement = db.prepare("SELECT epoch, nonce, crc FROM start ORDER BY epoch DESC LIMIT 100")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (epoch, nonce, crc): (u32, u32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if crc == i64::from(schema::start_crc(epoch, nonce)) && epoch < EntryId::EPOCH_MAX {
            highest = highest.max(epoch);
        }
    }
    let epoch = highest + 1;
    if epoch > EntryId::EPOCH_MAX {
        return Err(OpenError::Damaged("its epochs are used up".to_owned()));
    }
    Ok(Start { epoch, nonce })
}

/// Of the entries in the file, as far as their rows are whole.
fn known_starts(db: &Connection) -> Result<Vec<Start>, OpenError> {
    let first = EntryId::from_i64(number(db, "SELECT ifnull(min(id), 0) FROM entry")?).epoch();
    let mut starts = Vec::new();
    let mut statement = db.prepare("SELECT epoch, nonce, crc FROM start WHERE epoch >= ?1 AND ?1 > 0 ORDER BY epoch")?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let (epoch, nonce, crc): (u32, u32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if crc == i64::from(schema::start_crc(epoch, nonce)) {
            starts.push(Start { epoch, nonce });
        }
    }
    Ok(starts)
}

fn write_start(db: &Connection, Start { epoch, nonce }: Start) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO start VALUES (?1, ?2, ?3)", params![epoch, nonce, schema::start_crc(epoch, nonce)])?;
    db.execute("DELETE FROM start WHERE epoch < ?1", params![i64::from(epoch) - i64::from(STARTS_KEPT)])?;
    Ok(())
}

/// Of the queues' rows that are whole.
fn highest_cursor(db: &Connection) -> Result<EntryId, OpenError> {
    let mut highest = EntryId::ZERO;
    let mut statement = db.prepare("SELECT upstream, cursor, crc FROM queue")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (bit, cursor) = (Bit(row.get(0)?), EntryId::from_i64(row.get(1)?));
        if row.get::<_, i64>(2)? == i64::from(schema::queue_crc(bit, cursor)) {
            highest = highest.max(cursor);
        }
    }
    Ok(highest)
}

type Queues = (Vec<StoredQueue>, Vec<StoredQueue>);

/// Gives each upstream of the site's file its bit, and finds those that are gone (outbox.md 7).
fn match_upstreams(db: &Connection, upstreams: &[Arc<str>], last: EntryId, alarms: &mut Vec<String>) -> Result<Queues, OpenError> {
    let mut known = stored_upstreams(db, alarms)?;
    let mut used = known.values().fold(0, |mask, (bit, _)| mask | bit.mask());
    let mut queues = Vec::with_capacity(upstreams.len());
    for name in upstreams {
        if let Some((bit, gone)) = known.remove(&**name) {
            if gone {
                schema::write_upstream(db, bit, name, false)?;
            }
            queues.push(StoredQueue { bit, name: name.clone(), cursor: cursor(db, bit, alarms)? });
            continue;
        }
        let bit = match (0..UpstreamSet::MAX as u8).map(Bit).find(|bit| used & bit.mask() == 0) {
            Some(bit) => bit,
            None => free_a_bit(db, &mut known, upstreams)?,
        };
        used |= bit.mask();
        schema::write_upstream(db, bit, name, false)?;
        // Nothing in the file carries its bit, so nothing has to be read to know that.
        schema::write_queue(db, bit, last)?;
        queues.push(StoredQueue { bit, name: name.clone(), cursor: last });
    }
    let mut gone = Vec::new();
    for (name, (bit, was_gone)) in known {
        if !was_gone {
            schema::write_upstream(db, bit, &name, true)?;
        }
        gone.push(StoredQueue { bit, name: name.into(), cursor: cursor(db, bit, alarms)? });
    }
    Ok((queues, gone))
}

/// Name → bit and whether it was gone. A row whose checksum is wrong still keeps its bit: its entries are owed to somebody.
fn stored_upstreams(db: &Connection, alarms: &mut Vec<String>) -> Result<BTreeMap<String, (Bit, bool)>, OpenError> {
    let mut known = BTreeMap::new();
    let mut statement = db.prepare("SELECT bit, name, gone, crc FROM upstream ORDER BY bit")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let bit = Bit(row.get(0)?);
        let name = String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default()).into_owned();
        let gone = row.get::<_, i64>(2)? != 0;
        if row.get::<_, i64>(3)? != i64::from(schema::upstream_crc(bit, &name, gone)) {
            alarms.push(format!("the store's row of upstream {name:?} is damaged: check that it gets its messages"));
        }
        known.insert(name, (bit, gone));
    }
    Ok(known)
}

/// A bit of a name that is gone and that no entry carries.
fn free_a_bit(db: &Connection, known: &mut BTreeMap<String, (Bit, bool)>, upstreams: &[Arc<str>]) -> Result<Bit, OpenError> {
    let mut owed = String::new();
    let gone = known.iter().filter(|(name, _)| !upstreams.iter().any(|upstream| **upstream == ***name));
    let gone: Vec<(String, Bit)> = gone.map(|(name, (bit, _))| (name.clone(), *bit)).collect();
    for (name, bit) in gone {
        let carried: bool = db.query_row("SELECT EXISTS (SELECT 1 FROM entry WHERE mask & ?1)", params![bit.mask()], |row| row.get(0))?;
        if !carried {
            known.remove(&name);
            return Ok(bit);
        }
        let _infallible = write!(owed, " {name}");
    }
    let most = UpstreamSet::MAX;
    Err(OpenError::Unusable(format!("more than {most} upstreams, counting those that are gone and still owed:{owed}")))
}

/// The queue's cursor; a damaged row means "from the first entry": duplicates, not loss.
fn cursor(db: &Connection, bit: Bit, alarms: &mut Vec<String>) -> Result<EntryId, OpenError> {
    let mut statement = db.prepare_cached("SELECT cursor, live_from, live_to, crc FROM queue WHERE upstream = ?1 AND lane = ?2")?;
    let mut rows = statement.query(params![bit.0, schema::LANE])?;
    let Some(row) = rows.next()? else { return Ok(EntryId::ZERO) };
    let (cursor, crc) = (EntryId::from_i64(row.get(0)?), row.get::<_, i64>(3)?);
    if crc == i64::from(schema::queue_crc(bit, cursor)) {
        return Ok(cursor);
    }
    alarms.push("a queue's position in the store was damaged: its upstream gets messages twice".to_owned());
    Ok(EntryId::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::claim;

    /// A full disk at the start: the file is read, and nothing is written to it.
    #[test]
    fn a_start_that_cannot_be_written_knows_what_the_file_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
        let upstreams = names(&["a", "b"]);
        let moment = super::super::system::moment(ClockTrust::Never);
        let open = |upstreams| open(&path, upstreams, claim(&path).expect("free"), &moment, ClockTrust::Never);
        drop(open(&upstreams));
        let (file, before) = open(&upstreams);
        assert_eq!(before.start.epoch, 2);
        let mut db = file.db.expect("a connection");
        db.pragma_update(None, "query_only", true).expect("it is set");
        let version = schema::MIGRATIONS.len() as i64;
        for (upstreams, starts) in
            [(&upstreams, true), (&names(&["b", "a"]), true), (&names(&["a", "new"]), false), (&names(&["a"]), false)]
        {
            let opened = begin(&mut db, version, upstreams, 7, &moment, &mut Vec::new(), false).ok();
            let epoch = opened.as_ref().map(|(_, opened)| opened.start.epoch);
            assert_eq!(epoch, starts.then_some(3), "{upstreams:?}");
            for queue in opened.into_iter().flat_map(|(_, opened)| opened.queues) {
                assert!(before.queues.contains(&queue), "{queue:?}");
            }
        }
    }
}
