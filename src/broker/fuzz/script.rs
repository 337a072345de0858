//! Bytes as a sequence of events.

use std::time::Duration;

use super::packets::{self, Hello, Says, Testament};
use super::rig::{Rig, options};
use crate::broker::Limits;
use crate::model::{Body, Message, Origin, OutboxToBroker, QoS, Topic, UpstreamId, UpstreamSet};
use crate::mqtt::Version;

/// Events of one sequence.
const STEPS_MAX: usize = 400;

const CLIENTS: [&str; 4] = ["a", "b", "c", ""];
const TOPICS: [&str; 8] = ["a", "a/b", "up/x", "a/set", "/", "$SYS/x", "a/rather/long/topic/name/for/an/alias", "b"];
const FILTERS: [&str; 12] = ["a", "#", "+/b", "a/#", "$share/g/a", "$share/g/#", "$share/h/a/+", "$SYS/#", "b", "/", "+", "up/#"];
/// Access lists; the first is none.
const LISTS: [&str; 5] = [
    "",
    "everyone\ntopic #\ntopic $SYS/#\n",
    "topic read a/#\nuser somebody\ntopic #\ntopic deny a/b\n",
    "topic #\nuser somebody\ntopic read #\npattern write up/%c\n",
    "everyone\ntopic write #\ntopic receive a\ntopic subscribe a/#\n",
];
const EXPIRIES: [u32; 5] = [0, 1, 5, 3_600, u32::MAX];

/// The first event has taken the limits from the input.
pub(super) struct Script<'a> {
    input: &'a [u8],
    rig: Rig<'a>,
    /// Tells bodies and packet ids apart.
    count: u32,
}

impl<'a> Script<'a> {
    pub(super) fn new(input: &'a [u8], codec: &'a mut dyn FnMut(Version, &[u8])) -> Self {
        let (first, input) = input.split_first().map_or((0, input), |(first, rest)| (*first, rest));
        let mut limits = Limits { connections_max: 8, packet_max: 400_000, ..Limits::default() };
        if first & 1 != 0 {
            limits = Limits { session_queue: 4, session_queue_bytes: 600, receive_maximum: 3, unsecured_max: 2_000, ..limits };
        }
        if first & 2 != 0 {
            limits = Limits { output_max: 20_000, packet_max: 30_000, queue_qos0: true, ..limits };
        }
        let upstreams: &[&str] = if first & 4 != 0 { &["up/#"] } else { &[] };
        let mut rig = Rig::new(options(upstreams, limits), codec);
        if first & 8 == 0 {
            rig.start(1_000);
        }
        Self { input, rig, count: 0 }
    }

    pub(super) fn run(mut self) {
        for _ in 0..STEPS_MAX {
            if self.input.is_empty() {
                break;
            }
            self.step();
        }
        self.calm();
        self.end();
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.input.split_first() else { return 0 };
        self.input = rest;
        *first
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let at = usize::from(self.byte()) % all.len();
        all[at]
    }

    fn line(&mut self) -> usize {
        let n = usize::from(self.byte());
        n % self.rig.lines.len().max(1)
    }

    fn step(&mut self) {
        match self.byte() % 32 {
            0..=3 => self.connect(),
            4..=8 => self.publish(),
            9 | 10 => self.subscribe(),
            11 => self.unsubscribe(),
            12..=15 => self.answer(),
            16 => self.raw(),
            17 => self.raw_ack(),
            18 => self.cut(),
            19 => self.disconnect(),
            20 => self.pass(),
            21..=23 => self.commit(),
            24 | 25 => self.flush(),
            26 => self.outbox(),
            27 => self.inject(),
            28 => self.bulk(),
            29 => self.mutated(),
            30 => self.queries(),
            _ => self.kill(),
        }
    }

    fn version_of(&self, at: usize) -> Version {
        self.rig.lines.get(at).map(|line| line.peer.version()).unwrap_or_default()
    }

    fn connect(&mut self) {
        let flags = self.byte();
        let Some(at) = self.rig.open(flags & 0x40 != 0) else { return };
        let version = self.of(&[Version::V5, Version::V311, Version::V5, Version::V31]);
        let client = self.of(&CLIENTS);
        let clean = flags & 1 != 0 || client.is_empty();
        let will = (flags & 2 != 0).then(|| self.will());
        let hello = Hello {
            version,
            client: if client.is_empty() && version == Version::V31 { "d" } else { client },
            clean,
            expiry: self.of(&EXPIRIES),
            receive_maximum: self.of(&[0, 1, 2, 10]),
            packet_max: self.of(&[0, 0, 40, 300]),
            aliases: self.of(&[0, 0, 1, 20]),
            keep_alive: self.of(&[0, 0, 1, 60]),
            will,
        };
        self.rig.send(at, &hello.encode());
    }

