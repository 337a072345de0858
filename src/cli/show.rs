//! How `tidegate sub` prints a message: plain, with its topic, or by a format of `mosquitto_sub -F`.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::visible::visible;
use crate::client::Message;
use crate::model::Wall;
use crate::mqtt::properties::{Property, decode};

/// What a message is printed as.
#[derive(Debug)]
pub(super) struct Format {
    pieces: Vec<Piece>,
    /// Standard output is a terminal: what would steer it is escaped.
    terminal: bool,
    new_line: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// The user's own, as it is.
    Text(Vec<u8>),
    Field {
        what: char,
        left: bool,
        zero: bool,
        width: usize,
        max: Option<usize>,
    },
}

/// The payload is no JSON, and `%J` wants it to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoJson;

/// Widest field: a format is the user's, but it is no way to fill the memory.
const WIDTH_MAX: usize = 10_000;

impl Format {
    /// The payload, or with `verbose` topic and payload.
    pub(super) fn plain(verbose: bool, terminal: bool, new_line: bool) -> Self {
        let field = |what| Piece::Field { what, left: false, zero: false, width: 0, max: None };
        let payload = field('p');
        let pieces = if verbose { vec![field('t'), Piece::Text(b" ".to_vec()), payload] } else { vec![payload] };
        Self { pieces, terminal, new_line }
    }

    pub(super) fn parse(text: &str, terminal: bool, new_line: bool) -> Result<Self, String> {
        let (mut pieces, mut literal) = (Vec::new(), Vec::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match field(&mut chars)? {
                    Piece::Field { what: '%', .. } => literal.push(b'%'),
                    field => {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                        pieces.push(field);
                    }
                },
                '@' => match chars.next() {
                    Some('@') => literal.push(b'@'),
                    _ => return Err("times by @ are not printed here; there are %I and %U".to_owned()),
                },
                '\\' => literal.push(match chars.next() {
                    Some('\\') => b'\\',
                    Some('0') => 0,
                    Some('a') => 7,
                    Some('e') => 0x1b,
                    Some('n') => b'\n',
                    Some('r') => b'\r',
                    Some('t') => b'\t',
                    Some('v') => 11,
                    other => {
                        return Err(format!(
                            "\\{} is no escape; there are \\\\ \\0 \\a \\e \\n \\r \\t \\v",
                            other.map(String::from).unwrap_or_default()
                        ));
                    }
                }),
                c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        pieces.push(Piece::Text(literal));
        Ok(Self { pieces, terminal, new_line })
    }

    /// Appends the message as it is to be printed.
    pub(super) fn write(&self, message: &Message, at: Wall, out: &mut Vec<u8>) -> Result<(), NoJson> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field { what, left, zero, width, max } => {
                    let value = value(*what, message, at)?;
                    let value = match max {
                        Some(max) => cut(value, *max),
                        None => value,
                    };
                    let value = if self.terminal { visible(&value, *what == 'p').into_bytes() } else { value };
                    pad(out, &value, *left, *zero && is_number(*what), *width);
                }
            }
        }
        if self.new_line {
            out.push(b'\n');
        }
        Ok(())
    }
}

