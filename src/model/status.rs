//! What each part says of itself: the shapes of `tidegate status --json`. Times are RFC 3339 or ages in milliseconds, as named.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of `tidegate status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub gateway: String,
    pub uptime_ms: u64,
    /// Nothing below is bad.
    pub ok: bool,
    /// Parts that did not answer in time, as `broker` or `bus:meters`; what is said of them below are zeros.
    pub silent: Vec<String>,
    pub broker: BrokerStatus,
    pub buses: Vec<BusStatus>,
    pub outbox: OutboxStatus,
    pub upstreams: Vec<UpstreamStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BrokerStatus {
    /// Addresses that listen, as `tcp://127.0.0.1:1883`.
    pub listeners: Vec<String>,
    pub clients: u64,
    pub sessions: u64,
    pub retained: u64,
    /// PUBLISH packets from clients that were applied.
    pub received: u64,
    /// PUBLISH packets queued to clients.
    pub delivered: u64,
    /// Readings that were applied.
    pub injected: u64,
    /// Messages that were given an id, because an upstream is owed them.
    pub owed: u64,
    pub dropped_qos0: u64,
    pub dropped_queue: u64,
    /// Readings and QoS 0 messages that an upstream would have got, dropped because nothing could be kept (outbox.md 11).
    pub dropped_overflow: u64,
    /// Connections that were closed because an upstream's queue had no room for too long (outbox.md 11).
    #[serde(default)]
    pub refused: u64,
    /// Connections that were ended before they were let in, by us or by what they said.
    #[serde(default)]
    pub connects_refused: u64,
    /// PUBLISH packets of 5.0 clients that were refused with a reason code.
    #[serde(default)]
    pub refused_publishes: u64,
    /// What clients wanted and their rights do not allow: messages, answers to them, wills, subscriptions; and sessions of others.
    #[serde(default)]
    pub forbidden: u64,
    /// Messages whose expiry interval passed before they could be delivered.
    #[serde(default)]
    pub expired: u64,
    /// Sessions that outlive their connection: the store has them, too.
    #[serde(default)]
    pub sessions_stored: u64,
    /// Sessions whose expiry interval passed while their client was away.
    #[serde(default)]
    pub sessions_expired: u64,
    /// Wills of clients that are away, whose delay is not over.
    #[serde(default)]
    pub wills_pending: u64,
    /// Messages that were not retained for want of room.
    #[serde(default)]
    pub retained_refused: u64,
    pub unsecured_bytes: u64,
    pub protocol_errors: u64,
    /// CONNECT packets that named no user, or an unknown one, or had the wrong password.
    #[serde(default)]
    pub logins_refused: u64,
    /// How often each limit was reached, by its key in `[broker.limits]`.
    #[serde(default)]
    pub limits: BTreeMap<Cow<'static, str>, u64>,
    /// CPU time of the longest turn of the broker's thread, in microseconds.
    pub longest_turn_us: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BusStatus {
    pub name: String,
    pub port: String,
    pub open: bool,
    pub last_error: Option<String>,
    /// Readings that did not fit in the way to the broker.
    pub dropped: u64,
    pub devices: Vec<DeviceStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Not asked, or nothing heard, since the start.
    #[default]
    Unknown,
    Good,
    /// `max_failures` failures in a row; asked again with back-off.
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceStatus {
    pub name: String,
    pub state: DeviceState,
    pub last_good_age_ms: Option<u64>,
    /// Requests sent, or frames received.
    pub exchanges: u64,
    pub timeouts: u64,
    pub crc_errors: u64,
    pub exceptions: u64,
    pub decode_errors: u64,
    /// Frames that belonged to no request: foreign units, late replies, noise.
    pub skipped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    #[default]
    Good,
    /// No space: commits are tried again with back-off.
    Full,
    /// The file must not be used again by this process: it goes on without a disk.
    Diskless,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutboxStatus {
    pub path: String,
    pub store: StoreState,
    pub epoch: u32,
    /// Entries owed, in memory and on disk.
    pub entries: u64,
    /// Bytes used on disk (outbox.md 15).
    pub bytes: u64,
    pub max_bytes: u64,
    pub oldest_age_ms: Option<u64>,
    pub commits: u64,
    pub rows: u64,
    pub failed_commits: u64,
    pub dead_letters: u64,
    /// Messages that sessions lost, each for one session, because their queue was full or their row was damaged (outbox.md 11). Ever, in this
    /// store.
    #[serde(default)]
    pub lost: u64,
    /// Messages that expired before a session or an upstream had them, since the start.
    #[serde(default)]
    pub expired: u64,
    pub queues: Vec<QueueStatus>,
    /// Sentences that want a person, each with what to do.
    pub alarms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueStatus {
    pub upstream: String,
    pub entries: u64,
    pub oldest_age_ms: Option<u64>,
    /// No longer in the site's file, and still owed.
    pub gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamState {
    #[default]
    Connecting,
    Connected,
    /// Waiting for the next try.
    Backoff,
    /// Connected, and it refuses everything that it is sent.
    Refusing,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpstreamStatus {
    pub name: String,
    pub url: String,
    pub state: UpstreamState,
    pub in_flight: u64,
    pub oldest_unacknowledged_age_ms: Option<u64>,
    pub acknowledged: u64,
    pub connects: u64,
    pub dead_letters: u64,
    /// Entries whose message expiry interval passed before they could be sent.
    #[serde(default)]
    pub expired: u64,
    /// The protocol of the connection that is up, or was last, as `MQTT 5.0`.
    #[serde(default)]
    pub protocol: Option<String>,
    pub last_error: Option<String>,
}
