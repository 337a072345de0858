//! Subscription options and identifiers (5.0, 3.8.3.1 and 3.3.4), and what SUBACK says.

use super::wire5::{connect5, publish5, subscribe5};
use super::*;

/// No local, retain as published; retain handling 1 and 2.
const NO_LOCAL: u8 = 4;
const AS_PUBLISHED: u8 = 8;
const IF_NEW: u8 = 0x10;
const NEVER: u8 = 0x20;

fn client5(bench: &mut Bench, client: &str, expiry: u32) -> ConnId {
    let id = bench.open(false);
    bench.send(id, &connect5(client, true, expiry, &[]));
    bench.raw(id);
    id
}

/// Bytes after the SUBACKs of single filters.
fn after_suback(bench: &mut Bench, id: ConnId, subscribe: &[u8]) -> Vec<u8> {
    bench.send(id, subscribe);
    let mut bytes = bench.raw(id);
    // A replay may be there before a SUBACK that waits for its row.
    let suback = [0x90, 4, 0, 1, 0];
    let at = bytes.windows(5).position(|part| part == suback).expect("a SUBACK");
    bytes.drain(at..at + 6);
    bytes
}

#[test]
fn retain_handling_says_when_retained_messages_come() {
    let mut bench = Bench::new(&[]);
    bench.inject("t", "old", true);
    for expiry in [0, 100] {
        let sub = client5(&mut bench, &format!("sub{expiry}"), expiry);
        let old = publish5(0x31, "t", 0, &[], "old");
        for (options, want) in [(NEVER, &[][..]), (IF_NEW, &[]), (0, &old), (IF_NEW, &[]), (0, &old), (NEVER, &[])] {
            assert_eq!(after_suback(&mut bench, sub, &subscribe5(1, 0, &[("t", options)])), want, "options {options:#x}, expiry {expiry}");
        }
        bench.send(sub, &packet(0xa2, &[&[0, 9, 0], &string("t")]));
        bench.raw(sub);
        assert_eq!(after_suback(&mut bench, sub, &subscribe5(1, 0, &[("t", IF_NEW)])), old, "it is new again");
    }
}

#[test]
fn retain_goes_out_as_published_only_where_it_is_asked_for() {
    let mut bench = Bench::new(&[]);
    let publisher = client5(&mut bench, "pub", 0);
    for (options, retain, want) in [(0, 1, 0), (AS_PUBLISHED, 1, 1), (AS_PUBLISHED, 0, 0)] {
        let sub = client5(&mut bench, &format!("sub{options}{retain}"), 0);
        after_suback(&mut bench, sub, &subscribe5(1, 0, &[("t", options | NEVER)]));
        bench.send(publisher, &publish5(0x30 | retain, "t", 0, &[], "x"));
        assert_eq!(bench.raw(sub), publish5(0x30 | want, "t", 0, &[], "x"), "options {options}, retain {retain}");
    }
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let mut bench = Bench::new(&[]);
    for expiry in [0, 100] {
        let client = client5(&mut bench, &format!("c{expiry}"), expiry);
        after_suback(&mut bench, client, &subscribe5(1, 1, &[("t", NO_LOCAL)]));
        bench.send(client, &publish5(0x30, "t", 0, &[], "own"));
        assert_eq!(bench.raw(client), [0; 0], "expiry {expiry}");
        // Another subscription that matches asks for it: what it asks for is what comes of it.
        after_suback(&mut bench, client, &subscribe5(1, 2, &[("+", 0)]));
        bench.send(client, &publish5(0x30, "t", 0, &[], "own"));
        assert_eq!(bench.raw(client), publish5(0x30, "t", 0, &[0x0b, 2], "own"), "expiry {expiry}");
        let other = client5(&mut bench, "other", 0);
        bench.send(other, &publish5(0x30, "t", 0, &[], "theirs"));
        assert_eq!(bench.raw(client), publish5(0x30, "t", 0, &[0x0b, 1, 0x0b, 2], "theirs"), "expiry {expiry}");
        bench.cut(client);
    }
}

#[test]
fn one_copy_comes_at_the_highest_qos_with_all_identifiers() {
    let mut bench = Bench::new(&[]);
    let sub = client5(&mut bench, "sub", 0);
    for (identifier, filter, qos) in [(1, "a/#", 0), (0, "a/+", 1), (3, "a/b", 0), (4, "x", 1)] {
        bench.send(sub, &subscribe5(1, identifier, &[(filter, qos)]));
    }
    bench.raw(sub);
    let publisher = client5(&mut bench, "pub", 0);
    bench.send(publisher, &publish5(0x34, "a/b", 1, &[], "x"));
    assert_eq!(bench.raw(sub), publish5(0x32, "a/b", 1, &[0x0b, 1, 0x0b, 3], "x"));
    // Replaced, with another identifier, and with none.
    bench.send(sub, &[subscribe5(2, 9, &[("a/b", 0)]), subscribe5(3, 0, &[("a/#", 0)])].concat());
    bench.raw(sub);
    bench.send(publisher, &publish5(0x30, "a/b", 0, &[], "y"));
    assert_eq!(bench.raw(sub), publish5(0x30, "a/b", 0, &[0x0b, 9], "y"));
}

