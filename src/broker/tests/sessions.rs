//! Sessions, wills, take-over, retained messages, keep-alive.

use super::*;

#[test]
fn what_was_in_flight_is_sent_again_in_order_and_marked() {
    let mut bench = Bench::new(&[]);
    let (sub, present) = bench.connect_as("sub", false);
    assert!(!present);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    let publisher = bench.connect("pub");
    for i in 1..=3 {
        bench.send(publisher, &publish("a", &i.to_string(), i, false));
    }
    assert_eq!(bench.take(sub)[1..], ["a 1 q1 id1", "a 2 q1 id2", "a 3 q1 id3"]);
    bench.send(sub, &puback(2));
    bench.cut(sub);
    bench.send(publisher, &publish("a", "4", 4, false));
    bench.send(publisher, &publish("a", "5", 0, false));
    let (sub, present) = bench.connect_as("sub", false);
    assert!(present);
    assert_eq!(bench.take(sub), ["a 1 q1 id1 dup", "a 3 q1 id3 dup", "a 4 q1 id4"]);
    bench.send(sub, &[puback(1), puback(3), puback(4), DISCONNECT.to_vec()].concat());
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), [""; 0]);
}

#[test]
fn a_clean_session_forgets_and_a_persistent_one_is_forgotten_by_it() {
    let mut bench = Bench::new(&[]);
    let publisher = bench.connect("pub");
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &[subscribe(1, &[("a", 1)]), DISCONNECT.to_vec()].concat());
    bench.send(publisher, &publish("a", "1", 1, false));
    let (sub, present) = bench.connect_as("sub", true);
    assert!(!present);
    assert_eq!(bench.take(sub), [""; 0]);
    bench.send(sub, &subscribe(1, &[("b", 1)]));
    bench.cut(sub);
    let (sub, present) = bench.connect_as("sub", false);
    assert!(!present);
    bench.send(publisher, &publish("b", "2", 2, false));
    assert_eq!(bench.take(sub), [""; 0]);
    assert_eq!(bench.broker.status().sessions, 2);
}

#[test]
fn a_full_window_queues_and_a_full_queue_drops_its_oldest() {
    let limits = Limits { session_queue: 5, receive_maximum: 3, ..quiet() };
    let mut bench = Bench::with(&[], limits);
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    let publisher = bench.connect("pub");
    for i in 1..=10 {
        bench.send(publisher, &publish("a", &i.to_string(), i, false));
        bench.pass(200);
    }
    assert_eq!(bench.take(sub)[1..], ["a 1 q1 id1", "a 2 q1 id2", "a 3 q1 id3"]);
    assert_eq!(bench.broker.status().dropped_queue, 2);
    bench.send(sub, &puback(1));
    assert_eq!(bench.take(sub), ["a 6 q1 id4"]);
    bench.send(sub, &[puback(2), puback(3)].concat());
    assert_eq!(bench.take(sub), ["a 7 q1 id5", "a 8 q1 id6"]);
    bench.cut(sub);
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["a 6 q1 id4 dup", "a 7 q1 id5 dup", "a 8 q1 id6 dup"], "the window holds on a new connection, too");
    bench.send(sub, &[puback(4), puback(5), puback(6)].concat());
    assert_eq!(bench.take(sub), ["a 9 q1 id7", "a 10 q1 id8"]);
}

#[test]
fn a_session_queue_is_bounded_in_bytes() {
    let limits = Limits { session_queue_bytes: 10_000, ..quiet() };
    let mut bench = Bench::with(&[], limits);
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    bench.cut(sub);
    let publisher = bench.connect("pub");
    for i in 1..=9 {
        bench.send(publisher, &publish("a", &"x".repeat(4_000 + i), i as u16, false));
    }
    bench.send(publisher, &publish("a", &"x".repeat(50_000), 10, false));
    assert_eq!(bench.broker.status().dropped_queue, 9);
    let (sub, _) = bench.connect_as("sub", false);
    assert_eq!(bench.take(sub), ["a <50000> q1 id1"], "one message of any size passes when nothing else is held");
    bench.send(sub, &puback(1));
    drop(bench.take(sub));
    bench.cut(sub);
    bench.cut(publisher);
    assert_eq!(bench.broker.budget.used(), 0);
}

