//! PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 to 3.7).

use super::super::primitive::Reader;
use super::super::properties::{Place, Properties, Property};
use super::super::reason::Carrier;
use super::super::{Error, Frame, Reason, Version, kind};

/// One of the four packets that acknowledge a PUBLISH; which one, the frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    pub id: u16,
    /// Success in 3.x.
    pub reason: Reason,
    /// For a human.
    pub reason_string: Option<&'a str>,
}

impl<'a> Ack<'a> {
    /// # Errors
    /// Flags, length, id, code or properties that 3.4 to 3.7 forbid; another packet.
    #[inline]
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Error> {
        super::expect_flags(frame, version, if frame.kind() == kind::PUBREL { 2 } else { 0 })?;
        let mut reader = Reader::new(frame.body);
        let id = reader.packet_id()?;
        if reader.is_empty() {
            return Ok(Self { id, reason: Reason::Success, reason_string: None });
        }
        if !version.is_5() {
            reader.finish()?;
        }
        Self::parse_rest(frame, id, reader)
    }

    fn parse_rest(frame: &Frame<'_>, id: u16, mut reader: Reader<'a>) -> Result<Self, Error> {
        let (place, carrier) = match frame.kind() {
            kind::PUBACK => (Place::Puback, Carrier::Received),
            kind::PUBREC => (Place::Pubrec, Carrier::Received),
            kind::PUBREL => (Place::Pubrel, Carrier::Released),
            kind::PUBCOMP => (Place::Pubcomp, Carrier::Released),
            _ => return Err(Error::Protocol("not an acknowledgement of a PUBLISH")),
        };
        let reason = super::reason(reader.u8()?, carrier)?;
        let mut reason_string = None;
        // 3.4.2.2.1: fewer than four bytes have no property length.
        if !reader.is_empty() {
            let mut properties = Properties::of(frame, &mut reader, place)?;
            while let Some(property) = properties.next()? {
                if let Property::ReasonString(text) = property {
                    reason_string = Some(text);
                }
            }
        }
        reader.finish()?;
        Ok(Self { id, reason, reason_string })
    }
}
