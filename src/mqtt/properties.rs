//! The properties of 5.0 packets (2.2.2): each with its type, its range and the packets that may carry it.
//!
//! A block is read one property at a time, in place. What a server hands on unaltered is kept as it came: [`Forwarded`].

use bytes::Bytes;

use super::primitive::{Reader, put_binary, put_text, put_varint};
use super::{Error, Frame};
use crate::model::check_name;

/// Where a block of properties stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    Connect,
    Connack,
    Publish,
    Will,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Disconnect,
    Auth,
}

impl Place {
    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// One property with its value (2.2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// True: the payload is UTF-8 text.
    PayloadFormat(bool),
    /// Seconds.
    MessageExpiry(u32),
    ContentType(&'a str),
    /// A topic name.
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    /// 1 to 268,435,455.
    SubscriptionIdentifier(u32),
    /// Seconds; the largest value: never.
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    /// Seconds.
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    /// Seconds.
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    /// Not 0.
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    /// Not 0.
    TopicAlias(u16),
    /// 0 or 1; 2 is said by leaving it out.
    MaximumQos(u8),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    /// Bytes of a whole packet, not 0.
    MaximumPacketSize(u32),
    WildcardsAvailable(bool),
    IdentifiersAvailable(bool),
    SharedAvailable(bool),
}

/// The packets that may carry the property `id`, a bit each; none: there is no such property (table 2-4).
const fn places(id: u8) -> u16 {
    use Place as P;
    let message = P::Publish.bit() | P::Will.bit();
    let connection = P::Connect.bit() | P::Connack.bit();
    let acks = P::Puback.bit() | P::Pubrec.bit() | P::Pubrel.bit() | P::Pubcomp.bit() | P::Suback.bit() | P::Unsuback.bit();
    match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => message,
        0x0b => P::Publish.bit() | P::Subscribe.bit(),
        0x11 => connection | P::Disconnect.bit(),
        0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => P::Connack.bit(),
        0x15 | 0x16 => connection | P::Auth.bit(),
        0x17 | 0x19 => P::Connect.bit(),
        0x18 => P::Will.bit(),
        0x1c => P::Connack.bit() | P::Disconnect.bit(),
        0x1f => acks | P::Connack.bit() | P::Disconnect.bit() | P::Auth.bit(),
        0x21 | 0x22 | 0x27 => connection,
        0x23 => P::Publish.bit(),
        0x26 => connection | message | acks | P::Subscribe.bit() | P::Unsubscribe.bit() | P::Disconnect.bit() | P::Auth.bit(),
        _ => 0,
    }
}

const fn may_repeat(id: u8, place: Place) -> bool {
    id == 0x26 || (id == 0x0b && matches!(place, Place::Publish))
}

