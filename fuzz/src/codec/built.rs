//! Packets of a client made of an input's bytes with every length right, so that what is inside is reached at once: properties of any number and
//! place, once or more often, and any text. The gateway's own tests use it with the corpus, too.

use crate::mqtt::{Version, kind};

/// Packets of one input.
const PACKETS_MAX: usize = 8;

/// Choices from the bytes of an input; zero when they are used up.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// At most `length` bytes.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(length.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// True for one byte in 32.
    fn seldom(&mut self) -> bool {
        self.u8() & 0x1f == 0x1f
    }
}

pub fn stream(input: &[u8], version: Version) -> Vec<u8> {
    let mut choices = Choices(input);
    let mut out = Vec::new();
    for _ in 0..PACKETS_MAX {
        if choices.0.is_empty() {
            break;
        }
        packet(&mut choices, version, &mut out);
    }
    out
}

fn packet(choices: &mut Choices<'_>, version: Version, out: &mut Vec<u8>) {
    const KINDS: [u8; 10] = [
        kind::CONNECT,
        kind::PUBLISH,
        kind::PUBACK,
        kind::PUBREC,
        kind::PUBREL,
        kind::PUBCOMP,
        kind::SUBSCRIBE,
        kind::UNSUBSCRIBE,
        kind::DISCONNECT,
        kind::AUTH,
    ];
    let kind = KINDS[usize::from(choices.u8()) % KINDS.len()];
    let flags = match kind {
        kind::PUBLISH => choices.u8() & 0x0f,
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => 2,
        _ => 0,
    };
    let mut body = Vec::new();
    content(choices, kind, flags, version, &mut body);
    if choices.seldom() {
        body.push(choices.u8());
    }
    if choices.seldom() {
        body.pop();
    }
    out.push(kind << 4 | flags);
    integer(out, body.len());
    out.extend_from_slice(&body);
}

fn content(choices: &mut Choices<'_>, kind: u8, flags: u8, version: Version, body: &mut Vec<u8>) {
    match kind {
        kind::CONNECT => connect(choices, version, body),
        kind::PUBLISH => {
            binary(choices, body);
            if flags & 6 != 0 {
                body.extend([0, choices.u8()]);
            }
            properties(choices, version, body);
            body.extend_from_slice(some(choices));
        }
        kind::SUBSCRIBE | kind::UNSUBSCRIBE => {
            body.extend([0, choices.u8()]);
            properties(choices, version, body);
            for _ in 0..choices.u8() % 4 {
                binary(choices, body);
                if kind == kind::SUBSCRIBE {
                    body.push(choices.u8());
                }
            }
        }
        kind::DISCONNECT | kind::AUTH => code(choices, version, body),
        _ => {
            body.extend([0, choices.u8()]);
            code(choices, version, body);
        }
    }
}

fn connect(choices: &mut Choices<'_>, version: Version, body: &mut Vec<u8>) {
    body.extend_from_slice(match version {
        Version::V31 => b"\0\x06MQIsdp\x03",
        Version::V311 => b"\0\x04MQTT\x04",
        Version::V5 => b"\0\x04MQTT\x05",
    });
    let flags = choices.u8();
    body.extend([flags, 0, choices.u8()]);
    properties(choices, version, body);
    binary(choices, body);
    if flags & 0x04 != 0 {
        properties(choices, version, body);
        binary(choices, body);
        binary(choices, body);
    }
    for _ in 0..(flags >> 6).count_ones() {
        binary(choices, body);
    }
}

/// Reason code and properties, or the first or none of them.
fn code(choices: &mut Choices<'_>, version: Version, body: &mut Vec<u8>) {
    let parts = choices.u8() % 4;
    if version.is_5() && parts > 0 {
        body.push(choices.u8());
        if parts > 1 {
            properties(choices, version, body);
        }
    }
}

fn properties(choices: &mut Choices<'_>, version: Version, body: &mut Vec<u8>) {
    if !version.is_5() {
        return;
    }
    let mut block = Vec::new();
    for _ in 0..choices.u8() % 6 {
        let id = choices.u8() % 0x2b;
        block.push(id);
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => block.push(choices.u8()),
            0x13 | 0x21..=0x23 => block.extend([0, choices.u8()]),
            0x02 | 0x11 | 0x18 | 0x27 => block.extend([0, 0, 0, choices.u8()]),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => binary(choices, &mut block),
            0x26 => {
                binary(choices, &mut block);
                binary(choices, &mut block);
            }
            0x0b => integer(&mut block, usize::from(choices.u8()) * 0x41),
            _ => {}
        }
    }
    integer(body, block.len());
    body.extend_from_slice(&block);
}

/// Up to seven bytes, with their length before them.
fn binary(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    let bytes = some(choices);
    out.extend([0, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

fn some<'a>(choices: &mut Choices<'a>) -> &'a [u8] {
    let length = choices.u8() % 8;
    choices.take(usize::from(length))
}

/// A variable byte integer of at most two bytes.
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        out.extend([value as u8 | 0x80, (value >> 7) as u8]);
    }
}
