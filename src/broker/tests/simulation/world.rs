//! One run: the hundred and the gateway, by a clock that the seed moves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Outcomes;
use super::client::{Client, Stage, WINDOW};
use crate::broker::Limits;
use crate::broker::fuzz::packets;
use crate::broker::fuzz::peer::{Got, News};
use crate::broker::fuzz::rig::{Rig, options};
use crate::mqtt::{Version, kind};

const CLIENTS: usize = 100;
const STEPS: usize = 2_500;
/// The sessions of the first group, which end before it, and this one of the second group never end.
pub(super) const STAYS: usize = 80;
/// Steps between two looks at all invariants.
const CHECK_EVERY: usize = 100;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A message that a client has published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) by: usize,
    pub(super) topic: String,
    pub(super) body: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// PUBACK or PUBREC has come.
    pub(super) acked: bool,
    /// Who has to get it once it is acknowledged: clients, each with the session that it had.
    pub(super) must: Vec<(usize, u32)>,
    /// Everybody in the first group, and the one in the second whose session stays, was subscribed when it was published.
    pub(super) shared: bool,
    /// The publisher has sent it again.
    pub(super) again: bool,
}

pub(super) struct World<'a> {
    pub(super) rig: Rig<'a>,
    random: Random,
    pub(super) clients: Vec<Client>,
    pub(super) messages: Vec<Published>,
    pub(super) by_body: BTreeMap<Vec<u8>, usize>,
    pub(super) out: Outcomes,
    window: usize,
    /// Nobody leaves any more.
    calm: bool,
}

pub(super) fn run(seed: u64) -> Outcomes {
    let mut random = Random(seed);
    let mut limits = Limits { connections_max: 200, ..Limits::default() };
    if random.one_in(4) {
        limits = Limits { session_queue: 30, session_queue_bytes: 20_000, ..limits };
    }
    if random.one_in(4) {
        limits = Limits { receive_maximum: 4, unsecured_max: 20_000, ..limits };
    }
    let mut codec = |_: Version, _: &[u8]| {};
    let window = WINDOW.min(limits.receive_maximum.into());
    let mut rig = Rig::new(options(&[], limits), &mut codec);
    rig.strict = false;
    rig.ahead = false;
    rig.start(1_000);
    let clients = (0..CLIENTS).map(Client::new).collect();
    let (messages, by_body) = Default::default();
    let mut world = World { rig, random, clients, messages, by_body, out: Outcomes::default(), window, calm: false };
    world.go();
    world.calm_down();
    world.judge();
    world.out
}

