//! Acts whose size others choose go in turns: none holds the thread for long.

use super::qos2::{publish2, say};
use super::wire5::{connect5, properties};
use super::*;

/// Packets that one turn may write: its budget, and the last message whole.
const TURN_MAX: u64 = 4_096 + 1_000;

/// All that was put is secured at once: the most packets that one turn writes of what that frees, and all of them.
fn secure_all(bench: &mut Bench) -> (u64, u64) {
    let now = bench.now();
    let range = IdRange { first: EntryId::new(EPOCH, 1), last: bench.broker.owed.next_id() };
    let mut packets = vec![bench.broker.budget.packets()];
    bench.broker.outbox(OutboxToBroker::Secured(vec![range]), now);
    loop {
        packets.push(bench.broker.budget.packets());
        if !bench.broker.chores(now) {
            break;
        }
    }
    packets.push(bench.broker.budget.packets());
    let most = packets.windows(2).map(|pair| pair[1] - pair[0]).max();
    (most.unwrap_or_default(), packets[packets.len() - 1] - packets[0])
}

fn session(bench: &mut Bench, client: &str, filters: &[(&str, u8)]) -> ConnId {
    let id = bench.connect_as(client, false).0;
    bench.send(id, &subscribe(1, filters));
    bench.take(id);
    id
}

/// One commit frees what a publisher has sent at QoS 2 for a long time, each message for many.
#[test]
fn messages_that_waited_for_one_commit_go_to_their_receivers_in_turns() {
    let mut bench = Bench::with(&[], Limits { output_max: 1 << 30, ..quiet() });
    let subscribers: Vec<_> = (0..200).map(|i| bench.connect(&format!("s{i}"))).collect();
    for id in &subscribers {
        bench.send(*id, &subscribe(1, &[("a", 0)]));
        bench.take(*id);
    }
    let publisher = session(&mut bench, "pub", &[("none", 0)]);
    for id in 1..=500 {
        say(&mut bench, publisher, &publish2("a", &id.to_string(), id, false));
    }
    let (most, all) = secure_all(&mut bench);
    assert_eq!(all, 500 * 201);
    assert!(most <= TURN_MAX, "{most} in one turn");
    let want: Vec<_> = (1..=500).map(|n| format!("a {n} q0")).collect();
    for id in subscribers {
        assert_eq!(bench.take(id), want);
    }
    assert_eq!(bench.take(publisher).len(), 500);
}

/// One commit opens what waits for it in many sessions.
#[test]
fn packets_of_many_sessions_that_waited_for_one_commit_leave_in_turns() {
    let mut bench = Bench::with(&[], Limits { output_max: 1 << 30, ..quiet() });
    let subscribers: Vec<_> = (0..100).map(|i| session(&mut bench, &format!("s{i}"), &[("a", 2)])).collect();
    let publisher = bench.connect("pub");
    for id in 1..=200 {
        say(&mut bench, publisher, &publish2("a", &id.to_string(), id, false));
    }
    let (most, all) = secure_all(&mut bench);
    assert_eq!(all, 200 * 101);
    assert!(most <= TURN_MAX / 4, "{most} in one turn");
    let want: Vec<_> = (1..=200).map(|n| format!("a {n} q2 id{n}")).collect();
    for id in subscribers {
        assert_eq!(bench.take(id), want);
    }
}

/// Most deliveries' worth of work lies elsewhere: in looking for those who are to get it, or for what was there before. The bytes of `input` that
/// one turn takes, of 64 KiB.
fn taken(bench: &mut Bench, id: ConnId, input: &[u8]) -> usize {
    let now = bench.now();
    let applied = bench.broker.apply(id, &input[..input.len().min(64 << 10)], now);
    assert_eq!(applied.turn, Turn::Again);
    bench.raw(id);
    applied.used
}

/// Filters whose levels are `a` or `+` in every combination: a topic of as many `a`s leads to all of them.
#[test]
fn a_topic_that_leads_through_most_of_the_tree_costs_what_it_takes() {
    let mut bench = Bench::new(&[]);
    let id = bench.connect("c");
    let level = |bits: u32, n: u32| if bits >> n & 1 == 1 { "+" } else { "a" };
    let names: Vec<String> = (0..512).map(|bits| (0..9).map(|n| level(bits, n)).collect::<Vec<_>>().join("/") + "/z").collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    bench.send(id, &subscribe(1, &filters));
    bench.take(id);
    let of = |n: u32| publish(&format!("{}/{n}", ["a"; 9].join("/")), "", 0, false);
    let used = taken(&mut bench, id, &(0..2_000).flat_map(of).collect::<Vec<_>>());
    assert!(used <= 5 * of(1_000).len(), "{used} bytes");
}

#[test]
fn filters_of_a_session_that_has_many_cost_what_it_takes_to_find_them() {
    let mut bench = Bench::new(&[]);
    let id = bench.connect("c");
    let names: Vec<String> = (0..1_024).map(|n| format!("f/{n:04}")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let all = subscribe(1, &filters);
    assert_eq!(taken(&mut bench, id, &all.repeat(5)), all.len());
    let none: Vec<u8> = (0..2_000).flat_map(|n| unsubscribe(1, &format!("none/{n:04}"))).collect();
    assert!(taken(&mut bench, id, &none) <= 100 * unsubscribe(1, "none/1234").len());
}

#[test]
fn what_all_clients_have_together_costs_what_it_takes_to_add_up() {
    let mut bench = Bench::new(&[]);
    for n in 0..900 {
        bench.connect(&format!("c{n}"));
    }
    let id = bench.connect("many");
    for n in 1..=256 {
        bench.send(id, &publish2("t", "", n, false));
    }
    bench.raw(id);
    let more: Vec<u8> = (300..8_000).flat_map(|n| publish2("t", "", n, false)).collect();
    assert!(taken(&mut bench, id, &more) <= 50 * publish2("t", "", 300, false).len());
    let id = bench.open(false);
    bench.send(id, &connect5("names", true, 0, &[]));
    bench.raw(id);
    let named = packet(0x30, &[&string(&"t".repeat(300)), &properties(&[&[0x23, 0, 1]])]);
    assert!(taken(&mut bench, id, &named.repeat(200)) <= 5 * named.len());
}

/// A thousand clients behind one switch: silent together, and over together.
#[test]
fn clients_that_fall_silent_together_are_ended_in_turns_and_every_will_is_published() {
    let mut bench = Bench::with(&[], Limits { connections_max: 3_000, ..quiet() });
    let watcher = bench.connect("watcher");
    bench.send(watcher, &subscribe(1, &[("will", 0)]));
    for n in 0..2_000 {
        let id = bench.open(false);
        bench.send(id, &connect(&format!("c{n}"), true, 10, Some(("will", "gone", 0, false))));
    }
    bench.now = bench.now + Duration::from_secs(16);
    let (now, mut turns) = (bench.now(), 1);
    while bench.broker.sweep(now) {
        turns += 1;
        assert!(bench.broker.sessions.len() + turns * 128 >= 2_001, "{turns} turns");
    }
    assert_eq!((bench.broker.sessions.len(), turns), (1, 16));
    bench.resume();
    assert_eq!(bench.take(watcher).len(), 2_001);
}
