//! What a message carries: bytes as a client sent them, or a sample of one of our own points, not yet text.

use bytes::Bytes;

use super::Wall;

/// Kind and version of a body; the number is what the store keeps in `entry.kind`, so a number is never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BodyKind {
    /// Opaque bytes of a publisher.
    Raw = 0,
    /// One [`Sample`] in its binary form, version 1.
    Sample1 = 1,
}

impl BodyKind {
    pub const fn from_u8(kind: u8) -> Option<Self> {
        match kind {
            0 => Some(Self::Raw),
            1 => Some(Self::Sample1),
            _ => None,
        }
    }
}

/// Cheap to clone; a body is shared, never copied, between those to whom it is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pub kind: BodyKind,
    pub bytes: Bytes,
}

impl Body {
    pub const fn raw(bytes: Bytes) -> Self {
        Self { kind: BodyKind::Raw, bytes }
    }
}

/// A point's value in its native type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
}

/// Why a sample is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No reply within the bus's timeout.
    Timeout,
    /// A reply whose checksum or form is wrong.
    Crc,
    /// The device answered with this exception code (Modbus Application Protocol 1.1b3, 7).
    Exception(u8),
    /// The port is not there.
    Closed,
    /// A frame or reply came, and the point's value could not be had from it.
    Decode,
}

/// One value of one point, after scale and offset, before any text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub value: Result<Value, Cause>,
    pub unit: Option<Box<str>>,
    /// Digits after the point when shown; `None`: the shortest text that reads back the same.
    pub decimals: Option<u8>,
    pub at: Wall,
}

impl Sample {
    /// The binary form of version 1 (little-endian): at i64, decimals u8 (255: none), tag u8, value, unit length u8 (255: none), unit.
    /// A unit longer than 254 bytes is cut at a character; the configuration allows none.
    pub fn to_body(&self) -> Body {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.push(self.decimals.unwrap_or(NONE));
        match &self.value {
            Ok(Value::Bool(b)) => out.extend_from_slice(&[0, u8::from(*b)]),
            Ok(Value::I64(n)) => tagged(&mut out, 1, &n.to_le_bytes()),
            Ok(Value::U64(n)) => tagged(&mut out, 2, &n.to_le_bytes()),
            Ok(Value::F64(n)) => tagged(&mut out, 3, &n.to_le_bytes()),
            Ok(Value::Text(s)) => {
                tagged(&mut out, 4, &(u32::try_from(s.len()).unwrap_or(u32::MAX)).to_le_bytes());
                out.extend_from_slice(s.as_bytes());
            }
            Err(cause) => {
                let (code, detail) = match cause {
                    Cause::Timeout => (0, 0),
                    Cause::Crc => (1, 0),
                    Cause::Exception(code) => (2, *code),
                    Cause::Closed => (3, 0),
                    Cause::Decode => (4, 0),
                };
                out.extend_from_slice(&[5, code, detail]);
            }
        }
        match &self.unit {
            None => out.push(NONE),
            Some(unit) => {
                let unit = cut(unit, usize::from(NONE) - 1);
                out.push(unit.len() as u8);
                out.extend_from_slice(unit.as_bytes());
            }
        }
        Body { kind: BodyKind::Sample1, bytes: out.into() }
    }

    /// Reads what [`Sample::to_body`] wrote; `None` if the bytes are damaged or of another kind.
    pub fn from_body(body: &Body) -> Option<Self> {
        if body.kind != BodyKind::Sample1 {
            return None;
        }
        let mut rest: &[u8] = &body.bytes;
        let at = Wall(i64::from_le_bytes(take(&mut rest)?));
        let decimals = Some(take::<1>(&mut rest)?[0]).filter(|d| *d != NONE);
        let [tag] = take(&mut rest)?;
        let value = match tag {
            0 => Ok(Value::Bool(take::<1>(&mut rest)?[0] != 0)),
            1 => Ok(Value::I64(i64::from_le_bytes(take(&mut rest)?))),
            2 => Ok(Value::U64(u64::from_le_bytes(take(&mut rest)?))),
            3 => Ok(Value::F64(f64::from_le_bytes(take(&mut rest)?))),
            4 => {
                let length = u32::from_le_bytes(take(&mut rest)?) as usize;
                Ok(Value::Text(text(&mut rest, length)?))
            }
            5 => {
                let [code, detail] = take(&mut rest)?;
                Err(match code {
                    0 => Cause::Timeout,
                    1 => Cause::Crc,
                    2 => Cause::Exception(detail),
                    3 => Cause::Closed,
                    4 => Cause::Decode,
                    _ => return None,
                })
            }
            _ => return None,
        };
        let unit = match take::<1>(&mut rest)?[0] {
            NONE => None,
            length => Some(text(&mut rest, usize::from(length))?.into()),
        };
        rest.is_empty().then_some(Self { value, unit, decimals, at })
    }
}

/// Stands for "none" where a length or a number of decimals would be.
const NONE: u8 = 255;

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn text(rest: &mut &[u8], length: usize) -> Option<String> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_comes_back_from_its_body() {
        for value in [
            Ok(Value::Bool(true)),
            Ok(Value::I64(i64::MIN)),
            Ok(Value::U64(u64::MAX)),
            Ok(Value::F64(-0.5)),
            Ok(Value::Text("grün".into())),
            Err(Cause::Timeout),
            Err(Cause::Crc),
            Err(Cause::Exception(2)),
            Err(Cause::Closed),
            Err(Cause::Decode),
        ] {
            for (unit, decimals) in [(None, None), (Some("°C".into()), Some(2))] {
                let sample = Sample { value: value.clone(), unit, decimals, at: Wall(1_700_000_000_123) };
                let body = sample.to_body();
                assert_eq!(Sample::from_body(&body), Some(sample));
                for end in 0..body.bytes.len() {
                    let short = Body { kind: body.kind, bytes: body.bytes.slice(..end) };
                    assert_eq!(Sample::from_body(&short), None, "cut at {end}");
                }
            }
        }
    }
}
