//! A gateway above a gateway: the bridge's MQTT 5.0 against our own broker, and what both together have acknowledged.

use std::time::Duration;

use tidegate::clock;

use crate::harness::gateway::Site;
use crate::harness::publisher::{Load, Publishers};
use crate::harness::random::Random;
use crate::harness::receiver::Receiver;
use crate::harness::rig::upstream;
use crate::harness::words::Words;
use crate::harness::{alone, full, let_run, report};

const SOON: Duration = Duration::from_secs(60);
const LOAD: Load = Load { publishers: 3, rate: 30, window: 20, topic: "pub/{p}" };
/// Entries that one kill may bring again: the bridge's window, and what the last cursor did not know.
const AGAIN: usize = 100 + 4_096;

/// The lower site, and the one that is its upstream.
fn sites() -> (Site, Site) {
    let upper = Site::new("");
    (Site::new(&upstream("upper", upper.port, "#")), upper)
}

fn connected(lower: &Site) {
    let protocol = lower.status_with("a connected upstream", SOON, |status| status.upstreams.first()?.protocol.clone());
    assert_eq!(protocol, "MQTT 5.0", "by default");
}

#[test]
fn our_own_broker_gets_properties_and_the_id_at_5_0() {
    let (lower, upper) = sites();
    let (_above, _below) = (upper.start(), lower.start());
    connected(&lower);
    let mut reader = Words::open(upper.port, 5).expect("the upper gateway listens");
    reader.send("connect 5 id=reader");
    reader.send("subscribe #1 t=1");
    assert_eq!(["connack", "suback"].map(|_| reader.next("an answer")[0].clone()), ["connack", "suback"]);
    let mut writer = Words::open(lower.port, 5).expect("the lower gateway listens");
    writer.send("connect 5 id=writer");
    writer.next("CONNACK");
    writer.send("publish q1 #1 t \"body\" content-type=text up=a:b");
    assert_eq!(writer.next("PUBACK")[0], "puback");
    let packet = reader.next("the message").join(" ");
    for part in ["q1", " t ", "\"body\"", "content-type=text", "up=a:b", "up=tidegate-id:plant-7/1-"] {
        assert!(packet.contains(part), "{part} in {packet}");
    }
}

#[test]
fn what_a_chain_of_gateways_has_acknowledged_outlives_kills_of_each() {
    let _alone = alone();
    let mut random = Random::of("bridge_to_gateway");
    let (lower, upper) = sites();
    let (mut above, mut below) = (upper.start(), lower.start());
    connected(&lower);
    let receiver = Receiver::with(upper.port, "#", &["-c", "-i", "receiver"]);
    let publishers = Publishers::start(lower.port, LOAD);
    let kills = if full() { 40 } else { 6 };
    for kill in 0..kills {
        let_run(Duration::from_millis(random.between(200, 1_200)));
        if kill % 2 == 0 {
            above.kill();
            above = upper.start();
        } else {
            below.kill();
            below = lower.start();
        }
    }
    let ledger = publishers.finish(SOON);
    let deadline = clock::mono() + SOON;
    while !ledger.judge(&receiver.all()).lost.is_empty() && clock::mono() < deadline {
        let_run(Duration::from_millis(100));
    }
    let verdict = ledger.judge(&receiver.all());
    report(&format!("bridge_to_gateway: {kills} kills: {}", verdict.line()));
    verdict.assert_kept(AGAIN * kills);
    drop((above, below));
}
