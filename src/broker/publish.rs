//! A message is accepted (outbox.md 1, 2, 4): destinations, local delivery, retained, the id, the acknowledgement.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::acks::{Ack, AckKind};
use super::alias::TOPIC_SHORT;
use super::apply::{Step, Work};
use super::conn::Hold;
use super::deliver::{Deferred, Delivery};
use super::destination::Destinations;
use super::end::End;
use super::id::{ConnId, SessionIndex};
use super::letter::{Letter, Raw, Source};
use super::limit::{Limit, Who};
use super::replay::Told;
use super::state::Broker;
use super::subscriptions::Route;
use crate::access::rights::UPSTREAM;
use crate::model::{
    Entry, EntryId, Identity, Message, Now, Origin, Publisher, QoS, SessionId, StateChange, TopicError, UpstreamId, UpstreamSet,
};
use crate::mqtt::packet::Publish;
use crate::mqtt::{Forwarded, Frame, Reason, Version};

/// Whether a message may be accepted now, and to which upstreams it will be owed.
enum Admit {
    Owed(UpstreamSet),
    Hold(Hold),
    /// 5.0: refused, the publisher is told so.
    Refuse(Reason),
}

/// What of a message has to be kept, beside what sessions are owed.
#[derive(Debug)]
struct Keep {
    owed: UpstreamSet,
    /// The publisher's packet id outlives its connection.
    received: Option<(SessionId, u16)>,
    /// The retained message has to be durable.
    retained: bool,
    /// Whose acknowledgement waits.
    waits: Option<ConnId>,
    /// Who published it, if it is retained.
    source: Publisher,
}

/// A client's PUBLISH and who sent it.
#[derive(Clone, Copy)]
struct From {
    conn: ConnId,
    session: SessionIndex,
    version: Version,
    durable: Option<SessionId>,
}

impl Broker {
    /// A client's PUBLISH.
    pub(super) fn publish(&mut self, id: ConnId, frame: &Frame<'_>, work: &mut Work) -> Result<Step, End> {
        let Some(conn) = self.conns.get(id) else { return Ok(Step::Done) };
        let version = conn.version;
        let publish = Publish::parse(frame, version)?;
        let Some(session) = conn.session else { return Ok(Step::Done) };
        if version.is_5() && publish.qos != QoS::AtMostOnce && conn.unacknowledged >= self.limits.receive_maximum {
            return Err(End::ReceiveMaximum);
        }
        let rate = self.limits_of(id).publish_rate;
        if rate > 0
            && let Some(until) = self.conns.get_mut(id).and_then(|conn| conn.pace.step(rate, self.now.mono))
        {
            self.reached(Limit::PublishRate, Who::Conn(id));
            self.resume_at(id, until);
            return Ok(Step::Hold(Hold::Rate));
        }
        let durable = self.sessions.get(session).and_then(|s| s.durable);
        let from = From { conn: id, session, version, durable };
        if let Some(limit) = self.limits.of_topic(publish.topic) {
            return self.refuse_topic(from, &publish, limit);
        }
        let Some(conn) = self.conns.get_mut(id) else { return Ok(Step::Done) };
        let known = conn.topic_of(&publish, self.limits.topic_aliases_max)?;
        if publish.alias.is_some() && publish.topic.len() > TOPIC_SHORT {
            // Each is asked how much it has.
            work.spend(self.conns.len());
            let together: usize = self.conns.iter().map(|(_, conn)| conn.aliases_in.bytes()).sum();
            if together > self.limits.topic_aliases_bytes {
                return Err(End::Limit(Limit::TopicAliasesBytes));
            }
        }
        let name = known.as_ref().map_or(publish.topic, |topic| topic.as_bytes());
        let route = self.route(name, work).map_err(crate::mqtt::Error::from)?;
        if publish.qos == QoS::ExactlyOnce {
            if let Some(counter) = self.sessions.get(session).and_then(|s| s.received.get(publish.id)) {
                // It came before: it is acknowledged again, not delivered again [MQTT-4.3.3-11].
                let in_use = version.is_5() && !publish.dup;
                let reason = if in_use { Reason::PacketIdInUse } else { Reason::Success };
                // Perhaps by an earlier connection, while its commit is still under way.
                self.owed.wake_instead(counter, id);
                self.acknowledge(from, &publish, reason, counter);
                return Ok(Step::Done);
            }
            self.check_received(session, work)?;
            if let Some(counter) = self.sessions.get(session).map(|s| s.ceased).filter(|ceased| !self.owed.is_secured(*ceased, *ceased)) {
                // What it sent while it was in the store may still wait for its packet id, and is not to be overtaken.
                self.owed.wake_instead(counter, id);
                return Ok(Step::Hold(Hold::Commit(counter)));
            }
        }
        if let Some(reason) = self.refuses(from, &route, &publish) {
            self.acknowledge(from, &publish, reason, 0);
            return Ok(Step::Done);
        }
        if let Some(limit) = self.cannot_retain(&route, &publish, version) {
            self.reached(limit, Who::Conn(id));
            self.counters.refused_publishes += 1;
            self.acknowledge(from, &publish, Reason::QuotaExceeded, 0);
            return Ok(Step::Done);
        }
        self.take_publish(from, &publish, frame, &route, work)
    }

