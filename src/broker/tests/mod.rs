//! The broker's state driven through `apply`, without a socket: clients are byte buffers, the test is the outbox and the clock.

mod acks;
mod asks;
mod auth;
mod crossings;
mod life;
mod login;
mod memory;
mod mutations;
mod pressure;
mod protocol;
mod qos2;
mod reasons;
mod retained;
mod rights;
mod sequences;
mod sessions;
mod shared;
mod simulation;
mod subscriptions;
mod sys;
mod table;
mod turns;
mod wire5;

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use super::apply::Turn;
use super::door;
use super::end::End;
use super::id::ConnId;
use super::output::SLICES;
use super::state::Broker;
use super::{Limits, Options};
use crate::access::acl::Acl;
use crate::access::{Policy, Realm};
use crate::model::{
    Body, EntryId, IdRange, Message, Mono, Now, Origin, OutboxToBroker, Put, QoS, Start, Topic, TopicFilter, UpstreamSet, Wall,
};
use crate::mqtt::{encode, kind, split};

/// The epoch of every test.
const EPOCH: u32 = 7;

/// As a site has them, without `$SYS`.
fn quiet() -> Limits {
    Limits { sys_interval: Duration::ZERO, ..Limits::default() }
}

struct Bench {
    broker: Broker,
    now: Mono,
    /// Bytes sent and not yet applied.
    sent: HashMap<ConnId, Vec<u8>>,
    /// What went to the outbox and was not asked for yet.
    put: Vec<Put>,
    /// Packets that came with CONNACK.
    early: HashMap<ConnId, Vec<String>>,
}

impl Bench {
    fn new(upstreams: &[&[&str]]) -> Self {
        Self::with(upstreams, quiet())
    }

    fn with(upstreams: &[&[&str]], limits: Limits) -> Self {
        Self::unstarted(upstreams, limits).started()
    }

    fn unstarted(upstreams: &[&[&str]], limits: Limits) -> Self {
        let filters = |list: &&[&str]| list.iter().map(|f| TopicFilter::new(f).unwrap()).collect();
        let upstreams: Vec<_> = upstreams.iter().map(filters).collect();
        let names = (0..upstreams.len()).map(|i| format!("up{i}").into()).collect();
        let options = Options { listeners: door::two(), upstreams, names, limits, ..Options::default() };
        // Far from zero: a window that began at the start of time is over.
        Self {
            broker: Broker::new(options, &[1; 32]),
            now: Mono::from_millis(100_000),
            sent: HashMap::new(),
            put: Vec::new(),
            early: HashMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.now, wall: Wall(0) }
    }

    fn started(mut self) -> Self {
        self.outbox(OutboxToBroker::Started(Start { epoch: EPOCH, nonce: 1 }));
        self
    }

    fn outbox(&mut self, event: OutboxToBroker) {
        let now = self.now();
        self.broker.outbox(event, now);
        self.resume();
    }

    fn secured(&mut self, ranges: &[(u64, u64)]) {
        let range = |(first, last): &(u64, u64)| IdRange { first: EntryId::new(EPOCH, *first), last: EntryId::new(EPOCH, *last) };
        self.outbox(OutboxToBroker::Secured(ranges.iter().map(range).collect()));
    }

    fn full(&mut self, bits: u32) {
        self.outbox(OutboxToBroker::Full(UpstreamSet::from_bits(bits)));
    }

