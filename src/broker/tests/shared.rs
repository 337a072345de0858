//! Shared subscriptions (5.0, 4.8.2).

use super::super::limit::Limit;
use super::qos2::{publish2, told};
use super::wire5::{ack, ack5, connect5, publish5, subscribe5};
use super::*;

/// A brief member of `$share/g/t`.
fn member(bench: &mut Bench, client: &str, qos: u8) -> ConnId {
    let id = bench.connect(client);
    bench.send(id, &subscribe(1, &[("$share/g/t", qos)]));
    bench.take(id);
    id
}

/// A member whose session is in the store.
fn durable(bench: &mut Bench, client: &str, qos: u8) -> ConnId {
    let (id, _) = bench.connect_as(client, false);
    bench.send(id, &subscribe(1, &[("$share/g/t", qos)]));
    bench.take(id);
    id
}

#[test]
fn the_members_of_a_group_take_turns() {
    let mut bench = Bench::new(&[]);
    let members: Vec<_> = ["a", "b", "c"].iter().map(|c| member(&mut bench, c, 1)).collect();
    let other = bench.connect("other group");
    bench.send(other, &subscribe(1, &[("$share/h/+", 0), ("$share/h/t", 0)]));
    let single = bench.connect("single");
    bench.send(single, &subscribe(1, &[("t", 1), ("$share/single/t", 0)]));
    drop((bench.take(other), bench.take(single)));
    let publisher = bench.connect("pub");
    for id in 1..=6 {
        bench.send(publisher, &publish("t", &id.to_string(), id, false));
    }
    for (member, want) in members.iter().zip([["t 1 q1 id1", "t 4 q1 id2"], ["t 2 q1 id1", "t 5 q1 id2"], ["t 3 q1 id1", "t 6 q1 id2"]]) {
        assert_eq!(bench.take(*member), want);
    }
    assert_eq!(bench.take(other).len(), 12, "two groups, though of one name");
    let single = bench.take(single);
    assert_eq!(single[..2], ["t 1 q1 id1", "t 1 q0"], "a group's message comes beside that of the session's own subscription");
    assert_eq!(single.len(), 12);
    bench.send(members[1], &unsubscribe(2, "$share/g/t"));
    bench.send(members[1], &unsubscribe(3, "$share/g/t"));
    assert_eq!(bench.take(members[1]), ["UNSUBACK 2", "UNSUBACK 3"]);
    for id in 7..=8 {
        bench.send(publisher, &publish("t", &id.to_string(), id, false));
    }
    assert_eq!((bench.take(members[0]), bench.take(members[2])), (vec!["t 7 q1 id3".to_owned()], vec!["t 8 q1 id3".to_owned()]));
    for id in members {
        bench.cut(id);
    }
    assert_eq!(bench.broker.subscriptions.groups.members(), 3);
}

#[test]
fn members_that_are_away_are_skipped_while_one_is_there() {
    let mut bench = Bench::new(&[]);
    let (away, there) = (durable(&mut bench, "away", 1), member(&mut bench, "there", 1));
    bench.cut(away);
    let publisher = bench.connect("pub");
    for id in 1..=3 {
        bench.send(publisher, &publish("t", &id.to_string(), id, false));
    }
    assert_eq!(bench.take(there).len(), 3);
    for id in 1..=3 {
        bench.send(there, &puback(id));
    }
    bench.cut(there);
    told(&mut bench);
    for (id, qos) in [(4, 1), (0, 0)] {
        bench.send(publisher, &publish("t", &format!("queued at {qos}"), id, false));
    }
    assert_eq!(told(&mut bench), ["3: entry t [\"queued\"]"], "all are away: queued for one; QoS 0 is not");
    let (away, _) = bench.connect_as("away", false);
    assert_eq!(bench.take(away), ["t queued at 1 q1 id1"]);
}

