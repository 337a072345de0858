//! QoS 2 and what the store is told: which packet waits for which commit.

use super::wire5::{ack, ack5, connect5, publish5, subscribe5};
use super::*;
use crate::model::{DoneHow, DueState, StateChange};

/// What went to the outbox, each in a few words.
pub(super) fn told(bench: &mut Bench) -> Vec<String> {
    bench.put.extend(bench.broker.take_pending());
    let state = |state: &DueState| match state {
        DueState::Queued => "queued".to_owned(),
        DueState::Sent(id) => format!("sent {id}"),
        DueState::Released(id) => format!("released {id}"),
    };
    let line = |put: Put| match put {
        Put::Entry(e) => {
            let due: Vec<String> = e.due.iter().map(|d| format!("{}{}", state(&d.state), if d.prompt { " prompt" } else { "" })).collect();
            let received = e.received.map_or(String::new(), |(_, id)| format!(" received {id}"));
            format!("{}: entry {}{received} {due:?}", e.id.counter(), e.topic)
        }
        Put::Change(change) => {
            let what = match change.what {
                StateChange::Session(s) => {
                    format!("session {}{}", s.client, s.left_ms.map_or(String::new(), |left| format!(" left {}", left / 1_000)))
                }
                StateChange::Retained(message) => format!("retained {}", message.topic),
                StateChange::SessionEnded(_) => "ended".to_owned(),
                StateChange::Subscribed { subscription, .. } => format!("subscribed {}", subscription.filter),
                StateChange::Unsubscribed { filter, .. } => format!("unsubscribed {filter}"),
                StateChange::Received { packet_id, .. } => format!("received {packet_id}"),
                StateChange::Released { packet_id, .. } => format!("released {packet_id}"),
                StateChange::Due { entry, due } => format!("due of {} {}", entry.counter(), state(&due.state)),
                other => format!("{other:?}"),
            };
            format!("{}: {what}", change.id.counter())
        }
        Put::Done(done) if done.how == DoneHow::Acknowledged => format!("done {}", done.entry.counter()),
        Put::Done(done) => format!("done {} {:?}", done.entry.counter(), done.how),
    };
    std::mem::take(&mut bench.put).into_iter().map(line).collect()
}

/// Applies `bytes` without the store's help.
pub(super) fn say(bench: &mut Bench, id: ConnId, bytes: &[u8]) {
    bench.sent.entry(id).or_default().extend_from_slice(bytes);
    bench.turn(id);
}

pub(super) fn publish2(topic: &str, body: &str, id: u16, dup: bool) -> Vec<u8> {
    packet(0x34 | u8::from(dup) << 3, &[&string(topic), &id.to_be_bytes(), body.as_bytes()])
}

#[test]
fn between_brief_sessions_nothing_is_written() {
    let mut bench = Bench::new(&[]);
    let (sub, publisher) = (bench.connect("sub"), bench.connect("pub"));
    bench.send(sub, &subscribe(1, &[("a", 2)]));
    bench.send(publisher, &publish2("a", "x", 7, false));
    assert_eq!(bench.take(publisher), ["PUBREC 7"]);
    assert_eq!(bench.take(sub), ["SUBACK 1 [2]", "a x q2 id1"]);
    bench.send(publisher, &publish2("a", "x", 7, true));
    bench.send(publisher, &publish2("a", "x", 7, false));
    assert_eq!(bench.take(publisher), ["PUBREC 7", "PUBREC 7"], "to 3.1.1 the same id is the same message");
    assert_eq!(bench.take(sub), [""; 0], "delivered once");
    bench.send(publisher, &ack(6, 7));
    bench.send(publisher, &ack(6, 7));
    assert_eq!(bench.take(publisher), ["PUBCOMP 7", "PUBCOMP 7"]);
    bench.send(sub, &ack(5, 1));
    assert_eq!(bench.take(sub), ["PUBREL 1"]);
    bench.send(sub, &ack(5, 1));
    assert_eq!(bench.take(sub), ["PUBREL 1"], "PUBREC again");
    bench.send(sub, &ack(7, 1));
    bench.send(publisher, &publish2("a", "y", 7, false));
    assert_eq!(bench.take(sub), ["a y q2 id2"], "the id was released");
    assert_eq!(told(&mut bench), [""; 0]);
}

