//! Packets of a server.

use std::fmt;

use super::super::primitive::Reader;
use super::super::properties::{Place, Properties, Property};
use super::super::reason::{Carrier, SUBSCRIBE_FAILURE};
use super::super::{Error, Frame, Reason, Version, kind};
use crate::model::{QoS, check_name};

/// Why a server refused something, in the words of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// CONNACK's return code of 3.x (3.2.2.3).
    Connect(u8),
    /// SUBACK's 0x80 of 3.x (3.9.3).
    Subscription,
    Reason(Reason),
}

impl Refused {
    /// As it stands in the packet.
    pub const fn code(self) -> u8 {
        match self {
            Self::Connect(code) => code,
            Self::Subscription => SUBSCRIBE_FAILURE,
            Self::Reason(reason) => reason as u8,
        }
    }

    /// The server does not speak this version.
    pub const fn is_of_version(self) -> bool {
        matches!(self, Self::Connect(1) | Self::Reason(Reason::UnsupportedVersion))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Reason(reason) => return reason.fmt(f),
            Self::Subscription => "the subscription is refused",
            Self::Connect(1) => "unacceptable protocol version",
            Self::Connect(2) => "client identifier rejected",
            Self::Connect(3) => "server unavailable",
            Self::Connect(4) => "bad user name or password",
            Self::Connect(5) => "not authorized",
            Self::Connect(_) => "a return code that the standard does not know",
        };
        write!(f, "{text} (0x{:02x})", self.code())
    }
}

/// CONNACK (3.2), with the values that hold where it does not say them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack {
    pub session_present: bool,
    pub refused: Option<Refused>,
    pub session_expiry: Option<u32>,
    /// Not 0.
    pub receive_maximum: u16,
    pub maximum_qos: QoS,
    pub retain_available: bool,
    /// Bytes of a whole packet.
    pub maximum_packet_size: Option<u32>,
    pub assigned_client_id: Option<String>,
    /// Seconds.
    pub server_keep_alive: Option<u16>,
    pub reason_string: Option<String>,
}

impl Connack {
    /// # Errors
    /// Anything that 3.2 forbids.
    pub fn parse(frame: &Frame<'_>, version: Version) -> Result<Self, Error> {
        let mut reader = Reader::new(frame.body);
        let (flags, code) = (reader.u8()?, reader.u8()?);
        let refused = match (code, version) {
            (0, _) => None,
            // One that speaks no 5.0 answers in the two bytes of 3.1.1, with its codes.
            (code @ 1..=5, Version::V5) if reader.is_empty() => Some(Refused::Connect(code)),
            (code, Version::V5) => Some(Refused::Reason(reason(code, Carrier::Connack)?)),
            (code, _) => Some(Refused::Connect(code)),
        };
        let mut this = Self {
            session_present: flags & 1 != 0 && version != Version::V31,
            refused,
            session_expiry: None,
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            server_keep_alive: None,
            reason_string: None,
        };
        if version.is_5() && !reader.is_empty() {
            let mut properties = Properties::new(reader.properties()?, Place::Connack);
            while let Some(property) = properties.next()? {
                this.take(property);
            }
        }
        reader.finish()?;
        Ok(this)
    }

    fn take(&mut self, property: Property<'_>) {
        match property {
            Property::SessionExpiry(seconds) => self.session_expiry = Some(seconds),
            Property::ReceiveMaximum(n) => self.receive_maximum = n,
            Property::MaximumQos(qos) => self.maximum_qos = QoS::from_u8(qos).unwrap_or(QoS::AtMostOnce),
            Property::RetainAvailable(yes) => self.retain_available = yes,
            Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
            Property::AssignedClientId(id) => self.assigned_client_id = Some(id.to_owned()),
            Property::ServerKeepAlive(seconds) => self.server_keep_alive = Some(seconds),
            Property::ReasonString(text) => self.reason_string = Some(text.to_owned()),
            _ => {}
        }
    }
}

