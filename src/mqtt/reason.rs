//! Codes of answers: 5.0's reason codes (2.4), and what 3.x has of them.

use std::fmt;

use crate::model::QoS;

/// CONNACK's return code of 3.1 and 3.1.1 (3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectReturn {
    Accepted = 0,
    UnacceptableVersion = 1,
    IdentifierRejected = 2,
    ServerUnavailable = 3,
    BadUserOrPassword = 4,
    NotAuthorized = 5,
}

/// SUBACK's code for a filter that was refused (3.1.1, 3.9.3); a granted one has its QoS.
pub const SUBSCRIBE_FAILURE: u8 = 0x80;

/// The packets that carry a reason code, by who sends them where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Connack,
    /// PUBACK and PUBREC.
    Received,
    /// PUBREL and PUBCOMP.
    Released,
    Suback,
    Unsuback,
    ServerDisconnect,
    ClientDisconnect,
    ServerAuth,
    ClientAuth,
}

macro_rules! reasons {
    ($($code:literal $name:ident $text:literal,)*) => {
        /// A reason code of 5.0 (2.4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($name = $code,)*
        }

        impl Reason {
            /// All, by code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `None`: the standard has no such code.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    0x00 Success "success",
    0x01 GrantedQos1 "granted QoS 1",
    0x02 GrantedQos2 "granted QoS 2",
    0x04 DisconnectWithWill "disconnect with will message",
    0x10 NoMatchingSubscribers "no matching subscribers",
    0x11 NoSubscriptionExisted "no subscription existed",
    0x18 ContinueAuthentication "continue authentication",
    0x19 ReAuthenticate "re-authenticate",
    0x80 Unspecified "unspecified error",
    0x81 MalformedPacket "malformed packet",
    0x82 ProtocolError "protocol error",
    0x83 ImplementationSpecific "implementation specific error",
    0x84 UnsupportedVersion "unsupported protocol version",
    0x85 ClientIdNotValid "client identifier not valid",
    0x86 BadUserOrPassword "bad user name or password",
    0x87 NotAuthorized "not authorized",
    0x88 ServerUnavailable "server unavailable",
    0x89 ServerBusy "server busy",
    0x8a Banned "banned",
    0x8b ServerShuttingDown "server shutting down",
    0x8c BadAuthenticationMethod "bad authentication method",
    0x8d KeepAliveTimeout "keep alive timeout",
    0x8e SessionTakenOver "session taken over",
    0x8f TopicFilterInvalid "topic filter invalid",
    0x90 TopicNameInvalid "topic name invalid",
    0x91 PacketIdInUse "packet identifier in use",
    0x92 PacketIdNotFound "packet identifier not found",
    0x93 ReceiveMaximumExceeded "receive maximum exceeded",
    0x94 TopicAliasInvalid "topic alias invalid",
    0x95 PacketTooLarge "packet too large",
    0x96 MessageRateTooHigh "message rate too high",
    0x97 QuotaExceeded "quota exceeded",
    0x98 AdministrativeAction "administrative action",
    0x99 PayloadFormatInvalid "payload format invalid",
    0x9a RetainNotSupported "retain not supported",
    0x9b QosNotSupported "QoS not supported",
    0x9c UseAnotherServer "use another server",
    0x9d ServerMoved "server moved",
    0x9e SharedNotSupported "shared subscriptions not supported",
    0x9f ConnectionRateExceeded "connection rate exceeded",
    0xa0 MaximumConnectTime "maximum connect time",
    0xa1 IdentifiersNotSupported "subscription identifiers not supported",
    0xa2 WildcardsNotSupported "wildcard subscriptions not supported",
}

impl Reason {
    /// 0x80 and above: what was asked for did not happen.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The code of a granted subscription.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQos1,
            QoS::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// Whether the standard lets `carrier` have it (3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3, 3.14.2.1, 3.15.2.1). Of 0x8C in
    /// DISCONNECT, which table 2-6 has and table 3-10 has not, clients know nothing (rumqttc and mqtt-proto take it for an error).
    pub const fn may_be_in(self, carrier: Carrier) -> bool {
        let code = self as u8;
        match carrier {
            Carrier::Connack => matches!(code, 0 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f),
            Carrier::Received => matches!(code, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
            Carrier::Released => matches!(code, 0 | 0x92),
            Carrier::Suback => matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2),
            Carrier::Unsuback => matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91),
            Carrier::ServerDisconnect => {
                matches!(code, 0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0xa2)
            }
            Carrier::ClientDisconnect => matches!(code, 0 | 4 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
            Carrier::ServerAuth => matches!(code, 0 | 0x18),
            Carrier::ClientAuth => matches!(code, 0x18 | 0x19),
        }
    }

    /// What a 3.x client is told of a refused CONNECT (3.1.1, 3.2.2.3).
    pub const fn connect_return(self) -> ConnectReturn {
        match self {
            Self::Success => ConnectReturn::Accepted,
            Self::UnsupportedVersion => ConnectReturn::UnacceptableVersion,
            Self::ClientIdNotValid => ConnectReturn::IdentifierRejected,
            Self::BadUserOrPassword => ConnectReturn::BadUserOrPassword,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => ConnectReturn::NotAuthorized,
            _ => ConnectReturn::ServerUnavailable,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.text(), *self as u8)
    }
}