    /// Where `name` goes; what the search has cost counts as deliveries.
    pub(super) fn route(&mut self, name: &[u8], work: &mut Work) -> Result<Rc<Route>, TopicError> {
        let Self { subscriptions, sessions, access, doors, .. } = self;
        let may = |index, topic: &str, closed| sessions.get(index).is_some_and(|s| access.may_receive(s, doors, topic, closed));
        let route = subscriptions.route(name, may);
        work.spend(self.subscriptions.take_looked_at());
        route
    }

    /// A topic beyond a limit. Where there is no answer that says so, the connection ends: a message that was acknowledged is kept.
    fn refuse_topic(&mut self, from: From, publish: &Publish<'_>, limit: Limit) -> Result<Step, End> {
        if !from.version.is_5() || publish.qos == QoS::AtMostOnce {
            return Err(End::Limit(limit));
        }
        self.reached(limit, Who::Conn(from.conn));
        self.counters.refused_publishes += 1;
        self.acknowledge(from, publish, Reason::TopicNameInvalid, 0);
        Ok(Step::Done)
    }

    /// The limit for which a message could not be retained, where its publisher can be told so: it is then not taken at all. Others' are taken, and
    /// go to who is there.
    fn cannot_retain(&self, route: &Route, publish: &Publish<'_>, version: Version) -> Option<Limit> {
        if !publish.retain || !version.is_5() || publish.qos == QoS::AtMostOnce || publish.body.is_empty() {
            return None;
        }
        let bytes = route.topic.as_bytes().len() + publish.properties.len() + publish.body.len();
        self.retained.limit_for(&route.topic, bytes)
    }

    /// Whether the client may not publish this.
    fn refuses(&mut self, from: From, route: &Route, publish: &Publish<'_>) -> Option<Reason> {
        if self.may_publish_now(from.session, route, &publish.properties) {
            return None;
        }
        self.counters.forbidden += 1;
        let conn = self.conns.get(from.conn)?;
        tracing::debug!(peer = %conn.peer, topic = ?route.topic.as_str(), qos = publish.qos as u8, "publish to a closed topic dropped");
        Some(Reason::NotAuthorized)
    }

