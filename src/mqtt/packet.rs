//! Packets that a client sends, read and checked: every rule that one packet alone can break.

use super::primitive::Reader;
use super::{Error, Frame};
use crate::model::{QoS, Topic, TopicFilter};

/// Most filters of one SUBSCRIBE or UNSUBSCRIBE: a packet is applied in one go, and half a million filters fit into one of 2 MiB.
/// The connection of one with more is closed.
pub const FILTERS_MAX: usize = 1_024;

/// CONNECT (3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connect<'a> {
    /// Level 4.
    V311(Connect311<'a>),
    /// A version that is not spoken here: the answer is CONNACK 0x01, then the end [MQTT-3.1.2-2].
    Other { level: u8 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect311<'a> {
    pub clean: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// May be empty.
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: Topic,
    pub body: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
}

impl<'a> Connect<'a> {
    /// # Errors
    /// Anything that 3.1 forbids. An unknown protocol name is an error without an answer [MQTT-3.1.2-1].
    pub fn parse(frame: &Frame<'a>) -> Result<Self, Error> {
        expect_flags(frame, 0)?;
        let mut reader = Reader::new(frame.body);
        let name = reader.binary()?;
        let level = reader.u8()?;
        match (name, level) {
            (b"MQTT", 4) => Connect311::parse(reader).map(Self::V311),
            (b"MQTT" | b"MQIsdp", _) => Ok(Self::Other { level }),
            _ => Err(Error::Protocol("the protocol name is not MQTT [MQTT-3.1.2-1]")),
        }
    }
}

impl<'a> Connect311<'a> {
    fn parse(mut reader: Reader<'a>) -> Result<Self, Error> {
        let flags = reader.u8()?;
        let [clean, will, will_retain, password, user] = [0x02, 0x04, 0x20, 0x40, 0x80].map(|bit| flags & bit != 0);
        let will_qos = QoS::from_u8(flags >> 3 & 3).ok_or(Error::Malformed("will QoS 3 [MQTT-3.1.2-14]"))?;
        if flags & 1 != 0 {
            return Err(Error::Malformed("CONNECT's reserved flag is set [MQTT-3.1.2-3]"));
        }
        if !will && (will_retain || will_qos != QoS::AtMostOnce) {
            return Err(Error::Malformed("will QoS or will retain without a will [MQTT-3.1.2-13]"));
        }
        if password && !user {
            return Err(Error::Malformed("a password without a user name [MQTT-3.1.2-22]"));
        }
        let keep_alive = reader.u16()?;
        let client_id = reader.text()?;
        let will = if will { Some(Will::parse(&mut reader, will_qos, will_retain)?) } else { None };
        let user = if user { Some(reader.text()?) } else { None };
        let password = if password { Some(reader.binary()?) } else { None };
        reader.finish()?;
        Ok(Self { clean, keep_alive, client_id, will, user, password })
    }
}

impl<'a> Will<'a> {
    fn parse(reader: &mut Reader<'a>, qos: QoS, retain: bool) -> Result<Self, Error> {
        let topic = Topic::new(reader.text()?)?;
        Ok(Self { topic, body: reader.binary()?, qos, retain })
    }
}

/// PUBLISH (3.3). The topic's text is not checked yet: a receiver that has seen the same bytes before need not do it again.
/// It is to be taken into a [`Topic`] or found equal to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    pub topic: &'a [u8],
    /// 0 at QoS 0.
    pub id: u16,
    pub body: &'a [u8],
}

impl<'a> Publish<'a> {
    /// # Errors
    /// QoS 3, DUP at QoS 0, packet id 0, a topic longer than the packet.
    pub fn parse(frame: &Frame<'a>) -> Result<Self, Error> {
        let flags = frame.flags();
        let qos = QoS::from_u8(flags >> 1 & 3).ok_or(Error::Malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]"))?;
        let dup = flags & 8 != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(Error::Malformed("DUP at QoS 0 [MQTT-3.3.1-2]"));
        }
        let mut reader = Reader::new(frame.body);
        let topic = reader.binary()?;
        let id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
        Ok(Self { dup, qos, retain: flags & 1 != 0, topic, id, body: reader.rest() })
    }
}

/// SUBSCRIBE (3.8): at least one filter [MQTT-3.8.3-3].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub id: u16,
    pub filters: Vec<(TopicFilter, QoS)>,
}

impl Subscribe {
    /// # Errors
    /// Anything that 3.8 forbids, a filter that is none, and more than [`FILTERS_MAX`].
    pub fn parse(frame: &Frame<'_>) -> Result<Self, Error> {
        expect_flags(frame, 2)?;
        let mut reader = Reader::new(frame.body);
        let id = reader.packet_id()?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            let filter = TopicFilter::new(reader.text()?)?;
            let qos = QoS::from_u8(reader.u8()?).ok_or(Error::Malformed("a requested QoS that is none [MQTT-3-8.3-4]"))?;
            expect_room(filters.len())?;
            filters.push((filter, qos));
        }
        if filters.is_empty() {
            return Err(Error::Malformed("SUBSCRIBE without a filter [MQTT-3.8.3-3]"));
        }
        Ok(Self { id, filters })
    }
}

/// UNSUBSCRIBE (3.10): at least one filter [MQTT-3.10.3-2].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    pub id: u16,
    pub filters: Vec<TopicFilter>,
}

impl Unsubscribe {
    /// # Errors
    /// Anything that 3.10 forbids, a filter that is none, and more than [`FILTERS_MAX`].
    pub fn parse(frame: &Frame<'_>) -> Result<Self, Error> {
        expect_flags(frame, 2)?;
        let mut reader = Reader::new(frame.body);
        let id = reader.packet_id()?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            expect_room(filters.len())?;
            filters.push(TopicFilter::new(reader.text()?)?);
        }
        if filters.is_empty() {
            return Err(Error::Malformed("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]"));
        }
        Ok(Self { id, filters })
    }
}

/// The packet id of PUBACK (3.4).
///
/// # Errors
/// Flags, length or id that 3.4 forbids.
pub fn puback(frame: &Frame<'_>) -> Result<u16, Error> {
    expect_flags(frame, 0)?;
    let mut reader = Reader::new(frame.body);
    let id = reader.packet_id()?;
    reader.finish()?;
    Ok(id)
}

/// PINGREQ and DISCONNECT: nothing but the header (3.12, 3.14).
///
/// # Errors
/// Flags or content.
pub fn empty(frame: &Frame<'_>) -> Result<(), Error> {
    expect_flags(frame, 0)?;
    Reader::new(frame.body).finish()
}

const fn expect_room(filters: usize) -> Result<(), Error> {
    if filters < FILTERS_MAX { Ok(()) } else { Err(Error::TooManyFilters) }
}

const fn expect_flags(frame: &Frame<'_>, want: u8) -> Result<(), Error> {
    if frame.flags() == want { Ok(()) } else { Err(Error::Malformed("reserved flags of the fixed header [MQTT-2.2.2-2]")) }
}
