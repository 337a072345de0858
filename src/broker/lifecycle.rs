//! Connections and sessions from their beginning to their end: deadlines, expiry, what is left behind.

use std::rc::Rc;
use std::time::Duration;

use super::alias::AliasesIn;
use super::conn::Hold;
use super::door::Arrival;
use super::end::End;
use super::id::{ConnId, SessionIndex};
use super::limit::{Limit, Who};
use super::session::Session;
use super::state::Broker;
use crate::model::{Mono, Now, StoredWill};

/// Longest time that a connection which is to end may take to read its last bytes, and to stop sending.
const LINGER: Duration = Duration::from_secs(2);

/// What is done of expired sessions in one turn: a session, a filter and a queued message count as one each. A session is ended whole.
const EXPIRED_A_TURN: usize = 2_048;

/// Connections that one sweep ends. Measured: a thousand that have fallen silent together, each with a will and ten filters, take 12 ms.
const ENDED_A_SWEEP: usize = 128;

impl Broker {
    /// A connection was accepted; `None` when there are as many as may be. Strangers give way to it.
    pub(super) fn open(&mut self, arrival: Arrival, now: Now) -> Option<ConnId> {
        self.now = now;
        let (peer, listener) = (arrival.peer, arrival.listener);
        let door = self.doors.get(usize::from(listener));
        let mut limit = self.lobby.limit(&arrival, self.limits_at(listener), door);
        if limit.is_none() && self.conns.len() >= self.limits.connections_max {
            match self.lobby.pending.remove_one() {
                Some(stranger) => self.end(stranger, End::Crowded),
                None => limit = Some(Limit::ConnectionsMax),
            }
        }
        if let Some(limit) = limit {
            self.reached(limit, Who::At(peer, listener));
            return None;
        }
        self.traffic.sockets += 1;
        let id = self.conns.open(arrival, now.mono, &self.budget);
        if let Some(stranger) = self.lobby.enter(id, peer, listener) {
            self.end(stranger, End::Crowded);
        }
        Some(id)
    }

