//! The ledger and the store together, on real files, one step at a time and by a clock that the test moves.

mod file;
mod flow;
mod run;
mod sessions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::job::{Job, Report};
use super::ledger::{Effects, Event, Ledger};
use super::store::File;
use super::times::Moment;
use super::{ClockTrust, Error, Options, claim, recover};
use crate::model::status::OutboxStatus;
use crate::model::{
    Body, BridgeToOutbox, Entry, EntryId, IdRange, Mono, Now, Outcome, Put, Restored, Settled, Start, Topic, UpstreamId, UpstreamSet, Wall,
};

/// One life of an outbox: dropping it is a kill.
struct Rig {
    file: File,
    ledger: Ledger,
    now: Now,
    start: Start,
    /// Of the last page.
    starts: Vec<Start>,
    counter: u64,
    /// Everything that was called secured.
    secured: Vec<IdRange>,
    /// What each upstream was handed, in order.
    handed: Vec<Vec<Entry>>,
    full: UpstreamSet,
    wake: Option<Mono>,
    jobs: Vec<&'static str>,
    /// What the start found.
    restored: Vec<Restored>,
}

/// In a boot that began with the process, by a clock that nobody trusts.
fn moment(now: Now) -> Moment {
    Moment { now, boot: "test".into(), since_boot: now.mono.since(Mono::ZERO), trusted: false }
}

fn options(path: &Path, upstreams: &[&str]) -> Options {
    Options::new(path.to_owned(), upstreams.iter().map(|name| Arc::from(*name)).collect())
}

impl Rig {
    fn open(path: &Path, upstreams: &[&str]) -> Self {
        Self::with(options(path, upstreams)).expect("nobody else holds the file")
    }

    fn with(options: Options) -> Result<Self, Error> {
        let now = Now { mono: Mono::from_millis(1_000), wall: Wall(1_700_000_000_000) };
        Self::at(options, &moment(now))
    }

    fn at(options: Options, moment: &Moment) -> Result<Self, Error> {
        let now = moment.now;
        let (file, opened) = recover::open(&options.path, &options.upstreams, claim(&options.path)?, moment, ClockTrust::Never);
        let handed = options.upstreams.iter().map(|_| Vec::new()).collect();
        let mut ledger = Ledger::new(options, now.mono);
        let start = opened.start;
        ledger.apply(Event::Store(Report::Opened(opened)), now);
        let mut rig = Self {
            file,
            ledger,
            now,
            start,
            starts: Vec::new(),
            counter: 0,
            secured: Vec::new(),
            handed,
            full: UpstreamSet::EMPTY,
            wake: None,
            jobs: Vec::new(),
            restored: Vec::new(),
        };
        rig.settle();
        Ok(rig)
    }

    /// Runs until there is nothing to do now.
    fn settle(&mut self) {
        loop {
            let Effects { restored, secured, full, pages, job, wake, .. } = self.ledger.effects(self.now);
            self.secured.extend(secured);
            self.restored.extend(restored.into_iter().flatten());
            self.full = full.unwrap_or(self.full);
            self.wake = wake;
            for (upstream, page) in pages {
                self.starts = page.starts.to_vec();
                self.handed[usize::from(upstream.0)].extend(page.entries);
            }
            let Some(job) = job else { return };
            self.jobs.push(match job {
                Job::Commit(_) => "commit",
                Job::Read(_) => "read",
                Job::Survey { .. } => "survey",
                Job::Checkpoint => "checkpoint",
                Job::Vacuum { .. } => "vacuum",
                Job::Close { .. } => "close",
            });
            let report = self.file.run(job);
            self.ledger.apply(Event::Store(report), self.now);
        }
    }

    fn after(&mut self, time: Duration) {
        let until = self.now.mono + time;
        loop {
            self.settle();
            let next = self.wake.filter(|wake| *wake < until).unwrap_or(until).max(self.now.mono + Duration::from_micros(1));
            self.now.wall.0 += next.since(self.now.mono).as_millis() as i64;
            self.now.mono = next;
            if next >= until {
                break;
            }
        }
        self.settle();
    }

    /// Puts `n` entries owed to these, and returns the first id.
    fn put(&mut self, n: u64, owed: &[u8], awaited: bool) -> EntryId {
        let first = EntryId::new(self.start.epoch, self.counter + 1);
        let entries = (0..n).map(|_| {
            self.counter += 1;
            let mut set = UpstreamSet::EMPTY;
            owed.iter().for_each(|u| set.insert(UpstreamId(*u)));
            Entry {
                id: EntryId::new(self.start.epoch, self.counter),
                owed: set,
                awaited,
                accepted: self.now.mono,
                accepted_wall: self.now.wall,
                ..Entry::new(Topic::new("a/b").expect("a topic"), Body::raw(Bytes::from(format!("{:0>100}", self.counter))))
            }
        });
        let entries = entries.map(Put::Entry).collect();
        self.ledger.apply(Event::Put(entries), self.now);
        self.settle();
        first
    }

    fn bridge(&mut self, event: BridgeToOutbox) {
        self.ledger.apply(Event::Bridge(event), self.now);
        self.settle();
    }

    fn link(&mut self, upstream: u8, up: bool) {
        self.bridge(BridgeToOutbox::Link { upstream: UpstreamId(upstream), up });
    }

    fn pull(&mut self, upstream: u8, entries: usize) {
        self.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(upstream), entries });
    }

    fn ack(&mut self, upstream: u8, ids: &[EntryId]) {
        let settled = ids.iter().map(|&id| Settled { id, outcome: Outcome::Acknowledged }).collect();
        self.bridge(BridgeToOutbox::Done { upstream: UpstreamId(upstream), settled });
    }

    /// Pulls and acknowledges until nothing more comes; returns the bodies' numbers.
    fn drain(&mut self, upstream: u8) -> Vec<u64> {
        self.drain_by(upstream, 100)
    }

    fn drain_by(&mut self, upstream: u8, page: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            self.handed[usize::from(upstream)].clear();
            self.pull(upstream, page);
            let page = std::mem::take(&mut self.handed[usize::from(upstream)]);
            if page.is_empty() {
                return numbers;
            }
            numbers.extend(page.iter().map(number));
            let ids: Vec<EntryId> = page.iter().map(|entry| entry.id).collect();
            self.ack(upstream, &ids);
        }
    }

    fn is_secured(&self, id: EntryId) -> bool {
        self.secured.iter().any(|range| range.contains(id))
    }

    fn status(&self) -> OutboxStatus {
        self.ledger.status(self.now)
    }
}

fn number(entry: &Entry) -> u64 {
    std::str::from_utf8(&entry.body.bytes).expect("text").parse().expect("a number")
}

fn store_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store.db")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}
