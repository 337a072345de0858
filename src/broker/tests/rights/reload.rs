//! The site's lists are read anew while clients are there.

use super::*;

const ROOT: &str = "user root\ntopic readwrite #\n";

#[test]
fn who_loses_a_right_is_disconnected_and_others_stay() {
    let before = "user u\ntopic a\ntopic read b\nuser v\ntopic a\n";
    for version in [4, 5] {
        for (now, u, v) in [
            (before, true, true),
            ("user u\ntopic a\ntopic b\nuser v\ntopic a\n", true, true),
            ("user u\ntopic #\nuser v\ntopic a/#\n", true, true),
            ("user u\ntopic a\nuser v\ntopic a\n", false, true),
            ("user u\ntopic a\ntopic read b\nuser v\ntopic read a\n", true, false),
            ("user u\ntopic a\ntopic read b\ntopic deny c\nuser v\ntopic a\ntopic deny a\n", true, false),
            ("user v\ntopic a\n", false, true),
            ("", false, false),
        ] {
            let mut bench = Bench::new(&[]);
            bench.lists(&format!("{ROOT}{before}"), "", "");
            let root = bench.user("root", "root");
            let clients = [("u", u), ("v", v)].map(|(user, stays)| {
                let (client, code) = bench.enter((Some(user), 0), version, &hello(version, user, false, None));
                assert_eq!(code, 0);
                (client, stays)
            });
            bench.lists(&format!("{ROOT}{now}"), "", "");
            assert_eq!(bench.end_of(root.id), None);
            for (client, stays) in clients {
                let case = format!("{now:?}, version {version}");
                assert_eq!(bench.end_of(client.id), (!stays).then_some(End::RightLost), "{case}");
                let said: Vec<_> = frames(&bench.raw(client.id)).into_iter().filter(|(first, _)| first >> 4 == kind::DISCONNECT).collect();
                let want = if stays || version == 4 { None } else { Some(0x87) };
                assert_eq!(said.first().map(|(_, body)| body[0]), want, "{case}");
            }
        }
    }
}

/// Before all sessions were looked through, too.
#[test]
fn a_right_that_is_taken_away_is_gone_at_once() {
    let before = format!("{ROOT}user u\ntopic a\n");
    let mut bench = Bench::with(&[], Limits { connections_max: 9_000, ..quiet() });
    bench.lists(&before, "", "");
    let root = bench.user("root", "watch");
    bench.subscribes(root, "#", 0);
    let clients: Vec<_> = (0..8_000).map(|n| bench.user("u", &format!("c{n}"))).collect();
    for client in &clients {
        assert_eq!(bench.subscribes(*client, "a", 0), 0);
    }
    let acl = Acl::parse(format!("{ROOT}user u\ntopic b\n").as_bytes()).unwrap();
    let now = bench.now();
    bench.broker.take_policy(Policy { realms: Vec::new(), acl: Some(Arc::new(acl)) }, now);
    let last = clients[7_999];
    let publish = |id| wire5::publish5(0x32, "a", id, &[], "x");
    qos2::say(&mut bench, root.id, &publish(1));
    qos2::say(&mut bench, last.id, &publish(2));
    qos2::say(&mut bench, last.id, &wire5::subscribe5(3, 0, &[("a", 0)]));
    assert_eq!(bench.end_of(last.id), None, "it was not looked at yet");
    let waits = |client: &Client| bench.broker.output(client.id).map(|out| out.tail(0)).unwrap_or_default();
    assert_eq!(waits(&last), [0x40, 3, 0, 2, 0x87, 0x90, 4, 0, 3, 0, 0x87]);
    assert!(clients.iter().all(|client| client.id == last.id || waits(client).is_empty()), "nobody gets what it may not receive");
    assert_eq!(frames(&waits(&root)).len(), 2, "its own message, and PUBACK");
    let mut turns = 0;
    while bench.broker.chores(now) {
        turns += 1;
    }
    assert!(turns > 10, "it goes in slices: {turns}");
    assert!(clients.iter().all(|client| bench.end_of(client.id) == Some(End::RightLost)));
    assert_eq!(bench.end_of(root.id), None);
}

/// A right that is given counts for subscriptions that are there, and takes nothing from anybody.
#[test]
fn a_right_that_is_given_is_there_at_once() {
    let mut bench = Bench::new(&[]);
    bench.lists(&format!("{ROOT}user u\ntopic read a\n"), "", "");
    let root = bench.user("root", "root");
    let client = bench.user("u", "c");
    assert_eq!(bench.subscribes(client, "#", 1), 1);
    for (rules, want) in [("topic read a\n", &["a"][..]), ("topic read a\ntopic read b\n", &["a", "b"]), ("topic read #\n", &["a", "b"])] {
        bench.lists(&format!("{ROOT}user u\n{rules}"), "", "");
        for topic in ["a", "b"] {
            bench.publishes(root, topic, Note::default());
        }
        assert_eq!(bench.got(client), want, "{rules:?}");
    }
}

