//! The start: sessions and what hangs on them, read back for the broker.
//!
//! | The row | What is done |
//! |---|---|
//! | of a session is damaged | it goes with all that hangs on it; an alarm |
//! | of a subscription, a packet id, a retained message is damaged | it goes; an alarm |
//! | of an entry, or of what a session is owed of it, is damaged | that message is lost to the session: a loss record, an alarm |
//! | hangs on a session or an entry that is not there | it goes: a session that ended takes its rows in several commits |

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, Row as SqlRow, params, params_from_iter};

use super::job::{Bit, Loss, Row};
use super::schema;
use super::times::When;
use crate::model::{Due, Entry, EntryId, Restored, SessionId, UpstreamId, UpstreamSet, Wall};

/// What the file holds of sessions.
#[derive(Debug, Default)]
pub struct Found {
    pub restored: Vec<Restored>,
    /// Rows that were damaged.
    pub damaged: u64,
    sessions: BTreeSet<SessionId>,
    losses: Vec<Loss>,
    /// Rows to be removed: table, columns of its key, and the key as it stands there.
    remove: Vec<(&'static str, &'static [&'static str], Vec<Value>)>,
}

const SESSION: &[&str] = &["id"];
const SUBSCRIPTION: &[&str] = &["session", "filter"];
const RECEIVED: &[&str] = &["session", "packet_id"];
const DUE: &[&str] = &["entry", "session"];
const RETAINED: &[&str] = &["topic"];

/// Reads everything; `queues` are the bits of the upstreams in the order of the site's file, and how far each has come.
///
/// # Errors
/// SQLite's.
pub fn find(db: &Connection, queues: &[(Bit, EntryId)], when: When<'_>) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    found.each(db, "session", SESSION, |found, row| {
        let Some(session) = schema::read_session(row, when)? else { return Ok(Verdict::Damaged) };
        found.sessions.insert(session.id);
        found.restored.push(Restored::Session(session));
        Ok(Verdict::Good)
    })?;
    found.each(db, "subscription", SUBSCRIPTION, |found, row| {
        let Some((session, subscription)) = schema::read_subscription(row)? else { return Ok(Verdict::Damaged) };
        Ok(found.of(session, Restored::Subscription { session, subscription }))
    })?;
    found.each(db, "received", RECEIVED, |found, row| {
        let Some((session, packet_id)) = schema::read_received(row)? else { return Ok(Verdict::Damaged) };
        Ok(found.of(session, Restored::Received { session, packet_id }))
    })?;
    found.entries(db, queues, when)?;
    found.each(db, "retained", RETAINED, |found, row| {
        let Some(message) = schema::read_retained(row, when)? else { return Ok(Verdict::Damaged) };
        found.restored.push(Restored::Retained(message));
        Ok(Verdict::Good)
    })?;
    Ok(found)
}

enum Verdict {
    Good,
    Damaged,
    Orphan,
}

impl Found {
    /// Hands each row of `table`, in the order of its key, to `read`, and notes those that are to go.
    fn each(
        &mut self,
        db: &Connection,
        table: &'static str,
        key: &'static [&'static str],
        mut read: impl FnMut(&mut Self, &SqlRow<'_>) -> rusqlite::Result<Verdict>,
    ) -> rusqlite::Result<()> {
        let mut statement = db.prepare(&format!("SELECT * FROM {table} ORDER BY {}", key.join(", ")))?;
        let places: Vec<usize> = key.iter().map(|column| statement.column_index(column)).collect::<Result<_, _>>()?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let verdict = read(self, row)?;
            if matches!(verdict, Verdict::Good) {
                continue;
            }
            if matches!(verdict, Verdict::Damaged) {
                self.damaged += 1;
                tracing::error!(table, "a row of the store is damaged");
            }
            let values: Vec<Value> = places.iter().map(|place| row.get(*place)).collect::<Result<_, _>>()?;
            self.remove.push((table, key, values));
        }
        Ok(())
    }

    fn of(&mut self, session: SessionId, restored: Restored) -> Verdict {
        if !self.sessions.contains(&session) {
            return Verdict::Orphan;
        }
        self.restored.push(restored);
        Verdict::Good
    }

    /// Entries that sessions are owed, in the order of their ids.
    fn entries(&mut self, db: &Connection, queues: &[(Bit, EntryId)], when: When<'_>) -> rusqlite::Result<()> {
        let mut all: Vec<(EntryId, Due)> = Vec::new();
        self.each(db, "due", DUE, |found, row| {
            let Some((entry, due)) = schema::read_due(row)? else {
                // The key may be what is damaged: it is told as far as it can be read.
                let id = |column| EntryId::from_i64(row.get(column).unwrap_or(0));
                found.lose(id(0), SessionId(id(1)));
                return Ok(Verdict::Damaged);
            };
            if !found.sessions.contains(&due.session) {
                return Ok(Verdict::Orphan);
            }
            all.push((entry, due));
            Ok(Verdict::Good)
        })?;
        let query = format!("SELECT {} FROM entry WHERE id = ?1", schema::ENTRY_COLUMNS);
        let mut statement = db.prepare(&query)?;
        for of_entry in all.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((id, _)) = of_entry.first() else { continue };
            let mut rows = statement.query(params![id.as_i64()])?;
            let row = rows.next()?;
            let is_there = row.is_some();
            if let Some(Row { mask, entry }) = row.map(|row| schema::read_entry(row, when)).transpose()?.flatten() {
                let due = of_entry.iter().map(|(_, due)| due.clone()).collect();
                self.restored.push(Restored::Entry(Entry { owed: owed(mask, *id, queues), due, ..entry }));
                continue;
            }
            self.damaged += 1;
            tracing::error!(entry = %id, is_there, "a message of the store is damaged");
            for (_, due) in of_entry {
                self.lose(*id, due.session);
                self.remove.push(("due", DUE, vec![Value::Integer(id.as_i64()), Value::Integer(due.session.0.as_i64())]));
            }
        }
        Ok(())
    }

    fn lose(&mut self, entry: EntryId, session: SessionId) {
        self.losses.push(Loss { session, first: entry, last: entry, count: 1, cause: "damaged", at: Wall(0) });
    }

    /// Whether there is something to tidy up.
    pub fn is_whole(&self) -> bool {
        self.remove.is_empty()
    }

    /// Removes what is damaged and what hangs on nothing, and records what was lost by it. In a transaction.
    ///
    /// # Errors
    /// SQLite's.
    pub fn tidy(&self, db: &Connection, at: Wall) -> rusqlite::Result<()> {
        for loss in &self.losses {
            schema::write_loss(db, &Loss { at, ..*loss })?;
        }
        for (table, key, values) in &self.remove {
            let columns: Vec<String> = key.iter().map(|column| format!("{column} IS ?")).collect();
            db.execute(&format!("DELETE FROM {table} WHERE {}", columns.join(" AND ")), params_from_iter(values))?;
        }
        Ok(())
    }
}

fn owed(mask: u32, id: EntryId, queues: &[(Bit, EntryId)]) -> UpstreamSet {
    let mut owed = UpstreamSet::EMPTY;
    let owing = queues.iter().enumerate().filter(|(_, (bit, cursor))| mask & bit.mask() != 0 && id > *cursor);
    owing.for_each(|(n, _)| owed.insert(UpstreamId(n as u8)));
    owed
}
