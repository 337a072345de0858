//! The data types of packets (3.1.1, 1.5; 5.0, 1.5): integers, UTF-8 strings, binary data.

use super::Error;

/// Largest value of a variable byte integer (5.0, 1.5.5), and so of a remaining length.
pub const VARINT_MAX: usize = 268_435_455;

/// Reads the body of one packet from its front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that are left.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        let (head, tail) = self.0.split_first().ok_or(SHORT)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        let (head, tail) = self.0.split_first_chunk::<2>().ok_or(SHORT)?;
        self.0 = tail;
        Ok(u16::from_be_bytes(*head))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        let (head, tail) = self.0.split_first_chunk::<4>().ok_or(SHORT)?;
        self.0 = tail;
        Ok(u32::from_be_bytes(*head))
    }

    /// A variable byte integer in as few bytes as it needs [MQTT-1.5.5-1], 0 to [`VARINT_MAX`].
    pub(super) fn varint(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for i in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                let padded = i > 0 && byte == 0;
                return if padded { Err(Error::Malformed("an integer in more bytes than it needs [MQTT-1.5.5-1]")) } else { Ok(value) };
            }
        }
        Err(Error::Malformed("a variable byte integer of more than four bytes [1.5.5]"))
    }

    /// A packet id, which is never 0 (3.1.1 [MQTT-2.3.1-1], 5.0 [MQTT-2.2.1-3]).
    pub(super) fn packet_id(&mut self) -> Result<u16, Error> {
        match self.u16()? {
            0 => Err(Error::Protocol("packet id 0 [MQTT-2.3.1-1]")),
            id => Ok(id),
        }
    }

    /// Two bytes of length, then as many bytes.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }

    /// A UTF-8 string without NUL (3.1.1 [MQTT-1.5.3-1] [MQTT-1.5.3-2], 5.0 [MQTT-1.5.4-1] [MQTT-1.5.4-2]).
    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Error::Malformed("a string that is not UTF-8 [MQTT-1.5.3-1]"))?;
        if text.as_bytes().contains(&0) {
            return Err(Error::Malformed("a string with NUL [MQTT-1.5.3-2]"));
        }
        Ok(text)
    }

    /// The properties of a 5.0 packet: their length, then as many bytes, not looked at yet (2.2.2).
    pub(super) fn properties(&mut self) -> Result<&'a [u8], Error> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    /// Nothing may follow.
    pub(super) const fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed("bytes after the end of the packet's content")) }
    }
}

const SHORT: Error = Error::Malformed("the packet is shorter than its content");

/// Appends a variable byte integer; a remaining length is one. What is above [`VARINT_MAX`] cannot be written; packets are limited far below.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= VARINT_MAX);
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Bytes of a variable byte integer.
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Appends binary data with its length; what is beyond 65,535 bytes cannot be said and is cut off.
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}

/// Appends a string with its length; a longer one is cut off at a character.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    put_binary(out, text.get(..end).unwrap_or_default().as_bytes());
}