/// What a client has not taken yet when its right to it goes is not sent to it any more.
#[test]
fn what_waits_for_a_client_goes_with_its_right() {
    let mut bench = Bench::with(&[], Limits { receive_maximum: 2, ..quiet() });
    bench.lists(&format!("{ROOT}user u\ntopic read #\n"), "", "");
    let root = bench.user("root", "root");
    let (client, _) = bench.enter((Some("u"), 0), 4, &hello(4, "c", true, None));
    bench.subscribes(client, "#", 1);
    for topic in ["a", "b", "a", "b", "a", "b"] {
        bench.publishes(root, topic, Note::default());
    }
    bench.raw(client.id);
    bench.lists(&format!("{ROOT}user u\ntopic read b\n"), "", "");
    assert_eq!(bench.end_of(client.id), Some(End::RightLost));
    bench.cut(client.id);
    let (client, code) = bench.enter((Some("u"), 0), 4, &hello(4, "c", true, None));
    assert_eq!(code, 0);
    bench.early.remove(&client.id);
    let mut got = Vec::new();
    for id in 1..=9 {
        bench.send(client.id, &puback(id));
        got.extend(topics(&frames(&bench.raw(client.id))));
    }
    assert!(!got.is_empty() && got.iter().all(|topic| topic == "b"), "{got:?}");
}

/// Rights that each client has for itself are compared for each: that is not done for all in one turn.
#[test]
fn a_list_of_many_patterns_is_looked_through_in_turns() {
    let mut bench = Bench::new(&[]);
    let rules = |first: &str| {
        let patterns: String = (0..500).map(|n| format!("pattern t{n}/%c\n")).collect();
        Policy { realms: Vec::new(), acl: Some(Arc::new(Acl::parse(format!("{first}\n{patterns}").as_bytes()).unwrap())) }
    };
    let now = bench.now();
    bench.broker.take_policy(rules("topic a"), now);
    bench.resume();
    let clients: Vec<_> = (0..50).map(|n| bench.user("", &format!("c{n}"))).collect();
    bench.broker.take_policy(rules("topic b"), now);
    let mut turns = 1;
    while bench.broker.chores(now) {
        turns += 1;
    }
    assert!(turns > 4, "{turns}");
    bench.resume();
    assert!(clients.iter().all(|client| bench.end_of(client.id) == Some(End::RightLost)));
}

/// As what each of many sources might still publish is asked for in turns.
#[test]
fn retained_messages_of_sources_with_many_patterns_come_in_turns() {
    let mut bench = Bench::new(&[]);
    let patterns: String = (0..300).map(|n| format!("pattern write t{n}/%c\n")).collect();
    bench.lists(&format!("{patterns}{ROOT}"), "", "");
    for n in 0..100 {
        let client = bench.user("u", &format!("c{n}"));
        bench.publishes(client, &format!("t1/c{n}"), Note { retain: true, ..Note::default() });
        bench.cut(client.id);
    }
    bench.commit();
    let root = bench.user("root", "root");
    let now = bench.now();
    bench.broker.apply(root.id, &wire5::subscribe5(1, 0, &[("#", 0)]), now);
    assert!(bench.broker.wants_turn(root.id), "not all in one turn");
    bench.resume();
    assert_eq!(bench.got(root).len(), 100);
}

/// The same lists again change nothing and cost nothing.
#[test]
fn lists_that_say_the_same_are_the_same() {
    let mut bench = Bench::new(&[]);
    let rules = format!("{ROOT}user u\ntopic a\npattern %c\n");
    bench.lists(&rules, "", "");
    let client = bench.user("u", "c");
    let generation = bench.broker.access.generation;
    bench.lists(&rules, "", "");
    assert_eq!((bench.broker.access.generation, bench.end_of(client.id)), (generation, None));
}

/// A connection and its session stay as small as they were.
#[test]
fn rights_cost_a_client_little_memory() {
    let mut bench = Bench::new(&[]);
    bench.lists(&format!("{ROOT}{}", "user u\ntopic a\n"), "", "");
    let clients: Vec<_> = (0..100).map(|n| bench.user("u", &format!("c{n}"))).collect();
    let shared = &bench.broker.sessions.iter().find(|(_, session)| session.user.as_deref() == Some("u")).unwrap().1.rights;
    assert_eq!(std::rc::Rc::strong_count(shared), clients.len(), "one for all of them");
    let size = size_of::<super::super::super::session::Session>() + size_of::<super::super::super::conn::Conn>();
    assert!(size <= 1_200, "{size}");
}
