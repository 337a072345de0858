//! Packets that a server sends, appended to a buffer.

mod publish;
mod short;

pub use publish::{Extra, publish_head, publish_head_v5, publish_len};
pub use short::{Short, acknowledgement};

use super::primitive::{put_varint, varint_len};
use super::properties::Property;
use super::{Reason, Version};

pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// What CONNACK says beside in 5.0 (3.2.2.3). The default says nothing: what differs from what holds without it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnackProperties<'a> {
    /// Seconds, where it is not what the client asked for.
    pub session_expiry: Option<u32>,
    /// Not 0; 65,535 holds without it.
    pub receive_maximum: Option<u16>,
    /// QoS 0 or 1 where 2 is not to be had.
    pub maximum_qos: Option<crate::model::QoS>,
    /// Not to be had.
    pub no_retain: bool,
    /// Bytes of a whole packet, not 0.
    pub maximum_packet_size: Option<u32>,
    pub assigned_client_id: Option<&'a str>,
    /// Highest alias from the client; 0: none.
    pub topic_alias_maximum: u16,
    pub reason_string: Option<&'a str>,
    /// Not to be had.
    pub no_wildcards: bool,
    /// Not to be had.
    pub no_identifiers: bool,
    /// Not to be had.
    pub no_shared: bool,
    /// Seconds, where the client is to use another than its own.
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    /// Method and data.
    pub authentication: Option<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> ConnackProperties<'a> {
    fn each(&self) -> impl Iterator<Item = Property<'a>> {
        let (method, data) = self.authentication.map_or((None, None), |(method, data)| (Some(method), data));
        [
            self.session_expiry.map(Property::SessionExpiry),
            self.receive_maximum.filter(|n| !matches!(*n, 0 | u16::MAX)).map(Property::ReceiveMaximum),
            self.maximum_qos.filter(|qos| *qos < crate::model::QoS::ExactlyOnce).map(|qos| Property::MaximumQos(qos as u8)),
            self.no_retain.then_some(Property::RetainAvailable(false)),
            self.maximum_packet_size.filter(|bytes| *bytes != 0).map(Property::MaximumPacketSize),
            self.assigned_client_id.map(Property::AssignedClientId),
            Some(self.topic_alias_maximum).filter(|n| *n != 0).map(Property::TopicAliasMaximum),
            self.reason_string.map(Property::ReasonString),
            self.no_wildcards.then_some(Property::WildcardsAvailable(false)),
            self.no_identifiers.then_some(Property::IdentifiersAvailable(false)),
            self.no_shared.then_some(Property::SharedAvailable(false)),
            self.server_keep_alive.map(Property::ServerKeepAlive),
            self.response_information.map(Property::ResponseInformation),
            self.server_reference.map(Property::ServerReference),
            method.map(Property::AuthenticationMethod),
            data.map(Property::AuthenticationData),
        ]
        .into_iter()
        .flatten()
    }
}

/// CONNACK (3.2). 3.x gets the return code that stands for `reason`, and no properties.
pub fn connack(out: &mut Vec<u8>, version: Version, session_present: bool, reason: Reason, properties: &ConnackProperties<'_>) {
    // [MQTT-3.2.2-4]: no session is present where the connection is refused.
    let present = u8::from(session_present && reason == Reason::Success);
    if version.is_5() {
        packet(out, 0x20, &[present, reason as u8], properties.each());
    } else {
        out.extend_from_slice(&[0x20, 2, present, reason.connect_return() as u8]);
    }
}

/// PUBACK (3.4) of success, the same in all versions.
pub const fn puback(id: u16) -> [u8; 4] {
    with_id(0x40, id)
}

/// PUBREC (3.5) of success, the same in all versions.
pub const fn pubrec(id: u16) -> [u8; 4] {
    with_id(0x50, id)
}

/// PUBREL (3.6) of success, the same in all versions.
pub const fn pubrel(id: u16) -> [u8; 4] {
    with_id(0x62, id)
}

/// PUBCOMP (3.7) of success, the same in all versions.
pub const fn pubcomp(id: u16) -> [u8; 4] {
    with_id(0x70, id)
}

