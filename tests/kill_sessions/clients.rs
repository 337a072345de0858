//! Clients whose sessions outlive the gateway, each with a memory of its own of what it was promised.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;

use crate::harness::random::Random;
use crate::harness::words::{Words, id_of, message_of};

/// Messages of a publisher that are not finished.
const WINDOW: usize = 6;

/// How a client speaks, and that it wants to be remembered.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub version: u8,
    pub qos: u8,
}

impl Kind {
    pub fn connect(self, name: &str) -> String {
        let expiry = if self.version == 5 { " session-expiry=4294967295" } else { "" };
        format!("connect {} id={name} clean=0{expiry}", self.version)
    }
}

/// How far a message of a publisher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    /// PUBREC has come.
    Received,
}

#[derive(Debug)]
pub struct Publisher {
    pub name: u32,
    kind: Kind,
    link: Option<Words>,
    connected: bool,
    next: u64,
    window: VecDeque<(u64, Stage)>,
    /// What the gateway has taken over: PUBACK, or PUBREC.
    pub acked: BTreeSet<u64>,
    /// Sent again, because it was not acknowledged: the gateway may know it as a new message, behind those that it had kept of before.
    again: BTreeSet<u64>,
    /// The session has something that the gateway promised to keep.
    promised: bool,
    pub finishing: bool,
}

fn packet_id(n: u64) -> u64 {
    n % 60_000 + 1
}

impl Publisher {
    pub fn new(name: u32, kind: Kind) -> Self {
        let (link, window, acked, again) = Default::default();
        Self { name, kind, link, connected: false, next: 1, window, acked, again, promised: false, finishing: false }
    }

    pub fn is_done(&self) -> bool {
        self.window.is_empty()
    }

    pub fn sent(&self) -> u64 {
        self.next - 1
    }

    pub fn tick(&mut self, port: u16) {
        let Some(link) = &mut self.link else {
            self.connected = false;
            self.link = Words::open(port, self.kind.version);
            let hello = self.kind.connect(&format!("p{}", self.name));
            self.link.iter_mut().for_each(|link| link.send(&hello));
            return;
        };
        let (packets, over) = (link.packets(), link.is_over());
        for packet in packets {
            self.hear(&packet);
        }
        if over {
            self.link = None;
            return;
        }
        while self.connected && !self.finishing && self.window.len() < WINDOW {
            let n = self.next;
            self.next += 1;
            self.window.push_back((n, Stage::Sent));
            self.publish(n, "");
        }
    }

    fn send(&mut self, packet: &str) {
        self.link.iter_mut().for_each(|link| link.send(packet));
    }

    fn publish(&mut self, n: u64, dup: &str) {
        let packet = format!("publish q{} {dup} #{} s/{} \"{} {n}\"", self.kind.qos, packet_id(n), self.name, self.name);
        self.send(&packet);
    }

    fn hear(&mut self, packet: &[String]) {
        let id = u64::from(id_of(packet));
        let at = self.window.iter().position(|(n, _)| packet_id(*n) == id);
        match (packet[0].as_str(), at) {
            ("connack", _) => {
                assert_eq!(packet[1], "0", "p{} is let in: {packet:?}", self.name);
                let present = packet.iter().any(|word| word == "present");
                assert!(present || !self.promised, "the session of p{} is gone, with the ids that it was promised", self.name);
                self.connected = true;
                // In the order in which they were sent first [MQTT-4.4.0-1].
                for (n, stage) in self.window.clone() {
                    match stage {
                        Stage::Sent => {
                            self.again.insert(n);
                            self.publish(n, "dup");
                        }
                        Stage::Received => self.send(&format!("pubrel #{}", packet_id(n))),
                    }
                }
            }
            ("puback", Some(at)) => {
                assert_eq!(at, 0, "p{}: acknowledgements in order: {packet:?}", self.name);
                self.acked.extend(self.window.pop_front().map(|(n, _)| n));
            }
            ("pubrec", Some(at)) => {
                assert!(packet.len() == 2, "p{}: {packet:?}", self.name);
                self.promised = true;
                self.window[at].1 = Stage::Received;
                self.acked.insert(self.window[at].0);
                self.send(&format!("pubrel #{id}"));
            }
            ("pubcomp", Some(at)) => drop(self.window.remove(at)),
            other => panic!("p{} heard {other:?}: {packet:?}", self.name),
        }
    }
}

