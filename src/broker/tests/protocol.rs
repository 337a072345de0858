//! What one connection may say, and what it is answered.

use super::qos2::told;
use super::*;

/// `sent` after a CONNECT is answered by `answers`; then the connection goes on or ends.
fn check(name: &str, sent: &[u8], answers: &[&str], ends: bool) {
    let mut bench = Bench::new(&[]);
    let id = bench.connect("c");
    bench.send(id, sent);
    assert_eq!(bench.take(id), answers, "{name}");
    assert_eq!(bench.end_of(id).is_some(), ends, "{name}: {:?}", bench.end_of(id));
    if !ends {
        bench.send(id, &PING);
        assert_eq!(bench.take(id), ["PINGRESP"], "{name}");
    }
}

#[test]
fn a_connected_client_is_answered_or_closed_as_the_standard_says() {
    check("ping", &PING, &["PINGRESP"], false);
    check("ping with flags", &[0xc1, 0], &[], true);
    check("ping with content", &[0xc0, 1, 0], &[], true);
    check("disconnect", &DISCONNECT, &[], true);
    check("a second CONNECT", &connect("c", true, 0, None), &[], true);
    check("publish at QoS 0", &publish("a", "", 0, false), &[], false);
    check("publish at QoS 1", &publish("a", "b", 9, false), &["PUBACK 9"], false);
    check("publish at QoS 1, again", &packet(0x3a, &[&string("a"), &[0, 9]]), &["PUBACK 9"], false);
    check("publish at QoS 2", &packet(0x34, &[&string("a"), &[0, 9]]), &["PUBREC 9"], false);
    check("publish at QoS 3", &packet(0x36, &[&string("a"), &[0, 9]]), &[], true);
    check("DUP at QoS 0", &packet(0x38, &[&string("a")]), &[], true);
    check("packet id 0", &packet(0x32, &[&string("a"), &[0, 0]]), &[], true);
    check("no packet id", &packet(0x32, &[&string("a"), &[1]]), &[], true);
    check("an empty topic", &publish("", "b", 1, false), &[], true);
    check("a wildcard in a topic", &publish("a/+", "b", 1, false), &[], true);
    check("NUL in a topic", &publish("a\0", "b", 1, false), &[], true);
    check("a topic that is not UTF-8", &packet(0x30, &[&[0, 2, 0xff, 0xfe]]), &[], true);
    check("a topic with a surrogate", &packet(0x30, &[&[0, 3, 0xed, 0xa0, 0x80]]), &[], true);
    check("a topic longer than its packet", &packet(0x30, &[&[0, 9, b'a']]), &[], true);
    check("PUBACK of nothing", &puback(3), &[], false);
    check("PUBACK 0", &puback(0), &[], true);
    check("PUBACK with flags", &[0x42, 2, 0, 1], &[], true);
    check("PUBACK too long", &[0x40, 3, 0, 1, 0], &[], true);
    check("PUBREL of nothing", &[0x62, 2, 0, 1], &["PUBCOMP 1"], false);
    check("PUBREC of nothing", &[0x50, 2, 0, 1], &["PUBREL 1"], false);
    check("PUBCOMP of nothing", &[0x70, 2, 0, 1], &[], false);
    check("a packet of the server", &[0x20, 2, 0, 0], &[], true);
    check("type 0", &[0x00, 0], &[], true);
    check("type 15", &[0xf0, 0], &[], true);
    check("a remaining length of five bytes", &[0xc0, 0x80, 0x80, 0x80, 0x80, 0], &[], true);
    check("a packet above the limit", &[0x30, 0xff, 0xff, 0xff, 0x7f], &[], true);
}

#[test]
fn subscriptions_are_granted_refused_or_the_connection_is_closed() {
    check("QoS 0, 1, 2", &subscribe(5, &[("a", 0), ("b", 1), ("c", 2)]), &["SUBACK 5 [0, 1, 2]"], false);
    let many: Vec<String> = (0..1_025).map(|i| format!("{i}")).collect();
    let many: Vec<_> = many.iter().map(|filter| (filter.as_str(), 0)).collect();
    check("more filters than are applied in one go", &subscribe(5, &many), &[], true);
    check("no filter", &packet(0x82, &[&[0, 5]]), &[], true);
    check("packet id 0", &subscribe(0, &[("a", 0)]), &[], true);
    check("flags", &packet(0x80, &[&[0, 5], &string("a"), &[0]]), &[], true);
    check("QoS 3", &subscribe(5, &[("a", 3)]), &[], true);
    check("reserved bits of the QoS", &subscribe(5, &[("a", 0x41)]), &[], true);
    check("no QoS", &packet(0x82, &[&[0, 5], &string("a")]), &[], true);
    check("an empty filter", &subscribe(5, &[("", 0)]), &[], true);
    check("# in the middle", &subscribe(5, &[("a/#/b", 0)]), &[], true);
    check("+ with text", &subscribe(5, &[("a+", 0)]), &[], true);
    check("too many levels", &subscribe(5, &[(&"/".repeat(200), 0), ("a", 0)]), &["SUBACK 5 [128, 0]"], false);
    check("unsubscribe", &unsubscribe(6, "never/there"), &["UNSUBACK 6"], false);
    check("unsubscribe nothing", &packet(0xa2, &[&[0, 6]]), &[], true);
    check("unsubscribe with flags", &packet(0xa0, &[&[0, 6], &string("a")]), &[], true);
}