#[test]
fn packet_ids_go_round_and_are_never_given_twice() {
    let limits = Limits { receive_maximum: 2, session_queue: 100_000, session_queue_bytes: 100 << 20, ..quiet() };
    let mut bench = Bench::with(&[], limits);
    let (sub, _) = bench.connect_as("sub", false);
    bench.send(sub, &subscribe(1, &[("a", 1)]));
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("a", "first", 1, false));
    for i in 0..65_533 {
        if i % 1_000 == 0 {
            drop((bench.take(sub), bench.take(publisher)));
        }
        bench.send(publisher, &publish("a", "x", 1, false));
        let at = bench.broker.sessions.iter().find(|(_, s)| &*s.client == "sub").map(|(i, _)| i).unwrap();
        let last = bench.broker.sessions[at].inflight.newest().unwrap();
        bench.send(sub, &puback(last));
    }
    drop((bench.take(sub), bench.take(publisher)));
    for body in ["65535", "held", "held too"] {
        bench.send(publisher, &publish("a", body, 1, false));
    }
    assert_eq!(bench.take(sub), ["a 65535 q1 id65535"], "id 1 is in flight");
    bench.send(sub, &puback(65_535));
    assert_eq!(bench.take(sub), ["a held q1 id2"], "the next that is free");
    bench.send(sub, &puback(1));
    assert_eq!(bench.take(sub), ["a held too q1 id3"]);
}

#[test]
fn wills_are_published_unless_the_client_says_goodbye() {
    let will = Some(("will", "gone", 1, true));
    for (name, keep_alive, act, published) in [
        ("cut", 0, (|b: &mut Bench, c: ConnId| b.cut(c)) as fn(&mut Bench, ConnId), true),
        ("goodbye", 0, |b, c| assert_eq!(b.send(c, &DISCONNECT), Turn::Ended), false),
        ("nonsense", 0, |b, c| assert_eq!(b.send(c, &[0xff, 0]), Turn::Ended), true),
        ("silence", 10, |b, _| b.pass(15_200), true),
        (
            "pings",
            10,
            |b, c| {
                (0..20).for_each(|_| {
                    b.pass(2_000);
                    b.send(c, &PING);
                });
            },
            false,
        ),
        ("no keep-alive", 0, |b, _| b.pass(1_000_000), false),
        ("taken over", 0, |b, _| assert!(!b.connect_as("c", true).1), true),
        (
            "an orderly stop",
            0,
            |b, c| {
                let now = b.now();
                b.broker.lost(c, End::Stop, now);
                b.resume();
            },
            false,
        ),
    ] {
        let mut bench = Bench::new(&[]);
        let watch = bench.connect("watch");
        bench.send(watch, &subscribe(1, &[("will", 1)]));
        let client = bench.open(false);
        bench.send(client, &connect("c", true, keep_alive, will));
        act(&mut bench, client);
        bench.resume();
        let seen = bench.take(watch);
        assert_eq!(seen[1..].iter().any(|l| l == "will gone q1 id1"), published, "{name}: {seen:?}");
        assert_eq!(bench.broker.status().retained, u64::from(published), "{name}");
    }
}

#[test]
fn a_second_connection_takes_the_session_over() {
    let mut bench = Bench::new(&[]);
    let (first, _) = bench.connect_as("same", false);
    bench.send(first, &subscribe(1, &[("a", 1)]));
    let (second, present) = bench.connect_as("same", false);
    assert!(present);
    assert_eq!(bench.end_of(first), Some(End::TakenOver));
    assert_eq!(bench.send(first, &publish("a", "late", 1, false)), Turn::Ended);
    bench.send(second, &publish("a", "1", 1, false));
    assert_eq!(bench.take(second), ["a 1 q1 id1", "PUBACK 1"]);
    bench.cut(first);
    assert_eq!(bench.end_of(second), None);
    bench.send(second, &PING);
    assert_eq!(bench.take(second), ["PINGRESP"]);
}

