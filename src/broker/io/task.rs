//! The broker's task: links to the other parts, deadlines, the drain.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

use super::super::end::End;
use super::super::state::Broker;
use super::super::{Error, Links, Options};
use super::doors::DoorsLink;
use super::hash::Hasher;
use super::shell::Shell;
use super::{again, flusher, listener};
use crate::clock;
use crate::faults::{self, PartFault};
use crate::model::status::BrokerStatus;
use crate::model::{Message, Mono, OutboxToBroker, Phase, ToOutbox};

/// Time between two sweeps of deadlines. The sweep is the only timer of keep-alives: none is kept a connection.
const SWEEP: Duration = Duration::from_secs(1);

/// Messages and events taken from a link in one turn.
const BATCH: usize = 256;

/// Fewer readings than this are too quickly applied to be measured.
const READINGS_MEASURED: usize = 16;

pub(in crate::broker) async fn run(options: Options, mut links: Links) -> Result<BrokerStatus, Error> {
    let doors = match links.doors.take() {
        None => None,
        Some(DoorsLink { ready, sockets, news }) => {
            if ready.await.is_err() {
                // Why they cannot open is for them to say.
                wait_for_stop(&mut links).await;
                return Ok(Broker::new(options, &[0; 32]).status());
            }
            Some((sockets, news))
        }
    };
    let (sockets, bound): (Vec<_>, Vec<_>) = listener::bind(&options.listeners)?.into_iter().unzip();
    let listeners = options.listeners.clone();
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| Error::Random(error.into()))?;
    let hasher = options.listeners.iter().any(|listener| listener.users.is_some()).then(Hasher::start);
    let hasher = hasher.transpose().map_err(Error::Thread)?;
    let mut broker = Broker::new(options, &key);
    broker.counters.listeners = bound.iter().map(|bound| bound.url.clone()).collect();
    let shell = Rc::new(Shell::new(broker));
    let mut tasks = vec![spawn_local(flusher::run(Rc::clone(&shell))), spawn_local(again::run(Rc::clone(&shell)))];
    let mut apart = Vec::new();
    for ((index, socket), listener) in (0..).zip(sockets).zip(&listeners) {
        if listener.has_threshold() {
            apart.push((index, listener::pack(socket).map_err(|source| Error::Listen { at: listener.at.clone(), source })?));
        } else {
            tasks.push(spawn_local(listener::run(socket, index, Rc::clone(&shell))));
        }
    }
    match doors {
        Some((sockets, news)) => {
            // If its thread has ended the process is about to.
            let _ = sockets.send(apart);
            tasks.push(spawn_local(listener::receive(news, Rc::clone(&shell))));
        }
        None if apart.is_empty() => {}
        None => return Err(Error::NoDoors),
    }
    // A receiver that is gone does not want to know.
    let (told, _) = tokio::sync::oneshot::channel();
    let _ = std::mem::replace(&mut links.bound, told).send(bound);
    let mut turn = Turns {
        next_sweep: clock::mono() + SWEEP,
        readings: VecDeque::new(),
        events: Vec::new(),
        more: false,
        sweep_again: false,
        watching: true,
        hasher,
    };
    // A task as all others: the runtime's own future would have a slice after every few of theirs.
    let main = spawn_local(async move {
        turn.run(&shell, &mut links).await;
        drain(&shell, &mut links, &mut turn, &mut tasks).await;
        for task in tasks {
            task.abort();
        }
        shell.broker.borrow().status()
    });
    main.await.map_err(Error::Ended)
}

/// The doors could not open: the process is about to stop.
async fn wait_for_stop(links: &mut Links) {
    while !is_stopping(links) {
        links.heartbeat.beat();
        let every = clock::mono() + links.heartbeat.every();
        tokio::select! {
            _ = links.phase.changed() => {}
            () = clock::sleep_until(every) => {}
        }
    }
}

/// What the loop keeps from one turn to the next.
struct Turns {
    next_sweep: Mono,
    readings: VecDeque<Message>,
    events: Vec<OutboxToBroker>,
    /// More is due by itself than one turn takes: it goes on after others' turns.
    more: bool,
    /// So is the sweep.
    sweep_again: bool,
    /// The phase is waited for.
    watching: bool,
    /// Where there are users.
    hasher: Option<Hasher>,
}

impl Turns {
    /// Until the drain begins.
    async fn run(&mut self, shell: &Shell, links: &mut Links) {
        while !is_stopping(links) {
            match self.step(shell, links).await {
                None => {}
                Some(PartFault::Hang) => std::future::pending().await,
                Some(PartFault::End) => return,
            }
        }
    }