#[test]
fn the_first_packet_is_a_connect_or_the_connection_is_closed() {
    let raw = |name: &str, level: u8, flags: u8, rest: &[u8]| packet(0x10, &[&string(name), &[level, flags], &[0, 0], rest]);
    let id = string("c");
    let with = |rest: &[&[u8]]| [&id[..], &rest.concat()].concat();
    for (name, sent, answers, ends) in [
        ("good", raw("MQTT", 4, 2, &id), &["CONNACK 0"][..], false),
        ("user and password", raw("MQTT", 4, 0xc2, &with(&[&string("u"), &string("p")])), &["CONNACK 0"], false),
        ("empty id, clean", raw("MQTT", 4, 2, &string("")), &["CONNACK 0"], false),
        ("an id that is too long", raw("MQTT", 4, 2, &string(&"x".repeat(1_025))), &["CONNACK 2"], true),
        ("empty id, not clean", raw("MQTT", 4, 0, &string("")), &["CONNACK 2"], true),
        ("5.0", raw("MQTT", 5, 2, &[0, 0, 1, b'c']), &["CONNACK 0"], false),
        ("6.0", raw("MQTT", 6, 2, &[0, 0, 1, b'c']), &["CONNACK 132"], true),
        ("level 0", raw("MQTT", 0, 2, &id), &["CONNACK 1"], true),
        ("3.1", raw("MQIsdp", 3, 2, &id), &["CONNACK 0"], false),
        ("another protocol", raw("HTTP", 4, 2, &id), &[], true),
        ("the reserved flag", raw("MQTT", 4, 3, &id), &[], true),
        ("header flags", [&[0x11][..], &raw("MQTT", 4, 2, &id)[1..]].concat(), &[], true),
        ("will QoS without a will", raw("MQTT", 4, 0x0a, &id), &[], true),
        ("will retain without a will", raw("MQTT", 4, 0x22, &id), &[], true),
        ("will QoS 3", raw("MQTT", 4, 0x1e, &with(&[&string("t"), &string("b")])), &[], true),
        ("will QoS 2", raw("MQTT", 4, 0x16, &with(&[&string("t"), &string("b")])), &["CONNACK 0"], false),
        ("a will's topic with a wildcard", raw("MQTT", 4, 6, &with(&[&string("t/#"), &string("b")])), &[], true),
        ("a will without a body", raw("MQTT", 4, 6, &with(&[&string("t")])), &[], true),
        ("a password without a user", raw("MQTT", 4, 0x42, &with(&[&string("p")])), &[], true),
        ("bytes behind", raw("MQTT", 4, 2, &with(&[&[0]])), &[], true),
        ("an id that is not UTF-8", raw("MQTT", 4, 2, &[0, 1, 0xff]), &[], true),
        ("an id with NUL", raw("MQTT", 4, 2, &[0, 1, 0]), &[], true),
        ("a publish", publish("a", "b", 0, false), &[], true),
        ("the first byte of one", vec![0x30], &[], true),
        ("a CONNECT that claims 1 MiB", vec![0x10, 0x80, 0x80, 0x40], &[], true),
        ("half a CONNECT", vec![0x10, 20, 0, 4], &[], false),
    ] {
        let mut bench = Bench::new(&[]);
        let id = bench.open_as(None, 0);
        bench.send(id, &sent);
        assert_eq!(bench.take(id), answers, "{name}");
        assert_eq!(bench.end_of(id).is_some(), ends, "{name}: {:?}", bench.end_of(id));
    }
}

#[test]
fn a_length_in_more_bytes_than_it_needs_is_not_handed_on() {
    let mut bench = Bench::new(&[]);
    let (sub, publisher) = (bench.connect("sub"), bench.connect("pub"));
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    bench.take(sub);
    for (packet, want) in [
        (&[0x30, 0x84, 0x80, 0x00, 0, 1, b'a', b'x'][..], [0x30, 4, 0, 1, b'a', b'x'].as_slice()),
        (&[0x32, 0x86, 0x00, 0, 1, b'a', 0, 9, b'x'], &[0x32, 6, 0, 1, b'a', 0, 1, b'x']),
        (&[0x30, 4, 0, 1, b'a', b'x'], &[0x30, 4, 0, 1, b'a', b'x']),
    ] {
        bench.send(publisher, packet);
        let mut slices = [IoSlice::new(&[]); SLICES];
        let out = bench.broker.output(sub).expect("a connection");
        let count = out.slices(&mut slices);
        let got: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
        assert_eq!(got, want, "{packet:02x?}");
        bench.take(sub);
    }
}

