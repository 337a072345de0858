//! What a server sends, byte by byte.

use super::super::Forwarded;
use super::super::encode::{self, ConnackProperties, Extra};
use super::super::properties::{Place, Properties};
use super::*;
use crate::model::QoS;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // What stands before is left alone.
    let mut out = vec![0xee];
    write(&mut out);
    assert_eq!(out.remove(0), 0xee);
    out
}

#[test]
fn connack_says_what_its_version_can() {
    let none = ConnackProperties::default();
    let connack = |version, present, reason, properties: &ConnackProperties<'_>| {
        written(|out| encode::connack(out, version, present, reason, properties))
    };
    for version in [V31, V311] {
        let some = ConnackProperties { session_expiry: Some(1), ..none };
        assert_eq!(connack(version, false, Reason::Success, &some), [0x20, 2, 0, 0]);
        assert_eq!(connack(version, true, Reason::Success, &none), [0x20, 2, 1, 0]);
        assert_eq!(connack(version, true, Reason::ServerBusy, &none), [0x20, 2, 0, 3]);
        assert_eq!(connack(version, false, Reason::UnsupportedVersion, &none), [0x20, 2, 0, 1]);
    }
    assert_eq!(connack(V5, false, Reason::Success, &none), [0x20, 3, 0, 0, 0]);
    assert_eq!(connack(V5, true, Reason::Success, &none), [0x20, 3, 1, 0, 0]);
    assert_eq!(connack(V5, true, Reason::UnsupportedVersion, &none), [0x20, 3, 0, 0x84, 0], "[MQTT-3.2.2-6]");
}

#[test]
fn connack_writes_each_property_that_differs_from_what_holds_without_it() {
    let all = ConnackProperties {
        session_expiry: Some(0x0102_0304),
        receive_maximum: Some(20),
        maximum_qos: Some(QoS::AtLeastOnce),
        no_retain: true,
        maximum_packet_size: Some(65_536),
        assigned_client_id: Some("id"),
        topic_alias_maximum: 10,
        reason_string: Some("why"),
        no_wildcards: true,
        no_identifiers: true,
        no_shared: true,
        server_keep_alive: Some(30),
        response_information: Some("r/"),
        server_reference: Some("s"),
        authentication: Some(("m", Some(&[7]))),
    };
    let want = [
        &[0x11, 1, 2, 3, 4, 0x21, 0, 20, 0x24, 1, 0x25, 0, 0x27, 0, 1, 0, 0, 0x12, 0, 2, b'i', b'd', 0x22, 0, 10][..],
        &[0x1f, 0, 3, b'w', b'h', b'y', 0x28, 0, 0x29, 0, 0x2a, 0, 0x13, 0, 30, 0x1a, 0, 2, b'r', b'/'],
        &[0x1c, 0, 1, b's', 0x15, 0, 1, b'm', 0x16, 0, 1, 7],
    ]
    .concat();
    let got = written(|out| encode::connack(out, V5, false, Reason::Success, &all));
    assert_eq!(got, packet(0x20, &[&[0, 0], &block(&want)]));
    let mut reader = Properties::new(&want, Place::Connack);
    while reader.next().expect("each may stand in CONNACK, once").is_some() {}
    let defaults = ConnackProperties {
        receive_maximum: Some(65_535),
        maximum_qos: Some(QoS::ExactlyOnce),
        maximum_packet_size: Some(0),
        ..ConnackProperties::default()
    };
    assert_eq!(written(|out| encode::connack(out, V5, false, Reason::Success, &defaults)), [0x20, 3, 0, 0, 0]);
}

#[test]
fn acknowledgements_are_as_short_as_they_may_be() {
    for (kind, first, success) in [
        (kind::PUBACK, 0x40, encode::puback(0x0102)),
        (kind::PUBREC, 0x50, encode::pubrec(0x0102)),
        (kind::PUBREL, 0x62, encode::pubrel(0x0102)),
        (kind::PUBCOMP, 0x70, encode::pubcomp(0x0102)),
    ] {
        assert_eq!(success, [first, 2, 1, 2]);
        for (version, reason, text, want) in [
            (V311, Reason::NotAuthorized, Some("no"), &[first, 2, 1, 2][..]),
            (V5, Reason::Success, None, &[first, 2, 1, 2]),
            (V5, Reason::NotAuthorized, None, &[first, 3, 1, 2, 0x87]),
            (V5, Reason::NotAuthorized, Some("no"), &[first, 9, 1, 2, 0x87, 5, 0x1f, 0, 2, b'n', b'o']),
            (V5, Reason::Success, Some(""), &[first, 7, 1, 2, 0, 3, 0x1f, 0, 0]),
        ] {
            assert_eq!(written(|out| encode::ack(out, version, success, reason, text)), want);
            if text.is_none() {
                assert_eq!(encode::acknowledgement(kind, version, 0x0102, reason).as_bytes(), want);
            }
        }
    }
}

