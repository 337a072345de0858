//! A client's packet as our codec reads it.

use tidegate::model::check_name;
use tidegate::mqtt::packet::{self, Ack, Auth, Connect, ConnectProperties, Disconnect, Publish, Subscribe, Unsubscribe};
use tidegate::mqtt::properties::{Property, decode};
use tidegate::mqtt::{Error, Forwarded, Frame, Version, kind};

use super::canon::Canon;

/// Of properties that others keep and we read over, what they say is left out on both sides: user properties of acknowledgements,
/// subscriptions, DISCONNECT and AUTH, the reason string of AUTH, the server reference of DISCONNECT.
pub fn read(frame: &Frame<'_>, version: Version) -> Result<Canon, Error> {
    let mut canon = Canon::new(frame.kind());
    match frame.kind() {
        kind::CONNECT => connect(&mut canon, &Connect::parse(frame).map_err(|refused| refused.error)?),
        kind::PUBLISH => publish(&mut canon, &Publish::parse(frame, version)?)?,
        kind::PUBACK..=kind::PUBCOMP => {
            let ack = Ack::parse(frame, version)?;
            canon.set("id", ack.id).set("reason", ack.reason as u8).some_text("reason string", ack.reason_string);
        }
        kind::SUBSCRIBE => {
            let subscribe = Subscribe::parse(frame, version)?;
            canon.set("id", subscribe.id).some("identifier", subscribe.identifier);
            let filter = |(filter, o): (packet::Filter, tidegate::model::SubscribeOptions)| {
                let filter = filter.map_err(Error::from)?;
                Ok((filter.as_str().to_owned(), o.qos as u8, o.no_local, o.retain_as_published, o.retain_handling as u8))
            };
            canon.list("filters", subscribe.filters.into_iter().map(filter).collect::<Result<Vec<_>, Error>>()?);
        }
        kind::UNSUBSCRIBE => {
            let unsubscribe = Unsubscribe::parse(frame, version)?;
            canon.set("id", unsubscribe.id);
            let filters: Result<Vec<_>, _> = unsubscribe.filters.into_iter().collect();
            canon.list("filters", filters?.iter().map(|filter| filter.as_str().to_owned()));
        }
        kind::DISCONNECT => {
            let disconnect = Disconnect::parse(frame, version)?;
            canon.set("reason", disconnect.reason as u8).some("session expiry", disconnect.session_expiry);
            canon.some_text("reason string", disconnect.reason_string);
        }
        kind::AUTH => {
            let auth = Auth::parse(frame, version)?;
            canon.set("reason", auth.reason as u8).text("method", auth.method).some_bytes("data", auth.data);
        }
        kind::PINGREQ => packet::empty(frame, version)?,
        _ => return Err(Error::Protocol("a packet that a client does not send")),
    }
    Ok(canon)
}

fn connect(canon: &mut Canon, connect: &Connect<'_>) {
    let p = &connect.properties;
    let none = ConnectProperties::NONE;
    canon.set("clean", connect.clean).set("keep alive", connect.keep_alive).text("client", connect.client_id);
    // Not all tell an empty one from none.
    canon.some_text("user", connect.user.filter(|user| !user.is_empty()));
    canon.some_bytes("password", connect.password.filter(|password| !password.is_empty()));
    canon.some("session expiry", Some(p.session_expiry).filter(|n| *n != none.session_expiry));
    canon.some("receive maximum", Some(p.receive_maximum).filter(|n| *n != none.receive_maximum));
    canon.some("maximum packet size", p.maximum_packet_size.map(std::num::NonZeroU32::get));
    canon.some("alias maximum", Some(p.topic_alias_maximum).filter(|n| *n != 0));
    canon.some("response information", p.request_response_information.then_some(true));
    canon.some("problem information", (!p.request_problem_information).then_some(false));
    canon.list("user properties", p.user_properties.iter());
    if let Some((method, data)) = p.authentication {
        canon.text("method", method).some_bytes("data", data);
    }
    if let Some(will) = &connect.will {
        canon.text("will topic", will.topic.as_str()).bytes("will body", will.body);
        canon.set("will flags", (will.qos as u8, will.retain));
        canon.some("will delay", Some(will.delay).filter(|n| *n != 0)).some("expiry", will.expiry);
        forwarded(canon, "will user properties", will.properties);
    }
}

fn publish(canon: &mut Canon, publish: &Publish<'_>) -> Result<(), Error> {
    if publish.alias.is_none() || !publish.topic.is_empty() {
        check_name(publish.topic)?;
    }
    canon.set("flags", (publish.dup, publish.qos as u8, publish.retain)).set("id", publish.id);
    canon.bytes("topic", publish.topic).bytes("body", publish.body);
    canon.some("alias", publish.alias).some("expiry", publish.expiry);
    forwarded(canon, "user properties", publish.properties);
    Ok(())
}

fn forwarded(canon: &mut Canon, users: &'static str, properties: Forwarded<'_>) {
    let block = properties.to_bytes();
    let mut user = Vec::new();
    for property in decode(&block) {
        match property {
            Property::PayloadFormat(text) => canon.set("format", text),
            Property::ContentType(text) => canon.text("content type", text),
            Property::ResponseTopic(text) => canon.text("response topic", text),
            Property::CorrelationData(bytes) => canon.bytes("correlation", bytes),
            Property::User(name, value) => {
                user.push((name, value));
                continue;
            }
            other => panic!("{other:?} goes on"),
        };
    }
    canon.list(users, user);
}
