//! One connection as the broker's state knows it: no socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::acks::{Ack, Acks, Answers};
use super::alias::{AliasesIn, AliasesOut};
use super::auth::Authentication;
use super::door::{Arrival, Peer};
use super::end::End;
use super::flow::{Pace, SLOW_AT, Slow};
use super::id::{ConnId, SessionIndex};
use super::output::{Budget, Out};
use super::owed::Owed;
use crate::access::users::User;
use crate::model::{Mono, StoredWill, Subscription, Topic, TopicFilter, UpstreamSet};
use crate::mqtt::encode::ConnackProperties;
use crate::mqtt::packet::Publish;
use crate::mqtt::reason::Carrier;
use crate::mqtt::{self, Reason, Version, encode};

/// Why what a connection has sent is not applied now. A held connection is exempt from keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Ids cannot be given before the outbox has started.
    NotStarted,
    /// `unsecured_max` is reached.
    Unsecured,
    /// The queues of these upstreams have no room.
    Full(UpstreamSet),
    /// `receive_maximum` acknowledgements wait.
    Acks,
    /// A receiver of its messages is slow.
    Slow,
    /// It has published as much as it may in a second.
    Rate,
    /// It does not read our answers. Of all that hold a connection this alone is its own doing, so keep-alive goes on.
    Unread,
    /// What the id with this counter stands for is not committed.
    Commit(u64),
    /// Its password is not held against its hash yet.
    Password,
}

/// Retained messages that a new subscription is still to get.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) subscription: Subscription,
    /// The last topic that was looked at.
    pub(super) after: Option<Topic>,
    /// Messages with this serial or a higher one came after the subscription, and by it.
    pub(super) until: u64,
}

/// In the order of the subscriptions. Mostly there is none: then it takes one word.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "the box is the one word")]
pub(super) struct Replays(Option<Box<VecDeque<Replay>>>);

impl Replays {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn front(&self) -> Option<&Replay> {
        self.0.as_ref()?.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Replay> {
        self.0.as_mut()?.front_mut()
    }

    pub(super) fn pop_front(&mut self) {
        if let Some(all) = &mut self.0 {
            all.pop_front();
            self.shrink();
        }
    }

    /// In the place of an earlier one for the same filter.
    pub(super) fn push(&mut self, replay: Replay) {
        self.remove(&replay.subscription.filter);
        self.0.get_or_insert_default().push_back(replay);
    }

    pub(super) fn of_mut(&mut self, filter: &TopicFilter) -> Option<&mut Replay> {
        self.0.as_mut()?.iter_mut().find(|replay| replay.subscription.filter == *filter)
    }

    pub(super) fn remove(&mut self, filter: &TopicFilter) {
        if let Some(all) = &mut self.0 {
            all.retain(|replay| replay.subscription.filter != *filter);
            self.shrink();
        }
    }