impl<'a> Property<'a> {
    /// The value of property `id`, with its type and its range.
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(match id {
            0x01 => Self::PayloadFormat(flag(reader)?),
            0x02 => Self::MessageExpiry(reader.u32()?),
            0x03 => Self::ContentType(reader.text()?),
            0x08 => Self::ResponseTopic(topic_name(reader)?),
            0x09 => Self::CorrelationData(reader.binary()?),
            0x0b => Self::SubscriptionIdentifier(not_zero(reader.varint()?, "subscription identifier 0 [3.8.2.1.2]")?),
            0x11 => Self::SessionExpiry(reader.u32()?),
            0x12 => Self::AssignedClientId(reader.text()?),
            0x13 => Self::ServerKeepAlive(reader.u16()?),
            0x15 => Self::AuthenticationMethod(reader.text()?),
            0x16 => Self::AuthenticationData(reader.binary()?),
            0x17 => Self::RequestProblemInformation(flag(reader)?),
            0x18 => Self::WillDelay(reader.u32()?),
            0x19 => Self::RequestResponseInformation(flag(reader)?),
            0x1a => Self::ResponseInformation(reader.text()?),
            0x1c => Self::ServerReference(reader.text()?),
            0x1f => Self::ReasonString(reader.text()?),
            0x21 => Self::ReceiveMaximum(not_zero(reader.u16()?, "receive maximum 0 [3.1.2.11.3]")?),
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            0x23 => match reader.u16()? {
                0 => return Err(Error::TopicAliasInvalid),
                alias => Self::TopicAlias(alias),
            },
            0x24 => Self::MaximumQos(u8::from(flag(reader)?)),
            0x25 => Self::RetainAvailable(flag(reader)?),
            0x26 => Self::User(reader.text()?, reader.text()?),
            0x27 => Self::MaximumPacketSize(not_zero(reader.u32()?, "maximum packet size 0 [3.1.2.11.4]")?),
            0x28 => Self::WildcardsAvailable(flag(reader)?),
            0x29 => Self::IdentifiersAvailable(flag(reader)?),
            0x2a => Self::SharedAvailable(flag(reader)?),
            _ => return Err(UNKNOWN),
        })
    }

    /// Its number in a packet.
    pub const fn id(&self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 0x01,
            Self::MessageExpiry(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0b,
            Self::SessionExpiry(_) => 0x11,
            Self::AssignedClientId(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelay(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1a,
            Self::ServerReference(_) => 0x1c,
            Self::ReasonString(_) => 0x1f,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQos(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::User(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardsAvailable(_) => 0x28,
            Self::IdentifiersAvailable(_) => 0x29,
            Self::SharedAvailable(_) => 0x2a,
        }
    }

    /// Appends it as it stands in a packet.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match *self {
            Self::PayloadFormat(flag)
            | Self::RequestProblemInformation(flag)
            | Self::RequestResponseInformation(flag)
            | Self::RetainAvailable(flag)
            | Self::WildcardsAvailable(flag)
            | Self::IdentifiersAvailable(flag)
            | Self::SharedAvailable(flag) => out.push(u8::from(flag)),
            Self::MaximumQos(qos) => out.push(qos),
            Self::ServerKeepAlive(n) | Self::ReceiveMaximum(n) | Self::TopicAliasMaximum(n) | Self::TopicAlias(n) => {
                out.extend_from_slice(&n.to_be_bytes());
            }
            Self::MessageExpiry(n) | Self::SessionExpiry(n) | Self::WillDelay(n) | Self::MaximumPacketSize(n) => {
                out.extend_from_slice(&n.to_be_bytes());
            }
            Self::SubscriptionIdentifier(n) => put_varint(out, usize::try_from(n).unwrap_or_default()),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => put_binary(out, bytes),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_text(out, text),
            Self::User(name, value) => {
                put_text(out, name);
                put_text(out, value);
            }
        }
    }

    /// Whether a server hands it on with the message, as it came (3.3.2.3).
    const fn is_forwarded(&self) -> bool {
        matches!(self.id(), 0x01 | 0x03 | 0x08 | 0x09 | 0x26)
    }
}

/// The user property's number (2.2.2.2).
const USER: u8 = 0x26;

const UNKNOWN: Error = Error::Malformed("a property that is not of this packet [2.2.2.2]");

fn flag(reader: &mut Reader<'_>) -> Result<bool, Error> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::Protocol("a property that is neither 0 nor 1")),
    }
}

fn not_zero<T: Default + PartialEq>(value: T, broken: &'static str) -> Result<T, Error> {
    if value == T::default() { Err(Error::Protocol(broken)) } else { Ok(value) }
}

fn topic_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Error> {
    let name = reader.text()?;
    match check_name(name.as_bytes()) {
        Ok(()) => Ok(name),
        Err(_) => Err(Error::Protocol("a response topic that is no topic name [MQTT-3.3.2-14]")),
    }
}

/// Reads one block of properties.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    reader: Reader<'a>,
    place: Place,
    /// Those that have come, a bit each.
    seen: u64,
    /// User properties that may still come.
    users_left: usize,
}

impl<'a> Properties<'a> {
    /// Of a block that was read before, or is our own.
    pub(super) const fn new(block: &'a [u8], place: Place) -> Self {
        Self { reader: Reader::new(block), place, seen: 0, users_left: usize::MAX }
    }

    /// The block that is next in `reader`, of the packet `frame`.
    pub(super) fn of(frame: &Frame<'_>, reader: &mut Reader<'a>, place: Place) -> Result<Self, Error> {
        Ok(Self { users_left: frame.user_properties_max, ..Self::new(reader.properties()?, place) })
    }

