//! The life of sessions and wills: expiry, delay, what the store is told of them, what comes back from it.

use super::qos2::{say, told};
use super::wire5::{connect5, properties, subscribe5};
use super::*;
use crate::model::{
    Due, DueState, Entry, Publisher, Restored, SessionId, StateChange, StoredSession, StoredWill, SubscribeOptions, Subscription,
};

/// Session 1 of an earlier run.
const OLD: SessionId = SessionId(EntryId::new(EPOCH - 1, 1));

/// A CONNECT of 5.0 with a will at QoS 1 on `will`, body "gone".
fn with_will(client: &str, clean: bool, expiry: u32, delay: u32) -> Vec<u8> {
    let block = properties(&[&[0x11], &expiry.to_be_bytes()]);
    let will = [properties(&[&[0x18], &delay.to_be_bytes()]), string("will"), string("gone")].concat();
    packet(0x10, &[&string("MQTT"), &[5, 0x0c | u8::from(clean) << 1], &[0, 0], &block, &string(client), &will])
}

fn stored(client: &str, expiry: u32) -> StoredSession {
    StoredSession {
        id: OLD,
        client: client.into(),
        user: Some(door::SOMEBODY.into()),
        expiry,
        left_ms: None,
        listener: "open".into(),
        will: None,
    }
}

fn subscribed(filter: &str, qos: QoS) -> Restored {
    let subscription = Subscription { filter: TopicFilter::new(filter).unwrap(), options: SubscribeOptions::at(qos), identifier: None };
    Restored::Subscription { session: OLD, subscription }
}

fn entry(counter: u64, topic: &str, qos: QoS, state: DueState) -> Restored {
    let due = Due { session: OLD, qos, retain: false, identifiers: [].into(), state, prompt: false };
    let entry = Entry::new(Topic::new(topic).unwrap(), Body::raw(format!("m{counter}").into()));
    Restored::Entry(Entry { id: EntryId::new(EPOCH - 1, counter), due: vec![due], qos, ..entry })
}

fn restored(pages: Vec<Vec<Restored>>) -> Bench {
    let mut bench = Bench::unstarted(&[], quiet());
    for page in pages {
        bench.outbox(OutboxToBroker::Restored(page));
    }
    bench.started()
}

#[test]
fn a_session_lives_for_its_expiry_interval_after_its_connection() {
    for (expiry, away_s, lives) in [(0, 0, false), (10, 9, true), (10, 11, false), (u32::MAX, 1_000_000, true)] {
        let mut bench = Bench::new(&[]);
        let client = bench.open(false);
        bench.send(client, &[connect5("c", false, expiry, &[]), subscribe5(1, 0, &[("a", 1)])].concat());
        bench.cut(client);
        bench.skip(away_s * 1_000);
        assert_eq!(bench.broker.status().sessions, u64::from(lives), "{expiry} {away_s}");
        assert_eq!(bench.broker.status().sessions_expired, u64::from(expiry > 0 && !lives), "{expiry} {away_s}");
        let ended = told(&mut bench).iter().any(|line| line.ends_with(": ended"));
        assert_eq!(ended, expiry > 0 && !lives, "{expiry} {away_s}");
        let again = bench.open(false);
        bench.send(again, &connect5("c", false, expiry, &[]));
        let present = bench.take(again).first().is_some_and(|line| line == "CONNACK 0 present");
        assert_eq!(present, lives, "{expiry} {away_s}");
    }
}

#[test]
fn disconnect_may_change_the_expiry_but_not_give_one() {
    for (at_connect, at_disconnect, lives) in
        [(100, None, true), (100, Some(0u32), false), (5, Some(100), true), (100, Some(5), false), (0, None, false)]
    {
        let mut bench = Bench::new(&[]);
        let client = bench.open(false);
        bench.send(client, &connect5("c", true, at_connect, &[]));
        let block = at_disconnect.map_or_else(|| vec![0], |seconds| properties(&[&[0x11], &seconds.to_be_bytes()]));
        bench.send(client, &packet(0xe0, &[&[0], &block]));
        assert_eq!(bench.end_of(client), Some(End::Disconnect));
        assert_eq!(bench.take(client)[1..], [""; 0], "nothing after the client's DISCONNECT");
        bench.skip(10_000);
        assert_eq!(bench.broker.status().sessions, u64::from(lives), "{at_connect} {at_disconnect:?}");
    }
    let mut bench = Bench::new(&[]);
    let client = bench.open(false);
    bench.send(client, &connect5("c", true, 0, &[]));
    bench.send(client, &packet(0xe0, &[&[0], &properties(&[&[0x11], &1u32.to_be_bytes()])]));
    assert_eq!(bench.take(client)[1..], ["DISCONNECT 130"]);
}