    /// One event of whatever kind, applied.
    async fn step(&mut self, shell: &Shell, links: &mut Links) -> Option<PartFault> {
        links.heartbeat.beat();
        let fault = faults::part(links.heartbeat.part());
        if fault.is_some() {
            return fault;
        }
        let (takes_readings, pending, paused) = {
            let broker = shell.broker.borrow();
            (broker.takes_readings(), broker.owed.has_pending(), broker.paused_until())
        };
        let more_readings = !self.readings.is_empty();
        let every = clock::mono() + links.heartbeat.every();
        let deadline = paused.map_or(self.next_sweep, |at| at.min(self.next_sweep)).min(every);
        tokio::select! {
            n = links.from_outbox.recv_many(&mut self.events, BATCH), if !links.from_outbox.is_closed() || !links.from_outbox.is_empty() => {
                if n > 0 {
                    self.apply_events(shell);
                }
            }
            permit = links.to_outbox.reserve(), if pending && !links.to_outbox.is_closed() => {
                if let Ok(permit) = permit {
                    permit.send(ToOutbox::Put(shell.broker.borrow_mut().take_pending()));
                }
            }
            _ = receive(&mut links.inject, &mut self.readings), if takes_readings && !more_readings && is_open(&links.inject) => {}
            Some(query) = links.query.recv() => {
                // Whoever asked may have gone.
                let _ = query.reply.send(shell.broker.borrow().status());
            }
            Some(right) = answer(self.hasher.as_mut()) => shell.broker.borrow_mut().password_judged(right, clock::now()),
            Some(policy) = links.policy.recv() => shell.broker.borrow_mut().take_policy(policy, clock::now()),
            Some(ask) = links.asks.recv() => shell.turn(true, || shell.broker.borrow_mut().ask(ask, clock::now())),
            _ = links.phase.changed(), if self.watching => {}
            () = shell.main.notified() => {}
            () = clock::sleep_until(deadline) => {}
            () = std::future::ready(()), if self.more || (more_readings && takes_readings) => {}
        }
        self.work(shell);
        if (self.more || !self.readings.is_empty()) && !faults::active("no-yield") {
            // A branch that is ready at once does not let others have their turn.
            tokio::task::yield_now().await;
        }
        None
    }

    fn apply_events(&mut self, shell: &Shell) {
        for event in self.events.drain(..) {
            shell.turn(true, || shell.broker.borrow_mut().outbox(event, clock::now()));
        }
    }

    /// What is due by itself.
    fn work(&mut self, shell: &Shell) {
        let now = clock::now();
        let sweeping = now.mono >= self.next_sweep || self.sweep_again;
        self.sweep_again = false;
        self.more = shell.turn(sweeping || self.more || self.readings.len() >= READINGS_MEASURED, || {
            let mut broker = shell.broker.borrow_mut();
            if broker.takes_readings() {
                broker.inject(&mut self.readings, now);
            }
            if sweeping || broker.paused_until().is_some_and(|at| at <= now.mono) {
                self.sweep_again = broker.sweep(now);
            }
            if let Some(hasher) = &self.hasher
                && let Some(question) = broker.next_question()
            {
                hasher.ask(question);
            }
            broker.chores(now)
        });
        if sweeping {
            self.next_sweep = now.mono + SWEEP;
            shell.look_for_ends();
        }
        self.more |= self.sweep_again;
        // Entries that the link has no room for are no news: the loop waits for room.
        shell.settle();
    }
}

async fn answer(hasher: Option<&mut Hasher>) -> Option<bool> {
    hasher?.answers.recv().await
}

async fn receive(inject: &mut mpsc::Receiver<Message>, readings: &mut VecDeque<Message>) {
    let mut batch = Vec::with_capacity(BATCH);
    inject.recv_many(&mut batch, BATCH).await;
    readings.extend(batch);
}

/// A closed link is still read to its end, then asked no more.
fn is_open<T>(link: &mpsc::Receiver<T>) -> bool {
    !link.is_closed() || !link.is_empty()
}

fn is_stopping(links: &Links) -> bool {
    // The daemon is gone: nobody is left to say so.
    *links.phase.borrow() >= Phase::StopBroker || links.phase.has_changed().is_err()
}

/// Accepts and reads no more; applies what was read; waits until it is secured and the acknowledgements are written; closes.
async fn drain(shell: &Rc<Shell>, links: &mut Links, turns: &mut Turns, tasks: &mut Vec<JoinHandle<()>>) {
    let deadline = clock::mono() + links.drain;
    for accepting in tasks.drain(2..) {
        accepting.abort();
    }
    turns.watching = false;
    shell.begin_drain();
    let mut stop_due = true;
    while clock::mono() < deadline {
        while turns.readings.len() < BATCH
            && let Ok(message) = links.inject.try_recv()
        {
            turns.readings.push_back(message);
        }
        let applied = turns.readings.is_empty() && shell.unsettled.get() == 0;
        if applied && stop_due {
            stop_due = false;
            shell.broker.borrow_mut().begin_stop(clock::now());
        }
        // Without an outbox nothing more is secured.
        if applied && (shell.broker.borrow().is_idle() || links.to_outbox.is_closed()) {
            break;
        }
        match clock::before(deadline, turns.step(shell, links)).await {
            Some(None) => {}
            Some(Some(PartFault::Hang)) => std::future::pending().await,
            Some(Some(PartFault::End)) | None => break,
        }
    }
    close(shell, deadline).await;
}

/// Ends all connections; each has until `deadline`, and no longer than a connection's last bytes ever get, to take what is written to it.
async fn close(shell: &Rc<Shell>, deadline: Mono) {
    {
        let mut broker = shell.broker.borrow_mut();
        let unsecured = broker.owed.bytes();
        if unsecured > 0 {
            tracing::warn!(bytes = unsecured, "the broker stops before everything was secured: what waits was not acknowledged");
        }
        for id in shell.ids() {
            broker.lost(id, End::Stop, clock::now());
        }
    }
    shell.settle();
    while clock::mono() < deadline && !shell.ids().is_empty() {
        let until = deadline.min(clock::mono() + SWEEP);
        clock::before(until, shell.main.notified()).await;
        shell.broker.borrow_mut().sweep(clock::now());
        shell.settle();
    }
}
