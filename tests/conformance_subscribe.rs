//! SUBSCRIBE, UNSUBSCRIBE and their answers (3.8 to 3.11) on the wire.

use crate::harness::script::{Row, check, check_versions};

#[test]
fn suback_has_one_code_for_each_filter_in_their_order() {
    check_versions(
        "345",
        &[
            ("one", "a > connect V\na < connack 0\na > subscribe #65535 ~/t=1\na < suback #65535 1"),
            (
                "each QoS",
                "a > connect V
                 a < connack 0
                 a > subscribe #10 ~/c=2 ~/a=0 ~/b=1 ~/+/#=2
                 a < suback #10 2 0 1 2",
            ),
            (
                "as if they came one after another: the second replaces the first",
                "a > connect V
                 a < connack 0
                 a > subscribe #10 ~/t=1 ~/t=0
                 a < suback #10 1 0
                 a > publish q1 #1 ~/t x
                 a | puback #1
                 a | publish q0 ~/t \"x\"",
            ),
            (
                "the same identifier again",
                "a > connect V\na < connack 0\na > subscribe #1 ~/t=1\na < suback #1 1\na > subscribe #1 ~/u=1\na < suback #1 1",
            ),
        ],
    );
    check(&[
        ("the longest filter", "a > connect 5\na < connack 0\na > subscribe #1 a*65535=1\na < suback #1 1"),
        (
            "5.0: a filter that is none, among others",
            "not mosquitto: it ends the connection
             a > connect 5
             a < connack 0
             a > subscribe #1 ~/a=1 ~/b#=1 ~/+c/d=0 ~/#/e=1 \"\"=0 ~/f=2
             a < suback #1 1 0x8f 0x8f 0x8f 0x8f 2
             a > publish q0 ~/f x
             a < publish q0 ~/f \"x\"",
        ),
    ]);
}