#[test]
fn an_expiry_above_the_ceiling_is_lowered_and_said() {
    let mut bench = Bench::with(&[], Limits { session_expiry_max: 60, keep_alive_max: 30, ..quiet() });
    let client = bench.open(false);
    bench.send(client, &connect5("c", false, 100, &[]));
    let connack = bench.raw(client);
    assert!(connack.windows(5).any(|w| w == [0x11, 0, 0, 0, 60]), "{connack:02x?}");
    assert!(connack.windows(3).any(|w| w == [0x13, 0, 30]), "no keep-alive is lowered, too: {connack:02x?}");
    bench.cut(client);
    let (old, _) = bench.connect_as("3.1.1", false);
    bench.cut(old);
    assert_eq!(bench.broker.status().sessions, 2);
    bench.skip(61_000);
    assert_eq!(bench.broker.status().sessions, 0);
    let client = bench.open(false);
    bench.send(client, &connect5("c", false, 60, &[]));
    bench.skip(46_000);
    assert_eq!(bench.end_of(client), Some(End::KeepAlive));
    assert_eq!(bench.take(client)[1..], ["DISCONNECT 141"]);
    let old = bench.open(false);
    bench.send(old, &connect("3.1.1", true, 0, None));
    bench.skip(44_000);
    assert_eq!(bench.end_of(old), None);
    bench.skip(2_000);
    assert_eq!(bench.end_of(old), Some(End::KeepAlive), "it may not be silent for ever");
}

#[test]
fn a_will_waits_for_its_delay_or_for_the_end_of_its_session() {
    let back = |bench: &mut Bench, clean| {
        let client = bench.open(false);
        bench.send(client, &with_will("c", clean, 100, 20));
    };
    for (name, expiry, delay, act, at_s, published) in [
        ("no delay", 100, 0, None, 0, true),
        ("before the delay is over", 100, 20, None, 19, false),
        ("after it", 100, 20, None, 21, true),
        ("the session ends first", 10, 20, None, 11, true),
        ("it ends with the connection", 0, 20, None, 0, true),
        ("the client is back in time", 100, 20, Some(false), 60, false),
        ("the client begins anew", 100, 20, Some(true), 0, true),
    ] {
        let mut bench = Bench::new(&[]);
        let watch = bench.connect("watch");
        bench.send(watch, &subscribe(1, &[("will", 0)]));
        let client = bench.open(false);
        bench.send(client, &with_will("c", true, expiry, delay));
        bench.cut(client);
        if let Some(clean) = act {
            back(&mut bench, clean);
        }
        bench.skip(at_s * 1_000);
        let seen = bench.take(watch);
        assert_eq!(seen[1..].iter().any(|line| line == "will gone q0"), published, "{name}: {seen:?}");
        assert!(seen.len() <= 2, "{name}: once");
    }
}

#[test]
fn a_goodbye_takes_the_will_back_unless_it_says_otherwise() {
    for (reason, published) in [(0, false), (4, true), (0x80, true)] {
        let mut bench = Bench::new(&[]);
        let watch = bench.connect("watch");
        bench.send(watch, &subscribe(1, &[("will", 0)]));
        let client = bench.open(false);
        bench.send(client, &with_will("c", true, 0, 0));
        bench.send(client, &packet(0xe0, &[&[reason]]));
        bench.resume();
        assert_eq!(bench.take(watch).len() == 2, published, "{reason}");
    }
}

/// The store has what it needs after a crash at any time, and a client that says the same each time costs no write.
#[test]
fn a_row_is_written_when_it_changes() {
    let mut bench = Bench::new(&[]);
    let enter = |bench: &mut Bench, bytes: &[u8]| {
        let client = bench.open(false);
        say(bench, client, bytes);
        let told = told(bench);
        bench.secured(&[(1, 1_000)]);
        bench.turn(client);
        (client, told)
    };
    let (client, first) = enter(&mut bench, &connect("c", false, 0, None));
    assert_eq!(first, ["1: session c"]);
    bench.cut(client);
    let (client, again) = enter(&mut bench, &connect("c", false, 0, None));
    assert_eq!(again, [""; 0], "nothing is new");
    bench.send(client, &DISCONNECT);
    assert_eq!(told(&mut bench), [""; 0]);
    let (client, will) = enter(&mut bench, &connect("c", false, 0, Some(("will", "gone", 1, false))));
    assert_eq!(will, ["2: session c"]);
    bench.send(client, &DISCONNECT);
    assert_eq!(told(&mut bench), ["3: session c"], "without its will");
    let (client, _) = enter(&mut bench, &connect("c", false, 0, Some(("will", "gone", 1, true))));
    bench.broker.lost(client, End::Eof, bench.now());
    assert_eq!(told(&mut bench), [""; 0], "its row has the will until that is published");
    bench.resume();
    assert_eq!(told(&mut bench), ["5: entry will []", "6: session c"]);
    let (client, clean) = enter(&mut bench, &connect("c", true, 0, None));
    assert_eq!(clean, ["7: ended"]);
    assert_eq!(bench.take(client), ["CONNACK 0"], "it waited for the commit");
}

