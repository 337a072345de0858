//! Frames of a serial line: unit, PDU, checksum (Modbus over Serial Line 1.02, 2.5.1), and finding them among foreign bytes.
//!
//! RTU marks no frame's beginning but by silence, and a USB adapter does not keep silences. So nothing here trusts one: a frame is where its header
//! fits and its checksum is right, at whatever place in the buffer that is.

use std::ops::Range;

use crc::{CRC_16_MODBUS, Crc};

use super::pdu::EXCEPTION_FLAG;
use super::{Read, Reply, Table, UnitId};

/// Longest frame (Modbus over Serial Line 1.02, 2.5.1).
pub const FRAME_MAX: usize = 256;
/// Bytes of a request to read, and of those to write one register or coil.
pub const REQUEST_LENGTH: usize = 8;
/// Bytes of a reply beside its data.
pub const REPLY_OVERHEAD: usize = 5;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
const EXCEPTION_LENGTH: usize = 5;

/// A unit and a PDU with their checksum, its low byte first.
pub fn frame(unit: UnitId, pdu: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(pdu.len() + 3);
    frame.push(unit.as_u8());
    frame.extend_from_slice(pdu);
    frame.extend_from_slice(&CRC.checksum(&frame).to_le_bytes());
    frame
}

pub fn encode_request(unit: UnitId, read: Read) -> Vec<u8> {
    frame(unit, &read.encode())
}

pub fn encode_reply(unit: UnitId, reply: &Reply) -> Vec<u8> {
    frame(unit, &reply.encode())
}

/// Length of the reply to `read`, unless it is an exception.
pub const fn reply_length(read: Read) -> usize {
    REPLY_OVERHEAD + read.data_length()
}

/// The one reply that a master waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub unit: UnitId,
    pub table: Table,
    /// Bytes of data, as its count must say.
    pub data_length: usize,
}

/// What was found in a buffer, and where the whole frame lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Data { data: Range<usize>, frame: Range<usize> },
    Exception { code: u8, frame: Range<usize> },
}

impl Expected {
    pub const fn of(unit: UnitId, read: Read) -> Self {
        Self { unit, table: read.first().table, data_length: read.data_length() }
    }

    /// The first place in `buffer` where the reply, or an exception to its function, stands complete.
    ///
    /// Beyond a place where the reply may just be arriving no exception is looked for: registers may hold bytes that look like one.
    pub fn find(&self, buffer: &[u8]) -> Option<Found> {
        let mut arriving = false;
        for start in 0..buffer.len() {
            let rest = buffer.get(start..)?;
            let [unit, function, third, ..] = *rest else { return None };
            if unit != self.unit.as_u8() {
                continue;
            }
            if function == self.table.function() && usize::from(third) == self.data_length {
                let end = REPLY_OVERHEAD + self.data_length;
                match rest.get(..end) {
                    Some(frame) if is_intact(frame) => {
                        return Some(Found::Data { data: start + 3..start + end - 2, frame: start..start + end });
                    }
                    Some(_) => {}
                    None => arriving = true,
                }
            } else if !arriving
                && function == self.table.function() | EXCEPTION_FLAG
                && third != 0
                && rest.get(..EXCEPTION_LENGTH).is_some_and(is_intact)
            {
                return Some(Found::Exception { code: third, frame: start..start + EXCEPTION_LENGTH });
            }
        }
        None
    }
}

/// A whole reply of any unit to any read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub unit: UnitId,
    pub frame: Range<usize>,
}

/// The replies in `buffer` that are whole, first to last, each read as one: nothing inside of one is taken for another. Says what was skipped.
pub fn replies(buffer: &[u8]) -> Vec<Foreign> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(rest) = buffer.get(start..)
        && rest.len() >= EXCEPTION_LENGTH
    {
        match reply_at(rest) {
            Some((unit, length)) => {
                found.push(Foreign { unit, frame: start..start + length });
                start += length;
            }
            None => start += 1,
        }
    }
    found
}

