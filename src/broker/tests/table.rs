//! What a 3.1.1 subscriber gets, by clean session, RETAIN, the QoS that it subscribed at and that of the message.

use super::*;

/// Clean session, RETAIN, QoS of the subscription, QoS of the PUBLISH; what comes to a subscriber that is there, to one that was away and has
/// come back, and to one that subscribes afterwards.
type Row = (bool, bool, u8, u8, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: [Row; 36] = [
    (true, false, 0, 0, "t x q0", "", ""),
    (true, false, 0, 1, "t x q0", "", ""),
    (true, false, 0, 2, "t x q0", "", ""),
    (true, false, 1, 0, "t x q0", "", ""),
    (true, false, 1, 1, "t x q1", "", ""),
    (true, false, 1, 2, "t x q1", "", ""),
    (true, false, 2, 0, "t x q0", "", ""),
    (true, false, 2, 1, "t x q1", "", ""),
    (true, false, 2, 2, "t x q2", "", ""),
    (true, true, 0, 0, "t x q0", "", "t x q0 retain"),
    (true, true, 0, 1, "t x q0", "", "t x q0 retain"),
    (true, true, 0, 2, "t x q0", "", "t x q0 retain"),
    (true, true, 1, 0, "t x q0", "", "t x q0 retain"),
    (true, true, 1, 1, "t x q1", "", "t x q1 retain"),
    (true, true, 1, 2, "t x q1", "", "t x q1 retain"),
    (true, true, 2, 0, "t x q0", "", "t x q0 retain"),
    (true, true, 2, 1, "t x q1", "", "t x q1 retain"),
    (true, true, 2, 2, "t x q2", "", "t x q2 retain"),
    (false, false, 0, 0, "t x q0", "", ""),
    (false, false, 0, 1, "t x q0", "", ""),
    (false, false, 0, 2, "t x q0", "", ""),
    (false, false, 1, 0, "t x q0", "", ""),
    (false, false, 1, 1, "t x q1", "t x q1", ""),
    (false, false, 1, 2, "t x q1", "t x q1", ""),
    (false, false, 2, 0, "t x q0", "", ""),
    (false, false, 2, 1, "t x q1", "t x q1", ""),
    (false, false, 2, 2, "t x q2", "t x q2", ""),
    (false, true, 0, 0, "t x q0", "", "t x q0 retain"),
    (false, true, 0, 1, "t x q0", "", "t x q0 retain"),
    (false, true, 0, 2, "t x q0", "", "t x q0 retain"),
    (false, true, 1, 0, "t x q0", "", "t x q0 retain"),
    (false, true, 1, 1, "t x q1", "t x q1", "t x q1 retain"),
    (false, true, 1, 2, "t x q1", "t x q1", "t x q1 retain"),
    (false, true, 2, 0, "t x q0", "", "t x q0 retain"),
    (false, true, 2, 1, "t x q1", "t x q1", "t x q1 retain"),
    (false, true, 2, 2, "t x q2", "t x q2", "t x q2 retain"),
];

#[test]
fn a_3_1_1_subscriber_gets_what_the_table_says() {
    for (clean, retain, granted, qos, online, resumed, late) in ROWS {
        let row = format!("clean {clean}, retain {retain}, subscribed at {granted}, published at {qos}");
        assert_eq!(get(clean, retain, granted, qos, When::Online), online, "online: {row}");
        assert_eq!(get(clean, retain, granted, qos, When::Resumed), resumed, "resumed: {row}");
        assert_eq!(get(clean, retain, granted, qos, When::Late), late, "late: {row}");
    }
}

/// `queue_qos0` changes what waits for a subscriber that is away, and nothing else.
#[test]
fn with_queue_qos0_what_is_worth_0_waits_too() {
    let limits = || Limits { queue_qos0: true, ..quiet() };
    for (clean, granted, qos, want) in
        [(false, 0, 0, "t x q0"), (false, 0, 1, "t x q0"), (false, 1, 0, "t x q0"), (false, 2, 2, "t x q2"), (true, 0, 0, "")]
    {
        assert_eq!(get_with(limits(), clean, false, granted, qos, When::Resumed), want, "clean {clean}, {granted}, {qos}");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    Online,
    Resumed,
    Late,
}

fn get(clean: bool, retain: bool, granted: u8, qos: u8, when: When) -> String {
    get_with(quiet(), clean, retain, granted, qos, when)
}

fn get_with(limits: Limits, clean: bool, retain: bool, granted: u8, qos: u8, when: When) -> String {
    let mut bench = Bench::with(&[], limits);
    let (mut sub, _) = bench.connect_as("sub", clean);
    let subscription = subscribe(1, &[("t", granted)]);
    if when != When::Late {
        bench.send(sub, &subscription);
        bench.take(sub);
    }
    if when == When::Resumed {
        bench.send(sub, &DISCONNECT);
        bench.cut(sub);
    }
    let publisher = bench.connect("pub");
    let id: &[u8] = if qos == 0 { &[] } else { &[0, 7] };
    bench.send(publisher, &packet(0x30 | qos << 1 | u8::from(retain), &[&string("t"), id, b"x"]));
    match when {
        When::Online => {}
        When::Resumed => sub = bench.connect_as("sub", clean).0,
        When::Late => drop(bench.send(sub, &subscription)),
    }
    bench.commit();
    let lines: Vec<String> = bench.take(sub).into_iter().filter(|line| !line.starts_with("SUBACK")).collect();
    // The packet id says nothing here.
    lines.join("; ").replace(" id1", "")
}
