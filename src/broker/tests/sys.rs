//! `$SYS`.

use super::*;

/// A broker that has been asked for `$SYS` every 10 s, with a subscriber to `filter`.
fn watched(filter: &str) -> (Bench, ConnId) {
    let mut bench = Bench::with(&[&["up"]], Limits { sys_interval: Duration::from_secs(10), ..Limits::default() });
    let watch = bench.connect("watch");
    bench.send(watch, &subscribe(1, &[(filter, 2)]));
    assert_eq!(bench.take(watch), ["SUBACK 1 [2]"]);
    (bench, watch)
}

/// "topic value" of each message; acknowledges them.
fn values(bench: &mut Bench, watch: ConnId) -> Vec<String> {
    let lines = bench.take(watch);
    for line in &lines {
        if let Some((_, id)) = line.split_once(" q2 id") {
            let id: u16 = id.split(' ').next().unwrap().parse().unwrap();
            bench.send(watch, &[wire5::ack(5, id), wire5::ack(7, id)].concat());
        }
    }
    bench.take(watch);
    lines.into_iter().filter_map(|line| line.split_once(" q").map(|(head, _)| head.to_owned())).collect()
}

#[test]
fn what_has_changed_is_published_at_each_interval_and_nothing_else() {
    let (mut bench, watch) = watched("$SYS/#");
    bench.pass(100);
    let first = values(&mut bench, watch);
    for want in [
        concat!("$SYS/broker/version tidegate version ", env!("CARGO_PKG_VERSION")),
        "$SYS/broker/uptime 0 seconds",
        "$SYS/broker/clients/connected 1",
        "$SYS/broker/subscriptions/count 1",
        "$SYS/broker/retained messages/count 0",
        "$SYS/broker/messages/received 2",
    ] {
        assert!(first.iter().any(|line| line == want), "{want} in {first:?}");
    }
    bench.pass(9_900);
    assert_eq!(values(&mut bench, watch), [""; 0], "not before the next look");
    let publisher = bench.connect("pub");
    for _ in 0..10 {
        bench.send(publisher, &publish("x", "12345", 0, false));
    }
    bench.pass(200);
    let second = values(&mut bench, watch);
    for want in ["$SYS/broker/uptime 10 seconds", "$SYS/broker/publish/messages/received 10", "$SYS/broker/publish/bytes/received 50"] {
        assert!(second.iter().any(|line| line == want), "{want} in {second:?}");
    }
    assert!(!second.iter().any(|line| line.contains("/version") || line.contains("shared_sub")), "{second:?}");
    // 60 a minute, faded in for 10 s: 60 × (1 − e^(−1/6)), and e^(−1/30), e^(−1/90).
    for want in ["1min 9.21", "5min 1.97", "15min 0.66"] {
        let want = format!("$SYS/broker/load/publish/received/{want}");
        assert!(second.contains(&want), "{want} in {second:?}");
    }
    assert_eq!((bench.broker.status().received, bench.broker.status().retained), (10, 0), "no client's messages");
    assert_eq!(bench.puts(), [""; 0], "nothing of it is stored");
}

#[test]
fn a_late_subscriber_gets_the_last_values_and_a_durable_one_at_qos_0() {
    let (mut bench, _) = watched("none");
    bench.pass(100);
    let (late, _) = bench.connect_as("late", false);
    bench.send(late, &subscribe(1, &[("$SYS/broker/uptime", 2)]));
    assert_eq!(bench.take(late), ["$SYS/broker/uptime 0 seconds q0 retain", "SUBACK 1 [2]"]);
    bench.pass(10_000);
    assert_eq!(bench.take(late), ["$SYS/broker/uptime 10 seconds q0"]);
    let traffic = bench.broker.traffic;
    assert_eq!(traffic.publish_bytes_sent, "0 seconds10 seconds".len() as u64, "{traffic:?}");
    bench.cut(late);
    bench.pass(10_000);
    let (late, _) = bench.connect_as("late", false);
    assert_eq!(bench.take(late), [""; 0], "nothing waits for it");
    let told = qos2::told(&mut bench);
    assert!(!told.iter().any(|line| line.contains("entry") || line.contains("Retained")), "{told:?}");
    let restricted = bench.open(true);
    bench.send(restricted, &[connect("r", true, 0, None), subscribe(1, &[("#", 0), ("+/broker/#", 0)])].concat());
    bench.pass(20_000);
    assert_eq!(bench.take(restricted), ["CONNACK 0", "SUBACK 1 [0, 0]"]);
}

