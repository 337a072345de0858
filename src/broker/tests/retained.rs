//! Retained messages: what the store hears of them, how they expire, and how they go to new subscriptions.

use super::qos2::{publish2, told};
use super::wire5::{ack, connect5, publish5, subscribe5};
use super::*;

fn client5(bench: &mut Bench, client: &str, expiry: u32) -> ConnId {
    let id = bench.open(false);
    bench.send(id, &connect5(client, true, expiry, &[]));
    bench.raw(id);
    id
}

#[test]
fn the_store_never_brings_back_a_promised_value_that_was_replaced() {
    let mut bench = Bench::new(&[]);
    let publisher = bench.connect("pub");
    for (packet, want) in [
        (publish("t", "1", 1, true), &["1: entry t []"][..]),
        (publish("t", "2", 0, true), &["2: RetainedGone(\"t\")"]),
        (publish("t", "3", 0, true), &[]),
        (publish("t", "4", 1, true), &["3: entry t []"]),
        (publish("t", "", 0, true), &["4: RetainedGone(\"t\")"]),
        (publish("t", "", 0, true), &[]),
        (publish("t", "", 1, true), &["5: entry t []"]),
    ] {
        bench.send(publisher, &packet);
        assert_eq!(told(&mut bench), want);
    }
}

#[test]
fn readings_are_written_once_an_hour() {
    let mut bench = Bench::new(&[]);
    for i in 0..5 {
        bench.inject(&format!("r/{i}"), "v", true);
    }
    assert_eq!(told(&mut bench), [""; 0]);
    for (seconds, want) in [(3_590, 0), (20, 5), (3_600, 0)] {
        bench.pass(seconds * 1_000);
        assert_eq!(told(&mut bench).len(), want, "after another {seconds} s");
    }
    bench.inject("r/0", "", true);
    assert_eq!(told(&mut bench), ["6: RetainedGone(\"r/0\")"]);
}

#[test]
fn an_expired_message_is_not_sent_and_what_is_left_of_others_is_counted_down() {
    let mut bench = Bench::new(&[]);
    let publisher = client5(&mut bench, "pub", 0);
    let expiry = |seconds: u8| [2, 0, 0, 0, seconds];
    bench.send(publisher, &publish5(0x33, "a", 1, &expiry(2), "short"));
    bench.send(publisher, &publish5(0x33, "b", 2, &expiry(9), "long"));
    told(&mut bench);
    bench.now = bench.now + Duration::from_millis(2_500);
    let sub = client5(&mut bench, "sub", 0);
    bench.send(sub, &subscribe5(1, 0, &[("+", 0)]));
    assert_eq!(bench.raw(sub)[6..], publish5(0x31, "b", 0, &expiry(7), "long"));
    assert_eq!(told(&mut bench), ["3: RetainedGone(\"a\")"]);
    bench.pass(7_000);
    assert_eq!(told(&mut bench), ["4: RetainedGone(\"b\")"], "without anybody who asks");
    assert_eq!(bench.broker.status().retained, 0);
}

#[test]
fn what_does_not_fit_is_kept_nowhere() {
    let mut bench = Bench::with(&[], Limits { packet_max: 32 << 20, output_max: 64 << 20, unsecured_max: 64 << 20, ..quiet() });
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("t", "1", 1, true));
    bench.send(publisher, &publish("t", &"x".repeat(17 << 20), 2, true));
    assert_eq!(bench.take(publisher), ["PUBACK 1", "PUBACK 2"]);
    assert_eq!(told(&mut bench), ["1: entry t []", "2: RetainedGone(\"t\")"]);
    assert_eq!((bench.broker.status().retained, bench.broker.status().retained_refused), (0, 1));
}

#[test]
fn at_qos_2_a_durable_session_gets_its_copy_when_the_row_is_committed() {
    let mut bench = Bench::new(&[]);
    let publisher = bench.connect("pub");
    bench.send(publisher, &packet(0x35, &[&string("t"), &[0, 1], b"x"]));
    let (sub, _) = bench.connect_as("sub", false);
    told(&mut bench);
    bench.sent.entry(sub).or_default().extend_from_slice(&subscribe(1, &[("t", 2)]));
    bench.turn(sub);
    assert_eq!(told(&mut bench), ["3: subscribed t", "4: entry t [\"sent 1\"]"]);
    assert_eq!(bench.take(sub), [""; 0]);
    bench.secured(&[(3, 4)]);
    assert_eq!(bench.take(sub), ["SUBACK 1 [2]", "t x q2 id1 retain"]);
    bench.cut(sub);
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["t x q2 id1 dup retain"]);
    told(&mut bench);
    bench.send(sub, &ack(5, 1));
    bench.send(sub, &ack(7, 1));
    assert_eq!(told(&mut bench), ["5: due of 4 released 1", "done 4"]);
    bench.send(publisher, &publish2("other", "y", 2, false));
}

