//! One gateway's life and deaths, by a clock that jumps from event to event: the real ledger and commit rule between model publishers, model
//! upstreams and a disk that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate::model::{Body, BridgeToOutbox, Entry, EntryId, Mono, Now, Outcome, Settled, Start, Topic, UpstreamId, UpstreamSet, Wall};
use tidegate::outbox::Options;
use tidegate::outbox::job::{Job, Opened, Report, Trouble};
use tidegate::outbox::ledger::{Effects, Event, Ledger};

use super::disk::{Disk, Model, moment};
use super::random::Random;
use super::upstream::{Bridge, Sink};

mod judge;

pub use judge::{Outcomes, Plan};

pub const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
pub const PROGRESS_ROWS: u64 = 50;
const PUBLISHERS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Action {
    Publish(usize),
    Reading,
    Ack { life: u64, upstream: usize, generation: u64, id: EntryId, refused: bool },
    Flip(usize),
    Hush(usize),
    JobDone { life: u64 },
    Wake { life: u64 },
    Kill,
    Calm,
}

/// One PUBLISH, or one reading.
#[derive(Debug, Clone)]
pub struct Message {
    publisher: Option<usize>,
    /// Names, by their place in [`NAMES`].
    pub to: Vec<usize>,
    acked: bool,
    /// It was acknowledged before the file was emptied by hand: nothing was promised for that.
    excused: bool,
}

/// An entry of this life.
struct Put {
    message: usize,
    since: Mono,
    owed: UpstreamSet,
    /// Those that have acknowledged it, in a commit or by themselves.
    settled: UpstreamSet,
    secured: bool,
}

/// From one start to the next kill.
struct Life {
    number: u64,
    ledger: Ledger,
    start: Start,
    counter: u64,
    /// Places in the site's file → places in [`NAMES`].
    present: Vec<usize>,
    bits: Vec<u32>,
    bridges: Vec<Bridge>,
    puts: BTreeMap<EntryId, Put>,
    full: UpstreamSet,
    /// Until then the disk has an excuse for being late: it failed, or hung.
    excused_until: Mono,
    /// Something was settled since the last turn.
    settled: bool,
    job: Option<(Job, Option<Trouble>)>,
    broken: bool,
}

pub struct World {
    plan: Plan,
    random: Random,
    now: Now,
    disk: Disk,
    life: Life,
    actions: BTreeMap<(Mono, u64), Action>,
    actions_made: u64,
    sinks: Vec<Sink>,
    messages: Vec<Message>,
    outstanding: [Vec<usize>; PUBLISHERS],
    /// Raised when the file is emptied: ids start again.
    file: u64,
    given: BTreeSet<(u32, EntryId)>,
    calm: bool,
    out: Outcomes,
}

/// Runs one seed to its end.
pub fn run(plan: Plan) -> Outcomes {
    let mut random = Random::new(plan.seed);
    let mut disk = if plan.real { Disk::real() } else { Disk::Model(Box::<Model>::default()) };
    let now = Now { mono: Mono::from_millis(1), wall: Wall(1_700_000_000_000) };
    let life = live(0, &mut disk, now, &mut random, (0..NAMES.len()).collect());
    let mut world = World {
        plan,
        random,
        now,
        disk,
        life,
        actions: BTreeMap::new(),
        actions_made: 0,
        sinks: NAMES.iter().map(|_| Sink::default()).collect(),
        messages: Vec::new(),
        outstanding: Default::default(),
        file: 0,
        given: BTreeSet::new(),
        calm: false,
        out: Outcomes { first_seed: plan.seed, seeds: 1, ..Outcomes::default() },
    };
    world.script();
    world.go();
    world.judge();
    world.out
}

fn live(number: u64, disk: &mut Disk, now: Now, random: &mut Random, present: Vec<usize>) -> Life {
    let upstreams: Vec<Arc<str>> = present.iter().map(|n| Arc::from(NAMES[*n])).collect();
    let opened: Opened = disk.open(&upstreams, &moment(now), random);
    let start = opened.start;
    let bits = opened.queues.iter().map(|queue| queue.bit.mask()).collect();
    let mut options = Options::new("sim".into(), upstreams);
    options.progress_rows = PROGRESS_ROWS;
    // Some stores are so small that they fill up.
    options.max_bytes = if number % 4 == 3 { 20_000 } else { 1 << 30 };
    let mut ledger = Ledger::new(options, now.mono);
    ledger.apply(Event::Store(Report::Opened(opened)), now);
    Life {
        number,
        ledger,
        start,
        counter: 0,
        bridges: present.iter().map(|_| Bridge::default()).collect(),
        present,
        bits,
        puts: BTreeMap::new(),
        full: UpstreamSet::EMPTY,
        excused_until: Mono::ZERO,
        settled: false,
        job: None,
        broken: false,
    }
}