#[test]
fn an_upstreams_connection_is_seen_as_it_changes() {
    let (mut bench, watch) = watched("$SYS/broker/connection/+/state");
    bench.pass(100);
    assert_eq!(values(&mut bench, watch), ["$SYS/broker/connection/up0/state 0"], "one that was never up is not left out");
    let link = |up| OutboxToBroker::Link { upstream: crate::model::UpstreamId(0), up };
    for (up, want) in [(true, &["$SYS/broker/connection/up0/state 1"][..]), (true, &[]), (false, &["$SYS/broker/connection/up0/state 0"])] {
        bench.outbox(link(up));
        assert_eq!(values(&mut bench, watch), want, "{up}");
    }
    let late = bench.connect("late");
    bench.send(late, &subscribe(1, &[("$SYS/broker/connection/#", 0)]));
    assert_eq!(bench.take(late), ["SUBACK 1 [0]", "$SYS/broker/connection/up0/state 0 q0 retain"]);
}

#[test]
fn without_an_interval_there_is_no_sys() {
    let mut bench = Bench::new(&[&["up"]]);
    let watch = bench.connect("watch");
    bench.send(watch, &subscribe(1, &[("$SYS/#", 0)]));
    bench.outbox(OutboxToBroker::Link { upstream: crate::model::UpstreamId(0), up: true });
    bench.pass(30_000);
    assert_eq!(bench.take(watch), ["SUBACK 1 [0]"]);
}

/// As Mosquitto has it: a bridge says that it is there by a retained message and a will under `$SYS`, unless it is told otherwise.
#[test]
fn another_brokers_bridge_says_its_state_and_nothing_else_of_sys() {
    let (mut bench, watch) = watched("$SYS/broker/connection/#");
    // Whether it is taken, and whether as its will a CONNECT of 5.0 is refused: a bridge that may not say so is a bridge nevertheless.
    for (topic, taken, refused) in [
        ("$SYS/broker/connection/site.bridge/state", true, false),
        ("$SYS/broker/connection/up0/state", false, false),
        ("$SYS/broker/connection/a/b/state", false, true),
        ("$SYS/broker/connection//state", false, true),
        ("$SYS/broker/connection/x/other", false, true),
    ] {
        let client = bench.connect("c");
        bench.send(client, &publish(topic, "1", 1, true));
        assert_eq!(bench.take(client), ["PUBACK 1"], "{topic}");
        let want = |body: &str| if taken { vec![format!("{topic} {body}")] } else { vec![] };
        let seen = |bench: &mut Bench| -> Vec<String> {
            let lines = bench.take(watch);
            lines.into_iter().filter_map(|line| line.split_once(" q").map(|(head, _)| head.to_owned())).collect()
        };
        assert_eq!(seen(&mut bench), want("1"), "{topic}");
        for (version, restricted) in [(4, false), (5, false), (5, true)] {
            let bridge = bench.open(restricted);
            let (block, will) = if version == 5 { (&[0][..], &[0][..]) } else { (&[][..], &[][..]) };
            let fields = [&[version, 0x2e], &[0, 0][..], block, &string("bridge"), will, &string(topic), &string("0")].concat();
            bench.send(bridge, &packet(0x10, &[&string("MQTT"), &fields]));
            let refused = refused && version == 5;
            assert_eq!(bench.take(bridge), [if refused { "CONNACK 135" } else { "CONNACK 0" }], "{topic}, {version}, {restricted}");
            bench.cut(bridge);
            assert_eq!(seen(&mut bench), if restricted { vec![] } else { want("0") }, "{topic}, {version}, {restricted}");
        }
    }
}
