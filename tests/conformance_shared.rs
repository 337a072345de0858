//! Shared subscriptions (5.0, 4.8.2).

use crate::harness::script::{Row, check};

/// Two members of a group, each with its own QoS.
const MEMBERS: &str = "m > connect 5 id=~m clean=0 session-expiry=60
                       m < connack 0
                       m > subscribe #1 $share/g/~/t=2
                       m < suback #1 2
                       p > connect 5
                       p < connack 0\n";

fn check_members(rows: &[Row]) {
    let rows: Vec<_> = rows.iter().map(|(name, script)| (*name, format!("{MEMBERS}{script}"))).collect();
    check(&rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_share_has_a_name_and_a_filter() {
    let wrong = [
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//~",
        "$share/g+/~",
        "$share/g#/~",
        "$share/+/~",
        "$share/#",
        "$share/g/~/a#",
    ];
    let mut rows = Vec::new();
    for filter in wrong {
        rows.push((
            format!("5.0, {filter}"),
            format!(
                "not mosquitto: it ends the connection\na > connect 5\na < connack 0\na > subscribe #1 {filter}=1 ~=1\na < suback #1 0x8f 1"
            ),
        ));
    }
    for filter in ["$share/g/~", "$share/g/#", "$share/g//", "$share/g/+/~", "$share/\u{e9}/~", "$shared/~"] {
        rows.push((format!("5.0, {filter}"), format!("a > connect 5\na < connack 0\na > subscribe #1 {filter}=1\na < suback #1 1")));
    }
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

#[test]
fn each_message_goes_to_one_member_at_its_qos() {
    check_members(&[
        (
            "one copy in all",
            "n > connect 5
             n < connack 0
             n > subscribe #1 $share/g/~/t=0
             n < suback #1 0
             w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=0 $share/h/~/+=0
             w < suback #1 0 0
             p > publish q1 #1 ~/t 1
             p < puback #1
             p > publish q1 #2 ~/t 2
             p < puback #2
             m | publish q1 * ~/t *
             n | publish q0 ~/t *
             w < publish q0 ~/t *
             w < publish q0 ~/t *
             w < publish q0 ~/t *
             w < publish q0 ~/t *
             w < nothing
             m < nothing
             n < nothing",
        ),
        (
            "by a wildcard, with its identifier",
            "m > unsubscribe #2 $share/g/~/t
             m < unsuback #2 0
             m > subscribe #3 $share/g/~/+=1 sub-id=9
             m < suback #3 1
             p > publish q2 #1 ~/t x up=a:b
             p < pubrec #1
             p > pubrel #1
             p < pubcomp #1
             m < publish q1 * ~/t \"x\" sub-id=9 up=a:b
             m < nothing",
        ),
        (
            "no more after UNSUBSCRIBE",
            "m > unsubscribe #2 ~/t
             m < unsuback #2 17
             p > publish q0 ~/t x
             m < publish q0 ~/t \"x\"
             m > unsubscribe #3 $share/g/~/t
             m < unsuback #3 0
             p > publish q0 ~/t y
             m < nothing",
        ),
        (
            "a member's own messages, too",
            "m > publish q0 ~/t mine
             m < publish q0 ~/t \"mine\"",
        ),
    ]);
}

#[test]
fn members_get_no_retained_messages_for_subscribing() {
    check_members(&[(
        "retained before",
        "not mosquitto: it sends them
         p > publish q1 retain #1 ~/t x
         p < puback #1
         m < publish q1 #x ~/t \"x\"
         m > puback #x
         m > subscribe #2 $share/g/~/t=1
         m < suback #2 1
         n > connect 5
         n < connack 0
         n > subscribe #1 $share/g/~/t=1
         n < suback #1 1
         m < nothing
         n < nothing",
    )]);
}

#[test]
fn a_member_that_is_away_is_passed_over_while_another_is_there() {
    check_members(&[
        (
            "the other gets all",
            "not mosquitto: it keeps some for who is away
             n > connect 5
             n < connack 0
             n > subscribe #1 $share/g/~/t=1
             n < suback #1 1
             m > disconnect
             m < closed
             p > publish q1 #1 ~/t 1
             p < puback #1
             p > publish q1 #2 ~/t 2
             p < puback #2
             n < publish q1 * ~/t \"1\"
             n < publish q1 * ~/t \"2\"
             m > connect 5 id=~m clean=0 session-expiry=60
             m < connack 0 present
             m < nothing",
        ),
        (
            "nobody there: kept for one that will come back",
            "m > disconnect
             m < closed
             p > publish q1 #1 ~/t 1
             p < puback #1
             p > publish q1 #2 ~/t 2
             p < puback #2
             m > connect 5 id=~m clean=0 session-expiry=60
             m < connack 0 present
             m < publish q1 * ~/t \"1\"
             m < publish q1 * ~/t \"2\"
             m < nothing",
        ),
    ]);
}

const UNFINISHED: &[Row] = &[
    (
        "QoS 1 unacknowledged, its session ended: to another",
        "not mosquitto: it drops it
             p > publish q1 #1 ~/t x
             p < puback #1
             m < publish q1 #x ~/t \"x\"
             n > connect 5
             n < connack 0
             n > subscribe #1 $share/g/~/t=1
             n < suback #1 1
             m > disconnect 0 session-expiry=0
             m < closed
             n < publish q1 * ~/t \"x\"
             n < nothing",
    ),
    (
        "QoS 2 sent: finished with that client",
        "p > publish q2 #1 ~/t x
             p < pubrec #1
             p > pubrel #1
             p < pubcomp #1
             m < publish q2 #x ~/t \"x\"
             n > connect 5
             n < connack 0
             n > subscribe #1 $share/g/~/t=2
             n < suback #1 2
             m > disconnect
             m < closed
             n < nothing
             m > connect 5 id=~m clean=0 session-expiry=60
             m < connack 0 present
             m < publish q2 dup #x ~/t \"x\"
             m > pubrec #x
             m < pubrel #x
             m > pubcomp #x
             m < nothing
             n < nothing",
    ),
    (
        "QoS 2 sent, its session ended: to nobody",
        "p > publish q2 #1 ~/t x
             p < pubrec #1
             p > pubrel #1
             p < pubcomp #1
             m < publish q2 #x ~/t \"x\"
             n > connect 5
             n < connack 0
             n > subscribe #1 $share/g/~/t=2
             n < suback #1 2
             m > disconnect 0 session-expiry=0
             m < closed
             wait 300
             n < nothing",
    ),
    (
        "refused by PUBACK or PUBREC: to nobody",
        "n > connect 5
             n < connack 0
             p > publish q1 #1 ~/t x
             p < puback #1
             m < publish q1 #x ~/t \"x\"
             n > subscribe #1 $share/g/~/t=2
             n < suback #1 2
             m > puback #x 0x80
             m < nothing
             n < nothing
             n > unsubscribe #2 $share/g/~/t
             n < unsuback #2 0
             p > publish q2 #2 ~/t y
             p < pubrec #2
             p > pubrel #2
             p < pubcomp #2
             m < publish q2 #y ~/t \"y\"
             n > subscribe #3 $share/g/~/t=2
             n < suback #3 2
             m > pubrec #y 0x83
             m < nothing
             n < nothing",
    ),
];

#[test]
fn what_a_member_has_not_finished_goes_as_the_standard_says() {
    check_members(UNFINISHED);
}
