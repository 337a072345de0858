//! Cases of the contract by name (the table of outbox.md), each step by step.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate::model::{
    Body, BridgeToOutbox, Entry, EntryId, IdRange, Mono, Now, Outcome, Put, Settled, Start, Topic, UpstreamId, UpstreamSet, Wall,
};
use tidegate::outbox::Options;
use tidegate::outbox::job::{Job, Report, Trouble};
use tidegate::outbox::ledger::{Effects, Event, Ledger};

use super::disk::{Disk, Model, moment};
use super::random::Random;

const DEAD: u8 = 0;
const LIVE: u8 = 1;
const MS: Duration = Duration::from_millis(1);

/// A gateway with the upstreams "dead" and "live", whose disk does what the test says.
struct Gateway {
    disk: Disk,
    random: Random,
    ledger: Ledger,
    now: Now,
    start: Start,
    counter: u64,
    secured: Vec<IdRange>,
    /// What each upstream was handed.
    got: [Vec<EntryId>; 2],
    job: Option<Job>,
    wake: Option<Mono>,
}

impl Gateway {
    fn start(mut disk: Disk) -> Self {
        let mut random = Random::new(1);
        let names: Vec<Arc<str>> = vec!["dead".into(), "live".into()];
        let now = Now { mono: Mono::from_millis(1), wall: Wall(1) };
        let opened = disk.open(&names, &moment(now), &mut random);
        let start = opened.start;
        let mut ledger = Ledger::new(Options::new("case".into(), names), now.mono);
        ledger.apply(Event::Store(Report::Opened(opened)), now);
        let mut gateway =
            Self { disk, random, ledger, now, start, counter: 0, secured: Vec::new(), got: Default::default(), job: None, wake: None };
        gateway.bridge(BridgeToOutbox::Link { upstream: UpstreamId(LIVE), up: true });
        gateway.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(LIVE), entries: 100 });
        gateway
    }

    /// The process is gone; the disk is as it is.
    fn kill(self) -> Self {
        Self::start(self.disk)
    }

    fn turn(&mut self) {
        let Effects { secured, pages, job, wake, .. } = self.ledger.effects(self.now);
        self.secured.extend(secured);
        for (upstream, page) in pages {
            self.got[usize::from(upstream.0)].extend(page.entries.iter().map(|entry| entry.id));
            self.bridge(BridgeToOutbox::Pull { upstream, entries: 100 });
        }
        self.wake = wake;
        self.job = job.or(self.job.take());
    }

    /// A PUBLISH at QoS 1.
    fn publish(&mut self, owed: u8) -> EntryId {
        self.counter += 1;
        let id = EntryId::new(self.start.epoch, self.counter);
        let mut set = UpstreamSet::EMPTY;
        set.insert(UpstreamId(owed));
        let entry = Entry {
            id,
            owed: set,
            awaited: true,
            accepted: self.now.mono,
            accepted_wall: self.now.wall,
            ..Entry::new(Topic::new("case").expect("a topic"), Body::raw(Bytes::from_static(b"x")))
        };
        self.ledger.apply(Event::Put(vec![Put::Entry(entry)]), self.now);
        self.turn();
        id
    }

    fn bridge(&mut self, event: BridgeToOutbox) {
        self.ledger.apply(Event::Bridge(event), self.now);
        self.turn();
    }

    fn ack(&mut self, id: EntryId) {
        let settled = vec![Settled { id, outcome: Outcome::Acknowledged }];
        self.bridge(BridgeToOutbox::Done { upstream: UpstreamId(LIVE), settled });
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.turn();
    }

    /// The store ends the job that it has; `trouble`: without having done it.
    fn store(&mut self, trouble: Option<Trouble>) {
        let job = self.job.take().expect("the store has a job");
        let report = match trouble {
            Some(trouble) => Report::Failed { trouble, error: "as the test says".into() },
            None => self.disk.run(job, &mut self.random),
        };
        self.ledger.apply(Event::Store(report), self.now);
        self.turn();
    }

    fn commits(&self) -> bool {
        matches!(self.job, Some(Job::Commit(_)))
    }

    /// Runs the store for as long as it has jobs.
    fn settle(&mut self) {
        while self.job.is_some() {
            self.store(None);
        }
    }

    fn is_secured(&self, id: EntryId) -> bool {
        self.secured.iter().any(|range| range.contains(id))
    }
}

