//! Why connections end, and what is said of it: to the log, and to a client of 5.0 (3.14).

use super::limit::Limit;
use crate::mqtt::{self, Reason};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    #[error("the client disconnected")]
    Disconnect,
    /// Its will is published nevertheless.
    #[error("the client disconnected: {0}")]
    WithWill(Reason),
    #[error("the client closed the connection without DISCONNECT")]
    Eof,
    #[error("the connection broke")]
    Broken,
    #[error("{0}")]
    Packet(#[from] mqtt::Error),
    #[error("no room for its unfinished packet beside those of others")]
    Unfinished,
    #[error("the client id is too long")]
    LongId,
    #[error("no room for another session")]
    NoSession,
    #[error("its limit is reached: {}", .0.name())]
    Limit(Limit),
    #[error("the will's topic is closed to the client")]
    Will,
    #[error("our answer is larger than the client takes")]
    SmallPackets,
    #[error("more QoS 1 and 2 messages unfinished than the receive maximum allows")]
    ReceiveMaximum,
    #[error("a topic alias above the maximum")]
    Alias,
    #[error("an authentication method that is not known here")]
    Method,
    #[error("the client id is that of another user's session")]
    Foreign,
    #[error("a right was taken from the client")]
    RightLost,
    #[error("the client could not prove who it is")]
    NotAuthorized,
    #[error("a bad user name or password")]
    Password,
    #[error("the client names no user, and anonymous ones are not let in here")]
    Anonymous,
    /// Its password was not held against anything.
    #[error("too many passwords wait to be checked")]
    Logins,
    #[error("the client's user is gone or has another password")]
    UserChanged,
    /// Others wait, too, and fewer of their address.
    #[error("no CONNECT, and too many others wait")]
    Crowded,
    /// Its authority is no longer believed, or has revoked it.
    #[error("the client's certificate is no longer accepted")]
    Revoked,
    #[error("it broke the rules of TLS or WebSocket")]
    Garbled,
    #[error("no CONNECT in time")]
    ConnectTimeout,
    #[error("nothing heard for 1.5 times the keep-alive")]
    KeepAlive,
    #[error("another connection took over the client id")]
    TakenOver,
    #[error("an administrator ended the connection")]
    Kicked,
    #[error("the queue of an upstream had no room for too long")]
    Refused(u8),
    #[error("the gateway stops")]
    Stop,
}

impl End {
    /// What a client of 5.0 is told in DISCONNECT before we close; `None`: it ended the connection itself, or it is broken.
    pub(super) const fn reason(self) -> Option<Reason> {
        match self {
            Self::Disconnect | Self::WithWill(_) | Self::Eof | Self::Broken | Self::Garbled => None,
            Self::Packet(error) => Some(error.reason()),
            Self::Limit(Limit::TopicLengthMax | Limit::TopicLevelsMax) => Some(Reason::TopicNameInvalid),
            Self::Unfinished | Self::NoSession | Self::Limit(_) | Self::Crowded | Self::Refused(_) => Some(Reason::QuotaExceeded),
            Self::LongId | Self::Foreign => Some(Reason::ClientIdNotValid),
            Self::Will | Self::RightLost | Self::NotAuthorized | Self::Anonymous | Self::Revoked | Self::UserChanged => {
                Some(Reason::NotAuthorized)
            }
            Self::Password => Some(Reason::BadUserOrPassword),
            Self::Logins => Some(Reason::ServerUnavailable),
            Self::SmallPackets => Some(Reason::PacketTooLarge),
            Self::ReceiveMaximum => Some(Reason::ReceiveMaximumExceeded),
            Self::Alias => Some(Reason::TopicAliasInvalid),
            Self::Method => Some(Reason::BadAuthenticationMethod),
            Self::ConnectTimeout | Self::KeepAlive => Some(Reason::KeepAliveTimeout),
            Self::TakenOver => Some(Reason::SessionTakenOver),
            Self::Kicked => Some(Reason::AdministrativeAction),
            Self::Stop => Some(Reason::ServerShuttingDown),
        }
    }

