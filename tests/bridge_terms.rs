//! Which version is spoken, and what an upstream of MQTT 5.0 sets as its terms: in CONNACK, and by not letting us in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate::bridge::{Options, Version};
use tidegate::model::status::UpstreamState;
use tidegate::mqtt::reason::Reason;

use crate::harness::bridge::{Rig, impatient, options};
use crate::harness::fake_upstream::{Answer, FakeUpstream, Welcome};
use crate::harness::mosquitto::{self, Mosquitto};
use crate::harness::{let_run, wait_until};

const LONG: Duration = Duration::from_secs(30);

/// Lets us in by these properties of CONNACK and acknowledges everything.
fn upstream(properties: &[u8]) -> FakeUpstream {
    FakeUpstream::welcoming(Welcome::In(properties.to_vec()), |_| Answer::Ack)
}

fn rig(upstream: &FakeUpstream) -> Rig {
    Rig::start(options(upstream.port()), impatient())
}

#[test]
fn no_more_than_the_receive_maximum_is_in_flight() {
    for (max, window) in [(1, 100), (3, 100), (65_535, 2)] {
        let [high, low] = u16::to_be_bytes(max);
        let upstream = upstream(&[0x21, high, low]);
        let rig = Rig::start(Options { window, ..options(upstream.port()) }, impatient());
        rig.put_numbers(1, 50);
        rig.wait_settled(50, LONG);
        // Packet ids go round within the window.
        let most = upstream.publishes().iter().map(|publish| publish.packet_id).max();
        assert_eq!(most, Some(max.min(window)), "receive maximum {max}, window {window}");
    }
}

#[test]
fn terms_against_the_standard_end_the_connection_and_nothing_is_sent() {
    for (properties, words) in [(&[0x21, 0, 0][..], "receive maximum 0"), (&[0x27, 0, 0, 0, 0], "maximum packet size 0")] {
        let upstream = upstream(properties);
        let rig = rig(&upstream);
        rig.put_numbers(1, 3);
        wait_until(words, LONG, || upstream.connects() > 3);
        assert!(rig.status().last_error.is_some_and(|error| error.contains(words)), "{words}");
        assert_eq!((upstream.publishes(), rig.settled(), rig.links()), (vec![], vec![], vec![]), "{words}");
    }
}

#[test]
fn an_upstream_of_qos_0_only_holds_the_queue_and_says_so() {
    let upstream = upstream(&[0x24, 0]);
    let rig = rig(&upstream);
    rig.put_numbers(1, 3);
    let status = rig.wait_status("refusing", LONG, |status| status.state == UpstreamState::Refusing);
    assert!(status.last_error.is_some_and(|error| error.contains("takes QoS 0 only")));
    wait_until("more tries", LONG, || upstream.connects() > 3);
    assert_eq!((upstream.publishes(), rig.settled()), (vec![], vec![]));
}

#[test]
fn a_server_keep_alive_is_kept_and_one_of_0_is_no_storm_of_pings() {
    let upstream_0 = upstream(&[0x13, 0, 0]);
    let upstream_1 = upstream(&[0x13, 0, 1]);
    let rigs = [rig(&upstream_0), rig(&upstream_1)];
    for rig in &rigs {
        rig.put_numbers(1, 20);
        rig.wait_settled(20, LONG);
    }
    wait_until("pings once a second", LONG, || upstream_1.pings() >= 3);
    let pings = upstream_0.pings();
    let_run(Duration::from_secs(1));
    assert!(upstream_0.pings() <= pings + 1, "{} pings", upstream_0.pings());
    assert!(rigs.iter().all(|rig| rig.status().connects == 1));
}

#[test]
fn what_is_larger_than_the_upstreams_largest_packet_is_a_dead_letter_and_never_sent() {
    let upstream = upstream(&[0x27, 0, 0, 1, 0]);
    let rig = rig(&upstream);
    // Type, length, topic, packet id, properties: `tidegate-id` with a value of 18 bytes.
    let around = 1 + 2 + (2 + 5) + 2 + (1 + 1 + 2 + 11 + 2 + 18);
    rig.put("small", "1");
    rig.put("exact", vec![b'x'; 256 - around]);
    rig.put("large", vec![b'x'; 257 - around]);
    rig.put("small", "4");
    rig.wait_settled(4, LONG);
    let [(number, cause)] = &rig.dead()[..] else { panic!("{:?}", rig.dead()) };
    assert!(*number == 3 && cause.contains("257 bytes is larger than the 256 bytes"), "{number}: {cause}");
    assert_eq!(upstream.publishes().iter().map(|publish| publish.topic.as_str()).collect::<Vec<_>>(), ["small", "exact", "small"]);
    assert_eq!(rig.status().connects, 1, "the connection never suffered");
}