/// PUBLISH of a server (3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub topic: &'a str,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    /// 0 at QoS 0.
    pub id: u16,
    /// Its block of properties, checked: for [`super::super::properties::decode`].
    pub properties: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// # Errors
    /// Anything that 3.3 forbids; a topic alias, since none was allowed.
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Error> {
        let flags = frame.flags();
        let qos = QoS::from_u8(flags >> 1 & 3).ok_or(Error::Malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]"))?;
        let mut reader = Reader::new(frame.body);
        let topic = reader.text()?;
        let id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
        let block = if version.is_5() { reader.properties()? } else { &[] };
        let mut properties = Properties::new(block, Place::Publish);
        while let Some(property) = properties.next()? {
            if matches!(property, Property::TopicAlias(_)) {
                return Err(Error::TopicAliasInvalid);
            }
        }
        check_name(topic.as_bytes())?;
        Ok(Self { topic, qos, retain: flags & 1 != 0, dup: flags & 8 != 0, id, properties: block, body: reader.rest() })
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    /// One a filter for SUBACK, and for UNSUBACK of 5.0; else one.
    pub codes: Vec<Result<u8, Refused>>,
    pub reason_string: Option<String>,
}

impl Answer {
    /// # Errors
    /// Anything that the standard forbids to the packet.
    pub fn parse(frame: &Frame<'_>, version: Version) -> Result<Self, Error> {
        let (place, carrier) = match frame.kind() {
            kind::PUBACK => (Place::Puback, Carrier::Received),
            kind::PUBREC => (Place::Pubrec, Carrier::Received),
            kind::PUBREL => (Place::Pubrel, Carrier::Released),
            kind::PUBCOMP => (Place::Pubcomp, Carrier::Released),
            kind::SUBACK => (Place::Suback, Carrier::Suback),
            kind::UNSUBACK => (Place::Unsuback, Carrier::Unsuback),
            _ => return Err(Error::Protocol("not an answer")),
        };
        let mut reader = Reader::new(frame.body);
        let mut this = Self { id: reader.packet_id()?, codes: Vec::new(), reason_string: None };
        let many = matches!(frame.kind(), kind::SUBACK | kind::UNSUBACK);
        if !version.is_5() {
            this.codes =
                reader.rest().iter().map(|code| if *code < SUBSCRIBE_FAILURE { Ok(*code) } else { Err(Refused::Subscription) }).collect();
            if frame.kind() != kind::SUBACK && !this.codes.is_empty() {
                return Err(Error::Malformed("bytes after the end of the packet's content"));
            }
        } else if many {
            this.reason_string = reason_string(&mut reader, place)?;
            for code in reader.rest() {
                this.codes.push(verdict(reason(*code, carrier)?));
            }
            return Ok(this);
        } else if !reader.is_empty() {
            this.codes.push(verdict(reason(reader.u8()?, carrier)?));
            if !reader.is_empty() {
                this.reason_string = reason_string(&mut reader, place)?;
            }
            reader.finish()?;
        }
        if this.codes.is_empty() {
            this.codes.push(Ok(0));
        }
        Ok(this)
    }

    /// The first refusal.
    pub fn refused(&self) -> Option<Refused> {
        self.codes.iter().find_map(|code| code.err())
    }
}

/// DISCONNECT of a server (5.0, 3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    pub reason: Reason,
    pub reason_string: Option<String>,
}

impl Farewell {
    /// # Errors
    /// Anything that 3.14 forbids to a server; 3.x has no such packet.
    pub fn parse(frame: &Frame<'_>, version: Version) -> Result<Self, Error> {
        if !version.is_5() {
            return Err(Error::Protocol("DISCONNECT from a server before 5.0"));
        }
        let mut reader = Reader::new(frame.body);
        let mut this = Self { reason: Reason::Success, reason_string: None };
        if !reader.is_empty() {
            this.reason = reason(reader.u8()?, Carrier::ServerDisconnect)?;
        }
        if !reader.is_empty() {
            this.reason_string = reason_string(&mut reader, Place::Disconnect)?;
        }
        reader.finish()?;
        Ok(this)
    }
}

fn verdict(reason: Reason) -> Result<u8, Refused> {
    if reason.is_error() { Err(Refused::Reason(reason)) } else { Ok(reason as u8) }
}

fn reason_string(reader: &mut Reader<'_>, place: Place) -> Result<Option<String>, Error> {
    let mut properties = Properties::new(reader.properties()?, place);
    let mut found = None;
    while let Some(property) = properties.next()? {
        if let Property::ReasonString(text) = property {
            found = Some(text.to_owned());
        }
    }
    Ok(found)
}

/// A code that another server puts where the standard has none for it is still shown.
fn reason(code: u8, carrier: Carrier) -> Result<Reason, Error> {
    match Reason::from_u8(code) {
        Some(reason) if reason.may_be_in(carrier) || reason.is_error() => Ok(reason),
        _ => Err(Error::Protocol("a reason code that is not of this packet [2.4]")),
    }
}
