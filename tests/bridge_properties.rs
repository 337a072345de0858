//! What goes up with a message at MQTT 5.0: its properties, what is left of its expiry, and the id by which a receiver drops duplicates.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate::model::Outcome;
use tidegate::model::status::UpstreamState;
use tidegate::mqtt::properties::{Property, decode};

use crate::harness::bridge::{NONCE, Rig, impatient, options};
use crate::harness::fake_upstream::{Answer, FakeUpstream, Publish};
use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{let_run, wait_until};

const LONG: Duration = Duration::from_secs(30);

fn encoded(properties: &[Property<'_>]) -> Bytes {
    let mut block = Vec::new();
    properties.iter().for_each(|property| property.write(&mut block));
    block.into()
}

fn id(counter: u64) -> String {
    format!("site7/1-{NONCE:08x}-{counter}")
}

fn user<'a>(publish: &'a Publish, wanted: &str) -> Vec<&'a str> {
    let value = |property| match property {
        Property::User(name, value) if name == wanted => Some(value),
        _ => None,
    };
    decode(&publish.properties).filter_map(value).collect()
}

#[test]
fn the_publishers_properties_arrive_and_our_id_is_the_last_of_its_name() {
    let upstream = FakeUpstream::start(|_| Answer::Ack);
    let rig = Rig::start(options(upstream.port()), impatient());
    let given = [
        Property::PayloadFormat(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(&[0, 0xff]),
        Property::User("tidegate-id", "not mine"),
        Property::User("b", "2"),
        Property::User("a", "1"),
    ];
    rig.put_with("t", "x", encoded(&given), None);
    rig.put("t", "y");
    rig.wait_settled(2, LONG);
    let publishes = upstream.publishes();
    for property in given {
        assert!(decode(&publishes[0].properties).any(|got| got == property), "{property:?}");
    }
    assert_eq!(user(&publishes[0], "tidegate-id"), ["not mine", &id(1)]);
    let [Property::User("b", "2"), Property::User("a", "1")] =
        decode(&publishes[0].properties).filter(|p| matches!(p, Property::User(name, _) if name.len() == 1)).collect::<Vec<_>>()[..]
    else {
        panic!("user properties keep their order [MQTT-3.3.2-18]: {:02x?}", publishes[0].properties)
    };
    assert_eq!(encoded(&[Property::User("tidegate-id", &id(2))]), publishes[1].properties);
}

#[test]
fn what_comes_twice_has_the_same_id() {
    let closed = AtomicBool::new(false);
    let upstream = FakeUpstream::start(
        move |payload| if payload == b"5" && !closed.swap(true, Ordering::Relaxed) { Answer::Close } else { Answer::Ack },
    );
    let rig = Rig::start(options(upstream.port()), impatient());
    rig.put_numbers(1, 20);
    rig.wait_settled(20, LONG);
    let publishes = upstream.publishes();
    assert!(publishes.iter().filter(|publish| publish.text() == "5").count() == 2);
    for publish in publishes {
        assert_eq!(user(&publish, "tidegate-id"), [id(publish.text().parse().expect("a number"))]);
    }
}

#[test]
fn an_expiry_counts_down_and_what_has_expired_is_not_sent() {
    let upstream = FakeUpstream::start(|_| Answer::Ack);
    let proxy = Proxy::before(upstream.port());
    let rig = Rig::start(options(proxy.port()), impatient());
    rig.put("t", "first");
    rig.wait_settled(1, LONG);
    proxy.set(Mode::Closed);
    rig.wait_status("away", LONG, |status| status.state != UpstreamState::Connected);
    rig.put_with("t", "short", Bytes::new(), Some(Duration::from_millis(900)));
    rig.put_with("t", "long", Bytes::new(), Some(Duration::from_secs(1_000)));
    let_run(Duration::from_millis(1_500));
    proxy.set(Mode::Open);
    rig.wait_settled(3, LONG);
    let publishes = upstream.publishes();
    assert_eq!(publishes.iter().map(Publish::text).collect::<Vec<_>>(), ["first", "long"]);
    let left = decode(&publishes[1].properties).find_map(|property| match property {
        Property::MessageExpiry(seconds) => Some(seconds),
        _ => None,
    });
    assert!(left.is_some_and(|left| (900..=999).contains(&left)), "{left:?}");
    let outcome = rig.settled().into_iter().find(|settled| settled.id.counter() == 2).map(|settled| settled.outcome);
    assert_eq!((outcome, rig.status().expired, rig.status().dead_letters), (Some(Outcome::Expired), 1, 0));
}

#[test]
fn mosquitto_hands_all_of_it_on() {
    let broker = Mosquitto::start();
    let rig = Rig::start(options(broker.port()), impatient());
    let port = broker.port().to_string();
    let mut receiver = Command::new("mosquitto_sub");
    receiver.args(["-V", "mqttv5", "-q", "1", "-t", "#", "-C", "1", "-W", "30", "-F", "%t|%p|%C|%R|%E|%P", "-p", &port]);
    let mut child = receiver.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program mosquitto_sub");
    let given = encoded(&[Property::ContentType("text/plain"), Property::ResponseTopic("answers"), Property::User("unit", "K")]);
    wait_until("a message", LONG, || {
        rig.put_with("t", "x", given.clone(), Some(Duration::from_secs(1_000)));
        child.try_wait().expect("our child").is_some()
    });
    let out = child.wait_with_output().expect("its output").stdout;
    let line = String::from_utf8_lossy(&out).into_owned();
    assert!(line.starts_with("t|x|text/plain|answers|") && line.contains(&format!("tidegate-id:site7/1-{NONCE:08x}-")), "{line}");
    assert!(line.contains("unit:K"), "{line}");
    assert_eq!(rig.status().protocol.as_deref(), Some("MQTT 5.0"));
}
