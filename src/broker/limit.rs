//! A limit was reached: it is counted, and said in the log once a minute for each client and limit.
//!
//! Who reaches a limit may do so as often as the line carries packets, under as many names as it likes: neither the log nor memory follows. Lines
//! are bounded by [`SAID_MAX`] a minute; beyond it one line says that not all are named. The reason code is sent by whoever calls.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::rc::Rc;
use std::time::Duration;

use foldhash::HashMap;

use super::door::Peer;
use super::id::{ConnId, SessionIndex};
use super::limits::Limits;
use super::state::Broker;
use crate::model::{Mono, Now};

/// Between two lines about the same client and limit.
const AGAIN: Duration = Duration::from_secs(60);

/// Most clients, each with one limit, that are named in [`AGAIN`]; at 24 bytes each.
const SAID_MAX: usize = 256;

/// What can be reached, by the name that it has among the keys of `[broker.limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    ConnectionsMax,
    ConnectionsPerAddress,
    PendingMax,
    HandshakesMax,
    WebsocketHeaderMax,
    LoginsWaitingMax,
    ConnectTimeout,
    KeepAliveMax,
    PacketMax,
    UnfinishedMax,
    ClientIdMax,
    TopicLengthMax,
    TopicLevelsMax,
    UserPropertiesMax,
    PublishRate,
    ReceiveMaximum,
    TopicAliasesMax,
    TopicAliasesBytes,
    SubscriptionsMax,
    SubscriptionLevelsMax,
    SubscriptionBytes,
    SharedGroupsMax,
    SharedMembersMax,
    SessionsMax,
    SessionsPerUser,
    SessionExpiryMax,
    SessionQueue,
    SessionQueueBytes,
    OutputMax,
    RetainedMax,
    RetainedBytes,
    WillsMax,
    WillsBytes,
}

impl Limit {
    pub const ALL: [Self; 33] = [
        Self::ConnectionsMax,
        Self::ConnectionsPerAddress,
        Self::PendingMax,
        Self::HandshakesMax,
        Self::WebsocketHeaderMax,
        Self::LoginsWaitingMax,
        Self::ConnectTimeout,
        Self::KeepAliveMax,
        Self::PacketMax,
        Self::UnfinishedMax,
        Self::ClientIdMax,
        Self::TopicLengthMax,
        Self::TopicLevelsMax,
        Self::UserPropertiesMax,
        Self::PublishRate,
        Self::ReceiveMaximum,
        Self::TopicAliasesMax,
        Self::TopicAliasesBytes,
        Self::SubscriptionsMax,
        Self::SubscriptionLevelsMax,
        Self::SubscriptionBytes,
        Self::SharedGroupsMax,
        Self::SharedMembersMax,
        Self::SessionsMax,
        Self::SessionsPerUser,
        Self::SessionExpiryMax,
        Self::SessionQueue,
        Self::SessionQueueBytes,
        Self::OutputMax,
        Self::RetainedMax,
        Self::RetainedBytes,
        Self::WillsMax,
        Self::WillsBytes,
    ];

