//! Packets that a server sends, appended to a buffer.

use super::reason::ConnectReturn;

pub const PINGRESP: [u8; 2] = [0xd0, 0];

pub const fn connack(session_present: bool, code: ConnectReturn) -> [u8; 4] {
    // [MQTT-3.2.2-4]: no session is present where the connection is refused.
    let present = session_present && matches!(code, ConnectReturn::Accepted);
    [0x20, 2, present as u8, code as u8]
}

pub const fn puback(id: u16) -> [u8; 4] {
    with_id(0x40, id)
}

pub const fn unsuback(id: u16) -> [u8; 4] {
    with_id(0xb0, id)
}

/// SUBACK with one code a filter, in order [MQTT-3.8.4-5].
pub fn suback(out: &mut Vec<u8>, id: u16, codes: &[u8]) {
    out.push(0x90);
    remaining_length(out, 2 + codes.len());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(codes);
}

/// A PUBLISH up to its body: fixed header with `first`, topic, and for `id` two bytes, which stand last.
/// The caller appends `body_len` bytes of body. A topic is at most 65,535 bytes long by its type.
pub fn publish_head(out: &mut Vec<u8>, first: u8, topic: &[u8], id: Option<u16>, body_len: usize) {
    out.push(first);
    remaining_length(out, 2 + topic.len() + if id.is_some() { 2 } else { 0 } + body_len);
    out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(topic);
    if let Some(id) = id {
        out.extend_from_slice(&id.to_be_bytes());
    }
}

const fn with_id(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// Appends a remaining length (2.2.3). Lengths above 268,435,455 cannot be written; packets are limited far below.
pub fn remaining_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}