impl World {
    fn script(&mut self) {
        for publisher in 0..PUBLISHERS {
            self.at(1, Action::Publish(publisher));
        }
        self.at(2, Action::Reading);
        let end = 500 + self.random.below(4_000);
        for _ in 0..self.random.below(4) {
            let at = self.random.below(end);
            self.at(at, Action::Kill);
        }
        for name in 0..NAMES.len() {
            self.sinks[name].away = self.random.one_in(2);
            for _ in 0..self.random.below(6) {
                let (flip, hush) = (self.random.below(end), self.random.below(end));
                self.at(flip, Action::Flip(name));
                self.at(hush, Action::Hush(name));
            }
        }
        self.at(end, Action::Calm);
        self.connect_all();
    }

    fn at(&mut self, millis: u64, action: Action) {
        self.after(Duration::from_millis(millis), action);
    }

    fn after(&mut self, wait: Duration, action: Action) {
        self.actions_made += 1;
        self.actions.insert((self.now.mono + wait, self.actions_made), action);
    }

    fn go(&mut self) {
        let mut steps = 0_u64;
        while let Some(((at, _), action)) = self.actions.pop_first() {
            steps += 1;
            assert!(steps < 500_000, "the world comes to rest");
            self.now.wall.0 += at.since(self.now.mono).as_millis() as i64;
            self.now.mono = self.now.mono.max(at);
            match action {
                Action::Publish(publisher) => self.publish(publisher),
                Action::Reading => self.reading(),
                Action::Ack { life, upstream, generation, id, refused } => self.ack(life, upstream, generation, id, refused),
                Action::Flip(name) => self.flip(name),
                Action::Hush(name) => self.hush(name),
                Action::JobDone { life } => self.job_done(life),
                Action::Wake { life } if life == self.life.number => {}
                Action::Wake { .. } => continue,
                Action::Kill if self.calm => {}
                Action::Kill => self.kill(),
                Action::Calm => self.become_calm(),
            }
            self.turn();
        }
    }

    fn publish(&mut self, publisher: usize) {
        if self.calm {
            return;
        }
        let gap = 1 + self.random.below(40);
        self.at(gap, Action::Publish(publisher));
        // The first waits for each PUBACK, the others have some PUBLISHes out.
        let to = self.some_upstreams();
        let full = to.iter().any(|name| self.place(*name).is_some_and(|u| self.life.full.contains(u)));
        if self.outstanding[publisher].len() < 1 + publisher * 5 && !full {
            let message = self.messages.len();
            self.messages.push(Message { publisher: Some(publisher), to, acked: false, excused: false });
            self.outstanding[publisher].push(message);
            self.put(&[message]);
        }
    }

    fn reading(&mut self) {
        if self.calm {
            return;
        }
        self.at(25, Action::Reading);
        let to = self.some_upstreams();
        self.messages.push(Message { publisher: None, to, acked: false, excused: false });
        self.put(&[self.messages.len() - 1]);
    }

    /// One to all of those that are configured now.
    fn some_upstreams(&mut self) -> Vec<usize> {
        let present = self.life.present.clone();
        let mut to: Vec<usize> = present.iter().copied().filter(|_| self.random.one_in(2)).collect();
        if to.is_empty() {
            to.push(present[self.random.below(present.len() as u64) as usize]);
        }
        to
    }

    fn place(&self, name: usize) -> Option<UpstreamId> {
        self.life.present.iter().position(|n| *n == name).map(|n| UpstreamId(n as u8))
    }

    fn put(&mut self, messages: &[usize]) {
        let mut entries = Vec::new();
        for &message in messages {
            let mut owed = UpstreamSet::EMPTY;
            for name in self.messages[message].to.clone() {
                // What was owed to somebody who is gone meanwhile is no longer asked for by the resend.
                self.place(name).into_iter().for_each(|u| owed.insert(u));
            }
            self.life.counter += 1;
            let id = EntryId::new(self.life.start.epoch, self.life.counter);
            assert!(self.given.insert((self.life.start.nonce, id)), "{id} was given before");
            self.life.puts.insert(id, Put { message, since: self.now.mono, owed, settled: UpstreamSet::EMPTY, secured: false });
            let entry = Entry {
                id,
                owed,
                awaited: self.messages[message].publisher.is_some(),
                accepted: self.now.mono,
                accepted_wall: self.now.wall,
                ..Entry::new(Topic::new("sim").expect("a topic"), Body::raw(Bytes::from(message.to_string())))
            };
            entries.push(tidegate::model::Put::Entry(entry));
        }
        self.life.ledger.apply(Event::Put(entries), self.now);
    }