    /// Its key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectionsMax => "connections_max",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::PendingMax => "pending_max",
            Self::HandshakesMax => "handshakes_max",
            Self::WebsocketHeaderMax => "websocket_header_max",
            Self::LoginsWaitingMax => "logins_waiting_max",
            Self::ConnectTimeout => "connect_timeout",
            Self::KeepAliveMax => "keep_alive_max",
            Self::PacketMax => "packet_max",
            Self::UnfinishedMax => "unfinished_max",
            Self::ClientIdMax => "client_id_max",
            Self::TopicLengthMax => "topic_length_max",
            Self::TopicLevelsMax => "topic_levels_max",
            Self::UserPropertiesMax => "user_properties_max",
            Self::PublishRate => "publish_rate",
            Self::ReceiveMaximum => "receive_maximum",
            Self::TopicAliasesMax => "topic_aliases_max",
            Self::TopicAliasesBytes => "topic_aliases_bytes",
            Self::SubscriptionsMax => "subscriptions_max",
            Self::SubscriptionLevelsMax => "subscription_levels_max",
            Self::SubscriptionBytes => "subscription_bytes",
            Self::SharedGroupsMax => "shared_groups_max",
            Self::SharedMembersMax => "shared_members_max",
            Self::SessionsMax => "sessions_max",
            Self::SessionsPerUser => "sessions_per_user",
            Self::SessionExpiryMax => "session_expiry_max",
            Self::SessionQueue => "session_queue",
            Self::SessionQueueBytes => "session_queue_bytes",
            Self::OutputMax => "output_max",
            Self::RetainedMax => "retained_max",
            Self::RetainedBytes => "retained_bytes",
            Self::WillsMax => "wills_max",
            Self::WillsBytes => "wills_bytes",
        }
    }

    /// What the site has set, for the log: a number, bytes, or a time in words.
    pub fn value(self, limits: &Limits) -> String {
        let time = |time: Duration| format!("{time:?}");
        let seconds = |seconds: u32| time(Duration::from_secs(seconds.into()));
        let number = match self {
            Self::ConnectTimeout => return time(limits.connect_timeout),
            Self::KeepAliveMax => return seconds(limits.keep_alive_max.into()),
            Self::SessionExpiryMax => return seconds(limits.session_expiry_max),
            Self::ConnectionsMax => limits.connections_max,
            Self::ConnectionsPerAddress => limits.connections_per_address(),
            Self::PendingMax => limits.pending_max(),
            Self::HandshakesMax => limits.handshakes_max,
            Self::WebsocketHeaderMax => limits.websocket_header_max,
            Self::LoginsWaitingMax => limits.logins_waiting_max,
            Self::PacketMax => limits.packet_max,
            Self::UnfinishedMax => limits.unfinished_max,
            Self::ClientIdMax => limits.client_id_max,
            Self::TopicLengthMax => limits.topic_length_max,
            Self::TopicLevelsMax => limits.topic_levels_max,
            Self::UserPropertiesMax => limits.user_properties_max,
            Self::PublishRate => return limits.publish_rate.to_string(),
            Self::ReceiveMaximum => limits.receive_maximum.into(),
            Self::TopicAliasesMax => limits.topic_aliases_max.into(),
            Self::TopicAliasesBytes => limits.topic_aliases_bytes,
            Self::SubscriptionsMax => limits.subscriptions_max,
            Self::SubscriptionLevelsMax => limits.subscription_levels_max,
            Self::SubscriptionBytes => limits.subscription_bytes,
            Self::SharedGroupsMax => limits.shared_groups_max,
            Self::SharedMembersMax => limits.shared_members_max,
            Self::SessionsMax => limits.sessions_max(),
            Self::SessionsPerUser => limits.sessions_per_user(),
            Self::SessionQueue => limits.session_queue,
            Self::SessionQueueBytes => limits.session_queue_bytes,
            Self::OutputMax => limits.output_max,
            Self::RetainedMax => limits.retained_max,
            Self::RetainedBytes => limits.retained_bytes,
            Self::WillsMax => limits.wills_max(),
            Self::WillsBytes => limits.wills_bytes,
        };
        number.to_string()
    }
}

/// Who has reached a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A connection: its client, where one has said its name, else its address.
    Conn(ConnId),
    /// A session, whose client may be away.
    Session(SessionIndex),
    /// Somebody who never became a connection.
    Peer(Peer),
    /// The same, at this listener.
    At(Peer, u16),
    /// No client: readings.
    Nobody,
}

/// How often each limit was reached, and of whom it was said lately.
#[derive(Debug)]
pub(super) struct Reached {
    counts: [u64; Limit::ALL.len()],
    said: Said,
    /// Lines of other kinds: those of a client that reaches limits under many names keep none of these back.
    others: Said,
}

impl Default for Reached {
    fn default() -> Self {
        Self { counts: [0; Limit::ALL.len()], said: Said::default(), others: Said::default() }
    }
}

impl Reached {
    /// By name, all of them.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.iter().zip(&self.counts).map(|(limit, count)| (limit.name(), *count))
    }

    pub(super) fn to_map(&self) -> BTreeMap<Cow<'static, str>, u64> {
        self.counts().map(|(name, count)| (name.into(), count)).collect()
    }
}

impl Broker {
    /// A limit that is kept elsewhere was reached so often.
    pub(super) fn reached_outside(&mut self, limit: Limit, peer: Peer, times: u64, now: Now) {
        self.now = now;
        if let Some(count) = self.reached.counts.get_mut(limit as usize) {
            *count += times.saturating_sub(1);
        }
        self.reached(limit, Who::Peer(peer));
    }