#[test]
fn input_may_come_in_any_pieces() {
    let stream = [
        connect("c", true, 10, Some(("w", "b", 1, false))),
        subscribe(1, &[("#", 1)]),
        publish("a", "body", 2, false),
        publish("b", &"x".repeat(3_000), 3, false),
        PING.to_vec(),
        unsubscribe(4, "#"),
    ]
    .concat();
    let mut want = None;
    for step in [stream.len(), 1, 2, 3, 7, 100] {
        let mut bench = Bench::new(&[]);
        let id = bench.open(false);
        stream.chunks(step).for_each(|piece| {
            bench.send(id, piece);
        });
        let got = bench.take(id);
        assert_eq!(got.len(), 8, "{got:?}");
        assert_eq!(*want.get_or_insert_with(|| got.clone()), got, "in steps of {step}");
        assert!(bench.sent[&id].is_empty());
    }
}

#[test]
fn clients_of_a_restricted_listener_neither_command_nor_see_commands() {
    let mut bench = Bench::new(&[]);
    let inside = bench.connect("inside");
    bench.send(inside, &subscribe(1, &[("#", 1), ("$x/#", 1)]));
    let outside = bench.open(true);
    bench.send(outside, &connect("outside", true, 0, Some(("a/set", "will", 1, false))));
    let filters = [("#", 1), ("a/set", 1), ("+/set", 1), ("$SYS/#", 1), ("a/+", 1)];
    bench.send(outside, &subscribe(1, &filters));
    assert_eq!(bench.take(outside), ["CONNACK 0", "SUBACK 1 [1, 128, 128, 128, 1]"]);
    bench.send(inside, &[publish("a/set", "in", 2, true), publish("$x/y", "in", 3, true), publish("a/b", "in", 4, true)].concat());
    assert_eq!(
        bench.take(inside),
        ["SUBACK 1 [1, 1]", "a/set in q1 id1", "$x/y in q1 id2", "a/b in q1 id3", "PUBACK 2", "PUBACK 3", "PUBACK 4"]
    );
    assert_eq!(bench.take(outside), ["a/b in q1 id1"]);
    bench.send(outside, &[publish("a/set", "out", 2, false), publish("$x/y", "out", 3, false), publish("a/b", "out", 4, false)].concat());
    // As Mosquitto does it: acknowledged and dropped.
    assert_eq!(bench.take(outside), ["PUBACK 2", "PUBACK 3", "a/b out q1 id2", "PUBACK 4"]);
    bench.cut(outside);
    assert_eq!(bench.take(inside), ["a/b out q1 id4"], "nor does its will");
    let late = bench.open(true);
    bench.send(late, &[connect("late", true, 0, None), subscribe(1, &[("#", 0)])].concat());
    assert_eq!(bench.take(late), ["CONNACK 0", "SUBACK 1 [0]", "a/b in q0 retain"]);
}

/// Rights are those of the present connection. What they close goes from the store, too: nobody else would ever take it out.
#[test]
fn a_session_that_comes_back_with_fewer_rights_loses_what_is_closed_to_it() {
    let mut bench = Bench::with(&[], Limits { receive_maximum: 2, ..quiet() });
    bench.lists("", "", "everyone\ntopic a\ntopic b\ntopic read x/#");
    let (client, _) = bench.connect_as("c", false);
    bench.send(client, &subscribe(1, &[("#", 1)]));
    let publisher = bench.connect("pub");
    bench.send(publisher, &[publish("a/set", "1", 1, false), publish("a", "2", 2, false)].concat());
    bench.send(publisher, &[publish("b/set", "3", 3, false), publish("b", "4", 4, false)].concat());
    assert_eq!(bench.take(client), ["SUBACK 1 [1]", "a/set 1 q1 id1", "a 2 q1 id2"]);
    bench.cut(client);
    told(&mut bench);
    let client = bench.open_as(Some(door::SOMEBODY), 1);
    bench.send(client, &connect("c", false, 0, None));
    assert_eq!(bench.take(client), ["CONNACK 0 present", "a 2 q1 id2 dup", "b 4 q1 id3"]);
    let told = told(&mut bench);
    assert_eq!(told.iter().filter(|line| line.starts_with("done")).collect::<Vec<_>>(), ["done 3", "done 5"], "{told:?}");
    bench.send(client, &[puback(2), puback(3)].concat());
    bench.send(publisher, &publish("a/set", "5", 5, false));
    assert_eq!(bench.take(client), [""; 0]);
    bench.cut(client);
    let (client, _) = bench.connect_as("c", false);
    bench.send(publisher, &publish("a/set", "6", 6, false));
    assert_eq!(bench.take(client), ["a/set 6 q1 id4"], "and has them again when it comes back with them");
}
