//! PUBLISH in all versions.

use super::*;
use crate::model::QoS;

#[test]
fn a_publish_is_read_or_refused() {
    let t = text("t");
    let p = |first: u8, rest: &[&[u8]]| packet(first, rest);
    for (name, bytes, v3, v5) in [
        ("QoS 0", p(0x30, &[&t, &[0], b"x"]), OK, OK),
        ("QoS 1", p(0x32, &[&t, &[0, 1], &[0], b"x"]), OK, OK),
        ("QoS 2", p(0x35, &[&t, &[0, 1], &[0], b"x"]), OK, OK),
        ("QoS 3", p(0x36, &[&t, &[0, 1], &[0], b"x"]), MALFORMED, MALFORMED),
        ("DUP at QoS 0", p(0x38, &[&t, &[0], b"x"]), MALFORMED, MALFORMED),
        ("DUP at QoS 2", p(0x3c, &[&t, &[0, 1], &[0]]), OK, OK),
        ("packet id 0", p(0x32, &[&t, &[0, 0], &[0]]), PROTOCOL, PROTOCOL),
        ("half a packet id", p(0x32, &[&t, &[1]]), MALFORMED, MALFORMED),
        ("a topic longer than the packet", p(0x30, &[&[0, 9, b't']]), MALFORMED, MALFORMED),
        ("no topic", p(0x30, &[]), MALFORMED, MALFORMED),
        ("nothing after the topic", p(0x30, &[&t]), OK, MALFORMED),
        ("nothing after the packet id", p(0x32, &[&t, &[0, 1]]), OK, MALFORMED),
        // 3.x has no alias; the topic is checked by who takes it.
        ("an empty topic", p(0x30, &[&text(""), &[0]]), OK, PROTOCOL),
        ("an empty topic with properties but an alias", p(0x30, &[&text(""), &[2, 1, 0]]), OK, PROTOCOL),
        ("an empty topic with an alias", p(0x30, &[&text(""), &[3, 0x23, 0, 1]]), OK, OK),
        ("a topic with an alias", p(0x30, &[&t, &[3, 0x23, 0, 1]]), OK, OK),
        ("alias 0", p(0x30, &[&t, &[3, 0x23, 0, 0]]), OK, Err(Reason::TopicAliasInvalid)),
        ("a subscription identifier", p(0x30, &[&t, &[2, 0x0b, 1]]), OK, PROTOCOL),
    ] {
        check(name, V31, &bytes, v3);
        check(name, V311, &bytes, v3);
        check(name, V5, &bytes, v5);
    }
}

#[test]
fn the_parts_of_a_publish_are_told() {
    let bytes = packet(0x3d, &[&text("a/b"), &[1, 2], b"body"]);
    let frame3 = frame(&bytes);
    for version in [V31, V311] {
        let p = Publish::parse(&frame3, version).expect("a PUBLISH");
        assert_eq!((p.dup, p.qos, p.retain, p.topic, p.id, p.body), (true, QoS::ExactlyOnce, true, &b"a/b"[..], 0x0102, &b"body"[..]));
        assert_eq!((p.alias, p.expiry, p.properties.is_empty(), p.id_at), (None, None, true, 7));
        assert!(p.is_plain(&frame3));
    }
    let parts: [&[u8]; 5] = [&[0x26, 0, 0, 0, 0], &[0x23, 0, 3], &[0x09, 0, 1, 7, 0x01, 0], &[0x02, 0, 0, 0, 9], &[0x03, 0, 1, b'x']];
    let bytes = packet(0x32, &[&text("a/b"), &[1, 2], &block(&parts.concat()), b"body"]);
    let frame5 = frame(&bytes);
    let p = Publish::parse(&frame5, V5).expect("a PUBLISH");
    assert_eq!((p.alias, p.expiry, p.id, p.body), (Some(3), Some(9), 0x0102, &b"body"[..]));
    assert_eq!(p.properties.to_bytes(), [parts[0], parts[2], parts[4]].concat());
    assert_eq!(bytes[p.id_at..p.id_at + 2], [1, 2]);
    assert!(!p.is_plain(&frame5));
}

/// What lies between the sender and us, or is counted down, or may not be read by all, is not copied as it came.
#[test]
fn a_packet_is_copied_raw_only_where_nothing_in_it_is_ours() {
    let padded = |bytes: &[u8]| [&[bytes[0], bytes[1] | 0x80, 0], &bytes[2..]].concat();
    let none = packet(0x30, &[&text("t"), &[0], b"x"]);
    for (name, bytes, want) in [
        ("no properties", none.clone(), true),
        ("a remaining length in more bytes than it needs", padded(&none), false),
        ("what goes on", packet(0x30, &[&text("t"), &[2, 1, 1], b"x"]), true),
        ("an alias", packet(0x30, &[&text("t"), &[3, 0x23, 0, 1], b"x"]), false),
        ("an expiry", packet(0x30, &[&text("t"), &[5, 2, 0, 0, 0, 1], b"x"]), false),
    ] {
        let frame = frame(&bytes);
        assert_eq!(Publish::parse(&frame, V5).expect(name).is_plain(&frame), want, "{name}");
    }
}

/// Wherever what stays here stands among what goes on.
#[test]
fn what_goes_on_is_told_in_its_order_wherever_the_rest_stands() {
    let on: [&[u8]; 3] = [&[0x26, 0, 1, b'1', 0, 0], &[0x01, 1], &[0x26, 0, 1, b'2', 0, 0]];
    let stays: [&[u8]; 2] = [&[0x23, 0, 3], &[0x02, 0, 0, 0, 9]];
    for alias_at in 0..=3 {
        for expiry_at in 0..=3 {
            for swapped in [false, true] {
                let mut parts = Vec::new();
                for i in 0..=3 {
                    let mut here: Vec<&[u8]> = Vec::new();
                    here.extend((alias_at == i).then_some(stays[0]));
                    here.extend((expiry_at == i).then_some(stays[1]));
                    if swapped {
                        here.reverse();
                    }
                    parts.extend(here);
                    parts.extend(on.get(i));
                }
                let bytes = packet(0x30, &[&text("t"), &block(&parts.concat())]);
                let frame = frame(&bytes);
                let p = Publish::parse(&frame, V5).expect("a PUBLISH");
                assert_eq!((p.alias, p.expiry), (Some(3), Some(9)));
                assert_eq!(p.properties.to_bytes(), on.concat(), "{parts:?}");
                assert_eq!(p.properties.len(), on.concat().len());
            }
        }
    }
}
