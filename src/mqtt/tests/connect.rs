//! CONNECT in all versions: what is read, what is refused, and what the client is told.

use std::num::NonZeroU32;

use super::super::packet::{ConnectProperties, Will};
use super::super::properties::{Property, decode};
use super::*;
use crate::model::{QoS, Topic};

/// What a refused client is told; `None`: nothing.
type Answer = Option<(Version, Reason)>;

const fn told(version: Version, reason: Reason) -> Result<(), Answer> {
    Err(Some((version, reason)))
}

const SILENT: Result<(), Answer> = Err(None);
const READ: Result<(), Answer> = Ok(());

fn connect(name: &str, level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    let properties: &[u8] = if level & 0x7f >= 5 { &[0] } else { &[] };
    packet(0x10, &[&text(name), &[level, flags, 0, 10], properties, &rest.concat()])
}

fn check_connect(name: &str, bytes: &[u8], want: Result<(), Answer>) {
    let got = Connect::parse(&frame(bytes));
    assert_eq!(got.as_ref().map(drop).map_err(|refused| refused.answer), want, "{name}: {got:?}");
}

#[test]
fn the_protocol_is_told_by_name_and_level() {
    let id = text("c");
    for (name, level, want) in [
        ("MQIsdp", 3, Ok((V31, false))),
        ("MQIsdp", 0x83, Ok((V31, true))),
        ("MQTT", 4, Ok((V311, false))),
        ("MQTT", 0x84, Ok((V311, true))),
        ("MQTT", 5, Ok((V5, false))),
        ("MQTT", 0x85, Err(Some((V5, Reason::UnsupportedVersion)))),
        ("MQTT", 6, Err(Some((V5, Reason::UnsupportedVersion)))),
        ("MQTT", 0x7f, Err(Some((V5, Reason::UnsupportedVersion)))),
        ("MQTT", 3, Err(Some((V311, Reason::UnsupportedVersion)))),
        ("MQTT", 0, Err(Some((V311, Reason::UnsupportedVersion)))),
        ("MQTT", 0x80, Err(Some((V311, Reason::UnsupportedVersion)))),
        ("MQIsdp", 4, Err(Some((V311, Reason::UnsupportedVersion)))),
        ("MQIsdp", 5, Err(Some((V311, Reason::UnsupportedVersion)))),
        ("mqtt", 4, Err(None)),
        ("HTTP", 4, Err(None)),
        ("", 4, Err(None)),
    ] {
        let bytes = connect(name, level, 2, &[&id]);
        let got = Connect::parse(&frame(&bytes)).map(|c| (c.version, c.bridge)).map_err(|refused| refused.answer);
        assert_eq!(got, want, "{name} {level:#04x}");
    }
    check_connect("no level", &packet(0x10, &[&text("MQTT")]), SILENT);
    check_connect("nothing", &[0x10, 0], SILENT);
}

