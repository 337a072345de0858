//! What an upstream will not have, and upstreams that have nothing: no entry may stop those behind it for ever, and none may be given up
//! because an upstream refuses whatever it is sent.

use std::time::Duration;

use tidegate::bridge::{Options, Version};
use tidegate::model::status::UpstreamState;

use crate::harness::bridge::{Rig, impatient, options};
use crate::harness::fake_upstream::{Answer, FakeUpstream};
use crate::harness::mosquitto::{self, Mosquitto};
use crate::harness::receiver::Receiver;
use crate::harness::wait_until;

const LONG: Duration = Duration::from_secs(30);
const PACKET_MAX: usize = 2 << 20;
/// Of a QoS 1 PUBLISH to a topic of five bytes with a payload of about a megabyte or more: type, length, topic, packet id.
const AROUND: usize = 1 + 4 + 2 + 5 + 2;

fn dead_numbers(rig: &Rig) -> Vec<u64> {
    rig.dead().into_iter().map(|(n, _)| n).collect()
}

#[test]
fn a_payload_of_the_largest_packet_arrives_whole() {
    let broker = Mosquitto::start();
    let receiver = Receiver::start(broker.port(), "#");
    let rig = Rig::start(options(broker.port()), impatient());
    let payload: Vec<u8> = (0..PACKET_MAX - AROUND).map(|n| (n % 251) as u8).collect();
    rig.put("large", payload.clone());
    rig.put("small", "after it");
    rig.wait_settled(2, LONG);
    assert!(receiver.wait_for(2, LONG));
    assert!(receiver.all()[0].payload == payload, "byte for byte");
    assert_eq!(receiver.all()[1].text(), "after it");
    assert!(rig.dead().is_empty());
}

#[test]
fn an_entry_larger_than_any_packet_is_a_dead_letter_at_once_and_others_pass() {
    let broker = Mosquitto::start();
    let receiver = Receiver::start(broker.port(), "#");
    let rig = Rig::start(Options { packet_max: 1_000, ..options(broker.port()) }, impatient());
    rig.put("small", "before it");
    rig.put("large", vec![b'x'; 1_001]);
    rig.put(&"t".repeat(1_001), "the topic counts, too");
    rig.put("small", "after it");
    rig.wait_settled(4, LONG);
    assert!(receiver.wait_for(2, LONG));
    assert_eq!(receiver.all().iter().map(|r| r.text()).collect::<Vec<_>>(), ["before it", "after it"]);
    assert_eq!(dead_numbers(&rig), [2, 3]);
    assert!(rig.dead()[0].1.contains("larger than"), "{:?}", rig.dead());
    let status = rig.status();
    assert_eq!((status.connects, status.dead_letters, status.acknowledged), (1, 2, 2), "the connection never suffered");
}

#[test]
fn what_mosquitto_closes_on_is_found_out_and_set_aside() {
    // At 5.0 it says before what it will not have.
    let broker = Mosquitto::with(&mosquitto::Options { more: "max_packet_size 1000\n".to_owned(), ..mosquitto::Options::default() });
    let receiver = Receiver::start(broker.port(), "#");
    let rig = Rig::start(Options { version: Some(Version::V311), ..options(broker.port()) }, impatient());
    rig.put_numbers(1, 50);
    rig.put("large", vec![b'x'; 2_000]);
    rig.put_numbers(52, 120);
    rig.wait_settled(120, LONG);
    assert_eq!(dead_numbers(&rig), [51], "{}", broker.log());
    assert!(rig.dead()[0].1.contains("closed the connection 3 times"), "{:?}", rig.dead());
    let mut numbers: Vec<u64> = receiver.all().iter().map(|r| r.text().parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.into_iter().eq((1..=50).chain(52..=120)), "all others");
    assert_eq!(rig.wait_status("connected", LONG, |s| s.state == UpstreamState::Connected).dead_letters, 1);
}

#[test]
fn an_upstream_that_closes_on_every_publish_condemns_nothing_and_is_reported() {
    let upstream = FakeUpstream::start(|_| Answer::Close);
    let rig = Rig::start(options(upstream.port()), impatient());
    rig.put_numbers(1, 20);
    rig.wait_status("refusing", LONG, |s| s.state == UpstreamState::Refusing);
    let connects = upstream.connects();
    wait_until("more tries", LONG, || upstream.connects() > connects + 20);
    assert!(rig.settled().is_empty(), "{:?}", rig.settled());
    assert_eq!(rig.status().state, UpstreamState::Refusing);
}

