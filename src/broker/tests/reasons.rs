//! Why a connection ends, as clients of each version are told; the receive maximum of 5.0.

use super::wire5::{ack, connect5, publish5};
use super::*;

/// As far as `connect5`'s property block: DISCONNECT's reason string is in its first property.
fn reason_string(packet: &[u8]) -> Option<String> {
    let at = packet.iter().position(|byte| *byte == 0xe0)?;
    let rest = packet.get(at + 4..)?;
    (rest.first() == Some(&0x1f)).then(|| String::from_utf8_lossy(&rest[3..]).into_owned())
}

enum Act {
    Says(Vec<u8>),
    Ends(End),
    Silence,
    TakenOver,
}

fn act(bench: &mut Bench, client: ConnId, act: &Act) {
    match act {
        Act::Says(bytes) => {
            bench.send(client, bytes);
        }
        Act::Ends(end) => bench.broker.lost(client, *end, bench.now()),
        Act::Silence => bench.pass(16_000),
        Act::TakenOver => {
            bench.connect_as("c", true);
        }
    }
}

#[test]
fn a_5_0_client_is_told_why_its_connection_ends_and_others_are_not() {
    use Act::{Ends, Says, Silence, TakenOver};
    for (name, cause, want) in [
        ("its own DISCONNECT", Says(DISCONNECT.to_vec()), None),
        ("a broken socket", Ends(End::Broken), None),
        ("malformed", Says(packet(0x36, &[&string("a"), &[0, 9]])), Some(0x81)),
        ("a second CONNECT", Says(connect("c", true, 0, None)), Some(0x82)),
        ("AUTH out of place", Says(packet(0xf0, &[&[0x19], &[4, 0x15, 0, 1, b'm']])), Some(0x82)),
        ("too large", Says(vec![0x30, 0xff, 0xff, 0xff, 0x7f]), Some(0x95)),
        ("an alias that was not said", Says(packet(0x30, &[&[0, 0], &[3, 0x23, 0, 1]])), Some(0x82)),
        ("an alias above the maximum", Says(packet(0x30, &[&[0, 0], &[3, 0x23, 1, 0]])), Some(0x94)),
        ("a wildcard in a topic", Says(publish5(0x30, "a/+", 0, &[], "")), Some(0x90)),
        ("no room for its packet", Ends(End::Unfinished), Some(0x97)),
        ("silence", Silence, Some(0x8d)),
        ("taken over", TakenOver, Some(0x8e)),
        ("an orderly stop", Ends(End::Stop), Some(0x8b)),
    ] {
        let mut bench = Bench::new(&[]);
        let client = bench.open(false);
        // Keep-alive 10 s.
        bench.send(client, &packet(0x10, &[&string("MQTT"), &[5, 2], &[0, 10], &[0], &string("c")]));
        act(&mut bench, client, &cause);
        let got = bench.take(client);
        let want: Vec<String> = want.map(|reason: u8| format!("DISCONNECT {reason}")).into_iter().collect();
        assert_eq!(got[1..], want, "{name}");
        let mut bench = Bench::new(&[]);
        let client = bench.open(false);
        bench.send(client, &connect("c", true, 10, None));
        act(&mut bench, client, &cause);
        assert_eq!(bench.take(client), ["CONNACK 0"], "{name}, 3.1.1");
    }
}

#[test]
fn a_refused_connect_gets_connack_alone() {
    for (name, sent, restricted, want) in [
        ("a later version", packet(0x10, &[&string("MQTT"), &[6, 2], &[0, 0], &[0], &string("c")]), false, "CONNACK 132"),
        ("a flag of the header", packet(0x11, &[&string("MQTT"), &[5, 2], &[0, 0], &[0], &string("c")]), false, "CONNACK 129"),
        ("a reserved flag", packet(0x10, &[&string("MQTT"), &[5, 3], &[0, 0], &[0], &string("c")]), false, "CONNACK 129"),
        ("a method that is not known", connect5("c", true, 0, &[0x15, 0, 1, b'm']), false, "CONNACK 140"),
        ("a long client id", connect5(&"x".repeat(1_025), true, 0, &[]), false, "CONNACK 133"),
        ("packets too small for CONNACK", connect5("c", true, 0, &[0x27, 0, 0, 0, 10]), false, "CONNACK 149"),
        (
            "a will that it may not publish",
            packet(0x10, &[&string("MQTT"), &[5, 6], &[0, 0], &[0], &string("c"), &[0], &string("a/set"), &string("x")]),
            true,
            "CONNACK 135",
        ),
    ] {
        let mut bench = Bench::new(&[]);
        let client = bench.open(restricted);
        bench.send(client, &sent);
        assert_eq!(bench.take(client), [want], "{name}");
        assert!(bench.end_of(client).is_some(), "{name}");
    }
}

