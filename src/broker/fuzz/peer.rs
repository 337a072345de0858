//! The client's end of one connection: what it has sent and the broker has applied, held against what the broker writes.

use std::collections::{BTreeMap, VecDeque};

use super::packets;
use crate::model::EntryId;
use crate::mqtt::packet::{Ack, Connect, Publish, Unsubscribe};
use crate::mqtt::{Frame, Version, kind, split};

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Got {
    /// Empty where an alias stood for it that was never told.
    pub(in crate::broker) topic: Vec<u8>,
    pub(in crate::broker) body: Vec<u8>,
    pub(in crate::broker) qos: u8,
    /// 0 at QoS 0.
    pub(in crate::broker) id: u16,
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) dup: bool,
    pub(in crate::broker) identifiers: Vec<u32>,
}

/// What an answer of the broker stands for; the ids are those of the rows that it promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) enum News {
    /// `present`, reason.
    Connack(bool, u8),
    Message(Got),
    /// Of a PUBLISH with this packet id: PUBACK or PUBREC, its reason, and what has to be secured.
    Acked(u16, u8, Vec<EntryId>),
    /// True: its packet id is in use again.
    Pubcomp(u16, bool, Vec<EntryId>),
    Suback(u16, Vec<u8>, Vec<EntryId>),
    /// With the filters that are gone; none where some may be there again.
    Unsuback(u16, Vec<String>, Vec<EntryId>),
    Pubrel(u16),
    Disconnect(u8),
    Pong,
}

/// How far a message from the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// QoS 1, or QoS 2 before PUBREC.
    Published(u8),
    /// PUBREC was sent.
    Received,
}

/// A SUBSCRIBE, UNSUBSCRIBE or PUBREL.
#[derive(Debug, Default)]
struct Asked {
    kind: u8,
    id: u16,
    rows: Vec<EntryId>,
    /// Of UNSUBSCRIBE.
    filters: Vec<String>,
    /// What it takes away may have been given again since.
    again: bool,
}

#[derive(Debug, Default)]
pub(in crate::broker) struct Peer {
    /// Of CONNECT, once the broker has taken it.
    pub(in crate::broker) version: Option<Version>,
    pub(in crate::broker) client: String,
    pub(in crate::broker) connected: bool,
    receive_maximum: u16,
    packet_max: u32,
    alias_max: u16,
    aliases: BTreeMap<u16, Vec<u8>>,
    /// Packet ids of PUBLISHes of this connection that are not finished: what counts against the client's receive maximum (5.0, 4.9).
    came: BTreeMap<u16, Came>,
    /// PUBLISHes that the broker has taken and not acknowledged: id, QoS, rows.
    publishes: VecDeque<(u16, u8, Vec<EntryId>)>,
    /// What it has not answered.
    asked: VecDeque<Asked>,
    /// Rows that CONNACK waits for.
    pub(in crate::broker) before_connack: Vec<EntryId>,
    /// What a client that does as it should would send now.
    pub(in crate::broker) answers: VecDeque<Vec<u8>>,
}

impl Peer {
    pub(in crate::broker) fn version(&self) -> Version {
        self.version.unwrap_or_default()
    }

    /// QoS 1 and 2 PUBLISHes of this client that are not acknowledged.
    pub(in crate::broker) fn unacknowledged(&self) -> usize {
        self.publishes.len()
    }

    /// The broker has applied one packet of this client. `rows`: those that it has put for it.
    pub(in crate::broker) fn applied(&mut self, frame: &Frame<'_>, rows: Vec<EntryId>) {
        let version = self.version();
        match frame.kind() {
            kind::CONNECT => self.hello(frame),
            kind::PUBLISH => {
                if let Ok(publish) = Publish::parse(frame, version)
                    && publish.id != 0
                {
                    self.publishes.push_back((publish.id, publish.qos as u8, rows));
                    self.given_again(|asked| (asked.kind, asked.id) == (kind::PUBREL, publish.id));
                }
            }
            kind::PUBACK | kind::PUBREC | kind::PUBCOMP => {
                if let Ok(ack) = Ack::parse(frame, version) {
                    self.answered(frame.kind(), &ack);
                }
            }
            kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => {
                let id = frame.body.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
                if frame.kind() == kind::SUBSCRIBE {
                    self.given_again(|asked| asked.kind == kind::UNSUBSCRIBE);
                }
                let filters = if frame.kind() == kind::UNSUBSCRIBE { filters_of(frame, version) } else { Vec::new() };
                self.asked.push_back(Asked { kind: frame.kind(), id, rows, filters, again: false });
            }
            _ => {}
        }
    }

