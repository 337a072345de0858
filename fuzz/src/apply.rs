//! Sequences of packets and events against the broker's state (`src/broker/fuzz`); what it writes is read by rumqttc's codec, too.

use bytes::BytesMut;
use tidegate::mqtt::Version;

/// Any bytes are a sequence.
pub fn check(input: &[u8]) {
    tidegate::broker::fuzz::run(input, &mut read);
}

/// A packet of the broker, read by a client's codec.
fn read(version: Version, packet: &[u8]) {
    // It knows not all reasons of CONNACK.
    if matches!(packet, [0x20, _, _, 0x80..=0xff, ..]) {
        return;
    }
    let mut bytes = BytesMut::from(packet);
    let result = match version {
        Version::V5 => rumqttc::v5::mqttbytes::v5::Packet::read(&mut bytes, None).map(drop).map_err(|error| error.to_string()),
        _ => rumqttc::mqttbytes::v4::Packet::read(&mut bytes, usize::MAX).map(drop).map_err(|error| error.to_string()),
    };
    assert!(result.is_ok(), "rumqttc cannot read {packet:x?}: {result:?}");
    assert!(bytes.is_empty());
}