#[test]
fn a_5_0_client_is_told_of_ids_that_are_in_use_or_unknown() {
    let mut bench = Bench::new(&[]);
    let client = bench.open(false);
    bench.send(client, &connect5("c", true, 0, &[]));
    bench.send(client, &[publish5(0x34, "a", 7, &[], "x"), publish5(0x34, "a", 7, &[], "x"), publish5(0x3c, "a", 7, &[], "x")].concat());
    bench.send(client, &[ack(6, 7), ack(6, 7), ack(5, 9)].concat());
    let out = bench.raw(client);
    let want = [
        // Nobody subscribes: 0x10; DUP=0 on a held id: 0x91; DUP=1: the answer again.
        &[0x50, 3, 0, 7, 0x10][..],
        &[0x50, 3, 0, 7, 0x91],
        &[0x50, 2, 0, 7],
        &[0x70, 2, 0, 7],
        &[0x70, 3, 0, 7, 0x92],
        &[0x62, 3, 0, 9, 0x92],
    ];
    let at = out.len() - want.concat().len();
    assert_eq!(out[at..], want.concat(), "{out:02x?}");
}

#[test]
fn an_outgoing_qos_2_publish_and_its_pubrel_wait_for_their_rows() {
    let mut bench = Bench::new(&[]);
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 2)]));
    let publisher = bench.connect("pub");
    drop((bench.take(sub), told(&mut bench)));
    say(&mut bench, publisher, &publish2("a", "x", 7, false));
    assert_eq!(told(&mut bench), ["3: entry a [\"sent 1\"]"]);
    assert_eq!((bench.take(sub), bench.take(publisher)), (vec![], vec![]), "neither before the commit");
    bench.secured(&[(3, 2)]);
    assert_eq!(bench.take(sub), [""; 0], "an empty range says nothing");
    bench.secured(&[(3, 3)]);
    assert_eq!(bench.take(sub), ["a x q2 id1"]);
    assert_eq!(bench.take(publisher), ["PUBREC 7"]);
    say(&mut bench, sub, &ack(5, 1));
    assert_eq!(told(&mut bench), ["4: due of 3 released 1"]);
    assert_eq!(bench.take(sub), [""; 0]);
    bench.secured(&[(4, 4)]);
    assert_eq!(bench.take(sub), ["PUBREL 1"]);
    say(&mut bench, sub, &ack(7, 1));
    assert_eq!(told(&mut bench), ["done 3"]);
}

#[test]
fn an_incoming_qos_2_message_goes_to_others_when_its_id_is_in_the_store() {
    let mut bench = Bench::new(&[]);
    let brief = bench.connect("brief");
    bench.send(brief, &subscribe(1, &[("#", 1)]));
    let (kept, _) = bench.connect_as("kept", false);
    bench.send(kept, &subscribe(1, &[("b", 1)]));
    let (publisher, _) = bench.connect_as("pub", false);
    drop((bench.take(brief), bench.take(kept), told(&mut bench)));
    say(&mut bench, publisher, &[publish2("a", "x", 7, false), publish2("b", "y", 8, false)].concat());
    assert_eq!(told(&mut bench), ["4: received 7", "5: entry b received 8 [\"queued\"]"]);
    assert_eq!((bench.take(brief), bench.take(kept), bench.take(publisher)), (vec![], vec![], vec![]));
    say(&mut bench, publisher, &publish2("a", "x", 7, true));
    bench.secured(&[(4, 4)]);
    assert_eq!(bench.take(brief), ["a x q1 id1"]);
    assert_eq!(bench.take(publisher), ["PUBREC 7"], "the one that came again waits behind the one in between");
    bench.secured(&[(5, 5)]);
    assert_eq!((bench.take(brief), bench.take(kept)), (vec!["b y q1 id2".to_owned()], vec!["b y q1 id1".to_owned()]));
    assert_eq!(bench.take(publisher), ["PUBREC 8", "PUBREC 7"]);
    say(&mut bench, publisher, &ack(6, 7));
    assert_eq!(told(&mut bench), ["6: released 7"]);
    assert_eq!(bench.take(publisher), [""; 0], "PUBCOMP waits for the removal");
    bench.secured(&[(6, 6)]);
    assert_eq!(bench.take(publisher), ["PUBCOMP 7"]);
}