    /// Counts it, and says it unless it was said of this client less than a minute ago. `name` is that of the client or `?`.
    pub(super) fn reached(&mut self, limit: Limit, who: Who) {
        let count = self.reached.counts.get_mut(limit as usize).map_or(0, |count| {
            *count += 1;
            *count
        });
        let (client, peer) = self.name(who);
        let key = match (&client, peer) {
            (Some(client), _) => self.reached.said.hasher.hash_one((limit, &**client)),
            (None, Some(peer)) => self.reached.said.hasher.hash_one((limit, peer.origin())),
            (None, None) => self.reached.said.hasher.hash_one(limit),
        };
        match self.reached.said.may_say(key, self.now.mono) {
            Say::Nothing => {}
            Say::This => {
                let limits = match who {
                    Who::Conn(id) => self.limits_of(id),
                    Who::At(_, listener) => self.limits_at(listener),
                    _ => &self.limits,
                };
                let (client, value) = (client.as_deref().unwrap_or("?"), limit.value(limits));
                let peer = peer.map_or_else(|| "away".to_owned(), |peer| peer.to_string());
                tracing::warn!(limit = limit.name(), value, ?client, peer, times = count, "a limit is reached");
            }
            Say::ThatThereAreMore => tracing::warn!(named = SAID_MAX, "limits are reached by more clients than are named in a minute"),
        }
    }

    /// Whether a line about `what` of this peer may be written: not if there was one less than a minute ago.
    pub(super) fn may_say(&mut self, what: &str, peer: Peer) -> bool {
        let key = self.reached.others.hasher.hash_one((what, peer.origin()));
        self.reached.others.may_say(key, self.now.mono) == Say::This
    }

    fn name(&self, who: Who) -> (Option<Rc<str>>, Option<Peer>) {
        let of_session = |index| self.sessions.get(index).map(|session| (Rc::clone(&session.client), session.conn));
        let peer_of = |id| self.conns.get(id).map(|conn| conn.peer);
        match who {
            Who::Conn(id) => (self.conns.get(id).and_then(|conn| conn.session).and_then(of_session).map(|(client, _)| client), peer_of(id)),
            Who::Session(index) => of_session(index).map_or((None, None), |(client, conn)| (Some(client), conn.and_then(peer_of))),
            Who::Peer(peer) | Who::At(peer, _) => (None, Some(peer)),
            Who::Nobody => (None, None),
        }
    }
}

#[derive(Debug, Default)]
struct Said {
    hasher: foldhash::fast::RandomState,
    /// When it was said, by the hash of client and limit: two that share one share their lines.
    at: HashMap<u64, Mono>,
    /// That there are more was said.
    more: Option<Mono>,
}

#[derive(Debug, PartialEq, Eq)]
enum Say {
    Nothing,
    This,
    ThatThereAreMore,
}

impl Said {
    fn may_say(&mut self, key: u64, now: Mono) -> Say {
        let lately = |at: &Mono| now.since(*at) < AGAIN;
        if self.at.get(&key).is_some_and(lately) || self.more.is_some_and(|at| lately(&at)) {
            return Say::Nothing;
        }
        if self.at.len() >= SAID_MAX {
            self.at.retain(|_, at| lately(at));
        }
        if self.at.len() >= SAID_MAX {
            self.more = Some(now);
            return Say::ThatThereAreMore;
        }
        self.at.insert(key, now);
        Say::This
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_place_and_its_own_name() {
        let names: std::collections::BTreeSet<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
        for (place, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, place, "{limit:?}");
        }
    }

    #[test]
    fn a_client_is_named_once_a_minute_and_no_more_clients_than_may_be() {
        let at = Mono::from_millis;
        let mut said = Said::default();
        let steps = [(1, 0, Say::This), (1, 59_999, Say::Nothing), (2, 59_999, Say::This), (1, 60_000, Say::This)];
        for (key, ms, want) in steps {
            assert_eq!(said.may_say(key, at(100_000 + ms)), want, "{key} at {ms}");
        }
        let mut said = Said::default();
        let named = (0..100_000).filter(|key| said.may_say(*key, at(1_000)) == Say::This).count();
        assert_eq!((named, said.at.len()), (SAID_MAX, SAID_MAX));
        let told = (0..100_000).filter(|key| said.may_say(*key, at(61_000)) == Say::ThatThereAreMore).count();
        assert_eq!((told, said.at.len()), (1, SAID_MAX), "once a minute");
        assert_eq!(said.may_say(1, at(60_999)), Say::Nothing);
    }
}
