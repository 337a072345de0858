//! Rows of retained messages, of losses and of boots.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row as SqlRow, params};

use super::super::job::Loss;
use super::super::times::{Boot, When};
use super::entry::{Properties, body};
use super::{Sum, blob, take, text, whole};
use crate::model::{Identity, Publisher, RetainedMessage, Topic, Wall};

/// Loss records that are kept; their sum lasts.
const LOSSES_KEPT: i64 = 1_000;
/// Boots that are remembered: a moment of an older one counts for no time.
const BOOTS_KEPT: u32 = 1_000;

/// Replaces what the topic has.
///
/// # Errors
/// SQLite's.
pub fn write_retained(db: &Connection, message: &RetainedMessage, when: When<'_>) -> rusqlite::Result<()> {
    let left = message.expires.map(|expires| (when.stamp(), when.left(expires)));
    let properties = Properties { qos: message.qos, flags: 0, accepted: Wall(0), left, encoded: &message.properties }.encode();
    let (topic, body): (&[u8], &[u8]) = (message.topic.as_bytes(), &message.body.bytes);
    let kind = i64::from(message.body.kind as u8);
    let source = encode_source(&message.source);
    let crc = retained_crc(topic, &properties, body, kind, source.as_deref());
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO retained VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    statement.execute(params![topic, properties, body, kind, crc, source])?;
    Ok(())
}

/// Version of the column `source`: its first byte.
const SOURCE: u8 = 1;

/// Nothing: nobody has noted it. No bytes: the gateway itself. Else version u8, whether there is a user u8, and the length u16, little-endian, and
/// the name of user, client and listener.
fn encode_source(source: &Publisher) -> Option<Vec<u8>> {
    let identity = match source {
        Publisher::Unknown => return None,
        Publisher::Gateway => return Some(Vec::new()),
        Publisher::Client(identity) => identity,
    };
    let mut out = vec![SOURCE, u8::from(identity.user.is_some())];
    for name in [identity.user.as_deref().unwrap_or_default(), &identity.client, &identity.listener] {
        // Names come out of MQTT strings, or of a file that has no line as long.
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    Some(out)
}

fn decode_source(source: Option<&[u8]>) -> Option<Publisher> {
    let mut bytes = match source {
        None => return Some(Publisher::Unknown),
        Some([]) => return Some(Publisher::Gateway),
        Some(bytes) => bytes,
    };
    let [SOURCE, named] = take(&mut bytes)? else { return None };
    let mut name = || -> Option<Arc<str>> {
        let length = usize::from(u16::from_le_bytes(take(&mut bytes)?));
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(std::str::from_utf8(name).ok()?.into())
    };
    let (user, client, listener) = (name()?, name()?, name()?);
    Some(Publisher::Client(Arc::new(Identity { user: Some(user).filter(|_| named != 0), client, listener })))
}

/// # Errors
/// SQLite's.
pub fn remove_retained(db: &Connection, topic: &Topic) -> rusqlite::Result<()> {
    let topic: &[u8] = topic.as_bytes();
    db.prepare_cached("DELETE FROM retained WHERE topic = ?1")?.execute(params![topic])?;
    Ok(())
}

fn retained_crc(topic: &[u8], properties: &[u8], body: &[u8], kind: i64, source: Option<&[u8]>) -> u32 {
    Sum::new("retained").bytes(topic).bytes(properties).bytes(body).number(kind).added(source).end()
}

/// Of all columns in their order. `None`: the row is damaged.
///
/// # Errors
/// SQLite's.
pub fn read_retained(row: &SqlRow<'_>, when: When<'_>) -> rusqlite::Result<Option<RetainedMessage>> {
    let read = || {
        let (topic, encoded, bytes, kind) = (blob(row, 0)?, blob(row, 1)?, blob(row, 2)?, row.get(3)?);
        let source = row.get_ref(5)?.as_blob_or_null().map_err(|_| super::wrong_type(5))?;
        if row.get::<_, i64>(4)? != i64::from(retained_crc(topic, encoded, bytes, kind, source)) {
            return Ok(None);
        }
        let (Some(properties), Some(body), Some(source)) = (Properties::decode(encoded), body(kind, bytes), decode_source(source)) else {
            return Ok(None);
        };
        let Ok(topic) = Topic::from_bytes(Bytes::copy_from_slice(topic)) else { return Ok(None) };
        let expires = properties.expires(when);
        let (qos, properties) = (properties.qos, Bytes::copy_from_slice(properties.encoded));
        Ok(Some(RetainedMessage { topic, body, qos, properties, expires, source }))
    };
    whole(read())
}

/// Adds the record of a loss (outbox.md 11). The sum of all goes on when the oldest records go.
///
/// # Errors
/// SQLite's.
pub fn write_loss(db: &Connection, loss: &Loss) -> rusqlite::Result<()> {
    let Loss { session, first, last, count, cause, at } = *loss;
    let client = db.prepare_cached("SELECT client FROM session WHERE id = ?1")?.query_row(params![session.0.as_i64()], |row| row.get(0));
    let client: String = client.unwrap_or_default();
    let (n, total) = last_loss(db)?;
    let (n, total, count) = (n + 1, total.saturating_add(count), i64::try_from(count).unwrap_or(i64::MAX));
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let sum = Sum::new("lost").number(n).number(session.0.as_i64()).bytes(client.as_bytes()).number(first.as_i64()).number(last.as_i64());
    let crc = sum.number(count).number(total).bytes(cause.as_bytes()).number(at.0).end();
    let mut statement = db.prepare_cached("INSERT INTO lost VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    statement.execute(params![n, session.0.as_i64(), client, first.as_i64(), last.as_i64(), count, total, cause, at.0, crc])?;
    db.prepare_cached("DELETE FROM lost WHERE n <= ?1")?.execute(params![n - LOSSES_KEPT])?;
    Ok(())
}

/// Messages that were ever lost, by the last record.
///
/// # Errors
/// SQLite's.
pub fn lost_so_far(db: &Connection) -> rusqlite::Result<u64> {
    Ok(last_loss(db)?.1)
}

fn last_loss(db: &Connection) -> rusqlite::Result<(i64, u64)> {
    let mut statement = db.prepare_cached("SELECT n, total FROM lost ORDER BY n DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok((0, 0)) };
    Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1).unwrap_or(0)).unwrap_or(0)))
}

