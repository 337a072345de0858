//! A broker between its clients and its store, all in memory: each step of it is checked.

use std::sync::Arc;
use std::time::Duration;

use super::invariants;
use super::peer::{News, Peer};
use super::store::Store;
use crate::access::Policy;
use crate::access::acl::Acl;
use crate::broker::apply::Turn;
use crate::broker::end::End;
use crate::broker::id::ConnId;
use crate::broker::state::Broker;
use crate::broker::{Limits, Options};
use crate::model::{EntryId, Message, Mono, Now, OutboxToBroker, Put, StateChange, TopicFilter, Wall};
use crate::mqtt::packet::Publish;
use crate::mqtt::{Version, kind, split};

/// Turns of one connection in a row; a broker that wants more goes round in circles.
const TURNS_MAX: usize = 10_000;

/// One connection, seen from outside.
#[derive(Debug)]
pub(in crate::broker) struct Line {
    pub(in crate::broker) id: ConnId,
    pub(in crate::broker) peer: Peer,
    /// Sent and not applied.
    pub(in crate::broker) input: Vec<u8>,
    /// Bytes of the output that the peer has been shown before they were written.
    shown: usize,
    /// Bytes of a packet that is not written whole.
    part: Vec<u8>,
    /// Its socket took only a part.
    pub(in crate::broker) blocked: bool,
    /// It has sent what may have been part of a packet: what came behind it was perhaps no packet to the broker.
    pub(in crate::broker) rude: bool,
    /// The broker wants another turn.
    again: bool,
    pub(in crate::broker) news: Vec<News>,
}

pub(in crate::broker) struct Rig<'a> {
    pub(in crate::broker) broker: Broker,
    pub(in crate::broker) store: Store,
    pub(in crate::broker) now: Mono,
    pub(in crate::broker) lines: Vec<Line>,
    pub(in crate::broker) options: Options,
    pub(in crate::broker) started: bool,
    pub(in crate::broker) killed: bool,
    /// Every step is held against all invariants; else only what clients see is.
    pub(in crate::broker) strict: bool,
    /// Peers see what is written for them at once; else when their socket takes it.
    pub(in crate::broker) ahead: bool,
    codec: &'a mut dyn FnMut(Version, &[u8]),
}

pub(in crate::broker) fn options(upstreams: &[&str], limits: Limits) -> Options {
    let filters = |filter: &&str| TopicFilter::new(filter).into_iter().collect();
    Options { listeners: super::super::door::two(), upstreams: upstreams.iter().map(filters).collect(), limits, ..Options::default() }
}

impl<'a> Rig<'a> {
    pub(in crate::broker) fn new(options: Options, codec: &'a mut dyn FnMut(Version, &[u8])) -> Self {
        Self {
            broker: Broker::new(options.clone(), &[1; 32]),
            store: Store::default(),
            now: Mono::from_millis(100_000),
            lines: Vec::new(),
            options,
            started: false,
            killed: false,
            strict: true,
            ahead: true,
            codec,
        }
    }

    pub(in crate::broker) const fn time(&self) -> Now {
        Now { mono: self.now, wall: Wall(1_700_000_000_000) }
    }

    /// The outbox has read its store and started.
    pub(in crate::broker) fn start(&mut self, page: usize) {
        if self.started {
            return;
        }
        self.started = true;
        for page in self.store.restored(page) {
            self.event(OutboxToBroker::Restored(page));
        }
        let start = self.store.start();
        self.event(OutboxToBroker::Started(start));
    }

    /// kill -9: every connection breaks, and only what was committed is left.
    pub(in crate::broker) fn kill(&mut self) {
        self.lines.clear();
        self.store.kill();
        self.broker = Broker::new(self.options.clone(), &[1; 32]);
        self.started = false;
        self.killed = true;
    }

    /// The place of a new connection in `lines`.
    pub(in crate::broker) fn open(&mut self, restricted: bool) -> Option<usize> {
        let id = self.broker.open(super::super::door::somebody(restricted), self.time())?;
        let line = Line {
            id,
            peer: Peer::default(),
            input: Vec::new(),
            shown: 0,
            part: Vec::new(),
            blocked: false,
            rude: false,
            again: false,
            news: Vec::new(),
        };
        self.lines.push(line);
        Some(self.lines.len() - 1)
    }

    #[cfg(test)]
    pub(in crate::broker) fn is_ended(&self, at: usize) -> bool {
        self.lines.get(at).is_none_or(|line| self.broker.is_ending(line.id))
    }

    pub(in crate::broker) fn send(&mut self, at: usize, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(at) else { return };
        line.input.extend_from_slice(bytes);
        self.turn(at);
        self.settle();
    }