/// What follows `%`.
fn field(chars: &mut std::str::Chars<'_>) -> Result<Piece, String> {
    let (mut left, mut zero, mut width, mut max) = (false, false, 0_usize, None);
    loop {
        match chars.next() {
            Some('-') => left = true,
            Some('0') if width == 0 && max.is_none() => zero = true,
            Some('.') if max.is_none() => max = Some(0_usize),
            Some(digit @ '0'..='9') => {
                let place = max.as_mut().unwrap_or(&mut width);
                *place = (*place * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(WIDTH_MAX);
            }
            Some(what) if FIELDS.contains(what) => return Ok(Piece::Field { what, left, zero: zero && !left, width, max }),
            Some(other) => return Err(format!("%{other} is no field; there are %% and % with one of: {FIELDS}")),
            None => return Err("it ends with %".to_owned()),
        }
    }
}

const FIELDS: &str = "%ACDEFIJPRSUXjlmpqrtx";

const fn is_number(what: char) -> bool {
    matches!(what, 'A' | 'E' | 'F' | 'l' | 'm' | 'q' | 'r' | 'S')
}

fn value(what: char, message: &Message, at: Wall) -> Result<Vec<u8>, NoJson> {
    let text = match what {
        't' => message.topic.clone(),
        'p' => return Ok(message.body.clone()),
        'q' => (message.qos as u8).to_string(),
        'r' => u8::from(message.retain).to_string(),
        'l' => message.body.len().to_string(),
        'm' => message.id.to_string(),
        'x' => hex(&message.body, false),
        'X' => hex(&message.body, true),
        'I' => iso(at),
        'U' => format!("{}.{:03}000000", at.0.div_euclid(1_000), at.0.rem_euclid(1_000)),
        'j' => json(message, at, &payload_text(&message.body)),
        'J' => {
            let payload: &RawValue = serde_json::from_slice(&message.body).map_err(|_| NoJson)?;
            json(message, at, payload.get())
        }
        _ => return Ok(of_property(what, message)),
    };
    Ok(text.into_bytes())
}

/// Several of a kind are joined by a space.
fn of_property(what: char, message: &Message) -> Vec<u8> {
    let each = decode(&message.properties).filter_map(|property| match (what, property) {
        ('C', Property::ContentType(text)) | ('R', Property::ResponseTopic(text)) => Some(text.as_bytes().to_vec()),
        ('D', Property::CorrelationData(bytes)) => Some(bytes.to_vec()),
        ('E', Property::MessageExpiry(n)) | ('S', Property::SubscriptionIdentifier(n)) => Some(n.to_string().into_bytes()),
        ('A', Property::TopicAlias(n)) => Some(n.to_string().into_bytes()),
        ('F', Property::PayloadFormat(text)) => Some(u8::from(text).to_string().into_bytes()),
        ('P', Property::User(name, value)) => Some(format!("{name}:{value}").into_bytes()),
        _ => None,
    });
    each.collect::<Vec<_>>().join(&b' ')
}

/// As mosquitto_sub: `{"tst":…,"topic":…,"qos":…,"retain":…,"payloadlen":…,"mid":…,"properties":{…},"payload":…}`.
fn json(message: &Message, at: Wall, payload: &str) -> String {
    let mut out = format!(
        "{{\"tst\":\"{}\",\"topic\":{},\"qos\":{},\"retain\":{},\"payloadlen\":{},",
        iso(at),
        quoted(&message.topic),
        message.qos as u8,
        u8::from(message.retain),
        message.body.len()
    );
    if message.id != 0 {
        let _ = write!(out, "\"mid\":{},", message.id);
    }
    let properties = properties(message);
    if !properties.is_empty() {
        let _ = write!(out, "\"properties\":{{{}}},", properties.join(","));
    }
    let _ = write!(out, "\"payload\":{payload}}}");
    out
}

fn properties(message: &Message) -> Vec<String> {
    let mut user = Vec::new();
    let mut all: Vec<String> = decode(&message.properties)
        .filter_map(|property| {
            Some(match property {
                Property::User(name, value) => {
                    user.push(format!("{{\"name\":{},\"value\":{}}}", quoted(name), quoted(value)));
                    return None;
                }
                Property::ContentType(text) => format!("\"content-type\":{}", quoted(text)),
                Property::ResponseTopic(text) => format!("\"response-topic\":{}", quoted(text)),
                Property::CorrelationData(bytes) => format!("\"correlation-data\":{}", payload_text(bytes)),
                Property::MessageExpiry(n) => format!("\"message-expiry-interval\":{n}"),
                Property::SubscriptionIdentifier(n) => format!("\"subscription-identifier\":{n}"),
                Property::PayloadFormat(text) => format!("\"payload-format-indicator\":{}", u8::from(text)),
                _ => return None,
            })
        })
        .collect();
    if !user.is_empty() {
        all.insert(0, format!("\"user-properties\":[{}]", user.join(",")));
    }
    all
}

/// A JSON string; what is no UTF-8 is replaced in it, and said exactly in hexadecimal behind it.
fn payload_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => quoted(text),
        Err(_) => format!("{},\"payloadhex\":\"{}\"", quoted(&String::from_utf8_lossy(bytes)), hex(bytes, false)),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// ISO 8601 in UTC, with microseconds as mosquitto_sub has them.
fn iso(at: Wall) -> String {
    let text = at.to_string();
    format!("{}000+0000", text.trim_end_matches('Z'))
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        out
    })
}

