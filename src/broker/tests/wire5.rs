//! Packets of 5.0 clients for the tests, by hand.

use super::{packet, string};

/// Properties with their length before them.
pub(super) fn properties(properties: &[&[u8]]) -> Vec<u8> {
    let block = properties.concat();
    assert!(block.len() < 128);
    [vec![block.len() as u8], block].concat()
}

/// `expiry`: session expiry interval; `more`: further properties, encoded.
pub(super) fn connect5(client: &str, clean: bool, expiry: u32, more: &[u8]) -> Vec<u8> {
    let block = properties(&[&[0x11], &expiry.to_be_bytes(), more]);
    packet(0x10, &[&string("MQTT"), &[5, u8::from(clean) << 1], &[0, 0], &block, &string(client)])
}

/// `first`: 0x30 with its flags.
pub(super) fn publish5(first: u8, topic: &str, id: u16, props: &[u8], body: &str) -> Vec<u8> {
    let id = if first & 6 == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    packet(first, &[&string(topic), &id, &properties(&[props]), body.as_bytes()])
}

/// `options`: the byte of each filter; `identifier` 0: none.
pub(super) fn subscribe5(id: u16, identifier: u8, filters: &[(&str, u8)]) -> Vec<u8> {
    let block = if identifier == 0 { vec![0] } else { vec![2, 0x0b, identifier] };
    let filters: Vec<u8> = filters.iter().flat_map(|(filter, options)| [string(filter), vec![*options]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes(), &block, &filters])
}

/// PUBACK 4, PUBREC 5, PUBREL 6 or PUBCOMP 7.
pub(super) fn ack(kind: u8, id: u16) -> Vec<u8> {
    packet(kind << 4 | if kind == 6 { 2 } else { 0 }, &[&id.to_be_bytes()])
}

pub(super) fn ack5(kind: u8, id: u16, reason: u8) -> Vec<u8> {
    packet(kind << 4 | if kind == 6 { 2 } else { 0 }, &[&id.to_be_bytes(), &[reason]])
}