    fn ack(&mut self, life: u64, upstream: usize, generation: u64, id: EntryId, refused: bool) {
        let there = life == self.life.number && self.life.bridges.get(upstream).is_some_and(|b| b.generation == generation);
        // An acknowledgement of another connection, or of another life, reaches nobody.
        if !there || !self.life.bridges[upstream].forget(id) {
            return;
        }
        let outcome =
            if refused { Outcome::DeadLetter { code: None, cause: "the model refuses it".into() } } else { Outcome::Acknowledged };
        if let Some(put) = self.life.puts.get_mut(&id).filter(|_| !refused) {
            put.settled.insert(UpstreamId(upstream as u8));
        }
        self.life.settled = true;
        self.out.dead_letters += u64::from(refused);
        let settled = vec![Settled { id, outcome }];
        self.bridge(BridgeToOutbox::Done { upstream: UpstreamId(upstream as u8), settled });
    }

    fn bridge(&mut self, event: BridgeToOutbox) {
        self.life.ledger.apply(Event::Bridge(event), self.now);
    }

    fn flip(&mut self, name: usize) {
        if !self.calm {
            self.sinks[name].away = !self.sinks[name].away;
        }
        self.reconnect(name);
    }

    /// Connected, and it acknowledges nothing; after the second of these it is thrown away and connected anew.
    fn hush(&mut self, name: usize) {
        self.sinks[name].silent = !self.sinks[name].silent && !self.calm;
        if !self.sinks[name].silent {
            self.reconnect(name);
        }
    }

    fn reconnect(&mut self, name: usize) {
        let Some(upstream) = self.place(name) else { return };
        let n = usize::from(upstream.0);
        self.life.bridges[n].generation += 1;
        self.sinks[name].connections += 1;
        self.bridge(BridgeToOutbox::Link { upstream, up: false });
        if !self.sinks[name].away {
            self.bridge(BridgeToOutbox::Link { upstream, up: true });
            for entry in self.life.bridges[n].in_flight.clone() {
                self.send(n, &entry);
            }
        }
    }

    fn connect_all(&mut self) {
        for name in 0..NAMES.len() {
            self.reconnect(name);
        }
    }

    /// The bridge writes an entry to its connection: the sink has it.
    fn send(&mut self, upstream: usize, entry: &Entry) {
        let name = self.life.present[upstream];
        let message: usize = std::str::from_utf8(&entry.body.bytes).expect("text").parse().expect("a number");
        assert!(self.messages[message].to.contains(&name), "nobody is sent what it is not owed");
        let key = (self.file, entry.id);
        let sink = &mut self.sinks[name];
        let refused = name == 0 && message.is_multiple_of(97);
        sink.receive(key, message);
        if !sink.silent {
            let generation = self.life.bridges[upstream].generation;
            let latency = Duration::from_micros(500 + self.random.below(30_000));
            self.after(latency, Action::Ack { life: self.life.number, upstream, generation, id: entry.id, refused });
        }
    }

    fn job_done(&mut self, life: u64) {
        if life != self.life.number {
            return;
        }
        let Some((job, trouble)) = self.life.job.take() else { return };
        let written: Vec<(EntryId, u32)> = match &job {
            Job::Commit(batch) => {
                let rows = batch.rows.iter().map(|row| (row.entry.id, row.mask));
                rows.chain(batch.dead_letters.iter().map(|letter| (letter.id, letter.bit.mask()))).collect()
            }
            _ => Vec::new(),
        };
        let report = match trouble {
            Some(trouble) => {
                self.out.failed_commits += u64::from(matches!(job, Job::Commit(_)));
                self.life.broken |= trouble != Trouble::Full;
                // Nobody knows whether a commit whose sync failed is on the disk.
                if trouble == Trouble::Broken && self.random.one_in(2) {
                    self.disk.run(job, &mut self.random);
                }
                Report::Failed { trouble, error: "the model fails".into() }
            }
            None => {
                let report = self.disk.run(job, &mut self.random);
                self.life.settled |= !written.is_empty();
                assert!(!matches!(report, Report::Failed { .. }), "{report:?}");
                for (id, mask) in written {
                    let carried = (0..self.life.bits.len()).filter(|n| mask & self.life.bits[*n] != 0);
                    let put = self.life.puts.get_mut(&id).into_iter();
                    put.zip([carried]).for_each(|(put, carried)| carried.for_each(|n| put.settled.insert(UpstreamId(n as u8))));
                }
                report
            }
        };
        self.life.ledger.apply(Event::Store(report), self.now);
    }

