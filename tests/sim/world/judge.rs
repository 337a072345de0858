//! What must be true of a run: after each notice of the outbox, and at the end.

use std::time::Duration;

use tidegate::model::{EntryId, IdRange};

use super::{NAMES, PROGRESS_ROWS, Put, World};
use crate::sim::upstream::WINDOW;

/// `ack_wait`, `ack_delay`, and two jobs of the store.
const WAIT_MAX: Duration = Duration::from_millis(500 + 200 + 50);

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// On a file of the real store.
    pub real: bool,
    /// Each notice of the outbox is checked against what was settled; else only the end counts.
    pub strict: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub first_seed: u64,
    pub seeds: u64,
    pub kills: u64,
    pub acked: u64,
    pub acked_while_away: u64,
    pub delivered: u64,
    pub duplicates: u64,
    pub failed_commits: u64,
    pub dead_letters: u64,
    pub lost: Vec<String>,
}

impl Outcomes {
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.kills += other.kills;
        self.acked += other.acked;
        self.acked_while_away += other.acked_while_away;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.failed_commits += other.failed_commits;
        self.dead_letters += other.dead_letters;
        self.lost.extend(other.lost);
    }
}

impl World {
    pub(super) fn secured(&mut self, ranges: &[IdRange]) {
        for range in ranges {
            let ids: Vec<EntryId> = self.life.puts.range(range.first..=range.last).map(|(id, _)| *id).collect();
            for id in ids {
                self.one_secured(id);
            }
        }
        if !std::mem::take(&mut self.life.settled) && ranges.is_empty() {
            return;
        }
        if self.plan.strict {
            let late = self.life.puts.iter().find(|(_, put)| !put.secured && put.settled == put.owed);
            assert!(late.is_none(), "{:?} is settled and nobody is told", late.map(|(id, _)| id));
        }
        self.life.puts.retain(|_, put| !(put.secured && put.settled == put.owed));
    }

    fn one_secured(&mut self, id: EntryId) {
        let Some(put) = self.life.puts.get_mut(&id) else { return };
        if std::mem::replace(&mut put.secured, true) {
            return;
        }
        assert!(!self.plan.strict || put.settled == put.owed, "{id} is called secured and is not: {:?} of {:?}", put.settled, put.owed);
        let message = &mut self.messages[put.message];
        message.acked = true;
        let away = message.to.iter().any(|name| self.sinks[*name].away);
        self.out.acked_while_away += u64::from(away && message.publisher.is_some());
        if let Some(publisher) = message.publisher {
            self.out.acked += 1;
            self.outstanding[publisher].retain(|m| *m != put.message);
        }
    }

    /// A publisher has its acknowledgement after `ack_wait` and `ack_delay` at the latest, and the commit that it takes.
    pub(super) fn nobody_waits_long(&self) {
        if !self.plan.strict || self.now.mono < self.life.excused_until {
            return;
        }
        let awaited = |put: &&Put| !put.secured && self.messages[put.message].publisher.is_some();
        let oldest = self.life.puts.values().find(awaited).map_or(self.now.mono, |put| put.since);
        let waited = self.now.mono.since(oldest);
        assert!(waited < WAIT_MAX, "a publisher waits for {waited:?}");
    }

    pub(super) fn judge(&mut self) {
        for (m, message) in self.messages.iter().enumerate().filter(|(_, message)| message.acked && !message.excused) {
            for name in message.to.iter().filter(|name| !self.sinks[**name].has(m)) {
                self.out.lost.push(format!("SEED={}: message {m} for {}", self.plan.seed, NAMES[*name]));
            }
        }
        if self.plan.strict {
            for put in self.life.puts.values() {
                assert!(put.secured, "in the end everything is secured");
            }
        }
        for (name, sink) in self.sinks.iter().enumerate() {
            sink.check_order(NAMES[name]);
            self.out.delivered += sink.first.len() as u64;
            self.out.duplicates += sink.duplicates;
            let resent = (sink.connections + self.out.kills) * WINDOW as u64;
            let most = resent + self.out.kills * PROGRESS_ROWS;
            assert!(self.out.failed_commits > 0 || sink.duplicates <= most, "{} duplicates, at most {most}", sink.duplicates);
        }
    }
}
