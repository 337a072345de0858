//! The protocol of one client without I/O: what it says goes into a buffer, what the server says comes out as events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Error, Options};
use crate::model::{QoS, SubscribeOptions};
use crate::mqtt::client::{self, Answer, Connack, Connect, Delivery, Farewell, Refused};
use crate::mqtt::{Version, kind, split};

/// Largest packet in bytes that is taken from a server; a larger one ends the connection. Memory follows what has arrived.
const PACKET_MAX: usize = 64 << 20;

/// DUP of a PUBLISH that is sent again [MQTT-3.3.1-1].
const DUP: u8 = 8;

/// A message to the server.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    pub topic: &'a str,
    pub body: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    /// A block of properties, encoded.
    pub properties: &'a [u8],
}

/// A message of the server. At QoS 1 and 2 it is the caller's to [`Session::acknowledge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    /// 0 at QoS 0.
    pub id: u16,
    /// Its block of properties, checked.
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Connected(Connack),
    Message(Message),
    Subscribed(Answer),
    Unsubscribed(Answer),
    /// A message of QoS 1 or 2 is acknowledged for good, or refused.
    Published {
        id: u16,
        refused: Option<Refused>,
        text: Option<String>,
    },
    Pong,
    /// All that was to be said is written.
    Written,
    Farewell(Farewell),
}

/// A message in flight to the server.
#[derive(Debug)]
struct Sent {
    id: u16,
    packet: Vec<u8>,
    /// PUBREC has come.
    released: bool,
}

/// One client across its connections.
#[derive(Debug)]
pub struct Session {
    version: Version,
    last_id: u16,
    /// In the order in which they were first sent (4.6).
    sent: VecDeque<Sent>,
    window: u16,
    /// QoS 2 messages of the server that wait for PUBREL; true: acknowledged.
    received: BTreeMap<u16, bool>,
    /// Ids of SUBSCRIBE and UNSUBSCRIBE that are not answered.
    asked: BTreeSet<u16>,
    packet_max: usize,
    input: Vec<u8>,
    used: usize,
    pub(super) output: Vec<u8>,
}

impl Session {
    pub fn new(version: Version, window: u16) -> Self {
        Self {
            version,
            last_id: 0,
            sent: VecDeque::new(),
            window,
            received: BTreeMap::new(),
            asked: BTreeSet::new(),
            packet_max: usize::MAX,
            input: Vec::new(),
            used: 0,
            output: Vec::new(),
        }
    }

    /// A new connection: says CONNECT.
    pub(super) fn begin(&mut self, options: &Options) {
        self.version = options.version;
        self.input.clear();
        self.used = 0;
        self.output.clear();
        self.asked.clear();
        let will = options.will.as_ref().map(|will| client::Will {
            topic: &will.topic,
            body: &will.body,
            qos: will.qos,
            retain: will.retain,
            properties: &will.properties,
        });
        let connect = Connect {
            version: options.version,
            clean: options.clean,
            keep_alive: options.keep_alive,
            client_id: &options.client_id,
            will,
            user: options.user.as_deref(),
            password: options.password.as_ref().map(super::Password::as_bytes),
            properties: &options.connect_properties,
        };
        client::connect(&mut self.output, &connect);
    }

    /// The server has let us in: what it has not acknowledged goes again (4.4). It has lost the session: from the start, not as a duplicate.
    pub(super) fn resume(&mut self, connack: &Connack, window: u16) {
        self.window = window.min(connack.receive_maximum);
        self.packet_max = connack.maximum_packet_size.map_or(usize::MAX, |max| max as usize);
        if !connack.session_present {
            self.received.clear();
        }
        for sent in &mut self.sent {
            sent.released &= connack.session_present;
            if sent.released {
                client::acknowledge(&mut self.output, self.version, kind::PUBREL, sent.id);
                continue;
            }
            let from = self.output.len();
            self.output.extend_from_slice(&sent.packet);
            if connack.session_present
                && let Some(first) = self.output.get_mut(from)
            {
                *first |= DUP;
            }
        }
    }