/// It is in flight as any other message is.
#[test]
fn at_qos_1_a_durable_session_is_owed_its_copy_until_it_answers() {
    let mut bench = Bench::new(&[]);
    bench.inject("a", "1", true);
    bench.inject("b", "2", true);
    let (sub, _) = bench.connect_as("sub", false);
    told(&mut bench);
    bench.send(sub, &subscribe(1, &[("+", 1)]));
    assert_eq!(bench.take(sub), ["a 1 q1 id1 retain", "b 2 q1 id2 retain", "SUBACK 1 [1]"]);
    let rows = ["2: subscribed +", "3: entry a [\"queued prompt\"]", "4: entry b [\"queued prompt\"]"];
    assert_eq!(told(&mut bench), rows, "SUBACK waits, these may be answered before they are written");
    bench.send(sub, &puback(1));
    assert_eq!(told(&mut bench), ["done 3"]);
    bench.cut(sub);
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["b 2 q1 id2 dup retain"]);
    bench.send(sub, &puback(2));
    assert_eq!(told(&mut bench), ["done 4"]);
}

#[test]
fn a_long_replay_leaves_room_for_the_clients_own_packets() {
    let mut bench = Bench::new(&[]);
    for i in 0..30_000 {
        bench.inject(&format!("r/{i:05}"), "v", true);
    }
    let sub = bench.connect("sub");
    let now = bench.now();
    // Looks at all of them and finds none.
    let input = [subscribe(1, &[("+/none", 0)]), PING.to_vec()].concat();
    let applied = bench.broker.apply(sub, &input, now);
    assert_eq!((applied.used, applied.turn), (input.len(), Turn::Hungry));
    let mut turns = 0;
    while bench.broker.wants_turn(sub) {
        bench.broker.apply(sub, &PING, now);
        turns += 1;
    }
    assert!(turns >= 30_000 / 1_100, "{turns} turns");
    let answers = bench.take(sub);
    assert_eq!(answers.len(), turns + 2, "each ping is answered in its turn");
}

/// Its subscriptions were granted, so what they are owed does not end with a connection.
#[test]
fn a_replay_that_was_cut_off_goes_on_when_the_session_is_resumed() {
    let mut bench = Bench::with(&[], Limits { receive_maximum: 1, ..quiet() });
    for i in 0..3 {
        bench.inject(&format!("r/{i}"), "v", true);
    }
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("r/+", 1)]));
    assert_eq!(bench.take(sub), ["r/0 v q1 id1 retain", "SUBACK 1 [1]"]);
    bench.cut(sub);
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["r/0 v q1 id1 dup retain"]);
    bench.send(sub, &puback(1));
    bench.resume();
    assert_eq!(bench.take(sub), ["r/1 v q1 id2 retain"]);
    // Another connection takes over.
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["r/1 v q1 id2 dup retain"]);
    bench.send(sub, &puback(2));
    bench.resume();
    bench.send(sub, &puback(3));
    assert_eq!(bench.take(sub), ["r/2 v q1 id3 retain"]);
    bench.send(sub, &subscribe(2, &[("r/#", 1)]));
    assert_eq!(bench.take(sub), ["r/0 v q1 id4 retain", "SUBACK 2 [1]"]);
    bench.cut(sub);
    let sub = bench.connect("sub");
    assert_eq!(bench.take(sub), [""; 0], "a clean one begins anew");
}

/// What has changed since was sent, or queued, by the subscription itself: at QoS 2 it would come twice.
#[test]
fn a_replay_leaves_out_what_came_after_its_subscription() {
    for (qos, again) in [(0, true), (1, false), (2, false)] {
        let mut bench = Bench::with(&[], Limits { receive_maximum: 1, ..quiet() });
        let publisher = bench.connect("pub");
        for topic in ["r/0", "r/1", "r/2"] {
            bench.send(publisher, &publish(topic, "old", 1, true));
        }
        let (sub, _) = bench.connect_as("sub", false);
        bench.send(sub, &subscribe(1, &[("r/+", qos.max(1))]));
        assert_eq!(bench.take(sub)[0], "r/0 old q1 id1 retain");
        let first = 0x31 | qos << 1;
        let id: &[u8] = if qos == 0 { &[] } else { &[0, 7] };
        bench.send(publisher, &packet(first, &[&string("r/2"), id, b"new"]));
        let mut got = bench.take(sub);
        for id in 1..=4 {
            for packet in [puback(id), ack(5, id), ack(7, id)] {
                bench.send(sub, &packet);
                bench.resume();
                got.extend(bench.take(sub));
            }
        }
        let seen = |what: &str| got.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!((seen("r/1 old"), seen("r/2 old"), seen("r/2 new")), (1, 0, if again { 2 } else { 1 }), "{qos}: {got:?}");
    }
}

/// While an upstream is away and the disk is full, too.
#[test]
fn at_qos_1_retained_messages_do_not_wait_for_room_in_the_store() {
    let mut bench = Bench::with(&[&["up"]], Limits { unsecured_max: 2_000, ..quiet() });
    bench.inject("a", "1", true);
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("up", &"x".repeat(1_800), 1, false));
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    assert_eq!(bench.take(sub), ["a 1 q1 id1 retain", "SUBACK 1 [1]"]);
    bench.cut(sub);
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["a 1 q1 id1 dup retain"]);
}
