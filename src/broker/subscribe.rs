//! SUBSCRIBE, UNSUBSCRIBE, and the replay of retained messages to a new subscription.

use super::access;
use super::apply::{VERSION, Work};
use super::conn::{Conn, Replay};
use super::flow::SLOW_AT;
use super::id::ConnId;
use super::letter;
use super::output::Stored;
use super::retained::Retained;
use super::session::{Session, Window};
use super::state::Broker;
use super::subscriptions::{LEVELS_MAX, Sub};
use crate::model::{QoS, Topic, TopicFilter};
use crate::mqtt::packet::{Subscribe, Unsubscribe};
use crate::mqtt::{Reason, encode};

/// Filters of one session; a further one is refused.
const FILTERS_MAX: usize = 1_024;

/// The best QoS that is granted until QoS 2 is there.
const QOS_MAX: QoS = QoS::AtLeastOnce;

/// What a look at one retained topic costs of a turn, in deliveries. Measured: half a microsecond; ten clients with wildcards over 60,000 topics
/// held up others' pings for 670 ms when eight looks cost one.
const DELIVERIES_A_LOOK: usize = 4;

/// First byte of a PUBLISH with RETAIN, by QoS: it answers a new subscription [MQTT-3.3.1-8].
const RETAINED: [u8; 2] = [0x31, 0x33];

impl Broker {
    pub(super) fn subscribe(&mut self, id: ConnId, subscribe: Subscribe, work: &mut Work) {
        work.spend(subscribe.filters.len());
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for (filter, options) in subscribe.filters {
            let granted = options.qos.min(QOS_MAX);
            let added = filter.is_ok_and(|filter| self.add_filter(id, filter, granted));
            codes.push(if added { Reason::granted(granted) } else { Reason::Unspecified });
        }
        let mut packet = Vec::with_capacity(codes.len() + 8);
        encode::suback(&mut packet, VERSION, subscribe.id, &codes);
        self.send(id, &packet);
        self.replay(id, work);
    }

    /// Adds or replaces one subscription and orders its retained messages [MQTT-3.8.4-3]. False: refused.
    fn add_filter(&mut self, id: ConnId, filter: TopicFilter, qos: QoS) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return false };
        let Some((index, session)) = conn.session.and_then(|s| Some((s, self.sessions.get_mut(s)?))) else { return false };
        let restricted = conn.restricted;
        if filter.as_str().split('/').count() > LEVELS_MAX || (restricted && access::is_closed(filter.as_str())) {
            tracing::debug!(client = ?session.client, filter = ?filter, "subscription refused");
            return false;
        }
        let count = session.filters.len();
        match session.filters.iter_mut().find(|(f, _)| *f == filter) {
            Some((_, old)) => {
                *old = qos;
                conn.replays.retain(|replay| replay.filter != filter);
            }
            None if count >= FILTERS_MAX || !self.subscriptions.has_room(&filter) => {
                tracing::debug!(client = ?session.client, filters = count, "no room for another subscription");
                return false;
            }
            None => session.filters.push((filter.clone(), qos)),
        }
        self.subscriptions.insert(&filter, Sub { session: index, qos, restricted });
        session.restricted = restricted;
        conn.replays.push_back(Replay { filter, qos, after: None });
        true
    }

    pub(super) fn unsubscribe(&mut self, id: ConnId, unsubscribe: &Unsubscribe, work: &mut Work) {
        work.spend(unsubscribe.filters.len());
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Some((index, session)) = conn.session.and_then(|s| Some((s, self.sessions.get_mut(s)?))) {
            for filter in unsubscribe.filters.iter().flatten() {
                self.subscriptions.remove(filter, index);
                session.filters.retain(|(f, _)| f != filter);
                conn.replays.retain(|replay| replay.filter != *filter);
            }
        }
        let mut packet = Vec::new();
        encode::unsuback(&mut packet, VERSION, unsubscribe.id, &[]);
        self.send(id, &packet);
    }

    /// Sends retained messages to new subscriptions while the turn's budget, the connection's output and its window have room. What is left
    /// goes on when its output or window has room again.
    pub(super) fn replay(&mut self, id: ConnId, work: &mut Work) {
        let window = self.window();
        while !work.is_done() {
            let Some(conn) = self.conns.get_mut(id) else { return };
            let Some(session) = conn.session.and_then(|s| self.sessions.get_mut(s)) else { return };
            let Some(replay) = conn.replays.front_mut() else { return };
            let Some((topic, retained)) = self.retained.next(&replay.filter, replay.after.as_ref()) else {
                conn.replays.pop_front();
                continue;
            };
            work.spend(DELIVERIES_A_LOOK);
            let closed = conn.restricted && access::is_closed(topic.as_str());
            if !closed && replay.filter.matches(topic.as_str()) {
                if conn.out.waiting() > SLOW_AT || self.budget.used() > self.limits.output_max || session.queue.len() > 0 {
                    return;
                }
                let qos = replay.qos;
                if !push_retained(conn, session, (topic, retained), qos, window, &self.budget) {
                    return;
                }
                self.counters.delivered += 1;
                work.spend(1);
            }
            if let Some(replay) = conn.replays.front_mut() {
                replay.after = Some(topic.clone());
            }
        }
    }
}

/// False when the window is full.
fn push_retained(
    conn: &mut Conn,
    session: &mut Session,
    (topic, retained): (&Topic, &Retained),
    granted: QoS,
    window: Window,
    budget: &super::output::Budget,
) -> bool {
    let acknowledged = granted.min(retained.qos) != QoS::AtMostOnce;
    let id = if acknowledged { session.inflight.take_id(window) } else { None };
    if acknowledged && id.is_none() {
        return false;
    }
    let stored = Stored::new(topic.clone(), letter::text(&retained.body), budget);
    let first = RETAINED.get(usize::from(acknowledged)).copied().unwrap_or_default();
    conn.out.push_stored(&stored, first, id);
    if let Some(id) = id {
        session.inflight.push(id, first, (!session.clean).then_some(stored), budget);
    }
    true
}
