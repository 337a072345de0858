//! The server's side of WebSocket frames (RFC 6455, 5), as MQTT uses them (MQTT 5.0, 6): binary messages of any length, which are only a stream.
//!
//! A frame is never gathered: its payload is unmasked where it lies and handed on as it comes, so that neither a claimed length nor a message of a
//! thousand fragments costs memory. Only the payload of a ping or a close is held, at most [`CONTROL_MAX`] bytes and only until it is whole.

use std::ops::Range;

/// The longest payload of a control frame in bytes (5.5). A longer one ends the connection.
pub const CONTROL_MAX: usize = 125;

/// The longest header that a client's frame can have: two bytes, eight of length, four of mask (5.2).
const HEADER_MAX: usize = 14;

mod opcode {
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xa;
}

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Takes the frames off what a client sends.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the frame's payload that have not come yet.
    remaining: u64,
    /// The payload of a ping or close up to here, until the next frame begins. Absent nearly always.
    held: Option<Box<Held>>,
    /// The frame's header as far as it has come.
    header: [u8; HEADER_MAX],
    header_length: u8,
    /// Turned with each byte of payload, so that its first byte is always the next one's.
    mask: [u8; 4],
    /// Of the frame whose payload is being read.
    opcode: u8,
    stage: Stage,
    /// A message has begun and its last frame has not come (5.4).
    fragmented: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Header,
    Payload,
    /// A close was read or an error found; what follows has no meaning (5.5.1).
    Over,
}

#[derive(Debug)]
struct Held {
    bytes: [u8; CONTROL_MAX],
    length: u8,
}

/// What [`Decoder::step`] met.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing to act on: a part of a header, a pong, an empty frame.
    None,
    /// MQTT's next bytes, unmasked where they lie in the input.
    Data(Range<usize>),
    /// To be answered by a [`pong`] with the same payload (5.5.3).
    Ping(&'a [u8]),
    /// The client closes, with this code or none. To be answered by a [`close`] with the same code, after which the connection is closed (5.5.1).
    Close(Option<u16>),
}

/// A frame that is not acceptable. A [`close`] with [`Error::code`] is the last thing sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("WebSocket: {0}")]
    Protocol(&'static str),
    /// Of a kind that MQTT does not use [MQTT-6.0.0-1].
    #[error("WebSocket: a text message [MQTT-6.0.0-1]")]
    Text,
    #[error("WebSocket: the reason of a close is not UTF-8 (5.5.1)")]
    NotUtf8,
}

impl Error {
    /// The status code that tells the client (7.4.1).
    pub const fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => code::PROTOCOL_ERROR,
            Self::Text => code::UNSUPPORTED_DATA,
            Self::NotUtf8 => code::INVALID_PAYLOAD,
        }
    }
}

/// Status codes of a close (7.4.1).
pub mod code {
    pub const NORMAL: u16 = 1000;
    pub const GOING_AWAY: u16 = 1001;
    pub const PROTOCOL_ERROR: u16 = 1002;
    pub const UNSUPPORTED_DATA: u16 = 1003;
    pub const INVALID_PAYLOAD: u16 = 1007;
    pub const POLICY_VIOLATION: u16 = 1008;
}

impl Decoder {
    /// Takes bytes from the front of `input` and says how many and what they were; at least one unless `input` is empty. Call it with what is left
    /// until nothing is. After [`Event::Close`] and after an error it takes whatever comes and makes nothing of it.
    ///
    /// # Errors
    /// At the first byte that shows a frame to be unacceptable.
    pub fn step(&mut self, input: &mut [u8]) -> Result<(usize, Event<'_>), Error> {
        let step = match self.stage {
            Stage::Header => self.header(input),
            Stage::Payload if self.opcode < opcode::CLOSE => Ok(self.data(input)),
            Stage::Payload => self.control(input),
            Stage::Over => Ok((input.len(), Met::Nothing)),
        };
        match step {
            Ok((taken, Met::Nothing)) => Ok((taken, Event::None)),
            Ok((taken, Met::Data)) => Ok((taken, Event::Data(0..taken))),
            Ok((taken, Met::Ping)) => Ok((taken, Event::Ping(self.held.as_deref().map_or(&[], Held::payload)))),
            Ok((taken, Met::Close(code))) => {
                self.stage = Stage::Over;
                Ok((taken, Event::Close(code)))
            }
            Err(error) => {
                self.stage = Stage::Over;
                Err(error)
            }
        }
    }

