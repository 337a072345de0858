//! `$SYS`: what the broker says of itself, under Mosquitto's topics. Published every `sys_interval` where a value has changed, retained in memory,
//! never stored; a session in the store gets them at QoS 0.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::apply::Work;
use super::deliver::Delivery;
use super::letter::{Letter, Source};
use super::state::Broker;
use crate::model::{Body, Mono, Publisher, QoS, RetainedMessage, Topic, UpstreamId};

/// What has passed so far, beside what the status has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) packets_received: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    /// Bodies only.
    pub(super) publish_bytes_received: u64,
    pub(super) publish_bytes_sent: u64,
    /// Connections that were accepted, and those that were answered by a CONNACK of success.
    pub(super) sockets: u64,
    pub(super) connections: u64,
    pub(super) clients_maximum: u64,
}

#[derive(Debug, Default)]
pub(super) struct Sys {
    started: Option<Mono>,
    due: Mono,
    ticked: Mono,
    /// What each topic was given last.
    last: HashMap<String, String>,
    /// To be published.
    waiting: VecDeque<(String, String)>,
    loads: HashMap<&'static str, Load>,
}

/// Averages a minute over the last 1, 5 and 15 minutes, and the count at the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    count: u64,
    averages: [f64; 3],
}

const MINUTES: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// A change of an average that is worth a message.
const LOAD_STEP: f64 = 0.01;

