//! Packets of a client.

use std::fmt;

use super::super::encode::{self, Extra};
use super::super::primitive::{put_binary, put_text, put_varint};
use super::super::{Forwarded, Reason, Version, kind};
use crate::model::{QoS, RetainHandling, SubscribeOptions};

pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// CONNECT (3.1). What 3.x has no word for (`properties`) is not written there.
#[derive(Clone, Copy)]
pub struct Connect<'a> {
    pub version: Version,
    pub clean: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    /// A block of properties, encoded.
    pub properties: &'a [u8],
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("version", &self.version).field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub body: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    /// A block of properties, encoded.
    pub properties: &'a [u8],
}

/// CONNECT. Texts and bodies beyond 65,535 bytes cannot be said and are cut off: the caller has looked.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let version = connect.version;
    let mut body = Vec::new();
    put_text(&mut body, if version == Version::V31 { "MQIsdp" } else { "MQTT" });
    body.push(version as u8);
    let will = connect.will.map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    body.push(will | u8::from(connect.clean) << 1 | u8::from(connect.password.is_some()) << 6 | u8::from(connect.user.is_some()) << 7);
    body.extend_from_slice(&connect.keep_alive.to_be_bytes());
    put_properties(&mut body, version, connect.properties);
    put_text(&mut body, connect.client_id);
    if let Some(will) = connect.will {
        put_properties(&mut body, version, will.properties);
        put_text(&mut body, will.topic);
        put_binary(&mut body, will.body);
    }
    if let Some(user) = connect.user {
        put_text(&mut body, user);
    }
    if let Some(password) = connect.password {
        put_binary(&mut body, password);
    }
    finish(out, 0x10, &body);
}

/// PUBLISH; `id` where `qos` is not 0. `properties`: a block, encoded; 3.x has none.
#[expect(clippy::too_many_arguments, reason = "they are the fields of the packet")]
pub fn publish(out: &mut Vec<u8>, version: Version, topic: &str, id: Option<u16>, qos: QoS, retain: bool, properties: &[u8], body: &[u8]) {
    let first = 0x30 | (qos as u8) << 1 | u8::from(retain);
    if version.is_5() {
        let forwarded = Forwarded::from(properties);
        encode::publish_head_v5(out, first, topic.as_bytes(), id, forwarded, Extra::default(), body.len());
    } else {
        encode::publish_head(out, first, topic.as_bytes(), id, body.len());
    }
    out.extend_from_slice(body);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of success, by its kind.
pub fn acknowledge(out: &mut Vec<u8>, version: Version, kind: u8, id: u16) {
    out.extend_from_slice(encode::acknowledgement(kind, version, id, Reason::Success).as_bytes());
}

/// SUBSCRIBE, with the same options for all filters; in 3.x only their QoS is said.
pub fn subscribe<'a>(
    out: &mut Vec<u8>,
    version: Version,
    id: u16,
    filters: impl IntoIterator<Item = &'a str>,
    options: SubscribeOptions,
    properties: &[u8],
) {
    let flags = match options.retain_handling {
        _ if !version.is_5() => 0,
        handling @ (RetainHandling::Send | RetainHandling::SendIfNew | RetainHandling::DoNotSend) => {
            u8::from(options.no_local) << 2 | u8::from(options.retain_as_published) << 3 | (handling as u8) << 4
        }
    };
    let mut body = id.to_be_bytes().to_vec();
    put_properties(&mut body, version, properties);
    for filter in filters {
        put_text(&mut body, filter);
        body.push(options.qos as u8 | flags);
    }
    finish(out, kind::SUBSCRIBE << 4 | 2, &body);
}

pub fn unsubscribe<'a>(out: &mut Vec<u8>, version: Version, id: u16, filters: impl IntoIterator<Item = &'a str>) {
    let mut body = id.to_be_bytes().to_vec();
    put_properties(&mut body, version, &[]);
    filters.into_iter().for_each(|filter| put_text(&mut body, filter));
    finish(out, kind::UNSUBSCRIBE << 4 | 2, &body);
}

/// DISCONNECT; the will is taken back.
pub fn disconnect(out: &mut Vec<u8>, version: Version, properties: &[u8]) {
    if properties.is_empty() || !version.is_5() {
        return out.extend_from_slice(&[0xe0, 0]);
    }
    let mut body = vec![Reason::Success as u8];
    put_properties(&mut body, version, properties);
    finish(out, 0xe0, &body);
}

fn put_properties(body: &mut Vec<u8>, version: Version, block: &[u8]) {
    if version.is_5() {
        put_varint(body, block.len());
        body.extend_from_slice(block);
    }
}

fn finish(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    put_varint(out, body.len());
    out.extend_from_slice(body);
}
