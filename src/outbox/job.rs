//! What the ledger hands to the store, and what the store says of it. One job at a time is with the store.

use std::sync::Arc;

use crate::model::{Change, Entry, EntryId, Mono, Now, Restored, SessionId, Start, Wall};

/// An upstream's place in `entry.mask`. It belongs to a name for good (outbox.md 7), so it outlives the order of the site's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bit(pub u8);

impl Bit {
    pub const fn mask(self) -> u32 {
        1 << (self.0 & 31)
    }
}

#[derive(Debug)]
pub enum Job {
    Commit(Batch),
    Read(Read),
    /// Counts to whom the rows of `after < id <= upto` are owed, one slice; removes those that are owed to nobody.
    Survey {
        after: EntryId,
        upto: EntryId,
        owing: Vec<(Bit, EntryId)>,
    },
    /// Moves the WAL into the file.
    Checkpoint,
    /// Gives at most this many free pages back to the file system.
    Vacuum {
        pages: u32,
    },
    /// The store's thread ends; the file is tidied, and knows how long this boot ran. `None`: it is left as it is.
    Close {
        now: Option<Now>,
    },
}

/// One transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// What "now" is for whatever expires.
    pub now: Now,
    /// In the order of ids, as the changes are; both are carried out as one row of ids.
    pub rows: Vec<Row>,
    pub changes: Vec<Change>,
    /// What sessions are done with, after all changes. An entry goes with the last that is due of it, unless an upstream is owed it.
    pub removed: Vec<(EntryId, SessionId)>,
    pub losses: Vec<Loss>,
    pub dead_letters: Vec<DeadLetter>,
    /// All that the queue of this bit is owed up to here is done.
    pub cursors: Vec<(Bit, EntryId)>,
    /// Where rows may have become done for everybody.
    pub trims: Vec<Trim>,
    /// Most rows that all the trims together may look at; what is left comes with a later batch.
    pub trim_rows: usize,
    /// The cursor of every queue, also those that are gone: what lies behind it is still owed.
    pub owing: Vec<(Bit, EntryId)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The bits of the upstreams that were still owed it when the row was written.
    pub mask: u32,
    /// `due` are the sessions that were still owed it. Of a row that was read, `owed` and `due` are empty: the ledger translates `mask`.
    pub entry: Entry,
}

impl Row {
    /// Somebody is owed the message itself; else only what hangs on it is written.
    pub fn is_owed(&self) -> bool {
        self.mask != 0 || !self.entry.due.is_empty()
    }
}

/// Messages that one session lost (outbox.md 11): from `first` to `last`, not necessarily all of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub session: SessionId,
    pub first: EntryId,
    pub last: EntryId,
    pub count: u64,
    pub cause: &'static str,
    pub at: Wall,
}

#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: EntryId,
    pub bit: Bit,
    pub upstream: Arc<str>,
    /// `None`: the message stands in its row.
    pub entry: Option<Entry>,
    pub code: Option<u8>,
    pub cause: String,
    pub at: Wall,
}

/// The rows of `from < id <= to` that carry this bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    pub bit: Bit,
    pub from: EntryId,
    pub to: EntryId,
}

/// The rows of `after < id <= upto` that carry this bit, in order, until one of the limits is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub bit: Bit,
    pub after: EntryId,
    pub upto: EntryId,
    pub entries: usize,
    /// Sum of [`Entry::cost`]; at least one entry comes, however large.
    pub bytes: usize,
    /// What "now" is for whatever expires.
    pub now: Mono,
}

#[derive(Debug)]
pub enum Report {
    /// First of all.
    Opened(Opened),
    Committed {
        /// How far each trim came.
        trimmed: Vec<Trim>,
        /// Rows deleted.
        deleted: u64,
        usage: Usage,
    },
    Read {
        bit: Bit,
        rows: Vec<Row>,
        /// Everything of this bit up to here is in `rows`.
        through: EntryId,
        /// Rows whose checksum is wrong. They are passed over.
        damaged: u64,
    },
    Surveyed {
        counts: Vec<Count>,
        /// Rows that are owed to somebody.
        rows: u64,
        /// Rows whose checksum is wrong and that nobody seems to be owed, or that are owed to a bit of nobody. They are left alone.
        damaged: u64,
        /// `None`: that was the end.
        next: Option<EntryId>,
    },
    /// A checkpoint or a slice of a vacuum is done.
    Tidied {
        usage: Usage,
    },
    /// The job, whatever it was, did nothing.
    Failed {
        trouble: Trouble,
        error: String,
    },
    Closed,
}

/// What the start found.
#[derive(Debug, Clone)]
pub struct Opened {
    pub start: Start,
    /// By rising epoch, `start` the last: those that the file knows of its entries.
    pub starts: Vec<Start>,
    /// The last id in the file; zero if it holds none.
    pub last: EntryId,
    /// One an upstream of the site's file, in its order.
    pub queues: Vec<StoredQueue>,
    /// Upstreams that are no longer in the site's file.
    pub gone: Vec<StoredQueue>,
    pub usage: Usage,
    pub dead_letters: u64,
    /// Sessions and what hangs on them, in the order that [`Restored`] promises.
    pub restored: Vec<Restored>,
    /// Messages of sessions that were ever lost.
    pub lost: u64,
    /// There is no file to use.
    pub diskless: bool,
    /// Sentences that want a person.
    pub alarms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredQueue {
    pub bit: Bit,
    pub name: Arc<str>,
    pub cursor: EntryId,
}

/// What one bit is owed, of the rows of one slice of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub bit: Bit,
    pub entries: u64,
    pub bytes: u64,
    /// When the first of them was accepted.
    pub oldest: Wall,
}

/// Bytes at the disk (outbox.md 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Pages in use, without free ones.
    pub file: u64,
    /// Free pages.
    pub free: u64,
    /// Frames of the WAL that a checkpoint would move.
    pub wal: u64,
}

impl Usage {
    pub const fn used(&self) -> u64 {
        self.file + self.wal
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No space: it may be tried again.
    Full,
    /// The device or the file system failed: nothing that this connection says can be relied on any more.
    Broken,
    /// The file's content is damaged: it is set aside at the next start.
    Corrupt,
}
