//! PUBLISH up to its body.

use super::super::primitive::{put_varint, varint_len};
use super::super::{Forwarded, Version};

/// The properties of a PUBLISH to a 5.0 receiver that are not the sender's (3.3.2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra<'a> {
    /// Seconds that are left.
    pub expiry: Option<u32>,
    /// Not 0; with an empty topic it stands for the topic.
    pub alias: Option<u16>,
    /// Of the subscriptions that the message matches, each 1 to 268,435,455.
    pub identifiers: &'a [u32],
}

impl Extra<'_> {
    pub const fn is_empty(&self) -> bool {
        self.expiry.is_none() && self.alias.is_none() && self.identifiers.is_empty()
    }

    /// Bytes.
    fn len(&self) -> usize {
        let identifiers: usize = self.identifiers.iter().map(|n| 1 + varint_len(*n as usize)).sum();
        identifiers + self.expiry.map_or(0, |_| 5) + self.alias.map_or(0, |_| 3)
    }

    /// Identifiers stand last of all: rumqttc 0.25, a client that many have, counts a byte too many for each and takes what follows for the body.
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(seconds) = self.expiry {
            out.push(0x02);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        if let Some(alias) = self.alias {
            out.push(0x23);
            out.extend_from_slice(&alias.to_be_bytes());
        }
        for identifier in self.identifiers {
            out.push(0x0b);
            put_varint(out, *identifier as usize);
        }
    }
}

/// A PUBLISH of 3.x up to its body: fixed header with `first`, topic, and for `id` two bytes, which stand last.
/// The caller appends `body_len` bytes of body. A topic is at most 65,535 bytes long by its type.
pub fn publish_head(out: &mut Vec<u8>, first: u8, topic: &[u8], id: Option<u16>, body_len: usize) {
    out.push(first);
    put_varint(out, 2 + topic.len() + if id.is_some() { 2 } else { 0 } + body_len);
    put_topic(out, topic, id);
}

/// A PUBLISH of 5.0 up to its body, as [`publish_head`]; `forwarded` are the sender's properties. Returns where the packet id stands (or would
/// stand), counted from the packet's first byte.
pub fn publish_head_v5<'a>(
    out: &mut Vec<u8>,
    first: u8,
    topic: &[u8],
    id: Option<u16>,
    forwarded: impl Into<Forwarded<'a>>,
    extra: Extra<'_>,
    body_len: usize,
) -> usize {
    let forwarded = forwarded.into();
    let properties = extra.len() + forwarded.len();
    let remaining = 2 + topic.len() + if id.is_some() { 2 } else { 0 } + varint_len(properties) + properties + body_len;
    out.push(first);
    put_varint(out, remaining);
    put_topic(out, topic, id);
    put_varint(out, properties);
    forwarded.copy_to(out);
    extra.write(out);
    1 + varint_len(remaining) + 2 + topic.len()
}

/// Bytes of a whole PUBLISH; `properties`: those of its sender.
pub fn publish_len(version: Version, topic: usize, id: bool, properties: usize, extra: &Extra<'_>, body: usize) -> usize {
    let block = if version.is_5() { properties + extra.len() } else { 0 };
    let block = if version.is_5() { varint_len(block) + block } else { 0 };
    let remaining = 2 + topic + if id { 2 } else { 0 } + block + body;
    1 + varint_len(remaining) + remaining
}

fn put_topic(out: &mut Vec<u8>, topic: &[u8], id: Option<u16>) {
    out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(topic);
    if let Some(id) = id {
        out.extend_from_slice(&id.to_be_bytes());
    }
}