#[test]
fn an_upstream_that_closes_on_one_entry_of_several_loses_that_one_only() {
    let upstream = FakeUpstream::start(|payload| if payload == b"1" || payload == b"7" { Answer::Close } else { Answer::Ack });
    let rig = Rig::start(options(upstream.port()), impatient());
    rig.put_numbers(1, 20);
    rig.wait_settled(20, LONG);
    assert_eq!(dead_numbers(&rig), [1, 7]);
    let mut acked: Vec<u64> = upstream.acked().iter().map(|text| text.parse().expect("a number")).collect();
    acked.dedup();
    acked.sort_unstable();
    acked.dedup();
    assert!(acked.into_iter().eq((1..=20).filter(|n| ![1, 7].contains(n))));
}

#[test]
fn one_entry_alone_is_never_given_up_but_goes_when_another_passes() {
    let upstream = FakeUpstream::start(|payload| if payload == b"1" { Answer::Close } else { Answer::Ack });
    let rig = Rig::start(options(upstream.port()), impatient());
    rig.put_numbers(1, 1);
    wait_until("many tries", LONG, || upstream.connects() > 20);
    assert!(rig.settled().is_empty());
    assert_eq!(rig.status().state, UpstreamState::Refusing);
    rig.put_numbers(2, 2);
    rig.wait_settled(2, LONG);
    assert_eq!(dead_numbers(&rig), [1]);
    assert_eq!(upstream.acked(), ["2"]);
}

#[test]
fn an_upstream_that_answers_pings_and_acknowledges_nothing_is_left_after_the_ack_timeout() {
    let upstream = FakeUpstream::start(|_| Answer::Nothing);
    let options = Options { ack_timeout: Duration::from_millis(300), keep_alive: Duration::from_secs(1), ..options(upstream.port()) };
    let rig = Rig::start(options, impatient());
    rig.put_numbers(1, 1);
    wait_until("new connections", LONG, || upstream.connects() > 5);
    let status = rig.status();
    assert!(status.last_error.is_some_and(|e| e.contains("no acknowledgement within 0.3 s")));
    assert!(rig.settled().is_empty());
    assert!(status.oldest_unacknowledged_age_ms.is_some_and(|age| age >= 1_000));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_settles_nothing() {
    for (name, bytes) in [
        ("PUBACK of an id that is not in flight", vec![0x40, 2, 0, 77]),
        ("PUBACK of an id beyond the window", vec![0x40, 2, 0xff, 0xff]),
        ("PUBACK of id 0", vec![0x40, 2, 0, 0]),
        ("PUBREC", vec![0x50, 2, 0, 1]),
        ("PUBCOMP", vec![0x70, 2, 0, 1]),
        ("SUBACK of 3.1.1", vec![0x90, 3, 0, 1, 0]),
        ("SUBACK of 5.0", vec![0x90, 4, 0, 1, 0, 0]),
        // In a form that both versions can read: the library overlooks one without properties at 5.0.
        ("a second CONNACK", vec![0x20, 3, 0, 0, 0]),
        ("no MQTT at all", b"HTTP/1.1 400 Bad Request\r\n".repeat(9)),
        ("a claim of 256 MiB", vec![0x30, 0xff, 0xff, 0xff, 0x7f]),
        ("a PUBACK that is too short", vec![0x40, 1, 0]),
        ("an endless length", vec![0x40, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ] {
        for version in [Version::V5, Version::V311] {
            let bytes = bytes.clone();
            let upstream = FakeUpstream::start(move |_| Answer::Bytes(bytes.clone()));
            let rig = Rig::start(Options { version: Some(version), ..options(upstream.port()) }, impatient());
            rig.put_numbers(1, 3);
            wait_until(name, LONG, || upstream.connects() > 3);
            assert!(rig.settled().is_empty(), "{name}: {:?}", rig.settled());
            assert!(rig.status().last_error.is_some(), "{name}");
        }
    }
}