#[test]
fn a_connack_that_discards_a_session_waits_for_the_commit() {
    let mut bench = Bench::new(&[]);
    let (client, _) = bench.connect_as("c", false);
    bench.cut(client);
    let client = bench.open(false);
    say(&mut bench, client, &connect("c", true, 0, None));
    let ended = told(&mut bench).pop().unwrap();
    assert!(ended.ends_with(": ended"), "{ended}");
    assert_eq!(bench.take(client), [""; 0]);
    bench.secured(&[(1, 100)]);
    assert_eq!(bench.take(client), ["CONNACK 0"]);
}

/// That there is no session is true only once the end of the last one is committed, whoever asked for it.
#[test]
fn a_connack_without_a_session_waits_for_the_end_of_the_last_one() {
    let discarded: fn(&mut Bench, ConnId) = |bench, client| {
        bench.cut(client);
        let cleaner = bench.open(false);
        say(bench, cleaner, &connect("c", true, 0, None));
        bench.cut(cleaner);
    };
    let ended: fn(&mut Bench, ConnId) = |bench, client| say(bench, client, &packet(0xe0, &[&[0], &properties(&[&[0x11, 0, 0, 0, 0]])]));
    let expired: fn(&mut Bench, ConnId) = |bench, client| {
        bench.cut(client);
        bench.skip(101_000);
    };
    let overtaken: fn(&mut Bench, ConnId) = |bench, client| {
        bench.cut(client);
        let slow = bench.open(false);
        say(bench, slow, &connect("c", true, 0, None));
    };
    for (name, end) in [("discarded", discarded), ("ended", ended), ("expired", expired), ("overtaken", overtaken)] {
        for clean in [true, false] {
            let mut bench = Bench::new(&[]);
            let client = bench.open(false);
            bench.send(client, &connect5("c", false, 100, &[]));
            end(&mut bench, client);
            assert_eq!(told(&mut bench).last().map(String::as_str), Some("2: ended"), "{name}");
            let again = bench.open(false);
            say(&mut bench, again, &connect("c", clean, 0, None));
            assert_eq!(bench.take(again), [""; 0], "{name}");
            let other = bench.open(false);
            say(&mut bench, other, &connect("d", clean, 0, None));
            assert_eq!(bench.take(other), ["CONNACK 0"], "{name}");
            bench.secured(&[(2, 2)]);
            assert_eq!(bench.take(again), ["CONNACK 0"], "{name}");
            assert_eq!(bench.end_of(again), None, "{name}: the later one has the session");
        }
    }
}

/// Its client may be back at once, and has no CONNACK before.
#[test]
fn the_end_of_a_session_that_its_client_ends_is_committed_without_delay() {
    let mut bench = Bench::new(&[]);
    let client = bench.open(false);
    bench.send(client, &connect5("c", false, 100, &[]));
    say(&mut bench, client, &packet(0xe0, &[&[0], &properties(&[&[0x11, 0, 0, 0, 0]])]));
    bench.put.extend(bench.broker.take_pending());
    let awaited = bench.put.iter().filter_map(|put| match put {
        Put::Change(change) => matches!(change.what, StateChange::SessionEnded(_)).then_some(change.awaited),
        _ => None,
    });
    assert_eq!(awaited.collect::<Vec<_>>(), [true]);
}

