//! The broker alone, used by clients that are not ours: mosquitto_pub, mosquitto_sub, paho-mqtt.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use tidegate::broker::{Limits, Options};
use tidegate::clock;
use tidegate::model::{Body, Message, Origin, OutboxToBroker, QoS, Sample, Start, Topic, Value, Wall};

use crate::harness::broker::{LocalBroker, options};
use crate::harness::gateway::Site;
use crate::harness::raw::{Raw, publish as publish_packet};
use crate::harness::{let_run, python, report, wait_until};

const WITHIN: Duration = Duration::from_secs(10);

fn mosquitto(tool: &str, port: u16, args: &[&str]) -> Output {
    let port = port.to_string();
    let output = Command::new(tool).args(["-h", "127.0.0.1", "-p", &port]).args(args).output().expect("mosquitto-clients are installed");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Error"), "{tool} {args:?}: {output:?}");
    output
}

fn publish(port: u16, args: &[&str]) {
    assert!(mosquitto("mosquitto_pub", port, args).status.success(), "{args:?}");
}

/// What a subscriber prints that ends by itself.
fn subscribed(port: u16, args: &[&str]) -> String {
    String::from_utf8(mosquitto("mosquitto_sub", port, args).stdout).expect("text")
}

#[test]
fn retained_messages_reach_new_subscribers_of_mosquittos_clients() {
    let broker = LocalBroker::start(options(&[]));
    let port = broker.port();
    let large = "x".repeat(100_000);
    for (topic, body, qos) in [("a/b", "1", "0"), ("a/c", "2", "1"), ("a/b", "3", "1"), ("$x/y", "4", "1"), ("large", &large, "1")] {
        publish(port, &["-t", topic, "-m", body, "-q", qos, "-r"]);
    }
    let seen = subscribed(port, &["-t", "a/#", "-t", "+/c", "-q", "1", "-F", "%t %p %r %q", "-W", "1"]);
    let mut lines: Vec<_> = seen.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a/b 3 1 1", "a/c 2 1 1", "a/c 2 1 1"], "each filter has its own retained messages");
    assert_eq!(subscribed(port, &["-t", "large", "-C", "1"]).trim_end(), large);
    publish(port, &["-t", "a/b", "-r", "-n"]);
    assert_eq!(subscribed(port, &["-t", "a/b", "-W", "1"]), "");
    assert_eq!(broker.status().retained, 3);
}

#[test]
fn a_reading_is_text_to_a_client_and_retained_for_the_next() {
    let broker = LocalBroker::start(options(&[]));
    let sample = Sample { value: Ok(Value::F64(230.5)), unit: Some("V".into()), decimals: None, at: Wall(0) };
    let topic = Topic::new("plant/meter/voltage").expect("a topic");
    let message = Message::new(topic, sample.to_body(), QoS::AtLeastOnce, true, Origin::Bus);
    broker.inject.blocking_send(message).expect("the broker runs");
    wait_until("the reading is applied", WITHIN, || broker.status().injected == 1);
    let seen = subscribed(broker.port(), &["-t", "plant/#", "-C", "1", "-W", "10", "-F", "%r %p"]);
    assert_eq!(seen.trim_end(), r#"1 {"v":230.5,"u":"V","q":"good","t":"1970-01-01T00:00:00.000Z"}"#);
}

#[test]
fn paho_finds_sessions_wills_wildcards_and_take_over_as_the_standard_says() {
    paho("broker_cases.py", 12);
}

#[test]
fn paho_finds_5_0_and_qos_2_as_the_standards_say() {
    paho("broker_cases_5.py", 17);
}

/// The cases are in the peer; each prints a line, and it fails by an exception.
fn paho(peer: &str, cases: usize) {
    let site = Site::new("");
    let _gateway = site.start();
    let output = python::peer(peer).arg(site.port.to_string()).output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    report(&format!("broker_clients: paho-mqtt passed {} cases of {peer}", said.lines().count()));
    assert!(said.lines().count() >= cases, "{said}");
}

/// What mosquitto_sub says of a message: topic, body, QoS, RETAIN, and the properties that mosquitto_pub set.
#[test]
fn mosquittos_clients_speak_every_version_at_every_qos() {
    let site = Site::new("");
    let _gateway = site.start();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("{version}/{qos}");
            publish(site.port, &["-V", version, "-q", qos, "-r", "-t", &topic, "-m", "hello"]);
            for (subscribed, granted) in [("0", "0"), ("2", qos)] {
                let seen = subscribed_to(site.port, version, subscribed, &topic, "%t %p %q %r");
                assert_eq!(seen, format!("{topic} hello {granted} 1"), "{version}, {qos}, {subscribed}");
            }
        }
    }
}