fn reply_at(bytes: &[u8]) -> Option<(UnitId, usize)> {
    let [unit, function, third, ..] = *bytes else { return None };
    let unit = UnitId::new(unit)?;
    Table::from_function(function & !EXCEPTION_FLAG)?;
    let length = if function & EXCEPTION_FLAG == 0 { REPLY_OVERHEAD + usize::from(third) } else { EXCEPTION_LENGTH };
    is_intact(bytes.get(..length)?).then_some((unit, length))
}

/// A request as a slave finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub unit: UnitId,
    pub function: u8,
    /// What is to be read, or the exception code to answer with.
    pub read: Result<Read, u8>,
}

impl Request {
    /// The answer that refuses it.
    pub const fn refusal(&self, code: u8) -> Reply {
        Reply::Exception { function: self.function, code }
    }
}

/// Takes the first whole request out of `buffer`, and what stands before it. A slave calls this after each read from its line.
///
/// Only requests of 8 bytes are found: all reads, and writes of one register or coil (which end as [`super::pdu::ILLEGAL_FUNCTION`]). Of what is none, no
/// more is kept than may be the beginning of one.
pub fn take_request(buffer: &mut Vec<u8>) -> Option<Request> {
    let found = buffer.windows(REQUEST_LENGTH).enumerate().find_map(|(start, window)| {
        let (&unit, pdu) = window.get(..REQUEST_LENGTH - 2)?.split_first()?;
        let unit = UnitId::new(unit)?;
        let function = *pdu.first()?;
        is_intact(window).then(|| (start + REQUEST_LENGTH, Request { unit, function, read: Read::decode(pdu) }))
    });
    let consumed = found.map_or(buffer.len().saturating_sub(REQUEST_LENGTH - 1), |(end, _)| end);
    buffer.drain(..consumed);
    found.map(|(_, request)| request)
}

/// The checksum over a frame and its own checksum is 0.
fn is_intact(frame: &[u8]) -> bool {
    frame.len() > 3 && CRC.checksum(frame) == 0
}

#[cfg(test)]
mod tests {
    use super::super::{RegisterAddress, pdu};
    use super::*;

    fn unit(n: u8) -> UnitId {
        UnitId::new(n).unwrap()
    }

    fn read(table: Table, address: u16, quantity: u16) -> Read {
        Read::new(RegisterAddress { table, address }, quantity).unwrap()
    }

    fn words(n: u8, table: Table, words: &[u16]) -> Vec<u8> {
        encode_reply(unit(n), &Reply::words(table, words))
    }

    /// Frames that other masters and slaves are known to send.
    #[test]
    fn frames_are_those_seen_on_other_lines() {
        assert_eq!(encode_request(unit(1), read(Table::Holding, 0, 10)), [0x01, 0x03, 0x00, 0x00, 0x00, 0x0a, 0xc5, 0xcd]);
        assert_eq!(encode_request(unit(17), read(Table::Holding, 0x6b, 3)), [0x11, 0x03, 0x00, 0x6b, 0x00, 0x03, 0x76, 0x87]);
        assert_eq!(
            words(17, Table::Holding, &[0xae41, 0x5652, 0x4340]),
            [0x11, 0x03, 0x06, 0xae, 0x41, 0x56, 0x52, 0x43, 0x40, 0x49, 0xad]
        );
        let exception = encode_reply(unit(10), &Reply::Exception { function: 1, code: 2 });
        assert_eq!(exception, [0x0a, 0x81, 0x02, 0xb0, 0x53]);
    }