/// # Errors
/// SQLite's.
pub fn write_boot(db: &Connection, boot: &Boot) -> rusqlite::Result<()> {
    let last_ms = i64::try_from(boot.last_ms).unwrap_or(i64::MAX);
    let crc = boot_crc(boot.n, &boot.id, boot.began, boot.trusted, last_ms);
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO boot VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    statement.execute(params![boot.n, &*boot.id, boot.began, boot.trusted, last_ms, crc])?;
    db.prepare_cached("DELETE FROM boot WHERE n <= ?1")?.execute(params![i64::from(boot.n) - i64::from(BOOTS_KEPT)])?;
    Ok(())
}

fn boot_crc(n: u32, id: &str, began: i64, trusted: bool, last_ms: i64) -> u32 {
    Sum::new("boot").number(n.into()).bytes(id.as_bytes()).number(began).number(trusted.into()).number(last_ms).end()
}

/// The boots that are whole, oldest first. What is kept as left in a boot that is damaged counts on from the next one.
///
/// # Errors
/// SQLite's.
pub fn boots(db: &Connection) -> rusqlite::Result<Vec<Boot>> {
    let mut statement = db.prepare("SELECT n, id, began, trusted, last_ms, crc FROM boot ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut boots = Vec::new();
    while let Some(row) = rows.next()? {
        let read = || {
            let (n, id, began, trusted, last_ms) = (row.get(0)?, text(row, 1)?, row.get(2)?, row.get::<_, i64>(3)? != 0, row.get(4)?);
            let right = row.get::<_, i64>(5)? == i64::from(boot_crc(n, id, began, trusted, last_ms));
            Ok(right.then(|| Boot { n, id: id.into(), began, trusted, last_ms: u64::try_from(last_ms).unwrap_or(0) }))
        };
        boots.extend(whole(read())?);
    }
    Ok(boots)
}
