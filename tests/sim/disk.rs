//! What the simulation stores into: a model that knows exactly what is committed, or the real store on a file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};
use std::path::PathBuf;
use std::sync::Arc;

use tidegate::model::{EntryId, Mono, Now, Start, Wall};
use tidegate::outbox::job::{Batch, Bit, Count, Job, Opened, Read, Report, Row, StoredQueue, Trim, Usage};
use tidegate::outbox::recover;
use tidegate::outbox::store::File;
use tidegate::outbox::times::Moment;
use tidegate::outbox::{ClockTrust, claim};

use super::mirror::Mirror;
use super::random::Random;

/// Where an outbox keeps what it is owed. A kill is another `open`.
pub enum Disk {
    Model(Box<Model>),
    Real { folder: tempfile::TempDir, file: Option<File> },
}

impl Disk {
    pub fn real() -> Self {
        Self::Real { folder: tempfile::tempdir().expect("a folder"), file: None }
    }

    pub fn open(&mut self, upstreams: &[Arc<str>], moment: &Moment, random: &mut Random) -> Opened {
        match self {
            Self::Model(model) => model.open(upstreams, random),
            Self::Real { folder, file } => {
                *file = None;
                let claim = claim(&path(folder)).expect("nobody else holds it");
                let (opened_file, opened) = recover::open(&path(folder), upstreams, claim, moment, ClockTrust::Never);
                *file = Some(opened_file);
                opened
            }
        }
    }

    pub fn run(&mut self, job: Job, random: &mut Random) -> Report {
        match self {
            Self::Model(model) => model.run(job, random),
            Self::Real { file, .. } => file.as_mut().expect("it is open").run(job),
        }
    }

    /// Rows of entries, and of what sessions are owed of them.
    pub fn rows(&self) -> (usize, usize) {
        match self {
            Self::Model(model) => (model.rows.len(), model.mirror.rows_due()),
            Self::Real { file, .. } => {
                let db = file.as_ref().and_then(|file| file.db.as_ref()).expect("it is open");
                let count =
                    |table| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).expect("a number");
                (count("entry") as usize, count("due") as usize)
            }
        }
    }

    /// Whether this entry ever had a row, as far as the model knows.
    pub fn was_written(&self, id: EntryId) -> bool {
        matches!(self, Self::Model(model) if model.written.contains(&id))
    }

    /// The file is made empty, as by somebody who restores a machine from an image.
    pub fn empty(&mut self) {
        match self {
            Self::Model(model) => **model = Model::default(),
            Self::Real { folder, file } => {
                *file = None;
                std::fs::write(path(folder), b"").expect("it can be emptied");
            }
        }
    }
}

/// In a boot that began with the simulation.
pub fn moment(now: Now) -> Moment {
    Moment { now, boot: "sim".into(), since_boot: now.mono.since(Mono::ZERO), trusted: false }
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store.db")
}

/// What a store would hold after a power cut now.
#[derive(Default)]
pub struct Model {
    starts: Vec<Start>,
    upstreams: BTreeMap<String, Bit>,
    cursors: BTreeMap<Bit, EntryId>,
    rows: BTreeMap<EntryId, Row>,
    dead_letters: BTreeSet<(EntryId, Bit)>,
    mirror: Mirror,
    /// Entries that ever got a row.
    written: BTreeSet<EntryId>,
}

impl Model {
    fn open(&mut self, upstreams: &[Arc<str>], random: &mut Random) -> Opened {
        let last = self.rows.keys().next_back().copied().unwrap_or(EntryId::ZERO);
        let epoch = self.starts.last().map_or(0, |start| start.epoch) + 1;
        let start = Start { epoch, nonce: random.next() as u32 };
        self.starts.push(start);
        for name in upstreams {
            if !self.upstreams.contains_key(&**name) {
                let bit = Bit(self.upstreams.len() as u8);
                self.upstreams.insert(name.to_string(), bit);
                self.cursors.insert(bit, last);
            }
        }
        let queue = |name: &str, bit: Bit| StoredQueue { bit, name: name.into(), cursor: self.cursors[&bit] };
        let queues: Vec<StoredQueue> = upstreams.iter().map(|name| queue(name, self.upstreams[&**name])).collect();
        let cursors: Vec<(Bit, EntryId)> = queues.iter().map(|queue| (queue.bit, queue.cursor)).collect();
        let restored = self.mirror.restore(&self.rows, &cursors);
        let queue = |name: &str, bit: Bit| StoredQueue { bit, name: name.into(), cursor: self.cursors[&bit] };
        let gone = self.upstreams.iter().filter(|(name, _)| !upstreams.iter().any(|upstream| **upstream == ***name));
        Opened {
            start,
            starts: self.starts.clone(),
            last,
            queues,
            gone: gone.map(|(name, bit)| queue(name, *bit)).collect(),
            usage: self.usage(),
            dead_letters: self.dead_letters.len() as u64,
            restored,
            lost: self.mirror.lost(),
            diskless: false,
            alarms: Vec::new(),
        }
    }