impl World<'_> {
    fn go(&mut self) {
        for c in 0..CLIENTS {
            self.connect(c);
        }
        let kills = self.random.below(4);
        let mut kill_at: Vec<usize> = (0..kills).map(|_| self.random.below(STEPS)).collect();
        for step in 0..STEPS {
            self.step();
            self.hear();
            if self.random.one_in(20) {
                // Members of the second group come and go all the time.
                let c = STAYS + 1 + self.random.below(9);
                self.cut(c);
                self.connect(c);
            }
            if kill_at.contains(&step) {
                kill_at.retain(|at| *at != step);
                self.kill();
            }
            if step % CHECK_EVERY == 0 {
                self.rig.check();
            }
        }
    }

    fn step(&mut self) {
        let c = self.random.below(CLIENTS);
        match self.random.below(100) {
            0..40 => self.publish(c),
            40..60 => self.write(),
            60..72 => self.answers(c),
            72..80 => {
                let (items, all) = (self.random.below(300), self.random.one_in(2));
                self.rig.commit(items, all);
            }
            80..85 => {
                let ms = [1, 10, 100, 500, 500, 8_000][self.random.below(6)];
                self.rig.pass(Duration::from_millis(ms));
            }
            85..95 => self.connect(c),
            95 | 96 => self.cut(c),
            97 => self.disconnect(c),
            98 => self.take_over(c),
            _ => {
                let all: Vec<usize> = (0..CLIENTS).collect();
                all.into_iter().for_each(|c| self.answers(c));
            }
        }
    }

    fn line(&self, c: usize) -> Option<usize> {
        let conn = self.clients[c].conn?;
        self.rig.lines.iter().position(|line| line.id == conn)
    }

    fn send(&mut self, c: usize, packet: &[u8]) {
        if let Some(at) = self.line(c) {
            self.rig.send(at, packet);
        }
    }

    fn connect(&mut self, c: usize) {
        if self.clients[c].conn.is_none() {
            // In 3.1.1 a session that begins clean ends with its connection.
            let clean = !self.calm && self.random.one_in(40) && self.clients[c].version.is_5() && !(60..=STAYS).contains(&c);
            self.greet(c, clean);
        }
    }

    fn greet(&mut self, c: usize, clean: bool) {
        let Some(at) = self.rig.open(false) else { return };
        let id = self.rig.lines[at].id;
        let farewell = !self.calm && !clean && self.random.one_in(4) && !(60..=STAYS).contains(&c);
        let client = &mut self.clients[c];
        client.farewell = farewell && client.version.is_5();
        client.conn = Some(id);
        client.online = false;
        client.connections += 1;
        if clean {
            client.begin_anew();
        }
        let hello = client.hello(clean);
        self.rig.send(at, &hello);
    }

    fn take_over(&mut self, c: usize) {
        if self.clients[c].conn.is_some() {
            self.lose(c);
            self.greet(c, false);
        }
    }

    /// The client knows its connection no more.
    fn lose(&mut self, c: usize) {
        self.out.cuts += 1;
        let now = self.rig.now;
        let client = &mut self.clients[c];
        client.conn = None;
        // One that it was not heard on may never have been more than a CONNECT that waits.
        if client.online {
            client.left = Some(now);
        }
        client.online = false;
        if client.is_brief() {
            client.begin_anew();
        }
    }

    fn cut(&mut self, c: usize) {
        if let Some(at) = self.line(c) {
            self.rig.cut(at);
            self.lose(c);
        }
    }

    fn disconnect(&mut self, c: usize) {
        if self.clients[c].online {
            let packet = packets::disconnect(self.clients[c].version, 0, None);
            self.send(c, &packet);
            // Unless the broker holds what came before it.
            let taken = self.line(c).is_none_or(|at| self.rig.is_ended(at));
            if taken {
                let client = &mut self.clients[c];
                client.departed.insert(client.connections);
            }
            self.cut(c);
            self.lose(c);
        }
    }

    fn kill(&mut self) {
        self.out.kills += 1;
        self.rig.kill();
        for c in 0..CLIENTS {
            if self.clients[c].conn.is_some() {
                self.lose(c);
            }
            // Nobody waits for what DISCONNECT changes in the store: the will of a session may still be in its row.
            self.clients[c].departed.clear();
        }
        let page = 1 + self.random.below(50);
        self.rig.start(page);
    }

    fn publish(&mut self, c: usize) {
        let (topic, retain) = match self.random.below(10) {
            0 => (format!("r/{}", self.clients[c].name), true),
            1 | 2 => (format!("g/{}", self.random.below(3)), false),
            _ => (format!("t/{}", self.random.below(8)), false),
        };
        let qos = if retain { 1 + self.random.below(2) as u8 } else { self.random.below(3) as u8 };
        let size = [0, 0, 0, 0, 0, 60, 1_100, 9_000][self.random.below(8)];
        if !self.clients[c].online || self.clients[c].window.len() >= self.window {
            return;
        }
        let m = self.messages.len();
        let mut body = format!("m{m}.").into_bytes();
        body.resize(body.len() + size, b'x');
        let must = |(s, client): (usize, &Client)| (client.wants(&topic, true)? > 0 && !client.is_brief()).then_some((s, client.session));
        let must = if qos > 0 { self.clients.iter().enumerate().filter_map(must).collect() } else { Vec::new() };
        let shared = qos > 0 && (60..=STAYS).all(|c| self.clients[c].wanted.iter().all(|wanted| wanted.granted));
        self.by_body.insert(body.clone(), m);
        let client = &mut self.clients[c];
        let id = if qos > 0 { client.free_id() } else { 0 };
        let packet = client.publish(&topic, &body, qos, id, retain, false);
        if qos > 0 {
            client.window.push((id, m, Stage::Sent));
        }
        self.messages.push(Published { by: c, topic, body, qos, retain, acked: false, must, shared, again: false });
        self.out.published += 1;
        self.send(c, &packet);
    }

    /// What a client's socket takes, and what the client says to it.
    fn write(&mut self) {
        let sockets = 1 + self.random.below(60);
        for _ in 0..sockets {
            let Some(id) = self.rig.broker.next_dirty() else { break };
            let slow = self.clients.iter().any(|client| client.conn == Some(id) && client.slow);
            let n = if slow { 1 + self.random.below(2_000) } else { usize::MAX };
            if let Some(at) = self.rig.lines.iter().position(|line| line.id == id && !line.blocked) {
                self.rig.write(at, n);
            }
        }
        // Some of those that were full have room again.
        for c in 0..CLIENTS {
            if let Some(at) = self.line(c).filter(|at| self.rig.lines[*at].blocked)
                && self.random.one_in(4)
            {
                let n = 1 + self.random.below(5_000);
                self.rig.write(at, n);
            }
        }
    }

    /// Hears before it answers, so that what it says is what it knows.
    fn answers(&mut self, c: usize) {
        self.hear();
        let Some(at) = self.line(c) else { return };
        let answers: Vec<Vec<u8>> = self.rig.lines[at].peer.answers.drain(..).collect();
        for answer in answers {
            if answer.first().is_some_and(|first| first >> 4 == kind::PUBCOMP) {
                let id = u16::from_be_bytes([answer[2], answer[3]]);
                self.clients[c].held.remove(&id);
            }
            self.send(c, &answer);
        }
    }

    /// All that has come to anybody.
    fn hear(&mut self) {
        for c in 0..CLIENTS {
            let Some(conn) = self.clients[c].conn else { continue };
            let Some(at) = self.rig.lines.iter().position(|line| line.id == conn) else {
                // The broker has ended it: none of these clients gives it a reason but the end of its session's connection.
                self.lose(c);
                continue;
            };
            for news in std::mem::take(&mut self.rig.lines[at].news) {
                self.hears(c, news);
            }
        }
    }

    fn hears(&mut self, c: usize, news: News) {
        match news {
            News::Connack(present, reason) => self.greeted(c, present, reason),
            News::Message(got) => self.got(c, &got),
            News::Acked(id, reason, _) => self.acked(c, id, reason),
            News::Pubcomp(id, ..) => {
                self.clients[c].window.retain(|(other, _, stage)| (*other, *stage) != (id, Stage::Received));
            }
            News::Suback(_, codes, _) => {
                let client = &mut self.clients[c];
                for (wanted, code) in client.wanted.iter_mut().zip(codes) {
                    assert_eq!(code, wanted.qos, "{} is granted what it asks for", client.name);
                    wanted.granted = true;
                }
                client.promised = true;
            }
            News::Disconnect(reason) => assert_eq!(reason, 0x8e, "{} is thrown out", self.clients[c].name),
            News::Unsuback(..) | News::Pubrel(_) | News::Pong => {}
        }
    }

    fn greeted(&mut self, c: usize, present: bool, reason: u8) {
        assert_eq!(reason, 0, "{} is let in", self.clients[c].name);
        let now = self.rig.now;
        let client = &mut self.clients[c];
        client.online = true;
        let away = client.left.map_or(Duration::ZERO, |left| now.since(left));
        let may_be_over = client.expiry < u32::MAX && away >= Duration::from_secs(client.expiry.into());
        assert!(present || !client.promised || may_be_over, "the session of {} is gone after {away:?}", client.name);
        // The one that is present may have begun with a CONNACK that was never heard.
        if !present || may_be_over {
            client.begin_anew();
        }
        let wanted: Vec<(String, u8)> = client.wanted.iter().filter(|w| !w.granted).map(|w| (w.filter.clone(), w.qos)).collect();
        if !wanted.is_empty() {
            let filters: Vec<(&str, u8)> = client.wanted.iter().map(|w| (w.filter.as_str(), w.qos)).collect();
            let packet = packets::subscribe(client.version, 2_001, &filters, 0);
            self.send(c, &packet);
        }
        self.resend(c);
    }

    /// What is unfinished goes out again, in order [MQTT-4.4.0-1].
    fn resend(&mut self, c: usize) {
        let window = self.clients[c].window.clone();
        for (id, m, stage) in window {
            let packet = match stage {
                Stage::Received => packets::ack(self.clients[c].version, kind::PUBREL, id, 0),
                Stage::Sent => {
                    let message = &mut self.messages[m];
                    message.again = true;
                    self.clients[c].publish(&message.topic, &message.body, message.qos, id, message.retain, true)
                }
            };
            self.send(c, &packet);
        }
    }

    fn acked(&mut self, c: usize, id: u16, reason: u8) {
        assert!(matches!(reason, 0 | 0x10), "{} is refused: {reason:#x}", self.clients[c].name);
        let client = &mut self.clients[c];
        let Some(at) = client.window.iter().position(|(other, ..)| *other == id) else { return };
        let (_, m, _) = client.window[at];
        if self.messages[m].qos == 2 {
            client.window[at].2 = Stage::Received;
            client.promised |= !client.is_brief();
        } else {
            client.window.remove(at);
        }
        self.messages[m].acked = true;
    }

    fn got(&mut self, c: usize, got: &Got) {
        let now_seen = self.clients[c].sees(got);
        if now_seen {
            self.note(c, got);
        }
    }

    /// The first client that has something left to do.
    fn unfinished(&self) -> Option<String> {
        let client = self.clients.iter().find(|client| !client.online || !client.window.is_empty())?;
        let line = self.rig.lines.iter().find(|line| Some(line.id) == client.conn);
        let held = line.map(|line| (self.rig.broker.hold_of(line.id), line.input.len(), line.blocked, line.peer.unacknowledged()));
        Some(format!("{}: online {}, {} in its window, {held:?}", client.name, client.online, client.window.len()))
    }

    /// All connect, take everything and say what is to be said, until nothing moves.
    fn calm_down(&mut self) {
        self.calm = true;
        for round in 0.. {
            assert!(round < 1_000, "what was begun does not come to an end: {:?}", self.unfinished());
            (0..CLIENTS).for_each(|c| self.connect(c));
            self.rig.commit(usize::MAX, true);
            self.rig.flush_all();
            self.hear();
            let idle = self.rig.lines.iter().all(|line| line.peer.answers.is_empty());
            (0..CLIENTS).for_each(|c| self.answers(c));
            let finished = self.clients.iter().all(|client| client.online && client.window.is_empty());
            if idle && finished && self.rig.store.waiting() == 0 {
                break;
            }
            self.rig.pass(Duration::from_millis(100));
        }
        self.rig.check();
    }
}
