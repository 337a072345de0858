//! `[broker.limits]`: how much clients may ask for.

use std::time::Duration;

use super::inflight;
use super::limit::Limit;
use super::session::Session;
use crate::model::StoredSession;
use crate::mqtt::Version;
use crate::mqtt::packet::Connect;

/// Every limit of the broker. What happens at each stands at the field; reaching one is counted and said by [`super::limit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections; one more is closed at accept.
    pub connections_max: usize,
    /// Connections of one address, or of one user of this machine by a unix socket; one more is closed at accept. `None`: half of
    /// `connections_max`, so that no address has all.
    pub connections_per_address: Option<usize>,
    /// Connections without a CONNECT; one more ends the one that has waited longest. `None`: a quarter of `connections_max`.
    pub pending_max: Option<usize>,
    /// TLS handshakes, HTTP upgrades and PROXY headers that are under way; as for `pending_max`.
    pub handshakes_max: usize,
    /// Bytes of an HTTP upgrade's request; the connection of a longer one is closed.
    pub websocket_header_max: usize,
    /// Passwords that wait to be held against their hashes, one at a time; the CONNECT of one more is refused (0x88; 3.x: 0x03), or that of the
    /// newest of the address that has most of them waiting.
    pub logins_waiting_max: usize,
    /// From accept to CONNECT; then closed.
    pub connect_timeout: Duration,
    /// Longest keep-alive in seconds, also of clients that want none. A client of 5.0 is told in CONNACK; 3.x has no way to be told: its
    /// connection is closed after one and a half times of it without a word.
    pub keep_alive_max: u16,
    /// Largest packet in bytes; the connection of a larger one is closed.
    pub packet_max: usize,
    /// Bytes of all clients' unfinished packets together; the connection whose packet goes beyond it is closed. One packet of the largest size
    /// always has room.
    pub unfinished_max: usize,
    /// Bytes of a client id: a session keeps it for as long as it lives. A longer one is refused (0x85; 3.x: 0x02) [MQTT-3.1.3-9].
    pub client_id_max: usize,
    /// Bytes of a topic name or filter. A PUBLISH beyond it is refused (0x90; at QoS 0, and in 3.x, which could not be told that its message is
    /// not kept, the connection is closed), a CONNECT with such a will too (0x90; 3.x: 0x03), a filter gets 0x97 (3.x: 0x80).
    pub topic_length_max: usize,
    /// Levels of a topic name or filter, as for `topic_length_max`.
    pub topic_levels_max: usize,
    /// User properties of one packet; the connection of one with more is closed (0x97).
    pub user_properties_max: usize,
    /// PUBLISH packets that one client may send in a second; what it sends beyond is read later. 0: as many as it can.
    pub publish_rate: u32,
    /// QoS 1 and 2 messages in flight to a client, and unacknowledged from a client: one of 5.0, which is told, is disconnected beyond it (0x93),
    /// one of 3.x is not parsed at it.
    pub receive_maximum: u16,
    /// Topic aliases of a client; one of 5.0 is told, and disconnected beyond it (0x94).
    pub topic_aliases_max: u16,
    /// Bytes of the topics that all clients' aliases stand for together; the connection of one more is closed (0x97), unless its topic is short.
    pub topic_aliases_bytes: usize,
    /// Filters of a session; one more is refused (0x97; 3.x: 0x80).
    pub subscriptions_max: usize,
    /// Levels of all filters together, shared beginnings once, at about 400 bytes each; as for `subscriptions_max`.
    pub subscription_levels_max: usize,
    /// Bytes of all filters together; as for `subscriptions_max`.
    pub subscription_bytes: usize,
    /// Groups of shared subscriptions; as for `subscriptions_max`.
    pub shared_groups_max: usize,
    /// Members of a group, because a message may have to ask each; as for `subscriptions_max`.
    pub shared_members_max: usize,
    /// Sessions, those of clients that are away included; a further client is refused (0x97; 3.x: 0x03). `None`: four for each connection
    /// that may be there.
    pub sessions_max: Option<usize>,
    /// Sessions of one named user, and where any listener knows users those of all anonymous clients together; as for `sessions_max`. `None`:
    /// half of them.
    pub sessions_per_user: Option<usize>,
    /// Longest session expiry interval in seconds; a client that asks for more has its session for so long, and is told so in 5.0. `u32::MAX`:
    /// as long as clients want, for ever with 3.x's persistent sessions.
    pub session_expiry_max: u32,
    /// Messages that a session queues; beyond it its oldest not in flight is dropped and counted.
    pub session_queue: usize,
    /// Bytes that a session queues; as for `session_queue`. As many may be in flight to its client, to be sent again; what comes then is queued.
    pub session_queue_bytes: usize,
    /// Whether a session whose client is away queues QoS 0, too.
    pub queue_qos0: bool,
    /// Bytes of all output and queues together; beyond it QoS 0 is dropped and counted, feeders are slowed.
    pub output_max: usize,
    /// Topics with a retained message; what a further topic would retain is not kept, and its old value is gone.
    pub retained_max: usize,
    /// Bytes of all retained messages; as for `retained_max`.
    pub retained_bytes: usize,
    /// Wills, of clients that are there and of those that are away; a CONNECT with one more is refused (0x97; 3.x: 0x03). `None`: as many as
    /// sessions.
    pub wills_max: Option<usize>,
    /// Bytes of all wills together; as for `wills_max`, unless the will is short.
    pub wills_bytes: usize,
    /// Bytes given to the outbox and not yet secured; above it publishes that have a destination are held until it is below ¾, and above twice
    /// of it CONNECT, SUBSCRIBE and UNSUBSCRIBE, too.
    pub unsecured_max: usize,
    /// Time between two looks at what `$SYS` says; zero: there is no `$SYS`.
    pub sys_interval: Duration,
    /// How long a publish is held for a full upstream queue before its connection is closed.
    pub refuse_close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            connections_per_address: None,
            pending_max: None,
            handshakes_max: 64,
            websocket_header_max: 8 << 10,
            logins_waiting_max: 32,
            connect_timeout: Duration::from_secs(10),
            keep_alive_max: u16::MAX,
            packet_max: 2 << 20,
            unfinished_max: 16 << 20,
            client_id_max: 1_024,
            topic_length_max: u16::MAX as usize,
            topic_levels_max: 128,
            user_properties_max: 128,
            publish_rate: 0,
            receive_maximum: 1_024,
            topic_aliases_max: 10,
            topic_aliases_bytes: 4 << 20,
            subscriptions_max: 1_024,
            subscription_levels_max: 32_768,
            subscription_bytes: 8 << 20,
            shared_groups_max: 4_096,
            shared_members_max: 256,
            sessions_max: None,
            sessions_per_user: None,
            session_expiry_max: u32::MAX,
            session_queue: 1_000,
            session_queue_bytes: 1 << 20,
            queue_qos0: false,
            output_max: 8 << 20,
            retained_max: 65_536,
            retained_bytes: 16 << 20,
            wills_max: None,
            wills_bytes: 8 << 20,
            unsecured_max: 8 << 20,
            sys_interval: Duration::from_secs(10),
            refuse_close: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Sessions for each connection that may be there, where the site says nothing else.
    const SESSIONS_PER_CONNECTION: usize = 4;

    pub fn connections_per_address(&self) -> usize {
        self.connections_per_address.unwrap_or_else(|| self.connections_max.div_ceil(2))
    }

    /// One packet of the largest size has room in a buffer that may be twice as large.
    pub(super) fn unfinished_max(&self) -> usize {
        self.unfinished_max.max(self.packet_max.saturating_mul(2))
    }

    pub fn pending_max(&self) -> usize {
        self.pending_max.unwrap_or_else(|| self.connections_max.div_ceil(4))
    }

    pub fn sessions_max(&self) -> usize {
        self.sessions_max.unwrap_or_else(|| self.connections_max.saturating_mul(Self::SESSIONS_PER_CONNECTION))
    }

    pub fn sessions_per_user(&self) -> usize {
        self.sessions_per_user.unwrap_or_else(|| self.sessions_max().div_ceil(2))
    }

    pub fn wills_max(&self) -> usize {
        self.wills_max.unwrap_or_else(|| self.sessions_max())
    }

    /// The limit that a topic name or filter is beyond. A short one need not be looked through.
    pub(super) fn of_topic(&self, name: &[u8]) -> Option<Limit> {
        if name.len() > self.topic_length_max {
            return Some(Limit::TopicLengthMax);
        }
        let deep = name.len() >= self.topic_levels_max && name.iter().filter(|byte| **byte == b'/').count() >= self.topic_levels_max;
        deep.then_some(Limit::TopicLevelsMax)
    }

    /// For how long the session of this CONNECT outlives its connection, in seconds (5.0, 3.1.2.11.2; 3.1.1, 3.1.2.4).
    pub(super) fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        wanted_expiry(connect).min(self.session_expiry_max)
    }

    /// Whether the client asks for more than that.
    pub(super) fn shortens_session(&self, connect: &Connect<'_>) -> bool {
        wanted_expiry(connect) > self.session_expiry_max
    }

    /// The keep-alive that holds, in seconds.
    pub(super) fn keep_alive(&self, connect: &Connect<'_>) -> u16 {
        match connect.keep_alive {
            0 => self.keep_alive_max,
            wanted => wanted.min(self.keep_alive_max),
        }
    }

    /// What may be in flight to this session's client.
    pub(super) fn window(&self, session: &Session) -> inflight::Window {
        inflight::Window { messages: session.receive_maximum.min(self.receive_maximum), bytes: self.session_queue_bytes }
    }
}

fn wanted_expiry(connect: &Connect<'_>) -> u32 {
    match (connect.version, connect.clean) {
        (Version::V5, _) => connect.properties.session_expiry,
        (_, true) => 0,
        (_, false) => StoredSession::NEVER,
    }
}
