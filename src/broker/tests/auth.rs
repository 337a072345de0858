//! Enhanced authentication as an exchange, with a mechanism that only the tests have.

use super::super::auth::{Exchange, Mechanism, Progress, Start};
use super::wire5::{connect5, properties};
use super::*;
use crate::access::users::Users;

/// Asks "1+1", wants "2", and says "ok" at the end. "swift" is accepted at once.
#[derive(Debug)]
struct Sums;

impl Mechanism for Sums {
    fn name(&self) -> &str {
        "sums"
    }

    fn is_offered(&self, _: Option<&Users>) -> bool {
        true
    }

    fn begin(&self, _: Start) -> Box<dyn Exchange> {
        Box::new(Sum)
    }
}

#[derive(Debug)]
struct Sum;

impl Exchange for Sum {
    fn next(&mut self, data: Option<&[u8]>) -> Progress {
        match data {
            None => Progress::Challenge(b"1+1".to_vec()),
            Some(b"2") => Progress::Accepted { user: None, data: Some(b"ok".to_vec()) },
            Some(b"swift") => Progress::Accepted { user: None, data: None },
            Some(_) => Progress::Refused { name: None, why: String::new() },
        }
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new(&[]);
    bench.broker.mechanisms.push(Box::new(Sums));
    bench
}

fn method(name: &str, data: Option<&str>) -> Vec<u8> {
    let data = data.map_or_else(Vec::new, |data| [vec![0x16], string(data)].concat());
    [vec![0x15], string(name), data].concat()
}

fn connect(data: Option<&str>) -> Vec<u8> {
    connect5("c", true, 100, &method("sums", data))
}

/// AUTH of a client: 0x18 goes on, 0x19 begins again.
fn auth(reason: u8, name: &str, data: Option<&str>) -> Vec<u8> {
    packet(0xf0, &[&[reason], &properties(&[&method(name, data)])])
}

#[test]
fn a_client_proves_who_it_is_before_connack() {
    let again = || auth(0x18, "sums", Some("2"));
    for (name, sent, want, ends) in [
        ("in two steps", vec![connect(None), again()], &["AUTH 24 1+1", "CONNACK 0"][..], false),
        ("at once", vec![connect(Some("swift"))], &["CONNACK 0"], false),
        ("wrong", vec![connect(None), auth(0x18, "sums", Some("3"))], &["AUTH 24 1+1", "CONNACK 135"], true),
        ("wrong at once", vec![connect(Some("x"))], &["CONNACK 135"], true),
        ("another method", vec![connect(None), auth(0x18, "other", Some("2"))], &["AUTH 24 1+1", "CONNACK 130"], true),
        ("a re-authentication", vec![connect(None), auth(0x19, "sums", None)], &["AUTH 24 1+1", "CONNACK 130"], true),
        ("another packet", vec![connect(None), PING.to_vec()], &["AUTH 24 1+1", "CONNACK 130"], true),
        ("a second CONNECT", vec![connect(None), connect(None)], &["AUTH 24 1+1", "CONNACK 130"], true),
        ("it leaves", vec![connect(None), DISCONNECT.to_vec()], &["AUTH 24 1+1"], true),
        ("too much", vec![connect(None), again(), again()], &["AUTH 24 1+1", "CONNACK 0", "DISCONNECT 130"], true),
    ] {
        let mut bench = bench();
        let client = bench.open(false);
        for packet in sent {
            bench.send(client, &packet);
        }
        let got = bench.take(client);
        let got: Vec<_> = got.iter().map(|line| line.replace("\u{15}\0\u{4}sums\u{16}\0\u{3}", "")).collect();
        assert_eq!(got, want, "{name}");
        assert_eq!(bench.end_of(client).is_some(), ends, "{name}");
        assert_eq!(bench.broker.status().clients, u64::from(!ends), "{name}");
    }
}

#[test]
fn connack_carries_what_the_mechanism_has_for_the_client() {
    let mut bench = bench();
    let client = bench.open(false);
    bench.send(client, &connect(None));
    bench.raw(client);
    bench.send(client, &auth(0x18, "sums", Some("2")));
    let connack = bench.raw(client);
    assert_eq!(connack[..2], [0x20, connack.len() as u8 - 2]);
    let want = method("sums", Some("ok"));
    assert!(connack.windows(want.len()).any(|w| w == want), "{connack:02x?}");
}

#[test]
fn an_exchange_has_the_time_of_a_connect() {
    let mut bench = bench();
    let client = bench.open(false);
    bench.send(client, &connect(None));
    bench.pass(9_900);
    assert_eq!(bench.end_of(client), None);
    bench.pass(200);
    assert_eq!(bench.end_of(client), Some(End::ConnectTimeout));
    assert_eq!(bench.take(client)[1..], ["CONNACK 135"]);
    let client = bench.open(false);
    bench.send(client, &[connect(Some("swift")), auth(0x19, "sums", None)].concat());
    bench.pass(10_100);
    assert_eq!(bench.take(client)[2..], ["DISCONNECT 135"]);
}

#[test]
fn a_client_may_prove_it_again() {
    let begin = || auth(0x19, "sums", None);
    let go_on = |data: &str| auth(0x18, "sums", Some(data));
    for (name, sent, want) in [
        ("well", vec![begin(), PING.to_vec(), go_on("2"), PING.to_vec()], &["AUTH 24", "PINGRESP", "AUTH 0", "PINGRESP"][..]),
        ("twice", vec![begin(), go_on("2"), begin(), go_on("2")], &["AUTH 24", "AUTH 0", "AUTH 24", "AUTH 0"]),
        ("wrong", vec![begin(), go_on("3")], &["AUTH 24", "DISCONNECT 135"]),
        ("by another method", vec![auth(0x19, "other", None)], &["DISCONNECT 130"]),
        ("an answer to nothing", vec![go_on("2")], &["DISCONNECT 130"]),
        ("begun twice", vec![begin(), begin()], &["AUTH 24", "DISCONNECT 130"]),
    ] {
        let mut bench = bench();
        let client = bench.open(false);
        bench.send(client, &connect(Some("swift")));
        bench.take(client);
        for packet in sent {
            bench.send(client, &packet);
        }
        let got = bench.take(client);
        let got: Vec<_> = got.iter().map(|line| line.split(" \u{15}").next().unwrap_or_default().trim_end().to_owned()).collect();
        assert_eq!(got, want, "{name}");
    }
    let mut bench = bench();
    let client = bench.open(false);
    bench.send(client, &[connect5("c", true, 0, &[]), begin()].concat());
    assert_eq!(bench.take(client)[1..], ["DISCONNECT 130"], "CONNECT named no method");
}

/// The client's proof is asked for once, though CONNECT has to wait for a commit.
#[test]
fn a_proof_is_good_while_its_connect_waits() {
    for in_steps in [false, true] {
        let mut bench = bench();
        let (old, _) = bench.connect_as("c", false);
        bench.cut(old);
        let client = bench.open(false);
        let say = |bench: &mut Bench, bytes: &[u8]| qos2::say(bench, client, bytes);
        if in_steps {
            say(&mut bench, &connect(None));
            bench.take(client);
            say(&mut bench, &auth(0x18, "sums", Some("2")));
        } else {
            say(&mut bench, &connect(Some("swift")));
        }
        assert_eq!(bench.take(client), [""; 0]);
        bench.broker.take_pending();
        bench.secured(&[(1, 100)]);
        assert_eq!(bench.take(client), ["CONNACK 0"], "{in_steps}");
    }
}

/// [MQTT-3.2.2-19]
#[test]
fn a_refusal_is_explained_where_it_fits() {
    for (max, explained) in [(200, true), (40, false)] {
        let mut bench = bench();
        let client = bench.open(false);
        bench.send(client, &connect5("c", true, 100, &[method("sums", Some("x")), vec![0x27, 0, 0, 0, max]].concat()));
        let connack = bench.raw(client);
        assert_eq!((connack[0], connack[3]), (0x20, 0x87));
        assert!(connack.len() <= usize::from(max));
        assert_eq!(connack[5..].first() == Some(&0x1f), explained, "{connack:02x?}");
    }
}
