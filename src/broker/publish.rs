//! A message is accepted (outbox.md 1, 2, 4): destinations, local delivery, retained, the id, the acknowledgement.

use bytes::Bytes;

use super::acks::AckKind;
use super::apply::{Step, VERSION, Work};
use super::conn::{End, Hold, StoredWill};
use super::destination::Destinations;
use super::flow::SLOW_AT;
use super::id::ConnId;
use super::letter::{Letter, Source};
use super::session::PUBLISH_QOS1;
use super::state::Broker;
use super::subscriptions::{Route, Sub};
use crate::model::{Entry, EntryId, Message, Mono, Now, Origin, QoS, UpstreamSet};
use crate::mqtt::Frame;
use crate::mqtt::packet::Publish;

/// Whether a message may be accepted now, and to which upstreams it will be owed.
enum Admit {
    Owed(UpstreamSet),
    Hold(Hold),
}

/// What a sender gets to know of the delivery of its message.
#[derive(Debug, Default)]
struct Delivery {
    /// A receiver is slow: until when its feeder is to wait.
    pause: Option<Mono>,
}

impl Broker {
    /// A client's PUBLISH.
    pub(super) fn publish(&mut self, id: ConnId, frame: &Frame<'_>, work: &mut Work) -> Result<Step, End> {
        let publish = Publish::parse(frame, VERSION)?;
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Qos2);
        }
        let route = self.subscriptions.route(publish.topic).map_err(crate::mqtt::Error::from)?;
        let Some(conn) = self.conns.get_mut(id) else { return Ok(Step::Done) };
        if route.closed && conn.restricted {
            tracing::debug!(peer = %conn.peer, topic = %route.topic, "publish to a closed topic dropped");
            self.acknowledge(id, &publish, None);
            return Ok(Step::Done);
        }
        let acknowledged = publish.qos == QoS::AtLeastOnce;
        let cost = Entry::OVERHEAD + publish.topic.len() + publish.body.len();
        let destinations = Destinations { upstreams: route.upstreams, sessions: acknowledged, retained: acknowledged && publish.retain };
        let owed = match self.admit(destinations, cost, acknowledged) {
            Admit::Hold(hold) => return Ok(Step::Hold(hold)),
            Admit::Owed(owed) => owed,
        };
        self.counters.received += 1;
        work.spend(route.receivers.len());
        let source = Source::Packet { raw: frame.is_minimal().then_some(frame.raw), body: publish.body };
        let mut letter = Letter::new(&route.topic, publish.qos, source, std::mem::take(&mut self.scratch));
        let delivery = self.deliver(&route, &mut letter);
        let given = self.keep(&mut letter, owed, publish.retain, acknowledged.then_some(id));
        self.scratch = letter.into_scratch();
        self.acknowledge(id, &publish, given);
        if let Some(conn) = self.conns.get_mut(id) {
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
            self.accept(&message, &mut work);
        }
    }

    /// Whether readings may be applied: where there are upstreams, only once ids can be given.
    pub(super) const fn takes_readings(&self) -> bool {
        self.owed.is_started() || !self.subscriptions.has_upstreams()
    }

    /// Publishes wills that wait; true if some are left.
    pub(super) fn publish_wills(&mut self, now: Now) -> bool {
        self.now = now;
        let mut work = Work::turn();
        while !work.is_done()
            && self.takes_readings()
            && let Some(will) = self.wills.pop_front()
        {
            let StoredWill { topic, body, qos, retain, restricted } = will;
            if !(restricted && super::access::is_closed(topic.as_str())) {
                self.accept(&Message::new(topic, body, qos, retain, Origin::Client), &mut work);
            }
        }
        !self.wills.is_empty() && self.takes_readings()
    }

    /// A message that nobody can be made to wait with: what upstreams would get of it is dropped where there is no room.
    fn accept(&mut self, message: &Message, work: &mut Work) {
        let Ok(route) = self.subscriptions.route(message.topic.as_bytes()) else { return };
        let mut upstreams = route.upstreams;
        if let Origin::Upstream(from) = message.origin {
            upstreams.remove(from);
        }
        let cost = Entry::OVERHEAD + message.topic.as_bytes().len() + message.body.bytes.len();
        let destinations = Destinations { upstreams, ..Destinations::default() };
        let owed = match self.admit(destinations, cost, false) {
            Admit::Owed(owed) => owed,
            Admit::Hold(_) => {
                self.dropped();
                UpstreamSet::EMPTY
            }
        };
        work.spend(route.receivers.len() + 1);
        let qos = message.qos.min(QoS::AtLeastOnce);
        let mut letter = Letter::new(&route.topic, qos, Source::Body(&message.body), std::mem::take(&mut self.scratch));
        self.deliver(&route, &mut letter);
        self.keep(&mut letter, owed, message.retain, None);
        self.scratch = letter.into_scratch();
    }

    /// outbox.md 11, 12. `refusable`: a client that can be made to wait for a full queue; for others the full queue's share is dropped.
    fn admit(&mut self, destinations: Destinations, cost: usize, refusable: bool) -> Admit {
        if !destinations.need_outbox() {
            return Admit::Owed(UpstreamSet::EMPTY);
        }
        if !self.owed.is_started() {
            return Admit::Hold(Hold::NotStarted);
        }
        let mut owed = destinations.upstreams;
        let full = UpstreamSet::from_bits(owed.bits() & self.owed.full.bits());
        if !full.is_empty() {
            if refusable {
                return Admit::Hold(Hold::Full(full));
            }
            full.iter().for_each(|upstream| owed.remove(upstream));
        }
        if !owed.is_empty() && !self.owed.has_room(cost) {
            return Admit::Hold(Hold::Unsecured);
        }
        if !full.is_empty() {
            self.dropped();
        }
        Admit::Owed(owed)
    }

    /// The retained store and the outbox get what they are to keep. The id's counter, if one was given.
    fn keep(&mut self, letter: &mut Letter<'_>, owed: UpstreamSet, retain: bool, waits: Option<ConnId>) -> Option<u64> {
        if retain && letter.is_empty() {
            self.retained.clear(letter.topic);
        } else if retain {
            let body = letter.kept_body(&self.budget);
            self.retained.set(letter.topic, body, letter.qos);
        }
        if owed.is_empty() {
            return None;
        }
        let entry = Entry {
            id: EntryId::ZERO,
            owed,
            due: Vec::new(),
            received: None,
            retained: false,
            topic: letter.topic.clone(),
            body: letter.kept_body(&self.budget),
            qos: letter.qos,
            retain,
            properties: Bytes::new(),
            expires: None,
            awaited: waits.is_some(),
            accepted: self.now.mono,
            accepted_wall: self.now.wall,
        };
        self.owed.give(entry, waits)
    }

    fn acknowledge(&mut self, id: ConnId, publish: &Publish<'_>, given: Option<u64>) {
        if publish.qos == QoS::AtMostOnce {
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let out = &mut conn.out;
        conn.acks.push(publish.id, AckKind::PubAck, given.map(|id| (id, id)), &self.owed, |packet| out.push(&packet));
    }

    fn deliver(&mut self, route: &Route, letter: &mut Letter<'_>) -> Delivery {
        let mut delivery = Delivery::default();
        for sub in &route.receivers {
            self.deliver_to(*sub, letter, &mut delivery);
        }
        delivery
    }

    fn deliver_to(&mut self, sub: Sub, letter: &mut Letter<'_>, delivery: &mut Delivery) {
        let (limits, window) = (self.queue_limits(), self.window());
        let Some(session) = self.sessions.get_mut(sub.session) else { return };
        let acknowledged = sub.qos.min(letter.qos) != QoS::AtMostOnce;
        let conn = session.conn.and_then(|id| Some((id, self.conns.get_mut(id)?)));
        let Some((id, conn)) = conn else {
            if acknowledged {
                let stored = letter.stored(&self.budget);
                self.counters.dropped_queue += session.queue.push(stored, PUBLISH_QOS1, limits, &self.budget);
            }
            return;
        };
        let over = self.budget.used() > self.limits.output_max;
        let mut keeps_up = conn.out.waiting() <= SLOW_AT && (!over || conn.out.waiting() == 0);
        if !keeps_up {
            let until = if over { self.slow.press(self.now.mono) } else { conn.slow.press(self.now.mono) };
            delivery.pause = delivery.pause.max(until);
            // While its feeders are held up, what each has sent before it is paused still goes in.
            keeps_up = until.is_some() && !over;
        }
        if !acknowledged {
            if keeps_up {
                letter.push_to(&mut conn.out, None, &self.budget);
            } else {
                self.counters.dropped_qos0 += 1;
                return;
            }
        } else {
            // What a session keeps to send again stays in memory until it is acknowledged, however fast its client reads.
            let keepable = session.clean || !over || (session.inflight.is_empty() && letter.is_small());
            let direct = keeps_up && keepable && session.queue.len() == 0;
            if let Some(packet_id) = if direct { session.inflight.take_id(window) } else { None } {
                letter.push_to(&mut conn.out, Some(packet_id), &self.budget);
                let message = (!session.clean).then(|| letter.stored(&self.budget));
                session.inflight.push(packet_id, PUBLISH_QOS1, message, &self.budget);
            } else {
                self.counters.dropped_queue += session.queue.push(letter.stored(&self.budget), PUBLISH_QOS1, limits, &self.budget);
                if session.queue.is_half_full(limits) {
                    delivery.pause = delivery.pause.max(conn.slow.press(self.now.mono));
                }
                return;
            }
        }
        self.counters.delivered += 1;
        if !conn.dirty {
            conn.dirty = true;
            self.mark(id);
        }
    }
}