    /// Takes all of `buffer` and moves what it holds of MQTT together at its front: that many bytes, and whether what came behind them was
    /// acceptable. `control` gets every ping and close.
    pub fn unwrap_in_place(&mut self, buffer: &mut [u8], mut control: impl FnMut(Event<'_>)) -> (usize, Result<(), Error>) {
        let (mut at, mut end) = (0, 0);
        while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let (taken, event) = match self.step(rest) {
                Ok(step) => step,
                Err(error) => return (end, Err(error)),
            };
            match event {
                Event::None => {}
                Event::Data(range) => {
                    let (start, length) = (at + range.start, range.len());
                    buffer.copy_within(start..start + length, end);
                    end += length;
                }
                event => control(event),
            }
            at += taken;
        }
        (end, Ok(()))
    }

    /// Whether a close was read or an error found, after which nothing that the client sends has a meaning.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn header(&mut self, input: &[u8]) -> Result<(usize, Met), Error> {
        self.held = None;
        for (i, &byte) in input.iter().enumerate() {
            let at = usize::from(self.header_length);
            if let Some(place) = self.header.get_mut(at) {
                *place = byte;
            }
            self.header_length += 1;
            match at {
                0 => self.first(byte)?,
                1 => self.second(byte)?,
                _ => {}
            }
            if self.header_length == self.header_wanted() {
                self.header_length = 0;
                self.begin_payload()?;
                let met = if self.remaining == 0 { self.payload_done()? } else { Met::Nothing };
                return Ok((i + 1, met));
            }
        }
        Ok((input.len(), Met::Nothing))
    }

    /// FIN, the reserved bits and the opcode (5.2), against the message that is open (5.4).
    fn first(&self, byte: u8) -> Result<(), Error> {
        if byte & RSV != 0 {
            return Err(Error::Protocol("a reserved bit without an extension (5.2)"));
        }
        match byte & 0x0f {
            opcode::CONTINUATION if !self.fragmented => Err(Error::Protocol("a continuation of nothing (5.4)")),
            opcode::TEXT | opcode::BINARY if self.fragmented => Err(Error::Protocol("a message within another (5.4)")),
            opcode::TEXT => Err(Error::Text),
            opcode::CLOSE | opcode::PING | opcode::PONG if byte & FIN == 0 => Err(Error::Protocol("a control frame in fragments (5.5)")),
            opcode::CONTINUATION | opcode::BINARY | opcode::CLOSE | opcode::PING | opcode::PONG => Ok(()),
            _ => Err(Error::Protocol("a reserved opcode (5.2)")),
        }
    }

    fn second(&self, byte: u8) -> Result<(), Error> {
        let [first, ..] = self.header;
        if byte & MASKED == 0 {
            return Err(Error::Protocol("an unmasked frame (5.1)"));
        }
        if first & 0x0f >= opcode::CLOSE && usize::from(byte & !MASKED) > CONTROL_MAX {
            return Err(Error::Protocol("a control frame of more than 125 bytes (5.5)"));
        }
        Ok(())
    }

    /// Length of the header that has begun, as far as its second byte tells; two until that is there.
    const fn header_wanted(&self) -> u8 {
        let [_, second, ..] = self.header;
        match (self.header_length, second & !MASKED) {
            (..2, _) => 2,
            (_, 126) => 8,
            (_, 127) => HEADER_MAX as u8,
            _ => 6,
        }
    }

    fn begin_payload(&mut self) -> Result<(), Error> {
        let [first, second, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11, h12, h13] = self.header;
        let (length, least, mask) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([h2, h3])), 126, [h4, h5, h6, h7]),
            127 => (u64::from_be_bytes([h2, h3, h4, h5, h6, h7, h8, h9]), 1 << 16, [h10, h11, h12, h13]),
            short => (u64::from(short), 0, [h2, h3, h4, h5]),
        };
        if length >> 63 != 0 {
            return Err(Error::Protocol("a length of 64 bits (5.2)"));
        }
        if length < least {
            return Err(Error::Protocol("a length in more bytes than it needs (5.2)"));
        }
        self.opcode = first & 0x0f;
        if self.opcode < opcode::CLOSE {
            self.fragmented = first & FIN == 0;
        }
        (self.remaining, self.mask, self.stage) = (length, mask, Stage::Payload);
        Ok(())
    }

    /// MQTT's bytes; of what is left of the frame all that is there.
    fn data(&mut self, input: &mut [u8]) -> (usize, Met) {
        let taken = self.unmask(input);
        if self.remaining == 0 {
            self.stage = Stage::Header;
        }
        (taken, Met::Data)
    }

    fn control(&mut self, input: &mut [u8]) -> Result<(usize, Met), Error> {
        let taken = self.unmask(input);
        if self.opcode != opcode::PONG {
            let part = input.get(..taken).unwrap_or_default();
            self.held.get_or_insert_with(|| Box::new(Held { bytes: [0; CONTROL_MAX], length: 0 })).extend(part);
        }
        let met = if self.remaining == 0 { self.payload_done()? } else { Met::Nothing };
        Ok((taken, met))
    }

    /// The frame is whole.
    fn payload_done(&mut self) -> Result<Met, Error> {
        self.stage = Stage::Header;
        match self.opcode {
            opcode::PING => Ok(Met::Ping),
            opcode::CLOSE => closing(self.held.as_deref().map_or(&[], Held::payload)).map(Met::Close),
            _ => Ok(Met::Nothing),
        }
    }

    /// Unmasks what of the frame's payload is there (5.3); returns how much that was.
    fn unmask(&mut self, input: &mut [u8]) -> usize {
        let taken = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        let Some(part) = input.get_mut(..taken) else { return 0 };
        let [a, b, c, d] = self.mask;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = part.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for byte in rest {
            let [key, ..] = self.mask;
            *byte ^= key;
            self.mask.rotate_left(1);
        }
        self.remaining -= taken as u64;
        taken
    }
}

