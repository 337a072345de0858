//! The outbox's loop: events in, [`Ledger::apply`], effects out. On the main thread; it never waits for the disk.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc::error::TrySendError;

use super::claim::Claim;
use super::job::{Report, Trouble};
use super::ledger::{Effects, Event, Ledger};
use super::recover;
use super::thread::{self, Handle};
use super::{Error, Links, Options};
use crate::clock;
use crate::faults::{self, PartFault};
use crate::model::{BridgeToOutbox, IdRange, Mono, OutboxToBroker, Phase, Restored, Start, ToOutbox, UpstreamId, UpstreamSet};

/// Messages of one link that are taken in one turn; the rest waits for the next.
const EVENTS_A_TURN: usize = 256;

/// Runs the outbox until [`Phase::StopOutbox`]. Trouble with the disk is no error: see the alarms of its status.
///
/// # Errors
/// The store's thread ended.
pub async fn run(options: Options, claim: Claim, links: Links) -> Result<(), Error> {
    let store = thread::spawn(options.path.clone(), options.upstreams.clone(), claim, options.trust, links.store_heartbeat.clone());
    let store = store.map_err(|_| Error::StoreEnded)?;
    let path = options.path.clone();
    let ledger = Ledger::new(options, clock::mono());
    let mut task =
        Task { path, ledger, links, store, notices: Notices::default(), broker_ended: false, bridges_ended: false, phase: Phase::Running };
    // A phase that was reached before this began counts as a change.
    task.links.phase.mark_changed();
    let mut wake = None;
    loop {
        task.links.heartbeat.beat();
        match faults::part(task.links.heartbeat.part()) {
            Some(PartFault::Hang) => std::future::pending().await,
            Some(PartFault::End) => return Ok(()),
            None => {}
        }
        let beat = clock::mono() + task.links.heartbeat.every();
        task.event(wake.map_or(beat, |wake: Mono| wake.min(beat))).await?;
        wake = task.act()?;
        if task.ledger.is_closed() {
            return Ok(());
        }
    }
}

struct Task {
    path: std::path::PathBuf,
    ledger: Ledger,
    links: Links,
    store: Handle,
    notices: Notices,
    broker_ended: bool,
    bridges_ended: bool,
    /// As it was last seen.
    phase: Phase,
}

impl Task {
    /// Waits for one event, and takes with it what else the same link has ready.
    async fn event(&mut self, deadline: Mono) -> Result<(), Error> {
        let Self { path, ledger, links, store, notices, broker_ended, bridges_ended, phase } = self;
        let mut new_phase = None;
        let mut puts: Vec<ToOutbox> = Vec::new();
        let mut bridges: Vec<BridgeToOutbox> = Vec::new();
        tokio::select! {
            n = links.from_broker.recv_many(&mut puts, EVENTS_A_TURN), if !*broker_ended => *broker_ended = n == 0,
            n = links.from_bridge.recv_many(&mut bridges, EVENTS_A_TURN), if !*bridges_ended => *bridges_ended = n == 0,
            report = store.reports.recv() => {
                let report = report.ok_or(Error::StoreEnded)?;
                if matches!(report, Report::Failed { trouble: Trouble::Corrupt, .. }) {
                    recover::mark_damaged(path);
                }
                ledger.apply(Event::Store(report), clock::now());
            }
            Some(query) = links.query.recv() => {
                // Whoever asked may have gone.
                let _gone = query.reply.send(ledger.status(clock::now()));
            }
            changed = links.phase.changed(), if *phase < Phase::StopOutbox => {
                // Whoever leads the shutdown has gone: there is nothing to wait for.
                *phase = if changed.is_ok() { *links.phase.borrow_and_update() } else { Phase::StopOutbox };
                new_phase = Some(*phase);
            }
            permit = links.to_broker.reserve(), if !notices.is_empty() => match (permit, notices.next()) {
                (Ok(permit), Some(notice)) => permit.send(notice),
                _ended => *notices = Notices::default(),
            },
            () = clock::sleep_until(deadline) => {}
        }
        let now = clock::now();
        for ToOutbox::Put(entries) in puts {
            ledger.apply(Event::Put(entries), now);
        }
        for event in bridges {
            ledger.apply(Event::Bridge(event), now);
        }
        if new_phase.is_some_and(|phase| phase >= Phase::StopBroker) {
            ledger.apply(Event::Drain, now);
        }
        if new_phase == Some(Phase::StopOutbox) {
            last_words(links, ledger);
            ledger.apply(Event::Finish, now);
        }
        Ok(())
    }

    /// Does what the ledger wants. Returns when to take the next turn at the latest.
    fn act(&mut self) -> Result<Option<Mono>, Error> {
        let Effects { restored, started, links: upstream_links, secured, full, pages, job, wake } = self.ledger.effects(clock::now());
        if let Some(start) = started {
            tracing::info!(epoch = start.epoch, "the outbox is open");
        }
        self.notices.restored.extend(restored);
        self.notices.links.extend(upstream_links);
        self.notices.started = started.or(self.notices.started);
        self.notices.full = full.or(self.notices.full);
        self.notices.secured.extend(secured);
        while !self.notices.is_empty() {
            let Ok(permit) = self.links.to_broker.try_reserve() else { break };
            if let Some(notice) = self.notices.next() {
                permit.send(notice);
            }
        }
        for (UpstreamId(upstream), page) in pages {
            // Its one place is free: a pull is answered once. A bridge that has ended wants nothing.
            if let Some(Err(TrySendError::Full(_))) = self.links.to_bridge.get(usize::from(upstream)).map(|bridge| bridge.try_send(page)) {
                tracing::error!(upstream, "a bridge was sent a page that it did not ask for");
            }
        }
        if let Some(job) = job {
            // The store has at most one job, so there is room unless it has ended.
            self.store.jobs.try_send(job).map_err(|_| Error::StoreEnded)?;
        }
        Ok(wake)
    }
}

/// At the end: what the broker and the bridges have said and nobody has heard yet.
fn last_words(links: &mut Links, ledger: &mut Ledger) {
    let now = clock::now();
    while let Ok(ToOutbox::Put(entries)) = links.from_broker.try_recv() {
        ledger.apply(Event::Put(entries), now);
    }
    while let Ok(event) = links.from_bridge.try_recv() {
        ledger.apply(Event::Bridge(event), now);
    }
}

/// What the broker is to be told and has no room for yet. Ranges gather here, at most one for each entry that it waits for.
#[derive(Debug, Default)]
struct Notices {
    /// Before anything else.
    restored: VecDeque<Vec<Restored>>,
    started: Option<Start>,
    /// As each is now.
    links: BTreeMap<UpstreamId, bool>,
    full: Option<UpstreamSet>,
    secured: Vec<IdRange>,
}

impl Notices {
    fn is_empty(&self) -> bool {
        self.restored.is_empty() && self.started.is_none() && self.links.is_empty() && self.full.is_none() && self.secured.is_empty()
    }

    fn next(&mut self) -> Option<OutboxToBroker> {
        if let Some(page) = self.restored.pop_front() {
            return Some(OutboxToBroker::Restored(page));
        }
        if let Some(start) = self.started.take() {
            return Some(OutboxToBroker::Started(start));
        }
        if let Some((upstream, up)) = self.links.pop_first() {
            return Some(OutboxToBroker::Link { upstream, up });
        }
        if let Some(full) = self.full.take() {
            return Some(OutboxToBroker::Full(full));
        }
        (!self.secured.is_empty()).then(|| OutboxToBroker::Secured(std::mem::take(&mut self.secured)))
    }
}