#[test]
fn mosquittos_clients_hand_properties_on() {
    let site = Site::new("");
    let _gateway = site.start();
    let set =
        ["content-type text", "payload-format-indicator 1", "response-topic a/b", "correlation-data c", "message-expiry-interval 100"];
    let mut args = vec!["-V", "mqttv5", "-q", "1", "-r", "-t", "p", "-m", "hello", "-D", "publish", "user-property", "k 1", "v 1"];
    for (name, value) in set.iter().filter_map(|pair| pair.split_once(' ')) {
        args.extend(["-D", "publish", name, value]);
    }
    args.extend(["-D", "publish", "user-property", "a", "2"]);
    publish(site.port, &args);
    let seen = subscribed_to(site.port, "mqttv5", "1", "p", "%p %C %F %R %D %P");
    assert_eq!(seen, "hello text 1 a/b c k 1:v 1 a:2");
    let left = subscribed_to(site.port, "mqttv5", "1", "p", "%E");
    assert!((90..=100).contains(&left.parse::<u32>().expect("seconds")), "{left}");
    // Aliases that mosquitto_pub -l uses for each line after the first.
    let aliased = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "printf '1\n2\n3\n' | mosquitto_pub -h 127.0.0.1 -p {} -V mqttv5 -q 1 -t al -l -D publish topic-alias 1 && \
             printf 'last\n' | mosquitto_pub -h 127.0.0.1 -p {} -V mqttv5 -q 1 -r -t al -s",
            site.port, site.port
        ))
        .status()
        .expect("a shell");
    assert!(aliased.success());
    assert_eq!(subscribed_to(site.port, "mqttv5", "1", "al", "%p"), "last");
}

fn subscribed_to(port: u16, version: &str, qos: &str, topic: &str, format: &str) -> String {
    subscribed(port, &["-V", version, "-q", qos, "-t", topic, "-C", "1", "-W", "10", "-F", format]).trim_end().to_owned()
}

/// 3.1.1 has no way to say more than CONNACK's code, so the client must not be left waiting behind it.
#[test]
fn a_refused_client_is_closed_at_once() {
    let broker = LocalBroker::start(options(&[]));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port())).expect("it listens");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    let asked = clock::mono();
    stream.write_all(b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it closes the connection");
    assert_eq!(answer, [0x20, 2, 0, 1]);
    assert!(clock::mono().since(asked) < Duration::from_millis(500), "{:?}", clock::mono().since(asked));
}

/// What it says waits meanwhile, also where it has said all that it has to say.
#[test]
fn a_client_that_reads_its_answers_late_gets_all_of_them() {
    const PINGS: usize = 4_000_000;
    let broker = LocalBroker::start(options(&[]));
    let mut reader = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port())).expect("it listens");
    reader.set_read_timeout(Some(WITHIN)).expect("a timeout");
    let mut writer = reader.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writer.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c").expect("CONNECT");
        writer.write_all(&[0xc0, 0].repeat(PINGS)).expect("it reads in the end");
        writer.shutdown(std::net::Shutdown::Write).expect("a half");
    });
    // Longer than the broker takes between two looks at those who are held.
    let_run(Duration::from_millis(2_500));
    let mut answers = Vec::new();
    reader.read_to_end(&mut answers).expect("it answers, then closes");
    writing.join().expect("all was written");
    assert_eq!(answers.len(), 4 + 2 * PINGS);
}

/// A held connection is not read, so that its end does not show in what it sends.
#[test]
fn the_end_of_a_held_connection_is_seen() {
    let limits = Limits { unsecured_max: 1, ..Limits::default() };
    let broker = LocalBroker::by_hand(Options { limits, ..options(&[&["up"]]) });
    broker.from_outbox.blocking_send(OutboxToBroker::Started(Start { epoch: 1, nonce: 0 })).expect("it runs");
    let mut held = Raw::connect(broker.port(), "held");
    // The first is never secured, so there is no room for the second.
    held.send(&[publish_packet("up", b"", 1), publish_packet("up", b"", 2)].concat());
    wait_until("the first is applied", WITHIN, || broker.status().received == 1);
    drop(held);
    wait_until("its end is seen", WITHIN, || broker.status().clients == 0);
    assert_eq!(broker.status().received, 1);
}

#[test]
fn a_raw_message_of_a_bus_passes_as_it_is() {
    let broker = LocalBroker::start(options(&[]));
    let topic = Topic::new("a").expect("a topic");
    let body = Body::raw("as it is".into());
    broker.inject.blocking_send(Message::new(topic, body, QoS::AtMostOnce, true, Origin::Bus)).expect("it runs");
    wait_until("it is applied", WITHIN, || broker.status().injected == 1);
    assert_eq!(subscribed(broker.port(), &["-t", "a", "-C", "1", "-W", "10"]).trim_end(), "as it is");
}
