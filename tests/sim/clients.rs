//! Random lives and deaths of durable sessions: the real ledger between a model broker, an upstream, and a disk that fails. After each start
//! what comes back is held against the history of everything that was told to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate::model::{
    Body, BridgeToOutbox, Change, DoneHow, Due, DueDone, DueState, Entry, EntryId, IdRange, Mono, Now, Outcome, Publisher, Put, QoS,
    RetainedMessage, SessionId, Settled, Start, StateChange, StoredSession, SubscribeOptions, Subscription, Topic, TopicFilter, UpstreamId,
    Wall,
};
use tidegate::outbox::Options;
use tidegate::outbox::job::{Job, Report, Trouble};
use tidegate::outbox::ledger::{Effects, Event, Ledger};

use super::disk::{Disk, Model, moment};
use super::history::{History, Key};
use super::random::Random;

mod broker;

const CLIENTS: usize = 4;
/// A session's queue holds so many; then its oldest goes.
const QUEUE: usize = 12;
/// An acknowledgement that comes so soon spares the row, whoever else is slow.
const SOON: u64 = 90;

#[derive(Debug, Clone, Copy)]
enum Action {
    Publish,
    Change,
    Ack { life: u64, client: usize, connection: u64, id: EntryId },
    Recorded { life: u64, client: usize, connection: u64, id: EntryId },
    UpAck { life: u64, id: EntryId },
    Flip(usize),
    FlipUpstream,
    JobDone { life: u64 },
    Wake { life: u64 },
    Kill,
    Calm,
}

/// What goes on when an id is secured.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The PUBLISH at QoS 2 leaves.
    Publish { client: usize, id: EntryId },
    /// PUBREL leaves.
    Release { client: usize, id: EntryId },
    /// The client's next session begins.
    Begin { client: usize },
}

#[derive(Default)]
struct Client {
    session: Option<SessionId>,
    online: bool,
    connection: u64,
    /// What it is owed, and how far that has come.
    queue: BTreeMap<EntryId, (QoS, DueState)>,
    next_packet: u16,
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Count {
    pub kills: u64,
    pub failed: u64,
    pub restored: u64,
    pub spared: u64,
    pub dropped: u64,
    pub ended: u64,
    pub wrong: Vec<String>,
}

struct World {
    seed: u64,
    /// Every client stays, and answers soon.
    all_prompt: bool,
    random: Random,
    now: Now,
    disk: Disk,
    ledger: Ledger,
    life: u64,
    start: Start,
    counter: u64,
    clients: [Client; CLIENTS],
    up: bool,
    in_flight: Vec<EntryId>,
    then: Vec<(EntryId, Then)>,
    unsecured: BTreeSet<EntryId>,
    history: History,
    /// Entries that only prompt sessions are owed, and when they were put.
    sparing: BTreeMap<EntryId, Mono>,
    actions: BTreeMap<(Mono, u64), Action>,
    made: u64,
    job: Option<(Job, Option<Trouble>)>,
    broken: bool,
    calm: bool,
    count: Count,
}

/// Runs one seed to its end.
pub fn run(seed: u64, real: bool) -> Count {
    let mut random = Random::new(seed ^ 0xc11e);
    let mut disk = if real { Disk::real() } else { Disk::Model(Box::<Model>::default()) };
    let now = Now { mono: Mono::from_millis(1), wall: Wall(1) };
    let (ledger, start) = open(&mut disk, now, &mut random);
    let mut world = World {
        seed,
        all_prompt: seed.is_multiple_of(3),
        random,
        now,
        disk,
        ledger,
        life: 0,
        start,
        counter: 0,
        clients: Default::default(),
        up: false,
        in_flight: Vec::new(),
        then: Vec::new(),
        unsecured: BTreeSet::new(),
        history: History::default(),
        sparing: BTreeMap::new(),
        actions: BTreeMap::new(),
        made: 0,
        job: None,
        broken: false,
        calm: false,
        count: Count::default(),
    };
    world.script();
    world.go();
    world.judge();
    world.count
}

fn open(disk: &mut Disk, now: Now, random: &mut Random) -> (Ledger, Start) {
    let upstreams: Vec<Arc<str>> = vec!["cloud".into()];
    let opened = disk.open(&upstreams, &moment(now), random);
    let start = opened.start;
    let mut ledger = Ledger::new(Options::new("clients".into(), upstreams), now.mono);
    ledger.apply(Event::Store(Report::Opened(opened)), now);
    (ledger, start)
}

impl World {
    fn script(&mut self) {
        self.after(5, Action::Publish);
        self.after(7, Action::Change);
        let end = 500 + self.random.below(6_000);
        for _ in 0..self.random.below(5) {
            let at = self.random.below(end);
            self.after(at, Action::Kill);
        }
        for client in 0..CLIENTS {
            self.clients[client].online = true;
            self.begin(client);
            for _ in 0..self.random.below(8) * u64::from(!self.all_prompt) {
                let at = self.random.below(end);
                self.after(at, Action::Flip(client));
            }
        }
        for _ in 0..self.random.below(6) {
            let at = self.random.below(end);
            self.after(at, Action::FlipUpstream);
        }
        self.after(end, Action::Calm);
    }