#[test]
fn each_filter_of_a_subscribe_has_its_own_answer() {
    let mut bench = Bench::new(&[]);
    let restricted = bench.open(true);
    bench.send(restricted, &connect5("r", true, 0, &[]));
    bench.raw(restricted);
    let filters = [("a", 0), ("b", 1), ("c", 2), ("a/#/b", 1), ("$SYS/#", 0), ("a/set", 1), ("$share/g/a/set", 1), ("$share/g", 0)];
    bench.send(restricted, &subscribe5(7, 0, &filters));
    assert_eq!(bench.raw(restricted), [0x90, 11, 0, 7, 0, 0, 1, 2, 0x8f, 0x87, 0x87, 0x87, 0x8f]);
    let deep = "a/".repeat(200);
    bench.send(restricted, &subscribe5(8, 0, &[(&deep, 0)]));
    assert_eq!(bench.raw(restricted), [0x90, 4, 0, 8, 0, 0x97]);
}

#[test]
fn topics_with_a_dollar_are_seen_by_name_only_and_reserved_ones_are_not_published() {
    let mut bench = Bench::new(&[]);
    let sub = bench.connect("sub");
    bench.send(sub, &subscribe(1, &[("#", 0), ("+/x", 0), ("$own/+", 0), ("$SYS/#", 0), ("$event/#", 0)]));
    bench.take(sub);
    let publisher = bench.connect("pub");
    for topic in ["$own/x", "$SYS/x", "$share/g/x", "$event/x", "$SYS", "$SYSTEM/x"] {
        bench.send(publisher, &publish(topic, "", 1, false));
    }
    assert_eq!(bench.take(sub), ["$own/x  q0"]);
    assert_eq!(bench.take(publisher).len(), 6, "3.1.1 has no answer but PUBACK");
    let publisher = client5(&mut bench, "pub5", 0);
    bench.send(publisher, &publish5(0x32, "$SYS/x", 1, &[], ""));
    assert_eq!(bench.raw(publisher), [0x40, 3, 0, 1, 0x87]);
}

/// As Mosquitto's `try_private` expects it: a bridge of 3.x gets RETAIN as it was published, and nothing that it sent.
#[test]
fn a_bridge_of_another_broker_gets_what_it_needs_without_options() {
    for (level, name, bridge) in [(0x84, "MQTT", true), (0x83, "MQIsdp", true), (4, "MQTT", false)] {
        let mut bench = Bench::new(&[]);
        let id = bench.open(false);
        bench.send(id, &packet(0x10, &[&string(name), &[level, 2], &[0, 0], &string("b")]));
        bench.send(id, &subscribe(1, &[("#", 1)]));
        assert_eq!(bench.take(id), ["CONNACK 0", "SUBACK 1 [1]"], "{level:#x}");
        bench.send(id, &publish("own", "x", 0, true));
        let publisher = bench.connect("pub");
        bench.send(publisher, &publish("theirs", "x", 0, true));
        let want = if bridge { vec!["theirs x q0 retain"] } else { vec!["own x q0", "theirs x q0"] };
        assert_eq!(bench.take(id), want, "{level:#x}");
    }
}

/// [MQTT-3.1.2-24]: where the answer would be too large, nothing is done and the client is told why.
#[test]
fn an_answer_larger_than_the_client_takes_is_not_sent() {
    for (filters, fits) in [(95, true), (96, false)] {
        let filters: Vec<String> = (0..filters).map(|i| format!("f/{i}")).collect();
        let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
        let unsubscribe = packet(0xa2, &[&[0, 2, 0], &filters.iter().flat_map(|filter| string(filter)).collect::<Vec<_>>()]);
        for (first, count, packet) in [(0x90, asked.len(), subscribe5(1, 0, &asked)), (0xb0, 0, unsubscribe)] {
            let mut bench = Bench::new(&[]);
            let client = bench.open(false);
            // Maximum packet size 100.
            bench.send(client, &connect5("c", true, 0, &[0x27, 0, 0, 0, 100]));
            bench.raw(client);
            bench.send(client, &packet);
            let answer = bench.raw(client);
            assert_eq!((answer[0], answer[2]), if fits { (first, 0) } else { (0xe0, 0x95) });
            assert!(answer.len() <= 100 && fits == (answer.len() == 100), "{answer:02x?}");
            assert_eq!(bench.broker.subscriptions.len(), if fits { count } else { 0 });
        }
    }
}
