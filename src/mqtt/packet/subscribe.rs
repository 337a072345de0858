//! SUBSCRIBE (3.8) and UNSUBSCRIBE (3.10).

use super::super::primitive::Reader;
use super::super::properties::{Place, Properties, Property};
use super::super::{Error, Frame, Version};
use super::FILTERS_MAX;
use crate::model::{QoS, RetainHandling, SubscribeOptions, TopicError, TopicFilter};

/// A filter, or why it is none. In 5.0 that is answered 0x8F in SUBACK or UNSUBACK, and so it is in 3.x for a bad [`Shared`] one (0x80), of
/// which 3.x says nothing; every other bad filter ends the connection in 3.x, before it gets here.
pub type Filter = Result<TopicFilter, TopicError>;

/// SUBSCRIBE (3.8): at least one filter [MQTT-3.8.3-3].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub id: u16,
    /// 1 to 268,435,455, for all of the filters (5.0).
    pub identifier: Option<u32>,
    pub filters: Vec<(Filter, SubscribeOptions)>,
}

impl Subscribe {
    /// # Errors
    /// Anything that 3.8 forbids, and more than [`FILTERS_MAX`] filters.
    pub fn parse(frame: &Frame<'_>, version: Version) -> Result<Self, Error> {
        let (id, mut reader) = head(frame, version)?;
        let mut identifier = None;
        if version.is_5() {
            let mut properties = Properties::of(frame, &mut reader, Place::Subscribe)?;
            while let Some(property) = properties.next()? {
                if let Property::SubscriptionIdentifier(n) = property {
                    identifier = Some(n);
                }
            }
        }
        let filters = list(&mut reader, |reader| {
            let filter = filter(reader, version)?;
            let options = if version.is_5() { options(reader.u8()?)? } else { SubscribeOptions::at(requested_qos(reader.u8()?)?) };
            if options.no_local && filter.as_ref().is_ok_and(is_shared) {
                return Err(Error::Protocol("no local on a shared subscription [MQTT-3.8.3-4]"));
            }
            Ok((filter, options))
        })?;
        Ok(Self { id, identifier, filters })
    }
}

/// UNSUBSCRIBE (3.10): at least one filter [MQTT-3.10.3-2].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    pub id: u16,
    pub filters: Vec<Filter>,
}

impl Unsubscribe {
    /// # Errors
    /// Anything that 3.10 forbids, and more than [`FILTERS_MAX`] filters.
    pub fn parse(frame: &Frame<'_>, version: Version) -> Result<Self, Error> {
        let (id, mut reader) = head(frame, version)?;
        if version.is_5() {
            let mut properties = Properties::of(frame, &mut reader, Place::Unsubscribe)?;
            while properties.next()?.is_some() {}
        }
        let filters = list(&mut reader, |reader| filter(reader, version))?;
        Ok(Self { id, filters })
    }
}

/// A shared subscription's filter, taken apart (5.0, 4.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared<'a> {
    pub group: &'a str,
    pub filter: &'a str,
}

impl<'a> Shared<'a> {
    /// `None`: the filter is not of a shared subscription.
    ///
    /// # Errors
    /// `$share` with no name, no filter, or a wildcard in the name [MQTT-4.8.2-1] [MQTT-4.8.2-2].
    pub fn parse(filter: &'a str) -> Result<Option<Self>, TopicError> {
        let Some(rest) = filter.strip_prefix("$share") else { return Ok(None) };
        let Some(rest) = rest.strip_prefix('/') else {
            return if rest.is_empty() { Err(TopicError::Share) } else { Ok(None) };
        };
        match rest.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty() => {
                Ok(Some(Self { group, filter }))
            }
            _ => Err(TopicError::Share),
        }
    }
}

fn is_shared(filter: &TopicFilter) -> bool {
    matches!(Shared::parse(filter.as_str()), Ok(Some(_)))
}

fn head<'a>(frame: &Frame<'a>, version: Version) -> Result<(u16, Reader<'a>), Error> {
    super::expect_flags(frame, version, 2)?;
    let mut reader = Reader::new(frame.body);
    Ok((reader.packet_id()?, reader))
}

/// The rest of a packet as filters, at least one.
fn list<'a, T>(reader: &mut Reader<'a>, mut one: impl FnMut(&mut Reader<'a>) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    let mut filters = Vec::new();
    while !reader.is_empty() {
        if filters.len() == FILTERS_MAX {
            return Err(Error::TooManyFilters);
        }
        filters.push(one(reader)?);
    }
    if filters.is_empty() { Err(Error::Protocol("no filter [MQTT-3.8.3-3]")) } else { Ok(filters) }
}

fn filter(reader: &mut Reader<'_>, version: Version) -> Result<Filter, Error> {
    let filter = reader.text()?;
    let checked = match Shared::parse(filter) {
        Err(bad) => Err(bad),
        Ok(_) => TopicFilter::new(filter),
    };
    match checked {
        Err(bad) if !version.is_5() && bad != TopicError::Share => Err(bad.into()),
        checked => Ok(checked),
    }
}

fn requested_qos(byte: u8) -> Result<QoS, Error> {
    QoS::from_u8(byte).ok_or(Error::Malformed("a requested QoS that is none [MQTT-3-8.3-4]"))
}

/// Subscription options (5.0, 3.8.3.1).
fn options(byte: u8) -> Result<SubscribeOptions, Error> {
    if byte & 0xc0 != 0 {
        return Err(Error::Malformed("reserved bits of the subscription options [MQTT-3.8.3-5]"));
    }
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Error::Protocol("retain handling 3 [3.8.3.1]")),
    };
    let qos = QoS::from_u8(byte & 3).ok_or(Error::Protocol("maximum QoS 3 [3.8.3.1]"))?;
    Ok(SubscribeOptions { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
}
