//! MQTT's packets as bytes and back. Sans-I/O, no clock, no state beyond one packet.
//!
//! Job: cut a stream into packets ([`codec`]), read what a client may send ([`packet`]), write what a server sends ([`encode`]). Today 3.1.1
//! (level 4); the version is known from CONNECT on, so 5.0 becomes a second reading of the same packets, not a second codec.
//!
//! Invariants: nothing is allocated by a claimed length, only by bytes that are there; what a parser returned obeys every rule of the standard
//! that one packet alone can break (what needs state, such as "CONNECT first", is the broker's); a reader never panics, whatever the bytes.
//!
//! Failure: an [`Error`] ends the connection [MQTT-4.8.0-1]; it carries the clause that was broken, for the log.

pub mod codec;
pub mod encode;
pub mod packet;
mod primitive;
pub mod reason;

pub use codec::{Frame, split};

use crate::model::TopicError;

/// The version that a client speaks, told by CONNECT (3.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// 3.1: `MQIsdp`, level 3.
    V31,
    /// 3.1.1: level 4.
    #[default]
    V311,
    /// 5.0: level 5.
    V5,
}

impl Version {
    pub const fn is_5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// Why a packet is not acceptable. The connection is closed, no answer is sent (3.1.1 has none).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("a packet of {size} bytes is larger than the limit of {max}")]
    TooLarge { size: usize, max: usize },
    #[error("more than {max} filters in one packet", max = packet::FILTERS_MAX)]
    TooManyFilters,
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("bad topic: {0}")]
    Topic(#[from] TopicError),
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
}