fn disks() -> [Disk; 2] {
    [Disk::Model(Box::<Model>::default()), Disk::real()]
}

/// Upstream has it twice then, under two ids: the publisher cannot know.
#[test]
fn acked_by_upstream_and_never_stored_a_kill_before_the_puback_makes_it_come_twice() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let first = gateway.publish(LIVE);
        assert_eq!(gateway.got[1], [first]);
        gateway.pass(MS * 5);
        gateway.ack(first);
        assert!(gateway.is_secured(first) && gateway.job.is_none(), "secured without a commit");
        // The PUBACK has not left.
        let mut gateway = gateway.kill();
        gateway.settle();
        assert_eq!(gateway.got[1], [], "it was not stored");
        let again = gateway.publish(LIVE);
        assert_eq!(gateway.got[1], [again]);
        assert_ne!(first, again);
    }
}

#[test]
fn six_owed_to_the_dead_and_seven_acked_by_the_live_one_a_failed_commit_secures_seven_only() {
    for trouble in [Trouble::Full, Trouble::Broken] {
        for disk in disks() {
            let mut gateway = Gateway::start(disk);
            let six = gateway.publish(DEAD);
            let seven = gateway.publish(LIVE);
            assert!(gateway.commits());
            gateway.ack(seven);
            gateway.store(Some(trouble));
            assert!(gateway.is_secured(seven) && !gateway.is_secured(six), "{trouble:?}");
            let eight = gateway.publish(LIVE);
            gateway.ack(eight);
            assert!(gateway.is_secured(eight), "what the live upstream acknowledges needs no disk");
            gateway.pass(MS * 60_000);
            // No space may come back; a device that failed is not asked again.
            assert_eq!(gateway.commits(), trouble == Trouble::Full);
            assert!(!gateway.is_secured(six));
            if gateway.commits() {
                gateway.store(None);
                assert!(gateway.is_secured(six));
            }
        }
    }
}

#[test]
fn upstream_away_and_a_kill_after_the_puback_the_row_was_first() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        gateway.bridge(BridgeToOutbox::Link { upstream: UpstreamId(LIVE), up: false });
        let id = gateway.publish(LIVE);
        assert!(gateway.commits() && !gateway.is_secured(id), "the commit has not returned");
        gateway.store(None);
        assert!(gateway.is_secured(id));
        let mut gateway = gateway.kill();
        gateway.settle();
        assert_eq!(gateway.got[1], [id]);
    }
}

#[test]
fn a_commit_that_fails_acknowledges_nothing_and_a_kill_then_loses_nothing_acknowledged() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let ids: Vec<EntryId> = (0..20).map(|_| gateway.publish(DEAD)).collect();
        for _ in 0..5 {
            assert!(gateway.commits());
            gateway.store(Some(Trouble::Full));
            assert!(!ids.iter().any(|id| gateway.is_secured(*id)));
            gateway.pass(MS * 31_000);
        }
        let mut gateway = gateway.kill();
        gateway.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(DEAD), entries: 100 });
        gateway.settle();
        assert_eq!(gateway.got[0], [], "nothing of the failed commits is there, and nobody was told that it is");
    }
}

#[test]
fn refused_for_ever_and_never_stored_it_is_settled_by_the_commit_of_its_dead_letter_only() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let id = gateway.publish(LIVE);
        let outcome = Outcome::DeadLetter { code: Some(0x90), cause: "topic name invalid".into() };
        gateway.bridge(BridgeToOutbox::Done { upstream: UpstreamId(LIVE), settled: vec![Settled { id, outcome }] });
        assert!(gateway.commits() && !gateway.is_secured(id));
        gateway.store(None);
        assert!(gateway.is_secured(id));
        assert_eq!(gateway.ledger.status(gateway.now).dead_letters, 1);
        let mut gateway = gateway.kill();
        gateway.settle();
        assert_eq!(gateway.got[1], [], "it is not sent again");
    }
}
