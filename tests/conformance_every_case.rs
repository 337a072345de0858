//! What a 3.1.1 client gets: every combination of its clean session, the message's RETAIN, the subscription's QoS and the message's QoS, for a
//! subscriber that is there, one that comes back, and one that subscribes afterwards.

use crate::harness::script::check;

/// Clean session, RETAIN, QoS of the subscription, QoS of the message; then what comes to a client that is online, that was away and resumes
/// without subscribing again, and that subscribes only after the message. `qN`: once, at that QoS; `R`: with RETAIN set; `-`: nothing.
///
/// By 3.1.1: the lower QoS of both (4.3, [MQTT-3.8.4-6]); RETAIN only for a new subscription ([MQTT-3.3.1-8], [MQTT-3.3.1-9]); a clean session
/// ends with its connection ([MQTT-3.1.2-6]); a session that is kept keeps QoS 1 and 2 ([MQTT-3.1.2-5]), QoS 0 only if the server likes (here:
/// it does not); what was not retained is gone ([MQTT-3.3.1-12]).
#[rustfmt::skip]
const CASES: &[(u8, u8, u8, u8, &str, &str, &str)] = &[
    (1, 0, 0, 0, "q0", "-", "-"),
    (1, 0, 0, 1, "q0", "-", "-"),
    (1, 0, 0, 2, "q0", "-", "-"),
    (1, 0, 1, 0, "q0", "-", "-"),
    (1, 0, 1, 1, "q1", "-", "-"),
    (1, 0, 1, 2, "q1", "-", "-"),
    (1, 0, 2, 0, "q0", "-", "-"),
    (1, 0, 2, 1, "q1", "-", "-"),
    (1, 0, 2, 2, "q2", "-", "-"),
    (1, 1, 0, 0, "q0", "-", "q0R"),
    (1, 1, 0, 1, "q0", "-", "q0R"),
    (1, 1, 0, 2, "q0", "-", "q0R"),
    (1, 1, 1, 0, "q0", "-", "q0R"),
    (1, 1, 1, 1, "q1", "-", "q1R"),
    (1, 1, 1, 2, "q1", "-", "q1R"),
    (1, 1, 2, 0, "q0", "-", "q0R"),
    (1, 1, 2, 1, "q1", "-", "q1R"),
    (1, 1, 2, 2, "q2", "-", "q2R"),
    (0, 0, 0, 0, "q0", "-", "-"),
    (0, 0, 0, 1, "q0", "-", "-"),
    (0, 0, 0, 2, "q0", "-", "-"),
    (0, 0, 1, 0, "q0", "-", "-"),
    (0, 0, 1, 1, "q1", "q1", "-"),
    (0, 0, 1, 2, "q1", "q1", "-"),
    (0, 0, 2, 0, "q0", "-", "-"),
    (0, 0, 2, 1, "q1", "q1", "-"),
    (0, 0, 2, 2, "q2", "q2", "-"),
    (0, 1, 0, 0, "q0", "-", "q0R"),
    (0, 1, 0, 1, "q0", "-", "q0R"),
    (0, 1, 0, 2, "q0", "-", "q0R"),
    (0, 1, 1, 0, "q0", "-", "q0R"),
    (0, 1, 1, 1, "q1", "q1", "q1R"),
    (0, 1, 1, 2, "q1", "q1", "q1R"),
    (0, 1, 2, 0, "q0", "-", "q0R"),
    (0, 1, 2, 1, "q1", "q1", "q1R"),
    (0, 1, 2, 2, "q2", "q2", "q2R"),
];

#[test]
fn a_3_1_1_client_gets_what_the_standard_says_in_every_combination() {
    let mut rows = Vec::new();
    for &(clean, retain, subscribed, published, online, resumed, late) in CASES {
        let name = |when: &str| format!("clean {clean}, retain {retain}, subscribed {subscribed}, published {published}, {when}");
        let subscribe = format!("w > subscribe #1 ~/t={subscribed}\nw < suback #1 {subscribed}\n");
        let connect = format!("w > connect 4 id=~w clean={clean}\nw < connack 0");
        let publish = publish(retain == 1, published);
        let away = "w > disconnect\nw < closed\n";
        let again = if clean == 1 { connect.clone() } else { format!("{connect} present") };
        rows.push((name("online"), format!("{connect}\n{subscribe}{publish}{}", gets(online))));
        rows.push((name("resumed"), format!("{connect}\n{subscribe}{away}{publish}{again}\n{}", gets(resumed))));
        // What is retained may come before SUBACK (3.8.4).
        let subscribe = subscribe.replace("w <", "w |");
        rows.push((name("late"), format!("{connect}\n{publish}{subscribe}{}", gets(late).replacen("w < publish", "w | publish", 1))));
    }
    assert_eq!(rows.len(), 36 * 3);
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

/// A publisher that waits until its message is accepted; at QoS 0 its PINGRESP says so.
fn publish(retain: bool, qos: u8) -> String {
    let retain = if retain { "retain" } else { "" };
    let (id, answers) = match qos {
        0 => ("", "p < nothing\n"),
        1 => ("#5", "p < puback #5\n"),
        _ => ("#5", "p < pubrec #5\np > pubrel #5\np < pubcomp #5\n"),
    };
    format!("p > connect 4\np < connack 0\np > publish q{qos} {retain} {id} ~/t x\n{answers}")
}

fn gets(what: &str) -> String {
    let retain = if what.ends_with('R') { "retain" } else { "" };
    match what.trim_end_matches('R') {
        "-" => "w < nothing".to_owned(),
        "q0" => format!("w < publish q0 {retain} ~/t \"x\"\nw < nothing"),
        "q1" => format!("w < publish q1 {retain} #x ~/t \"x\"\nw > puback #x\nw < nothing"),
        _ => format!("w < publish q2 {retain} #x ~/t \"x\"\nw > pubrec #x\nw < pubrel #x\nw > pubcomp #x\nw < nothing"),
    }
}