#[test]
fn what_a_prompt_client_is_sent_may_wait_for_its_acknowledgement() {
    let mut bench = Bench::new(&[]);
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    let publisher = bench.connect("pub");
    drop((bench.take(sub), told(&mut bench)));
    say(&mut bench, publisher, &publish("a", "1", 1, false));
    assert_eq!(told(&mut bench), ["3: entry a [\"queued prompt\"]"]);
    say(&mut bench, sub, &puback(1));
    assert_eq!(told(&mut bench), ["done 3"]);
    bench.secured(&[(3, 3)]);
    assert_eq!(bench.take(publisher), ["PUBACK 1"]);
    say(&mut bench, publisher, &publish("a", "2", 2, false));
    bench.pass(600);
    say(&mut bench, publisher, &publish("a", "3", 3, false));
    bench.cut(sub);
    say(&mut bench, publisher, &publish("a", "4", 4, false));
    let want = ["4: entry a [\"queued prompt\"]", "5: entry a [\"queued\"]", "6: entry a [\"queued\"]"];
    let told: Vec<String> = told(&mut bench).into_iter().filter(|line| line.contains("entry")).collect();
    assert_eq!(told, want, "it has not answered for half a second; it is away");
}

#[test]
fn after_a_reconnect_each_stage_is_taken_up_in_order() {
    let mut bench = Bench::new(&[]);
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("#", 2)]));
    let publisher = bench.connect("pub");
    for (id, body) in [(1, "one"), (2, "two"), (3, "three")] {
        bench.send(publisher, &publish2("a", body, id, false));
    }
    bench.send(publisher, &publish("a", "four", 4, false));
    assert_eq!(bench.take(sub)[1..], ["a one q2 id1", "a two q2 id2", "a three q2 id3", "a four q1 id4"]);
    bench.send(sub, &[ack(5, 1), ack(5, 2)].concat());
    assert_eq!(bench.take(sub), ["PUBREL 1", "PUBREL 2"]);
    bench.send(sub, &ack(7, 1));
    bench.cut(sub);
    bench.send(publisher, &publish2("a", "five", 5, false));
    let (sub, present) = bench.connect_as("sub", false);
    assert!(present);
    bench.commit();
    assert_eq!(bench.take(sub), ["PUBREL 2", "a three q2 id3 dup", "a four q1 id4 dup", "a five q2 id5"]);
}

#[test]
fn a_full_queue_drops_its_oldest_and_the_store_hears_of_it() {
    let mut bench = Bench::with(&[], Limits { session_queue: 2, ..quiet() });
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    bench.cut(sub);
    let publisher = bench.connect("pub");
    told(&mut bench);
    for id in 1..=3 {
        bench.send(publisher, &publish("a", &id.to_string(), id, false));
    }
    let told: Vec<String> = told(&mut bench).into_iter().filter(|line| !line.contains("session")).collect();
    assert_eq!(told, ["3: entry a [\"queued\"]", "4: entry a [\"queued\"]", "5: entry a [\"queued\"]", "done 3 Overflow"]);
}

#[test]
fn a_message_goes_to_a_5_0_receiver_with_its_properties_and_what_is_the_receivers_own() {
    let mut bench = Bench::new(&[]);
    let sub = bench.open(false);
    // Topic alias maximum 5.
    bench.send(sub, &connect5("sub", true, 0, &[0x22, 0, 5]));
    bench.send(sub, &subscribe5(1, 9, &[("a/rather/long/topic/name", 1)]));
    bench.raw(sub);
    let publisher = bench.open(false);
    bench.send(publisher, &connect5("pub", true, 0, &[]));
    // Payload format 1, expiry 10 s, user property k=v.
    let props = [1, 1, 2, 0, 0, 0, 10, 0x26, 0, 1, b'k', 0, 1, b'v'];
    for _ in 0..2 {
        bench.send(publisher, &publish5(0x32, "a/rather/long/topic/name", 1, &props, "x"));
    }
    let own = [2, 0, 0, 0, 10, 0x23, 0, 1, 0x0b, 9];
    let forwarded = [1, 1, 0x26, 0, 1, b'k', 0, 1, b'v'];
    let block = [&forwarded[..], &own].concat();
    let want = [publish5(0x32, "a/rather/long/topic/name", 1, &block, "x"), publish5(0x32, "", 2, &block, "x")].concat();
    assert_eq!(bench.raw(sub), want);
}

#[test]
fn a_packet_larger_than_its_receiver_takes_is_dropped_and_costs_no_place() {
    let mut bench = Bench::new(&[]);
    let sub = bench.open(false);
    // Receive maximum 1, maximum packet size 30.
    bench.send(sub, &connect5("sub", true, 0, &[0x21, 0, 1, 0x27, 0, 0, 0, 30]));
    bench.send(sub, &subscribe5(1, 0, &[("a", 1)]));
    bench.raw(sub);
    let publisher = bench.connect("pub");
    let fits = "x".repeat(22);
    for body in [format!("{fits}y"), fits.clone()] {
        bench.send(publisher, &publish("a", &body, 1, false));
    }
    assert_eq!(bench.raw(sub), publish5(0x32, "a", 2, &[], &fits));
    assert_eq!(bench.take(publisher), ["CONNACK 0", "PUBACK 1", "PUBACK 1"][1..]);
    bench.send(publisher, &publish("a", "z", 1, false));
    assert_eq!(bench.raw(sub), [0; 0], "its receive maximum is 1");
    bench.send(sub, &ack5(4, 2, 0x80));
    assert_eq!(bench.raw(sub), publish5(0x32, "a", 3, &[], "z"), "a refusal frees the place, too");
}