    fn usage(&self) -> Usage {
        Usage { file: self.rows.values().map(|row| row.entry.cost() as u64).sum(), free: 0, wal: 0 }
    }

    fn run(&mut self, job: Job, random: &mut Random) -> Report {
        match job {
            Job::Commit(batch) => self.commit(batch),
            Job::Read(job) => self.read(&job, random),
            Job::Survey { after, upto, owing } => self.survey(after, upto, &owing, random),
            Job::Checkpoint | Job::Vacuum { .. } => Report::Tidied { usage: self.usage() },
            Job::Close { .. } => Report::Closed,
        }
    }

    fn commit(&mut self, batch: Batch) -> Report {
        for row in self.mirror.commit(&batch) {
            self.written.insert(row.entry.id);
            let twice = self.rows.insert(row.entry.id, row);
            assert!(twice.is_none(), "a row is written once");
        }
        for letter in batch.dead_letters {
            assert!(letter.entry.is_some() || self.rows.contains_key(&letter.id), "a dead letter has its message");
            self.dead_letters.insert((letter.id, letter.bit));
        }
        for (bit, cursor) in batch.cursors {
            let before = self.cursors.insert(bit, cursor);
            assert!(before <= Some(cursor), "a cursor never goes back");
        }
        let (mut left, mut deleted, mut trimmed) = (batch.trim_rows, 0, Vec::new());
        let owed = |row: &Row| batch.owing.iter().any(|(bit, cursor)| row.mask & bit.mask() != 0 && row.entry.id > *cursor);
        for (entry, _) in &batch.removed {
            if self.rows.get(entry).is_some_and(|row| !owed(row)) && !self.mirror.is_due(*entry) {
                self.rows.remove(entry);
                deleted += 1;
            }
        }
        for Trim { bit, from, to } in batch.trims {
            let seen: Vec<EntryId> = self.rows.range((Excluded(from), Included(to))).map(|(id, _)| *id).take(left).collect();
            let end = if seen.len() == left { seen.last().copied().unwrap_or(from) } else { to };
            left -= seen.len();
            for id in seen {
                let mask = self.rows[&id].mask;
                let owed = batch.owing.iter().any(|(other, cursor)| mask & other.mask() != 0 && id > *cursor);
                if mask & bit.mask() != 0 && !owed && !self.mirror.is_due(id) {
                    self.rows.remove(&id);
                    deleted += 1;
                }
            }
            trimmed.push(Trim { bit, from, to: end });
        }
        Report::Committed { trimmed, deleted, usage: self.usage() }
    }

    fn read(&self, job: &Read, random: &mut Random) -> Report {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (id, row) in self.rows.range((Excluded(job.after), Included(job.upto))) {
            if row.mask & job.bit.mask() != 0 {
                let mut row = row.clone();
                row.entry.awaited = false;
                bytes += row.entry.cost();
                rows.push(row);
            }
            // A slice may end anywhere.
            if rows.len() >= job.entries || bytes >= job.bytes || random.one_in(50) {
                return Report::Read { bit: job.bit, rows, through: *id, damaged: 0 };
            }
        }
        Report::Read { bit: job.bit, rows, through: job.upto, damaged: 0 }
    }

    fn survey(&mut self, after: EntryId, upto: EntryId, owing: &[(Bit, EntryId)], random: &mut Random) -> Report {
        let (mut counts, mut owed_rows, mut idle, mut next): (Vec<Count>, _, Vec<EntryId>, _) = (Vec::new(), 0, Vec::new(), None);
        for (&id, row) in self.rows.range((Excluded(after), Included(upto))) {
            let owed = || owing.iter().filter(|(bit, cursor)| row.mask & bit.mask() != 0 && id > *cursor);
            if owed().next().is_none() && !self.mirror.is_due(id) {
                idle.push(id);
            } else {
                owed_rows += 1;
            }
            for &(bit, _) in owed() {
                counts.push(Count { bit, entries: 1, bytes: row.entry.cost() as u64, oldest: Wall(0) });
            }
            if random.one_in(50) {
                next = Some(id);
                break;
            }
        }
        idle.iter().for_each(|id| drop(self.rows.remove(id)));
        Report::Surveyed { counts, rows: owed_rows, damaged: 0, next }
    }
}
