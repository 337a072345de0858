//! The ledger sees a loss, an invention, a wrong order and a duplicate; the publishers behind it keep their own promises; the line sensor
//! outlives its readers. Otherwise every test that stands on them would pass.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;

use crate::harness::ledger::Ledger;
use crate::harness::line_sensor::LineSensor;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::Proxy;
use crate::harness::publisher::{Load, Publishers};
use crate::harness::random::Random;
use crate::harness::receiver::{Received, Receiver};
use crate::harness::wire::{Meter, Wire};
use crate::harness::{alone, let_run, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// What was sent, what of it was acknowledged, what arrived; then how many lost, invented, out of order, twice.
type Row = (&'static [u64], &'static [u64], &'static [&'static str], [usize; 4]);

#[test]
fn the_ledger_sees_what_went_wrong() {
    let rows: [Row; 7] = [
        (&[1, 2, 3], &[1, 2, 3], &["1 1", "1 2", "1 3"], [0, 0, 0, 0]),
        (&[1, 2, 3], &[1, 2, 3], &["1 1", "1 3"], [1, 0, 0, 0]),
        (&[1, 2, 3], &[1], &["1 1", "1 3"], [0, 0, 0, 0]),
        (&[1, 2], &[1, 2], &["1 1", "1 2", "1 3"], [0, 1, 0, 0]),
        (&[1, 2, 3], &[1, 2, 3], &["1 1", "1 3", "1 2"], [0, 0, 1, 0]),
        (&[1, 2, 3], &[1, 2, 3], &["1 1", "1 2", "1 1", "1 2", "1 3"], [0, 0, 0, 2]),
        (&[1], &[1], &["{\"v\":1}", "1 1"], [0, 0, 0, 0]),
    ];
    for (sent, acked, arrived, want) in rows {
        let mut ledger = Ledger::default();
        sent.iter().for_each(|n| ledger.add(&format!("s 1 {n} 7\n"), Mono::from_nanos));
        acked.iter().for_each(|n| ledger.add(&format!("a 1 {n} 8\n"), Mono::from_nanos));
        let message =
            |text: &&str| Received { topic: "t".into(), payload: text.as_bytes().to_vec(), retain: false, qos: 1, at: clock::mono() };
        let arrived: Vec<Received> = arrived.iter().map(message).collect();
        let verdict = ledger.judge(&arrived);
        let got = [verdict.lost.len(), verdict.invented.len(), verdict.out_of_order.len(), verdict.duplicates];
        assert_eq!(got, want, "{arrived:?}");
    }
}

#[test]
fn publishers_keep_their_order_and_resend_what_was_not_acknowledged() {
    let _alone = alone();
    let mut random = Random::of("harness: publishers");
    let broker = Mosquitto::start();
    let proxy = Proxy::before(broker.port());
    let receiver = Receiver::start(broker.port(), "pub/#");
    let publishers = Publishers::start(proxy.port(), Load { publishers: 5, rate: 50, window: 20, topic: "pub/{p}" });
    for _ in 0..5 {
        let before = receiver.count();
        wait_until("messages through the proxy", SOON, || receiver.count() > before + 20);
        let_run(Duration::from_millis(random.between(0, 100)));
        assert!(proxy.cut() > 0, "the publishers are connected");
    }
    let ledger = publishers.finish(SOON);
    let acked = ledger.acked.len();
    assert_eq!(acked, ledger.sent.len(), "the publishers end when all is acknowledged");
    wait_for("all that was acknowledged", SOON, || ledger.judge(&receiver.all()).lost.is_empty().then_some(()));
    ledger.judge(&receiver.all()).assert_kept(0);
}

#[test]
fn the_line_sensor_goes_on_while_nobody_reads() {
    let sensor = LineSensor::start(200);
    let mut read = Vec::new();
    for _ in 0..2 {
        let lines = BufReader::new(File::open(sensor.port()).expect("the port can be opened")).lines();
        // The first line of a reader may lack its beginning.
        read.extend(lines.map(|line| line.expect("the port can be read")).skip(1).take(50));
        let before = sensor.emitted().len();
        wait_until("lines that nobody reads", SOON, || sensor.emitted().len() > before + 100);
    }
    let numbers: Vec<u64> = read.iter().map(|line| line.trim_start_matches("C=").parse().expect("a whole line")).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let emitted = sensor.emitted();
    assert!(numbers.iter().all(|n| emitted.contains_key(n)), "{numbers:?}");
}

#[test]
fn the_meter_answers_across_the_wire() {
    // Requests with their CRCs, and the replies without (Modbus over Serial Line 1.02, 2.5.1; Application Protocol 1.1b3, 6.1 to 6.4).
    let rows: [(&[u8], &[u8]); 4] = [
        (&[1, 4, 0, 0, 0, 2, 0x71, 0xcb], &[1, 4, 4, 0x43, 0x66, 0x80, 0]),
        (&[1, 3, 0, 10, 0, 1, 0xa4, 0x08], &[1, 3, 2, 0xff, 0xc9]),
        (&[1, 1, 0, 3, 0, 1, 0x0d, 0xca], &[1, 1, 1, 1]),
        (&[1, 2, 0, 4, 0, 1, 0xf8, 0x0b], &[1, 2, 1, 0]),
    ];
    let wire = Wire::new();
    let _meter = Meter::start(&wire.far, 19_200);
    let mut port = File::options().read(true).write(true).open(&wire.near).expect("the port can be opened");
    let (said, hear) = mpsc::channel();
    let mut reader = port.try_clone().expect("a file can be shared");
    thread::spawn(move || {
        let mut byte = [0];
        while reader.read_exact(&mut byte).is_ok() && said.send(byte[0]).is_ok() {}
    });
    for (request, reply) in rows {
        port.write_all(request).expect("the port takes a request");
        let heard: Vec<u8> = (0..reply.len() + 2).map_while(|_| hear.recv_timeout(SOON).ok()).collect();
        assert_eq!(heard.get(..reply.len()), Some(reply), "to {request:x?}");
    }
}
