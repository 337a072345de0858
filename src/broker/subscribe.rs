//! SUBSCRIBE, UNSUBSCRIBE, and the replay of retained messages to a new subscription.

use super::access;
use super::apply::Work;
use super::conn::Replay;
use super::flow::SLOW_AT;
use super::id::ConnId;
use super::inflight::{Sent, Stage};
use super::letter::{self, Letter};
use super::output::Stored;
use super::state::Broker;
use super::subscriptions::{LEVELS_MAX, Sub};
use crate::model::{EntryId, QoS, RetainedMessage, StateChange, Subscription};
use crate::mqtt::packet::{Subscribe, Unsubscribe};
use crate::mqtt::{Reason, encode};

/// Filters of one session; a further one is refused.
const FILTERS_MAX: usize = 1_024;

/// What a look at one retained topic costs of a turn, in deliveries. Measured: half a microsecond; ten clients with wildcards over 60,000 topics
/// held up others' pings for 670 ms when eight looks cost one.
const DELIVERIES_A_LOOK: usize = 4;

/// First byte of a PUBLISH with RETAIN at QoS 0: it answers a new subscription [MQTT-3.3.1-8].
const RETAINED: u8 = 0x31;

impl Broker {
    pub(super) fn subscribe(&mut self, id: ConnId, subscribe: Subscribe, work: &mut Work) {
        work.spend(subscribe.filters.len());
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut last = 0;
        for (filter, options) in subscribe.filters {
            let added = match filter {
                Ok(filter) => self.add_filter(id, Subscription { filter, options, identifier: subscribe.identifier }),
                Err(_) => Err(Reason::TopicFilterInvalid),
            };
            codes.push(added.map_or_else(|refused| refused, |_| Reason::granted(options.qos)));
            last = added.unwrap_or(0).max(last);
        }
        let version = self.conns.get(id).map(|c| c.version).unwrap_or_default();
        let mut packet = Vec::with_capacity(codes.len() + 8);
        encode::suback(&mut packet, version, subscribe.id, &codes);
        self.answer(id, last, packet);
        self.replay(id, work);
    }

    /// Sends `packet` once what `counter` stands for is committed; 0: now.
    fn answer(&mut self, id: ConnId, counter: u64, packet: Vec<u8>) {
        if counter == 0 { self.send(id, &packet) } else { self.answer_when(id, counter, packet) }
    }

    /// Adds or replaces one subscription and orders its retained messages [MQTT-3.8.4-3]. The counter of its row, 0: none.
    fn add_filter(&mut self, id: ConnId, subscription: Subscription) -> Result<u64, Reason> {
        let Some(conn) = self.conns.get_mut(id) else { return Ok(0) };
        let Some((index, session)) = conn.session.and_then(|s| Some((s, self.sessions.get_mut(s)?))) else { return Ok(0) };
        let restricted = conn.restricted;
        let filter = &subscription.filter;
        if restricted && access::is_closed(filter.as_str()) {
            tracing::debug!(client = ?session.client, filter = ?filter, "subscription refused");
            return Err(Reason::NotAuthorized);
        }
        let count = session.filters.len();
        match session.filters.iter_mut().find(|old| old.filter == *filter) {
            Some(old) => {
                *old = subscription.clone();
                conn.replays.retain(|replay| replay.subscription.filter != *filter);
            }
            None if count >= FILTERS_MAX || filter.as_str().split('/').count() > LEVELS_MAX || !self.subscriptions.has_room(filter) => {
                tracing::debug!(client = ?session.client, filters = count, "no room for another subscription");
                return Err(Reason::QuotaExceeded);
            }
            None => session.filters.push(subscription.clone()),
        }
        self.subscriptions.insert(filter, Sub::new(index, &subscription, restricted));
        session.restricted = restricted;
        conn.replays.push_back(Replay { subscription: subscription.clone(), after: None });
        let Some(session) = session.durable else { return Ok(0) };
        Ok(self.change(StateChange::Subscribed { session, subscription }, Some(id)))
    }

