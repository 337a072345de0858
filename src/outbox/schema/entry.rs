//! Rows of messages: entries and dead letters.

use bytes::Bytes;
use rusqlite::{Connection, Row as SqlRow, params};

use super::super::job::{DeadLetter, Row};
use super::super::times::{Stamp, When};
use super::{LANE, Sum, blob, take, whole};
use crate::model::{Body, BodyKind, Entry, EntryId, Mono, Publisher, QoS, Topic, UpstreamSet, Wall};

/// Versions of the `properties` of an entry: their first byte. Version 1 ends with the time of acceptance.
const PROPERTIES_1: u8 = 1;
const PROPERTIES: u8 = 2;
const RETAIN: u8 = 1;
const EXPIRES: u8 = 2;
/// Sessions were owed it when it was written.
const DUE: u8 = 4;
/// The retained store was owed it.
const RETAINED: u8 = 8;

/// Dead letters that are kept; beyond it the oldest go.
const DEAD_LETTERS_MAX: u32 = 10_000;

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
pub fn write_entry(db: &Connection, row: &Row, when: When<'_>) -> rusqlite::Result<()> {
    let Row { mask, entry } = row;
    let properties = properties(entry, when);
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
pub fn write_dead_letter(db: &Connection, letter: &DeadLetter, entry: &Entry, when: When<'_>) -> rusqlite::Result<()> {
    let DeadLetter { id, upstream, code, cause, at, .. } = letter;
    let properties = properties(entry, when);
    let (topic, body): (&[u8], &[u8]) = (entry.topic.as_bytes(), &entry.body.bytes);
    let kind = i64::from(entry.body.kind as u8);
    let sum = Sum::new("dead_letter").number(id.as_i64()).bytes(upstream.as_bytes()).bytes(topic).bytes(&properties).bytes(body);
    let crc = sum.number(kind).number(code.map_or(-1, i64::from)).bytes(cause.as_bytes()).number(at.0).end();
    // After a kill between this row and the queue's cursor, the entry is refused once more.
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO dead_letter VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    statement.execute(params![id.as_i64(), &**upstream, topic, properties, body, kind, code, cause, at.0, crc])?;
    Ok(())
}

/// Removes the oldest dead letters beyond [`DEAD_LETTERS_MAX`]; returns how many.
///
/// # Errors
/// SQLite's.
pub fn drop_old_dead_letters(db: &Connection) -> rusqlite::Result<usize> {
    let keep = "DELETE FROM dead_letter WHERE id < (SELECT id FROM dead_letter ORDER BY id DESC LIMIT 1 OFFSET ?1)";
    db.execute(keep, params![DEAD_LETTERS_MAX])
}

/// The columns that [`read_entry`] wants.
pub const ENTRY_COLUMNS: &str = "id, mask, lane, topic, properties, body, kind, crc";

/// `None`: the row is damaged.
///
/// # Errors
/// SQLite's.
pub fn read_entry(row: &SqlRow<'_>, when: When<'_>) -> rusqlite::Result<Option<Row>> {
    whole(read_fields(row, when))
}

fn read_fields(row: &SqlRow<'_>, when: When<'_>) -> rusqlite::Result<Option<Row>> {
    let (id, mask, lane, kind): (i64, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(6)?);
    let (topic, properties, body) = (blob(row, 3)?, blob(row, 4)?, blob(row, 5)?);
    let fields = EntryFields { id, lane, mask, topic, properties, body, kind };
    if row.get::<_, i64>(7)? != i64::from(fields.crc()) {
        return Ok(None);
    }
    Ok(decode(&fields, when))
}

fn decode(fields: &EntryFields<'_>, when: When<'_>) -> Option<Row> {
    let properties = Properties::decode(fields.properties)?;
    let entry = Entry {
        id: EntryId::from_i64(fields.id),
        owed: UpstreamSet::EMPTY,
        due: Vec::new(),
        received: None,
        retained: false,
        source: Publisher::Gateway,
        topic: Topic::from_bytes(Bytes::copy_from_slice(fields.topic)).ok()?,
        body: body(fields.kind, fields.body)?,
        qos: properties.qos,
        retain: properties.flags & RETAIN != 0,
        properties: Bytes::copy_from_slice(properties.encoded),
        expires: properties.expires(when),
        awaited: false,
        accepted: when.now,
        accepted_wall: properties.accepted,
    };
    Some(Row { mask: u32::try_from(fields.mask).ok()?, entry })
}

pub(super) fn body(kind: i64, bytes: &[u8]) -> Option<Body> {
    let kind = BodyKind::from_u8(u8::try_from(kind).ok()?)?;
    Some(Body { kind, bytes: Bytes::copy_from_slice(bytes) })
}

/// When an entry was accepted, from its `properties`; zero if they are damaged.
pub fn accepted_wall(properties: &[u8]) -> Wall {
    let wall = properties.get(3..11).and_then(|wall| wall.try_into().ok());
    Wall(wall.map_or(0, i64::from_le_bytes))
}

fn properties(entry: &Entry, when: When<'_>) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    Properties {
        qos: entry.qos,
        flags: flag(entry.retain, RETAIN) | flag(!entry.due.is_empty(), DUE) | flag(entry.retained, RETAINED),
        accepted: entry.accepted_wall,
        left: entry.expires.map(|expires| (when.stamp(), when.left(expires))),
        encoded: &entry.properties,
    }
    .encode()
}