    fn kill(&mut self) {
        self.out.kills += 1;
        // The transaction that runs is whole or not there.
        if let Some((job, None)) = self.life.job.take()
            && self.random.one_in(2)
        {
            self.disk.run(job, &mut self.random);
        }
        if self.random.one_in(12) && !self.calm {
            self.disk.empty();
            self.file += 1;
            self.messages.iter_mut().for_each(|message| message.excused |= message.acked);
        } else if self.life.broken {
            // What this life sent without a disk went before the rows that are left.
            self.sinks.iter_mut().for_each(|sink| sink.unordered = true);
        }
        let mut present: Vec<usize> = (0..NAMES.len()).collect();
        self.random.shuffle(&mut present);
        if !self.calm && self.random.one_in(4) {
            present.pop();
        }
        self.life = live(self.life.number + 1, &mut self.disk, self.now, &mut self.random, present);
        self.connect_all();
        // Publishers connect again and send what was not acknowledged, under new ids.
        for publisher in 0..PUBLISHERS {
            let again: Vec<usize> = self.outstanding[publisher].clone();
            let (again, nobody): (Vec<usize>, Vec<usize>) =
                again.into_iter().partition(|m| self.messages[*m].to.iter().all(|name| self.place(*name).is_some()));
            // Its topic is now owed to others; the model lets go of it.
            self.outstanding[publisher].retain(|message| !nobody.contains(message));
            self.put(&again);
        }
    }

    /// From here on everything works; what was promised has to arrive.
    fn become_calm(&mut self) {
        self.calm = true;
        self.life.job.iter_mut().for_each(|(_, trouble)| *trouble = None);
        self.sinks.iter_mut().for_each(|sink| (sink.away, sink.silent) = (false, false));
        if self.life.broken || self.life.present.len() < NAMES.len() || self.random.one_in(2) {
            self.kill();
        } else {
            self.connect_all();
        }
    }

    fn turn(&mut self) {
        self.nobody_waits_long();
        loop {
            self.pull();
            let Effects { secured, full, pages, job, wake, .. } = self.life.ledger.effects(self.now);
            self.life.full = full.unwrap_or(self.life.full);
            self.secured(&secured);
            let again = !pages.is_empty();
            for (upstream, page) in pages {
                let n = usize::from(upstream.0);
                self.life.bridges[n].takes(&page.entries);
                for entry in page.entries {
                    if !self.sinks[self.life.present[n]].away {
                        self.send(n, &entry);
                    }
                }
            }
            if let Some(job) = job {
                self.start_job(job);
            }
            if let Some(wake) = wake {
                self.actions_made += 1;
                self.actions.insert((wake.max(self.now.mono), self.actions_made), Action::Wake { life: self.life.number });
            }
            if !again {
                return;
            }
        }
    }

    fn pull(&mut self) {
        for n in 0..self.life.bridges.len() {
            if self.sinks[self.life.present[n]].away {
                continue;
            }
            if let Some(entries) = self.life.bridges[n].wants() {
                self.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(n as u8), entries });
            }
        }
    }

    fn start_job(&mut self, job: Job) {
        assert!(self.life.job.is_none() && !self.life.broken, "one job at a time, and none after the file has failed");
        let trouble = match self.random.below(400) {
            _ if self.calm => None,
            0 => Some(Trouble::Broken),
            1..20 if matches!(job, Job::Commit(_)) => Some(Trouble::Full),
            _ => None,
        };
        let micros = if self.random.one_in(100) { 3_000_000 } else { 200 + self.random.below(20_000) };
        if trouble.is_some() || micros > 1_000_000 {
            // The longest back-off, or the hang and what it has held up; a device that failed is never asked again.
            let excused = if trouble == Some(Trouble::Broken) { 1 << 20 } else { 40_000 };
            self.life.excused_until = self.now.mono + Duration::from_millis(excused);
        }
        self.life.job = Some((job, trouble));
        self.after(Duration::from_micros(micros), Action::JobDone { life: self.life.number });
    }
}