/// What is sent again counts against what the client takes at a time now (5.0, 4.9).
#[test]
fn a_client_that_comes_back_for_fewer_at_a_time_gets_fewer() {
    let mut bench = Bench::new(&[]);
    let client = bench.open(false);
    bench.send(client, &[connect5("c", false, 100, &[]), subscribe5(1, 0, &[("a", 1)])].concat());
    bench.take(client);
    let publisher = bench.connect("p");
    for id in 1..=3 {
        bench.send(publisher, &publish("a", "x", id, false));
    }
    assert_eq!(bench.take(client).len(), 3);
    bench.cut(client);
    let again = bench.open(false);
    bench.send(again, &connect5("c", false, 100, &[0x21, 0, 2]));
    assert_eq!(bench.take(again).len(), 3, "CONNACK and two messages");
    for (id, want) in [(1, 1), (2, 0), (3, 0)] {
        bench.send(again, &ack(kind::PUBACK, id));
        assert_eq!(bench.take(again).len(), want, "after PUBACK {id}");
    }
}

/// The connection that sent it first is over before the commit; its client sends it again on the next one.
#[test]
fn a_message_that_is_sent_again_before_its_commit_is_acknowledged_after_it() {
    let mut bench = Bench::new(&[]);
    bench.connect_as("c", false);
    let first = bench.connect_as("c", false).0;
    bench.commit();
    let message = packet(0x34, &[&string("a"), &[0, 1], b"x"]);
    bench.sent.entry(first).or_default().extend_from_slice(&message);
    bench.turn(first);
    bench.cut(first);
    let again = bench.open(false);
    bench
        .sent
        .entry(again)
        .or_default()
        .extend_from_slice(&[connect("c", false, 0, None), packet(0x3c, &[&string("a"), &[0, 1], b"x"])].concat());
    bench.turn(again);
    assert_eq!(bench.take(again), ["CONNACK 0 present"]);
    bench.commit();
    assert_eq!(bench.take(again), ["PUBREC 1"]);
}

/// The store hears of what has to go for a message that waited for its packet id's commit, as for any other.
#[test]
fn what_a_message_after_its_gate_pushes_out_of_a_queue_is_told() {
    let mut bench = Bench::with(&[], Limits { session_queue: 1, queue_qos0: true, ..quiet() });
    let sub = bench.connect_as("sub", false).0;
    bench.send(sub, &subscribe(1, &[("kept", 1), ("gated", 0)]));
    bench.cut(sub);
    let publisher = bench.connect_as("pub", false).0;
    bench.send(publisher, &publish("kept", "x", 1, false));
    told(&mut bench);
    say(&mut bench, publisher, &publish2("gated", "x", 2, false));
    assert_eq!(told(&mut bench), ["6: received 2"]);
    bench.secured(&[(6, 6)]);
    assert_eq!(told(&mut bench), ["done 5 Overflow"]);
}

/// What takes something away and is sent again promises the same as the first time: once that is committed it is gone, not before.
#[test]
fn a_removal_that_is_sent_again_before_its_commit_is_answered_after_it() {
    for (removal, before, answer) in
        [(ack(kind::PUBREL, 1), publish2("b", "x", 1, false), "PUBCOMP 1"), (unsubscribe(7, "a"), subscribe(1, &[("a", 1)]), "UNSUBACK 7")]
    {
        let mut bench = Bench::new(&[]);
        let first = bench.connect_as("c", false).0;
        bench.send(first, &before);
        assert_eq!(bench.take(first).len(), 1);
        say(&mut bench, first, &removal);
        bench.cut(first);
        let again = bench.open(false);
        say(&mut bench, again, &[connect("c", false, 0, None), removal.clone()].concat());
        assert_eq!(bench.take(again), ["CONNACK 0 present"], "{answer}");
        bench.commit();
        assert_eq!(bench.take(again), [answer]);
        say(&mut bench, again, &removal);
        assert_eq!(bench.take(again), [answer], "there is nothing to wait for");
    }
}