#[test]
fn malformed_subscribes_end_the_connection() {
    let wrong = [
        ("SUBSCRIBE without its flag", "hex 8006 0001 0001 74 00", "hex 8007 0001 00 0001 74 00", "0x81"),
        ("SUBSCRIBE with other flags", "hex 8306 0001 0001 74 00", "hex 8f07 0001 00 0001 74 00", "0x81"),
        ("UNSUBSCRIBE without its flag", "hex a005 0001 0001 74", "hex a006 0001 00 0001 74", "0x81"),
        ("SUBSCRIBE without a filter", "subscribe #1", "subscribe #1", "0x82"),
        ("UNSUBSCRIBE without a filter", "unsubscribe #1", "unsubscribe #1", "0x82"),
        ("SUBSCRIBE with identifier 0", "subscribe #0 ~/t=1", "subscribe #0 ~/t=1", "0x82"),
        ("UNSUBSCRIBE with identifier 0", "unsubscribe #0 ~/t", "unsubscribe #0 ~/t", "0x82"),
        ("a filter without its options", "hex 8205 0001 0001 74", "hex 8206 0001 00 0001 74", "0x81"),
        ("a filter with U+0000", "subscribe #1 ~/\\x00=1", "subscribe #1 ~/\\x00=1", "0x81"),
        ("a filter that is not UTF-8", "subscribe #1 ~/\\xff=1", "subscribe #1 ~/\\xff=1", "0x81"),
        ("an UNSUBSCRIBE filter that is not UTF-8", "unsubscribe #1 ~/\\xff", "unsubscribe #1 ~/\\xff", "0x81"),
        ("a reserved bit", "subscribe #1 ~/t=0x80", "subscribe #1 ~/t=0x80", "0x81"),
        ("another reserved bit", "subscribe #1 ~/t=0x04", "subscribe #1 ~/t=0x40", "0x81"),
        ("QoS 3", "subscribe #1 ~/t=0x03", "subscribe #1 ~/t=0x03", "0x82"),
        ("a good filter before a bad one", "subscribe #1 ~/t=1 ~/u=3", "subscribe #1 ~/t=1 ~/u=3", "0x82"),
    ];
    let mut rows = Vec::new();
    for (name, old, new, code) in wrong {
        let peer = if name.contains("flag") || code == "0x82" || name.contains("UNSUB") { "not mosquitto: it has 0x81\n" } else { "" };
        rows.push((format!("3.1.1, {name}"), format!("{peer}a > connect 4\na < connack 0\na > {old}\na < closed")));
        rows.push((format!("5.0, {name}"), format!("{peer}a > connect 5\na < connack 0\na > {new}\na < disconnect {code}\na < closed")));
    }
    let new = [
        ("retain handling 3", "subscribe #1 ~/t=0x30", "0x82"),
        ("no local on a shared subscription", "subscribe #1 $share/g/~=1nl", "0x82"),
        ("subscription identifier 0", "subscribe #1 ~/t=1 sub-id=0", "0x82"),
        ("two subscription identifiers", "subscribe #1 ~/t=1 sub-id=1 sub-id=2", "0x82"),
    ];
    for (name, packet, code) in new {
        let peer = "not mosquitto: it has 0x81 for some\n";
        rows.push((format!("5.0, {name}"), format!("{peer}a > connect 5\na < connack 0\na > {packet}\na < disconnect {code}\na < closed")));
    }
    for filter in ["~/b#", "~/#/c", "~/+b", "\"\""] {
        rows.push((format!("3.1.1, {filter}"), format!("a > connect 4\na < connack 0\na > subscribe #1 {filter}=1\na < closed")));
    }
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_subscription_is_replaced_by_one_with_the_same_filter() {
    check(&[
        (
            "3.1.1: its QoS",
            "a > connect 4
             a < connack 0
             a > subscribe #1 ~/t=2
             a < suback #1 2
             a > subscribe #2 ~/t=0
             a < suback #2 0
             a > publish q1 #1 ~/t x
             a | puback #1
             a | publish q0 ~/t \"x\"
             a < nothing",
        ),
        (
            "5.0: its options and its identifier",
            "not mosquitto: it keeps the first one's no local
             a > connect 5
             a < connack 0
             a > subscribe #1 ~/t=1 sub-id=1
             a < suback #1 1
             a > publish q0 ~/t x
             a < publish q0 ~/t \"x\" sub-id=1
             a > subscribe #2 ~/t=1 sub-id=2
             a < suback #2 1
             a > publish q0 ~/t x
             a < publish q0 ~/t \"x\" sub-id=2
             a > subscribe #3 ~/t=1
             a < suback #3 1
             a > publish q0 ~/t x
             a < publish q0 ~/t \"x\"
             a > subscribe #4 ~/t=1nl
             a < suback #4 1
             a > publish q0 ~/t x
             a < nothing",
        ),
        (
            "nothing is lost meanwhile",
            "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t 1
             a < puback #1
             w > subscribe #2 ~/t=1
             a > publish q1 #2 ~/t 2
             a < puback #2
             w | suback #2 1
             w | publish q1 * ~/t \"1\"
             w | publish q1 * ~/t \"2\"",
        ),
    ]);
}

#[test]
fn no_local_keeps_a_client_from_its_own_messages() {
    check(&[(
        "its own and another's",
        "a > connect 5
         a < connack 0
         b > connect 5
         b < connack 0
         a > subscribe #1 ~/t=1nl
         a < suback #1 1
         a > publish q1 #1 ~/t mine
         a < puback #1
         b > publish q1 #1 ~/t another's
         b < puback #1
         a < publish q1 * ~/t \"another's\"
         a < nothing",
    )]);
}

#[test]
fn unsubscribe_ends_what_matches_letter_for_letter() {
    check_versions(
        "34",
        &[(
            "3.1.1",
            "a > connect V
             a < connack 0
             a > subscribe #1 ~/#=0 ~/t=0
             a < suback #1 0 0
             a > unsubscribe #2 ~/+ ~/x
             a < unsuback #2
             a > publish q0 ~/t 1
             a < publish q0 ~/t \"1\"
             a > unsubscribe #65535 ~/#
             a < unsuback #65535
             a > publish q0 ~/t 2
             a > publish q0 ~/u 3
             a < publish q0 ~/t \"2\"
             a > unsubscribe #4 ~/u ~/t
             a < unsuback #4
             a > publish q0 ~/t 4
             a < nothing",
        )],
    );
    check(&[
        (
            "5.0: a code for each filter in their order",
            "a > connect 5
             a < connack 0
             a > subscribe #1 ~/a=0 ~/b=0
             a < suback #1 0 0
             a > unsubscribe #2 ~/x ~/b ~/b ~/a up=k:v
             a < unsuback #2 17 0 17 0
             a > publish q0 ~/a x
             a < nothing",
        ),
        (
            "what is on its way is finished",
            "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q2 #1 ~/t x
             a < pubrec #1
             a > pubrel #1
             a < pubcomp #1
             w < publish q2 #x ~/t \"x\"
             w > unsubscribe #2 ~/t
             w < unsuback #2 0
             w > pubrec #x
             w < pubrel #x
             w > pubcomp #x
             w < nothing",
        ),
    ]);
}

const IDENTIFIERS: &[Row] = &[
    (
        "of all that overlap",
        "not mosquitto: it sends a copy for each
             a > connect 5
             a < connack 0
             a > subscribe #1 ~/t=1 sub-id=1
             a < suback #1 1
             a > subscribe #2 ~/+=0 sub-id=268435455
             a < suback #2 0
             a > subscribe #3 ~/#=0
             a < suback #3 0
             a > subscribe #4 ~/t/#=0 sub-id=128
             a < suback #4 0
             a > publish q1 #1 ~/t x
             a | puback #1
             a | publish q1 * ~/t \"x\" sub-id=1 sub-id=128 sub-id=268435455
             a > publish q0 ~/u y
             a < publish q0 ~/u \"y\" sub-id=268435455
             a < nothing",
    ),
    (
        "the same one twice",
        "not mosquitto: it sends a copy for each
             a > connect 5
             a < connack 0
             a > subscribe #1 ~/t=0 ~/+=0 sub-id=5
             a < suback #1 0 0
             a > publish q0 ~/t x
             a < publish q0 ~/t \"x\" sub-id=5 sub-id=5",
    ),
    (
        "with what a session that was away is sent",
        "w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w > subscribe #1 ~/t=1 sub-id=77
             w < suback #1 1
             w > disconnect
             w < closed
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t x
             a < puback #1
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0 present
             w < publish q1 * ~/t \"x\" sub-id=77",
    ),
    (
        "not to another",
        "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=0 sub-id=7
             w < suback #1 0
             v > connect 5
             v < connack 0
             v > subscribe #1 ~/t=0
             v < suback #1 0
             o > connect 4
             o < connack 0
             o > subscribe #1 ~/t=0
             o < suback #1 0
             a > connect 4
             a < connack 0
             a > publish q0 ~/t x
             w < publish q0 ~/t \"x\" sub-id=7
             v < publish q0 ~/t \"x\" exactly
             o < publish q0 ~/t \"x\" exactly",
    ),
];

/// The identifiers of all subscriptions that a message matches go with it (3.3.4), in any order.
#[test]
fn subscription_identifiers_go_with_each_message() {
    check(IDENTIFIERS);
}
