//! Acts whose size others choose go in turns: none holds the thread for long.

use super::qos2::{publish2, say};
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
