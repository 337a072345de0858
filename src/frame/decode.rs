//! A frame's fields: by regular expression, CSV column or JSON pointer.

use std::borrow::Cow;
use std::ops::Range;

use crate::model::{Cause, Value};

/// How a device's frames are read.
#[derive(Debug, Clone)]
pub enum Decoder {
    /// Fields are the named groups.
    Regex(regex::Regex),
    /// Fields are columns, from 0.
    Csv { separator: u8 },
    /// Fields are JSON pointers (RFC 6901).
    Json,
}

/// Where a point's value stands in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Group(String),
    Column(usize),
    Pointer(String),
}

impl Decoder {
    /// The fields' values in this frame, in the order of `fields`; `None` if the frame is not this device's: its pattern does not match.
    ///
    /// A field that is absent or empty, or a frame that is no JSON, is [`Cause::Decode`]. What reads as a number is one ([`number`]), other text stays
    /// text, JSON's strings too; bytes that are no UTF-8 are replaced by U+FFFD before a pattern or a column is looked for.
    pub fn decode(&self, frame: &[u8], fields: &[Field]) -> Option<Vec<Result<Value, Cause>>> {
        let values: Vec<Option<Value>> = match self {
            Self::Regex(pattern) => {
                let text = String::from_utf8_lossy(frame);
                let groups = pattern.captures(&text)?;
                fields.iter().map(|field| groups.name(field.group()?).and_then(|m| scalar(m.as_str()))).collect()
            }
            Self::Csv { separator } => {
                let row = Row::read(frame, *separator, fields.iter().filter_map(Field::column).max().unwrap_or(0));
                fields.iter().map(|field| scalar(&row.column(field.column()?)?)).collect()
            }
            Self::Json => {
                let document = serde_json::from_slice::<serde_json::Value>(frame).ok();
                fields.iter().map(|field| from_json(document.as_ref()?.pointer(field.pointer()?)?)).collect()
            }
        };
        Some(values.into_iter().map(|value| value.ok_or(Cause::Decode)).collect())
    }
}

/// A decimal number with spaces around it: `12`, `-0.5`, `+3`, `1e3`; `None` for all else, as `nan`, `0x10`, `1,5` and what a double cannot hold.
/// Whole numbers are integers as far as 64 bits reach.
pub fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(n) = text.parse() {
        return Some(Value::I64(n));
    }
    if let Ok(n) = text.parse() {
        return Some(Value::U64(n));
    }
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|n: &f64| digits && n.is_finite()).map(Value::F64)
}

fn scalar(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.is_empty() { None } else { number(text).or_else(|| Some(Value::Text(text.to_owned()))) }
}

fn from_json(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Bool(b) => Some(Value::Bool(*b)),
        serde_json::Value::Number(n) => {
            n.as_i64().map(Value::I64).or_else(|| n.as_u64().map(Value::U64)).or_else(|| n.as_f64().map(Value::F64))
        }
        serde_json::Value::String(s) => Some(Value::Text(s.clone())),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    }
}

// A field of another kind than the decoder's is found nowhere; the configuration allows none.
impl Field {
    fn group(&self) -> Option<&str> {
        if let Self::Group(name) = self { Some(name) } else { None }
    }

    const fn column(&self) -> Option<usize> {
        if let Self::Column(column) = self { Some(*column) } else { None }
    }

    fn pointer(&self) -> Option<&str> {
        if let Self::Pointer(pointer) = self { Some(pointer) } else { None }
    }
}

/// The first columns of a frame that is one CSV record (RFC 4180 with any separator). A line end inside the frame, outside of quotes, ends it.
struct Row {
    text: Vec<u8>,
    columns: Vec<Range<usize>>,
}

