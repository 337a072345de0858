//! A stream of bytes cut into packets (3.1.1, 2.2).

use super::Error;

/// One whole packet where it lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type in the upper half, flags in the lower.
    pub first: u8,
    /// After the fixed header.
    pub body: &'a [u8],
    /// With the fixed header.
    pub raw: &'a [u8],
    /// Most user properties in one block of its properties.
    pub user_properties_max: usize,
}

impl Frame<'_> {
    /// The packet's type, as in [`super::kind`].
    pub const fn kind(&self) -> u8 {
        self.first >> 4
    }

    pub const fn flags(&self) -> u8 {
        self.first & 0x0f
    }

    /// With no more user properties in a block than `max`.
    pub const fn with_user_properties(self, max: usize) -> Self {
        Self { user_properties_max: max, ..self }
    }

    /// Whether its remaining length has as few bytes as it needs. 3.1.1 allows more; not every receiver does.
    pub fn is_minimal(&self) -> bool {
        let header = self.raw.len().saturating_sub(self.body.len());
        header <= 2 || self.raw.get(header - 1).is_some_and(|last| *last != 0)
    }
}

/// The packet at the front of `input`, or `None` while it is incomplete. `max` is the largest whole packet in bytes.
///
/// # Errors
/// A remaining length of more than four bytes (2.2.3), or a packet above `max`, as soon as its header tells.
pub fn split(input: &[u8], max: usize) -> Result<Option<Frame<'_>>, Error> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let Some((length, header)) = remaining_length(rest)? else { return Ok(None) };
    let size = 1 + header + length;
    if size > max {
        return Err(Error::TooLarge { size, max });
    }
    let Some(raw) = input.get(..size) else { return Ok(None) };
    Ok(raw.get(1 + header..).map(|body| Frame { first, body, raw, user_properties_max: usize::MAX }))
}

/// The remaining length and the number of its bytes.
fn remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut length = 0;
    for (i, &byte) in input.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((length, i + 1)));
        }
    }
    if input.len() < 4 { Ok(None) } else { Err(Error::Malformed("a remaining length of more than four bytes [2.2.3]")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_where_the_remaining_length_says() {
        for (input, want) in [
            (&[][..], Ok(None)),
            (&[0xc0], Ok(None)),
            (&[0xc0, 0], Ok(Some(2))),
            (&[0xc0, 0, 0xc0], Ok(Some(2))),
            (&[0x40, 2, 0], Ok(None)),
            (&[0x40, 2, 0, 1], Ok(Some(4))),
            // 2.2.3 allows a length in more bytes than it needs.
            (&[0x40, 0x82, 0x00, 0, 1], Ok(Some(5))),
            (&[0x30, 0x80, 0x80, 0x80], Ok(None)),
            (&[0x30, 0x80, 0x80, 0x80, 0x00], Ok(Some(5))),
            (&[0x30, 0x80, 0x80, 0x80, 0x80], Err(Error::Malformed("a remaining length of more than four bytes [2.2.3]"))),
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], Err(Error::TooLarge { size: 268_435_460, max: 100 })),
            (&[0x30, 98], Ok(None)),
            (&[0x30, 99], Err(Error::TooLarge { size: 101, max: 100 })),
        ] {
            assert_eq!(split(input, 100).map(|f| f.map(|f| f.raw.len())), want, "{input:02x?}");
        }
    }
}