    /// Hands the broker what it takes of a connection's input, a packet at a time, so that it is known what each has caused.
    fn turn(&mut self, at: usize) {
        for _ in 0..TURNS_MAX {
            let now = self.time();
            let Some(line) = self.lines.get_mut(at) else { return };
            let whole = split(&line.input, usize::MAX).ok().flatten().map_or(line.input.len(), |frame| frame.raw.len());
            let input = line.input.get(..whole).unwrap_or_default();
            let applied = self.broker.apply(line.id, input, now);
            assert!(applied.used <= whole);
            let packet: Vec<u8> = line.input.drain(..applied.used).collect();
            line.again = applied.turn == Turn::Again;
            self.applied(at, &packet);
            let more = applied.turn == Turn::Again || applied.turn == Turn::Hungry && applied.used > 0 && self.has_input(at);
            if !more {
                return;
            }
        }
        panic!("a connection has {TURNS_MAX} turns in a row");
    }

    fn has_input(&self, at: usize) -> bool {
        self.lines.get(at).is_some_and(|line| !line.input.is_empty())
    }

    /// Several packets at once, of a kind that nothing waits for.
    pub(in crate::broker) fn bulk(&mut self, at: usize, bytes: &[u8]) {
        let now = self.time();
        let Some(line) = self.lines.get_mut(at).filter(|line| line.input.is_empty()) else { return };
        let applied = self.broker.apply(line.id, bytes, now);
        line.input.extend_from_slice(bytes.get(applied.used..).unwrap_or_default());
        line.again = applied.turn == Turn::Again;
        self.applied(at, &[]);
        self.turn(at);
        self.settle();
    }

    /// Notes what `packet` has caused.
    fn applied(&mut self, at: usize, packet: &[u8]) {
        let puts = self.pull();
        let Some(line) = self.lines.get_mut(at) else { return };
        let frame = split(packet, usize::MAX).ok().flatten();
        let kind = frame.as_ref().map_or(0, crate::mqtt::Frame::kind);
        let waiting = line.input.first().map_or(0, |first| first >> 4);
        if waiting == kind::CONNECT || kind == kind::CONNECT {
            line.peer.before_connack.extend(rows_of(&puts, kind::CONNECT, None));
        }
        if let Some(frame) = &frame {
            let body = Publish::parse(frame, line.peer.version()).ok().map(|publish| publish.body).filter(|_| kind == kind::PUBLISH);
            line.peer.applied(frame, rows_of(&puts, kind, body));
        }
        self.store.take(puts);
        self.show();
    }

    fn pull(&mut self) -> Vec<Put> {
        let mut puts = Vec::new();
        while self.broker.owed.has_pending() {
            puts.extend(self.broker.take_pending());
        }
        puts
    }

    /// Shows every peer what was written for it, and holds it against what is committed.
    fn show(&mut self) {
        if !self.ahead {
            return;
        }
        for line in &mut self.lines {
            let Some(out) = self.broker.output(line.id).filter(|out| out.waiting() > line.shown) else { continue };
            let bytes = out.tail(line.shown);
            line.shown += bytes.len();
            let news = line.peer.written(&bytes, self.codec);
            let session = self.broker.conns.get(line.id).and_then(|conn| self.broker.sessions.get(conn.session?)?.durable);
            for one in &news {
                invariants::promised(one, &self.store, &line.peer, session);
                invariants::allowed(one, &self.broker, line.id);
            }
            line.news.extend(news);
        }
    }