#[test]
fn the_reason_is_explained_where_it_is_wanted_and_fits() {
    for (name, more, explained) in [
        ("by default", &[][..], true),
        ("no problem information", &[0x17, 0], false),
        ("packets of 30 bytes at most", &[0x27, 0, 0, 0, 30], false),
    ] {
        let mut bench = Bench::new(&[]);
        let client = bench.open(false);
        bench.send(client, &connect5("c", true, 0, more));
        bench.raw(client);
        bench.broker.lost(client, End::TakenOver, bench.now());
        let packet = bench.raw(client);
        assert_eq!(packet.first(), Some(&0xe0), "{name}");
        assert_eq!(reason_string(&packet).is_some_and(|text| text.contains("took over")), explained, "{name}: {packet:02x?}");
    }
}

/// QoS 1 and 2 messages of a 5.0 client that have not been answered with PUBACK or PUBCOMP.
#[test]
fn a_5_0_client_above_our_receive_maximum_is_disconnected() {
    let limits = Limits { receive_maximum: 3, ..quiet() };
    let open = |upstreams: &[&[&str]]| {
        let mut bench = Bench::with(upstreams, limits.clone());
        let client = bench.open(false);
        bench.send(client, &connect5("c", true, 0, &[]));
        bench.take(client);
        (bench, client)
    };
    let (mut bench, client) = open(&[&["up"]]);
    for id in 1..=3 {
        assert_eq!(bench.send(client, &publish5(0x32, "up", id, &[], "")), Turn::Hungry);
    }
    bench.send(client, &PING);
    assert_eq!(bench.take(client), ["PINGRESP"], "at the limit it is not held");
    bench.secured(&[(1, 1)]);
    bench.send(client, &publish5(0x32, "up", 4, &[], ""));
    assert_eq!(bench.take(client), ["PUBACK 1"]);
    bench.send(client, &publish5(0x32, "up", 5, &[], ""));
    assert_eq!(bench.take(client), ["DISCONNECT 147"]);

    let (mut bench, client) = open(&[]);
    let publish2 = |id: u16| publish5(0x34, "a", id, &[], "");
    bench.send(client, &[publish2(1), publish2(2), publish2(3)].concat());
    bench.send(client, &ack(6, 2));
    bench.send(client, &publish2(4));
    assert_eq!(bench.take(client), ["PUBREC 1", "PUBREC 2", "PUBREC 3", "PUBCOMP 2", "PUBREC 4"]);
    bench.send(client, &publish2(5));
    assert_eq!(bench.take(client), ["DISCONNECT 147"], "PUBREC gives nothing back");

    let (mut bench, client) = open(&[&["up"]]);
    bench.full(1);
    for id in 1..=9 {
        bench.send(client, &publish5(0x34, "up", id, &[], ""));
    }
    assert_eq!(bench.take(client).len(), 9, "a refusal does");
    assert_eq!(bench.end_of(client), None);
}

/// The quota is of the connection (4.9): ids that are held from before do not count.
#[test]
fn the_receive_maximum_begins_anew_with_each_connection() {
    let mut bench = Bench::with(&[], Limits { receive_maximum: 2, ..quiet() });
    for round in 0..4u16 {
        let client = bench.open(false);
        bench.send(client, &connect5("c", false, 100, &[]));
        for id in [round * 2 + 1, round * 2 + 2] {
            bench.send(client, &publish5(0x34, "a", id, &[], ""));
        }
        assert_eq!(bench.take(client).len(), 3, "{round}");
        assert_eq!(bench.end_of(client), None);
        bench.cut(client);
    }
}