#[test]
fn a_member_that_cannot_take_more_is_skipped_while_another_can() {
    let mut bench = Bench::new(&[]);
    let connect = |bench: &mut Bench, client: &str| {
        let id = bench.open(false);
        // Receive maximum 1.
        bench.send(id, &connect5(client, true, 0, &[0x21, 0, 1]));
        bench.send(id, &subscribe5(1, 0, &[("$share/g/t", 1)]));
        bench.raw(id);
        id
    };
    let (full, free) = (connect(&mut bench, "full"), connect(&mut bench, "free"));
    let publisher = bench.connect("pub");
    let publishes = |bench: &mut Bench, bodies: &[&str]| {
        for body in bodies {
            bench.send(publisher, &publish("t", body, 1, false));
        }
    };
    publishes(&mut bench, &["1", "2"]);
    bench.send(free, &ack(4, 1));
    publishes(&mut bench, &["3"]);
    bench.send(free, &ack(4, 2));
    publishes(&mut bench, &["4", "5", "6"]);
    let want = |bodies: &[(u16, &str)]| bodies.iter().flat_map(|(id, body)| publish5(0x32, "t", *id, &[], body)).collect::<Vec<u8>>();
    assert_eq!(bench.raw(full), want(&[(1, "1")]));
    assert_eq!(bench.raw(free), want(&[(1, "2"), (2, "3"), (3, "4")]));
    bench.send(full, &ack5(4, 1, 0x80));
    assert_eq!(bench.raw(full), want(&[(2, "5")]), "none was free, it waited for one; the refused one is dropped");
    bench.cut(full);
    assert_eq!(bench.raw(free), [0; 0]);
    bench.send(free, &ack(4, 3));
    assert_eq!(bench.raw(free), want(&[(4, "6")]));
    bench.send(free, &ack(4, 4));
    assert_eq!(bench.raw(free), want(&[(5, "5")]), "unanswered by the one that has gone");
}

#[test]
fn what_a_member_leaves_unanswered_goes_to_another_at_qos_1_only() {
    for (qos, want) in [(1, vec!["t 1 q1 id1", "t 2 q1 id2"]), (2, vec![])] {
        let mut bench = Bench::new(&[]);
        let gone = member(&mut bench, "gone", qos);
        let publisher = bench.connect("pub");
        for id in 1..=2 {
            bench.send(publisher, &publish2("t", &id.to_string(), id, false));
        }
        assert_eq!(bench.take(gone).len(), 2);
        let heir = member(&mut bench, "heir", 2);
        bench.cut(gone);
        assert_eq!(bench.take(heir), want, "QoS {qos}");
        bench.cut(heir);
        bench.cut(publisher);
        assert_eq!(bench.broker.budget.used(), 0, "with the last member it is gone");
    }
}

#[test]
fn what_the_store_has_for_one_member_it_has_for_the_next_before_the_first_one_goes() {
    let mut bench = Bench::new(&[]);
    let gone = durable(&mut bench, "gone", 2);
    bench.cut(gone);
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("t", "1", 1, false));
    bench.send(publisher, &publish2("t", "2", 2, false));
    let heir = durable(&mut bench, "heir", 2);
    told(&mut bench);
    let (gone, _) = bench.connect_as("gone", true);
    let told = told(&mut bench);
    let at = |what: &str| told.iter().position(|line| line.ends_with(what)).unwrap_or_else(|| panic!("{what} in {told:?}"));
    assert!(at("due of 3 queued") < at("done 3") && at("done 3") < at("ended"), "{told:?}");
    assert!(at("due of 4 queued") < at("due of 4 sent 2") && at("done 4") < at("ended"), "{told:?}");
    assert_eq!(bench.take(heir), ["t 1 q1 id1", "t 2 q2 id2"]);
    assert_eq!(bench.take(gone), [""; 0]);
    bench.send(heir, &[puback(1), ack(5, 2)].concat());
    bench.send(heir, &ack(7, 2));
    assert_eq!(bench.take(heir), ["PUBREL 2"]);
    bench.connect_as("heir", true);
    assert_eq!(bench.broker.subscriptions.groups.members(), 0);
}

/// What a member without a row has taken over is in the store when it goes on to one that has.
#[test]
fn a_durable_member_inherits_by_an_entry_of_its_own() {
    let mut bench = Bench::new(&[]);
    let brief = member(&mut bench, "brief", 1);
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("t", "1", 1, false));
    let heir = durable(&mut bench, "heir", 1);
    bench.cut(heir);
    told(&mut bench);
    bench.cut(brief);
    assert_eq!(told(&mut bench), ["3: entry t [\"queued\"]"]);
    let (heir, _) = bench.connect_as("heir", false);
    assert_eq!(bench.take(heir), ["t 1 q1 id1"]);
}

