//! A message on its way through the gateway.

use bytes::Bytes;

use super::{Body, Topic, UpstreamId};

/// Quality of service of MQTT (3.1.1, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl QoS {
    /// `None` for 3 and above, which the standard forbids [MQTT-3.3.1-4].
    pub const fn from_u8(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Where a message came from. What came from an upstream never returns to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Bus,
    Client,
    Upstream(UpstreamId),
}

/// A message before its acceptance: it has no id yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub topic: Topic,
    pub body: Body,
    pub qos: QoS,
    pub retain: bool,
    pub origin: Origin,
    /// As in [`super::Entry::properties`].
    pub properties: Bytes,
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
}

impl Message {
    /// Without properties.
    pub const fn new(topic: Topic, body: Body, qos: QoS, retain: bool, origin: Origin) -> Self {
        Self { topic, body, qos, retain, origin, properties: Bytes::new(), expiry: None }
    }
}
