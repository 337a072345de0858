//! MQTT's packets as bytes and back, in 3.1 (`MQIsdp`, level 3), 3.1.1 (4) and 5.0 (5). Sans-I/O, no clock, no state beyond one packet.
//!
//! Job: cut a stream into packets ([`codec`]), read what a client may send ([`packet`]), write what a server sends ([`encode`]), and both the other
//! way round for our own tools ([`client`]). The version is known from CONNECT on; 5.0 is a second reading of the same packets, with
//! [`properties`] and [`reason`] codes.
//!
//! Invariants: nothing is allocated by a claimed length, only by bytes that are there; what a parser returned obeys every rule of the standard
//! that one packet alone can break (what needs state, such as "CONNECT first", a known topic alias or a free packet id, is the broker's); a
//! reader never panics, whatever the bytes.
//!
//! Clauses in errors are those of 3.1.1 where both standards have the rule, else of 5.0. 3.1 asks less than 3.1.1: what it says is disregarded
//! (flags of headers other than PUBLISH's, CONNECT's reserved bit, the bits of a will that is none, a user name or password that was announced
//! and is not there) is disregarded, as Mosquitto does.
//!
//! Not checked: that a payload whose format indicator says UTF-8 is UTF-8 (5.0, 3.3.2.3.2 lets a receiver do so; Mosquitto does not, and it
//! would cost a pass over every payload); that a remaining length has as few bytes as it needs ([`Frame::is_minimal`] tells).
//!
//! Failure: an [`Error`] ends the connection [MQTT-4.8.0-1]; it carries the clause that was broken, for the log, and the [`Reason`] that a 5.0
//! client is told.

pub mod client;
pub mod codec;
pub mod encode;
pub mod packet;
mod primitive;
pub mod properties;
pub mod reason;

pub use codec::{Frame, split};
pub use primitive::VARINT_MAX;
pub use properties::Forwarded;
pub use reason::Reason;

use crate::model::TopicError;

/// The version that a client speaks, told by CONNECT (3.1.2.2). The number is its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Version {
    /// 3.1: `MQIsdp`.
    V31 = 3,
    #[default]
    V311 = 4,
    V5 = 5,
}

impl Version {
    pub const fn is_5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// Why a packet is not acceptable. The connection is closed, in 5.0 with [`Error::reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read as the standard describes it.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// It can be read, and says what must not be said.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("a packet of {size} bytes is larger than the limit of {max}")]
    TooLarge { size: usize, max: usize },
    #[error("more than {max} filters in one packet", max = packet::FILTERS_MAX)]
    TooManyFilters,
    #[error("more user properties in one packet than may be")]
    TooManyUserProperties,
    #[error("bad topic: {0}")]
    Topic(#[from] TopicError),
    #[error("topic alias 0 [MQTT-3.3.2-8]")]
    TopicAliasInvalid,
    #[error("the client id is not acceptable: {0}")]
    ClientId(&'static str),
    #[error("MQTT level {0} is not spoken here")]
    Version(u8),
}

impl Error {
    /// With which the connection is ended in 5.0 (4.13).
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::Topic(TopicError::NotUtf8 | TopicError::Nul | TopicError::TooLong) => Reason::MalformedPacket,
            Self::Protocol(_) => Reason::ProtocolError,
            Self::TooLarge { .. } => Reason::PacketTooLarge,
            Self::TooManyFilters | Self::TooManyUserProperties => Reason::QuotaExceeded,
            Self::Topic(TopicError::Empty | TopicError::Wildcard) => Reason::TopicNameInvalid,
            Self::Topic(TopicError::WildcardPlace | TopicError::Share) => Reason::TopicFilterInvalid,
            Self::TopicAliasInvalid => Reason::TopicAliasInvalid,
            Self::ClientId(_) => Reason::ClientIdNotValid,
            Self::Version(_) => Reason::UnsupportedVersion,
        }
    }
}

/// Types of control packets, the upper half of a packet's first byte (3.1.1, 2.2.1).
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    /// 5.0 only.
    pub const AUTH: u8 = 15;
}

#[cfg(test)]
mod tests;
