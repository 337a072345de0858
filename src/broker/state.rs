//! The broker's whole state and the events that it takes. No I/O; the time of each event is handed in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use slab::Slab;

use super::ask::Waiting;
use super::auth::Mechanism;
use super::conn::{Conn, Conns, Hold};
use super::deliver::Deferred;
use super::dirty::Dirty;
use super::door::Listener;
use super::ended::Ended;
use super::flow::{EASY_AT, Slow};
use super::id::{ConnId, SessionIndex};
use super::journal::Journal;
use super::left::Left;
use super::letter::Scratch;
use super::limit::Reached;
use super::lobby::Lobby;
use super::output::{Budget, Out};
use super::owed::Owed;
use super::passwords::Passwords;
use super::queue::QueueLimits;
use super::retained::RetainedStore;
use super::rights::Access;
use super::scram::Scram;
use super::secured::Securing;
use super::session::Session;
use super::shared::Choice;
use super::subscriptions::Subscriptions;
use super::sys::{Sys, Traffic};
use super::will::DueWill;
use super::{Limits, Options};
use crate::access::Policy;
use crate::model::status::BrokerStatus;
use crate::model::{EntryId, Mono, Now, OutboxToBroker, Put, SessionId};

/// So long without a message dropped for want of room, and the log says that it is over.
const DROPS_OVER: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) limits: Limits,
    /// Of the event that is being applied.
    pub(super) now: Now,
    pub(super) conns: Conns,
    pub(super) sessions: Slab<Box<Session>>,
    pub(super) by_client: HashMap<Rc<str>, SessionIndex>,
    pub(super) subscriptions: Subscriptions,
    pub(super) access: Access,
    pub(super) retained: RetainedStore,
    pub(super) owed: Owed,
    pub(super) budget: Budget,
    pub(super) scratch: Scratch,
    /// For the forwarded properties of the message that is being applied.
    pub(super) properties: Vec<u8>,
    /// For entries that had to go from a queue.
    pub(super) dropped_entries: Vec<EntryId>,
    /// The members that get the message which is being applied, one a group.
    pub(super) chosen: Vec<Choice>,
    /// Of all output together.
    pub(super) slow: Slow,
    /// Serial of the next session.
    pub(super) serial: u64,
    /// Sessions that outlive their connection.
    pub(super) durable: usize,
    /// By what has to be secured first: sessions that have packets waiting for it, each with its serial.
    pub(super) gates: BTreeSet<(u64, SessionIndex, u64)>,
    /// By the counter of their packet id: gated messages that the rest of their receivers are still to get.
    pub(super) deferred: BTreeMap<u64, Deferred>,
    /// Wills that are to be published now.
    pub(super) wills: VecDeque<DueWill>,
    /// When something comes to the sessions of clients that are away: their end, or their will.
    pub(super) deadlines: BTreeSet<(Mono, SessionIndex)>,
    pub(super) left: Left,
    pub(super) securing: Securing,
    pub(super) ended: Ended,
    /// Answers to people that wait for the store.
    pub(super) waiting: Waiting,
    /// Sessions by their number in the store, while what it held is handed over.
    pub(super) restoring: HashMap<SessionId, SessionIndex>,
    /// Whom each door knows.
    pub(super) policy: Policy,
    pub(super) passwords: Passwords,
    /// Connections that are to be looked at, because the users are not what they were.
    pub(super) revoking: Vec<ConnId>,
    /// Ways to prove who one is (5.0, 4.12).
    pub(super) mechanisms: Vec<Box<dyn Mechanism>>,
    /// For client ids that the broker assigns.
    pub(super) seed: u64,
    pub(super) assigned: u64,
    pub(super) counters: BrokerStatus,
    pub(super) reached: Reached,
    pub(super) journal: Journal,
    pub(super) traffic: Traffic,
    pub(super) sys: Sys,
    pub(super) names: Vec<Arc<str>>,
    pub(super) doors: Vec<Listener>,
    /// By door: its own limits, if it has some.
    door_limits: Vec<Option<Box<Limits>>>,
    pub(super) lobby: Lobby,
    /// Readings or QoS 0 are being dropped: what was counted before, and when the last one was.
    dropping: Option<(u64, Mono)>,
    pub(super) dirty: Dirty,
    /// Tasks to be woken.
    pub(super) wakes: Vec<ConnId>,
    held: Vec<ConnId>,
    paused: Vec<ConnId>,
    paused_until: Option<Mono>,
    /// Something is due in the broker's own task.
    pub(super) news: bool,
}

