//! Ids, the outbox, and the order of acknowledgements (outbox.md 1 to 3).

use super::wire5::{ack, connect5, publish5};
use super::*;

#[test]
fn what_is_owed_is_acknowledged_when_it_is_secured_and_in_order() {
    let mut bench = Bench::new(&[&["up/#"]]).started();
    let (one, two) = (bench.connect("one"), bench.connect("two"));
    bench.send(one, &[publish("up/a", "A", 1, false), publish("here", "B", 2, false), publish("up/c", "C", 3, false)].concat());
    bench.send(two, &publish("here", "B", 2, false));
    assert_eq!(bench.take(one), [""; 0], "one connection: B waits behind A");
    assert_eq!(bench.take(two), ["PUBACK 2"], "two connections: B at once");
    assert_eq!(bench.puts(), ["1 up/a A 1", "2 up/c C 1"]);
    bench.secured(&[(2, 2)]);
    assert_eq!(bench.take(one), [""; 0]);
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.take(one), ["PUBACK 1", "PUBACK 2", "PUBACK 3"]);
    assert_eq!(bench.broker.owed.bytes(), 0);
}

/// outbox.md 3: 6 waits for a dead upstream while 7 is done.
#[test]
fn ranges_secure_what_they_hold_and_nothing_else() {
    let mut bench = Bench::new(&[&["up/#"]]).started();
    let clients: Vec<_> = (1..=9).map(|i| bench.connect(&format!("c{i}"))).collect();
    for (i, client) in (1u16..).zip(&clients) {
        bench.send(*client, &publish("up/a", "", i, false));
    }
    let acked = |bench: &mut Bench| clients.iter().flat_map(|c| bench.take(*c)).collect::<Vec<_>>();
    bench.secured(&[(7, 7), (2, 3)]);
    assert_eq!(acked(&mut bench), ["PUBACK 2", "PUBACK 3", "PUBACK 7"]);
    bench.outbox(OutboxToBroker::Secured(vec![IdRange { first: EntryId::ZERO, last: EntryId::new(EPOCH - 1, 1_000_000) }]));
    assert_eq!(acked(&mut bench), [""; 0], "ids of an earlier run");
    bench.secured(&[(2, 5), (8, 1_000_000)]);
    assert_eq!(acked(&mut bench), ["PUBACK 4", "PUBACK 5", "PUBACK 8", "PUBACK 9"]);
    bench.send(clients[0], &publish("up/a", "", 10, false));
    assert_eq!(acked(&mut bench), [""; 0], "a range says nothing of what came after it");
    bench.outbox(OutboxToBroker::Secured(vec![IdRange { first: EntryId::ZERO, last: EntryId::new(EPOCH, 6) }]));
    assert_eq!(acked(&mut bench), ["PUBACK 1", "PUBACK 6"]);
    bench.secured(&[(10, 10)]);
    assert_eq!(acked(&mut bench), ["PUBACK 10"]);
}

#[test]
fn nothing_with_a_destination_is_applied_before_the_outbox_has_started() {
    let mut bench = Bench::unstarted(&[&["up/#"]], quiet());
    let client = bench.open(false);
    assert_eq!(bench.send(client, &[connect("c", true, 0, None), publish("up/a", "2", 2, false), PING.to_vec()].concat()), Turn::Held);
    assert_eq!(bench.take(client), [""; 0], "whether it has a session is not known");
    assert!(!bench.broker.takes_readings());
    let mut bench = bench.started();
    assert_eq!(bench.take(client), ["CONNACK 0", "PINGRESP"]);
    assert!(bench.broker.takes_readings());
    bench.inject("up/r", "3", false);
    assert_eq!(bench.puts(), ["1 up/a 2 1", "2 up/r 3 1"]);
}

#[test]
fn each_upstream_is_owed_what_it_wants_once() {
    let mut bench = Bench::new(&[&["a/#", "a/b"], &["+/b"], &["x/set"]]).started();
    let client = bench.connect("c");
    for (i, topic) in (1..).zip(["a/b", "b/b", "x/set", "a/set", "$a/b", "none"]) {
        bench.send(client, &publish(topic, "", i, false));
    }
    bench.inject("a/b", "", false);
    assert_eq!(bench.puts(), ["1 a/b  11", "2 b/b  10", "3 x/set  100", "4 a/b  11"]);
}

