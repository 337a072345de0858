//! One batch, one transaction.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::job::{Batch, DeadLetter, Report, Row, Trim};
use super::super::schema;
use super::super::times::{Times, When};
use super::usage;
use crate::clock;
use crate::faults;
use crate::model::{Change, EntryId, RetainedMessage, StateChange};

/// How long the fault `hang-fsync` holds a commit.
const HANG: Duration = Duration::from_secs(3);

/// Runs the batch as one transaction. `look`: the row of this boot goes along.
pub(super) fn commit(db: &mut Connection, batch: &Batch, times: &Times, look: bool) -> rusqlite::Result<Report> {
    let when = When { times, now: batch.now.mono };
    let transaction = db.transaction()?;
    mirror(&transaction, batch, when)?;
    for loss in &batch.losses {
        schema::write_loss(&transaction, loss)?;
    }
    for letter in &batch.dead_letters {
        dead_letter(&transaction, letter, when)?;
    }
    if !batch.dead_letters.is_empty() {
        let dropped = schema::drop_old_dead_letters(&transaction)?;
        if dropped > 0 {
            tracing::warn!(dropped, "the oldest dead letters were dropped");
        }
    }
    for &(bit, cursor) in &batch.cursors {
        schema::write_queue(&transaction, bit, cursor)?;
    }
    let removed = remove(&transaction, batch)?;
    let (trimmed, deleted) = trim(&transaction, batch)?;
    if let Some(boot) = times.boot().filter(|_| look) {
        schema::write_boot(&transaction, boot)?;
    }
    if faults::active("hang-fsync") {
        clock::block_for(HANG);
    }
    transaction.commit()?;
    Ok(Report::Committed { trimmed, deleted: deleted + removed, usage: usage(db)? })
}

/// Entries and changes in the order of their ids: that is how they happened.
fn mirror(db: &Connection, batch: &Batch, when: When<'_>) -> rusqlite::Result<()> {
    let mut rows = batch.rows.iter().peekable();
    for change in &batch.changes {
        while let Some(row) = rows.next_if(|row| row.entry.id < change.id) {
            write_row(db, row, when)?;
        }
        make(db, change, when)?;
    }
    rows.try_for_each(|row| write_row(db, row, when))
}

fn write_row(db: &Connection, row: &Row, when: When<'_>) -> rusqlite::Result<()> {
    let entry = &row.entry;
    if row.is_owed() {
        schema::write_entry(db, row, when)?;
    }
    for due in &entry.due {
        schema::write_due(db, entry.id, due)?;
    }
    if let Some((session, packet_id)) = entry.received {
        schema::write_received(db, session, packet_id)?;
    }
    if entry.retained && entry.body.bytes.is_empty() {
        schema::remove_retained(db, &entry.topic)?;
    } else if entry.retained {
        let (topic, body, properties) = (entry.topic.clone(), entry.body.clone(), entry.properties.clone());
        let (qos, expires, source) = (entry.qos, entry.expires, entry.source.clone());
        schema::write_retained(db, &RetainedMessage { topic, body, qos, properties, expires, source }, when)?;
    }
    Ok(())
}

fn make(db: &Connection, change: &Change, when: When<'_>) -> rusqlite::Result<()> {
    match &change.what {
        StateChange::Session(session) => schema::write_session(db, session, change.at, when),
        StateChange::SessionEnded(session) => schema::end_session(db, *session),
        StateChange::Subscribed { session, subscription } => schema::write_subscription(db, *session, subscription),
        StateChange::Unsubscribed { session, filter } => schema::remove_subscription(db, *session, filter),
        StateChange::Received { session, packet_id } => schema::write_received(db, *session, *packet_id),
        StateChange::Released { session, packet_id } => schema::remove_received(db, *session, *packet_id),
        StateChange::Due { entry, due } => schema::write_due(db, *entry, due),
        StateChange::Retained(message) => schema::write_retained(db, message, when),
        StateChange::RetainedGone(topic) => schema::remove_retained(db, topic),
    }
}

/// Deletes what sessions are done with, and the entries that nobody is owed any more. Returns how many entries that were.
fn remove(db: &Connection, batch: &Batch) -> rusqlite::Result<u64> {
    for &(entry, session) in &batch.removed {
        schema::remove_due(db, entry, session)?;
    }
    let mut entries: Vec<EntryId> = batch.removed.iter().map(|(entry, _)| *entry).collect();
    entries.sort_unstable();
    entries.dedup();
    let mut deleted = 0;
    for entry in entries {
        let row = "SELECT mask FROM entry WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM due WHERE entry = ?1)";
        let mask: Option<i64> = db.prepare_cached(row)?.query_row(params![entry.as_i64()], |row| row.get(0)).optional()?;
        // Of a bit that no queue has, nobody knows how far it came.
        let passed = batch.owing.iter().filter(|(_, cursor)| entry <= *cursor).fold(0, |mask, (bit, _)| mask | bit.mask());
        if mask.is_some_and(|mask| mask & !i64::from(passed) == 0) {
            deleted += db.prepare_cached("DELETE FROM entry WHERE id = ?1")?.execute(params![entry.as_i64()])? as u64;
        }
    }
    Ok(deleted)
}

fn dead_letter(db: &Connection, letter: &DeadLetter, when: When<'_>) -> rusqlite::Result<()> {
    if let Some(entry) = &letter.entry {
        return schema::write_dead_letter(db, letter, entry, when);
    }
    let query = format!("SELECT {} FROM entry WHERE id = ?1", schema::ENTRY_COLUMNS);
    let mut statement = db.prepare_cached(&query)?;
    let mut rows = statement.query(params![letter.id.as_i64()])?;
    let found = rows.next()?.map(|row| schema::read_entry(row, when)).transpose()?.flatten();
    match found {
        Some(Row { entry, .. }) => schema::write_dead_letter(db, letter, &entry, when),
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
        let delete = format!(
            "DELETE FROM entry WHERE id > ?1 AND id <= ?2 AND mask & ?3{kept} AND NOT EXISTS (SELECT 1 FROM due WHERE due.entry = entry.id)"
        );
        deleted += db.execute(&delete, params![from.as_i64(), end.as_i64(), bit.mask()])? as u64;
        trimmed.push(Trim { bit, from, to: end });
    }
    Ok((trimmed, deleted))
}