/// outbox.md 4: the packet id first.
#[test]
fn a_gated_message_goes_to_one_member_once() {
    for (durable_member, leaves) in [(true, false), (false, false), (false, true)] {
        let name = format!("durable {durable_member}, leaves {leaves}");
        let mut bench = Bench::new(&[]);
        let first = if durable_member { durable(&mut bench, "first", 1) } else { member(&mut bench, "first", 1) };
        let second = member(&mut bench, "second", 1);
        let (publisher, _) = bench.connect_as("pub", false);
        told(&mut bench);
        bench.sent.entry(publisher).or_default().extend_from_slice(&publish2("t", "x", 7, false));
        bench.turn(publisher);
        assert_eq!((bench.take(first), bench.take(second)), (vec![], vec![]), "{name}");
        if leaves {
            bench.cut(first);
        }
        bench.commit();
        let (first, second) = (bench.take(first), bench.take(second));
        let (want, other) = if leaves { (second, first) } else { (first, second) };
        assert_eq!((want, other), (vec!["t x q1 id1".to_owned()], vec![]), "{name}");
    }
}

#[test]
fn a_group_gets_no_retained_messages_and_restricted_members_no_closed_topics() {
    let mut bench = Bench::new(&[]);
    bench.inject("a/t", "old", true);
    let client = bench.connect("c");
    bench.send(client, &subscribe(1, &[("$share/g/a/#", 1), ("$share/g", 1), ("$share/+/a", 1)]));
    assert_eq!(bench.take(client), ["SUBACK 1 [1, 128, 128]"]);
    let restricted = bench.open(true);
    bench.send(restricted, &connect("r", true, 0, None));
    bench.send(restricted, &subscribe(1, &[("$share/g/a/#", 1), ("$share/g/a/set", 1), ("$share/g/$SYS/#", 0)]));
    assert_eq!(bench.take(restricted), ["CONNACK 0", "SUBACK 1 [1, 128, 128]"]);
    for _ in 0..3 {
        bench.send(client, &publish("a/set", "command", 0, false));
    }
    assert_eq!(bench.take(client).len(), 3);
    assert_eq!(bench.take(restricted), [""; 0]);
}

#[test]
fn no_more_groups_and_members_than_there_is_room_for() {
    let (mut groups, limits) = (super::super::shared::Groups::default(), Limits::default());
    let sub = |session| super::super::subscriptions::Sub {
        session,
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    };
    let filter = |i: usize| TopicFilter::new(&format!("$share/{i}/t")).unwrap();
    for session in 0..256 {
        assert_eq!(groups.limit_for(&filter(0), &limits), None);
        groups.join(&filter(0), sub(session));
    }
    assert_eq!(groups.limit_for(&filter(0), &limits), Some(Limit::SharedMembersMax));
    for i in 1..4_096 {
        assert_eq!(groups.limit_for(&filter(i), &limits), None);
        groups.join(&filter(i), sub(0));
    }
    assert_eq!(groups.limit_for(&filter(4_096), &limits), Some(Limit::SharedGroupsMax));
    groups.leave(&filter(9), 0);
    assert_eq!(groups.limit_for(&filter(4_096), &limits), None);
}

#[test]
fn what_was_queued_before_a_restart_still_belongs_to_its_group() {
    use crate::model::{Due, DueState, Entry, Restored, SessionId, StoredSession, SubscribeOptions, Subscription};
    let mut bench = Bench::unstarted(&[], quiet());
    let id = |counter| EntryId::new(EPOCH - 1, counter);
    let session = SessionId(id(1));
    let row = StoredSession {
        id: session,
        client: "gone".into(),
        user: Some(door::SOMEBODY.into()),
        expiry: 10,
        left_ms: None,
        listener: "".into(),
        will: None,
    };
    let subscription = |filter: &str| {
        let filter = TopicFilter::new(filter).unwrap();
        Restored::Subscription {
            session,
            subscription: Subscription { filter, options: SubscribeOptions::at(QoS::AtLeastOnce), identifier: None },
        }
    };
    let entry = |counter, topic: &str| {
        let due = Due { session, qos: QoS::AtLeastOnce, retain: false, identifiers: [].into(), state: DueState::Queued, prompt: false };
        Restored::Entry(Entry { id: id(counter), due: vec![due], ..Entry::new(Topic::new(topic).unwrap(), Body::raw("x".into())) })
    };
    let page = vec![Restored::Session(row), subscription("$share/g/+"), subscription("own"), entry(2, "t"), entry(3, "own")];
    bench.outbox(OutboxToBroker::Restored(page));
    let mut bench = bench.started();
    let heir = bench.connect("heir");
    bench.send(heir, &subscribe(1, &[("$share/g/+", 1)]));
    bench.pass(11_000);
    assert_eq!(bench.take(heir), ["SUBACK 1 [1]", "t x q1 id1"]);
}