/// At most `max` characters; of what is no UTF-8, bytes.
fn cut(mut value: Vec<u8>, max: usize) -> Vec<u8> {
    let end = std::str::from_utf8(&value).map_or(max, |text| text.char_indices().nth(max).map_or(text.len(), |(at, _)| at));
    value.truncate(end);
    value
}

fn pad(out: &mut Vec<u8>, value: &[u8], left: bool, zero: bool, width: usize) {
    let length = std::str::from_utf8(value).map_or(value.len(), |text| text.chars().count());
    let fill = std::iter::repeat_n(if zero { b'0' } else { b' ' }, width.saturating_sub(length));
    if left {
        out.extend_from_slice(value);
        out.extend(fill);
    } else {
        out.extend(fill);
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QoS;

    fn message(body: &[u8]) -> Message {
        let mut properties = Vec::new();
        for property in
            [Property::ContentType("json"), Property::User("a", "b"), Property::User("c", "\x1b[2J"), Property::MessageExpiry(9)]
        {
            property.write(&mut properties);
        }
        Message { topic: "a/b".to_owned(), qos: QoS::AtLeastOnce, retain: true, dup: false, id: 7, properties, body: body.to_vec() }
    }

    fn shown(format: &str, body: &[u8], terminal: bool) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(format, terminal, false).expect("a format").write(&message(body), Wall(0), &mut out).expect("it is printed");
        out
    }

    #[test]
    fn a_format_is_printed_as_its_fields_say() {
        for (format, want) in [
            ("%t %p", "a/b 21.5"),
            ("%q %r %l %m", "1 1 4 7"),
            ("%% @@ \\\\ \\t|", "% @ \\ \t|"),
            ("%x %X", "32312e35 32312E35"),
            ("%C %E %P", "json 9 a:b c:\x1b[2J"),
            ("[%6t] [%-6t] [%.1t] [%06l] [%-06l]", "[   a/b] [a/b   ] [a] [000004] [4     ]"),
            ("%I %U", "1970-01-01T00:00:00.000000+0000 0.000000000"),
            (
                "%j",
                "{\"tst\":\"1970-01-01T00:00:00.000000+0000\",\"topic\":\"a/b\",\"qos\":1,\"retain\":1,\"payloadlen\":4,\"mid\":7,\
                 \"properties\":{\"user-properties\":[{\"name\":\"a\",\"value\":\"b\"},{\"name\":\"c\",\"value\":\"\\u001b[2J\"}],\
                 \"content-type\":\"json\",\"message-expiry-interval\":9},\"payload\":\"21.5\"}",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&shown(format, b"21.5", false)), want, "{format}");
        }
        for (format, want) in [("%", "ends with %"), ("%y", "no field"), ("\\q", "no escape"), ("@H", "times by @")] {
            let error = Format::parse(format, false, false).expect_err("it is refused");
            assert!(error.contains(want), "{format}: {error}");
        }
    }

    #[test]
    fn a_payload_is_bytes_to_a_pipe_and_harmless_to_a_terminal() {
        let body = b"\x1b]0;x\x07\xff\0\n";
        assert_eq!(shown("%p", body, false), body);
        assert_eq!(shown("%p", body, true), b"\\u{1b}]0;x\\u{7}\\xff\\u{0}\n");
        assert_eq!(shown("%P", body, true), b"a:b c:\\u{1b}[2J");
        assert_eq!(shown("\\e[1m%t", body, true), b"\x1b[1ma/b", "the format is the user's own");
        let json: serde_json::Value = serde_json::from_slice(&shown("%j", body, false)).expect("JSON");
        assert_eq!(json["payloadhex"], "1b5d303b7807ff000a");
    }

    #[test]
    fn a_payload_that_is_no_json_is_not_printed_as_json() {
        let format = Format::parse("%J", false, false).expect("a format");
        assert_eq!(format.write(&message(b"{"), Wall(0), &mut Vec::new()), Err(NoJson));
        let json: serde_json::Value = serde_json::from_slice(&shown("%J", b"{\"t\": 27.0}", false)).expect("JSON");
        assert_eq!(json["payload"]["t"], 27.0);
    }
}