#[test]
fn mosquittos_largest_packet_is_known_before_anything_is_sent() {
    let broker = Mosquitto::with(&mosquitto::Options { more: "max_packet_size 1000\n".to_owned(), ..mosquitto::Options::default() });
    let rig = Rig::start(options(broker.port()), impatient());
    rig.put_numbers(1, 50);
    rig.put("large", vec![b'x'; 2_000]);
    rig.put_numbers(52, 120);
    rig.wait_settled(120, LONG);
    let [(51, cause)] = &rig.dead()[..] else { panic!("{:?}\n{}", rig.dead(), broker.log()) };
    assert!(cause.contains("larger than the 1000 bytes"), "{cause}");
    let status = rig.status();
    assert_eq!((status.connects, status.protocol.as_deref()), (1, Some("MQTT 5.0")));
}

#[test]
fn an_upstream_without_retained_messages_and_with_aliases_gets_plain_publishes() {
    let upstream = upstream(&[0x25, 0, 0x22, 0, 10, 0x11, 0, 0, 0, 9, 0x12, 0, 1, b'x']);
    let rig = rig(&upstream);
    rig.put_numbers(1, 20);
    rig.wait_settled(20, LONG);
    assert!(upstream.publishes().iter().all(|publish| !publish.retain && publish.topic == "numbers"));
    assert!(rig.dead().is_empty());
}

#[test]
fn each_refusal_to_let_us_in_is_named_and_tried_again() {
    for code in
        [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f]
    {
        let upstream = FakeUpstream::welcoming(Welcome::Refuse(code), |_| Answer::Ack);
        let rig = Rig::start(Options { version: Some(Version::V5), ..options(upstream.port()) }, impatient());
        rig.put_numbers(1, 1);
        wait_until("a second try", LONG, || upstream.connects() > 1);
        let reason = Reason::from_u8(code).expect("a code of the standard");
        let words = if code == 0x84 { "set version = \"3.1.1\"".to_owned() } else { reason.to_string() };
        let status = rig.status();
        assert!(status.last_error.as_ref().is_some_and(|error| error.contains(&words)), "{code:#x}: {status:?}");
        assert_eq!((status.connects, rig.settled()), (0, vec![]), "{code:#x}");
    }
}

/// What brokers that know 3.1.1 only do on a CONNECT of 5.0: its own return code, a close, 5.0's reason code.
const OLD: [&[u8]; 3] = [&[0x20, 2, 0, 1], &[], &[0x20, 3, 0, 0x84, 0]];

#[test]
fn an_upstream_that_knows_no_5_gets_3_1_1_unless_the_file_says_otherwise() {
    for answer in OLD {
        let closed = AtomicBool::new(false);
        // Once, so that it connects a second time.
        let policy = move |payload: &[u8]| {
            if payload == b"7" && !closed.swap(true, Ordering::Relaxed) { Answer::Close } else { Answer::Ack }
        };
        let upstream = FakeUpstream::welcoming(Welcome::Only311(answer), policy);
        let rig = rig(&upstream);
        rig.put_numbers(1, 20);
        rig.wait_settled(20, LONG);
        let status = rig.status();
        assert_eq!((status.protocol.as_deref(), status.connects, rig.dead()), (Some("MQTT 3.1.1"), 2, vec![]), "{answer:02x?}");
        let by_word = answer.contains(&0x84);
        assert_eq!(upstream.levels(), if by_word { vec![5, 4, 4] } else { vec![5, 4, 5, 4] }, "{answer:02x?}");
    }
}

#[test]
fn a_version_that_the_file_names_is_kept() {
    for answer in OLD {
        let upstream = FakeUpstream::welcoming(Welcome::Only311(answer), |_| Answer::Ack);
        let rig = Rig::start(Options { version: Some(Version::V5), ..options(upstream.port()) }, impatient());
        rig.put_numbers(1, 1);
        let told = |error: &String| error.contains("set version = \"3.1.1\"");
        rig.wait_status("what to do", LONG, |status| status.last_error.as_ref().is_some_and(told));
        wait_until("more tries", LONG, || upstream.connects() > 3);
        assert!(rig.settled().is_empty() && upstream.levels().iter().all(|level| *level == 5), "{answer:02x?}");
    }
    let upstream = upstream(&[]);
    let rig = Rig::start(Options { version: Some(Version::V311), ..options(upstream.port()) }, impatient());
    rig.put_numbers(1, 5);
    rig.wait_settled(5, LONG);
    assert_eq!((upstream.levels(), rig.status().protocol.as_deref()), (vec![4], Some("MQTT 3.1.1")));
}
