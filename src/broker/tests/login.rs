//! Who is let in: by its door, by name and password, or as nobody.

use std::sync::Arc;

use super::wire5::properties;
use super::*;
use crate::access::users::Users;
use crate::access::{Policy, Realm};

/// anna's password is "one", bert's is "two". Cheap to hash.
const USERS: &str = "anna:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$ANNA\nbert:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$BERT\n";

fn users(text: &str) -> Policy {
    let hash = |password: &[u8]| {
        let mut sum = [0; 32];
        let params = argon2::Params::new(64, 1, 1, Some(32)).expect("parameters");
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(password, b"saltsaltsalt", &mut sum)
            .expect("a hash");
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, sum)
    };
    let text = text.replace("ANNA", &hash(b"one")).replace("BERT", &hash(b"two")).replace("NEW", &hash(b"new"));
    let users = Some(Arc::new(Users::parse(text.as_bytes()).expect("a users file")));
    Policy { realms: vec![Realm { users, acl: None }, Realm::default()], acl: None }
}

/// The first door knows anna and bert.
fn bench(anonymous: bool) -> Bench {
    let mut bench = Bench::new(&[]);
    bench.broker.policy = users(USERS);
    bench.broker.doors[0].anonymous = anonymous;
    bench
}

fn login(version: u8, client: &str, user: Option<&str>, password: Option<&str>) -> Vec<u8> {
    let flags = 2 | u8::from(user.is_some()) << 7 | u8::from(password.is_some()) << 6;
    let block = if version == 5 { properties(&[]) } else { Vec::new() };
    let rest: Vec<u8> = user.into_iter().chain(password).flat_map(string).collect();
    packet(0x10, &[&string("MQTT"), &[version, flags], &[0, 0], &block, &string(client), &rest])
}

impl Bench {
    /// What the thread that hashes would do; how many passwords it was given.
    fn hash(&mut self) -> usize {
        let mut hashed = 0;
        while let Some(question) = self.broker.next_question() {
            hashed += 1;
            let now = self.now();
            self.broker.password_judged(question.hash.is_of(&question.password), now);
            self.resume();
        }
        hashed
    }

    fn knock(&mut self, user: Option<&str>, password: Option<&str>, address: u8) -> ConnId {
        let peer = std::net::SocketAddr::from(([192, 0, 2, address], 1)).into();
        let arrival = door::Arrival { listener: 0, peer, user: None };
        let id = self.broker.open(arrival, self.now()).expect("room for a connection");
        self.send(id, &login(5, "", user, password));
        id
    }
}

#[test]
fn who_says_what_is_let_in_or_told_why_not() {
    type Row = (u8, bool, Option<&'static str>, Option<&'static str>, u8, usize);
    // Version, anonymous ones are let in, user, password; what CONNACK says, passwords hashed.
    let rows: &[Row] = &[
        (5, false, Some("anna"), Some("one"), 0, 1),
        (4, false, Some("anna"), Some("one"), 0, 1),
        (5, true, Some("anna"), Some("one"), 0, 1),
        (5, false, Some("anna"), Some("two"), 0x86, 1),
        (4, false, Some("anna"), Some("two"), 4, 1),
        (5, true, Some("anna"), Some("two"), 0x86, 1),
        (5, false, Some("carl"), Some("one"), 0x86, 1),
        (4, true, Some("carl"), Some("one"), 4, 1),
        (5, false, Some("Anna"), Some("one"), 0x86, 1),
        (5, false, Some("anna"), Some("one "), 0x86, 1),
        // No password is never success, and costs nothing.
        (5, false, Some("anna"), None, 0x86, 0),
        (4, true, Some("anna"), None, 4, 0),
        (5, false, Some("anna"), Some(""), 0x86, 0),
        (4, true, Some("anna"), Some(""), 4, 0),
        (5, false, Some("carl"), None, 0x86, 0),
        (5, false, None, Some("one"), 0x86, 0),
        (5, true, None, Some("one"), 0x86, 0),
        (5, true, Some(""), Some("one"), 0x86, 0),
        // Nobody.
        (5, false, None, None, 0x87, 0),
        (4, false, None, None, 5, 0),
        (5, false, Some(""), Some(""), 0x87, 0),
        (5, true, None, None, 0, 0),
        (4, true, None, None, 0, 0),
        (5, true, Some(""), None, 0, 0),
    ];
    for row @ &(version, anonymous, user, password, want, hashes) in rows {
        let mut bench = bench(anonymous);
        let client = bench.open_as(None, 0);
        bench.send(client, &login(version, "c", user, password));
        assert_eq!(bench.take(client).len(), usize::from(hashes == 0), "{row:?}: before it is hashed");
        assert_eq!(bench.hash(), hashes, "{row:?}");
        let said = if hashes > 0 { bench.take(client) } else { Vec::new() };
        let ended = bench.end_of(client).is_some();
        assert_eq!((ended, bench.broker.status().clients), (want != 0, u64::from(want == 0)), "{row:?}");
        assert!(hashes == 0 || said == [format!("CONNACK {want}")], "{row:?}: {said:?}");
        let who = bench.broker.conns.get(client).and_then(|conn| conn.user.clone());
        assert_eq!(who.as_deref(), user.filter(|user| want == 0 && !user.is_empty()), "{row:?}");
        assert_eq!(bench.broker.status().logins_refused, u64::from(want != 0), "{row:?}");
    }
}

