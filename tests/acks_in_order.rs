//! A is owed to an upstream that is silent, B to nobody. On one connection A's acknowledgement leaves before B's; on two, B's leaves at once.

use tidegate::faults;
use tidegate::model::{Entry, IdRange, OutboxToBroker, Put, Start, ToOutbox};

use crate::harness::broker::{DRAIN, LocalBroker, options};
use crate::harness::raw::{Raw, publish};
use crate::harness::{alone_in_a_process, has_faults, report, wait_until};

const PUBACK: u8 = 0x40;

fn next_entries(broker: &mut LocalBroker) -> Vec<Entry> {
    let ToOutbox::Put(puts) = broker.to_outbox.blocking_recv().expect("the broker runs");
    let entry = |put| match put {
        Put::Entry(entry) => Some(entry),
        _ => None,
    };
    puts.into_iter().filter_map(entry).collect()
}

#[test]
fn acknowledgements_leave_in_the_order_of_the_publishes() {
    let mut broker = LocalBroker::by_hand(options(&[&["up/#"]]));
    broker.from_outbox.blocking_send(OutboxToBroker::Started(Start { epoch: 3, nonce: 9 })).expect("the broker runs");
    let (mut one, mut two) = (Raw::connect(broker.port(), "one"), Raw::connect(broker.port(), "two"));
    one.send(&[publish("up/a", b"A", 1), publish("here", b"B", 2)].concat());
    let entries = next_entries(&mut broker);
    assert_eq!(entries.len(), 1, "only A is owed");
    // The ping was sent behind both, so its answer comes behind whatever they have been answered.
    let before = one.ping();
    if faults::active("ack-at-once") {
        assert_eq!(before, [], "SEEN: B was acknowledged before A");
    }
    assert_eq!(before, [], "one connection: B's acknowledgement waits for A's");
    two.send(&publish("here", b"B", 7));
    assert_eq!(two.ping(), [(PUBACK, vec![0, 7])], "two connections: B's leaves at once");
    let range = IdRange::one(entries.first().expect("A").id);
    broker.from_outbox.blocking_send(OutboxToBroker::Secured(vec![range])).expect("the broker runs");
    assert_eq!([one.next(), one.next()], [(PUBACK, vec![0, 1]), (PUBACK, vec![0, 2])]);
    report("acks_in_order: one connection, A before B; two connections, B at once");
}

#[test]
fn a_broker_that_acknowledges_at_once_is_found_out() {
    if !has_faults("acks_in_order") {
        return;
    }
    let output = alone_in_a_process("acks_in_order::acknowledgements_leave_in_the_order_of_the_publishes", "ack-at-once");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("SEEN: B was acknowledged before A"), "{said}");
    report("acks_in_order: CONTROL ack-at-once: B before A was seen, as it must be");
}

/// What was accepted before the drain is acknowledged in it; the connection ends only then.
#[test]
fn a_drain_waits_for_what_is_owed() {
    let mut broker = LocalBroker::by_hand(options(&[&["up/#"]]));
    broker.from_outbox.blocking_send(OutboxToBroker::Started(Start { epoch: 3, nonce: 9 })).expect("the broker runs");
    let mut client = Raw::connect(broker.port(), "c");
    client.send(&[publish("up/a", b"A", 1), publish("here", b"B", 2)].concat());
    let entries = next_entries(&mut broker);
    broker.stop();
    // It has begun: what comes before would be heard by a broker that does not wait, too.
    wait_until("a broker that listens no more", DRAIN, || std::net::TcpStream::connect(("127.0.0.1", broker.port())).is_err());
    let range = IdRange::one(entries.first().expect("A").id);
    broker.from_outbox.blocking_send(OutboxToBroker::Secured(vec![range])).expect("the broker runs");
    assert_eq!([client.next(), client.next()], [(PUBACK, vec![0, 1]), (PUBACK, vec![0, 2])]);
    wait_until("the broker ends", DRAIN, || broker.has_ended());
}

/// This session ends with its connection, so its will cannot wait for the restart: it is published, and secured, before the broker ends.
#[test]
fn a_drain_publishes_the_wills_of_those_who_are_connected() {
    let mut broker = LocalBroker::by_hand(options(&[&["up/#"]]));
    broker.from_outbox.blocking_send(OutboxToBroker::Started(Start { epoch: 3, nonce: 9 })).expect("the broker runs");
    let mut watcher = Raw::connect(broker.port(), "w");
    watcher.subscribe("up/#", 0);
    let _device = Raw::connect_with_will(broker.port(), "d", "up/d", b"gone");
    broker.stop();
    let entries = next_entries(&mut broker);
    let will = entries.first().expect("the will is owed to the upstream");
    assert_eq!((will.topic.as_str(), &will.body.bytes[..]), ("up/d", &b"gone"[..]));
    broker.from_outbox.blocking_send(OutboxToBroker::Secured(vec![IdRange::one(will.id)])).expect("the broker runs");
    assert_eq!(watcher.next(), (0x30, b"\0\x04up/dgone".to_vec()), "a local client hears it, too");
    wait_until("the broker ends", DRAIN, || broker.has_ended());
}