#[test]
fn answers_to_subscriptions_have_a_code_a_filter() {
    let codes = [Reason::Success, Reason::GrantedQos1, Reason::GrantedQos2, Reason::TopicFilterInvalid];
    for version in [V31, V311] {
        assert_eq!(written(|out| encode::suback(out, version, 0x0102, &codes)), [0x90, 6, 1, 2, 0, 1, 2, 0x80]);
        assert_eq!(written(|out| encode::unsuback(out, version, 0x0102, &codes)), [0xb0, 2, 1, 2]);
    }
    assert_eq!(written(|out| encode::suback(out, V5, 0x0102, &codes)), [0x90, 7, 1, 2, 0, 0, 1, 2, 0x8f]);
    let codes = [Reason::Success, Reason::NoSubscriptionExisted];
    assert_eq!(written(|out| encode::unsuback(out, V5, 0x0102, &codes)), [0xb0, 5, 1, 2, 0, 0, 0x11]);
    let many = vec![Reason::GrantedQos1; 1_024];
    let got = written(|out| encode::suback(out, V5, 1, &many));
    assert_eq!((&got[..6], got.len()), (&[0x90, 0x83, 0x08, 0, 1, 0][..], 1_030));
}

#[test]
fn the_last_words_of_a_server() {
    assert_eq!(written(|out| encode::disconnect(out, Reason::SessionTakenOver, None, None)), [0xe0, 2, 0x8e, 0]);
    let got = written(|out| encode::disconnect(out, Reason::ServerMoved, Some("go"), Some("s:1")));
    assert_eq!(got, [0xe0, 13, 0x9d, 11, 0x1f, 0, 2, b'g', b'o', 0x1c, 0, 3, b's', b':', b'1']);
    assert_eq!(encode::PINGRESP, [0xd0, 0]);
}

#[test]
fn auth_always_names_its_method() {
    let got = written(|out| encode::auth(out, Reason::ContinueAuthentication, "m", Some(&[7])));
    assert_eq!(got, [0xf0, 10, 0x18, 8, 0x15, 0, 1, b'm', 0x16, 0, 1, 7]);
    let got = written(|out| encode::auth(out, Reason::Success, "m", None));
    assert_eq!(got, [0xf0, 6, 0, 4, 0x15, 0, 1, b'm']);
}

#[test]
fn a_publish_is_written_up_to_its_body() {
    let got = written(|out| encode::publish_head(out, 0x32, b"a/b", Some(10), 4));
    assert_eq!(got, [0x32, 11, 0, 3, b'a', b'/', b'b', 0, 10]);
    let got = written(|out| encode::publish_head(out, 0x31, b"a", None, 300));
    assert_eq!(got, [0x31, 0xaf, 0x02, 0, 1, b'a']);
    let forwarded: &[u8] = &[0x01, 1];
    let extra = Extra { expiry: Some(5), alias: Some(9), identifiers: &[1, 300] };
    let mut at = 0;
    let got = written(|out| at = encode::publish_head_v5(out, 0x34, b"a/b", Some(10), forwarded, extra, 4));
    let block = [15, 0x01, 1, 0x02, 0, 0, 0, 5, 0x23, 0, 9, 0x0b, 1, 0x0b, 0xac, 0x02];
    assert_eq!(got, [&[0x34, 27, 0, 3, b'a', b'/', b'b', 0, 10][..], &block].concat());
    assert_eq!(got[at..at + 2], [0, 10]);
    let got = written(|out| at = encode::publish_head_v5(out, 0x30, b"", None, Forwarded::EMPTY, Extra::default(), 0));
    assert_eq!((&got[..], at), (&[0x30, 3, 0, 0, 0][..], 4));
}

/// A length is written in as few bytes as it needs at each of its borders [MQTT-1.5.5-1], and what is told of a packet's size is its size.
#[test]
fn lengths_are_exact_at_their_borders() {
    let borders = [0, 1, 120, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_151, 2_097_152];
    for body in borders {
        for properties in [0usize, 1, 120, 121, 122, 130, 16_370, 16_380, 16_390] {
            // One user property of as many bytes, where it is long enough to be one.
            let block = vec![0; properties];
            for (id, version) in [(None, V311), (Some(1), V311), (None, V5), (Some(1), V5)] {
                let extra = Extra { expiry: Some(1), alias: None, identifiers: &[] };
                let mut out = Vec::new();
                if version.is_5() {
                    encode::publish_head_v5(&mut out, 0x32, b"t", id, &block[..], extra, body);
                } else {
                    encode::publish_head(&mut out, 0x32, b"t", id, body);
                }
                out.resize(out.len() + body, 0);
                assert_eq!(encode::publish_len(version, 1, id.is_some(), properties, &extra, body), out.len());
                let frame = split(&out, usize::MAX).expect("a packet").expect("a whole packet");
                assert_eq!(frame.raw.len(), out.len());
                assert!(frame.is_minimal());
            }
        }
    }
}