#[test]
fn where_nobody_is_known_a_name_says_nothing() {
    for (anonymous, want) in [(true, "CONNACK 0"), (false, "CONNACK 134")] {
        let mut bench = bench(anonymous);
        bench.broker.doors[1].anonymous = anonymous;
        let client = bench.open(true);
        bench.send(client, &login(5, "c", Some("anna"), Some("one")));
        assert_eq!(bench.take(client), [want]);
        assert_eq!(bench.broker.conns.get(client).and_then(|conn| conn.user.clone()), None);
    }
}

#[test]
fn whom_the_door_knows_may_say_so_or_nothing() {
    for (name, password, want) in [
        (None, None, "CONNACK 0"),
        (Some(""), None, "CONNACK 0"),
        (Some("cert:pump"), None, "CONNACK 0"),
        (Some("cert:pump"), Some("x"), "CONNACK 0"),
        (Some("anna"), None, "CONNACK 134"),
        (Some("anna"), Some("one"), "CONNACK 134"),
        (Some("pump"), None, "CONNACK 134"),
    ] {
        let mut bench = bench(false);
        let arrival = door::Arrival { user: Some("cert:pump".into()), ..door::somebody(false) };
        let client = bench.broker.open(arrival, bench.now()).expect("room for a connection");
        bench.send(client, &login(5, "c", name, password));
        assert_eq!((bench.hash(), bench.take(client)), (0, vec![want.to_owned()]), "{name:?}");
        assert_eq!(bench.broker.conns.get(client).and_then(|conn| conn.user.clone()).as_deref(), Some("cert:pump"));
    }
}

#[test]
fn a_password_that_was_right_is_hashed_once_an_hour() {
    let mut bench = bench(false);
    for (minutes, hashes) in [(0, 1), (1, 0), (58, 0), (1, 1), (59, 0)] {
        bench.skip(minutes * 60_000);
        let client = bench.knock(Some("anna"), Some("one"), 1);
        assert_eq!(bench.hash(), hashes, "after {minutes} minutes more");
        assert_eq!(bench.take(client), ["CONNACK 0"]);
        let wrong = bench.knock(Some("anna"), Some("two"), 1);
        assert_eq!((bench.hash(), bench.take(wrong)), (1, vec!["CONNACK 134".to_owned()]));
    }
}

#[test]
fn one_password_too_many_is_turned_away_and_counted() {
    let mut bench = bench(false);
    let mut knock = |n: usize, address| bench.knock(Some("anna"), Some(&n.to_string()), address);
    // One is being hashed, none of the others yet.
    let clients: Vec<ConnId> = (0..33).map(|n| knock(n, 1)).collect();
    let same = knock(7, 2);
    let one_more = knock(33, 1);
    let other = knock(34, 2);
    assert_eq!(bench.take(one_more), ["CONNACK 136"]);
    assert_eq!(bench.take(clients[31]), ["CONNACK 136"], "the newest of the address that has most");
    assert_eq!((bench.take(other), bench.take(same)), (vec![], vec![]));
    assert_eq!(bench.broker.status().limits.get("logins_waiting_max").copied().unwrap_or_default(), 3);
}