    /// Its memory would outlive its only use.
    fn shrink(&mut self) {
        self.0.take_if(|all| all.is_empty());
    }
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: Peer,
    /// Index of the listener by which it came.
    pub(super) listener: u16,
    /// Who it is: what the door says, or what it has proven. `None`: nobody, or not known yet.
    pub(super) user: Option<Arc<str>>,
    /// By what line of the users file it has proven that.
    pub(super) login: Option<Arc<User>>,
    pub(super) opened: Mono,
    pub(super) seen: Mono,
    /// Longest silence in ms, 1.5 times what the client asked for; 0: any.
    pub(super) patience_ms: u32,
    pub(super) session: Option<SessionIndex>,
    pub(super) connected: bool,
    pub(super) version: Version,
    /// Another broker's bridge: RETAIN goes to it as published, and nothing that it sent comes back.
    pub(super) bridge: bool,
    /// Largest packet that the client takes, in bytes.
    pub(super) packet_max: u32,
    /// Whether reason strings and user properties may go to the client (request problem information).
    pub(super) explains: bool,
    pub(super) aliases_in: AliasesIn,
    pub(super) aliases_out: AliasesOut,
    pub(super) will: Option<Box<StoredWill>>,
    pub(super) out: Out,
    /// Bytes of `out` that are answers, or less than so many.
    pub(super) answered: usize,
    pub(super) dirty: bool,
    /// Enhanced authentication: the method of CONNECT, and how far it is.
    pub(super) auth: Option<Box<Authentication>>,
    /// QoS 1 and 2 messages that came on this connection and have not been answered with PUBACK or PUBCOMP.
    pub(super) unacknowledged: u16,
    pub(super) acks: Acks,
    pub(super) answers: Answers,
    pub(super) hold: Option<Hold>,
    /// Since when full upstreams have refused its publish.
    pub(super) refused_since: Option<Mono>,
    pub(super) end: Option<End>,
    pub(super) slow: Slow,
    /// How long slow receivers have held it up: each may for a tenth of the time, and so may all of them together.
    pub(super) held_up: Option<Box<Slow>>,
    pub(super) replays: Replays,
    /// What its publishes so far entitle it to, at `publish_rate`.
    pub(super) pace: Pace,
}

impl Conn {
    /// Whether nothing has come for longer than its keep-alive allows (5.0, 3.1.2.10).
    pub(super) fn is_silent(&self, now: Mono) -> bool {
        self.patience_ms > 0 && now.since(self.seen) > Duration::from_millis(self.patience_ms.into())
    }

    /// Tells a client of 5.0 why the connection ends, with no more than it takes [MQTT-3.14.2-3]: in DISCONNECT, or in CONNACK where it was still
    /// to prove who it is. Before that whoever finds the fault has said what is to be said [MQTT-3.14.0-1].
    pub(super) fn say_end(&mut self, end: End) {
        let Some(reason) = end.reason().filter(|_| self.version.is_5()) else { return };
        let text = self.explains.then(|| end.to_string());
        for text in [text.as_deref(), None] {
            let mut packet = Vec::new();
            if self.connected {
                let reason = if reason.may_be_in(Carrier::ServerDisconnect) { reason } else { Reason::NotAuthorized };
                encode::disconnect(&mut packet, reason, text, None);
            } else if self.auth.is_some() {
                let reason = if reason.may_be_in(Carrier::Connack) { reason } else { Reason::NotAuthorized };
                let properties = ConnackProperties { reason_string: text, ..ConnackProperties::default() };
                encode::connack(&mut packet, self.version, false, reason, &properties);
            }
            if packet.len() <= self.packet_max as usize {
                return self.out.push(&packet);
            }
        }
    }

    /// CONNECT has come, CONNACK waits for the client's proof.
    pub(super) fn is_authenticating(&self) -> bool {
        !self.connected && self.auth.as_ref().is_some_and(|auth| auth.has_connect())
    }

    /// Sends the answer to a packet. One that ends a QoS 1 or 2 message of the client gives it back a place in our receive maximum
    /// (5.0, 4.9).
    pub(super) fn answer(&mut self, packet: &[u8]) {
        give_back(&mut self.unacknowledged, packet);
        self.answered += packet.len();
        self.out.push(packet);
    }

    /// Whether as many answers as may, `max`, wait for a commit or for their turn: nothing more is parsed then. A client of 5.0 is held to the
    /// receive maximum for its messages and may say all else at it; one that releases them before it has their PUBREC gets beyond it.
    pub(super) fn has_too_many_waiting(&self, max: usize) -> bool {
        let (answers, acks) = (self.answers.len(), self.acks.len());
        if self.version.is_5() { answers >= max || acks > max } else { answers + acks >= max }
    }

    /// `n` bytes of the output are written. True if the connection was held until now because its answers were not read. `crowded`: all outputs
    /// together have no room.
    pub(super) fn written(&mut self, n: usize, now: Mono, crowded: bool) -> bool {
        self.out.advance(n);
        self.answered = self.answered.min(self.out.waiting());
        if self.hold != Some(Hold::Unread) {
            return false;
        }
        self.seen = now;
        if self.answered > answers_max(crowded) / 2 {
            return false;
        }
        self.hold = None;
        true
    }

    /// Whether more answers wait to be read than may: nothing more is parsed then.
    pub(super) const fn is_unread(&self, crowded: bool) -> bool {
        self.answered > answers_max(crowded)
    }

