//! The loop of one upstream: waits for one event, lets the state decide, does what it says.

use std::time::Duration;

use tokio::sync::watch;

use super::sink::{Event, Sink};
use super::state::{Action, State};
use super::{Links, Options, Tuning};
use crate::clock;
use crate::faults::{self, PartFault};
use crate::model::{Mono, Phase};

/// At the end of the drain: so long for acknowledgements of what is in flight, and the farewell.
const DRAIN_MAX: Duration = Duration::from_secs(1);

pub async fn run<S: Sink>(options: Options, tuning: Tuning, mut sink: S, mut links: Links) {
    let mut state = State::new(options, &tuning, clock::mono());
    let mut events = Vec::new();
    loop {
        links.heartbeat.beat();
        match faults::part(links.heartbeat.part()) {
            Some(PartFault::Hang) => std::future::pending().await,
            Some(PartFault::End) => return,
            None => {}
        }
        turn(&mut state, &mut sink, clock::mono());
        let wake = state.wake_at().unwrap_or(Mono::from_nanos(u64::MAX)).min(clock::mono() + links.heartbeat.every());
        tokio::select! {
            permit = links.to_outbox.reserve(), if state.has_message() => {
                let Ok(permit) = permit else { return };
                if let Some(message) = state.message() {
                    permit.send(message);
                }
            }
            page = links.pages.recv() => {
                let Some(page) = page else { return };
                state.pump.page();
                for entry in &page.entries {
                    state.take(entry.id, sink.parcel(entry, page.nonce(entry.id).unwrap_or(0)));
                }
            }
            () = sink.events(&mut events) => apply(&mut state, &mut sink, &mut events),
            Some(query) = links.query.recv() => drop(query.reply.send(state.status(clock::mono()))),
            () = stopping(&mut links.phase) => return drain(&mut state, &mut sink, &links).await,
            () = clock::sleep_until(wake) => {}
        }
    }
}

/// Returns at [`Phase::StopBridge`], and when nobody is left to say so.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase >= Phase::StopBridge).await;
}

/// What is due, and what may be offered.
fn turn<S: Sink>(state: &mut State, sink: &mut S, now: Mono) {
    if let Some(action) = state.due(now) {
        perform(sink, action);
    }
    while state.is_up() {
        state.pump.drop_expired(S::BATCH, now);
        let count = state.pump.room(S::BATCH);
        if count == 0 {
            break;
        }
        match sink.offer(state.pump.to_offer(S::BATCH)) {
            Ok(token) => state.pump.offered(token, count, now),
            Err(_full) => break,
        }
    }
}

fn apply<S: Sink>(state: &mut State, sink: &mut S, events: &mut Vec<Event>) {
    let now = clock::mono();
    for event in events.drain(..) {
        if let Some(action) = state.event(event, now) {
            perform(sink, action);
        }
    }
}

fn perform<S: Sink>(sink: &mut S, action: Action) {
    match action {
        Action::Connect => sink.connect(),
        Action::ThrowAway(cause) => sink.throw_away(cause),
    }
}

/// Sends nothing new, waits a little for what is in flight, hands in what it has, takes leave.
async fn drain<S: Sink>(state: &mut State, sink: &mut S, links: &Links) {
    let deadline = clock::mono() + DRAIN_MAX;
    let mut events = Vec::new();
    state.stop();
    let mut taking_leave = false;
    while state.is_up() {
        if state.pump.in_flight() == 0 && !taking_leave {
            taking_leave = true;
            sink.farewell();
        }
        links.heartbeat.beat();
        if clock::before(deadline, sink.events(&mut events)).await.is_none() {
            break;
        }
        apply(state, sink, &mut events);
    }
    state.gone();
    while let Some(message) = state.message() {
        links.heartbeat.beat();
        if !matches!(clock::before(deadline + DRAIN_MAX, links.to_outbox.send(message)).await, Some(Ok(()))) {
            return;
        }
    }
}