/// What stands in the column `properties`: version u8, QoS u8, flags u8, wall-clock time of acceptance i64; then, if it expires, boot u32,
/// milliseconds of that boot u64, milliseconds left u64; then the encoded properties of its PUBLISH. All little-endian.
pub(super) struct Properties<'a> {
    pub qos: QoS,
    pub flags: u8,
    pub accepted: Wall,
    pub left: Option<(Stamp, u64)>,
    pub encoded: &'a [u8],
}

impl<'a> Properties<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(31 + self.encoded.len());
        out.extend_from_slice(&[PROPERTIES, self.qos as u8, self.flags | if self.left.is_some() { EXPIRES } else { 0 }]);
        out.extend_from_slice(&self.accepted.0.to_le_bytes());
        if let Some((stamp, left_ms)) = self.left {
            out.extend_from_slice(&stamp.boot.to_le_bytes());
            out.extend_from_slice(&stamp.ms.to_le_bytes());
            out.extend_from_slice(&left_ms.to_le_bytes());
        }
        out.extend_from_slice(self.encoded);
        out
    }

    pub fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let [version, qos, flags] = take(&mut bytes)?;
        let accepted = Wall(i64::from_le_bytes(take(&mut bytes)?));
        let left = match version {
            PROPERTIES_1 if bytes.is_empty() => None,
            PROPERTIES if flags & EXPIRES == 0 => None,
            PROPERTIES => {
                let (boot, ms) = (u32::from_le_bytes(take(&mut bytes)?), u64::from_le_bytes(take(&mut bytes)?));
                Some((Stamp { boot, ms }, u64::from_le_bytes(take(&mut bytes)?)))
            }
            _ => return None,
        };
        Some(Self { qos: QoS::from_u8(qos)?, flags, accepted, left, encoded: bytes })
    }

    pub fn expires(&self, when: When<'_>) -> Option<Mono> {
        self.left.map(|(stamp, left_ms)| when.expires(left_ms, stamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_version_1_are_still_read() {
        let accepted = Wall(1_700_000_000_000);
        let mut bytes = vec![PROPERTIES_1, 1, RETAIN];
        bytes.extend_from_slice(&accepted.0.to_le_bytes());
        let properties = Properties::decode(&bytes).expect("they are whole");
        assert_eq!((properties.qos, properties.flags, properties.accepted), (QoS::AtLeastOnce, RETAIN, accepted));
        assert_eq!((properties.left, properties.encoded), (None, &b""[..]));
        assert_eq!(accepted_wall(&bytes), accepted);
        bytes.push(0);
        assert!(Properties::decode(&bytes).is_none(), "version 1 ends there");
    }

    #[test]
    fn properties_come_back_as_they_were() {
        let stamp = Stamp { boot: 7, ms: 99 };
        for (left, encoded) in [(None, &b""[..]), (Some((stamp, 5)), b""), (None, b"\x01\x01"), (Some((stamp, u64::MAX)), b"\x01\x01")] {
            let bytes = Properties { qos: QoS::ExactlyOnce, flags: DUE, accepted: Wall(-3), left, encoded }.encode();
            let read = Properties::decode(&bytes).expect("they are whole");
            assert_eq!(
                (read.qos, read.flags & DUE, read.accepted, read.left, read.encoded),
                (QoS::ExactlyOnce, DUE, Wall(-3), left, encoded)
            );
            assert_eq!(accepted_wall(&bytes), Wall(-3));
        }
        assert!(Properties::decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none(), "a version that nobody wrote");
    }
}
