//! What happens between a message and its commit: sessions that change or end meanwhile.

use super::qos2::{publish2, say, told};
use super::wire5::{ack, connect5, publish5};
use super::*;

/// With a session in the store that takes `filter` at QoS 2.
fn durable(bench: &mut Bench, client: &str, filters: &[&str]) -> ConnId {
    let (id, _) = bench.connect_as(client, false);
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 2)).collect();
    bench.send(id, &subscribe(1, &filters));
    bench.take(id);
    id
}

/// It stood in the store's row of the message, and is to get it once.
#[test]
fn a_session_that_ceases_to_outlive_its_connection_gets_a_gated_message_once() {
    let mut bench = Bench::new(&[]);
    let first = durable(&mut bench, "sub", &["t"]);
    let (publisher, _) = bench.connect_as("pub", false);
    say(&mut bench, publisher, &publish2("t", "x", 7, false));
    let second = bench.open(false);
    say(&mut bench, second, &connect5("sub", false, 0, &[]));
    assert_eq!(bench.take(first), [""; 0]);
    bench.commit();
    let packets = bench.raw(second);
    let copies = packets.windows(3).filter(|bytes| bytes == b"\0\x01t").count();
    assert_eq!(copies, 1, "{packets:?}");
}

/// Those of before wait for their packet ids, those of after have none to wait for.
#[test]
fn messages_of_a_publisher_that_ceases_to_outlive_its_connection_stay_in_order() {
    let mut bench = Bench::new(&[]);
    let receiver = bench.connect("sub");
    bench.send(receiver, &subscribe(1, &[("t", 2)]));
    let (publisher, _) = bench.connect_as("pub", false);
    bench.take(receiver);
    say(&mut bench, publisher, &publish2("t", "1", 7, false));
    let publisher = bench.open(false);
    let again = [connect5("pub", false, 0, &[]), publish5(0x3c, "t", 7, &[], "1"), publish5(0x34, "t", 8, &[], "2")].concat();
    say(&mut bench, publisher, &again);
    assert_eq!(bench.take(receiver), [""; 0]);
    bench.commit();
    assert_eq!(bench.take(receiver), ["t 1 q2 id1", "t 2 q2 id2"]);
}

/// Its packet id has to be in the store first, also where it goes out at QoS 1 and had to queue.
#[test]
fn a_gated_message_from_a_queue_waits_for_its_packet_id() {
    let mut bench = Bench::with(&[], Limits { receive_maximum: 1, ..quiet() });
    let (receiver, _) = bench.connect_as("sub", false);
    bench.send(receiver, &subscribe(1, &[("t", 1)]));
    let (publisher, _) = bench.connect_as("pub", false);
    let other = bench.connect("other");
    bench.send(other, &publish("t", "0", 1, false));
    assert_eq!(bench.take(receiver), ["SUBACK 1 [1]", "t 0 q1 id1"]);
    say(&mut bench, publisher, &publish2("t", "1", 7, false));
    say(&mut bench, receiver, &puback(1));
    assert_eq!(bench.take(receiver), [""; 0]);
    bench.commit();
    assert_eq!(bench.take(receiver), ["t 1 q1 id2"]);
}

/// The store owes it one of them; the other is sent when that is committed.
#[test]
fn a_member_with_a_subscription_of_its_own_gets_both_copies_of_a_gated_message() {
    let mut bench = Bench::new(&[]);
    let member = durable(&mut bench, "member", &["t", "$share/g/t"]);
    let (publisher, _) = bench.connect_as("pub", false);
    say(&mut bench, publisher, &publish2("t", "x", 7, false));
    assert_eq!(bench.take(member), [""; 0]);
    bench.commit();
    assert_eq!(bench.take(member), ["t x q2 id1", "t x q1 id2"]);
}

/// A QoS 2 message that waits for its row was never sent.
#[test]
fn what_a_member_was_not_sent_yet_goes_to_another() {
    let mut bench = Bench::new(&[]);
    let gone = durable(&mut bench, "gone", &["$share/g/t"]);
    let publisher = bench.connect("pub");
    say(&mut bench, publisher, &publish2("t", "x", 7, false));
    let heir = durable_uncommitted(&mut bench, "heir", "$share/g/t");
    let again = bench.open(false);
    say(&mut bench, again, &connect("gone", true, 0, None));
    bench.commit();
    bench.commit();
    assert_eq!(bench.take(gone), [""; 0]);
    assert_eq!(bench.take(publisher), ["PUBREC 7"]);
    let came = bench.take(heir);
    assert_eq!(came.last().map(String::as_str), Some("t x q2 id1"), "{came:?}");
}

fn durable_uncommitted(bench: &mut Bench, client: &str, filter: &str) -> ConnId {
    let id = bench.open(false);
    say(bench, id, &[connect(client, false, 0, None), subscribe(1, &[(filter, 2)])].concat());
    id
}

/// The row of what it is owed by its own subscription says which packet id that has.
#[test]
fn who_inherits_what_it_has_keeps_its_own_row() {
    let mut bench = Bench::new(&[]);
    let gone = durable(&mut bench, "gone", &["$share/g/t"]);
    bench.cut(gone);
    let publisher = bench.connect("pub");
    // While it is the only member it is the one that is chosen.
    bench.send(publisher, &publish("t", "1", 1, false));
    let heir = durable(&mut bench, "heir", &["t"]);
    bench.send(publisher, &publish2("t", "2", 2, false));
    bench.send(heir, &subscribe(2, &[("$share/g/t", 2)]));
    assert_eq!(bench.take(heir), ["t 2 q2 id1", "SUBACK 2 [2]"]);
    told(&mut bench);
    bench.connect_as("gone", true);
    let rows: Vec<String> = told(&mut bench).into_iter().filter(|line| line.contains("due of")).collect();
    assert_eq!(bench.take(heir), ["t 1 q1 id2", "t 2 q1 id3"]);
    assert_eq!(rows, ["8: due of 3 queued"], "of the first message only");
    bench.send(heir, &ack(5, 1));
    bench.send(heir, &ack(7, 1));
}
