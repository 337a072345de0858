//! What a client writes is read by the broker's own parsers, and what the broker writes is read here.

use super::super::encode::{self, ConnackProperties};
use super::super::packet;
use super::super::properties::Property;
use super::super::{Error, Reason, Version, kind, split};
use super::*;
use crate::model::{QoS, RetainHandling, SubscribeOptions, Topic};

const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn block(properties: &[Property<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    properties.iter().for_each(|property| property.write(&mut block));
    block
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn frame(bytes: &[u8]) -> super::super::Frame<'_> {
    let frame = split(bytes, 1 << 20).expect("a packet").expect("a whole one");
    assert_eq!(frame.raw.len(), bytes.len(), "one packet and nothing else");
    frame
}

#[test]
fn a_connect_says_what_the_broker_reads() {
    let (properties, of_will) = (block(&[Property::SessionExpiry(60)]), block(&[Property::WillDelay(5)]));
    for version in ALL {
        let will = Will { topic: "w", body: b"\0", qos: QoS::AtLeastOnce, retain: true, properties: &of_will };
        let full = Connect {
            version,
            clean: false,
            keep_alive: 7,
            client_id: "c",
            will: Some(will),
            user: Some("u"),
            password: Some(b"secret"),
            properties: &properties,
        };
        let bytes = written(|out| connect(out, &full));
        let read = packet::Connect::parse(&frame(&bytes)).expect("it is read");
        assert_eq!((read.version, read.clean, read.keep_alive, read.client_id), (version, false, 7, "c"));
        assert_eq!((read.user, read.password), (Some("u"), Some(&b"secret"[..])));
        let will = read.will.expect("a will");
        assert_eq!((will.topic, will.body, will.qos, will.retain), (Topic::new("w").unwrap(), &b"\0"[..], QoS::AtLeastOnce, true));
        assert_eq!((read.properties.session_expiry, will.delay), if version.is_5() { (60, 5) } else { (0, 0) });
        let bare = Connect { clean: true, will: None, user: None, password: None, properties: &[], ..full };
        let bytes = written(|out| connect(out, &bare));
        let read = packet::Connect::parse(&frame(&bytes)).expect("it is read");
        assert_eq!((read.clean, read.will, read.user, read.password), (true, None, None, None));
        assert!(!format!("{full:?}").contains(&format!("{:?}", b"secret")[1..20]), "a password is not shown");
    }
}

#[test]
fn messages_and_subscriptions_say_what_the_broker_reads() {
    let properties = block(&[Property::MessageExpiry(9), Property::User("k", "v")]);
    for version in ALL {
        for (qos, id) in [(QoS::AtMostOnce, None), (QoS::AtLeastOnce, Some(3)), (QoS::ExactlyOnce, Some(65_535))] {
            let bytes = written(|out| publish(out, version, "a/b", id, qos, true, &properties, b"body"));
            let read = packet::Publish::parse(&frame(&bytes), version).expect("it is read");
            assert_eq!((read.qos, read.retain, read.topic, read.id, read.body), (qos, true, &b"a/b"[..], id.unwrap_or(0), &b"body"[..]));
            assert_eq!(read.expiry, version.is_5().then_some(9));
        }
        let options = SubscribeOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        let bytes = written(|out| subscribe(out, version, 4, ["a/#", "b"], options, &[]));
        let read = packet::Subscribe::parse(&frame(&bytes), version).expect("it is read");
        let want = if version.is_5() { options } else { SubscribeOptions::at(QoS::AtLeastOnce) };
        assert_eq!((read.id, read.filters.iter().map(|(_, o)| *o).collect::<Vec<_>>()), (4, vec![want; 2]));
        let bytes = written(|out| unsubscribe(out, version, 5, ["a/#"]));
        assert_eq!(packet::Unsubscribe::parse(&frame(&bytes), version).expect("it is read").id, 5);
        let bytes = written(|out| acknowledge(out, version, kind::PUBREL, 6));
        assert_eq!(packet::Ack::parse(&frame(&bytes), version).expect("it is read").id, 6);
        let bytes = written(|out| disconnect(out, version, &block(&[Property::SessionExpiry(1)])));
        let read = packet::Disconnect::parse(&frame(&bytes), version).expect("it is read");
        assert_eq!((read.reason, read.session_expiry), (Reason::Success, version.is_5().then_some(1)));
    }
}

#[test]
fn what_the_broker_says_is_read() {
    let refusal = |version: Version, reason: Reason| match version {
        Version::V5 => Refused::Reason(reason),
        _ => Refused::Connect(reason.connect_return() as u8),
    };
    for version in ALL {
        let said = ConnackProperties { receive_maximum: Some(9), assigned_client_id: Some("x"), ..ConnackProperties::default() };
        let bytes = written(|out| encode::connack(out, version, true, Reason::Success, &said));
        let read = Connack::parse(&frame(&bytes), version).expect("it is read");
        assert_eq!((read.session_present, read.refused), (version != Version::V31, None));
        let want = if version.is_5() { (9, Some("x")) } else { (u16::MAX, None) };
        assert_eq!((read.receive_maximum, read.assigned_client_id.as_deref()), want);
        let bytes = written(|out| encode::connack(out, version, false, Reason::NotAuthorized, &ConnackProperties::default()));
        let read = Connack::parse(&frame(&bytes), version).expect("it is read");
        assert_eq!(read.refused, Some(refusal(version, Reason::NotAuthorized)));
        assert!(read.refused.is_some_and(|refused| refused.to_string().starts_with("not authorized")));
        let codes = [Reason::GrantedQos1, Reason::NotAuthorized];
        let bytes = written(|out| encode::suback(out, version, 8, &codes));
        let read = Answer::parse(&frame(&bytes), version).expect("it is read");
        let refused = if version.is_5() { Refused::Reason(Reason::NotAuthorized) } else { Refused::Subscription };
        assert_eq!((read.id, read.codes.as_slice(), read.refused()), (8, &[Ok(1), Err(refused)][..], Some(refused)));
        let bytes = written(|out| encode::unsuback(out, version, 8, &[Reason::NoSubscriptionExisted]));
        assert_eq!(Answer::parse(&frame(&bytes), version).expect("it is read").id, 8);
        let bytes = written(|out| encode::ack(out, version, encode::puback(2), Reason::NotAuthorized, Some("no")));
        let read = Answer::parse(&frame(&bytes), version).expect("it is read");
        assert_eq!((read.id, read.refused().is_some(), read.reason_string.as_deref()), (2, version.is_5(), version.is_5().then_some("no")));
        let bytes = written(|out| encode::disconnect(out, Reason::AdministrativeAction, Some("away"), None));
        let read = Farewell::parse(&frame(&bytes), version);
        assert_eq!(read.ok().map(|f| f.reason), version.is_5().then_some(Reason::AdministrativeAction));
    }
}

#[test]
fn a_broker_of_3_1_1_is_understood_in_a_connection_of_5() {
    let read = Connack::parse(&frame(&[0x20, 2, 0, 1]), Version::V5).expect("it is read");
    assert!(read.refused.is_some_and(Refused::is_of_version));
    assert!(Connack::parse(&frame(&[0x20, 3, 0, 1, 0]), Version::V5).is_err(), "no code of 5.0");
}

#[test]
fn a_delivery_is_read_or_refused() {
    let identifiers = block(&[Property::SubscriptionIdentifier(7), Property::ContentType("json")]);
    let bytes = written(|out| publish(out, Version::V5, "t", Some(2), QoS::ExactlyOnce, false, &identifiers, b"\xff"));
    let read = Delivery::parse(&frame(&bytes), Version::V5).expect("it is read");
    assert_eq!((read.topic, read.id, read.properties, read.body), ("t", 2, &identifiers[..], &b"\xff"[..]));
    for (what, bytes) in [
        ("an alias", written(|out| publish(out, Version::V5, "t", None, QoS::AtMostOnce, false, &block(&[Property::TopicAlias(1)]), b""))),
        ("no topic", written(|out| publish(out, Version::V311, "", None, QoS::AtMostOnce, false, &[], b""))),
        ("a wildcard", written(|out| publish(out, Version::V311, "a/#", None, QoS::AtMostOnce, false, &[], b""))),
        ("id 0", written(|out| publish(out, Version::V311, "a", Some(0), QoS::AtLeastOnce, false, &[], b""))),
        ("QoS 3", vec![0x36, 5, 0, 1, b'a', 0, 1]),
        ("a topic that is cut off", vec![0x30, 3, 0, 9, b'a']),
    ] {
        let version = if what == "an alias" { Version::V5 } else { Version::V311 };
        assert!(Delivery::parse(&frame(&bytes), version).is_err(), "{what}");
    }
    assert_eq!(Answer::parse(&frame(&[0x40, 2, 0, 0]), Version::V311), Err(Error::Protocol("packet id 0 [MQTT-2.3.1-1]")));
}