#[test]
fn what_came_from_an_upstream_never_returns_to_it() {
    let mut bench = Bench::new(&[&["#"], &["#"]]).started();
    let origin = Origin::Upstream(crate::model::UpstreamId(1));
    let message = Message::new(Topic::new("a").unwrap(), Body::raw("".into()), QoS::AtLeastOnce, false, origin);
    let now = bench.now();
    bench.broker.inject(&mut [message].into(), now);
    assert_eq!(bench.puts(), ["1 a  1"]);
}

#[test]
fn a_connection_with_too_many_unacknowledged_publishes_is_not_parsed() {
    let mut bench = Bench::with(&[&["up"]], Limits { receive_maximum: 3, ..quiet() }).started();
    let client = bench.connect("c");
    let publishes: Vec<u8> = (1..=5).flat_map(|i| publish("up", "", i, false)).chain(PING).collect();
    assert_eq!(bench.send(client, &publishes), Turn::Held);
    assert_eq!(bench.puts().len(), 3);
    bench.pass(100_000);
    assert_eq!(bench.end_of(client), None, "a held connection is exempt from keep-alive");
    bench.secured(&[(1, 1)]);
    assert_eq!((bench.take(client), bench.puts().len()), (vec!["PUBACK 1".to_owned()], 1));
    bench.secured(&[(2, 4)]);
    assert_eq!(bench.take(client), ["PUBACK 2", "PUBACK 3", "PUBACK 4", "PINGRESP"]);
    bench.secured(&[(5, 5)]);
    assert_eq!(bench.take(client), ["PUBACK 5"]);
}

#[test]
fn a_client_that_left_is_no_trouble_to_what_it_was_owed() {
    let mut bench = Bench::new(&[&["up"]]).started();
    let client = bench.connect("c");
    bench.send(client, &publish("up", "1", 1, false));
    bench.cut(client);
    let other = bench.connect("d");
    bench.send(other, &publish("up", "2", 7, false));
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.take(other), [""; 0]);
    bench.secured(&[(2, 2)]);
    assert_eq!(bench.take(other), ["PUBACK 7"]);
}

/// One upstream is away and there is no disk: its entries stay unsecured while millions pass by.
#[test]
fn an_id_that_waits_for_long_costs_no_space_for_those_that_pass() {
    let mut bench = Bench::new(&[&["dead"], &["live"]]).started();
    let client = bench.connect("c");
    bench.send(client, &publish("dead", "", 0, false));
    for i in 0..100_000 {
        bench.send(client, &publish("live", "", 0, false));
        bench.broker.take_pending();
        bench.secured(&[(i + 2, i + 2)]);
    }
    assert!(bench.broker.owed.slots() < 10_000, "{}", bench.broker.owed.slots());
    assert!(bench.broker.owed.bytes() > 0);
    assert!(!bench.broker.owed.is_secured(1, 1));
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.broker.owed.bytes(), 0);
}

/// A client of 5.0 gets its place back by PUBCOMP, and may have it before its PUBREC could leave.
#[test]
fn acknowledgements_that_wait_for_their_turn_are_bounded_whatever_the_client_does() {
    let mut bench = Bench::with(&[&["up"]], Limits { receive_maximum: 3, ..quiet() });
    let client = bench.open(false);
    bench.send(client, &[connect5("c", true, 0, &[]), publish5(0x32, "up", 1, &[], "")].concat());
    bench.take(client);
    for _ in 0..20 {
        bench.send(client, &[publish5(0x34, "here", 2, &[], ""), ack(6, 2)].concat());
    }
    let waiting = bench.broker.conns.get(client).map_or(0, |conn| conn.acks.len());
    assert!(waiting <= 4, "{waiting}");
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.end_of(client), None);
    assert_eq!(bench.take(client).iter().filter(|line| *line == "PUBREC 2").count(), 20);
}
