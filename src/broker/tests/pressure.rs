//! What happens at each limit (outbox.md 11, 12; slow receivers).

use super::super::conn::Hold;
use super::qos2::{publish2, say};
use super::*;

fn limits(unsecured_max: usize) -> Limits {
    Limits { unsecured_max, ..quiet() }
}

/// Costs 128 + 2 + 870 = 1,000 bytes.
fn thousand(id: u16) -> Vec<u8> {
    publish("up", &"x".repeat(870), id, false)
}

#[test]
fn publishes_with_a_destination_are_held_above_the_limit_until_three_quarters() {
    let mut bench = Bench::with(&[&["up"]], limits(10_000)).started();
    let (one, two) = (bench.connect("one"), bench.connect("two"));
    let sent: Vec<u8> = (1..=12).flat_map(thousand).chain(PING).collect();
    assert_eq!(bench.send(one, &sent), Turn::Held);
    assert_eq!(bench.broker.owed.bytes(), 10_000);
    bench.send(two, &publish("elsewhere", "", 1, false));
    assert_eq!(bench.take(two), ["PUBACK 1"], "what is owed to nobody passes");
    bench.inject("up", "reading", false);
    assert_eq!(bench.broker.status().dropped_overflow, 1);
    bench.secured(&[(1, 2)]);
    assert_eq!(bench.broker.owed.bytes(), 8_000, "not yet below three quarters");
    assert_eq!(bench.take(one), ["PUBACK 1", "PUBACK 2"]);
    bench.secured(&[(3, 3)]);
    assert_eq!(bench.broker.owed.bytes(), 9_000, "the two that were held are in");
    assert_eq!(bench.take(one), ["PUBACK 3", "PINGRESP"]);
    bench.pass(100_000);
    assert_eq!(bench.end_of(one), None);
    bench.inject("up", "reading", false);
    assert_eq!(bench.broker.status().dropped_overflow, 1);
}

#[test]
fn one_message_larger_than_the_limit_passes_when_nothing_else_is_held() {
    let mut bench = Bench::with(&[&["up"]], limits(500)).started();
    let client = bench.connect("c");
    assert_eq!(bench.send(client, &[thousand(1), thousand(2)].concat()), Turn::Held);
    assert_eq!(bench.broker.owed.bytes(), 1_000);
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.take(client), ["PUBACK 1"]);
    assert_eq!(bench.broker.owed.bytes(), 1_000);
    bench.secured(&[(2, 2)]);
    assert_eq!(bench.take(client), ["PUBACK 2"]);
}

#[test]
fn a_publish_for_a_full_queue_is_refused_whole_and_readings_lose_only_its_share() {
    let mut bench = Bench::new(&[&["a", "b"], &["b"]]).started();
    bench.full(0b10);
    let (held, free) = (bench.connect("held"), bench.connect("free"));
    bench.send(free, &publish("a", "1", 1, false));
    bench.send(free, &publish("b", "2", 0, false));
    bench.inject("b", "3", false);
    assert_eq!(bench.puts(), ["1 a 1 1", "2 b 2 1", "3 b 3 1"]);
    assert_eq!(bench.broker.status().dropped_overflow, 2);
    assert_eq!(bench.send(held, &[publish("b", "4", 4, false), PING.to_vec()].concat()), Turn::Held);
    bench.pass(20_000);
    bench.full(0b11);
    bench.full(0);
    assert_eq!(bench.take(held), ["PINGRESP"]);
    assert_eq!(bench.puts(), ["4 b 4 11"]);
}

/// Full for one upstream, and above the limit for the other: tried again and again, dropped once.
#[test]
fn a_held_publish_counts_as_dropped_only_when_it_is_applied() {
    let mut bench = Bench::with(&[&["up"], &["up"]], limits(1_500)).started();
    bench.full(0b10);
    let (one, two) = (bench.connect("one"), bench.connect("two"));
    bench.send(one, &publish("up", &"x".repeat(1_200), 0, false));
    assert_eq!(bench.broker.status().dropped_overflow, 1);
    assert_eq!(bench.send(two, &publish("up", &"x".repeat(1_200), 0, false)), Turn::Held);
    for _ in 0..5 {
        bench.full(0b10);
    }
    assert_eq!(bench.broker.status().dropped_overflow, 1);
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.broker.status().dropped_overflow, 2);
}