const fn with_id(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// The packet that `success` begins (as [`puback`] and its like give it), with a reason: 5.0 only, 3.x gets `success` as it is.
/// `reason_string` only where the client wants problem information [MQTT-3.1.2-29] and the packet stays within its maximum size.
pub fn ack(out: &mut Vec<u8>, version: Version, success: [u8; 4], reason: Reason, reason_string: Option<&str>) {
    let [first, _, high, low] = success;
    match reason_string.map(Property::ReasonString) {
        _ if !version.is_5() => out.extend_from_slice(&success),
        None if reason == Reason::Success => out.extend_from_slice(&success),
        None => out.extend_from_slice(&[first, 3, high, low, reason as u8]),
        text => packet(out, first, &[high, low, reason as u8], text),
    }
}

/// SUBACK with one code a filter, in order [MQTT-3.8.4-5]. In 3.x every refusal is 0x80.
pub fn suback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[Reason]) {
    let [high, low] = id.to_be_bytes();
    out.push(0x90);
    put_varint(out, 2 + usize::from(version.is_5()) + codes.len());
    out.extend_from_slice(&[high, low]);
    if version.is_5() {
        out.push(0);
        out.extend(codes.iter().map(|code| *code as u8));
    } else {
        out.extend(codes.iter().map(|code| if code.is_error() { super::reason::SUBSCRIBE_FAILURE } else { *code as u8 }));
    }
}

/// Bytes of a SUBACK, and in 5.0 of an UNSUBACK, to so many filters.
pub const fn answer_len(version: Version, filters: usize) -> usize {
    let remaining = 2 + if version.is_5() { 1 } else { 0 } + filters;
    1 + varint_len(remaining) + remaining
}

/// UNSUBACK: in 5.0 with one code a filter, in order [MQTT-3.11.3-2]; in 3.x without.
pub fn unsuback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[Reason]) {
    if !version.is_5() {
        out.extend_from_slice(&with_id(0xb0, id));
        return;
    }
    let [high, low] = id.to_be_bytes();
    out.push(0xb0);
    put_varint(out, 3 + codes.len());
    out.extend_from_slice(&[high, low, 0]);
    out.extend(codes.iter().map(|code| *code as u8));
}

/// DISCONNECT of the server (5.0, 3.14); 3.x has none, there the connection just ends. The length of its properties is written where there are
/// none, too: it may be left out (3.14.2.2.1), but rumqttc 0.25 then waits for more.
pub fn disconnect(out: &mut Vec<u8>, reason: Reason, reason_string: Option<&str>, server_reference: Option<&str>) {
    if reason_string.is_none() && server_reference.is_none() {
        out.extend_from_slice(&[0xe0, 2, reason as u8, 0]);
        return;
    }
    let properties = [reason_string.map(Property::ReasonString), server_reference.map(Property::ServerReference)];
    packet(out, 0xe0, &[reason as u8], properties.into_iter().flatten());
}

/// AUTH of the server (5.0, 3.15): [`Reason::ContinueAuthentication`], or [`Reason::Success`] at the end of a re-authentication.
pub fn auth(out: &mut Vec<u8>, reason: Reason, method: &str, data: Option<&[u8]>) {
    let properties = [Some(Property::AuthenticationMethod(method)), data.map(Property::AuthenticationData)];
    packet(out, 0xf0, &[reason as u8], properties.into_iter().flatten());
}

/// A packet of `head`, then properties with their length. Not for the hot paths: it builds the properties apart.
fn packet<'a>(out: &mut Vec<u8>, first: u8, head: &[u8], properties: impl IntoIterator<Item = Property<'a>>) {
    let mut block = Vec::new();
    properties.into_iter().for_each(|property| property.write(&mut block));
    out.push(first);
    put_varint(out, head.len() + varint_len(block.len()) + block.len());
    out.extend_from_slice(head);
    put_varint(out, block.len());
    out.extend_from_slice(&block);
}

/// Appends a remaining length (2.2.3). Lengths above 268,435,455 cannot be written; packets are limited far below.
pub fn remaining_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, length);
}