impl Row {
    /// Reads as far as column `last`.
    fn read(frame: &[u8], separator: u8, last: usize) -> Self {
        // Without `nfa` each frame would pay for a table that only a long file earns back.
        let mut reader = csv_core::ReaderBuilder::new().delimiter(separator).nfa(true).build();
        // Fields without their quotes are never longer than with them; one byte more, because the reader stops at a full buffer.
        let mut row = Self { text: vec![0; frame.len() + 1], columns: Vec::new() };
        let (mut input, mut start, mut end) = (frame, 0, 0);
        while row.columns.len() <= last {
            let Some(room) = row.text.get_mut(end..) else { break };
            let (result, read, written) = reader.read_field(input, room);
            input = input.get(read..).unwrap_or_default();
            end += written;
            match result {
                // Asked again with nothing, the reader takes it for the end.
                csv_core::ReadFieldResult::InputEmpty => {}
                csv_core::ReadFieldResult::Field { record_end } => {
                    row.columns.push(start..end);
                    start = end;
                    if record_end {
                        break;
                    }
                }
                csv_core::ReadFieldResult::OutputFull | csv_core::ReadFieldResult::End => break,
            }
        }
        row
    }

    fn column(&self, column: usize) -> Option<Cow<'_, str>> {
        self.text.get(self.columns.get(column)?.clone()).map(String::from_utf8_lossy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str) -> Decoder {
        Decoder::Regex(regex::Regex::new(pattern).unwrap())
    }

    fn group(name: &str) -> Field {
        Field::Group(name.into())
    }

    fn pointer(pointer: &str) -> Field {
        Field::Pointer(pointer.into())
    }

    fn text(t: &str) -> Result<Value, Cause> {
        Ok(Value::Text(t.into()))
    }

    const fn double(n: f64) -> Result<Value, Cause> {
        Ok(Value::F64(n))
    }

    const fn integer(n: i64) -> Result<Value, Cause> {
        Ok(Value::I64(n))
    }

    const BAD: Result<Value, Cause> = Err(Cause::Decode);

    type Values = Vec<Result<Value, Cause>>;

    fn check(decoder: &Decoder, fields: &[Field], rows: &[(&[u8], Option<Values>)]) {
        for (frame, want) in rows {
            assert_eq!(decoder.decode(frame, fields), *want, "{:?}", String::from_utf8_lossy(frame));
        }
    }

    #[test]
    fn a_pattern_yields_its_groups() {
        check(
            &regex(r"^T=(?<temp>[-\d.]+) H=(?<hum>[\d.]*)(?: (?<state>\w+))?"),
            &[group("temp"), group("hum"), group("state")],
            &[
                (b"T=-21.5 H=40 ok", Some(vec![double(-21.5), integer(40), text("ok")])),
                (b"T=21.50 H=40", Some(vec![double(21.5), integer(40), BAD])),
                (b"T=1.2.3 H= ok", Some(vec![text("1.2.3"), BAD, text("ok")])),
                (b"T=1 H=2 ok \xff\xb0C", Some(vec![integer(1), integer(2), text("ok")])),
                (b"P=1013", None),
                (b"\xff\xfe\x00", None),
                (b"", None),
            ],
        );
        check(&regex("(?<a>.)"), &[group("b"), Field::Column(0)], &[(b"x", Some(vec![BAD, BAD]))]);
    }

    #[test]
    fn csv_yields_its_columns() {
        let columns = [Field::Column(0), Field::Column(2)];
        check(
            &Decoder::Csv { separator: b';' },
            &columns,
            &[
                (b"1;2;3", Some(vec![integer(1), integer(3)])),
                (b" 1.5 ;2; on \r", Some(vec![double(1.5), text("on")])),
                (b"\"a;\"\"b\"\"\";2;\"3\";4", Some(vec![text("a;\"b\""), integer(3)])),
                (b"1;2", Some(vec![integer(1), BAD])),
                (b"1;2;", Some(vec![integer(1), BAD])),
                (b";;x", Some(vec![BAD, text("x")])),
                (b"1;2\n3;4;5", Some(vec![integer(1), BAD])),
                (b"\"1;2;3", Some(vec![text("1;2;3"), BAD])),
                (b"\xff;;\xb0", Some(vec![text("\u{fffd}"), text("\u{fffd}")])),
                (b"", Some(vec![BAD, BAD])),
            ],
        );
        check(&Decoder::Csv { separator: b',' }, &[Field::Column(usize::MAX)], &[(b"1,2", Some(vec![BAD]))]);
    }

