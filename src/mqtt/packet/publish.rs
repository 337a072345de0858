//! PUBLISH (3.3).

use super::super::primitive::Reader;
use super::super::properties::{Place, Property};
use super::super::{Error, Forwarded, Frame, Version};
use crate::model::QoS;

/// PUBLISH (3.3). The topic's text is not checked yet: a receiver that has seen the same bytes before need not do it again.
/// It is to be taken into a [`crate::model::Topic`] or found equal to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Empty only where `alias` stands for it (5.0); in 3.x an empty one is to be refused as no topic.
    pub topic: &'a [u8],
    /// 0 at QoS 0.
    pub id: u16,
    /// Where the two bytes of `id` stand in the raw packet, also at QoS 0 (where they would).
    pub id_at: usize,
    /// Not 0. Whether it is one that may come, and what it stands for, is state.
    pub alias: Option<u16>,
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
    pub properties: Forwarded<'a>,
    pub body: &'a [u8],
}

impl<'a> Publish<'a> {
    /// # Errors
    /// QoS 3, DUP at QoS 0, packet id 0, a topic longer than the packet; in 5.0 any property that a client may not send, or no topic and no alias.
    #[inline]
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Error> {
        let flags = frame.flags();
        let qos = QoS::from_u8(flags >> 1 & 3).ok_or(Error::Malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]"))?;
        let dup = flags & 8 != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(Error::Malformed("DUP at QoS 0 [MQTT-3.3.1-2]"));
        }
        let mut reader = Reader::new(frame.body);
        let topic = reader.binary()?;
        let id_at = frame.raw.len() - reader.len();
        let id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
        let (mut alias, mut expiry, mut properties) = (None, None, Forwarded::EMPTY);
        if version.is_5() {
            (properties, alias, expiry) = read_properties(frame, &mut reader)?;
            if topic.is_empty() && alias.is_none() {
                return Err(Error::Protocol("neither a topic nor an alias [3.3.2.1]"));
            }
        }
        Ok(Self { dup, qos, retain: flags & 1 != 0, topic, id, id_at, alias, expiry, properties, body: reader.rest() })
    }

    /// Whether its bytes, as they came in `frame`, may go to receivers of the same version: nothing in it is between the sender and us (an
    /// alias), is counted down (an expiry), or is written in more bytes than every receiver takes. Flags and packet id are the receiver's.
    #[inline]
    pub fn is_plain(&self, frame: &Frame<'_>) -> bool {
        self.alias.is_none() && self.expiry.is_none() && frame.is_minimal()
    }
}

type Properties<'a> = (Forwarded<'a>, Option<u16>, Option<u32>);

#[inline]
fn read_properties<'a>(frame: &Frame<'_>, reader: &mut Reader<'a>) -> Result<Properties<'a>, Error> {
    let (mut alias, mut expiry) = (None, None);
    let forwarded = Forwarded::read(frame, reader, Place::Publish, |property| {
        match property {
            Property::TopicAlias(n) => alias = Some(n),
            Property::MessageExpiry(seconds) => expiry = Some(seconds),
            Property::SubscriptionIdentifier(_) => {
                return Err(Error::Protocol("a subscription identifier from a client [MQTT-3.3.4-6]"));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((forwarded, alias, expiry))
}
