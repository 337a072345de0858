//! Rows of sessions: the session itself, its subscriptions, what it is owed, and the packet ids of QoS 2 that it has sent.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row as SqlRow, params};

use super::super::times::{Stamp, When};
use super::{Sum, blob, take, text, whole};
use crate::model::{
    Due, DueState, EntryId, Mono, QoS, RetainHandling, SessionId, StoredSession, StoredWill, SubscribeOptions, Subscription, Topic,
    TopicFilter,
};

/// Version of the column `will`: its first byte.
const WILL: u8 = 1;
const WILL_RETAIN: u8 = 1;
const WILL_EXPIRES: u8 = 4;

/// Adds or replaces the row. `at`: when what it says of its expiry was so.
///
/// # Errors
/// SQLite's.
pub fn write_session(db: &Connection, session: &StoredSession, at: Mono, when: When<'_>) -> rusqlite::Result<()> {
    let StoredSession { id, client, user, expiry, left_ms, listener, will } = session;
    let Stamp { boot, ms } = when.times.stamp(at);
    let will = will.as_ref().map(encode_will);
    let (id, ms) = (id.0.as_i64(), i64::try_from(ms).unwrap_or(i64::MAX));
    let left_ms = left_ms.map(|left| i64::try_from(left).unwrap_or(i64::MAX));
    let crc = session_crc(id, client, user.as_deref(), *expiry, left_ms, 0, will.as_deref(), boot, ms, Some(listener));
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10)")?;
    statement.execute(params![id, &**client, user.as_deref(), expiry, left_ms, will, boot, ms, crc, &**listener])?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one a column")]
fn session_crc(
    id: i64,
    client: &str,
    user: Option<&str>,
    expiry: u32,
    left_ms: Option<i64>,
    restricted: i64,
    will: Option<&[u8]>,
    boot: u32,
    ms: i64,
    listener: Option<&str>,
) -> u32 {
    let sum = Sum::new("session").number(id).bytes(client.as_bytes());
    let sum = sum.maybe(user.map(|_| 0)).bytes(user.unwrap_or_default().as_bytes());
    let sum = sum.number(expiry.into()).maybe(left_ms).number(restricted);
    let sum = sum.maybe(will.map(|_| 0)).bytes(will.unwrap_or_default());
    sum.number(boot.into()).number(ms).added(listener.map(str::as_bytes)).end()
}

/// Of all columns in their order; `left_ms` is what is left now. `None`: the row is damaged.
///
/// # Errors
/// SQLite's.
pub fn read_session(row: &SqlRow<'_>, when: When<'_>) -> rusqlite::Result<Option<StoredSession>> {
    let read = || {
        let (id, client): (i64, &str) = (row.get(0)?, text(row, 1)?);
        let user = row.get_ref(2)?.as_str_or_null().map_err(|_| super::wrong_type(2))?;
        let (expiry, left_ms): (u32, Option<i64>) = (row.get(3)?, row.get(4)?);
        let restricted = row.get::<_, i64>(5)?;
        let will = row.get_ref(6)?.as_blob_or_null().map_err(|_| super::wrong_type(6))?;
        let (boot, ms): (u32, i64) = (row.get(7)?, row.get(8)?);
        let listener = row.get_ref(10)?.as_str_or_null().map_err(|_| super::wrong_type(10))?;
        if row.get::<_, i64>(9)? != i64::from(session_crc(id, client, user, expiry, left_ms, restricted, will, boot, ms, listener)) {
            return Ok(None);
        }
        let stamp = Stamp { boot, ms: u64::try_from(ms).unwrap_or(0) };
        let left_ms = left_ms.map(|left| when.left_of(u64::try_from(left).unwrap_or(0), stamp));
        let will = match will.map(decode_will) {
            Some(None) => return Ok(None),
            will => will.flatten(),
        };
        let id = SessionId(EntryId::from_i64(id));
        let listener = listener.unwrap_or_default().into();
        Ok(Some(StoredSession { id, client: client.into(), user: user.map(Arc::from), expiry, left_ms, listener, will }))
    };
    whole(read())
}

