//! SUBSCRIBE and UNSUBSCRIBE.

use super::apply::Work;
use super::conn::Replay;
use super::end::End;
use super::id::ConnId;
use super::limit::{Limit, Who};
use super::state::Broker;
use super::subscriptions::Sub;
use crate::model::{RetainHandling, StateChange, Subscription, TopicFilter};
use crate::mqtt::packet::{Shared, Subscribe, Unsubscribe};
use crate::mqtt::{Reason, encode};

/// Filters of a session that are compared with one of a packet in the time of one delivery.
const FILTERS_A_DELIVERY: usize = 16;

impl Broker {
    pub(super) fn subscribe(&mut self, id: ConnId, subscribe: Subscribe, work: &mut Work) -> Result<(), End> {
        self.check_answer(id, subscribe.filters.len())?;
        self.spend_on_filters(id, subscribe.filters.len(), work);
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut last = 0;
        for (filter, options) in subscribe.filters {
            let added = match filter {
                Ok(filter) if !self.grants(id, &filter) => Err(Reason::NotAuthorized),
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
        Ok(())
    }

    /// Each filter by itself. One that is none is for others to refuse.
    fn grants(&mut self, id: ConnId, filter: &TopicFilter) -> bool {
        let Some(session) = self.conns.get(id).and_then(|conn| self.sessions.get(conn.session?)) else { return true };
        if Shared::parse(filter.as_str()).is_err() || self.may_subscribe(session, filter.as_str()) {
            return true;
        }
        tracing::debug!(client = ?session.client, filter = ?filter, "subscription refused");
        self.counters.forbidden += 1;
        false
    }

    /// Each filter of a packet is looked for among those that the session has by then.
    fn spend_on_filters(&self, id: ConnId, filters: usize, work: &mut Work) {
        let session = self.conns.get(id).and_then(|conn| self.sessions.get(conn.session?));
        let known = session.map_or(0, |session| (session.filters.len() + filters).min(self.limits.subscriptions_max));
        work.spend(filters * (1 + known / FILTERS_A_DELIVERY));
    }

    /// Whether the client takes the answer to so many filters [MQTT-3.1.2-24].
    fn check_answer(&self, id: ConnId, filters: usize) -> Result<(), End> {
        let fits = self.conns.get(id).is_some_and(|conn| encode::answer_len(conn.version, filters) <= conn.packet_max as usize);
        if fits { Ok(()) } else { Err(End::SmallPackets) }
    }

    /// Sends `packet` once what `counter` stands for is committed; 0: now.
    fn answer(&mut self, id: ConnId, counter: u64, packet: Vec<u8>) {
        if counter == 0 { self.send(id, &packet) } else { self.answer_when(id, counter, packet) }
    }

    /// Adds or replaces one subscription and orders its retained messages [MQTT-3.8.4-3]. The counter of its row, 0: none.
    fn add_filter(&mut self, id: ConnId, mut subscription: Subscription) -> Result<u64, Reason> {
        let Some(conn) = self.conns.get_mut(id) else { return Ok(0) };
        let Some((index, session)) = conn.session.and_then(|s| Some((s, self.sessions.get_mut(s)?))) else { return Ok(0) };
        if conn.bridge {
            // A bridge of 3.x has no options to say what it needs.
            subscription.options.no_local = true;
            subscription.options.retain_as_published = true;
        }
        let filter = &subscription.filter;
        let shared = Shared::parse(filter.as_str()).map_err(|_| Reason::TopicFilterInvalid)?;
        let count = session.filters.len();
        let new = match session.filters.iter_mut().find(|old| old.filter == *filter) {
            Some(old) => {
                *old = subscription.clone();
                false
            }
            None => {
                let full = (count >= self.limits.subscriptions_max).then_some(Limit::SubscriptionsMax);
                let beyond = full.or_else(|| self.limits.of_topic(filter.as_str().as_bytes()));
                if let Some(limit) = beyond.or_else(|| self.subscriptions.limit_for(filter, &self.limits)) {
                    self.reached(limit, Who::Conn(id));
                    return Err(Reason::QuotaExceeded);
                }
                // Most sessions have one.
                session.filters.reserve_exact(usize::from(count == 0));
                session.filters.push(subscription.clone());
                true
            }
        };
        self.subscriptions.insert(filter, Sub::new(index, &subscription));
        let replays = match subscription.options.retain_handling {
            _ if shared.is_some() => false,
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        };
        if replays {
            conn.replays.push(Replay { subscription: subscription.clone(), after: None, until: self.retained.serial() });
        } else if let Some(replay) = conn.replays.of_mut(filter) {
            // What an earlier one had ordered still comes.
            replay.subscription = subscription.clone();
        }
        let Some(session) = session.durable else { return Ok(0) };
        Ok(self.change(StateChange::Subscribed { session, subscription }, Some(id)))
    }

    pub(super) fn unsubscribe(&mut self, id: ConnId, unsubscribe: &Unsubscribe, work: &mut Work) -> Result<(), End> {
        self.check_answer(id, unsubscribe.filters.len())?;
        self.spend_on_filters(id, unsubscribe.filters.len(), work);
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        let mut last = 0;
        for filter in &unsubscribe.filters {
            let Ok(filter) = filter else {
                codes.push(Reason::TopicFilterInvalid);
                continue;
            };
            let Some((conn, session)) = self.both_mut(id) else { return Ok(()) };
            let Some(index) = conn.session else { return Ok(()) };
            let before = session.filters.len();
            session.filters.retain(|old| old.filter != *filter);
            conn.replays.remove(filter);
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
        self.answer_removal(id, last, &packet);
        Ok(())
    }
}
