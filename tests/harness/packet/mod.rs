//! MQTT packets as text, both ways: what the scripts of the conformance tests send and expect (`script.rs`).
//!
//! Written from the standards and apart from the broker's own codec, so that the two cannot be wrong together. A packet is its name and then
//! words; the words of each are at [`encode`]. Properties (5.0) are `name=value`, names at [`PROPERTIES`]; those of a will begin with `will.`.
//! In a word `\xNN` is a byte, `"a b"` keeps blanks, and `"x*1000"` is a thousand times `x`.

mod decode;
mod encode;

use std::collections::HashMap;

pub use decode::decode;
pub use encode::encode;

/// Packet identifiers by name: `#a` stands for the identifier that was seen first where `#a` was expected.
pub type Ids = HashMap<String, u16>;

/// Name, number and type of each property (5.0, table 2-4).
const PROPERTIES: &[(&str, u8, Type)] = &[
    ("payload-format", 0x01, Type::Byte),
    ("message-expiry", 0x02, Type::Four),
    ("content-type", 0x03, Type::Text),
    ("response-topic", 0x08, Type::Text),
    ("correlation", 0x09, Type::Text),
    ("sub-id", 0x0b, Type::Variable),
    ("session-expiry", 0x11, Type::Four),
    ("assigned-id", 0x12, Type::Text),
    ("server-keep-alive", 0x13, Type::Two),
    ("auth-method", 0x15, Type::Text),
    ("auth-data", 0x16, Type::Text),
    ("problem-info", 0x17, Type::Byte),
    ("delay", 0x18, Type::Four),
    ("request-response", 0x19, Type::Byte),
    ("response-info", 0x1a, Type::Text),
    ("server-reference", 0x1c, Type::Text),
    ("reason", 0x1f, Type::Text),
    ("receive-max", 0x21, Type::Two),
    ("alias-max", 0x22, Type::Two),
    ("alias", 0x23, Type::Two),
    ("max-qos", 0x24, Type::Byte),
    ("retain-available", 0x25, Type::Byte),
    ("up", 0x26, Type::Pair),
    ("max-packet", 0x27, Type::Four),
    ("wildcard-available", 0x28, Type::Byte),
    ("sub-id-available", 0x29, Type::Byte),
    ("shared-available", 0x2a, Type::Byte),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Byte,
    Two,
    Four,
    Variable,
    Text,
    /// `key:value`
    Pair,
}

/// Splits at blanks outside of quotes; the quotes stay.
pub fn words(text: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        quoted ^= c == '"';
        match c {
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The name of the property that a word is.
pub fn property(word: &str) -> Option<&'static str> {
    let (name, _) = word.split_once('=')?;
    if name == "raw" { Some("raw") } else { PROPERTIES.iter().find(|(n, ..)| *n == name).map(|(n, ..)| *n) }
}

/// Properties by name, user properties in the order they have: only theirs means something.
pub fn sorted(mut properties: Vec<String>) -> Vec<String> {
    properties.sort_by_key(|word| match property(word) {
        Some("up") | None => ("up".to_owned(), String::new()),
        Some(name) => (name.to_owned(), word.clone()),
    });
    properties
}

/// Bytes as a word: what is not printable as `\xNN`, a long run of one character as `c*N`.
pub fn text(bytes: &[u8]) -> String {
    match bytes {
        [first, ..] if bytes.len() > 64 && bytes.iter().all(|byte| byte == first) => format!("{}*{}", char::from(*first), bytes.len()),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().all(|c| !c.is_control() && !c.is_whitespace() || c == ' ') => text.to_owned(),
            _ => bytes.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b).to_string() } else { format!("\\x{b:02x}") }).collect(),
        },
    }
}

/// The bytes that a word stands for.
fn bytes(word: &str) -> Vec<u8> {
    let word = word.trim_matches('"');
    if let Some((character, count)) = word.split_once('*')
        && let (1, Ok(count)) = (character.len(), count.parse())
    {
        return character.repeat(count).into_bytes();
    }
    let mut bytes = Vec::new();
    let mut parts = word.split("\\x");
    bytes.extend(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.extend(hex(&part[..2]));
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("two digits")).collect()
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// A variable byte integer, in as few bytes as it needs.
fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = u8::from(value > 0x7f) << 7;
        bytes.push((value & 0x7f) as u8 | more);
        value >>= 7;
        if value == 0 {
            return bytes;
        }
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("a string of at most 65,535 bytes").to_be_bytes(), bytes].concat()
}