/// Version u8, QoS u8, flags u8, delay u32, expiry u32 (0 if it has none), length of the topic u16 and the topic, length of the properties u32
/// and the properties; the rest is the body. All little-endian.
fn encode_will(will: &StoredWill) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(will.retain, WILL_RETAIN) | flag(will.expiry.is_some(), WILL_EXPIRES);
    let topic = will.topic.as_bytes();
    let mut out = vec![WILL, will.qos as u8, flags];
    out.extend_from_slice(&will.delay.to_le_bytes());
    out.extend_from_slice(&will.expiry.unwrap_or(0).to_le_bytes());
    // A topic has at most 65,535 bytes, and properties come out of one packet.
    out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(topic);
    out.extend_from_slice(&u32::try_from(will.properties.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&will.properties);
    out.extend_from_slice(&will.body);
    out
}

fn decode_will(mut bytes: &[u8]) -> Option<StoredWill> {
    let [WILL, qos, flags] = take(&mut bytes)? else { return None };
    let (delay, expiry) = (u32::from_le_bytes(take(&mut bytes)?), u32::from_le_bytes(take(&mut bytes)?));
    let topic = usize::from(u16::from_le_bytes(take(&mut bytes)?));
    let (topic, mut bytes) = bytes.split_at_checked(topic)?;
    let properties = usize::try_from(u32::from_le_bytes(take(&mut bytes)?)).ok()?;
    let (properties, body) = bytes.split_at_checked(properties)?;
    Some(StoredWill {
        topic: Topic::from_bytes(Bytes::copy_from_slice(topic)).ok()?,
        body: Bytes::copy_from_slice(body),
        qos: QoS::from_u8(qos)?,
        retain: flags & WILL_RETAIN != 0,
        properties: Bytes::copy_from_slice(properties),
        expiry: (flags & WILL_EXPIRES != 0).then_some(expiry),
        delay,
    })
}

/// Removes the session with its subscriptions and packet ids. What it was owed is removed row by row.
///
/// # Errors
/// SQLite's.
pub fn end_session(db: &Connection, session: SessionId) -> rusqlite::Result<()> {
    for delete in
        ["DELETE FROM subscription WHERE session = ?1", "DELETE FROM received WHERE session = ?1", "DELETE FROM session WHERE id = ?1"]
    {
        db.prepare_cached(delete)?.execute(params![session.0.as_i64()])?;
    }
    Ok(())
}

/// Adds or replaces the row.
///
/// # Errors
/// SQLite's.
pub fn write_subscription(db: &Connection, session: SessionId, subscription: &Subscription) -> rusqlite::Result<()> {
    let Subscription { filter, options, identifier } = subscription;
    let options = i64::from(options.qos as u8)
        | i64::from(options.no_local) << 2
        | i64::from(options.retain_as_published) << 3
        | i64::from(options.retain_handling as u8) << 4;
    let (session, filter) = (session.0.as_i64(), filter.as_str());
    let crc = subscription_crc(session, filter, options, *identifier);
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO subscription VALUES (?1, ?2, ?3, ?4, ?5)")?;
    statement.execute(params![session, filter, options, identifier, crc])?;
    Ok(())
}

fn subscription_crc(session: i64, filter: &str, options: i64, identifier: Option<u32>) -> u32 {
    Sum::new("subscription").number(session).bytes(filter.as_bytes()).number(options).maybe(identifier.map(i64::from)).end()
}

/// # Errors
/// SQLite's.
pub fn remove_subscription(db: &Connection, session: SessionId, filter: &TopicFilter) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("DELETE FROM subscription WHERE session = ?1 AND filter = ?2")?;
    statement.execute(params![session.0.as_i64(), filter.as_str()])?;
    Ok(())
}

/// Of all columns in their order. `None`: the row is damaged.
///
/// # Errors
/// SQLite's.
pub fn read_subscription(row: &SqlRow<'_>) -> rusqlite::Result<Option<(SessionId, Subscription)>> {
    let read = || {
        let (session, filter, options, identifier): (i64, &str, i64, Option<u32>) = (row.get(0)?, text(row, 1)?, row.get(2)?, row.get(3)?);
        if row.get::<_, i64>(4)? != i64::from(subscription_crc(session, filter, options, identifier)) {
            return Ok(None);
        }
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Ok(None),
        };
        let (Some(qos), Ok(filter)) = (QoS::from_u8((options & 3) as u8), TopicFilter::new(filter)) else { return Ok(None) };
        let (no_local, retain_as_published) = (options & 4 != 0, options & 8 != 0);
        let options = SubscribeOptions { qos, no_local, retain_as_published, retain_handling };
        Ok(Some((SessionId(EntryId::from_i64(session)), Subscription { filter, options, identifier })))
    };
    whole(read())
}