#[test]
fn who_has_gone_while_it_waited_is_not_let_in() {
    let mut bench = bench(false);
    let first = bench.knock(Some("anna"), Some("one"), 1);
    let second = bench.knock(Some("bert"), Some("two"), 1);
    let question = bench.broker.next_question().expect("a question");
    bench.cut(first);
    bench.cut(second);
    let now = bench.now();
    bench.broker.password_judged(question.hash.is_of(&question.password), now);
    bench.resume();
    assert_eq!(bench.hash(), 0);
    assert_eq!(bench.broker.status().clients, 0);
    let again = bench.knock(Some("anna"), Some("one"), 1);
    assert_eq!((bench.hash(), bench.take(again)), (0, vec!["CONNACK 0".to_owned()]), "its answer is remembered");
}

#[test]
fn waiting_for_an_answer_is_not_being_late_with_connect() {
    let mut bench = bench(false);
    let client = bench.knock(Some("anna"), Some("one"), 1);
    bench.pass(30_000);
    assert_eq!(bench.end_of(client), None);
    assert_eq!((bench.hash(), bench.take(client)), (1, vec!["CONNACK 0".to_owned()]));
}

#[test]
fn after_a_change_of_users_those_who_are_not_what_they_were_go() {
    let mut bench = bench(true);
    let anna = bench.knock(Some("anna"), Some("one"), 1);
    let bert = bench.knock(Some("bert"), Some("two"), 1);
    let nobody = bench.knock(None, None, 1);
    bench.hash();
    let waiting = bench.knock(Some("bert"), Some("new"), 1);
    let under_way = bench.broker.next_question().expect("a question");
    let now = bench.now();
    bench.broker.take_policy(users(&USERS.replace("BERT", "NEW")), now);
    bench.resume();
    // What was asked before the change is answered after it.
    bench.broker.password_judged(under_way.hash.is_of(&under_way.password), now);
    bench.resume();
    assert_eq!((bench.hash(), bench.take(waiting)), (1, vec!["CONNACK 0".to_owned()]));
    assert_eq!([anna, bert, nobody, waiting].map(|id| bench.end_of(id)), [None, Some(End::UserChanged), None, None]);
    assert_eq!(bench.take(bert), ["CONNACK 0", "DISCONNECT 135"]);
    let old = bench.knock(Some("bert"), Some("two"), 1);
    assert_eq!((bench.hash(), bench.take(old)), (1, vec!["CONNACK 134".to_owned()]), "the old password is not remembered");
    let now = bench.now();
    bench.broker.take_policy(Policy::default(), now);
    bench.resume();
    assert_eq!([anna, nobody, waiting].map(|id| bench.end_of(id)), [Some(End::UserChanged), None, Some(End::UserChanged)]);
}

/// Though there are more of them than one turn ends.
#[test]
fn a_change_of_users_reaches_everybody() {
    let mut bench = bench(false);
    let clients: Vec<ConnId> = (0..300).map(|n| bench.knock(Some("anna"), Some("one"), n as u8)).collect();
    assert_eq!(bench.hash(), 1, "equal questions are asked once");
    let now = bench.now();
    bench.broker.take_policy(Policy::default(), now);
    assert!(bench.broker.chores(now), "not all in one turn");
    bench.resume();
    assert!(clients.iter().all(|id| bench.end_of(*id) == Some(End::UserChanged)));
}

/// In CPU time of the whole way from CONNECT to CONNACK, hash included; many of each, in turns, so that neither is warmer than the other.
#[test]
fn a_name_that_is_nobodys_costs_what_somebodys_does() {
    let mut bench = bench(false);
    bench.broker.policy = users(&USERS.replace("m=64,t=1", "m=1024,t=2"));
    let mut costs = [Duration::ZERO; 2];
    for n in 0..60_u8 {
        for (cost, name) in costs.iter_mut().zip(["anna".to_owned(), format!("nobody {n}")]) {
            let before = crate::clock::thread_cpu();
            let client = bench.knock(Some(&name), Some(&n.to_string()), 1);
            assert_eq!((bench.hash(), bench.take(client)), (1, vec!["CONNACK 134".to_owned()]), "{name}");
            *cost += crate::clock::thread_cpu().saturating_sub(before);
            bench.cut(client);
        }
    }
    let [somebody, nobody] = costs.map(|cost| cost.as_secs_f64());
    assert!((0.8..1.25).contains(&(nobody / somebody)), "{costs:?}");
}
