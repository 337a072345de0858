//! CONNECT (3.1), which also says the version.

use std::num::NonZeroU32;

use super::super::primitive::Reader;
use super::super::properties::{Place, Properties, Property, UserProperties};
use super::super::{Error, Forwarded, Frame, Reason, Version};
use crate::model::{QoS, Topic};

/// CONNECT (3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    pub version: Version,
    /// Another broker's bridge: the level has bit 0x80 (3.x, Mosquitto's `try_private`). Its subscriptions want RETAIN as published, and nothing
    /// of its own back.
    pub bridge: bool,
    /// Clean session; in 5.0 clean start.
    pub clean: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// May be empty: one is to be assigned. In 3.1 never, in 3.1.1 only with `clean`.
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    /// In 5.0 also without a user.
    pub password: Option<&'a [u8]>,
    /// Of 3.x: as if none had been there.
    pub properties: ConnectProperties<'a>,
}

/// What CONNECT says beside, with the values that hold where it does not (5.0, 3.1.2.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds; the largest value: the session does not expire. 0 in 3.x, where `clean` says it.
    pub session_expiry: u32,
    /// QoS 1 and 2 messages in flight to the client; not 0.
    pub receive_maximum: u16,
    /// Bytes of a whole packet to the client.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Highest alias to the client; 0: none.
    pub topic_alias_maximum: u16,
    pub request_response_information: bool,
    /// False: reason strings and user properties only in PUBLISH, CONNACK and DISCONNECT [MQTT-3.1.2-29].
    pub request_problem_information: bool,
    pub user_properties: UserProperties<'a>,
    /// Method and data of enhanced authentication (4.12).
    pub authentication: Option<(&'a str, Option<&'a [u8]>)>,
}

/// The message that is published when the connection ends without DISCONNECT (3.1.2.5, 3.1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: Topic,
    pub body: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    /// Seconds from the end of the connection.
    pub delay: u32,
    /// Seconds from its publication.
    pub expiry: Option<u32>,
    pub properties: Forwarded<'a>,
}

/// A CONNECT that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ConnectError {
    #[source]
    pub error: Error,
    /// The CONNACK that is sent before the end, in the form of this version. `None`: the connection is closed without a word.
    pub answer: Option<(Version, Reason)>,
}

impl ConnectError {
    const fn silent(error: Error) -> Self {
        Self { error, answer: None }
    }

    /// In 5.0 the client is told (3.1.4); in 3.x only where there is a return code for it.
    const fn answered(error: Error, version: Version) -> Self {
        let reason = error.reason();
        let has_code = matches!(error, Error::Version(_) | Error::ClientId(_));
        Self { error, answer: if version.is_5() || has_code { Some((version, reason)) } else { None } }
    }
}

impl<'a> Connect<'a> {
    /// # Errors
    /// Anything that 3.1 forbids, with what the client is told of it. An unknown protocol name gets no answer [MQTT-3.1.2-1].
    pub fn parse(frame: &Frame<'a>) -> Result<Self, ConnectError> {
        let mut reader = Reader::new(frame.body);
        let (version, bridge) = version(&mut reader)?;
        let parse = || {
            super::expect_flags(frame, version, 0)?;
            Self::parse_as(frame, version, bridge, reader)
        };
        parse().map_err(|error| ConnectError::answered(error, version))
    }

    fn parse_as(frame: &Frame<'_>, version: Version, bridge: bool, mut reader: Reader<'a>) -> Result<Self, Error> {
        let flags = Flags::parse(reader.u8()?, version)?;
        let keep_alive = reader.u16()?;
        let properties = match version {
            Version::V5 => ConnectProperties::parse(frame, &mut reader)?,
            _ => ConnectProperties::NONE,
        };
        let client_id = reader.text()?;
        if client_id.is_empty() && version == Version::V31 {
            return Err(Error::ClientId("it is empty [3.1, 3.1]"));
        }
        if client_id.is_empty() && version == Version::V311 && !flags.clean {
            return Err(Error::ClientId("an empty one wants a clean session [MQTT-3.1.3-8]"));
        }
        let will = match flags.will {
            Some((qos, retain)) => Some(Will::parse(frame, &mut reader, version, (qos, retain))?),
            None => None,
        };
        // 3.1: the remaining length goes before the flags.
        let missing = |reader: &Reader<'_>| version == Version::V31 && reader.is_empty();
        let user = if flags.user && !missing(&reader) { Some(reader.text()?) } else { None };
        let password = if flags.password && !missing(&reader) { Some(reader.binary()?) } else { None };
        reader.finish()?;
        Ok(Self { version, bridge, clean: flags.clean, keep_alive, client_id, will, user, password, properties })
    }
}

