//! The tables, their checksums, and how a file becomes ours. Migrations are append-only: one that was released is never changed.

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use rusqlite::{Connection, Row as SqlRow, params};

use crate::model::{Body, BodyKind, Entry, EntryId, Mono, QoS, Topic, UpstreamSet, Wall};

use super::job::{Bit, DeadLetter, Row};

/// Each brings a file from the version of its index to the next. `meta.schema` holds the number of those that were run.
pub const MIGRATIONS: &[&str] = &["
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
"];

/// The only lane so far.
pub const LANE: u8 = 0;
/// Version of the `properties` of an entry: its first byte.
const PROPERTIES: u8 = 1;
const RETAIN: u8 = 1;

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

/// The fields of an entry as they stand in its row.
struct EntryFields<'a> {
    id: i64,
    lane: i64,
    mask: i64,
    topic: &'a [u8],
    properties: &'a [u8],
    body: &'a [u8],
    kind: i64,
}

impl EntryFields<'_> {
    fn crc(&self) -> u32 {
        let Self { id, lane, mask, topic, properties, body, kind } = *self;
        Sum::new("entry").number(id).number(lane).number(mask).bytes(topic).bytes(properties).bytes(body).number(kind).end()
    }
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

/// # Errors
/// SQLite's.
pub fn write_entry(db: &Connection, row: &Row) -> rusqlite::Result<()> {
    let Row { mask, entry } = row;
    let properties = properties(entry);
    let (topic, body): (&[u8], &[u8]) = (entry.topic.as_bytes(), &entry.body.bytes);
    let kind = i64::from(entry.body.kind as u8);
    let fields =
        EntryFields { id: entry.id.as_i64(), lane: LANE.into(), mask: i64::from(*mask), topic, properties: &properties, body, kind };
    let mut statement = db.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    statement.execute(params![fields.id, fields.lane, fields.mask, topic, properties, body, kind, fields.crc()])?;
    Ok(())
}

/// # Errors
/// SQLite's.
pub fn write_dead_letter(db: &Connection, letter: &DeadLetter, entry: &Entry) -> rusqlite::Result<()> {
    let DeadLetter { id, upstream, code, cause, at, .. } = letter;
    let properties = properties(entry);
    let (topic, body): (&[u8], &[u8]) = (entry.topic.as_bytes(), &entry.body.bytes);
    let kind = i64::from(entry.body.kind as u8);
    let sum = Sum::new("dead_letter").number(id.as_i64()).bytes(upstream.as_bytes()).bytes(topic).bytes(&properties).bytes(body);
    let crc = sum.number(kind).number(code.map_or(-1, i64::from)).bytes(cause.as_bytes()).number(at.0).end();
    // After a kill between this row and the queue's cursor, the entry is refused once more.
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO dead_letter VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    statement.execute(params![id.as_i64(), &**upstream, topic, properties, body, kind, code, cause, at.0, crc])?;
    Ok(())
}

/// The columns that [`read_entry`] wants.
pub const ENTRY_COLUMNS: &str = "id, mask, lane, topic, properties, body, kind, crc";

/// `None`: the row is damaged.
///
/// # Errors
/// SQLite's; a column of another type than it should be is damage, too.
pub fn read_entry(row: &SqlRow<'_>) -> rusqlite::Result<Option<Row>> {
    match read_fields(row) {
        Err(rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..)) => Ok(None),
        read => read,
    }
}

fn read_fields(row: &SqlRow<'_>) -> rusqlite::Result<Option<Row>> {
    let (id, mask, lane, kind): (i64, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(6)?);
    let blob = |column| row.get_ref(column)?.as_blob().map_err(|_| wrong_type(column));
    let (topic, properties, body) = (blob(3)?, blob(4)?, blob(5)?);
    let fields = EntryFields { id, lane, mask, topic, properties, body, kind };
    if row.get::<_, i64>(7)? != i64::from(fields.crc()) {
        return Ok(None);
    }
    Ok(decode(&fields))
}

fn wrong_type(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, String::new(), rusqlite::types::Type::Null)
}

fn decode(fields: &EntryFields<'_>) -> Option<Row> {
    let kind = BodyKind::from_u8(u8::try_from(fields.kind).ok()?)?;
    let [PROPERTIES, qos, flags, wall @ ..] = fields.properties else { return None };
    let entry = Entry {
        id: EntryId::from_i64(fields.id),
        owed: UpstreamSet::EMPTY,
        due: Vec::new(),
        received: None,
        retained: false,
        topic: Topic::from_bytes(Bytes::copy_from_slice(fields.topic)).ok()?,
        body: Body { kind, bytes: Bytes::copy_from_slice(fields.body) },
        qos: QoS::from_u8(*qos)?,
        retain: flags & RETAIN != 0,
        properties: Bytes::new(),
        expires: None,
        awaited: false,
        accepted: Mono::ZERO,
        accepted_wall: Wall(i64::from_le_bytes(wall.try_into().ok()?)),
    };
    Some(Row { mask: u32::try_from(fields.mask).ok()?, entry })
}

/// When an entry was accepted, from its `properties`; zero if they are damaged.
pub fn accepted_wall(properties: &[u8]) -> Wall {
    let wall = properties.get(3..).and_then(|wall| wall.try_into().ok());
    Wall(wall.map_or(0, i64::from_le_bytes))
}

/// Version u8, QoS u8, flags u8, wall-clock time of acceptance i64 (little-endian).
fn properties(entry: &Entry) -> Vec<u8> {
    let mut out = vec![PROPERTIES, entry.qos as u8, if entry.retain { RETAIN } else { 0 }];
    out.extend_from_slice(&entry.accepted_wall.0.to_le_bytes());
    out
}
