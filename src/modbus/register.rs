//! Registers and coils as values, in every byte order.

use crate::model::Value;

/// The four tables of a Modbus device (Application Protocol 1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Function code 1; single bits.
    Coil,
    /// Function code 2; single bits.
    Discrete,
    /// Function code 3; 16-bit words.
    Holding,
    /// Function code 4; 16-bit words.
    Input,
}

impl Table {
    /// The code that reads this table (Application Protocol 1.1b3, 6.1 to 6.4).
    pub const fn function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    pub const fn from_function(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Coil),
            2 => Some(Self::Discrete),
            3 => Some(Self::Holding),
            4 => Some(Self::Input),
            _ => None,
        }
    }

    /// Single bits, not words.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

/// A table and a zero-based address in it: `"input:0"` in the site's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterAddress {
    pub table: Table,
    pub address: u16,
}

/// The type of a point's registers. `Bool` is the only one for coils and discrete inputs; on a word it means "not zero".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// How a value's bytes lie in its registers, named by what comes first on the wire, A being the most significant byte.
/// The scheme over 8 bytes: `Abcd` ABCDEFGH, `Badc` BADCFEHG, `Cdab` GHEFCDAB, `Dcba` HGFEDCBA.
/// Over 2 bytes `Abcd` and `Cdab` are AB, `Badc` and `Dcba` are BA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ByteOrder {
    #[default]
    Abcd,
    Badc,
    Cdab,
    Dcba,
}

impl ValueType {
    /// 16-bit words, or coils, that a value takes.
    pub const fn registers(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

/// The value in the first words of `words`, as they came over the wire; `None` if they are too few.
///
/// An `F32` becomes the double with the same shortest decimal text: 230.1 stays 230.1. NaN and infinity are handed on.
pub fn decode(words: &[u16], value_type: ValueType, order: ByteOrder) -> Option<Value> {
    Some(match value_type {
        ValueType::Bool => Value::Bool(*words.first()? != 0),
        ValueType::U16 => Value::U64(u16::from_be_bytes(arranged(words, order)?).into()),
        ValueType::I16 => Value::I64(i16::from_be_bytes(arranged(words, order)?).into()),
        ValueType::U32 => Value::U64(u32::from_be_bytes(arranged(words, order)?).into()),
        ValueType::I32 => Value::I64(i32::from_be_bytes(arranged(words, order)?).into()),
        ValueType::U64 => Value::U64(u64::from_be_bytes(arranged(words, order)?)),
        ValueType::I64 => Value::I64(i64::from_be_bytes(arranged(words, order)?)),
        ValueType::F32 => Value::F64(widened(f32::from_be_bytes(arranged(words, order)?))),
        ValueType::F64 => Value::F64(f64::from_be_bytes(arranged(words, order)?)),
    })
}

/// The words that [`decode`] reads as `value`; `None` if the type cannot hold it. For simulated devices.
pub fn encode(value: &Value, value_type: ValueType, order: ByteOrder) -> Option<Vec<u16>> {
    let whole = || match value {
        Value::Bool(b) => Some(i128::from(*b)),
        Value::I64(n) => Some((*n).into()),
        Value::U64(n) => Some((*n).into()),
        // The cast saturates, and each type below refuses what it cannot hold.
        Value::F64(n) => (n.fract() == 0.0).then_some(*n as i128),
        Value::Text(_) => None,
    };
    let double = || match value {
        Value::F64(n) => Some(*n),
        _ => whole().map(|n| n as f64),
    };
    let bytes = match value_type {
        ValueType::Bool => u16::from(whole()? != 0).to_be_bytes().to_vec(),
        ValueType::U16 => u16::try_from(whole()?).ok()?.to_be_bytes().to_vec(),
        ValueType::I16 => i16::try_from(whole()?).ok()?.to_be_bytes().to_vec(),
        ValueType::U32 => u32::try_from(whole()?).ok()?.to_be_bytes().to_vec(),
        ValueType::I32 => i32::try_from(whole()?).ok()?.to_be_bytes().to_vec(),
        ValueType::U64 => u64::try_from(whole()?).ok()?.to_be_bytes().to_vec(),
        ValueType::I64 => i64::try_from(whole()?).ok()?.to_be_bytes().to_vec(),
        ValueType::F32 => (double()? as f32).to_be_bytes().to_vec(),
        ValueType::F64 => double()?.to_be_bytes().to_vec(),
    };
    let mut words: Vec<u16> = bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?))).collect();
    if value_type != ValueType::Bool {
        rearrange(&mut words, order);
    }
    Some(words)
}

/// Coil `index` of a reply's data: the first one is the lowest bit of the first byte (Application Protocol 1.1b3, 6.1).
pub fn bit(data: &[u8], index: usize) -> Option<bool> {
    data.get(index / 8).map(|byte| byte >> (index % 8) & 1 == 1)
}

/// The 2, 4 or 8 bytes of a value, the most significant first.
fn arranged<const N: usize>(words: &[u16], order: ByteOrder) -> Option<[u8; N]> {
    let mut words = words.get(..N / 2)?.to_vec();
    rearrange(&mut words, order);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.try_into().ok()
}