/// Protocol name and level.
fn version(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectError> {
    let name = reader.binary().map_err(ConnectError::silent)?;
    if !matches!(name, b"MQTT" | b"MQIsdp") {
        return Err(ConnectError::silent(Error::Protocol("the protocol name is not MQTT [MQTT-3.1.2-1]")));
    }
    let level = reader.u8().map_err(ConnectError::silent)?;
    match (name, level & 0x7f, level & 0x80 != 0) {
        (b"MQIsdp", 3, bridge) => Ok((Version::V31, bridge)),
        (b"MQTT", 4, bridge) => Ok((Version::V311, bridge)),
        (b"MQTT", 5, false) => Ok((Version::V5, false)),
        // A client of a later version than 5.0 reads CONNACK as 5.0 does, rather than as 3.1.1 does.
        (b"MQTT", 5.., _) => Err(ConnectError::answered(Error::Version(level), Version::V5)),
        _ => Err(ConnectError::answered(Error::Version(level), Version::V311)),
    }
}

/// Connect flags (3.1.2.3).
struct Flags {
    clean: bool,
    will: Option<(QoS, bool)>,
    user: bool,
    password: bool,
}

impl Flags {
    fn parse(flags: u8, version: Version) -> Result<Self, Error> {
        let [reserved, clean, will, retain, password, user] = [0x01, 0x02, 0x04, 0x20, 0x40, 0x80].map(|bit| flags & bit != 0);
        let lenient = version == Version::V31;
        if reserved && !lenient {
            return Err(Error::Malformed("CONNECT's reserved flag is set [MQTT-3.1.2-3]"));
        }
        let qos = flags >> 3 & 3;
        if !will && !lenient && (retain || qos != 0) {
            return Err(Error::Protocol("will QoS or will retain without a will [MQTT-3.1.2-13]"));
        }
        let will = if will { Some((QoS::from_u8(qos).ok_or(Error::Malformed("will QoS 3 [MQTT-3.1.2-14]"))?, retain)) } else { None };
        if password && !user && !version.is_5() {
            return Err(Error::Protocol("a password without a user name [MQTT-3.1.2-22]"));
        }
        Ok(Self { clean, will, user, password })
    }
}

impl<'a> ConnectProperties<'a> {
    /// Of a CONNECT without properties.
    pub const NONE: Self = Self {
        session_expiry: 0,
        receive_maximum: u16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        user_properties: UserProperties::new(&[], Place::Connect),
        authentication: None,
    };

    fn parse(frame: &Frame<'_>, reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut properties = Properties::of(frame, reader, Place::Connect)?;
        let mut this = Self { user_properties: properties.users(), ..Self::NONE };
        let (mut method, mut data) = (None, None);
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiry(seconds) => this.session_expiry = seconds,
                Property::ReceiveMaximum(n) => this.receive_maximum = n,
                Property::MaximumPacketSize(bytes) => this.maximum_packet_size = NonZeroU32::new(bytes),
                Property::TopicAliasMaximum(n) => this.topic_alias_maximum = n,
                Property::RequestResponseInformation(yes) => this.request_response_information = yes,
                Property::RequestProblemInformation(yes) => this.request_problem_information = yes,
                Property::AuthenticationMethod(name) => method = Some(name),
                Property::AuthenticationData(bytes) => data = Some(bytes),
                _ => {}
            }
        }
        if method.is_none() && data.is_some() {
            return Err(Error::Protocol("authentication data without a method [3.1.2.11.10]"));
        }
        this.authentication = method.map(|method| (method, data));
        Ok(this)
    }
}

impl<'a> Will<'a> {
    fn parse(frame: &Frame<'_>, reader: &mut Reader<'a>, version: Version, (qos, retain): (QoS, bool)) -> Result<Self, Error> {
        let (mut delay, mut expiry) = (0, None);
        let properties = if version.is_5() {
            Forwarded::read(frame, reader, Place::Will, |property| {
                match property {
                    Property::WillDelay(seconds) => delay = seconds,
                    Property::MessageExpiry(seconds) => expiry = Some(seconds),
                    _ => {}
                }
                Ok(())
            })?
        } else {
            Forwarded::EMPTY
        };
        let topic = Topic::new(reader.text()?)?;
        Ok(Self { topic, body: reader.binary()?, qos, retain, delay, expiry, properties })
    }
}
