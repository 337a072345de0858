//! What people ask and do while the broker runs: in slices, durable, and whatever the clients do at the same time.

use tokio::sync::oneshot;

use super::wire5::{connect5, subscribe5};
use super::*;
use crate::model::admin::{Act, Ask, ClearedPage, ClientDetail, ClientsPage, RetainedPage};

fn asked<T>(bench: &mut Bench, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> oneshot::Receiver<T> {
    let (reply, answer) = oneshot::channel();
    let now = bench.now();
    bench.broker.ask(ask(reply), now);
    bench.resume();
    answer
}

fn clients(bench: &mut Bench, from: usize) -> ClientsPage {
    asked(bench, |reply| Ask::Clients { from, reply }).try_recv().expect("an answer")
}

fn client(bench: &mut Bench, id: &str, from: usize) -> Option<ClientDetail> {
    asked(bench, |reply| Ask::Client { id: id.to_owned(), from, reply }).try_recv().expect("an answer")
}

fn kick(bench: &mut Bench, id: &str) -> Act {
    asked(bench, |reply| Ask::Kick { id: id.to_owned(), reply }).try_recv().expect("an answer")
}

/// The store commits at once.
fn forget(bench: &mut Bench, id: &str) -> Act {
    let mut answer = asked(bench, |reply| Ask::Forget { id: id.to_owned(), reply });
    bench.commit();
    answer.try_recv().expect("an answer")
}

fn clear(bench: &mut Bench, filter: &str, after: Option<Topic>) -> oneshot::Receiver<ClearedPage> {
    asked(bench, |reply| Ask::Clear { filter: TopicFilter::new(filter).unwrap(), after, reply })
}

fn retained(bench: &mut Bench, filter: &str, after: Option<Topic>) -> RetainedPage {
    asked(bench, |reply| Ask::Retained { filter: TopicFilter::new(filter).unwrap(), after, reply }).try_recv().expect("an answer")
}

#[test]
fn every_client_is_listed_once_a_page_at_a_time() {
    let mut bench = Bench::new(&[]);
    let all: Vec<_> = (0..700).map(|i| bench.connect(&format!("c{i:03}"))).collect();
    for id in all.iter().step_by(7) {
        bench.cut(*id);
    }
    let (mut listed, mut from, mut pages) = (Vec::new(), Some(0), 0);
    while let Some(at) = from {
        let page = clients(&mut bench, at);
        assert!(page.clients.len() <= ClientsPage::ROWS);
        listed.extend(page.clients.into_iter().map(|client| client.id));
        (from, pages) = (page.next, pages + 1);
    }
    listed.sort();
    let want: Vec<_> = (0..700).filter(|i| i % 7 != 0).map(|i| format!("c{i:03}")).collect();
    assert_eq!((listed, pages), (want, 3));
    assert_eq!(clients(&mut bench, usize::MAX), ClientsPage::default(), "a place that is none");
}

#[test]
fn a_session_is_its_users_while_its_client_is_away() {
    let mut bench = Bench::new(&[]);
    let id = bench.open(false);
    bench.send(id, &connect5("c", false, 60, &[]));
    for there in [true, false] {
        let described = client(&mut bench, "c", 0).expect("it is there").client;
        assert_eq!((described.user.as_deref(), described.connection.is_some()), (Some(door::SOMEBODY), there));
        bench.cut(id);
    }
}

#[test]
fn a_client_is_described_with_its_subscriptions_page_by_page() {
    let mut bench = Bench::new(&[]);
    let id = bench.open(true);
    bench.send(id, &connect5("c", false, 60, &[]));
    let filters: Vec<_> = (0..300).map(|i| format!("f/{i:03}")).collect();
    let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    bench.send(id, &subscribe5(1, 0, &filters));
    bench.now = bench.now + Duration::from_secs(5);
    let first = client(&mut bench, "c", 0).expect("it is there");
    let connection = first.client.connection.clone().expect("it is connected");
    assert_eq!((connection.listener.as_str(), connection.protocol.as_str()), ("restricted", "5.0"));
    assert_eq!((connection.since_ms, connection.keep_alive_s, first.client.expiry_s), (5_000, Some(65_535), Some(60)));
    assert_eq!((first.client.subscriptions, first.filters.len(), first.next), (300, 256, Some(256)));
    let second = client(&mut bench, "c", 256).expect("it is there");
    assert_eq!((second.filters.len(), second.filters[0].clone(), second.next), (44, ("f/256".to_owned(), 1), None));
    bench.cut(id);
    let away = client(&mut bench, "c", 0).expect("its session is kept");
    assert_eq!((away.client.connection, away.client.ends_in_ms, away.client.stored), (None, Some(60_000), true));
    assert_eq!(client(&mut bench, "d", 0), None);
}

#[test]
fn a_kicked_client_is_told_and_a_kept_session_stays() {
    let mut bench = Bench::new(&[]);
    let id = bench.open(false);
    bench.send(id, &connect5("c", false, 60, &[]));
    bench.take(id);
    let old = bench.connect("old");
    assert_eq!([kick(&mut bench, "c"), kick(&mut bench, "old"), kick(&mut bench, "nobody")], [Act::Done, Act::Done, Act::Unknown]);
    assert_eq!(bench.take(id), ["DISCONNECT 152"]);
    assert_eq!((bench.take(old), bench.end_of(old)), (vec![], Some(End::Kicked)), "3.1.1 has no word for it");
    assert_eq!([kick(&mut bench, "c"), kick(&mut bench, "old")], [Act::Away, Act::Unknown], "only a kept session is still there");
    bench.broker.gone(id);
    assert!(bench.connect_as("c", false).1, "it comes back to it");
}

#[test]
fn a_session_is_forgotten_for_good_before_that_is_said() {
    let mut bench = Bench::new(&[]);
    let (id, _) = bench.connect_as("c", false);
    let mut answer = asked(&mut bench, |reply| Ask::Forget { id: "c".to_owned(), reply });
    assert!(answer.try_recv().is_err(), "the store does not know it yet");
    assert_eq!(bench.end_of(id), Some(End::Kicked));
    bench.commit();
    assert_eq!(answer.try_recv().expect("an answer"), Act::Done);
    assert!(!bench.connect_as("c", false).1);
    assert_eq!(forget(&mut bench, "nobody"), Act::Unknown);
}

#[test]
fn retained_messages_are_listed_and_removed_in_slices_and_for_good() {
    let mut bench = Bench::with(&[], Limits { sys_interval: Duration::from_secs(1), ..Limits::default() });
    let id = bench.connect("c");
    for i in 0..600 {
        bench.send(id, &publish(&format!("a/{i:03}"), "21.5", 1, true));
    }
    bench.send(id, &publish("b", "x", 1, true));
    bench.pass(2_000);
    assert!(!retained(&mut bench, "$SYS/#", None).messages.is_empty());
    let page = retained(&mut bench, "a/#", None);
    assert_eq!((page.messages.len(), page.next.as_deref()), (RetainedPage::ROWS, Some("a/255")));
    assert_eq!((page.messages[0].topic.as_str(), page.messages[0].preview.as_str(), page.messages[0].qos), ("a/000", "21.5", 1));
    bench.puts();
    let mut cleared = Vec::new();
    let mut after = None;
    loop {
        let mut answer = clear(&mut bench, "a/#", after.clone());
        assert!(answer.try_recv().is_err(), "the store does not know it yet");
        let rows = bench.puts().iter().filter(|put| put.contains("RetainedGone")).count();
        let page = answer.try_recv().expect("the store knows it");
        assert_eq!(page.cleared, rows);
        cleared.push(page.cleared);
        match page.next {
            Some(next) => after = Some(Topic::new(&next).unwrap()),
            None => break,
        }
    }
    assert_eq!(cleared, [256, 256, 88]);
    assert_eq!(retained(&mut bench, "#", None).messages.len(), 1, "only b is left");
    assert_eq!(clear(&mut bench, "$SYS/#", None).try_recv().expect("nothing to wait for").cleared, 0, "the broker's own words stay");
}

/// A filter that matches nothing of what it has to look at ends its slice all the same.
#[test]
fn a_slice_ends_also_where_nothing_matches() {
    let mut bench = Bench::new(&[]);
    let id = bench.connect("c");
    for i in 0..5_000 {
        bench.send(id, &publish(&format!("t/{i:04}"), "x", 0, true));
    }
    let page = retained(&mut bench, "+/none", None);
    assert_eq!((page.messages.len(), page.next.as_deref()), (0, Some("t/2047")));
}

#[test]
fn before_the_start_nothing_is_answered() {
    let mut bench = Bench::unstarted(&[], quiet());
    assert!(asked(&mut bench, |reply| Ask::Clients { from: 0, reply }).try_recv().is_err());
    assert!(asked(&mut bench, |reply| Ask::Forget { id: "c".to_owned(), reply }).try_recv().is_err());
}

/// Connect, subscribe, publish, cut, kick and forget of the same few client ids, in any order.
#[test]
fn kicks_that_race_with_their_clients_leave_nothing_behind() {
    for seed in 0..40_u64 {
        let mut bench = Bench::new(&[]);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut lines: Vec<ConnId> = Vec::new();
        for step in 0..300 {
            let name = format!("c{}", random(3));
            match random(8) {
                0 | 1 => {
                    let id = bench.open(false);
                    let (clean, expiry) = (random(2) == 0, if random(2) == 0 { 0 } else { 60 });
                    bench.send(id, &connect5(&name, clean, expiry, &[]));
                    lines.push(id);
                }
                2 => drop(kick(&mut bench, &name)),
                3 => drop(asked(&mut bench, |reply| Ask::Forget { id: name, reply })),
                4 => drop(bench.commit()),
                action => {
                    if let Some(&id) = lines.get(random(lines.len().max(1) as u64) as usize) {
                        match action {
                            5 => drop(bench.send(id, &subscribe5(1, 0, &[("a/#", 2), ("$share/g/b", 1)]))),
                            6 => drop(bench.send(id, &wire5::publish5(0x34, "a/b", 1 + random(9) as u16, &[], "x"))),
                            _ => bench.cut(id),
                        }
                    }
                }
            }
            let of_conns = bench.broker.conns.iter().filter(|(_, conn)| conn.session.is_some()).count();
            let of_sessions = bench.broker.sessions.iter().filter(|(_, session)| session.conn.is_some()).count();
            assert_eq!(of_conns, of_sessions, "seed {seed}, step {step}");
            assert_eq!(bench.broker.by_client.len(), bench.broker.sessions.len(), "seed {seed}, step {step}");
        }
        while bench.commit() {}
        for id in lines {
            bench.raw(id);
            bench.cut(id);
        }
        for name in ["c0", "c1", "c2"] {
            forget(&mut bench, name);
        }
        let broker = &bench.broker;
        assert_eq!((broker.sessions.len(), broker.conns.len(), broker.durable, broker.budget.used()), (0, 0, 0, 0), "seed {seed}");
        assert!(broker.gates.is_empty() && broker.deadlines.is_empty() && broker.waiting.is_empty(), "seed {seed}");
    }
}