    /// It was accepted then, elsewhere: its time for CONNECT runs since.
    pub(super) fn opened_at(&mut self, id: ConnId, since: Mono) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.opened = since;
        }
    }

    /// Index of the listener by which it came.
    pub(super) fn listener_of(&self, id: ConnId) -> Option<u16> {
        self.conns.get(id).map(|conn| conn.listener)
    }

    /// The connection's end has come from outside: its socket says so.
    pub(super) fn lost(&mut self, id: ConnId, end: End, now: Now) {
        self.now = now;
        self.end(id, end);
    }

    /// Whether what an ended connection's peer still sends is read, so that it hears our last word.
    pub(super) fn lingers(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.end.is_some_and(End::cuts_short) && self.now.mono < conn.opened)
    }

    /// Whether an ended connection's peer has had its time to read the last bytes.
    pub(super) fn has_waited(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.end.is_some() && self.now.mono >= conn.opened)
    }

    /// Its socket is closed: forget it.
    pub(super) fn gone(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            self.lobby.leave(id, conn.peer, conn.listener);
        }
        self.conns.remove(id);
    }

    /// Ends a connection: its session is detached at once, its will queued; its task closes the socket when the last bytes are written.
    pub(super) fn end(&mut self, id: ConnId, end: End) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.end.is_some() {
            return;
        }
        conn.end = Some(end);
        self.lobby.pending.leave(id);
        // One of 5.0 was told in CONNACK.
        let silent = end == End::KeepAlive && !conn.version.is_5();
        let (patience_ms, listener) = (conn.patience_ms, conn.listener);
        let shortened = silent && patience_ms == u32::from(self.limits_at(listener).keep_alive_max) * 1_500;
        if let Some(limit) = end.limit().or(shortened.then_some(Limit::KeepAliveMax)) {
            self.reached(limit, Who::Conn(id));
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.opened = self.now.mono + LINGER;
        let hold = conn.hold.take();
        let replays = std::mem::take(&mut conn.replays);
        conn.aliases_in = AliasesIn::default();
        conn.say_end(end);
        let (peer, session, will) = (conn.peer, conn.session.take(), conn.will.take());
        if let Some(hold) = hold {
            self.forget_held(id, hold);
        }
        if end.is_protocol_error() {
            self.counters.protocol_errors += 1;
        }
        let client = session.and_then(|s| self.sessions.get(s)).map(|s| Rc::clone(&s.client));
        match (end, &client) {
            (End::Refused(upstream), _) => {
                self.counters.refused += 1;
                let upstream = self.name_of(upstream);
                tracing::warn!(client = ?client.as_deref().unwrap_or(""), %peer, upstream, "connection closed: {end}");
            }
            (_, Some(client)) => self.say_closed(id, client, end),
            // A look at the port is none.
            (End::Eof | End::Broken | End::Stop, None) => tracing::debug!(%peer, "connection closed: {end}"),
            (_, None) => {
                self.say_refused(id, "", None, end);
                self.counters.connects_refused += 1;
            }
        }
        if let Some(index) = session {
            if let Some(session) = self.sessions.get_mut(index) {
                session.replays = replays;
            }
            self.detach(index, end, will);
        }
        self.mark_answered(id);
        self.wakes.push(id);
    }

    /// The session's connection is over: what it leaves is a will, now or after its delay, and the time until the session ends.
    fn detach(&mut self, index: SessionIndex, end: End, will: Option<Box<StoredWill>>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.conn = None;
        let will = will.filter(|_| !end.takes_will_back());
        if session.is_brief() {
            // At an orderly stop its will is published before.
            if let Some(will) = will.filter(|_| end != End::Stop) {
                self.queue_will(*will, index, false);
            }
            self.end_session(index, false);
            return;
        }
        session.ends = (!session.never_expires()).then(|| now + Duration::from_secs(session.expiry.into()));
        match will {
            // What is left at an orderly stop stays in the row: it is published after the next start.
            Some(will) if will.delay > 0 || end == End::Stop => {
                session.will = Some((now + Duration::from_secs(will.delay.into()), will));
                self.put_session(index);
            }
            // Its row goes without it once it is published.
            Some(will) => self.queue_will(*will, index, true),
            None => {
                self.put_session(index);
            }
        }
        self.schedule(index);
    }

    /// Ends a session: what it shares goes to others, its will is published [5.0, 3.1.3.2.2], the store hears of it. `awaited`: its
    /// client waits for that.
    pub(super) fn end_session(&mut self, index: SessionIndex, awaited: bool) {
        self.leave_groups(index);
        if let Some((_, will)) = self.sessions.get_mut(index).and_then(|session| session.will.take()) {
            self.queue_will(*will, index, false);
        }
        let Some(mut session) = self.sessions.try_remove(index) else { return };
        if let Some(at) = session.deadline {
            self.deadlines.remove(&(at, index));
        }
        session.clear(&self.budget);
        self.by_client.remove(&session.client);
        for subscription in &session.filters {
            self.subscriptions.remove(&subscription.filter, index);
        }
        if let Some(durable) = session.durable {
            self.put_end(durable, &session.client, awaited);
        }
    }

    /// Takes note of what comes next to the session of a client that is away: its end, or its will.
    pub(super) fn schedule(&mut self, index: SessionIndex) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let next = session.next_deadline();
        let before = std::mem::replace(&mut session.deadline, next);
        if before != next {
            if let Some(at) = before {
                self.deadlines.remove(&(at, index));
            }
            self.deadlines.extend(next.map(|at| (at, index)));
        }
    }

    /// Sessions that end, and wills whose delay is over. True if there are more than one turn takes.
    pub(super) fn expire(&mut self) -> bool {
        let mut done = 0;
        while let Some(&(at, index)) = self.deadlines.first()
            && at <= self.now.mono
            && self.takes_will()
        {
            if done >= EXPIRED_A_TURN {
                return true;
            }
            self.deadlines.pop_first();
            done += self.expire_one(index);
        }
        false
    }

    /// What it cost.
    fn expire_one(&mut self, index: SessionIndex) -> usize {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(index) else { return 1 };
        session.deadline = None;
        if session.ends.is_some_and(|ends| ends <= now) {
            let cost = 1 + session.filters.len() + session.queue.len() + session.inflight.len();
            tracing::debug!(client = ?session.client, "session expired");
            self.counters.sessions_expired += 1;
            self.end_session(index, false);
            return cost;
        }
        if let Some((_, will)) = session.will.take_if(|(at, _)| *at <= now) {
            self.queue_will(*will, index, true);
        }
        self.schedule(index);
        1
    }

    /// Deadlines: those of paused feeders, CONNECT, keep-alive, held publishes, ending connections; and replays that waited for others' output.
    /// At least once a second. True if there are more to be ended now.
    pub(super) fn sweep(&mut self, now: Now) -> bool {
        self.now = now;
        let now = now.mono;
        if self.paused_until().is_some_and(|at| at <= now) {
            self.wake_paused();
        }
        self.say_drops_over();
        self.sum_up_journal();
        self.expire_retained();
        self.retained.begin_flush_when_due(now);
        self.tick_sys();
        let limits = &self.limits;
        let overdue = self.conns.iter().filter_map(|(id, conn)| {
            let end = match (conn.end, conn.hold) {
                (Some(_), _) => return (conn.opened <= now).then_some((id, None)),
                // How long that takes is ours.
                (None, Some(Hold::Password)) => None,
                (None, _) if !conn.connected => {
                    (now.since(conn.opened) >= self.limits_at(conn.listener).connect_timeout).then_some(End::ConnectTimeout)
                }
                (None, _) if conn.auth.as_ref().is_some_and(|auth| auth.deadline.is_some_and(|at| at <= now)) => Some(End::NotAuthorized),
                (None, Some(Hold::Full(full))) => {
                    let refused = conn.refused_since.is_some_and(|since| now.since(since) >= limits.refuse_close);
                    full.iter().next().filter(|_| refused).map(|upstream| End::Refused(upstream.0))
                }
                (None, Some(Hold::NotStarted | Hold::Unsecured | Hold::Acks | Hold::Slow | Hold::Rate | Hold::Commit(_))) => None,
                (None, None | Some(Hold::Unread)) => conn.is_silent(now).then_some(End::KeepAlive),
            };
            end.map(|end| (id, Some(end)))
        });
        let overdue: Vec<_> = overdue.collect();
        self.wakes.extend(self.conns.iter().filter(|(_, conn)| !conn.replays.is_empty()).map(|(id, _)| id));
        let mut ended = 0;
        for (id, end) in overdue {
            match end {
                Some(end) => {
                    ended += 1;
                    if ended <= ENDED_A_SWEEP {
                        self.end(id, end);
                    }
                }
                // It does not read its last bytes: they are dropped.
                None => {
                    self.forget_output(id);
                    self.wakes.push(id);
                }
            }
        }
        ended > ENDED_A_SWEEP
    }

    /// What is due by itself, a turn of it: at every look of the broker's task. True if more is left that can be done now.
    pub(super) fn chores(&mut self, now: Now) -> bool {
        self.now = now;
        if !self.owed.is_started() {
            return false;
        }
        let checking = self.check_sessions();
        let securing = self.settle_secured();
        let revoking = self.revoke();
        self.answer_waiting();
        let expiring = self.expire();
        let publishing = self.publish_wills();
        let saying = self.publish_sys();
        let flushing = self.flush_retained();
        let writing = self.write_left();
        checking || securing || revoking || expiring || publishing || saying || flushing || writing
    }

    /// An orderly stop, after all that was read: wills, and what the store does not have yet.
    pub(super) fn begin_stop(&mut self, now: Now) {
        self.now = now;
        self.queue_all_wills();
        self.begin_left();
        self.retained.begin_flush();
    }

    /// Nothing is left that a drain waits for: nothing that could be published or written, and nothing on its way to being secured.
    pub(super) fn is_idle(&self) -> bool {
        let written = self.wills.is_empty() && self.left.is_written() && !self.retained.is_flushing();
        (written || !self.owed.is_started()) && self.owed.is_idle()
    }
}

impl Session {
    fn next_deadline(&self) -> Option<Mono> {
        if self.conn.is_some() {
            return None;
        }
        [self.ends, self.will.as_ref().map(|(at, _)| *at)].into_iter().flatten().min()
    }
}