    /// The limit that was reached, if it was one.
    pub(super) const fn limit(self) -> Option<Limit> {
        match self {
            Self::Packet(mqtt::Error::TooLarge { .. }) => Some(Limit::PacketMax),
            Self::Packet(mqtt::Error::TooManyUserProperties) => Some(Limit::UserPropertiesMax),
            Self::Unfinished => Some(Limit::UnfinishedMax),
            Self::LongId => Some(Limit::ClientIdMax),
            Self::NoSession => Some(Limit::SessionsMax),
            Self::Limit(limit) => Some(limit),
            Self::ReceiveMaximum => Some(Limit::ReceiveMaximum),
            Self::Alias => Some(Limit::TopicAliasesMax),
            Self::Crowded => Some(Limit::PendingMax),
            Self::Logins => Some(Limit::LoginsWaitingMax),
            Self::ConnectTimeout => Some(Limit::ConnectTimeout),
            _ => None,
        }
    }

    /// Whether there is no will: the client has taken it back [MQTT-3.14.4-3], or would not be let in to leave one.
    pub(super) const fn takes_will_back(self) -> bool {
        matches!(self, Self::Disconnect | Self::Revoked)
    }

    /// Whether the peer may be in the middle of saying something: it was ended by us, for what it said.
    pub(super) const fn cuts_short(self) -> bool {
        !matches!(
            self,
            Self::Disconnect
                | Self::WithWill(_)
                | Self::Eof
                | Self::Broken
                | Self::Garbled
                | Self::Crowded
                | Self::ConnectTimeout
                | Self::KeepAlive
                | Self::TakenOver
                | Self::Stop
        )
    }

    /// Whether the peer broke the protocol.
    pub(super) const fn is_protocol_error(self) -> bool {
        matches!(self, Self::Garbled | Self::Packet(_) | Self::LongId | Self::ReceiveMaximum | Self::Alias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::reason::Carrier;

    #[test]
    fn what_ends_a_connection_has_a_reason_that_disconnect_may_carry() {
        for end in [
            End::Packet(mqtt::Error::Malformed("")),
            End::Packet(mqtt::Error::Protocol("")),
            End::Packet(mqtt::Error::TooLarge { size: 2, max: 1 }),
            End::Packet(mqtt::Error::TooManyFilters),
            End::Packet(mqtt::Error::TooManyUserProperties),
            End::Packet(mqtt::Error::Topic(crate::model::TopicError::Wildcard)),
            End::Packet(mqtt::Error::TopicAliasInvalid),
            End::Unfinished,
            End::SmallPackets,
            End::Limit(Limit::TopicLevelsMax),
            End::Limit(Limit::TopicAliasesBytes),
            End::ReceiveMaximum,
            End::Alias,
            End::NotAuthorized,
            End::RightLost,
            End::Revoked,
            End::UserChanged,
            End::KeepAlive,
            End::TakenOver,
            End::Kicked,
            End::Refused(0),
            End::Stop,
        ] {
            assert!(end.reason().is_some_and(|reason| reason.may_be_in(Carrier::ServerDisconnect)), "{end:?}");
        }
        for end in [End::Disconnect, End::WithWill(Reason::DisconnectWithWill), End::Eof, End::Broken] {
            assert_eq!(end.reason(), None, "{end:?}");
        }
        for end in [
            End::LongId,
            End::Foreign,
            End::NoSession,
            End::Limit(Limit::TopicLengthMax),
            End::Limit(Limit::WillsMax),
            End::Will,
            End::SmallPackets,
            End::Method,
            End::NotAuthorized,
            End::Password,
            End::Anonymous,
            End::Logins,
        ] {
            assert!(end.reason().is_some_and(|reason| reason.may_be_in(Carrier::Connack)), "{end:?}");
        }
    }
}
