//! What clients send, as bytes. Written apart from the codec's reader.

use crate::mqtt::Version;

/// CONNECT, with what matters here.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Hello<'a> {
    pub(in crate::broker) version: Version,
    pub(in crate::broker) client: &'a str,
    pub(in crate::broker) clean: bool,
    /// 5.0 only.
    pub(in crate::broker) expiry: u32,
    /// 5.0 only; 0: not said.
    pub(in crate::broker) receive_maximum: u16,
    /// 5.0 only; 0: not said.
    pub(in crate::broker) packet_max: u32,
    /// 5.0 only.
    pub(in crate::broker) aliases: u16,
    pub(in crate::broker) keep_alive: u16,
    pub(in crate::broker) will: Option<Testament<'a>>,
}

/// A will.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Testament<'a> {
    pub(in crate::broker) topic: &'a str,
    pub(in crate::broker) body: &'a [u8],
    pub(in crate::broker) qos: u8,
    pub(in crate::broker) retain: bool,
    /// 5.0 only.
    pub(in crate::broker) delay: u32,
}

impl Hello<'_> {
    pub(in crate::broker) fn encode(&self) -> Vec<u8> {
        let five = self.version == Version::V5;
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        let mut body = string(if self.version == Version::V31 { b"MQIsdp" } else { b"MQTT" });
        body.extend([self.version as u8, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if five {
            let mut properties = Vec::new();
            number(&mut properties, 0x11, &self.expiry.to_be_bytes());
            if self.receive_maximum > 0 {
                number(&mut properties, 0x21, &self.receive_maximum.to_be_bytes());
            }
            if self.packet_max > 0 {
                number(&mut properties, 0x27, &self.packet_max.to_be_bytes());
            }
            number(&mut properties, 0x22, &self.aliases.to_be_bytes());
            body.extend(block(&properties));
        }
        body.extend(string(self.client.as_bytes()));
        if let Some(will) = &self.will {
            if five {
                let mut properties = Vec::new();
                number(&mut properties, 0x18, &will.delay.to_be_bytes());
                body.extend(block(&properties));
            }
            body.extend(string(will.topic.as_bytes()));
            body.extend(string(will.body));
        }
        packet(0x10, &body)
    }
}

/// PUBLISH.
#[derive(Debug, Clone, Default)]
pub(in crate::broker) struct Says<'a> {
    pub(in crate::broker) version: Version,
    pub(in crate::broker) topic: &'a str,
    pub(in crate::broker) body: &'a [u8],
    pub(in crate::broker) qos: u8,
    /// Left out at QoS 0.
    pub(in crate::broker) id: u16,
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) dup: bool,
    /// 5.0 only, encoded.
    pub(in crate::broker) properties: &'a [u8],
}

impl Says<'_> {
    pub(in crate::broker) fn encode(&self) -> Vec<u8> {
        let mut body = string(self.topic.as_bytes());
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if self.version == Version::V5 {
            body.extend(block(self.properties));
        }
        body.extend_from_slice(self.body);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// `filters`: each with its options; `identifier` 0: none.
pub(in crate::broker) fn subscribe(version: Version, id: u16, filters: &[(&str, u8)], identifier: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        let properties = [0x0b, identifier & 0x7f];
        body.extend(block(if identifier & 0x7f == 0 { &[] } else { &properties }));
    }
    for (filter, options) in filters {
        body.extend(string(filter.as_bytes()));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(in crate::broker) fn unsubscribe(version: Version, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(string(filter.as_bytes()));
    packet(0xa2, &body)
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP; a reason in 5.0 where it is not 0.
pub(in crate::broker) fn ack(version: Version, kind: u8, id: u16, reason: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 && reason != 0 {
        body.push(reason);
    }
    packet(kind << 4 | if kind == 6 { 2 } else { 0 }, &body)
}

/// DISCONNECT; in 5.0 with a reason, and a session expiry interval where one is given.
pub(in crate::broker) fn disconnect(version: Version, reason: u8, expiry: Option<u32>) -> Vec<u8> {
    let mut body = Vec::new();
    if version == Version::V5 && (reason != 0 || expiry.is_some()) {
        let mut properties = Vec::new();
        if let Some(expiry) = expiry {
            number(&mut properties, 0x11, &expiry.to_be_bytes());
        }
        body.push(reason);
        body.extend(block(&properties));
    }
    packet(0xe0, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

fn block(properties: &[u8]) -> Vec<u8> {
    [&varint(properties.len())[..], properties].concat()
}

fn number(properties: &mut Vec<u8>, id: u8, value: &[u8]) {
    properties.push(id);
    properties.extend_from_slice(value);
}

fn string(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text].concat()
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (n & 0x7f) as u8;
        n >>= 7;
        bytes.push(byte | if n > 0 { 0x80 } else { 0 });
        if n == 0 {
            return bytes;
        }
    }
}