    #[test]
    fn a_reply_is_found_among_foreign_bytes() {
        let expected = Expected::of(unit(1), read(Table::Holding, 0, 2));
        let reply = words(1, Table::Holding, &[7, 8]);
        let exception = |n, function| encode_reply(unit(n), &Reply::Exception { function, code: 2 });
        let mut damaged = reply.clone();
        damaged[4] ^= 1;
        let data = |start: usize| Some(Found::Data { data: start + 3..start + 7, frame: start..start + 9 });
        for (name, bytes, want) in [
            ("alone", reply.clone(), data(0)),
            ("after noise that looks like a header", [&[1, 3, 4, 9, 1, 3][..], &reply].concat(), data(6)),
            ("after the tail of another", [&words(1, Table::Holding, &[1, 2, 3])[5..], &reply].concat(), data(6)),
            ("after a late one of another length", [words(1, Table::Holding, &[1, 2, 3]), reply.clone()].concat(), data(11)),
            ("after another unit's", [words(2, Table::Holding, &[1, 2]), reply.clone()].concat(), data(9)),
            ("after another function's", [words(1, Table::Input, &[1, 2]), reply.clone()].concat(), data(9)),
            ("after another unit's exception", [exception(2, 3), reply.clone()].concat(), data(5)),
            ("after another function's exception", [exception(1, 4), reply.clone()].concat(), data(5)),
            ("after a damaged one", [damaged.clone(), reply.clone()].concat(), data(9)),
            ("damaged", damaged, None),
            ("cut", reply[..8].to_vec(), None),
            ("another length", words(1, Table::Holding, &[7]), None),
            ("exception", exception(1, 3), Some(Found::Exception { code: 2, frame: 0..5 })),
            ("cut, then an exception", [&reply[..3], &exception(1, 3)].concat(), None),
        ] {
            assert_eq!(expected.find(&bytes), want, "{name}");
        }
    }

    #[test]
    fn registers_that_look_like_an_exception_are_none() {
        let exception = encode_reply(unit(1), &Reply::Exception { function: 3, code: 2 });
        let reply = encode_reply(unit(1), &Reply::Data { table: Table::Holding, data: [&exception[..], &[0]].concat() });
        let expected = Expected::of(unit(1), read(Table::Holding, 0, 3));
        for end in 0..reply.len() {
            assert_eq!(expected.find(&reply[..end]), None, "{end} bytes");
        }
        assert!(matches!(expected.find(&reply), Some(Found::Data { .. })));
    }

    #[test]
    fn whole_replies_are_told_from_noise() {
        let bytes =
            [&[9, 9][..], &words(2, Table::Input, &[1]), &[0xff], &encode_reply(unit(3), &Reply::Exception { function: 1, code: 4 })];
        let found: Vec<_> = replies(&bytes.concat()).into_iter().map(|f| (f.unit.as_u8(), f.frame)).collect();
        assert_eq!(found, [(2, 2..9), (3, 10..15)]);
        assert_eq!(replies(&[1, 3]), []);
    }

    #[test]
    fn a_slave_finds_requests_in_a_stream() {
        let first = encode_request(unit(1), read(Table::Holding, 0, 10));
        let second = encode_request(unit(2), read(Table::Coil, 3, 4));
        let mut buffer = [&[0xff, 0x00][..], &first, &[0x01], &second, &second[..5]].concat();
        assert_eq!(take_request(&mut buffer).map(|r| (r.unit, r.read)), Some((unit(1), Ok(read(Table::Holding, 0, 10)))));
        assert_eq!(take_request(&mut buffer).map(|r| (r.unit, r.read)), Some((unit(2), Ok(read(Table::Coil, 3, 4)))));
        assert_eq!(take_request(&mut buffer), None);
        buffer.extend_from_slice(&second[5..]);
        assert!(take_request(&mut buffer).is_some());
        let mut write = frame(unit(1), &[6, 0, 1, 0, 3]);
        assert_eq!(take_request(&mut write).map(|r| r.read), Some(Err(pdu::ILLEGAL_FUNCTION)));
        let mut noise = vec![0x55; 1_000];
        assert_eq!(take_request(&mut noise), None);
        assert!(noise.len() < REQUEST_LENGTH);
    }
}