#[test]
fn a_publish_that_is_refused_for_too_long_ends_its_connection() {
    let mut bench = Bench::new(&[&["a"], &["b"]]).started();
    bench.full(0b11);
    let client = bench.open(false);
    bench.send(client, &connect("c", true, 1, None));
    assert_eq!(bench.send(client, &publish("b", "", 1, false)), Turn::Held);
    for _ in 0..29 {
        bench.pass(1_000);
        // A new report that leaves it full does not begin the time anew.
        bench.full(0b10);
    }
    assert_eq!(bench.end_of(client), None);
    bench.pass(1_200);
    assert_eq!((bench.end_of(client), bench.broker.status().refused), (Some(End::Refused(1)), 1));
    assert_eq!(bench.puts(), [""; 0]);
}

/// Everything that a publisher may do against a subscriber that never reads.
#[test]
fn a_subscriber_that_never_reads_does_not_stop_publishers() {
    for (name, qos, size) in [("small", 0, 100), ("small, QoS 1", 1, 100), ("large", 0, 100_000), ("large, QoS 1", 1, 100_000)] {
        let mut bench = Bench::new(&[]);
        let (deaf, hears) = (bench.connect("deaf"), bench.connect("hears"));
        for id in [deaf, hears] {
            bench.send(id, &subscribe(1, &[("a", qos)]));
        }
        let publisher = bench.connect("pub");
        let body = "x".repeat(size);
        let started = bench.now;
        let (mut heard, mut published) = (0, 0);
        while published < 30_000_000 / size {
            let before = bench.sent.get(&publisher).map_or(0, Vec::len);
            if before == 0 {
                bench.send(publisher, &publish("a", &body, if qos == 0 { 0 } else { 1 }, false));
                published += 1;
            } else {
                bench.turn(publisher);
            }
            if bench.broker.hold_of(publisher).is_some() {
                bench.pass(100);
            }
            for line in bench.take(hears) {
                if let Some((_, id)) = line.split_once(" id") {
                    bench.send(hears, &puback(id.parse().unwrap()));
                }
                heard += 1;
            }
            bench.take(publisher);
            assert!(bench.broker.budget.used() <= 8 << 20, "{name}: {}", bench.broker.budget.used());
        }
        assert_eq!(heard, published + 1, "{name}: who reads gets all, and SUBACK");
        let status = bench.broker.status();
        assert!(status.dropped_qos0 + status.dropped_queue > 0, "{name}: {status:?}");
        let held = bench.now.since(started).as_millis();
        assert!(held <= 1_000, "{name}: held up {held} ms");
    }
}

/// A client that takes all and acknowledges nothing: what is kept to be sent again to it is bounded.
#[test]
fn a_session_that_never_acknowledges_is_kept_in_bounded_memory() {
    for (name, clients) in [("one", 1), ("many", 30)] {
        let mut bench = Bench::new(&[]);
        let greedy: Vec<_> = (0..clients).map(|i| bench.connect_as(&format!("greedy{i}"), false).0).collect();
        let (prompt, _) = bench.connect_as("prompt", false);
        let publisher = bench.connect("pub");
        for (i, id) in greedy.iter().enumerate() {
            bench.send(*id, &subscribe(1, &[(&format!("a/{i}"), 1)]));
        }
        bench.send(prompt, &subscribe(1, &[("b", 1)]));
        bench.take(prompt);
        let mut heard = 0;
        for round in 0..60 {
            for (i, id) in greedy.iter().enumerate() {
                bench.send(publisher, &publish(&format!("a/{i}"), &"x".repeat(100_000), 1, false));
                bench.take(*id);
            }
            bench.send(publisher, &publish("b", "small", 1, false));
            bench.take(publisher);
            bench.pass(100);
            for line in bench.take(prompt) {
                let (_, id) = line.split_once(" id").expect("a publish");
                bench.send(prompt, &puback(id.parse().unwrap()));
                heard += 1;
            }
            let used = bench.broker.budget.used();
            assert!(used <= if clients == 1 { 5 << 19 } else { 9 << 20 }, "{name}, round {round}: {used}");
        }
        assert_eq!(heard, 60, "{name}: who acknowledges gets all");
        assert!(bench.broker.status().dropped_queue > 0);
    }
}