    fn given_again(&mut self, of: impl Fn(&Asked) -> bool) {
        self.asked.iter_mut().filter(|asked| of(asked)).for_each(|asked| asked.again = true);
    }

    fn hello(&mut self, frame: &Frame<'_>) {
        let Ok(connect) = Connect::parse(frame) else { return };
        self.version = Some(connect.version);
        self.client = connect.client_id.to_owned();
        self.receive_maximum = connect.properties.receive_maximum;
        self.packet_max = connect.properties.maximum_packet_size.map_or(u32::MAX, u32::from);
        self.alias_max = connect.properties.topic_alias_maximum;
    }

    fn answered(&mut self, kind: u8, ack: &Ack<'_>) {
        let came = self.came.get(&ack.id).copied();
        let refused = ack.reason.is_error();
        let next = match (kind, came) {
            (kind::PUBACK, Some(Came::Published(1))) | (kind::PUBCOMP, Some(Came::Received)) => None,
            (kind::PUBREC, Some(Came::Published(2))) => (!refused).then_some(Came::Received),
            _ => return,
        };
        self.came.remove(&ack.id);
        self.came.extend(next.map(|next| (ack.id, next)));
    }

    /// What the broker has written: whole packets. `check` reads each with the codec of others.
    pub(in crate::broker) fn written(&mut self, mut bytes: &[u8], check: &mut dyn FnMut(Version, &[u8])) -> Vec<News> {
        let mut news = Vec::new();
        while let Some(frame) = split(bytes, usize::MAX).expect("the broker writes packets") {
            let size = u32::try_from(frame.raw.len()).unwrap_or(u32::MAX);
            assert!(!self.connected || size <= self.packet_max, "a packet of {size} bytes, the client takes {}", self.packet_max);
            assert!(frame.is_minimal());
            check(self.version(), frame.raw);
            news.push(self.packet(&frame));
            bytes = bytes.get(frame.raw.len()..).unwrap_or_default();
        }
        assert!(bytes.is_empty(), "half a packet");
        news
    }

    fn packet(&mut self, frame: &Frame<'_>) -> News {
        let five = self.version().is_5();
        let byte = |at: usize| frame.body.get(at).copied().unwrap_or(0);
        let id = u16::from_be_bytes([byte(0), byte(1)]);
        let reason = if five { byte(2) } else { 0 };
        assert!(frame.kind() == kind::CONNACK || frame.kind() == kind::DISCONNECT || self.connected, "{:?} before CONNACK", frame.raw);
        match frame.kind() {
            kind::CONNACK => {
                assert!(!self.connected, "a second CONNACK");
                self.connected = byte(1) == 0;
                News::Connack(byte(0) == 1, byte(1))
            }
            kind::PUBLISH => News::Message(self.message(frame)),
            kind::PUBACK | kind::PUBREC => {
                let (want, qos, rows) = self.publishes.pop_front().expect("an acknowledgement of nothing");
                assert_eq!((want, qos == 2), (id, frame.kind() == kind::PUBREC), "acknowledgements in the order of PUBLISHes");
                if frame.kind() == kind::PUBREC && reason < 0x80 {
                    self.answers.push_back(packets::ack(self.version(), kind::PUBREL, id, 0));
                }
                News::Acked(id, reason, rows)
            }
            kind::PUBCOMP => {
                let asked = self.answer_to(kind::PUBREL, id);
                News::Pubcomp(id, asked.again, asked.rows)
            }
            kind::SUBACK => News::Suback(id, self.codes(frame), self.answer_to(kind::SUBSCRIBE, id).rows),
            kind::UNSUBACK => {
                let asked = self.answer_to(kind::UNSUBSCRIBE, id);
                News::Unsuback(id, if asked.again { Vec::new() } else { asked.filters }, asked.rows)
            }
            kind::PUBREL => {
                assert_eq!(frame.flags(), 2);
                assert!(self.came.get(&id) != Some(&Came::Published(2)), "PUBREL before PUBREC");
                // 0x92 answers a PUBREC for what is not known.
                self.answers.push_back(packets::ack(self.version(), kind::PUBCOMP, id, 0));
                News::Pubrel(id)
            }
            kind::PINGRESP => News::Pong,
            kind::DISCONNECT => {
                assert!(five, "only in 5.0 a server says DISCONNECT");
                News::Disconnect(byte(0))
            }
            _ => panic!("a server does not send {:?}", frame.raw),
        }
    }