/// From the wire's order to the most significant first, or back: each of the four is its own inverse.
fn rearrange(words: &mut [u16], order: ByteOrder) {
    if matches!(order, ByteOrder::Cdab | ByteOrder::Dcba) {
        words.reverse();
    }
    if matches!(order, ByteOrder::Badc | ByteOrder::Dcba) {
        words.iter_mut().for_each(|word| *word = word.swap_bytes());
    }
}

fn widened(single: f32) -> f64 {
    if single.is_finite() { single.to_string().parse().unwrap_or(f64::from(single)) } else { single.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ByteOrder::{Abcd, Badc, Cdab, Dcba};

    #[test]
    fn bytes_lie_as_the_order_names_them() {
        for (value_type, order, words, want) in [
            (ValueType::U16, Abcd, &[0x0102][..], Value::U64(0x0102)),
            (ValueType::U16, Cdab, &[0x0102], Value::U64(0x0102)),
            (ValueType::U16, Badc, &[0x0201], Value::U64(0x0102)),
            (ValueType::U16, Dcba, &[0x0201], Value::U64(0x0102)),
            (ValueType::I16, Abcd, &[0xfffe], Value::I64(-2)),
            (ValueType::I16, Badc, &[0xfeff], Value::I64(-2)),
            (ValueType::U32, Abcd, &[0x0102, 0x0304], Value::U64(0x0102_0304)),
            (ValueType::U32, Badc, &[0x0201, 0x0403], Value::U64(0x0102_0304)),
            (ValueType::U32, Cdab, &[0x0304, 0x0102], Value::U64(0x0102_0304)),
            (ValueType::U32, Dcba, &[0x0403, 0x0201], Value::U64(0x0102_0304)),
            (ValueType::I32, Cdab, &[0xfffe, 0xffff], Value::I64(-2)),
            (ValueType::U64, Abcd, &[0x0102, 0x0304, 0x0506, 0x0708], Value::U64(0x0102_0304_0506_0708)),
            (ValueType::U64, Badc, &[0x0201, 0x0403, 0x0605, 0x0807], Value::U64(0x0102_0304_0506_0708)),
            (ValueType::U64, Cdab, &[0x0708, 0x0506, 0x0304, 0x0102], Value::U64(0x0102_0304_0506_0708)),
            (ValueType::U64, Dcba, &[0x0807, 0x0605, 0x0403, 0x0201], Value::U64(0x0102_0304_0506_0708)),
            (ValueType::I64, Abcd, &[0xffff, 0xffff, 0xffff, 0xfffe], Value::I64(-2)),
            (ValueType::F32, Abcd, &[0x4366, 0x199a], Value::F64(230.1)),
            (ValueType::F32, Cdab, &[0x199a, 0x4366], Value::F64(230.1)),
            (ValueType::F64, Abcd, &[0x4009, 0x21fb, 0x5444, 0x2d18], Value::F64(std::f64::consts::PI)),
            (ValueType::F64, Dcba, &[0x182d, 0x4454, 0xfb21, 0x0940], Value::F64(std::f64::consts::PI)),
            (ValueType::Bool, Abcd, &[0], Value::Bool(false)),
            (ValueType::Bool, Dcba, &[0x0100], Value::Bool(true)),
        ] {
            assert_eq!(decode(words, value_type, order), Some(want.clone()), "{value_type:?} {order:?}");
            assert_eq!(decode(&words[1..], value_type, order), None, "{value_type:?} {order:?}, one word short");
            if value_type != ValueType::Bool {
                assert_eq!(encode(&want, value_type, order).as_deref(), Some(words), "{value_type:?} {order:?}");
            }
        }
    }

    #[test]
    fn a_value_that_a_type_cannot_hold_is_not_encoded() {
        for (value, value_type, want) in [
            (Value::I64(-1), ValueType::U16, None),
            (Value::U64(65_536), ValueType::U16, None),
            (Value::F64(1.5), ValueType::I32, None),
            (Value::F64(1e300), ValueType::U64, None),
            (Value::Text("1".into()), ValueType::F64, None),
            (Value::F64(7.0), ValueType::U16, Some(vec![7])),
            (Value::U64(9), ValueType::Bool, Some(vec![1])),
            (Value::Bool(true), ValueType::I16, Some(vec![1])),
        ] {
            assert_eq!(encode(&value, value_type, Abcd), want, "{value:?} as {value_type:?}");
        }
    }

    /// Application Protocol 1.1b3, 6.1: the reply CD 6B 05 to coils 20 to 38.
    #[test]
    fn the_first_coil_is_the_lowest_bit() {
        let data = [0xcd, 0x6b, 0x05];
        let coils: String = (0..19).map(|i| if bit(&data, i) == Some(true) { '1' } else { '0' }).collect();
        assert_eq!(coils, "1011001111010110101");
        assert_eq!(bit(&data, 24), None);
    }
}
