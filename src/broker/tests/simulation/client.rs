//! One of the hundred: what it is, and what it knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::fuzz::packets::{Hello, Says, Testament};
use crate::broker::fuzz::peer::Got;
use crate::broker::id::ConnId;
use crate::model::Mono;
use crate::mqtt::Version;

/// Unfinished messages of a publisher, unless the broker wants fewer.
pub(super) const WINDOW: usize = 8;

/// How far a message that a client publishes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Sent,
    Received,
}

/// One subscription; it never changes, but is made anew when the session is gone.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) filter: String,
    pub(super) qos: u8,
    /// SUBACK has come.
    pub(super) granted: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) version: Version,
    /// Seconds; 0: the session ends with the connection.
    pub(super) expiry: u32,
    /// It has taken up its session for the last time: with an expiry interval of 0.
    pub(super) farewell: bool,
    pub(super) slow: bool,
    pub(super) receive_maximum: u16,
    pub(super) wanted: Vec<Wanted>,
    pub(super) has_will: bool,
    pub(super) conn: Option<ConnId>,
    /// CONNACK has come.
    pub(super) online: bool,
    /// It has been told something that its session stands for.
    pub(super) promised: bool,
    /// When its connection ended.
    pub(super) left: Option<Mono>,
    /// Raised whenever its session begins anew.
    pub(super) session: u32,
    /// Packet id → message and stage, in the order in which they were sent.
    pub(super) window: Vec<(u16, usize, Stage)>,
    pub(super) next_id: u16,
    /// Packet ids of QoS 2 messages that are not released.
    pub(super) held: BTreeSet<u16>,
    /// What the application got: message → how often, and what of it came as a retained one.
    pub(super) got: BTreeMap<usize, Receipt>,
    /// By publisher, topic and QoS: the last message that came for the first time.
    pub(super) newest: BTreeMap<(usize, String, u8), usize>,
    /// Connections so far; tells wills apart.
    pub(super) connections: u32,
    /// Connections of it that ended by DISCONNECT: their wills must not appear.
    pub(super) departed: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) times: u32,
    /// At QoS 2.
    pub(super) exactly: u32,
    pub(super) retained: u32,
    pub(super) session: u32,
}

impl Client {
    pub(super) fn new(n: usize) -> Self {
        let version = if n.is_multiple_of(2) || (60..90).contains(&n) { Version::V5 } else { Version::V311 };
        let expiry = match n % 4 {
            _ if (60..80).contains(&n) => u32::MAX,
            _ if (80..85).contains(&n) => u32::MAX,
            _ if (85..90).contains(&n) => 0,
            0 => 0,
            2 if n % 20 == 2 => 20,
            _ => u32::MAX,
        };
        let qos = (n / 4 % 3) as u8;
        let filters: Vec<(String, u8)> = match n {
            60..80 => vec![("$share/g1/g/#".into(), 1 + qos % 2)],
            82 | 83 | 88 => vec![("$share/g2/g/#".into(), 1), ("g/1".into(), 2)],
            80..90 => vec![("$share/g2/g/#".into(), 1)],
            90.. => Vec::new(),
            _ => match n % 6 {
                0 => vec![(format!("t/{}", n % 8), qos)],
                1 => vec![("t/#".into(), qos)],
                2 => vec![("t/+".into(), qos), (format!("t/{}", n % 8), (qos + 1) % 3)],
                3 => vec![("w/#".into(), 1)],
                4 => vec![("r/#".into(), qos.max(1))],
                _ => vec![(format!("t/{}", n % 8), 2), ("g/1".into(), qos)],
            },
        };
        let wanted = filters.into_iter().map(|(filter, qos)| Wanted { filter, qos, granted: false }).collect();
        Self {
            name: format!("c{n}"),
            version,
            expiry,
            farewell: false,
            slow: n % 10 == 7,
            receive_maximum: if version.is_5() && n.is_multiple_of(6) { 3 } else { 0 },
            wanted,
            has_will: n % 5 == 1,
            conn: None,
            online: false,
            promised: false,
            left: None,
            session: 0,
            window: Vec::new(),
            next_id: 0,
            held: BTreeSet::new(),
            got: BTreeMap::new(),
            newest: BTreeMap::new(),
            connections: 0,
            departed: BTreeSet::new(),
        }
    }

    /// Whether its session ends with its connection.
    pub(super) const fn is_brief(&self) -> bool {
        self.expiry == 0 || self.farewell
    }

    /// CONNECT; with a clean start where the client wants to be forgotten.
    pub(super) fn hello(&self, clean: bool) -> Vec<u8> {
        let (topic, body) = (format!("w/{}", self.name), format!("will {} {}", self.name, self.connections));
        let will = self.has_will.then_some(Testament { topic: &topic, body: body.as_bytes(), qos: 1, retain: false, delay: 0 });
        let hello = Hello {
            version: self.version,
            client: &self.name,
            clean: clean || self.expiry == 0,
            expiry: if self.farewell { 0 } else { self.expiry },
            receive_maximum: self.receive_maximum,
            packet_max: 0,
            aliases: if self.name.ends_with('4') { 5 } else { 0 },
            keep_alive: 0,
            will,
        };
        hello.encode()
    }

    /// A packet id that none of its unfinished messages has.
    pub(super) fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 2_000 + 1;
            if !self.window.iter().any(|(id, ..)| *id == self.next_id) {
                return self.next_id;
            }
        }
    }

    pub(super) fn publish(&self, topic: &str, body: &[u8], qos: u8, id: u16, retain: bool, dup: bool) -> Vec<u8> {
        Says { version: self.version, topic, body, qos, id, retain, dup, properties: &[] }.encode()
    }

    /// The highest QoS at which this client's own subscriptions want `topic`; shared ones apart.
    pub(super) fn wants(&self, topic: &str, granted: bool) -> Option<u8> {
        let own = self.wanted.iter().filter(|w| !w.filter.starts_with("$share") && (w.granted || !granted));
        own.filter(|w| matches(&w.filter, topic)).map(|w| w.qos).max()
    }

    /// The same for the groups that it is in.
    pub(super) fn shares(&self, topic: &str) -> Option<u8> {
        let shared = self.wanted.iter().filter_map(|w| Some((w.filter.strip_prefix("$share/")?.split_once('/')?.1, w.qos)));
        shared.filter(|(filter, _)| matches(filter, topic)).map(|(_, qos)| qos).max()
    }

    /// Whether the application sees it: a QoS 2 message under an id that is not released was seen.
    pub(super) fn sees(&mut self, got: &Got) -> bool {
        got.qos < 2 || self.held.insert(got.id)
    }
}

/// Written apart from the broker's matching.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}