pub(super) fn is_sys(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

impl Broker {
    /// Gathers what has changed, every `sys_interval`; publishes nothing yet.
    pub(super) fn tick_sys(&mut self) {
        let (now, interval) = (self.now.mono, self.limits.sys_interval);
        if interval.is_zero() || !self.owed.is_started() || now < self.sys.due {
            return;
        }
        self.sys.due = now + interval;
        let status = self.status();
        let stored: usize = self.sessions.iter().map(|(_, s)| s.queue.len() + s.inflight.len()).sum();
        let stored = stored + self.retained.len();
        let held = self.budget.used() + self.retained.bytes();
        let away = status.sessions.saturating_sub(status.clients);
        let Traffic { packets_received, bytes_received, bytes_sent, publish_bytes_received, publish_bytes_sent, .. } = self.traffic;
        self.traffic.clients_maximum = self.traffic.clients_maximum.max(status.sessions);
        let dropped = status.dropped_qos0 + status.dropped_queue;
        let packets_sent = self.budget.packets();
        let first = self.sys.started.is_none();
        let started = *self.sys.started.get_or_insert(now);
        if first {
            self.begin_sys();
        }
        let sys = &mut self.sys;
        sys.say("broker/uptime", format!("{} seconds", now.since(started).as_secs()));
        for (topic, value) in [
            ("broker/clients/total", status.sessions),
            ("broker/clients/maximum", self.traffic.clients_maximum),
            ("broker/clients/connected", status.clients),
            ("broker/clients/active", status.clients),
            ("broker/clients/disconnected", away),
            ("broker/clients/inactive", away),
            ("broker/clients/expired", status.sessions_expired),
            ("broker/messages/received", packets_received),
            ("broker/messages/sent", packets_sent),
            ("broker/messages/stored", stored as u64),
            ("broker/publish/messages/received", status.received),
            ("broker/publish/messages/sent", status.delivered),
            ("broker/publish/messages/dropped", dropped),
            ("broker/publish/bytes/received", publish_bytes_received),
            ("broker/publish/bytes/sent", publish_bytes_sent),
            ("broker/bytes/received", bytes_received),
            ("broker/bytes/sent", bytes_sent),
            ("broker/subscriptions/count", self.subscriptions.len() as u64),
            ("broker/shared_subscriptions/count", self.subscriptions.groups.members() as u64),
            ("broker/retained messages/count", self.retained.len() as u64),
            ("broker/store/messages/count", stored as u64),
            ("broker/store/messages/bytes", held as u64),
            ("tidegate/unsecured/bytes", status.unsecured_bytes),
            ("tidegate/longest turn/us", status.longest_turn_us),
            ("tidegate/retained messages/refused", self.retained.refused),
        ] {
            sys.say(topic, value.to_string());
        }
        sys.say_all("broker/limits/", self.reached.counts());
        let elapsed = now.since(sys.ticked);
        sys.ticked = now;
        for (name, count) in [
            ("messages/received", packets_received),
            ("messages/sent", packets_sent),
            ("publish/received", status.received),
            ("publish/sent", status.delivered),
            ("publish/dropped", dropped),
            ("bytes/received", bytes_received),
            ("bytes/sent", bytes_sent),
            ("sockets", self.traffic.sockets),
            ("connections", self.traffic.connections),
        ] {
            sys.load(name, count, elapsed, first);
        }
        self.news = true;
    }

    fn begin_sys(&mut self) {
        self.sys.say("broker/version", format!("tidegate version {}", env!("CARGO_PKG_VERSION")));
        for name in &self.names {
            self.sys.say_first(&format!("broker/connection/{name}/state"), "0");
        }
    }

    /// The connection of an upstream is up or down.
    pub(super) fn say_link(&mut self, upstream: UpstreamId, up: bool) {
        if !self.limits.sys_interval.is_zero()
            && let Some(name) = self.names.get(usize::from(upstream.0))
        {
            self.sys.say(&format!("broker/connection/{name}/state"), u8::from(up).to_string());
            self.news = true;
        }
    }

    /// Publishes what was gathered; true if some is left.
    pub(super) fn publish_sys(&mut self) -> bool {
        let mut work = Work::turn();
        while !work.is_done()
            && let Some((topic, value)) = self.sys.waiting.pop_front()
        {
            if let Ok(topic) = Topic::new(&topic) {
                self.publish_value(&topic, value, &mut work);
            }
        }
        !self.sys.waiting.is_empty()
    }

    fn publish_value(&mut self, topic: &Topic, value: String, work: &mut Work) {
        let Ok(route) = self.route(topic.as_bytes(), work) else { return };
        work.spend(route.receivers.len() + route.shared.len() + 1);
        if !route.shared.is_empty() {
            self.choose_members(&route, QoS::AtMostOnce);
        }
        let body = Body::raw(Bytes::from(value));
        let mut letter = Letter::new(&route.topic, QoS::ExactlyOnce, true, Source::Body(&body), std::mem::take(&mut self.scratch));
        let mut delivery = Delivery { volatile: true, ..Delivery::of(None) };
        self.deliver(&route, &mut letter, &mut delivery);
        self.scratch = letter.into_scratch();
        for done in delivery.dones {
            self.owed.done(done);
        }
        let (topic, properties) = (topic.clone(), Bytes::new());
        self.retained.set_unstored(RetainedMessage {
            topic,
            body,
            qos: QoS::ExactlyOnce,
            properties,
            expires: None,
            source: Publisher::Gateway,
        });
    }
}

impl Sys {
    /// A value of a topic below `$SYS/`, if it is another than last time.
    fn say(&mut self, topic: &str, value: String) {
        if self.last.get(topic) != Some(&value) {
            self.last.insert(topic.to_owned(), value.clone());
            self.waiting.push_back((format!("$SYS/{topic}"), value));
        }
    }

    fn say_all(&mut self, below: &str, counts: impl Iterator<Item = (&'static str, u64)>) {
        for (name, count) in counts {
            self.say(&format!("{below}{name}"), count.to_string());
        }
    }

    /// A value of a topic that has none yet.
    fn say_first(&mut self, topic: &str, value: &str) {
        if !self.last.contains_key(topic) {
            self.say(topic, value.to_owned());
        }
    }

    /// As Mosquitto computes them: the rate since the last look, faded into each average by the time that has passed.
    fn load(&mut self, name: &'static str, count: u64, elapsed: Duration, first: bool) {
        let load = self.loads.entry(name).or_default();
        let passed = count.saturating_sub(std::mem::replace(&mut load.count, count));
        let minutes = elapsed.as_secs_f64() / 60.0;
        let mut changed = Vec::new();
        for (average, (span, label)) in load.averages.iter_mut().zip(MINUTES) {
            let rate = if first || elapsed.is_zero() { *average } else { passed as f64 / minutes };
            let next = rate + (-minutes / span).exp() * (*average - rate);
            if first || (next - *average).abs() >= LOAD_STEP {
                changed.push((format!("broker/load/{name}/{label}"), format!("{next:.2}")));
            }
            *average = next;
        }
        for (topic, value) in changed {
            self.say(&topic, value);
        }
    }
}