    /// Takes note of the acknowledgement that one PUBLISH is to have.
    pub(super) fn acknowledge(&mut self, ack: Ack, owed: &Owed) {
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.acks.push(ack);
        self.release_answers(owed);
    }

    /// Sends what is secured by now of all that waits to be answered.
    pub(super) fn release_answers(&mut self, owed: &Owed) {
        let Self { acks, answers, out, unacknowledged, answered, .. } = self;
        let mut send = |packet: &[u8]| {
            give_back(unacknowledged, packet);
            *answered += packet.len();
            out.push(packet);
        };
        acks.release(owed, |packet| send(packet.as_bytes()));
        answers.release(owed, send);
    }

    /// The topic that the packet names by an alias, of which there are `max`; `None`: the packet's own. A new alias is taken note of.
    pub(super) fn topic_of(&mut self, publish: &Publish<'_>, max: u16) -> Result<Option<Topic>, End> {
        let Some(alias) = publish.alias else { return Ok(None) };
        if alias == 0 || alias > max {
            return Err(End::Alias);
        }
        if publish.topic.is_empty() {
            let unknown = mqtt::Error::Protocol("a topic alias that was not said [3.3.2.3.4]");
            return self.aliases_in.get(alias).cloned().map(Some).ok_or(unknown.into());
        }
        let topic = Topic::from_bytes(bytes::Bytes::copy_from_slice(publish.topic)).map_err(mqtt::Error::from)?;
        self.aliases_in.set(alias, topic);
        Ok(None)
    }
}

/// Bytes of answers that may wait for a client to read them; at it nothing more of what it says is parsed. As much as may wait of what others
/// send it, so that this alone never reaches it; little where all outputs together are beyond their limit.
const fn answers_max(crowded: bool) -> usize {
    if crowded { 4 << 10 } else { SLOW_AT }
}

/// PUBACK, PUBCOMP, or PUBREC with an error.
fn give_back(unacknowledged: &mut u16, packet: &[u8]) {
    if let [0x40 | 0x70, ..] | [0x50, 3, _, _, 0x80..=0xff] = packet {
        *unacknowledged = unacknowledged.saturating_sub(1);
    }
}

/// All connections, by id. Each has its own place in memory: a table that holds them is copied when it grows, and the room that it leaves stays
/// unused.
#[derive(Debug, Default)]
pub(super) struct Conns {
    slab: slab::Slab<(u32, Box<Conn>)>,
    generation: u32,
}

impl Conns {
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn open(&mut self, arrival: Arrival, now: Mono, budget: &Budget) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let conn = Conn {
            peer: arrival.peer,
            listener: arrival.listener,
            user: arrival.user,
            login: None,
            opened: now,
            seen: now,
            patience_ms: 0,
            session: None,
            connected: false,
            version: Version::default(),
            bridge: false,
            packet_max: u32::MAX,
            explains: true,
            aliases_in: AliasesIn::default(),
            aliases_out: AliasesOut::default(),
            will: None,
            out: Out::new(budget),
            answered: 0,
            dirty: false,
            auth: None,
            unacknowledged: 0,
            acks: Acks::default(),
            answers: Answers::default(),
            hold: None,
            refused_since: None,
            end: None,
            slow: Slow::default(),
            held_up: None,
            replays: Replays::default(),
            pace: Pace::default(),
        };
        let index = u32::try_from(self.slab.insert((self.generation, Box::new(conn)))).unwrap_or(u32::MAX);
        ConnId { index, generation: self.generation }
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.slab.get(id.index as usize).filter(|(generation, _)| *generation == id.generation).map(|(_, conn)| &**conn)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slab.get_mut(id.index as usize).filter(|(generation, _)| *generation == id.generation).map(|(_, conn)| &mut **conn)
    }

    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.slab.remove(id.index as usize);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        let id = |index, generation| ConnId { index: u32::try_from(index).unwrap_or(u32::MAX), generation };
        self.slab.iter().map(move |(index, (generation, conn))| (id(index, *generation), &**conn))
    }
}