/// [`Event`] without the payload, which lies in the decoder.
#[derive(Debug)]
enum Met {
    Nothing,
    Data,
    Ping,
    Close(Option<u16>),
}

impl Held {
    fn payload(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The header has seen to it that there is room.
    fn extend(&mut self, part: &[u8]) {
        let places = self.bytes.iter_mut().skip(usize::from(self.length));
        for (place, &byte) in places.zip(part) {
            *place = byte;
            self.length += 1;
        }
    }
}

/// The code of a close (5.5.1). Those that only stand for what was never sent may not be sent (7.4.1, 7.4.2).
fn closing(payload: &[u8]) -> Result<Option<u16>, Error> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
        [_] => return Err(Error::Protocol("a close with half a code (5.5.1)")),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Error::Protocol("a close with a code that is not sent (7.4)"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Error::NotUtf8);
    }
    Ok(Some(code))
}

/// What a server puts before a payload: two bytes and up to eight of length, unmasked (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 10],
    length: u8,
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// The header of a whole binary message with a payload of `length` bytes, which are to be written right behind it [MQTT-6.0.0-1].
pub const fn binary(length: usize) -> Header {
    header(opcode::BINARY, length)
}

/// A whole pong with the payload of the ping that it answers (5.5.3).
pub fn pong(payload: &[u8]) -> Control {
    Control::new(opcode::PONG, payload)
}

/// A whole close; without a code if the client gave none.
pub fn close(code: Option<u16>) -> Control {
    let code = code.map(u16::to_be_bytes);
    Control::new(opcode::CLOSE, code.as_ref().map_or(&[], |code| code))
}

/// A whole control frame of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    bytes: [u8; 2 + CONTROL_MAX],
    length: u8,
}

impl Control {
    /// What of `payload` is beyond [`CONTROL_MAX`] is left out.
    fn new(opcode: u8, payload: &[u8]) -> Self {
        let payload = payload.get(..CONTROL_MAX).unwrap_or(payload);
        let header = header(opcode, payload.len());
        let mut bytes = [0; 2 + CONTROL_MAX];
        for (place, &byte) in bytes.iter_mut().zip(header.as_ref().iter().chain(payload)) {
            *place = byte;
        }
        Self { bytes, length: header.length + payload.len() as u8 }
    }
}

impl AsRef<[u8]> for Control {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

const fn header(opcode: u8, length: usize) -> Header {
    let first = FIN | opcode;
    let [.., b0, b1] = length.to_be_bytes();
    match length {
        ..126 => Header { bytes: [first, b1, 0, 0, 0, 0, 0, 0, 0, 0], length: 2 },
        126..=0xffff => Header { bytes: [first, 126, b0, b1, 0, 0, 0, 0, 0, 0], length: 4 },
        _ => {
            let [b0, b1, b2, b3, b4, b5, b6, b7] = (length as u64).to_be_bytes();
            Header { bytes: [first, 127, b0, b1, b2, b3, b4, b5, b6, b7], length: 10 }
        }
    }
}

#[cfg(test)]
mod tests;