/// A subscriber that comes and goes.
#[derive(Debug)]
pub struct Subscriber {
    pub name: String,
    pub kind: Kind,
    filter: String,
    link: Option<Words>,
    /// SUBACK has come: from then on the session is there.
    pub subscribed: bool,
    /// QoS 2 packet ids that are not released.
    held: HashSet<u16>,
    /// As the application gets them.
    pub got: Vec<(String, String)>,
    /// When it comes or goes.
    turn: Mono,
    pub stays: bool,
}

impl Subscriber {
    pub fn new(name: &str, kind: Kind, filter: &str) -> Self {
        let (link, held, got) = Default::default();
        Self { name: name.into(), kind, filter: filter.into(), link, subscribed: false, held, got, turn: Mono::ZERO, stays: true }
    }

    pub fn tick(&mut self, port: u16, random: &mut Random) {
        let now = clock::mono();
        let turn = now >= self.turn && !self.stays;
        if turn {
            self.turn = now + Duration::from_millis(random.between(20, 400));
        }
        let Some(link) = &mut self.link else {
            if turn || self.stays {
                self.link = Words::open(port, self.kind.version);
                let hello = self.kind.connect(&self.name);
                self.link.iter_mut().for_each(|link| link.send(&hello));
            }
            return;
        };
        let (packets, over) = (link.packets(), link.is_over());
        for packet in packets {
            self.hear(&packet);
        }
        // It goes without a word, also in the middle of an exchange.
        if over || turn && self.subscribed {
            self.link = None;
        }
    }

    fn hear(&mut self, packet: &[String]) {
        let id = id_of(packet);
        let mut answer = None;
        match packet[0].as_str() {
            "connack" => {
                let present = packet.iter().any(|word| word == "present");
                assert_eq!(packet[1], "0", "{packet:?}");
                assert!(present || !self.subscribed, "the session of {} is gone", self.name);
                if !self.subscribed {
                    self.held.clear();
                    answer = Some(format!("subscribe #1 {}={}", self.filter, self.kind.qos));
                }
            }
            "suback" => {
                assert_eq!(packet[2], self.kind.qos.to_string(), "{packet:?}");
                self.subscribed = true;
            }
            "publish" => {
                let known = packet[1] == "q2" && !self.held.insert(id);
                if !known {
                    self.got.push(message_of(packet));
                }
                answer = match packet[1].as_str() {
                    "q1" => Some(format!("puback #{id}")),
                    "q2" => Some(format!("pubrec #{id}")),
                    _ => None,
                };
            }
            "pubrel" => {
                self.held.remove(&id);
                answer = Some(format!("pubcomp #{id}"));
            }
            "unsuback" => {}
            other => panic!("{} heard {other:?}: {packet:?}", self.name),
        }
        if let (Some(answer), Some(link)) = (answer, &mut self.link) {
            link.send(&answer);
        }
    }
}

/// What one subscriber got of the numbers of each publisher, against what was acknowledged.
#[derive(Debug, Default)]
pub struct Judged {
    pub messages: usize,
    pub lost: Vec<(u32, u64)>,
    pub twice: Vec<(u32, u64)>,
    pub out_of_order: Vec<(u32, u64)>,
}

/// `got`: bodies "publisher number".
pub fn judge(got: &[(String, String)], publishers: &[Publisher]) -> Judged {
    let mut judged = Judged { messages: got.len(), ..Judged::default() };
    let mut seen: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
    for (_, body) in got {
        let (publisher, n) = body.split_once(' ').expect("publisher and number");
        let name: (u32, u64) = (publisher.parse().expect("a number"), n.parse().expect("a number"));
        let sender = publishers.iter().find(|p| p.name == name.0).expect("a publisher of ours");
        assert!(name.1 <= sender.sent(), "{name:?} was never sent");
        if !seen.insert(name) {
            judged.twice.push(name);
            continue;
        }
        let newest = newest.entry(name.0).or_default();
        if name.1 < *newest && !sender.again.contains(&name.1) {
            judged.out_of_order.push(name);
        }
        *newest = name.1.max(*newest);
    }
    for publisher in publishers {
        let acked = publisher.acked.iter().map(|n| (publisher.name, *n));
        judged.lost.extend(acked.filter(|name| !seen.contains(name)));
    }
    judged
}
