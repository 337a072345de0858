//! What clients make us keep for them is bounded together, whatever each of them may have.

use super::super::limit::Limit;
use super::qos2::publish2;
use super::wire5::{ack, connect5, properties};
use super::*;

/// With as many connections as there are by default, each at its own limit.
const MANY: usize = 1_000;

#[test]
fn packet_ids_that_are_never_released_are_bounded_together() {
    let mut bench = Bench::new(&[]);
    for i in 0..40 {
        let client = bench.connect(&format!("c{i}"));
        for id in 1..=16_000 {
            bench.send(client, &publish2("t", "", id, false));
            bench.raw(client);
        }
    }
    let all: usize = bench.broker.sessions.iter().map(|(_, session)| session.received.len()).sum();
    // Whoever went beyond has lost its own.
    assert!((110_000..=131_072).contains(&all), "{all}");
    // Whoever finishes what it begins is not concerned.
    let client = bench.connect("honest");
    for id in 1..=1_000 {
        bench.send(client, &[publish2("t", "", id, false), ack(6, id)].concat());
        assert_eq!(bench.take(client).len(), 2);
    }
}

#[test]
fn topics_that_aliases_stand_for_are_bounded_together() {
    let mut bench = Bench::new(&[]);
    let name = |bench: &mut Bench, client: ConnId, alias: u8, topic: &str| {
        bench.send(client, &packet(0x30, &[&string(topic), &properties(&[&[0x23, 0, alias]])]));
    };
    let (mut held, mut ended) = (0, None);
    for i in 0..MANY {
        let client = bench.open(false);
        bench.send(client, &connect5(&format!("c{i}"), true, 0, &[]));
        for alias in 1..=10 {
            name(&mut bench, client, alias, &format!("{alias}{}", "x".repeat(65_000)));
            held += usize::from(bench.end_of(client).is_none());
        }
        ended = bench.end_of(client);
        bench.raw(client);
        if ended.is_some() {
            bench.cut(client);
            break;
        }
    }
    assert!(held * 65_000 < 6 << 20, "{held}");
    assert_eq!(ended, Some(End::Limit(Limit::TopicAliasesBytes)));
    let client = bench.open(false);
    bench.send(client, &connect5("honest", true, 0, &[]));
    for alias in 1..=10 {
        name(&mut bench, client, alias, &format!("plant/line/{alias}/machine/sensor/temperature"));
    }
    assert_eq!(bench.end_of(client), None);
}

#[test]
fn wills_are_bounded_together() {
    let mut bench = Bench::new(&[]);
    let will = |client: &str, body: &str| connect(client, false, 0, Some(("w", body, 1, false)));
    let mut held = 0;
    for i in 0..MANY {
        let client = bench.open(false);
        bench.send(client, &will(&format!("c{i}"), &"x".repeat(60_000)));
        if bench.end_of(client).is_some() {
            assert_eq!(bench.take(client), ["CONNACK 3"]);
            break;
        }
        held += 1;
    }
    assert!(held * 60_000 < 10 << 20, "{held}");
    let client = bench.open(false);
    bench.send(client, &will("honest", "offline"));
    assert_eq!(bench.take(client), ["CONNACK 0"]);
}