#[test]
fn what_a_closed_connection_held_is_given_back() {
    let mut bench = Bench::new(&[]);
    let publisher = bench.connect("pub");
    for round in 0..3 {
        let (deaf, _) = bench.connect_as("deaf", round % 2 == 0);
        bench.send(deaf, &subscribe(1, &[("a", 1), ("b", 0)]));
        for i in 1..200 {
            bench.send(publisher, &publish("a", &"x".repeat(9_000), i, false));
            bench.send(publisher, &publish("b", &"x".repeat(900), 0, false));
            bench.pass(100);
        }
        bench.take(publisher);
        assert!(bench.broker.budget.used() > 1 << 20);
        bench.cut(deaf);
        bench.connect_as("deaf", true);
        let now = bench.now();
        bench.broker.sweep(now);
        assert_eq!(bench.broker.budget.used(), 0, "round {round}");
        let deaf = bench.connect("deaf");
        bench.cut(deaf);
    }
}

#[test]
fn all_output_together_is_bounded() {
    let mut bench = Bench::new(&[]);
    for i in 0..200 {
        let id = bench.connect(&format!("deaf{i}"));
        bench.send(id, &subscribe(1, &[("a", 0)]));
    }
    let publisher = bench.connect("pub");
    for _ in 0..1_000 {
        bench.send(publisher, &publish("a", &"x".repeat(1_000), 0, false));
        bench.pass(100);
    }
    assert!(bench.broker.budget.used() < (8 << 20) + 300_000, "{}", bench.broker.budget.used());
    assert!(bench.broker.status().dropped_qos0 > 100_000);
}

/// Nobody acknowledges anything to it and it sends nothing: only time wakes it.
#[test]
fn a_replay_that_waited_for_others_output_goes_on_by_itself() {
    let mut bench = Bench::new(&[]);
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("kept", "latest", 1, true));
    let deaf: Vec<_> = (0..40).map(|i| bench.connect(&format!("deaf{i}"))).collect();
    for id in &deaf {
        bench.send(*id, &subscribe(1, &[("a", 0)]));
    }
    while bench.broker.budget.used() <= 8 << 20 {
        bench.send(publisher, &publish("a", &"x".repeat(1_000), 0, false));
        bench.pass(100);
    }
    let new = bench.connect("new");
    bench.send(new, &subscribe(1, &[("kept", 0)]));
    assert_eq!(bench.take(new), ["SUBACK 1 [0]"]);
    deaf.iter().for_each(|id| bench.cut(*id));
    bench.pass(1_000);
    assert_eq!(bench.take(new), ["kept latest q0 retain"]);
}

#[test]
fn an_answer_does_not_wait_behind_deliveries_to_others_nor_they_behind_answers() {
    let mut bench = Bench::new(&[]);
    for i in 0..100 {
        let id = bench.connect(&format!("s{i}"));
        bench.send(id, &subscribe(1, &[("a", 0)]));
        bench.take(id);
    }
    let (publisher, third) = (bench.connect("publisher"), bench.connect("third"));
    while bench.broker.next_dirty().is_some() {}
    bench.send(publisher, &publish("a", "", 0, false));
    bench.send(third, &PING);
    let next = [bench.broker.next_dirty(), bench.broker.next_dirty()];
    assert!(next.contains(&Some(third)), "{next:?}");
    let answered: Vec<_> = (0..100).map(|i| bench.connect(&format!("p{i}"))).collect();
    for id in &answered {
        bench.send(*id, &PING);
    }
    let next = [bench.broker.next_dirty(), bench.broker.next_dirty()];
    assert!(next.iter().flatten().any(|id| !answered.contains(id)), "{next:?}");
}

/// Each may carry as much as a will or a filter is long, and the store may stand still for seconds.
#[test]
fn changes_of_sessions_that_are_not_committed_have_a_limit() {
    let mut bench = Bench::with(&[], limits(1 << 20));
    let will = |n: u32| "x".repeat(60_000) + &n.to_string();
    for n in 0..200 {
        let client = bench.open(false);
        say(&mut bench, client, &connect("c", false, 0, Some(("will", &will(n), 1, false))));
        bench.cut(client);
    }
    let bytes = bench.broker.owed.bytes();
    assert!((2 << 20..3 << 20).contains(&bytes), "{bytes} bytes of wills");
    let client = bench.open(false);
    say(&mut bench, client, &connect("other", false, 0, None));
    assert_eq!(bench.take(client), [""; 0]);
    bench.commit();
    assert_eq!(bench.take(client), ["CONNACK 0"]);
    let long = "f/".repeat(60) + &"x".repeat(60_000);
    for id in 1..=100 {
        say(&mut bench, client, &subscribe(id, &[(&long, 1)]));
    }
    let bytes = bench.broker.owed.bytes();
    assert!((2 << 20..3 << 20).contains(&bytes), "{bytes} bytes of filters");
    while bench.commit() {}
    bench.resume();
    assert_eq!(bench.take(client).len(), 100, "all are answered in the end");
}