    fn take_publish(
        &mut self,
        from: From,
        publish: &Publish<'_>,
        frame: &Frame<'_>,
        route: &Rc<Route>,
        work: &mut Work,
    ) -> Result<Step, End> {
        let acknowledged = publish.qos != QoS::AtMostOnce;
        let received = from.durable.filter(|_| publish.qos == QoS::ExactlyOnce).map(|session| (session, publish.id));
        let retained = acknowledged && publish.retain;
        let sessions = self.has_durable_receiver(route, publish.qos);
        let destinations = Destinations { upstreams: route.upstreams, sessions, retained, packet_id: received.is_some() };
        let cost = Entry::OVERHEAD + publish.topic.len() + publish.properties.len() + publish.body.len();
        let owed = match self.admit(destinations, cost, acknowledged, from.version) {
            Admit::Hold(hold) => return Ok(Step::Hold(hold)),
            Admit::Refuse(reason) => {
                self.counters.refused_publishes += 1;
                self.acknowledge(from, publish, reason, 0);
                return Ok(Step::Done);
            }
            Admit::Owed(owed) => owed,
        };
        self.counters.received += 1;
        self.traffic.publish_bytes_received += publish.body.len() as u64;
        work.spend(route.receivers.len() + route.shared.len());
        let mut properties = std::mem::take(&mut self.properties);
        properties.clear();
        publish.properties.copy_to(&mut properties);
        let raw = (publish.is_plain(frame)).then_some(Raw { version: from.version, bytes: frame.raw });
        let source = Source::Packet { raw, body: publish.body };
        let expires = publish.expiry.map(|seconds| self.now.mono + Duration::from_secs(seconds.into()));
        let mut letter = Letter::new(&route.topic, publish.qos, publish.retain, source, std::mem::take(&mut self.scratch));
        letter = letter.with(&properties, expires);
        let mut delivery = Delivery { entry: self.owed.next_id(), gated: received.is_some(), ..Delivery::of(Some(from.session)) };
        self.deliver(route, &mut letter, &mut delivery);
        let source = if publish.retain { self.source(from.session) } else { Publisher::Gateway };
        let keep = Keep { owed, received, retained, waits: acknowledged.then_some(from.conn), source };
        let counter = self.keep(&mut letter, keep, &mut delivery);
        if delivery.gated {
            let deferred = Deferred {
                route: Rc::clone(route),
                stored: letter.stored(&self.budget),
                qos: publish.qos,
                retain: publish.retain,
                publisher: Some(from.session),
                before: self.serial + 1,
                chosen: if route.shared.is_empty() { Vec::new() } else { self.chosen.clone() },
            };
            self.deferred.insert(counter, deferred);
        }
        self.scratch = letter.into_scratch();
        self.properties = properties;
        let nobody = route.receivers.is_empty() && route.shared.is_empty() && counter == 0 && !publish.retain;
        let reason = if nobody { Reason::NoMatchingSubscribers } else { Reason::Success };
        self.acknowledge(from, publish, reason, counter);
        if let Some(conn) = self.conns.get_mut(from.conn) {
            conn.refused_since = None;
        }
        Ok(delivery.pause.map_or(Step::Done, Step::Pause))
    }

    /// Readings, oldest first, with a delivery budget of their own; what is left in `messages` is for the next turn.
    pub(super) fn inject(&mut self, messages: &mut std::collections::VecDeque<Message>, now: Now) {
        self.now = now;
        let mut work = Work::turn();
        while !work.is_done()
            && let Some(message) = messages.pop_front()
        {
            self.counters.injected += 1;
            match message.origin {
                Origin::Upstream(from) => self.accept_from_upstream(&message, from, &mut work),
                _ => self.accept(&message, None, &Publisher::Gateway, &mut work),
            }
        }
    }

    /// What comes down acts with the upstream's rights, never with the gateway's.
    fn accept_from_upstream(&mut self, message: &Message, from: UpstreamId, work: &mut Work) {
        let (rights, properties) = (self.upstream_rights(from.0), Forwarded::from(&message.properties));
        let may = |topic: &str| self.may_publish(&rights, topic);
        if !may(message.topic.as_str()) || !properties.response_topic().is_none_or(may) {
            self.counters.forbidden += 1;
            work.spend(1);
            tracing::debug!(upstream = self.name_of(from.0), topic = ?message.topic.as_str(), "message of an upstream without the right dropped");
            return;
        }
        let user = format!("{UPSTREAM}{}", self.name_of(from.0)).into();
        let identity = Identity { user: Some(user), client: "".into(), listener: "".into() };
        let source = if message.retain { self.known_source(Publisher::Client(Arc::new(identity))) } else { Publisher::Gateway };
        self.accept(message, None, &source, work);
    }

    /// Whether readings may be applied: where there are upstreams or sessions in the store, only once ids can be given.
    pub(super) const fn takes_readings(&self) -> bool {
        self.owed.is_started()
    }