    fn will(&mut self) -> Testament<'static> {
        let flags = self.byte();
        let delay = self.of(&[0, 0, 2, 10_000]);
        Testament { topic: self.of(&TOPICS), body: b"will", qos: flags % 3, retain: flags & 4 != 0, delay }
    }

    fn body(&mut self, flags: u8) -> Vec<u8> {
        self.count += 1;
        let size = [4, 4, 4, 0, 40, 1_100, 5_000, 100_000][usize::from(flags >> 5)];
        let mut body = self.count.to_be_bytes().to_vec();
        body.resize(size, 0x78);
        body
    }

    fn packet_id(&mut self, choice: u8) -> u16 {
        // Seldom one that is in use.
        if choice & 0x80 != 0 { u16::from(choice & 3) + 1 } else { (self.count % 60_000) as u16 + 10 }
    }

    fn publish(&mut self) {
        let at = self.line();
        let packet = self.says(at);
        self.rig.send(at, &packet);
    }

    fn says(&mut self, at: usize) -> Vec<u8> {
        let version = self.version_of(at);
        let (flags, choice) = (self.byte(), self.byte());
        let body = self.body(flags);
        let qos = flags % 3;
        let id = self.packet_id(choice);
        let mut topic = self.of(&TOPICS);
        let mut properties = Vec::new();
        match choice & 7 {
            1 => properties.extend([2, 0, 0, 0, 2]),
            2 => properties.extend([0x23, 0, choice >> 4 & 3]),
            3 => {
                topic = "";
                properties.extend([0x23, 0, choice >> 4 & 3]);
            }
            4 => properties.extend([1, 1, 8, 0, 1, b'r', 9, 0, 2, 0, 1, 0x26, 0, 1, b'k', 0, 1, b'v', 3, 0, 1, b't']),
            _ => {}
        }
        let dup = qos > 0 && choice & 8 != 0;
        Says { version, topic, body: &body, qos, id, retain: flags & 8 != 0, dup, properties: &properties }.encode()
    }

    fn subscribe(&mut self) {
        let at = self.line();
        let (version, flags) = (self.version_of(at), self.byte());
        let mut options = flags & 0x2f;
        if options & 3 == 3 || version != Version::V5 {
            options = flags % 3;
        }
        let first = self.of(&FILTERS);
        let mut filters = vec![(first, if first.starts_with("$share") { options & !4 } else { options })];
        if flags & 0x40 != 0 {
            filters.push((self.of(&FILTERS[..4]), flags % 3));
        }
        self.count += 1;
        let id = self.packet_id(0);
        let identifier = if flags & 0x80 != 0 { self.byte() } else { 0 };
        let packet = packets::subscribe(version, id, &filters, identifier);
        self.rig.send(at, &packet);
    }

    fn unsubscribe(&mut self) {
        let at = self.line();
        self.count += 1;
        let id = self.packet_id(0);
        let packet = packets::unsubscribe(self.version_of(at), id, self.of(&FILTERS));
        self.rig.send(at, &packet);
    }

    fn answer(&mut self) {
        let at = self.line();
        for _ in 0..1 + self.byte() % 8 {
            if !self.answer_one(at) {
                return;
            }
        }
    }

    fn answer_one(&mut self, at: usize) -> bool {
        let answer = self.rig.lines.get_mut(at).and_then(|line| line.peer.answers.pop_front());
        answer.is_some_and(|answer| {
            self.rig.send(at, &answer);
            true
        })
    }

    fn raw(&mut self) {
        let at = self.line();
        let n = usize::from(self.byte()).min(self.input.len());
        let (bytes, rest) = self.input.split_at(n);
        self.input = rest;
        self.rig.lines.iter_mut().skip(at).take(1).for_each(|line| line.rude = true);
        self.rig.send(at, bytes);
    }

    fn raw_ack(&mut self) {
        let at = self.line();
        let (kind, reason) = (4 + self.byte() % 4, self.of(&[0, 0, 0x10, 0x80, 0x92, 0x97]));
        let id = u16::from(self.byte() % 12);
        let packet = packets::ack(self.version_of(at), kind, id, reason);
        self.rig.send(at, &packet);
    }

    fn cut(&mut self) {
        let at = self.line();
        self.rig.cut(at);
    }

    fn disconnect(&mut self) {
        let at = self.line();
        let (reason, choice) = (self.of(&[0, 4]), self.byte());
        let expiry = (choice & 1 != 0).then(|| self.of(&EXPIRIES));
        let packet = packets::disconnect(self.version_of(at), reason, expiry);
        self.rig.send(at, &packet);
    }

    fn pass(&mut self) {
        let ms = self.of(&[1, 50, 100, 1_000, 2_000, 6_000, 3_700_000]);
        self.rig.pass(Duration::from_millis(ms));
    }

    fn commit(&mut self) {
        let choice = self.byte();
        if choice & 1 != 0 {
            self.rig.store.upstreams_settle();
        }
        let items = if choice & 2 != 0 { usize::MAX } else { usize::from(choice >> 3) };
        self.rig.commit(items, choice & 4 != 0);
    }

    fn flush(&mut self) {
        let choice = self.byte();
        if choice & 1 != 0 {
            return self.rig.flush_all();
        }
        let bytes = self.of(&[1, 7, 100, 5_000, usize::MAX]);
        self.rig.flush(usize::from(choice >> 1 & 7), bytes);
    }

    fn outbox(&mut self) {
        let choice = self.byte();
        match choice % 4 {
            0 => self.rig.event(OutboxToBroker::Full(UpstreamSet::from_bits(u32::from(choice >> 7)))),
            1 => self.rig.event(OutboxToBroker::Link { upstream: UpstreamId(0), up: choice & 0x80 != 0 }),
            2 => self.rig.start(usize::from(choice >> 2)),
            // What is said again, or of another start, does no harm.
            _ => self.rig.tell(),
        }
    }

    fn inject(&mut self) {
        let flags = self.byte();
        let topic = self.of(&TOPICS);
        // Never as large as the largest packet.
        let body = self.body(flags & 0x9f);
        let qos = QoS::from_u8(flags % 3).unwrap_or(QoS::AtMostOnce);
        let origin = if flags & 16 != 0 { Origin::Upstream(UpstreamId(0)) } else { Origin::Bus };
        let Ok(topic) = Topic::new(topic) else { return };
        let message = Message::new(topic, Body::raw(body.into()), qos, flags & 8 != 0, origin);
        self.rig.inject(vec![message; 1 + usize::from(flags & 4)]);
    }

    fn bulk(&mut self) {
        let at = self.line();
        let packet = Says { version: self.version_of(at), topic: self.of(&TOPICS[..5]), body: b"x", ..Says::default() }.encode();
        let times = usize::from(self.byte()) * 8;
        self.rig.bulk(at, &packet.repeat(times));
    }

    fn mutated(&mut self) {
        let at = self.line();
        let mut packet = self.says(at);
        let (place, value) = (usize::from(self.byte()), self.byte());
        let length = packet.len();
        if let Some(byte) = packet.get_mut(place % length) {
            *byte ^= value;
        }
        self.rig.lines.iter_mut().skip(at).take(1).for_each(|line| line.rude = true);
        self.rig.send(at, &packet);
    }

    fn queries(&mut self) {
        let _ = (self.rig.broker.status(), self.rig.broker.is_idle(), self.rig.broker.paused_until());
        let choice = self.byte();
        match choice {
            0xff => self.rig.broker.queue_all_wills(),
            0x80..=0xbf => {
                let rules = self.of(&LISTS);
                self.rig.list(rules);
            }
            _ => {}
        }
        self.rig.settle();
    }

    fn kill(&mut self) {
        let choice = self.byte();
        self.rig.kill();
        if choice & 1 != 0 {
            self.rig.start(usize::from(choice));
        }
    }

    /// Everybody does what is to be done: then nothing is left to do.
    fn calm(&mut self) {
        self.rig.start(7);
        self.rig.event(OutboxToBroker::Full(UpstreamSet::EMPTY));
        for round in 0.. {
            assert!(round < 20_000, "all that was begun comes to an end, nobody is held for nothing");
            self.rig.store.upstreams_settle();
            self.rig.commit(usize::MAX, true);
            self.rig.flush_all();
            let answered = (0..self.rig.lines.len()).any(|at| self.answer_one(at));
            if !answered && self.rig.store.waiting() == 0 {
                let held = self.rig.lines.iter().any(|line| self.rig.broker.hold_of(line.id).is_some());
                if round % 2 == 1 && !held {
                    break;
                }
                // Who was paused goes on, perhaps until it is paused again.
                self.rig.pass(Duration::from_millis(200));
            }
        }
        assert!(self.rig.broker.owed.is_idle(), "all is secured");
        for line in &self.rig.lines {
            assert_eq!(line.peer.unacknowledged(), 0, "every PUBLISH is acknowledged");
        }
        let polite: Vec<_> = self.rig.lines.iter().filter(|line| !line.rude).map(|line| line.id).collect();
        for (_, session) in &self.rig.broker.sessions {
            if session.conn.is_some_and(|id| polite.contains(&id)) {
                assert!(session.queue.is_empty(), "what waits for a client that takes everything");
                assert!(session.inflight.is_empty(), "in flight to a client that answers everything: {:?}", session.inflight);
            }
        }
    }

    /// All connections break and all sessions run out: nothing is held.
    fn end(mut self) {
        while !self.rig.lines.is_empty() {
            self.rig.cut(0);
        }
        let indices: Vec<usize> = self.rig.broker.sessions.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.rig.broker.end_session(index, false);
        }
        assert_eq!(self.rig.broker.budget.used(), 0, "nothing is held for nobody");
    }
}