/// Adds or replaces the row.
///
/// # Errors
/// SQLite's.
pub fn write_due(db: &Connection, entry: EntryId, due: &Due) -> rusqlite::Result<()> {
    let (entry, session, qos) = (entry.as_i64(), due.session.0.as_i64(), i64::from(due.qos as u8));
    let identifiers: Vec<u8> = due.identifiers.iter().flat_map(|identifier| identifier.to_le_bytes()).collect();
    let (state, packet_id) = match due.state {
        DueState::Queued => (0, 0),
        DueState::Sent(packet_id) => (1, packet_id),
        DueState::Released(packet_id) => (2, packet_id),
    };
    let crc = due_crc(entry, session, qos, due.retain, &identifiers, state, packet_id);
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO due VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    statement.execute(params![entry, session, qos, due.retain, identifiers, state, packet_id, crc])?;
    Ok(())
}

fn due_crc(entry: i64, session: i64, qos: i64, retain: bool, identifiers: &[u8], state: i64, packet_id: u16) -> u32 {
    let sum = Sum::new("due").number(entry).number(session).number(qos).number(retain.into()).bytes(identifiers);
    sum.number(state).number(packet_id.into()).end()
}

/// # Errors
/// SQLite's.
pub fn remove_due(db: &Connection, entry: EntryId, session: SessionId) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("DELETE FROM due WHERE entry = ?1 AND session = ?2")?;
    statement.execute(params![entry.as_i64(), session.0.as_i64()])?;
    Ok(())
}

/// Of all columns in their order. `None`: the row is damaged.
///
/// # Errors
/// SQLite's.
pub fn read_due(row: &SqlRow<'_>) -> rusqlite::Result<Option<(EntryId, Due)>> {
    let read = || {
        let (entry, session, qos): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (retain, identifiers) = (row.get::<_, i64>(3)? != 0, blob(row, 4)?);
        let (state, packet_id): (i64, u16) = (row.get(5)?, row.get(6)?);
        if row.get::<_, i64>(7)? != i64::from(due_crc(entry, session, qos, retain, identifiers, state, packet_id)) {
            return Ok(None);
        }
        let state = match state {
            0 => DueState::Queued,
            1 => DueState::Sent(packet_id),
            2 => DueState::Released(packet_id),
            _ => return Ok(None),
        };
        let Some(qos) = u8::try_from(qos).ok().and_then(QoS::from_u8) else { return Ok(None) };
        let (identifiers, _) = identifiers.as_chunks::<4>();
        let identifiers = identifiers.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let session = SessionId(EntryId::from_i64(session));
        Ok(Some((EntryId::from_i64(entry), Due { session, qos, retain, identifiers, state, prompt: false })))
    };
    whole(read())
}

/// # Errors
/// SQLite's.
pub fn write_received(db: &Connection, session: SessionId, packet_id: u16) -> rusqlite::Result<()> {
    let session = session.0.as_i64();
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO received VALUES (?1, ?2, ?3)")?;
    statement.execute(params![session, packet_id, received_crc(session, packet_id)])?;
    Ok(())
}

fn received_crc(session: i64, packet_id: u16) -> u32 {
    Sum::new("received").number(session).number(packet_id.into()).end()
}

/// # Errors
/// SQLite's.
pub fn remove_received(db: &Connection, session: SessionId, packet_id: u16) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("DELETE FROM received WHERE session = ?1 AND packet_id = ?2")?;
    statement.execute(params![session.0.as_i64(), packet_id])?;
    Ok(())
}

/// Of all columns in their order. `None`: the row is damaged.
///
/// # Errors
/// SQLite's.
pub fn read_received(row: &SqlRow<'_>) -> rusqlite::Result<Option<(SessionId, u16)>> {
    let read = || {
        let (session, packet_id): (i64, u16) = (row.get(0)?, row.get(1)?);
        let right = row.get::<_, i64>(2)? == i64::from(received_crc(session, packet_id));
        Ok(right.then_some((SessionId(EntryId::from_i64(session)), packet_id)))
    };
    whole(read())
}