    fn after(&mut self, millis: u64, action: Action) {
        self.made += 1;
        self.actions.insert((self.now.mono + Duration::from_millis(millis), self.made), action);
    }

    fn go(&mut self) {
        let mut steps = 0_u64;
        while let Some(((at, _), action)) = self.actions.pop_first() {
            steps += 1;
            assert!(steps < 300_000, "the world comes to rest");
            self.now.mono = self.now.mono.max(at);
            match action {
                Action::Publish => self.publish(),
                Action::Change => self.some_change(),
                Action::Ack { life, client, connection, id } if self.is_there(life, client, connection) => {
                    self.done(client, id, DoneHow::Acknowledged);
                }
                Action::Recorded { life, client, connection, id } if self.is_there(life, client, connection) => self.recorded(client, id),
                Action::UpAck { life, id } if life == self.life && self.up => self.up_ack(id),
                Action::Flip(client) => self.flip(client, !self.clients[client].online || self.calm),
                Action::FlipUpstream => self.link(!self.up || self.calm),
                Action::JobDone { life } if life == self.life => self.job_done(),
                Action::Kill if !self.calm => self.kill(),
                Action::Calm => self.become_calm(),
                Action::Wake { life } if life == self.life => {}
                _ => continue,
            }
            self.turn();
        }
    }

    fn is_there(&self, life: u64, client: usize, connection: u64) -> bool {
        life == self.life && self.clients[client].online && self.clients[client].connection == connection
    }

    fn id(&mut self) -> EntryId {
        self.counter += 1;
        let id = EntryId::new(self.start.epoch, self.counter);
        self.unsecured.insert(id);
        id
    }

    fn put(&mut self, put: Put) {
        self.ledger.apply(Event::Put(vec![put]), self.now);
    }

    fn change(&mut self, id: EntryId, what: StateChange) {
        self.history.change(id, &what);
        let awaited = !matches!(what, StateChange::Retained(_));
        self.put(Put::Change(Change { id, awaited, at: self.now.mono, at_wall: self.now.wall, what }));
    }

    fn begin(&mut self, client: usize) {
        let id = self.id();
        let name = format!("client {client}").into();
        let expiry = StoredSession::NEVER;
        let session = StoredSession { id: SessionId(id), client: name, user: None, expiry, left_ms: None, listener: "".into(), will: None };
        self.clients[client].session = Some(SessionId(id));
        self.change(id, StateChange::Session(session));
    }

    fn link(&mut self, up: bool) {
        self.up = up;
        self.ledger.apply(Event::Bridge(BridgeToOutbox::Link { upstream: UpstreamId(0), up }), self.now);
        if up {
            self.ledger.apply(Event::Bridge(BridgeToOutbox::Pull { upstream: UpstreamId(0), entries: 20 }), self.now);
            for id in self.in_flight.clone() {
                self.after(10, Action::UpAck { life: self.life, id });
            }
        }
    }

    fn up_ack(&mut self, id: EntryId) {
        self.in_flight.retain(|one| *one != id);
        let settled = vec![Settled { id, outcome: Outcome::Acknowledged }];
        self.ledger.apply(Event::Bridge(BridgeToOutbox::Done { upstream: UpstreamId(0), settled }), self.now);
    }

    fn turn(&mut self) {
        self.overflow();
        loop {
            let Effects { secured, pages, job, wake, .. } = self.ledger.effects(self.now);
            self.secured(&secured);
            let again = !pages.is_empty() || !secured.is_empty();
            for (_, page) in pages {
                for entry in page.entries {
                    self.in_flight.push(entry.id);
                    let latency = 1 + self.random.below(40);
                    self.after(latency, Action::UpAck { life: self.life, id: entry.id });
                }
                self.ledger.apply(Event::Bridge(BridgeToOutbox::Pull { upstream: UpstreamId(0), entries: 20 }), self.now);
            }
            if let Some(job) = job {
                self.start_job(job);
            }
            if let Some(wake) = wake {
                self.made += 1;
                self.actions.insert((wake.max(self.now.mono), self.made), Action::Wake { life: self.life });
            }
            if !again {
                return;
            }
        }
    }