    /// Time passes, swept each tenth of a second.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now = self.now + Duration::from_millis(100);
            let now = self.now();
            while self.broker.sweep(now) {}
            self.resume();
        }
    }

    /// As [`Bench::pass`], swept each second, or a thousand times.
    fn skip(&mut self, ms: u64) {
        self.resume();
        let seconds = ms / 1_000;
        let step = seconds.div_ceil(1_000).max(1);
        for _ in 0..seconds / step {
            self.now = self.now + Duration::from_secs(step);
            let now = self.now();
            while self.broker.sweep(now) {}
            self.resume();
        }
    }

    fn open(&mut self, restricted: bool) -> ConnId {
        self.broker.open(door::somebody(restricted), self.now()).expect("room for a connection")
    }

    /// As this user, by the first door or the second.
    fn open_as(&mut self, user: Option<&str>, listener: u16) -> ConnId {
        let arrival = door::Arrival { listener, user: user.map(Into::into), ..door::somebody(true) };
        self.broker.open(arrival, self.now()).expect("room for a connection")
    }

    /// The site's lists are others from now on: that of what comes by no door, and those of the two doors. Empty: there is none.
    fn lists(&mut self, common: &str, first: &str, second: &str) {
        let acl = |text: &str| (!text.is_empty()).then(|| Arc::new(Acl::parse(text.as_bytes()).expect("an access list")));
        let realms = [first, second].map(|text| Realm { users: None, acl: acl(text) });
        let now = self.now();
        self.broker.take_policy(Policy { realms: realms.into(), acl: acl(common) }, now);
        self.resume();
    }

    fn connect(&mut self, client: &str) -> ConnId {
        self.connect_as(client, true).0
    }

    /// The connection, and whether a session was present.
    fn connect_as(&mut self, client: &str, clean: bool) -> (ConnId, bool) {
        let id = self.open(false);
        self.send(id, &connect(client, clean, 0, None));
        let mut answers = self.take(id);
        let present = match answers.remove(0).as_str() {
            "CONNACK 0" => false,
            "CONNACK 0 present" => true,
            other => panic!("{client} got {other:?}"),
        };
        self.early.insert(id, answers);
        (id, present)
    }

    /// Sends and applies as far as it goes.
    fn send(&mut self, id: ConnId, bytes: &[u8]) -> Turn {
        self.sent.entry(id).or_default().extend_from_slice(bytes);
        let turn = self.turn(id);
        if self.commit() { self.turn(id) } else { turn }
    }

    /// The store commits whatever no upstream is owed. True if there was something.
    fn commit(&mut self) -> bool {
        let mut ids = Vec::new();
        for put in self.broker.take_pending() {
            match &put {
                Put::Entry(e) if e.owed.is_empty() => ids.push(e.id),
                Put::Change(change) => ids.push(change.id),
                _ => {}
            }
            self.put.push(put);
        }
        let any = !ids.is_empty();
        if any {
            self.outbox(OutboxToBroker::Secured(ids.into_iter().map(IdRange::one).collect()));
        }
        any
    }

    fn turn(&mut self, id: ConnId) -> Turn {
        loop {
            let now = self.now();
            let input = self.sent.entry(id).or_default();
            let applied = self.broker.apply(id, input, now);
            input.drain(..applied.used);
            if applied.turn != Turn::Again {
                return applied.turn;
            }
        }
    }

    /// What the tasks of woken connections would do.
    fn resume(&mut self) {
        loop {
            let wakes = self.broker.take_wakes();
            let idle = wakes.is_empty();
            for id in wakes {
                self.turn(id);
            }
            let now = self.now();
            if !self.broker.chores(now) && idle {
                break;
            }
        }
    }

    /// Bytes that came to the client; written in pieces.
    fn raw(&mut self, id: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(out) = self.broker.output(id).filter(|out| out.waiting() > 0) {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = out.slices(&mut slices);
            let part: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).take(10_000).collect();
            bytes.extend_from_slice(&part);
            let now = self.now();
            self.broker.written(id, part.len(), now);
            self.resume();
        }
        bytes
    }

    /// Packets that came to the client, as lines.
    fn take(&mut self, id: ConnId) -> Vec<String> {
        let bytes = self.raw(id);
        let mut lines = self.early.remove(&id).unwrap_or_default();
        let mut rest = &bytes[..];
        while let Some(frame) = split(rest, usize::MAX).expect("the broker's packets are whole") {
            lines.push(line(frame.first, frame.body));
            rest = &rest[frame.raw.len()..];
        }
        assert!(rest.is_empty(), "half a packet");
        lines
    }

    fn end_of(&self, id: ConnId) -> Option<End> {
        self.broker.conns.get(id).and_then(|c| c.end)
    }

    /// The connection breaks.
    fn cut(&mut self, id: ConnId) {
        let now = self.now();
        self.broker.lost(id, End::Eof, now);
        self.broker.gone(id);
        self.resume();
    }

    fn inject(&mut self, topic: &str, body: &str, retain: bool) {
        let (topic, body) = (Topic::new(topic).unwrap(), Body::raw(body.to_owned().into()));
        let message = Message::new(topic, body, QoS::AtLeastOnce, retain, Origin::Bus);
        let now = self.now();
        self.broker.inject(&mut [message].into(), now);
    }

    /// What went to the outbox, as "counter topic body owed".
    fn puts(&mut self) -> Vec<String> {
        let line = |put: Put| {
            let Put::Entry(e) = put else { return format!("{put:?}") };
            assert_eq!(e.id.epoch(), EPOCH);
            format!("{} {} {} {:b}", e.id.counter(), e.topic, String::from_utf8_lossy(&e.body.bytes), e.owed.bits())
        };
        self.commit();
        std::mem::take(&mut self.put).into_iter().map(line).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    if bytes.len() > 40 { format!("<{}>", bytes.len()) } else { String::from_utf8_lossy(bytes).into_owned() }
}