impl Broker {
    /// `key`: random and secret; what this process makes up for others, as client ids, cannot be guessed without it.
    pub(super) fn new(options: Options, key: &[u8; 32]) -> Self {
        let passwords = Passwords::new(key, options.limits.logins_waiting_max);
        let seed = passwords.seed("client ids", &[]).first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let door_limits = options.listeners.iter().map(|door| door.limits(&options.limits)).collect();
        let scram = Scram::new(&passwords.seed("scram", &[]));
        Self {
            passwords,
            access: Access::new(&options.policy, &options.listeners),
            policy: options.policy,
            revoking: Vec::new(),
            owed: Owed::new(options.limits.unsecured_max),
            lobby: Lobby::new(&options.limits, options.listeners.len()),
            now: Now::default(),
            conns: Conns::default(),
            sessions: Slab::new(),
            by_client: HashMap::new(),
            subscriptions: Subscriptions::new(options.upstreams),
            retained: RetainedStore::new(&options.limits),
            limits: options.limits,
            budget: Budget::default(),
            scratch: Scratch::default(),
            properties: Vec::new(),
            dropped_entries: Vec::new(),
            chosen: Vec::new(),
            slow: Slow::default(),
            serial: 0,
            durable: 0,
            gates: BTreeSet::new(),
            deferred: BTreeMap::new(),
            wills: VecDeque::new(),
            deadlines: BTreeSet::new(),
            left: Left::default(),
            securing: Securing::default(),
            ended: Ended::default(),
            waiting: Waiting::default(),
            restoring: HashMap::new(),
            mechanisms: vec![Box::new(scram)],
            seed,
            assigned: 0,
            counters: BrokerStatus::default(),
            reached: Reached::default(),
            journal: Journal::default(),
            traffic: Traffic::default(),
            sys: Sys::default(),
            names: options.names,
            door_limits,
            doors: options.listeners,
            dropping: None,
            dirty: Dirty::default(),
            wakes: Vec::new(),
            held: Vec::new(),
            paused: Vec::new(),
            paused_until: None,
            news: false,
        }
    }

    /// An event of the outbox.
    pub(super) fn outbox(&mut self, event: OutboxToBroker, now: Now) {
        self.now = now;
        match event {
            OutboxToBroker::Started(start) => {
                self.owed.begin(start);
                self.finish_restore();
                self.wake_held();
            }
            OutboxToBroker::Secured(ranges) => self.secured(ranges),
            OutboxToBroker::Restored(page) => self.restore(page),
            OutboxToBroker::Link { upstream, up } => self.say_link(upstream, up),
            OutboxToBroker::Full(full) => {
                self.owed.full = full;
                self.wake_held();
            }
        }
    }

    /// Leaves the head of the connection's input unapplied.
    pub(super) fn hold(&mut self, id: ConnId, hold: Hold) {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.hold = Some(hold);
        match hold {
            Hold::NotStarted | Hold::Unsecured => self.held.push(id),
            Hold::Full(_) => {
                conn.refused_since.get_or_insert(now);
                self.held.push(id);
            }
            Hold::Acks | Hold::Slow | Hold::Rate | Hold::Unread | Hold::Commit(_) | Hold::Password => {}
        }
    }

    /// The connection ends.
    pub(super) fn forget_held(&mut self, id: ConnId, hold: Hold) {
        self.held.retain(|held| *held != id);
        if hold == Hold::Password {
            self.passwords.leave(id);
        }
    }

