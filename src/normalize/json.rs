//! Bodies as the text that is published.

use std::io::Write;

use bytes::Bytes;

use crate::model::{Body, BodyKind, Cause, Sample, Value};

/// Room for a number with unit and time; a longer text grows it.
const CAPACITY: usize = 96;

/// A body's published text. Raw bytes as they are, shared. A sample as one JSON object without spaces, its keys in this order:
///
/// ```json
/// {"v":230.1,"u":"V","q":"good","t":"2026-03-01T12:00:00.000Z"}
/// {"v":null,"u":"V","q":"bad","t":"2026-03-01T12:00:00.000Z","cause":"exception:2"}
/// ```
///
/// A point without a unit has no `u`. `v` is a number, a truth or a string; a number has the point's decimals, or else the fewest digits that read
/// back as the same. `cause` is `timeout`, `crc`, `exception:CODE`, `closed` or `decode`. A sample that cannot be read, which only a damaged store
/// can yield, is `{"v":null,"q":"bad","cause":"decode"}`.
pub fn json(body: &Body) -> Bytes {
    match body.kind {
        BodyKind::Raw => body.bytes.clone(),
        BodyKind::Sample1 => match Sample::from_body(body) {
            Some(sample) => {
                let mut out = Vec::with_capacity(CAPACITY);
                // The only error of writing to a vector is one of formatting, and nothing here has any.
                let _ = write_sample(&mut out, &sample);
                out.into()
            }
            None => Bytes::from_static(br#"{"v":null,"q":"bad","cause":"decode"}"#),
        },
    }
}

fn write_sample(out: &mut Vec<u8>, sample: &Sample) -> std::io::Result<()> {
    out.extend_from_slice(br#"{"v":"#);
    let cause = match &sample.value {
        Ok(value) => write_value(out, value, sample.decimals)?,
        Err(cause) => Some(*cause),
    };
    if cause.is_some() {
        out.extend_from_slice(b"null");
    }
    if let Some(unit) = &sample.unit {
        out.extend_from_slice(br#","u":"#);
        write_text(out, unit)?;
    }
    let quality = if cause.is_none() { "good" } else { "bad" };
    write!(out, r#","q":"{quality}","t":"{}""#, sample.at)?;
    match cause {
        None => {}
        Some(Cause::Timeout) => out.extend_from_slice(br#","cause":"timeout""#),
        Some(Cause::Crc) => out.extend_from_slice(br#","cause":"crc""#),
        Some(Cause::Exception(code)) => write!(out, r#","cause":"exception:{code}""#)?,
        Some(Cause::Closed) => out.extend_from_slice(br#","cause":"closed""#),
        Some(Cause::Decode) => out.extend_from_slice(br#","cause":"decode""#),
    }
    out.push(b'}');
    Ok(())
}

/// Writes nothing and says why if JSON has no such value.
fn write_value(out: &mut Vec<u8>, value: &Value, decimals: Option<u8>) -> std::io::Result<Option<Cause>> {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::I64(n) => {
            write!(out, "{n}")?;
            write_zeros(out, decimals);
        }
        Value::U64(n) => {
            write!(out, "{n}")?;
            write_zeros(out, decimals);
        }
        Value::F64(n) if !n.is_finite() => return Ok(Some(Cause::Decode)),
        Value::F64(n) => write_double(out, *n, decimals)?,
        Value::Text(text) => write_text(out, text)?,
    }
    Ok(None)
}

fn write_zeros(out: &mut Vec<u8>, decimals: Option<u8>) {
    if let Some(digits @ 1..) = decimals {
        out.push(b'.');
        out.resize(out.len() + usize::from(digits), b'0');
    }
}

fn write_double(out: &mut Vec<u8>, n: f64, decimals: Option<u8>) -> std::io::Result<()> {
    /// Outside of these, digits without an exponent are mostly zeros.
    const PLAIN: std::ops::Range<f64> = 1e-6..1e16;
    let start = out.len();
    match decimals {
        Some(digits) => write!(out, "{n:.*}", usize::from(digits))?,
        None if n == 0.0 || PLAIN.contains(&n.abs()) => write!(out, "{n}")?,
        None => write!(out, "{n:e}")?,
    }
    // What was rounded to nothing has no sign.
    let zero = out.iter().skip(start + 1).all(|b| matches!(b, b'0' | b'.'));
    if zero && out.get(start) == Some(&b'-') {
        out.remove(start);
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> std::io::Result<()> {
    serde_json::to_writer(out, text).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Wall;

    fn text(value: Result<Value, Cause>, unit: Option<&str>, decimals: Option<u8>) -> String {
        let sample = Sample { value, unit: unit.map(Into::into), decimals, at: Wall(1_772_366_400_000) };
        String::from_utf8(json(&sample.to_body()).to_vec()).unwrap()
    }

    #[test]
    fn a_value_is_written_as_json() {
        use Value::{Bool, F64, I64, Text, U64};
        for (value, decimals, want) in [
            (Bool(true), None, "true"),
            (Bool(false), Some(2), "false"),
            (I64(-7), None, "-7"),
            (I64(i64::MIN), None, "-9223372036854775808"),
            (U64(u64::MAX), None, "18446744073709551615"),
            (U64(7), Some(2), "7.00"),
            (U64(7), Some(0), "7"),
            (F64(230.1), None, "230.1"),
            (F64(230.0), None, "230"),
            (F64(230.125), Some(1), "230.1"),
            (F64(230.06), Some(1), "230.1"),
            (F64(9.999), Some(2), "10.00"),
            (F64(230.0), Some(2), "230.00"),
            (F64(230.9), Some(0), "231"),
            (F64(0.0), None, "0"),
            (F64(-0.0), None, "0"),
            (F64(-0.004), Some(2), "0.00"),
            (F64(-0.006), Some(2), "-0.01"),
            (F64(-0.4), Some(0), "0"),
            (F64(1e16), None, "1e16"),
            (F64(-1.5e300), None, "-1.5e300"),
            (F64(1.5e-7), None, "1.5e-7"),
            (F64(0.000_001), None, "0.000001"),
            (F64(9_007_199_254_740_993.0), None, "9007199254740992"),
            (Text("on".into()), Some(2), r#""on""#),
            (Text("a\"b\\\n\u{1}ü".into()), None, r#""a\"b\\\n\u0001ü""#),
        ] {
            let got = text(Ok(value.clone()), Some("V"), decimals);
            assert_eq!(got, format!(r#"{{"v":{want},"u":"V","q":"good","t":"2026-03-01T12:00:00.000Z"}}"#), "{value:?}, {decimals:?}");
            serde_json::from_str::<serde_json::Value>(&got).unwrap_or_else(|e| panic!("{got}: {e}"));
        }
    }

    #[test]
    fn a_failed_reading_says_why() {
        for (cause, want) in [
            (Cause::Timeout, "timeout"),
            (Cause::Crc, "crc"),
            (Cause::Exception(2), "exception:2"),
            (Cause::Closed, "closed"),
            (Cause::Decode, "decode"),
        ] {
            assert_eq!(
                text(Err(cause), Some("V"), Some(1)),
                format!(r#"{{"v":null,"u":"V","q":"bad","t":"2026-03-01T12:00:00.000Z","cause":"{want}"}}"#)
            );
        }
        assert_eq!(
            text(Ok(Value::F64(f64::NAN)), None, None),
            r#"{"v":null,"q":"bad","t":"2026-03-01T12:00:00.000Z","cause":"decode"}"#,
            "a number that JSON does not have"
        );
    }

    #[test]
    fn a_point_without_a_unit_has_no_unit_key() {
        assert_eq!(text(Ok(Value::I64(1)), None, None), r#"{"v":1,"q":"good","t":"2026-03-01T12:00:00.000Z"}"#);
        assert_eq!(text(Ok(Value::I64(1)), Some("\"°C"), None), r#"{"v":1,"u":"\"°C","q":"good","t":"2026-03-01T12:00:00.000Z"}"#);
    }

    #[test]
    fn a_raw_body_is_shared_and_a_damaged_sample_is_bad() {
        let bytes = Bytes::from_static(b"\x00anything");
        assert_eq!(json(&Body::raw(bytes.clone())).as_ptr(), bytes.as_ptr());
        assert_eq!(json(&Body { kind: BodyKind::Sample1, bytes }), r#"{"v":null,"q":"bad","cause":"decode"}"#.as_bytes());
    }
}