    /// What tasks do after an event: woken connections have a turn, wills are published, the store hears of it.
    pub(in crate::broker) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < TURNS_MAX, "the broker comes to rest");
            let more = self.broker.chores(self.time());
            let wakes = self.broker.take_wakes();
            let puts = self.pull();
            self.store.take(puts);
            self.show();
            if wakes.is_empty() && !more {
                break;
            }
            for id in wakes {
                if let Some(at) = self.lines.iter().position(|line| line.id == id) {
                    self.turn(at);
                }
            }
        }
        self.lines.retain(|line| {
            let over = self.broker.is_ending(line.id) && self.broker.output(line.id).is_none_or(|out| out.waiting() == 0);
            if over {
                self.broker.gone(line.id);
            }
            !over
        });
        if self.strict {
            invariants::check(self);
        }
    }

    #[cfg(test)]
    pub(in crate::broker) fn check(&self) {
        invariants::check(self);
    }

    pub(in crate::broker) fn event(&mut self, event: OutboxToBroker) {
        let now = self.time();
        self.broker.outbox(event, now);
        self.settle();
    }

    /// The site's access list is another one from now on; empty: there is none.
    pub(in crate::broker) fn list(&mut self, rules: &str) {
        let acl = Acl::parse(rules.as_bytes()).ok().filter(|_| !rules.is_empty()).map(Arc::new);
        let now = self.time();
        self.broker.take_policy(Policy { acl, ..Policy::default() }, now);
        self.settle();
    }

    /// The store commits the first `items` that wait for it, and says so.
    pub(in crate::broker) fn commit(&mut self, items: usize, all: bool) {
        self.store.commit(items, all);
        self.tell();
    }

    /// Tells the broker what has become secured.
    pub(in crate::broker) fn tell(&mut self) {
        let ranges = self.store.secured();
        if !ranges.is_empty() {
            self.event(OutboxToBroker::Secured(ranges));
        }
    }

    /// Time passes, with a sweep at its end.
    pub(in crate::broker) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let now = self.time();
        while self.broker.sweep(now) {}
        self.settle();
    }

    pub(in crate::broker) fn cut(&mut self, at: usize) {
        let now = self.time();
        let Some(line) = self.lines.get(at) else { return };
        self.broker.lost(line.id, End::Eof, now);
        self.broker.forget_output(line.id);
        self.settle();
    }

    pub(in crate::broker) fn inject(&mut self, messages: Vec<Message>) {
        let now = self.time();
        let mut messages = messages.into();
        if self.broker.takes_readings() {
            self.broker.inject(&mut messages, now);
        }
        self.settle();
    }

    /// The socket takes up to `n` bytes of one connection's output. True if it had some.
    pub(in crate::broker) fn write(&mut self, at: usize, n: usize) -> bool {
        let now = self.time();
        let Some(line) = self.lines.get_mut(at) else { return false };
        let waiting = self.broker.output(line.id).map_or(0, |out| out.waiting());
        let n = n.min(waiting);
        if n == 0 {
            return false;
        }
        if self.ahead {
            line.shown = line.shown.saturating_sub(n);
        } else {
            let tail = self.broker.output(line.id).map(|out| out.tail(0)).unwrap_or_default();
            line.part.extend_from_slice(tail.get(..n).unwrap_or_default());
            let mut whole = 0;
            while let Ok(Some(frame)) = split(line.part.get(whole..).unwrap_or_default(), usize::MAX) {
                whole += frame.raw.len();
            }
            let bytes: Vec<u8> = line.part.drain(..whole).collect();
            line.news.extend(line.peer.written(&bytes, self.codec));
        }
        line.blocked = n < waiting;
        let id = line.id;
        self.broker.written(id, n, now);
        self.settle();
        true
    }

    /// The flusher: up to `sockets` connections, each taking up to `bytes`.
    pub(in crate::broker) fn flush(&mut self, sockets: usize, bytes: usize) {
        for _ in 0..sockets {
            let Some(id) = self.broker.next_dirty() else { return };
            if let Some(at) = self.lines.iter().position(|line| line.id == id && !line.blocked) {
                self.write(at, bytes);
            }
        }
    }

    /// All that can be written is written, to sockets that were full, too.
    pub(in crate::broker) fn flush_all(&mut self) {
        for _ in 0..TURNS_MAX {
            let blocked: Vec<ConnId> = self.lines.iter().filter(|line| line.blocked).map(|line| line.id).collect();
            for id in &blocked {
                if let Some(at) = self.lines.iter().position(|line| line.id == *id) {
                    self.write(at, usize::MAX);
                }
            }
            if blocked.is_empty() && !self.broker.has_dirty() {
                return;
            }
            self.flush(usize::MAX, usize::MAX);
        }
        panic!("output without end");
    }
}

/// Rows of a kind that an answer to a packet of type `kind` promises. `body`: of a PUBLISH, to tell it from a retained message that its client
/// was sent in the same turn.
fn rows_of(puts: &[Put], kind: u8, body: Option<&[u8]>) -> Vec<EntryId> {
    let row = |put: &Put| match put {
        Put::Entry(entry) => body.filter(|body| entry.awaited && entry.body.bytes == *body).map(|_| entry.id),
        Put::Change(change) => {
            let promised = match change.what {
                StateChange::Received { .. } => kind == kind::PUBLISH,
                StateChange::Released { .. } => kind == kind::PUBREL,
                StateChange::Subscribed { .. } => kind == kind::SUBSCRIBE,
                StateChange::Unsubscribed { .. } => kind == kind::UNSUBSCRIBE,
                StateChange::SessionEnded(_) => kind == kind::CONNECT,
                _ => false,
            };
            promised.then_some(change.id)
        }
        _ => None,
    };
    puts.iter().filter_map(row).collect()
}