    fn secured(&mut self, ranges: &[IdRange]) {
        let is_secured = |id: EntryId| ranges.iter().any(|range| range.contains(id));
        let ids: Vec<EntryId> = self.unsecured.iter().copied().filter(|id| is_secured(*id)).collect();
        for id in ids {
            self.unsecured.remove(&id);
            // Without a disk a change is secured in memory only.
            if !self.broken {
                self.history.secured(id);
            }
            if let Some(put) = self.sparing.remove(&id).filter(|put| self.now.mono.since(*put) <= Duration::from_millis(SOON)) {
                self.count.spared += 1;
                assert!(
                    !self.all_prompt || !self.disk.was_written(id),
                    "{id} was acknowledged within {:?} and written",
                    self.now.mono.since(put)
                );
            }
        }
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.then).into_iter().partition(|(id, _)| is_secured(*id));
        self.then = later;
        for (_, then) in now {
            match then {
                Then::Publish { client, id } | Then::Release { client, id } if self.clients[client].online => self.answer(client, id),
                Then::Publish { .. } | Then::Release { .. } => {}
                Then::Begin { client } => self.begin(client),
            }
        }
    }

    fn start_job(&mut self, job: Job) {
        assert!(self.job.is_none() && !self.broken, "one job at a time, and none after the file has failed");
        let trouble = match self.random.below(150) {
            _ if self.calm => None,
            0 => Some(Trouble::Broken),
            1..10 if matches!(job, Job::Commit(_)) => Some(Trouble::Full),
            _ => None,
        };
        self.job = Some((job, trouble));
        let latency = 1 + self.random.below(20);
        self.after(latency, Action::JobDone { life: self.life });
    }

    fn job_done(&mut self) {
        let Some((job, trouble)) = self.job.take() else { return };
        let report = match trouble {
            None => self.disk.run(job, &mut self.random),
            Some(trouble) => {
                self.count.failed += 1;
                self.broken |= trouble != Trouble::Full;
                // Nobody knows whether a commit whose sync failed is on the disk.
                if trouble == Trouble::Broken && self.random.one_in(2) {
                    self.disk.run(job, &mut self.random);
                }
                Report::Failed { trouble, error: "the model fails".into() }
            }
        };
        self.ledger.apply(Event::Store(report), self.now);
    }

    fn kill(&mut self) {
        self.count.kills += 1;
        // The transaction that runs is whole or not there.
        if let Some((job, None)) = self.job.take()
            && self.random.one_in(2)
        {
            self.disk.run(job, &mut self.random);
        }
        (self.job, self.broken, self.up, self.counter) = (None, false, false, 0);
        self.life += 1;
        self.in_flight.clear();
        self.then.clear();
        self.unsecured.clear();
        self.sparing.clear();
        (self.ledger, self.start) = open(&mut self.disk, self.now, &mut self.random);
        let Effects { restored, job, .. } = self.ledger.effects(self.now);
        if let Some(job) = job {
            self.start_job(job);
        }
        self.count.restored += restored.iter().map(Vec::len).sum::<usize>() as u64;
        let wrong = self.history.restart(restored.into_iter().flatten());
        self.count.wrong.extend(wrong.into_iter().map(|wrong| format!("SEED={}: {wrong}", self.seed)));
        let clients = std::mem::take(&mut self.clients);
        for (client, before) in clients.into_iter().enumerate() {
            let session = self.history.session_of(&format!("client {client}"));
            let queue = session.map(|session| self.history.owed(session)).unwrap_or_default();
            self.clients[client] = Client { session, queue, ..before };
            if session.is_none() {
                self.begin(client);
            }
            self.flip(client, before.online || self.calm);
        }
        self.link(true);
    }

    /// From here on everything works, and comes to rest.
    fn become_calm(&mut self) {
        self.calm = true;
        self.job.iter_mut().for_each(|(_, trouble)| *trouble = None);
        if self.broken || self.random.one_in(2) {
            self.kill();
        }
        (0..CLIENTS).for_each(|client| self.flip(client, true));
        self.link(true);
        // Also rows that were put off by a full disk.
        self.after(60_000, Action::Wake { life: self.life });
    }

    fn judge(&mut self) {
        assert!(self.unsecured.is_empty(), "in the end all is secured: {:?}", self.unsecured);
        let queues: usize = self.clients.iter().map(|client| client.queue.len()).sum();
        assert_eq!((self.disk.rows(), queues), ((0, 0), 0), "in the end nobody is owed anything");
        self.kill();
        let left = self.history.keys().filter(|key| matches!(key, Key::Due(..))).count();
        assert_eq!(left, 0, "what is done does not come back");
    }
}

impl Then {
    fn is_of(&self, of: usize, entry: EntryId) -> bool {
        matches!(self, Self::Publish { client, id } | Self::Release { client, id } if *client == of && *id == entry)
    }
}
