//! How large a packet is, and how long a keep-alive.

use std::time::Duration;

/// Bytes by which a PUBLISH may grow between our broker and an upstream of 3.1.1 (QoS 0 to 1: the packet id, and the length that counts it). So
/// what our broker could take never is too large to go up.
pub const GROWTH: usize = 4;

/// Size of a QoS 1 PUBLISH of 3.1.1 on the wire: type, remaining length, topic with its length, packet id, payload (3.1.1, 3.3).
pub fn publish_311(topic: usize, payload: usize) -> usize {
    whole(2 + topic + 2 + payload)
}

/// The same of 5.0, with so many bytes of properties (5.0, 3.3.2.3).
pub fn publish_5(topic: usize, properties: usize, payload: usize) -> usize {
    whole(2 + topic + 2 + length_bytes(properties) + properties + payload)
}

/// A packet by its remaining length.
fn whole(remaining: usize) -> usize {
    1 + length_bytes(remaining) + remaining
}

/// Of a variable byte integer.
fn length_bytes(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// The protocol counts a keep-alive in whole seconds of 16 bits, and rumqttc panics on one below `least`.
pub fn whole_seconds(keep_alive: Duration, least: u16) -> Duration {
    let seconds = keep_alive.as_secs_f64().ceil().min(f64::from(u16::MAX));
    Duration::from_secs((seconds as u64).max(least.into()))
}