#[test]
fn what_the_store_held_comes_back() {
    let received = Restored::Received { session: OLD, packet_id: 9 };
    let retained = crate::model::RetainedMessage {
        topic: Topic::new("kept").unwrap(),
        body: Body::raw("value".into()),
        qos: QoS::AtLeastOnce,
        properties: bytes::Bytes::new(),
        expires: None,
        source: Publisher::Gateway,
    };
    let sent = [DueState::Sent(5), DueState::Released(6), DueState::Queued];
    let mut entries: Vec<_> = (2..).zip(sent).map(|(n, state)| entry(n, "a", QoS::ExactlyOnce, state)).collect();
    entries.push(entry(5, "a", QoS::AtLeastOnce, DueState::Queued));
    let mut bench = restored(vec![
        vec![Restored::Session(stored("c", u32::MAX))],
        vec![subscribed("a", QoS::ExactlyOnce), received],
        entries,
        vec![Restored::Retained(retained)],
    ]);
    let client = bench.open(false);
    say(&mut bench, client, &connect("c", false, 0, None));
    assert_eq!(bench.take(client), ["CONNACK 0 present", "a m2 q2 id5 dup", "PUBREL 6", "a m5 q1 id8"]);
    let told = told(&mut bench);
    assert_eq!(told, ["1: due of 4 sent 7"], "its QoS 2 PUBLISH waits for its row; the client's own row is as it was");
    bench.secured(&[(1, 1)]);
    assert_eq!(bench.take(client), ["a m4 q2 id7"]);
    bench.send(client, &packet(0x3c, &[&string("b"), &9u16.to_be_bytes(), b"again"]));
    assert_eq!(bench.take(client), ["PUBREC 9"], "an id that it held is held");
    bench.send(client, &publish("a", "new", 3, false));
    assert_eq!(bench.take(client), ["a new q1 id9", "PUBACK 3"], "its subscription is there");
    bench.send(client, &subscribe(2, &[("kept", 0)]));
    let mut last = bench.take(client);
    last.sort_unstable();
    assert_eq!(last, ["SUBACK 2 [0]", "kept value q0 retain"], "in either order (3.8.4)");
}

#[test]
fn a_client_is_let_in_only_once_all_is_back() {
    let mut bench = Bench::unstarted(&[], quiet());
    let client = bench.open(false);
    bench.send(client, &connect("c", false, 0, None));
    bench.outbox(OutboxToBroker::Restored(vec![Restored::Session(stored("c", u32::MAX))]));
    assert_eq!(bench.take(client), [""; 0]);
    let mut bench = bench.started();
    assert_eq!(bench.take(client), ["CONNACK 0 present"]);
}

#[test]
fn a_restored_session_counts_as_left_at_the_start() {
    let will = StoredWill {
        topic: Topic::new("will").unwrap(),
        body: "gone".into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: bytes::Bytes::new(),
        expiry: None,
        delay: 5,
    };
    let mut row = StoredSession { left_ms: Some(20_000), will: Some(will), ..stored("c", 100) };
    for (at_s, sessions, published) in [(4, 1, false), (6, 1, true), (19, 1, true), (21, 0, true)] {
        let mut bench = restored(vec![vec![Restored::Session(row.clone())]]);
        bench.skip(at_s * 1_000);
        let status = bench.broker.status();
        assert_eq!((status.sessions, status.retained), (sessions, u64::from(published)), "after {at_s} s");
        let told = told(&mut bench);
        assert_eq!(told.iter().any(|line| line.contains(": session c")), published, "its row goes without the will: {told:?}");
    }
    row.expiry = 3;
    row.left_ms = None;
    let mut bench = restored(vec![vec![Restored::Session(row)]]);
    bench.skip(4_000);
    assert_eq!((bench.broker.status().sessions, bench.broker.status().retained), (0, 1), "the will at the session's end");
}

#[test]
fn what_is_restored_may_be_more_than_the_limits_of_today() {
    let limits = Limits { session_queue: 2, output_max: 100, ..quiet() };
    let mut bench = Bench::unstarted(&[], limits);
    let entries = (2..12).map(|n| entry(n, "a", QoS::AtLeastOnce, DueState::Queued));
    let page = [Restored::Session(stored("c", u32::MAX)), subscribed("a", QoS::AtLeastOnce)].into_iter().chain(entries);
    bench.outbox(OutboxToBroker::Restored(page.collect()));
    let mut bench = bench.started();
    let (client, present) = bench.connect_as("c", false);
    assert!(present);
    assert_eq!(bench.take(client).len(), 10);
    assert_eq!(bench.broker.status().dropped_queue, 0);
}

