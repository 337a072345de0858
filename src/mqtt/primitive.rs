//! The data types of packets (3.1.1, 1.5): integers, UTF-8 strings, binary data.

use super::Error;

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

    /// A packet id, which is never 0 [MQTT-2.3.1-1].
    pub(super) fn packet_id(&mut self) -> Result<u16, Error> {
        match self.u16()? {
            0 => Err(Error::Malformed("packet id 0 [MQTT-2.3.1-1]")),
            id => Ok(id),
        }
    }

    /// Two bytes of length, then as many bytes.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::from(self.u16()?);
        let (head, tail) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    /// A UTF-8 string without NUL [MQTT-1.5.3-1] [MQTT-1.5.3-2].
    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Error::Malformed("a string that is not UTF-8 [MQTT-1.5.3-1]"))?;
        if text.as_bytes().contains(&0) {
            return Err(Error::Malformed("a string with NUL [MQTT-1.5.3-2]"));
        }
        Ok(text)
    }

    /// Nothing may follow.
    pub(super) const fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed("bytes after the end of the packet's content")) }
    }
}

const SHORT: Error = Error::Malformed("the packet is shorter than its content");