/// A packet of the server as a line.
fn line(first: u8, body: &[u8]) -> String {
    let id = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match first >> 4 {
        kind::CONNACK => format!("CONNACK {}{}", body[1], if body[0] == 1 { " present" } else { "" }),
        kind::PUBACK => format!("PUBACK {}", id(0)),
        kind::PUBREC => format!("PUBREC {}", id(0)),
        kind::PUBREL => format!("PUBREL {}", id(0)),
        kind::PUBCOMP => format!("PUBCOMP {}", id(0)),
        kind::SUBACK => format!("SUBACK {} {:?}", id(0), &body[2..]),
        kind::UNSUBACK => format!("UNSUBACK {}", id(0)),
        kind::PINGRESP => "PINGRESP".to_owned(),
        kind::DISCONNECT => format!("DISCONNECT {}", body[0]),
        kind::AUTH => format!("AUTH {} {}", body[0], text(&body[2..])),
        kind::PUBLISH => {
            let topic_end = 2 + usize::from(id(0));
            let flags = [(8, " dup"), (1, " retain")].map(|(bit, name)| if first & bit == 0 { "" } else { name }).concat();
            let topic = text(&body[2..topic_end]);
            if first & 6 == 0 {
                format!("{topic} {} q0{flags}", text(&body[topic_end..]))
            } else {
                format!("{topic} {} q{} id{}{flags}", text(&body[topic_end + 2..]), first >> 1 & 3, id(topic_end))
            }
        }
        other => panic!("the broker sent a packet of type {other}"),
    }
}

fn packet(first: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut bytes = vec![first];
    encode::remaining_length(&mut bytes, content.len());
    bytes.extend(content);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// `will`: topic, body, QoS, retain.
fn connect(client: &str, clean: bool, keep_alive: u16, will: Option<(&str, &str, u8, bool)>) -> Vec<u8> {
    let flags = u8::from(clean) << 1 | will.map_or(0, |(_, _, qos, retain)| 4 | qos << 3 | u8::from(retain) << 5);
    let will = will.map_or_else(Vec::new, |(topic, body, ..)| [string(topic), string(body)].concat());
    packet(0x10, &[&string("MQTT"), &[4, flags], &keep_alive.to_be_bytes(), &string(client), &will])
}

/// `id` 0: QoS 0.
fn publish(topic: &str, body: &str, id: u16, retain: bool) -> Vec<u8> {
    let first = 0x30 | u8::from(retain) | if id == 0 { 0 } else { 2 };
    let id = if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    packet(first, &[&string(topic), &id, body.as_bytes()])
}

fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|(filter, qos)| [string(filter), vec![*qos]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes(), &filters])
}

fn unsubscribe(id: u16, filter: &str) -> Vec<u8> {
    packet(0xa2, &[&id.to_be_bytes(), &string(filter)])
}

fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &[&id.to_be_bytes()])
}

const PING: [u8; 2] = [0xc0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];