    #[test]
    fn json_yields_what_its_pointers_name() {
        check(
            &Decoder::Json,
            &[pointer("/a/b"), pointer("/list/1"), pointer("/x~1y")],
            &[
                (br#"{"a":{"b":21.5},"list":[0,true],"x/y":"on"}"#, Some(vec![double(21.5), Ok(Value::Bool(true)), text("on")])),
                (
                    br#"{"a":{"b":18446744073709551615},"list":[1,-3],"x/y":""}"#,
                    Some(vec![Ok(Value::U64(u64::MAX)), integer(-3), text("")]),
                ),
                (br#"{"a":{"b":null},"list":[0],"x/y":{}}"#, Some(vec![BAD, BAD, BAD])),
                (b" {\"a\":{\"b\":\"21.5\"}}\r", Some(vec![text("21.5"), BAD, BAD])),
                (b"{\"a\":", Some(vec![BAD, BAD, BAD])),
                (b"starting ...", Some(vec![BAD, BAD, BAD])),
                (&[b'['; 4_096], Some(vec![BAD, BAD, BAD])),
            ],
        );
        check(&Decoder::Json, &[pointer(""), pointer("no-slash")], &[(b"7", Some(vec![integer(7), BAD]))]);
    }

    #[test]
    fn a_number_is_told_from_text() {
        for (text, want) in [
            ("0", Some(Value::I64(0))),
            ("+3", Some(Value::I64(3))),
            ("007", Some(Value::I64(7))),
            (" -9223372036854775808 ", Some(Value::I64(i64::MIN))),
            ("18446744073709551615", Some(Value::U64(u64::MAX))),
            ("18446744073709551616", Some(Value::F64(18_446_744_073_709_551_616.0))),
            (".5", Some(Value::F64(0.5))),
            ("5.", Some(Value::F64(5.0))),
            ("1E3", Some(Value::F64(1_000.0))),
            ("1e999", None),
            ("nan", None),
            ("inf", None),
            ("-infinity", None),
            ("0x10", None),
            ("1,5", None),
            ("1 2", None),
            ("-", None),
            ("e", None),
            ("", None),
        ] {
            assert_eq!(number(text), want, "{text:?}");
        }
    }

    /// Good frames with bytes changed, taken out, doubled and cut, 50,000 of them: nothing panics, and each answer has one value a field.
    #[test]
    fn no_bytes_make_a_decoder_panic() {
        let decoders = [
            (regex(r"^T=(?<temp>[-\d.]+) H=(?<hum>.*)"), vec![group("temp"), group("hum")], b"T=-21.5 H=40.25 ok".to_vec()),
            (Decoder::Csv { separator: b',' }, vec![Field::Column(0), Field::Column(3)], b"\"a\"\"b\",1.5,\r,9".to_vec()),
            (Decoder::Json, vec![pointer("/a/b"), pointer("/c/0")], br#"{"a":{"b":1.5e3},"c":["\u00e4\ud83d\ude00"]}"#.to_vec()),
        ];
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x7469_6465_u64);
        println!("SEED={seed}");
        let mut state = seed;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        };
        for round in 0..50_000 {
            let (decoder, fields, good) = &decoders[round % decoders.len()];
            let mut frame = good.clone();
            for _ in 0..=random(6) {
                let at = random(frame.len());
                match random(4) {
                    0 if !frame.is_empty() => frame[at] = random(256) as u8,
                    1 if !frame.is_empty() => drop(frame.remove(at)),
                    2 => frame.insert(at, random(256) as u8),
                    _ => frame.truncate(at.max(1)),
                }
            }
            if let Some(values) = decoder.decode(&frame, fields) {
                assert_eq!(values.len(), fields.len());
            }
        }
    }
}