    pub fn subscribe<'a>(&mut self, filters: impl IntoIterator<Item = &'a str>, options: SubscribeOptions, properties: &[u8]) {
        let id = self.next_id();
        self.asked.insert(id);
        client::subscribe(&mut self.output, self.version, id, filters, options, properties);
    }

    pub fn unsubscribe<'a>(&mut self, filters: impl IntoIterator<Item = &'a str>) {
        let id = self.next_id();
        self.asked.insert(id);
        client::unsubscribe(&mut self.output, self.version, id, filters);
    }

    /// Whether another message of QoS 1 or 2 may be in flight.
    pub fn has_room(&self) -> bool {
        self.sent.len() < usize::from(self.window)
    }

    /// Whether all that was to be said is written.
    pub fn is_written(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether a whole packet waits to be told.
    pub fn has_more(&self) -> bool {
        !matches!(split(self.input.get(self.used..).unwrap_or_default(), PACKET_MAX), Ok(None))
    }

    /// Messages of QoS 1 and 2 that are not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.sent.len()
    }

    /// Sends a message; its packet id, 0 at QoS 0.
    ///
    /// # Errors
    /// It is larger than the server takes.
    pub fn publish(&mut self, message: &Publication<'_>) -> Result<u16, Error> {
        let id = if message.qos == QoS::AtMostOnce { 0 } else { self.next_id() };
        let mut packet = Vec::new();
        let Publication { topic, body, qos, retain, properties } = *message;
        client::publish(&mut packet, self.version, topic, Some(id).filter(|id| *id != 0), qos, retain, properties, body);
        if packet.len() > self.packet_max {
            return Err(Error::TooLarge { bytes: packet.len(), max: self.packet_max });
        }
        self.output.extend_from_slice(&packet);
        if id != 0 {
            self.sent.push_back(Sent { id, packet, released: false });
        }
        Ok(id)
    }

    /// The caller is done with a message of the server.
    pub fn acknowledge(&mut self, message: &Message) {
        match message.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => client::acknowledge(&mut self.output, self.version, kind::PUBACK, message.id),
            QoS::ExactlyOnce => {
                self.received.insert(message.id, true);
                client::acknowledge(&mut self.output, self.version, kind::PUBREC, message.id);
            }
        }
    }

    pub(super) fn ping(&mut self) {
        self.output.extend_from_slice(&client::PINGREQ);
    }

    pub(super) fn disconnect(&mut self, properties: &[u8]) {
        client::disconnect(&mut self.output, self.version, properties);
    }

    /// Bytes of the server.
    pub(super) fn input(&mut self, bytes: &[u8]) {
        self.input.drain(..self.used);
        self.used = 0;
        self.input.extend_from_slice(bytes);
    }

    /// The next thing that the server has said; `None`: no whole packet is there.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let input = self.input.get(self.used..).unwrap_or_default();
            let Some(frame) = split(input, PACKET_MAX)? else { return Ok(None) };
            let used = frame.raw.len();
            let version = self.version;
            let heard = match frame.kind() {
                kind::CONNACK => Heard::Event(Event::Connected(Connack::parse(&frame, version)?)),
                kind::PUBLISH => Heard::Message(message(&Delivery::parse(&frame, version)?)),
                kind::PINGRESP => Heard::Event(Event::Pong),
                kind::DISCONNECT => Heard::Event(Event::Farewell(Farewell::parse(&frame, version)?)),
                kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP | kind::SUBACK | kind::UNSUBACK => {
                    Heard::Answer(frame.kind(), Answer::parse(&frame, version)?)
                }
                _ => return Err(crate::mqtt::Error::Protocol("a packet that no server sends").into()),
            };
            self.used += used;
            let event = match heard {
                Heard::Event(event) => Some(event),
                Heard::Message(message) => self.receive(message),
                Heard::Answer(kind, answer) => self.answer(kind, answer),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// A QoS 2 message that came before is not told twice (4.3.3).
    fn receive(&mut self, message: Message) -> Option<Event> {
        if message.qos != QoS::ExactlyOnce {
            return Some(Event::Message(message));
        }
        match self.received.get(&message.id) {
            Some(true) => {
                client::acknowledge(&mut self.output, self.version, kind::PUBREC, message.id);
                None
            }
            Some(false) => None,
            None => {
                self.received.insert(message.id, false);
                Some(Event::Message(message))
            }
        }
    }

    fn answer(&mut self, kind: u8, answer: Answer) -> Option<Event> {
        let (id, refused) = (answer.id, answer.refused());
        let at = self.sent.iter().position(|sent| sent.id == id);
        match kind {
            kind::SUBACK => self.asked.remove(&id).then_some(Event::Subscribed(answer)),
            kind::UNSUBACK => self.asked.remove(&id).then_some(Event::Unsubscribed(answer)),
            kind::PUBREL => {
                self.received.remove(&id);
                client::acknowledge(&mut self.output, self.version, kind::PUBCOMP, id);
                None
            }
            kind::PUBREC if refused.is_none() => {
                if let Some(sent) = at.and_then(|at| self.sent.get_mut(at)) {
                    sent.released = true;
                }
                client::acknowledge(&mut self.output, self.version, kind::PUBREL, id);
                None
            }
            // PUBACK, PUBCOMP, or PUBREC that refuses.
            _ => {
                self.sent.remove(at?)?;
                // 0x92: it has seen the message and forgotten that it did.
                let refused = refused.filter(|_| kind != kind::PUBCOMP);
                Some(Event::Published { id, refused, text: answer.reason_string })
            }
        }
    }

    /// One that nothing in flight has.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = self.last_id;
            // At most a window and a few questions are out.
            if !self.asked.contains(&id) && self.sent.iter().all(|sent| sent.id != id) {
                return id;
            }
        }
    }
}

enum Heard {
    Event(Event),
    Message(Message),
    Answer(u8, Answer),
}

fn message(delivery: &Delivery<'_>) -> Message {
    Message {
        topic: delivery.topic.to_owned(),
        qos: delivery.qos,
        retain: delivery.retain,
        dup: delivery.dup,
        id: delivery.id,
        properties: delivery.properties.to_vec(),
        body: delivery.body.to_vec(),
    }
}