#[test]
fn mass_expiry_goes_in_turns() {
    let mut bench = Bench::with(&[], Limits { connections_max: 2_000, ..quiet() });
    for i in 0..3_000 {
        let client = bench.open(false);
        bench.send(client, &[connect5(&format!("c{i}"), false, 10, &[]), subscribe5(1, 0, &[("a", 1)])].concat());
        bench.broker.lost(client, End::Eof, bench.now());
        bench.broker.gone(client);
    }
    bench.now = bench.now + Duration::from_secs(11);
    let now = bench.now();
    let mut turns = 1;
    while bench.broker.chores(now) {
        turns += 1;
    }
    assert_eq!(bench.broker.status().sessions, 0);
    assert!(turns >= 3, "{turns}");
}

#[test]
fn what_nobody_waits_for_is_written_once_an_hour_and_at_the_end() {
    let mut bench = Bench::new(&[]);
    let client = bench.connect("c");
    bench.inject("p/a", "1", true);
    bench.send(client, &publish("p/b", "1", 0, true));
    bench.skip(3_500_000);
    bench.inject("p/a", "2", true);
    assert_eq!(told(&mut bench), [""; 0]);
    bench.skip(200_000);
    assert_eq!(told(&mut bench), ["1: retained p/a", "2: retained p/b"]);
    bench.secured(&[(1, 2)]);
    bench.skip(3_600_000);
    assert_eq!(told(&mut bench), [""; 0], "nothing is new");
    bench.inject("p/a", "3", true);
    let now = bench.now();
    bench.broker.begin_stop(now);
    bench.resume();
    assert_eq!(told(&mut bench), ["3: retained p/a"]);
    assert!(!bench.broker.is_idle(), "the end waits for it");
    bench.secured(&[(3, 3)]);
    assert!(bench.broker.is_idle());
}

#[test]
fn what_is_left_of_a_session_is_written_once_an_hour_and_at_the_end() {
    let mut bench = Bench::new(&[]);
    let enter = |bench: &mut Bench| {
        let client = bench.open(false);
        bench.send(client, &connect5("c", false, 36_000, &[]));
        client
    };
    let client = enter(&mut bench);
    let (never, _) = bench.connect_as("never", false);
    drop(told(&mut bench));
    bench.cut(client);
    bench.cut(never);
    assert_eq!(told(&mut bench), [""; 0], "all of it is left");
    bench.skip(3_600_000);
    let hourly = told(&mut bench);
    assert!(matches!(&hourly[..], [line] if line.ends_with(": session c left 32400")), "{hourly:?}");
    let client = enter(&mut bench);
    let back = told(&mut bench);
    assert!(matches!(&back[..], [line] if line.ends_with(": session c")), "{back:?}");
    bench.cut(client);
    bench.skip(1_000_000);
    let now = bench.now();
    bench.broker.begin_stop(now);
    bench.resume();
    let end = told(&mut bench);
    assert!(matches!(&end[..], [line] if line.ends_with(": session c left 35000")), "{end:?}");
}

/// A will with a delay waits for the next start; every other is published before the connections end.
#[test]
fn at_an_orderly_stop_only_a_delayed_will_stays() {
    for (name, expiry, delay, published) in
        [("brief", 0, 0, true), ("brief, delayed", 0, 9, true), ("kept", 100, 0, true), ("kept, delayed", 100, 9, false)]
    {
        let mut bench = Bench::new(&[]);
        let watch = bench.connect("watch");
        bench.send(watch, &subscribe(1, &[("will", 0)]));
        let client = bench.open(false);
        bench.send(client, &with_will("c", true, expiry, delay));
        drop(told(&mut bench));
        let now = bench.now();
        bench.broker.begin_stop(now);
        bench.resume();
        bench.broker.lost(client, End::Stop, now);
        bench.resume();
        assert_eq!(bench.take(watch).len() == 2, published, "{name}");
        let told = told(&mut bench);
        assert_eq!(
            told.iter().any(|line| line.ends_with("session c")),
            expiry > 0 && published,
            "{name}: its row goes without it: {told:?}"
        );
    }
}

/// 5.0, 3.8.3.1: no local asks who published, and a will is its client's.
#[test]
fn a_will_does_not_come_back_to_a_client_that_wants_none_of_its_own() {
    let mut bench = Bench::new(&[]);
    let watch = bench.connect("watch");
    bench.send(watch, &subscribe(1, &[("will", 0)]));
    let client = bench.open(false);
    bench.send(client, &[with_will("c", false, 100, 0), subscribe5(1, 0, &[("will", 0x05)])].concat());
    bench.cut(client);
    assert_eq!(bench.take(watch), ["SUBACK 1 [0]", "will gone q0"]);
    let client = bench.open(false);
    bench.send(client, &connect5("c", false, 100, &[]));
    assert_eq!(bench.take(client), ["CONNACK 0 present"]);
}