/// It is not only what others send it that waits for a client which reads nothing: so do our answers.
#[test]
fn a_client_that_reads_no_answers_is_not_listened_to() {
    let mut bench = Bench::new(&[]);
    let client = bench.open(false);
    bench.send(client, &[connect("c", true, 10, None), subscribe(1, &[("large", 0)])].concat());
    bench.take(client);
    let pings = PING.repeat(400_000);
    assert_eq!(bench.send(client, &pings), Turn::Held);
    let held = bench.broker.output(client).map_or(0, |out| out.waiting());
    assert!(held <= 300 << 10, "{held}");
    let (mut seen, mut reads) = (0, 0);
    while seen < pings.len() {
        let got = bench.raw(client).len();
        assert!(got > 0, "held for ever, after {seen} bytes");
        (seen, reads) = (seen + got, reads + 1);
    }
    assert!(reads <= 2);
    assert_eq!((seen, bench.end_of(client)), (pings.len(), None));
    // A message for it, however large, does not shut its mouth.
    let publisher = bench.connect("pub");
    bench.send(publisher, &publish("large", &"x".repeat(1 << 20), 0, false));
    assert_eq!(bench.send(client, &PING.repeat(1_000)), Turn::Hungry);
    bench.raw(client);
    // It has gone silent.
    bench.send(client, &pings);
    bench.pass(14_000);
    assert_eq!(bench.end_of(client), None);
    bench.pass(2_000);
    assert_eq!(bench.end_of(client), Some(End::KeepAlive));
}

/// However many do it.
#[test]
fn answers_that_nobody_reads_are_bounded_together() {
    let mut bench = Bench::with(&[], Limits { output_max: 1 << 20, ..quiet() });
    for i in 0..100 {
        let client = bench.connect(&format!("c{i}"));
        bench.send(client, &PING.repeat(100_000));
    }
    assert!(bench.broker.budget.used() < 2 << 20, "{}", bench.broker.budget.used());
}

/// Each slow receiver may hold up its feeders for a tenth of the time; ten that take turns would do so all the time.
#[test]
fn receivers_that_are_slow_in_turn_do_not_stop_publishers() {
    let mut bench = Bench::new(&[]);
    let publisher = bench.connect("pub");
    for n in 0..10 {
        let own = format!("own/{n}");
        let (deaf, accomplice) = (bench.connect(&format!("deaf{n}")), bench.connect(&format!("accomplice{n}")));
        bench.send(deaf, &subscribe(1, &[("a", 0), (&own, 0)]));
        for _ in 0..4 {
            say(&mut bench, accomplice, &publish(&own, &"x".repeat(100_000), 0, false));
        }
        bench.pass(100);
    }
    let mut held = 0;
    for _ in 0..50 {
        bench.send(publisher, &publish("a", "", 0, false));
        held += u32::from(bench.broker.hold_of(publisher).is_some());
        bench.pass(100);
    }
    assert!(held <= 6, "{held} of 50 tenths of a second");
}

/// What waited for its packet id was accepted long ago: its publisher is held up when it goes out.
#[test]
fn a_slow_receiver_holds_up_a_publisher_whose_messages_wait_for_their_commit() {
    let mut bench = Bench::new(&[]);
    let deaf = bench.connect("deaf");
    bench.send(deaf, &subscribe(1, &[("a", 0)]));
    let publisher = bench.connect_as("pub", false).0;
    for id in 1..=4 {
        assert_eq!(bench.broker.hold_of(publisher), None, "{id}");
        bench.send(publisher, &publish2("a", &"x".repeat(100_000), id, false));
    }
    assert_eq!(bench.broker.hold_of(publisher), Some(Hold::Slow));
    bench.pass(200);
    assert_eq!(bench.broker.hold_of(publisher), None);
}