    fn answer_to(&mut self, kind: u8, id: u16) -> Asked {
        let at = self.asked.iter().position(|asked| (asked.kind, asked.id) == (kind, id)).expect("an answer to nothing");
        self.asked.remove(at).unwrap_or_default()
    }

    fn codes(&self, frame: &Frame<'_>) -> Vec<u8> {
        let mut body = frame.body.get(2..).unwrap_or_default();
        if self.version().is_5() {
            let properties = usize::from(body.first().copied().unwrap_or(0));
            body = body.get(1 + properties..).unwrap_or_default();
        }
        body.to_vec()
    }

    fn message(&mut self, frame: &Frame<'_>) -> Got {
        let mut got = read_message(frame, self.version());
        if let Some(alias) = got.1 {
            assert!((1..=self.alias_max).contains(&alias), "alias {alias}, the client takes {}", self.alias_max);
            if got.0.topic.is_empty() {
                got.0.topic = self.aliases.get(&alias).cloned().expect("an alias that was told");
            } else {
                self.aliases.insert(alias, got.0.topic.clone());
            }
        }
        let got = got.0;
        assert!(!got.topic.is_empty(), "a message without a topic");
        let version = self.version();
        match got.qos {
            0 => assert!(!got.dup, "DUP at QoS 0 [MQTT-3.3.1-2]"),
            qos => {
                assert!(got.id > 0, "packet id 0 [MQTT-2.2.1-3]");
                let before = self.came.insert(got.id, Came::Published(qos));
                assert_eq!(before, None, "packet id {} is in use [MQTT-2.2.1-4]", got.id);
                let quota = self.came.len();
                let max = usize::from(self.receive_maximum);
                assert!(quota <= max, "{quota} messages unacknowledged, the client takes {max} [MQTT-3.3.4-9]");
                let kind = if qos == 1 { kind::PUBACK } else { kind::PUBREC };
                self.answers.push_back(packets::ack(version, kind, got.id, 0));
            }
        }
        got
    }
}

fn filters_of(frame: &Frame<'_>, version: Version) -> Vec<String> {
    let filters = Unsubscribe::parse(frame, version).map(|unsubscribe| unsubscribe.filters).unwrap_or_default();
    filters.into_iter().flatten().map(|filter| filter.as_str().to_owned()).collect()
}

/// A PUBLISH as a client reads it, and its alias.
fn read_message(frame: &Frame<'_>, version: Version) -> (Got, Option<u16>) {
    let mut rest = Rest(frame.body);
    let qos = frame.flags() >> 1 & 3;
    let topic = rest.binary().to_vec();
    let id = if qos > 0 { rest.two() } else { 0 };
    let (mut alias, mut identifiers) = (None, Vec::new());
    if version.is_5() {
        let length = rest.varint();
        let mut properties = Rest(rest.take(length as usize));
        while !properties.0.is_empty() {
            match properties.take(1).first() {
                Some(0x01) => {
                    properties.take(1);
                }
                Some(0x02) => {
                    properties.take(4);
                }
                Some(0x03 | 0x08 | 0x09) => {
                    properties.binary();
                }
                Some(0x0b) => identifiers.push(properties.varint()),
                Some(0x23) => alias = Some(properties.two()),
                Some(0x26) => {
                    properties.binary();
                    properties.binary();
                }
                other => panic!("property {other:?} in PUBLISH"),
            }
        }
    }
    let (retain, dup) = (frame.flags() & 1 != 0, frame.flags() & 8 != 0);
    (Got { topic, body: rest.0.to_vec(), qos, id, retain, dup, identifiers }, alias)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(n).expect("a whole packet");
        self.0 = rest;
        taken
    }

    fn two(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn binary(&mut self) -> &'a [u8] {
        let length = self.two();
        self.take(length.into())
    }

    fn varint(&mut self) -> u32 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1).first().copied().unwrap_or(0);
            value |= u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
}