    pub(super) fn unsubscribe(&mut self, id: ConnId, unsubscribe: &Unsubscribe, work: &mut Work) {
        work.spend(unsubscribe.filters.len());
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        let mut last = 0;
        for filter in &unsubscribe.filters {
            let Ok(filter) = filter else {
                codes.push(Reason::TopicFilterInvalid);
                continue;
            };
            let Some((conn, session)) = self.both_mut(id) else { return };
            let Some(index) = conn.session else { return };
            let before = session.filters.len();
            session.filters.retain(|old| old.filter != *filter);
            conn.replays.retain(|replay| replay.subscription.filter != *filter);
            let (removed, durable) = (session.filters.len() < before, session.durable);
            codes.push(if removed { Reason::Success } else { Reason::NoSubscriptionExisted });
            if removed {
                self.subscriptions.remove(filter, index);
                if let Some(session) = durable {
                    last = self.change(StateChange::Unsubscribed { session, filter: filter.clone() }, Some(id));
                }
            }
        }
        let version = self.conns.get(id).map(|c| c.version).unwrap_or_default();
        let mut packet = Vec::new();
        encode::unsuback(&mut packet, version, unsubscribe.id, &codes);
        self.answer(id, last, packet);
    }

    /// Keeps a message as its topic's last, or takes that away [MQTT-3.3.1-10]. `durable`: its entry tells the store.
    pub(super) fn retain(&mut self, letter: &mut Letter<'_>, _durable: bool) {
        if letter.is_empty() {
            self.retained.clear(letter.topic);
            return;
        }
        let body = letter.kept_body(&self.budget);
        let properties = bytes::Bytes::copy_from_slice(letter.properties);
        let (topic, qos, expires) = (letter.topic.clone(), letter.qos, letter.expires);
        self.retained.set(RetainedMessage { topic, body, qos, properties, expires });
    }

    /// Sends retained messages to new subscriptions while the turn's budget, the connection's output and its window have room. What is left
    /// goes on when its output or window has room again.
    pub(super) fn replay(&mut self, id: ConnId, work: &mut Work) {
        while !work.is_done() {
            let Some(conn) = self.conns.get_mut(id) else { return };
            let Some(session) = conn.session.and_then(|s| self.sessions.get_mut(s)) else { return };
            let Some(replay) = conn.replays.front_mut() else { return };
            let Some(retained) = self.retained.next(&replay.subscription.filter, replay.after.as_ref()) else {
                conn.replays.pop_front();
                continue;
            };
            work.spend(DELIVERIES_A_LOOK);
            let topic = retained.topic.clone();
            let closed = conn.restricted && access::is_closed(topic.as_str());
            if !closed && replay.subscription.filter.matches(topic.as_str()) {
                if conn.out.waiting() > SLOW_AT || self.budget.used() > self.limits.output_max || !session.queue.is_empty() {
                    return;
                }
                let retained = retained.clone();
                if !self.push_retained(id, &retained) {
                    return;
                }
                work.spend(1);
            }
            if let Some(replay) = self.conns.get_mut(id).and_then(|conn| conn.replays.front_mut()) {
                replay.after = Some(topic);
            }
        }
    }

    /// False when the window is full.
    fn push_retained(&mut self, id: ConnId, retained: &RetainedMessage) -> bool {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(id) else { return true };
        let Some(session) = conn.session.and_then(|s| self.sessions.get_mut(s)) else { return true };
        let Some(replay) = conn.replays.front() else { return true };
        let qos = replay.subscription.options.qos.min(retained.qos);
        let identifiers = replay.subscription.identifier.map(|n| [n].into());
        let window = self.limits.window(session);
        let packet_id = if qos == QoS::AtMostOnce { None } else { session.inflight.take_id(window) };
        if packet_id.is_none() && qos != QoS::AtMostOnce {
            return false;
        }
        let (topic, properties) = (retained.topic.clone(), retained.properties.clone());
        let stored = Stored::new(topic, letter::text(&retained.body), properties, retained.expires, &self.budget);
        let first = RETAINED | (qos as u8) << 1;
        let fits = conn.push_message(&stored, first, packet_id, identifiers.as_ref(), now);
        self.counters.delivered += u64::from(fits);
        if let Some(packet_id) = packet_id.filter(|_| fits) {
            let message = (!session.is_brief()).then_some(stored);
            let stage = Stage::of(qos);
            let sent = Sent { packet_id, stage, first, written: true, wait: 0, entry: EntryId::ZERO, message, identifiers, group: None };
            session.inflight.push(sent, &self.budget);
        }
        true
    }
}
