//! The tables, their checksums, and how a file becomes ours. Migrations are append-only: one that was released is never changed.

mod entry;
mod retained;
mod session;

pub use entry::{ENTRY_COLUMNS, accepted_wall, drop_old_dead_letters, read_entry, write_dead_letter, write_entry};
pub use retained::{boots, lost_so_far, read_retained, remove_retained, write_boot, write_loss, write_retained};
pub use session::{
    end_session, read_due, read_received, read_session, read_subscription, remove_due, remove_received, remove_subscription, write_due,
    write_received, write_session, write_subscription,
};

use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use rusqlite::{Connection, Row as SqlRow, params};

use super::job::Bit;
use crate::model::EntryId;

/// Each brings a file from the version of its index to the next. `meta.schema` holds the number of those that were run.
pub const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE start (epoch INTEGER PRIMARY KEY, nonce INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE upstream (bit INTEGER PRIMARY KEY, name TEXT NOT NULL, gone INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, mask INTEGER NOT NULL, topic BLOB NOT NULL, properties BLOB NOT NULL,
        body BLOB NOT NULL, kind INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE queue (
        upstream INTEGER NOT NULL, lane INTEGER NOT NULL, cursor INTEGER NOT NULL, live_from INTEGER NOT NULL, live_to INTEGER NOT NULL,
        crc INTEGER NOT NULL, PRIMARY KEY (upstream, lane)) WITHOUT ROWID;
    CREATE TABLE dead_letter (
        id INTEGER NOT NULL, upstream TEXT NOT NULL, topic BLOB NOT NULL, properties BLOB NOT NULL, body BLOB NOT NULL,
        kind INTEGER NOT NULL, code INTEGER, cause TEXT NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (id, upstream)) WITHOUT ROWID;
",
    "
    CREATE TABLE boot (
        n INTEGER PRIMARY KEY, id TEXT NOT NULL, began INTEGER NOT NULL, trusted INTEGER NOT NULL, last_ms INTEGER NOT NULL,
        crc INTEGER NOT NULL);
    CREATE TABLE session (
        id INTEGER PRIMARY KEY, client TEXT NOT NULL, user TEXT, expiry INTEGER NOT NULL, left_ms INTEGER, restricted INTEGER NOT NULL,
        will BLOB, boot INTEGER NOT NULL, ms INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE subscription (
        session INTEGER NOT NULL, filter TEXT NOT NULL, options INTEGER NOT NULL, identifier INTEGER, crc INTEGER NOT NULL,
        PRIMARY KEY (session, filter)) WITHOUT ROWID;
    CREATE TABLE due (
        entry INTEGER NOT NULL, session INTEGER NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL, identifiers BLOB NOT NULL,
        state INTEGER NOT NULL, packet_id INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (entry, session)) WITHOUT ROWID;
    CREATE TABLE received (
        session INTEGER NOT NULL, packet_id INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (session, packet_id)) WITHOUT ROWID;
    CREATE TABLE retained (
        topic BLOB PRIMARY KEY, properties BLOB NOT NULL, body BLOB NOT NULL, kind INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE lost (
        n INTEGER PRIMARY KEY, session INTEGER NOT NULL, client TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        count INTEGER NOT NULL, total INTEGER NOT NULL, cause TEXT NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL);
",
    // `session.restricted` says nothing any more. NULL: of before, and not in the row's checksum.
    "
    ALTER TABLE session ADD COLUMN listener TEXT;
    ALTER TABLE retained ADD COLUMN source BLOB;
",
];

/// The only lane so far.
pub const LANE: u8 = 0;
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// In this order, before the first table; EXCLUSIVE, the first of the contract's, is set when the file is opened. `page_size` and
/// `auto_vacuum` are the file's for good; setting the latter again would write, for which a full disk has no room.
///
/// # Errors
/// SQLite's.
pub fn set_pragmas(db: &Connection, fresh: bool) -> rusqlite::Result<()> {
    if fresh {
        db.pragma_update(None, "page_size", 1_024)?;
        db.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "wal_autocheckpoint", 0)
}

/// A checksum over fields; each is told apart from the next by its length.
struct Sum(Digest<'static, u32, Table<16>>);

impl Sum {
    fn new(table: &str) -> Self {
        Self(CRC32C.digest()).bytes(table.as_bytes())
    }

    fn number(mut self, n: i64) -> Self {
        self.0.update(&n.to_le_bytes());
        self
    }

    /// A number that may be absent; told apart from every one that is there.
    fn maybe(self, n: Option<i64>) -> Self {
        match n {
            Some(n) => self.number(1).number(n),
            None => self.number(0),
        }
    }

    /// A column that was added later: without a value the row's checksum is what it was before.
    fn added(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self,
        }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn end(self) -> u32 {
        self.0.finalize()
    }
}

pub fn meta_crc(key: &str, value: i64) -> u32 {
    Sum::new("meta").bytes(key.as_bytes()).number(value).end()
}

pub fn start_crc(epoch: u32, nonce: u32) -> u32 {
    Sum::new("start").number(epoch.into()).number(nonce.into()).end()
}

pub fn upstream_crc(bit: Bit, name: &str, gone: bool) -> u32 {
    Sum::new("upstream").number(bit.0.into()).bytes(name.as_bytes()).number(gone.into()).end()
}

pub fn queue_crc(bit: Bit, cursor: EntryId) -> u32 {
    Sum::new("queue").number(bit.0.into()).number(LANE.into()).number(cursor.as_i64()).number(0).number(0).end()
}

/// # Errors
/// SQLite's.
pub fn write_queue(db: &Connection, bit: Bit, cursor: EntryId) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO queue VALUES (?1, ?2, ?3, 0, 0, ?4)")?;
    statement.execute(params![bit.0, LANE, cursor.as_i64(), queue_crc(bit, cursor)])?;
    Ok(())
}

/// # Errors
/// SQLite's.
pub fn write_upstream(db: &Connection, bit: Bit, name: &str, gone: bool) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO upstream VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![bit.0, name, gone, upstream_crc(bit, name, gone)])?;
    Ok(())
}

/// What was read, or `None` for a row that is damaged: also one whose column is of another type than it should be.
fn whole<T>(read: rusqlite::Result<Option<T>>) -> rusqlite::Result<Option<T>> {
    match read {
        Err(
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::FromSqlConversionFailure(..),
        ) => Ok(None),
        read => read,
    }
}

fn blob<'a>(row: &'a SqlRow<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    row.get_ref(column)?.as_blob().map_err(|_| wrong_type(column))
}

fn text<'a>(row: &'a SqlRow<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|_| wrong_type(column))
}

fn wrong_type(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, String::new(), rusqlite::types::Type::Null)
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (front, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*front)
}