    pub(super) fn wake_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.resume(&held);
    }

    fn resume(&mut self, ids: &[ConnId]) {
        for id in ids {
            if let Some(conn) = self.conns.get_mut(*id)
                && conn.hold.take().is_some()
            {
                conn.seen = self.now.mono;
                if let Some(held_up) = &mut conn.held_up {
                    held_up.ease(self.now.mono);
                }
                self.wakes.push(*id);
            }
        }
    }

    /// Pauses a connection that feeds a slow receiver, unless others have held it up for as long as may be.
    pub(super) fn pause(&mut self, id: ConnId, until: Mono) {
        let now = self.now.mono;
        let Some(longest) = self.conns.get_mut(id).and_then(|conn| conn.held_up.get_or_insert_default().press(now)) else { return };
        let until = until.min(longest);
        self.hold(id, Hold::Slow);
        self.resume_at(id, until);
    }

    /// A held connection goes on then, or earlier.
    pub(super) fn resume_at(&mut self, id: ConnId, until: Mono) {
        self.paused.push(id);
        if self.paused_until.is_none_or(|at| until < at) {
            self.paused_until = Some(until);
            self.news = true;
        }
    }

    /// The upstream's name, for the log.
    pub(super) fn name_of(&self, upstream: u8) -> &str {
        self.names.get(usize::from(upstream)).map_or("", |name| name)
    }

    /// The listener's name.
    pub(super) fn listener_name(&self, listener: u16) -> &str {
        self.doors.get(usize::from(listener)).map_or("", |door| &door.name)
    }

    /// What an upstream would have got of a reading or a QoS 0 message cannot be kept.
    pub(super) fn dropped(&mut self) {
        let before = self.counters.dropped_overflow;
        self.counters.dropped_overflow += 1;
        if self.dropping.is_none() {
            tracing::warn!("readings or QoS 0 messages for upstreams are dropped: there is no room to keep them");
        }
        self.dropping = Some((self.dropping.map_or(before, |(since, _)| since), self.now.mono));
    }

    pub(super) fn say_drops_over(&mut self) {
        if let Some((before, _)) = self.dropping.take_if(|(_, last)| self.now.mono.since(*last) >= DROPS_OVER) {
            tracing::info!(dropped = self.counters.dropped_overflow - before, "readings and QoS 0 messages are kept again");
        }
    }

    /// When [`Broker::sweep`] is wanted for the sake of paused connections.
    pub(super) const fn paused_until(&self) -> Option<Mono> {
        self.paused_until
    }

    pub(super) fn wake_paused(&mut self) {
        self.paused_until = None;
        let paused = std::mem::take(&mut self.paused);
        self.resume(&paused);
    }

    /// Tasks to be woken: connections that end, or whose input may be applied again.
    pub(super) fn take_wakes(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.wakes)
    }

    /// Whether the broker's own task has something to do since it was last asked: entries to send, wills to publish, a nearer deadline.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news) || self.owed.take_news()
    }

    pub(super) fn is_connected(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.connected)
    }

    pub(super) fn is_ending(&self, id: ConnId) -> bool {
        self.conns.get(id).is_none_or(|conn| conn.end.is_some())
    }

    pub(super) fn hold_of(&self, id: ConnId) -> Option<Hold> {
        self.conns.get(id)?.hold
    }

    /// Whether there is something to apply without new input.
    pub(super) fn wants_turn(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| !conn.replays.is_empty())
    }

    /// All outputs and queues together are beyond their limit.
    pub(super) fn is_crowded(&self) -> bool {
        self.budget.used() > self.limits.output_max
    }

    /// Its socket takes nothing any more.
    pub(super) fn forget_output(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.out = Out::new(&self.budget);
        }
    }

    pub(super) fn output(&self, id: ConnId) -> Option<&Out> {
        self.conns.get(id).map(|conn| &conn.out)
    }

    /// `n` bytes of the connection's output were written.
    pub(super) fn written(&mut self, id: ConnId, n: usize, now: Now) {
        let crowded = self.is_crowded();
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.written(n, now.mono, crowded) {
            self.wakes.push(id);
        }
        self.traffic.bytes_sent += n as u64;
        if conn.end.is_some() {
            // Its task closes the socket after the last byte.
            if conn.out.waiting() == 0 {
                self.wakes.push(id);
            }
            return self.mark_dirty(id);
        }
        if self.slow.is_slow() && self.budget.used() < self.limits.output_max / 2 {
            self.slow.ease(now.mono);
            self.wake_paused();
        }
        self.refill(id, now);
    }

    /// Moves what waits in the session's queue to a connection with room; wakes those whom it slowed, and its own replays.
    pub(super) fn refill(&mut self, id: ConnId, now: Now) {
        self.now = now;
        let limits = self.queue_limits();
        if let Some(index) = self.conns.get(id).and_then(|conn| conn.session) {
            self.pump(id, index);
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let mut easy = conn.out.waiting() < EASY_AT;
        if let Some(session) = conn.session.and_then(|s| self.sessions.get_mut(s)) {
            easy &= !session.queue.is_half_full(limits);
        }
        if easy && !conn.replays.is_empty() {
            self.wakes.push(id);
        }
        if easy && conn.slow.ease(now.mono) {
            self.wake_paused();
        }
        self.mark_dirty(id);
    }

    pub(super) const fn queue_limits(&self) -> QueueLimits {
        QueueLimits { messages: self.limits.session_queue, bytes: self.limits.session_queue_bytes, output: self.limits.output_max }
    }

    /// The limits that hold for connections by this door.
    pub(super) fn limits_at(&self, listener: u16) -> &Limits {
        self.door_limits.get(usize::from(listener)).and_then(Option::as_deref).unwrap_or(&self.limits)
    }

    /// The limits that hold for this connection.
    pub(super) fn limits_of(&self, id: ConnId) -> &Limits {
        self.conns.get(id).map_or(&self.limits, |conn| self.limits_at(conn.listener))
    }

    /// The connection and its session.
    pub(super) fn both_mut(&mut self, id: ConnId) -> Option<(&mut Conn, &mut Session)> {
        let conn = self.conns.get_mut(id)?;
        let session = self.sessions.get_mut(conn.session?)?;
        Some((conn, session))
    }

    /// Entries for one `Put`.
    pub(super) fn take_pending(&mut self) -> Vec<Put> {
        self.owed.take_pending()
    }

    pub(super) fn status(&self) -> BrokerStatus {
        BrokerStatus {
            clients: self.conns.iter().filter(|(_, c)| c.session.is_some()).count() as u64,
            sessions: self.sessions.len() as u64,
            sessions_stored: self.durable as u64,
            wills_pending: (self.wills.len() + self.sessions.iter().filter(|(_, s)| s.will.is_some()).count()) as u64,
            retained: self.retained.foreign() as u64,
            retained_refused: self.retained.refused,
            unsecured_bytes: self.owed.bytes() as u64,
            limits: self.reached.to_map(),
            ..self.counters.clone()
        }
    }
}