#[test]
fn a_connect_is_read_or_refused_as_its_version_says() {
    use Reason::{ClientIdNotValid, MalformedPacket, ProtocolError, TopicNameInvalid};
    let [c, u, p, t, b] = ["c", "u", "p", "t", "b"].map(text);
    let empty = text("");
    type Row<'a> = (&'a str, u8, &'a [&'a [u8]], [Result<(), Answer>; 3]);
    let rows: &[Row<'_>] = &[
        ("clean", 0x02, &[&c], [READ, READ, READ]),
        ("not clean", 0x00, &[&c], [READ, READ, READ]),
        ("an empty id, clean", 0x02, &[&empty], [told(V31, ClientIdNotValid), READ, READ]),
        ("an empty id, not clean", 0x00, &[&empty], [told(V31, ClientIdNotValid), told(V311, ClientIdNotValid), READ]),
        ("user and password", 0xc2, &[&c, &u, &p], [READ, READ, READ]),
        ("a user", 0x82, &[&c, &u], [READ, READ, READ]),
        ("a password without a user", 0x42, &[&c, &p], [SILENT, SILENT, READ]),
        ("no user where one is told", 0x82, &[&c], [READ, SILENT, told(V5, MalformedPacket)]),
        ("no password where one is told", 0xc2, &[&c, &u], [READ, SILENT, told(V5, MalformedPacket)]),
        ("half a user where one is told", 0x82, &[&c, &[0]], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("the reserved flag", 0x03, &[&c], [READ, SILENT, told(V5, MalformedPacket)]),
        ("will QoS without a will", 0x0a, &[&c], [READ, SILENT, told(V5, ProtocolError)]),
        ("will QoS 3 without a will", 0x1a, &[&c], [READ, SILENT, told(V5, ProtocolError)]),
        ("will retain without a will", 0x22, &[&c], [READ, SILENT, told(V5, ProtocolError)]),
        ("bytes behind", 0x02, &[&c, &[0]], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("an id that is not UTF-8", 0x02, &[&[0, 1, 0xff]], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("an id with NUL", 0x02, &[&[0, 1, 0]], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("an id longer than the packet", 0x02, &[&[0, 9, b'c']], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("no id", 0x02, &[], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("a user that is not UTF-8", 0x82, &[&c, &[0, 1, 0xff]], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("a binary password", 0xc2, &[&c, &u, &[0, 2, 0xff, 0]], [READ, READ, READ]),
    ];
    for (name, flags, rest, want) in rows {
        for ((protocol, level), want) in [("MQIsdp", 3), ("MQTT", 4), ("MQTT", 5)].into_iter().zip(want) {
            check_connect(&format!("{name}, level {level}"), &connect(protocol, level, *flags, rest), *want);
        }
    }
    // Wills, whose properties stand before them in 5.0.
    let [wild, nul] = [text("t/#"), vec![0, 1, 0]];
    let rows: &[Row<'_>] = &[
        ("a will", 0x06, &[&t, &b], [READ, READ, READ]),
        ("a will at QoS 2, retained", 0x36, &[&t, &b], [READ, READ, READ]),
        ("a will without a body's bytes", 0x06, &[&t, &empty], [READ, READ, READ]),
        ("a will at QoS 3", 0x1e, &[&t, &b], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("a will without a body", 0x06, &[&t], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("a will without a topic's bytes", 0x06, &[&empty, &b], [SILENT, SILENT, told(V5, TopicNameInvalid)]),
        ("a will to a filter", 0x06, &[&wild, &b], [SILENT, SILENT, told(V5, TopicNameInvalid)]),
        ("a will to NUL", 0x06, &[&nul, &b], [SILENT, SILENT, told(V5, MalformedPacket)]),
        ("a will, user and password", 0xc6, &[&t, &b, &u, &p], [READ, READ, READ]),
    ];
    for (name, flags, rest, want) in rows {
        for ((protocol, level), want) in [("MQIsdp", 3), ("MQTT", 4), ("MQTT", 5)].into_iter().zip(want) {
            let none: &[u8] = if level == 5 { &[0] } else { &[] };
            let bytes = connect(protocol, level, *flags, &[&c, none, &rest.concat()]);
            check_connect(&format!("{name}, level {level}"), &bytes, *want);
        }
    }
}

#[test]
fn flags_of_the_header_are_disregarded_in_3_1_alone() {
    for (protocol, level, want) in [("MQIsdp", 3, READ), ("MQTT", 4, SILENT), ("MQTT", 5, told(V5, Reason::MalformedPacket))] {
        let mut bytes = connect(protocol, level, 2, &[&text("c")]);
        bytes[0] |= 1;
        check_connect(protocol, &bytes, want);
    }
}

#[test]
fn properties_of_connect_are_told_and_have_their_defaults() {
    let parse = |properties: &[u8]| {
        let bytes = packet(0x10, &[&text("MQTT"), &[5, 2, 0, 0], &block(properties), &text("")]);
        let frame = frame(&bytes);
        let connect = Connect::parse(&frame).map_err(|refused| refused.answer)?;
        let p = connect.properties;
        let authentication = p.authentication.map(|(method, data)| (method.to_owned(), data.map(<[u8]>::to_vec)));
        let rest = (p.topic_alias_maximum, p.request_response_information, p.request_problem_information, authentication);
        Ok((p.session_expiry, p.receive_maximum, p.maximum_packet_size.map(NonZeroU32::get), rest))
    };
    let none = ConnectProperties::NONE;
    assert_eq!((none.session_expiry, none.receive_maximum, none.request_problem_information), (0, 65_535, true));
    assert_eq!(parse(&[]), Ok((0, 65_535, None, (0, false, true, None))));
    let all = [
        &[0x11, 0, 0, 0, 10, 0x21, 0, 20, 0x27, 0, 0, 1, 0, 0x22, 0, 7, 0x19, 1, 0x17, 0, 0x15, 0, 1, b'm', 0x16, 0, 1, 9][..],
        &[0x26, 0, 1, b'k', 0, 0],
    ];
    let want = (10, 20, Some(256), (7, true, false, Some(("m".to_owned(), Some(vec![9])))));
    assert_eq!(parse(&all.concat()), Ok(want));
    assert_eq!(parse(&[0x15, 0, 0]), Ok((0, 65_535, None, (0, false, true, Some((String::new(), None))))));
    assert_eq!(parse(&[0x16, 0, 1, 9]), Err(Some((V5, Reason::ProtocolError))), "data without a method");
}

#[test]
fn a_will_carries_its_properties() {
    let properties = [
        &[0x26, 0, 1, b'a', 0, 1, b'b'][..], // goes on
        &[0x18, 0, 0, 0, 5],                 // delay
        &[0x01, 1],                          // goes on
        &[0x02, 0, 0, 0, 60],                // expiry
        &[0x08, 0, 1, b'r'],                 // goes on
    ];
    let will = [&text("c")[..], &block(&properties.concat()), &text("will/topic"), &text("gone")].concat();
    let bytes = connect("MQTT", 5, 0x2e, &[&will]);
    let got = Connect::parse(&frame(&bytes)).expect("a CONNECT").will.expect("a will");
    let Will { topic, body, qos, retain, delay, expiry, properties: forwarded } = got;
    assert_eq!((topic, body, qos, retain), (Topic::new("will/topic").unwrap(), &b"gone"[..], QoS::AtLeastOnce, true));
    assert_eq!((delay, expiry), (5, Some(60)));
    assert_eq!(forwarded.to_bytes(), [properties[0], properties[2], properties[4]].concat());
    let values: Vec<_> = decode(&forwarded.to_bytes()).map(|p| format!("{p:?}")).collect();
    assert_eq!(values, [Property::User("a", "b"), Property::PayloadFormat(true), Property::ResponseTopic("r")].map(|p| format!("{p:?}")));
}