#[test]
fn readings_are_retained_and_live_subscribers_see_no_flag() {
    let mut bench = Bench::new(&[]);
    let live = bench.connect("live");
    bench.send(live, &subscribe(1, &[("p/#", 0)]));
    bench.inject("p/a", "1", true);
    bench.inject("p/b", "2", false);
    bench.inject("p/a", "3", true);
    assert_eq!(bench.take(live)[1..], ["p/a 1 q0", "p/b 2 q0", "p/a 3 q0"]);
    let late = bench.connect("late");
    bench.send(late, &subscribe(1, &[("p/#", 1), ("p/a", 0)]));
    assert_eq!(bench.take(late), ["SUBACK 1 [1, 0]", "p/a 3 q1 id1 retain", "p/a 3 q0 retain"]);
    bench.send(live, &publish("p/a", "", 0, true));
    bench.send(late, &subscribe(2, &[("p/a", 1)]));
    assert_eq!(bench.take(late), ["p/a  q0", "SUBACK 2 [1]"]);
}

#[test]
fn a_large_replay_goes_in_slices_and_waits_for_the_window() {
    let mut bench = Bench::with(&[], Limits { receive_maximum: 10, ..quiet() });
    let topics = 30_000;
    for i in 0..topics {
        bench.inject(&format!("r/{i:05}"), "v", true);
    }
    let sub = bench.connect("sub");
    bench.send(sub, &subscribe(1, &[("r/#", 0)]));
    // Between two turns others are served.
    let now = bench.now();
    assert_eq!(bench.broker.apply(sub, &[], now).turn, Turn::Hungry);
    let got = bench.take(sub);
    assert_eq!(got.len(), topics + 1);
    assert_eq!(got[topics], "r/29999 v q0 retain");
    let sub = bench.connect("sub1");
    bench.send(sub, &subscribe(1, &[("r/#", 1)]));
    assert_eq!(bench.take(sub).len(), 11);
    bench.send(sub, &[puback(1), puback(2)].concat());
    bench.resume();
    assert_eq!(bench.take(sub), ["r/00010 v q1 id11 retain", "r/00011 v q1 id12 retain"]);
    bench.send(sub, &unsubscribe(2, "r/#"));
    bench.send(sub, &puback(3));
    bench.resume();
    assert_eq!(bench.take(sub), ["UNSUBACK 2"]);
    // What is only looked at costs turns, too.
    let looks = bench.connect("looks");
    let now = bench.now();
    let mut turns = 0;
    let mut input = subscribe(1, &[("+/none", 0)]);
    loop {
        bench.broker.apply(looks, &std::mem::take(&mut input), now);
        if !bench.broker.wants_turn(looks) {
            break;
        }
        turns += 1;
    }
    assert_eq!(bench.take(looks), ["SUBACK 1 [0]"]);
    assert!(turns >= topics / 1_100, "{turns} turns for {topics} topics");
}

#[test]
fn a_stranger_has_ten_seconds() {
    let mut bench = Bench::new(&[]);
    let id = bench.open(false);
    bench.send(id, &[0x10]);
    bench.pass(9_900);
    assert_eq!(bench.end_of(id), None);
    bench.pass(200);
    assert_eq!(bench.end_of(id), Some(End::ConnectTimeout));
}

#[test]
fn connections_and_sessions_have_limits() {
    let mut bench = Bench::with(&[], Limits { connections_max: 2, sessions_per_user: Some(8), ..quiet() });
    for i in 0..8 {
        let (id, _) = bench.connect_as(&format!("c{i}"), false);
        bench.cut(id);
    }
    let id = bench.open(false);
    bench.send(id, &connect("one more", true, 0, None));
    assert_eq!(bench.take(id), ["CONNACK 3"]);
    let (_, present) = bench.connect_as("c3", false);
    assert!(present);
    let now = bench.now();
    assert_eq!(bench.broker.open(door::somebody(false), now), None);
}