    /// A message that nobody can be made to wait with: what upstreams would get of it is dropped where there is no room. `publisher`: the session
    /// whose own it is; `by`: who it comes from, where it is retained.
    pub(super) fn accept(&mut self, message: &Message, publisher: Option<SessionIndex>, by: &Publisher, work: &mut Work) {
        let Ok(route) = self.route(message.topic.as_bytes(), work) else { return };
        let mut upstreams = route.upstreams;
        if let Origin::Upstream(from) = message.origin {
            upstreams.remove(from);
        }
        let sessions = self.has_durable_receiver(&route, message.qos);
        let retained = message.retain && message.qos != QoS::AtMostOnce && message.origin != Origin::Bus;
        let cost = Entry::OVERHEAD + message.topic.as_bytes().len() + message.properties.len() + message.body.bytes.len();
        let destinations = Destinations { upstreams, sessions, retained, packet_id: false };
        let owed = match self.admit(destinations, cost, false, Version::V311) {
            Admit::Owed(owed) => owed,
            Admit::Hold(_) | Admit::Refuse(_) => {
                self.dropped();
                UpstreamSet::EMPTY
            }
        };
        work.spend(route.receivers.len() + route.shared.len() + 1);
        let source = Source::Body(&message.body);
        let mut letter = Letter::new(&route.topic, message.qos, message.retain, source, std::mem::take(&mut self.scratch));
        letter = letter.with(&message.properties, message.expiry.map(|seconds| self.now.mono + Duration::from_secs(seconds.into())));
        let mut delivery = Delivery { entry: self.owed.next_id(), ..Delivery::of(publisher) };
        self.deliver(&route, &mut letter, &mut delivery);
        let keep = Keep { owed, received: None, retained, waits: None, source: by.clone() };
        self.keep(&mut letter, keep, &mut delivery);
        self.scratch = letter.into_scratch();
    }

    /// outbox.md 11, 12. `refusable`: a client that can be made to wait for a full queue; for others the full queue's share is dropped.
    fn admit(&mut self, destinations: Destinations, cost: usize, refusable: bool, version: Version) -> Admit {
        if !destinations.need_outbox() {
            return Admit::Owed(UpstreamSet::EMPTY);
        }
        if !self.owed.is_started() {
            return Admit::Hold(Hold::NotStarted);
        }
        let mut owed = destinations.upstreams;
        let full = UpstreamSet::from_bits(owed.bits() & self.owed.full.bits());
        if !full.is_empty() {
            if refusable && version.is_5() {
                return Admit::Refuse(Reason::QuotaExceeded);
            }
            if refusable {
                return Admit::Hold(Hold::Full(full));
            }
            full.iter().for_each(|upstream| owed.remove(upstream));
        }
        if (!owed.is_empty() || destinations.sessions || destinations.retained || destinations.packet_id) && !self.owed.has_room(cost) {
            return Admit::Hold(Hold::Unsecured);
        }
        if !full.is_empty() {
            self.dropped();
        }
        Admit::Owed(owed)
    }

    /// The retained store and the outbox get what they are to keep. The id's counter, if one was given; 0: none.
    fn keep(&mut self, letter: &mut Letter<'_>, keep: Keep, delivery: &mut Delivery) -> u64 {
        let publisher = delivery.publisher.map_or(Who::Nobody, Who::Session);
        let told = if letter.retain { self.retain(letter, keep.retained, &keep.source, publisher) } else { Told::default() };
        let retained = told.by_entry;
        self.counters.owed += u64::from(!keep.owed.is_empty());
        let due = std::mem::take(&mut delivery.due);
        let counter = if !keep.owed.is_empty() || !due.is_empty() || retained {
            let entry = Entry {
                id: EntryId::ZERO,
                owed: keep.owed,
                due,
                received: keep.received,
                retained,
                source: keep.source,
                topic: letter.topic.clone(),
                body: letter.kept_body(&self.budget),
                qos: letter.qos,
                retain: letter.retain,
                properties: Bytes::copy_from_slice(letter.properties),
                expires: letter.expires,
                awaited: keep.waits.is_some(),
                accepted: self.now.mono,
                accepted_wall: self.now.wall,
            };
            self.owed.give(entry, keep.waits)
        } else if let Some((session, packet_id)) = keep.received {
            let held = letter.kept_len();
            self.put_change(StateChange::Received { session, packet_id }, true, held, keep.waits)
        } else {
            0
        };
        if told.gone {
            // After the entry: its receivers know it by the id that was next.
            self.change(StateChange::RetainedGone(letter.topic.clone()), None);
        }
        for done in delivery.dones.drain(..) {
            self.owed.done(done);
        }
        counter
    }

    /// `counter`: what has to be secured first; 0: nothing.
    fn acknowledge(&mut self, from: From, publish: &Publish<'_>, reason: Reason, counter: u64) {
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        if kind == AckKind::PubRec
            && !reason.is_error()
            && let Some(session) = self.sessions.get_mut(from.session)
        {
            session.received.insert(publish.id, counter);
        }
        let (first, last) = if counter == 0 { (1, 0) } else { (counter, counter) };
        let Some(conn) = self.conns.get_mut(from.conn) else { return };
        conn.acknowledge(Ack { packet_id: publish.id, kind, version: from.version, reason, first, last }, &self.owed);
    }
}
