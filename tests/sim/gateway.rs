//! A gateway with two upstreams whose disk does what a test says, step by step.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate::model::{
    Body, BridgeToOutbox, Change, DoneHow, Due, DueDone, DueState, Entry, EntryId, IdRange, Mono, Now, Outcome, Put, QoS, Restored,
    SessionId, Settled, Start, StateChange, StoredSession, Topic, UpstreamId, Wall,
};
use tidegate::outbox::Options;
use tidegate::outbox::job::{Job, Report, Trouble};
use tidegate::outbox::ledger::{Effects, Event, Ledger};

use super::disk::{Disk, Model, moment};
use super::random::Random;

pub const DEAD: u8 = 0;
pub const LIVE: u8 = 1;
pub const MS: Duration = Duration::from_millis(1);

/// A gateway with the upstreams "dead" and "live", whose disk does what the test says.
pub struct Gateway {
    pub disk: Disk,
    random: Random,
    pub ledger: Ledger,
    pub now: Now,
    start: Start,
    counter: u64,
    secured: Vec<IdRange>,
    /// What each upstream was handed.
    pub got: [Vec<EntryId>; 2],
    pub job: Option<Job>,
    wake: Option<Mono>,
    /// What the start found, in pages.
    pub restored: Vec<Vec<Restored>>,
}

impl Gateway {
    pub fn start(mut disk: Disk) -> Self {
        let mut random = Random::new(1);
        let names: Vec<Arc<str>> = vec!["dead".into(), "live".into()];
        let now = Now { mono: Mono::from_millis(1), wall: Wall(1) };
        let opened = disk.open(&names, &moment(now), &mut random);
        let start = opened.start;
        let mut ledger = Ledger::new(Options::new("case".into(), names), now.mono);
        ledger.apply(Event::Store(Report::Opened(opened)), now);
        let mut gateway = Self {
            disk,
            random,
            ledger,
            now,
            start,
            counter: 0,
            secured: Vec::new(),
            got: Default::default(),
            job: None,
            wake: None,
            restored: Vec::new(),
        };
        gateway.bridge(BridgeToOutbox::Link { upstream: UpstreamId(LIVE), up: true });
        gateway.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(LIVE), entries: 100 });
        gateway
    }

    /// The process is gone; the disk is as it is.
    pub fn kill(self) -> Self {
        Self::start(self.disk)
    }

    pub fn turn(&mut self) {
        let Effects { restored, secured, pages, job, wake, .. } = self.ledger.effects(self.now);
        self.secured.extend(secured);
        self.restored.extend(restored);
        for (upstream, page) in pages {
            self.got[usize::from(upstream.0)].extend(page.entries.iter().map(|entry| entry.id));
            self.bridge(BridgeToOutbox::Pull { upstream, entries: 100 });
        }
        self.wake = wake;
        self.job = job.or(self.job.take());
    }

    fn next_id(&mut self) -> EntryId {
        self.counter += 1;
        EntryId::new(self.start.epoch, self.counter)
    }

    pub fn put(&mut self, put: Put) {
        self.ledger.apply(Event::Put(vec![put]), self.now);
        self.turn();
    }

    /// A PUBLISH at QoS 1.
    pub fn publish(&mut self, owed: u8) -> EntryId {
        self.entry(|entry| entry.owed.insert(UpstreamId(owed)))
    }

    /// One that a publisher waits for.
    pub fn entry(&mut self, with: impl FnOnce(&mut Entry)) -> EntryId {
        let mut entry = Entry {
            id: self.next_id(),
            awaited: true,
            accepted: self.now.mono,
            accepted_wall: self.now.wall,
            ..Entry::new(Topic::new("case").expect("a topic"), Body::raw(Bytes::from_static(b"x")))
        };
        with(&mut entry);
        let id = entry.id;
        self.put(Put::Entry(entry));
        id
    }

    /// A change that somebody waits for.
    pub fn change(&mut self, what: StateChange) -> EntryId {
        let id = self.next_id();
        self.put(Put::Change(Change { id, awaited: true, at: self.now.mono, at_wall: self.now.wall, what }));
        id
    }

    /// A session that is there for good.
    pub fn session(&mut self, client: &str) -> SessionId {
        let id = SessionId(EntryId::new(self.start.epoch, self.counter + 1));
        let client = client.into();
        let session =
            StoredSession { id, client, user: None, expiry: StoredSession::NEVER, left_ms: None, listener: "".into(), will: None };
        self.change(StateChange::Session(session));
        self.settle();
        assert!(self.is_secured(id.0));
        id
    }

    pub fn done(&mut self, session: SessionId, entry: EntryId, how: DoneHow) {
        self.put(Put::Done(DueDone { session, entry, how }));
    }

    pub fn bridge(&mut self, event: BridgeToOutbox) {
        self.ledger.apply(Event::Bridge(event), self.now);
        self.turn();
    }

    pub fn ack(&mut self, id: EntryId) {
        self.ack_of(LIVE, id);
    }

    pub fn ack_of(&mut self, upstream: u8, id: EntryId) {
        let settled = vec![Settled { id, outcome: Outcome::Acknowledged }];
        self.bridge(BridgeToOutbox::Done { upstream: UpstreamId(upstream), settled });
    }

    pub fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.turn();
    }

    /// The store ends the job that it has; `trouble`: without having done it.
    pub fn store(&mut self, trouble: Option<Trouble>) {
        let job = self.job.take().expect("the store has a job");
        let report = match trouble {
            Some(trouble) => Report::Failed { trouble, error: "as the test says".into() },
            None => self.disk.run(job, &mut self.random),
        };
        self.ledger.apply(Event::Store(report), self.now);
        self.turn();
    }

    pub fn commits(&self) -> bool {
        matches!(self.job, Some(Job::Commit(_)))
    }

    /// Runs the store for as long as it has jobs.
    pub fn settle(&mut self) {
        while self.job.is_some() {
            self.store(None);
        }
    }

    pub fn is_secured(&self, id: EntryId) -> bool {
        self.secured.iter().any(|range| range.contains(id))
    }
}

pub fn disks() -> [Disk; 2] {
    [Disk::Model(Box::<Model>::default()), Disk::real()]
}

/// What a session is owed at QoS 1.
pub fn due(session: SessionId, prompt: bool) -> Due {
    Due { session, qos: QoS::AtLeastOnce, retain: false, identifiers: [].into(), state: DueState::Queued, prompt }
}

/// At QoS 2.
pub fn due_exactly_once(session: SessionId, state: DueState) -> Due {
    Due { qos: QoS::ExactlyOnce, state, ..due(session, false) }
}