    /// The next one, checked in all that 2.2.2.2 and its own clause say.
    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, Error> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        // All ids are below 128, in which a variable byte integer is one byte.
        let id = self.reader.u8()?;
        if places(id) & self.place.bit() == 0 {
            return Err(UNKNOWN);
        }
        if self.seen >> id & 1 != 0 && !may_repeat(id, self.place) {
            return Err(Error::Protocol("a property that came before in this packet [2.2.2.2]"));
        }
        self.seen |= 1 << id;
        if id == USER {
            self.users_left = self.users_left.checked_sub(1).ok_or(Error::TooManyUserProperties)?;
        }
        Property::read(id, &mut self.reader).map(Some)
    }

    /// Its user properties, of a block that is now read to its end.
    pub(super) const fn users(&self) -> UserProperties<'a> {
        UserProperties::new(self.reader.rest(), self.place)
    }

    /// Bytes that are not read yet.
    const fn left(&self) -> usize {
        self.reader.len()
    }
}

/// The properties that go on with a message as they came (payload format indicator, content type, response topic, correlation data, user
/// properties), encoded and checked, without their length. Parts of the input, in order: what is left out of a PUBLISH (expiry, alias) or a
/// will (expiry, delay) splits them into three at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarded<'a> {
    parts: [&'a [u8]; 3],
}

impl<'a> Forwarded<'a> {
    pub const EMPTY: Self = Self { parts: [&[]; 3] };

    /// Bytes.
    pub const fn len(&self) -> usize {
        let [a, b, c] = self.parts;
        a.len() + b.len() + c.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn copy_to(&self, out: &mut Vec<u8>) {
        for part in self.parts {
            out.extend_from_slice(part);
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        match self.parts {
            [only, [], []] => Bytes::copy_from_slice(only),
            parts => parts.concat().into(),
        }
    }

    /// Where the message's receivers are to answer (3.3.2.3.5).
    pub fn response_topic(&self) -> Option<&'a str> {
        let topic = |property| if let Property::ResponseTopic(topic) = property { Some(topic) } else { None };
        self.parts.into_iter().flat_map(decode).find_map(topic)
    }

    /// Reads the block that is next in `reader`, of the packet `frame`, and hands what does not go on to `other`.
    #[inline]
    pub(super) fn read(
        frame: &Frame<'_>,
        reader: &mut Reader<'a>,
        place: Place,
        other: impl FnMut(Property<'a>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let block = reader.properties()?;
        if block.is_empty() {
            return Ok(Self::EMPTY);
        }
        Self::read_block(block, Properties { users_left: frame.user_properties_max, ..Properties::new(block, place) }, other)
    }

    fn read_block(
        block: &'a [u8],
        mut properties: Properties<'a>,
        mut other: impl FnMut(Property<'a>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut forwarded = Self::EMPTY;
        let mut parts = forwarded.parts.iter_mut();
        let (mut from, mut at) = (0, 0);
        while let Some(property) = properties.next()? {
            let end = block.len() - properties.left();
            if !property.is_forwarded() {
                if let Some(part) = block.get(from..at).filter(|part| !part.is_empty())
                    && let Some(place) = parts.next()
                {
                    *place = part;
                }
                from = end;
                other(property)?;
            }
            at = end;
        }
        if let Some(place) = parts.next() {
            *place = block.get(from..at).unwrap_or_default();
        }
        Ok(forwarded)
    }
}

/// A block that was read before, as [`Forwarded::to_bytes`] gave it.
impl<'a> From<&'a [u8]> for Forwarded<'a> {
    fn from(block: &'a [u8]) -> Self {
        Self { parts: [block, &[], &[]] }
    }
}

impl<'a> From<&'a Bytes> for Forwarded<'a> {
    fn from(block: &'a Bytes) -> Self {
        Self::from(&block[..])
    }
}

/// The values in a block of [`Forwarded`] properties, which was checked when it came; a damaged one ends where it is damaged.
pub fn decode(block: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut properties = Properties::new(block, Place::Publish);
    std::iter::from_fn(move || properties.next().ok().flatten())
}

/// The ids of the properties in a block of any packet; a damaged one ends where it is damaged.
pub fn ids(block: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(block);
    let mut ids = Vec::new();
    while let Ok(id) = reader.u8()
        && Property::read(id, &mut reader).is_ok()
    {
        ids.push(id);
    }
    ids
}

/// The user properties of a packet, in order, each as often as it came (3.1.2.11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserProperties<'a> {
    block: &'a [u8],
    place: Place,
}

impl<'a> UserProperties<'a> {
    /// `block` has been read to its end.
    pub(super) const fn new(block: &'a [u8], place: Place) -> Self {
        Self { block, place }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut properties = Properties::new(self.block, self.place);
        std::iter::from_fn(move || {
            loop {
                if let Property::User(name, value) = properties.next().ok().flatten()? {
                    return Some((name, value));
                }
            }
        })
    }
}
