//! What happens between a message and its commit: sessions that change or end meanwhile.

use super::qos2::{publish2, say};
use super::wire5::connect5;
use super::*;

/// With a session in the store that takes `filter` at QoS 2.
fn durable(bench: &mut Bench, client: &str, filters: &[&str]) -> ConnId {
    let (id, _) = bench.connect_as(client, false);
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 2)).collect();
    bench.send(id, &subscribe(1, &filters));
    bench.take(id);
    id
}

/// It stood in the store's row of the message, and is to get it once.
#[test]
fn a_session_that_ceases_to_outlive_its_connection_gets_a_gated_message_once() {
    let mut bench = Bench::new(&[]);
    let first = durable(&mut bench, "sub", &["t"]);
    let (publisher, _) = bench.connect_as("pub", false);
    say(&mut bench, publisher, &publish2("t", "x", 7, false));
    let second = bench.open(false);
    say(&mut bench, second, &connect5("sub", false, 0, &[]));
    assert_eq!(bench.take(first), [""; 0]);
    bench.commit();
    let packets = bench.raw(second);
    let copies = packets.windows(3).filter(|bytes| bytes == b"\0\x01t").count();
    assert_eq!(copies, 1, "{packets:?}");
}
