//! CONNECT and CONNACK (3.1, 3.2) on the wire.

use crate::harness::script::{check, check_versions};

#[test]
fn a_connection_begins_with_connect() {
    check(&[
        ("PUBLISH", "a > publish q0 ~/t x\na < closed"),
        ("SUBSCRIBE", "a > subscribe #1 ~/t=0\na < closed"),
        ("PINGREQ", "a > pingreq\na < closed"),
        ("DISCONNECT", "a > disconnect\na < closed"),
        ("PUBREL", "a > pubrel #1\na < closed"),
        ("AUTH", "a > hex f000\na < closed"),
        ("a server's packet", "a > hex 20020000\na < closed"),
        ("a reserved type", "a > hex 0000\na < closed"),
        ("no MQTT at all", "a > hex 474554202f20485454502f312e310d0a0d0a\na < closed"),
    ]);
}

#[test]
fn a_second_connect_ends_the_connection() {
    check(&[
        ("3.1", "a > connect 3\na < connack 0\na > connect 3\na < closed"),
        ("3.1.1", "a > connect 4\na < connack 0\na > connect 4\na < closed"),
        ("5.0", "a > connect 5\na < connack 0\na > connect 5\na < disconnect 0x82\na < closed"),
    ]);
}

#[test]
fn protocols_and_levels_that_are_spoken_here() {
    check(&[
        ("3.1", "a > connect 3\na < connack 0\na < nothing"),
        ("3.1.1", "a > connect 4\na < connack 0\na < nothing"),
        ("5.0", "a > connect 5\na < connack 0\na < nothing"),
        ("3.1 as a bridge", "a > connect 3 level=0x83\na < connack 0\na < nothing"),
        ("3.1.1 as a bridge", "a > connect 4 level=0x84\na < connack 0\na < nothing"),
        ("level 2", "a > connect 4 level=2\na < connack 1\na < closed"),
        ("level 6", "not mosquitto: it answers as in 3.1.1\na > connect 5 level=6\na < connack 0x84\na < closed"),
        ("3.1's level by 3.1.1's name", "not mosquitto: 2.0.11 lets it pass\na > connect 4 level=3\na < connack 1\na < closed"),
        ("3.1.1's level by 3.1's name", "a > connect 3 level=4\na < connack 1\na < closed"),
        ("another name", "a > connect 4 protocol=MQTX\na < closed"),
        ("another name of 5.0", "a > connect 5 protocol=mqtt\na < closed"),
        ("no name", "a > connect 4 protocol=\na < closed"),
    ]);
}

#[test]
fn malformed_connects_are_refused() {
    let wrong = [
        ("the reserved flag", "cflags=0x03"),
        ("a will at QoS 3", "cflags=0x1e will=~/w:x"),
        ("a will that is not there", "cflags=0x06"),
        ("a user that is not there", "cflags=0x82"),
        ("a user that was not announced", "cflags=0x02 user=u"),
        ("a password that is not there", "cflags=0xc2 user=u"),
        ("a password that was not announced", "cflags=0x82 user=u pass=p"),
        ("bytes behind the last field", "tail=00"),
        ("an identifier with U+0000", "id=a\\x00b"),
        ("an identifier that is not UTF-8", "id=a\\xff"),
        ("an identifier with a surrogate", "id=a\\xed\\xa0\\x80"),
        ("a user that is not UTF-8", "user=\\xc0\\x80 pass=p"),
        ("a will's topic with U+0000", "will=~/\\x00w:x"),
        ("a will's topic that is not UTF-8", "will=~/\\xfe:x"),
        ("a reserved flag of the first byte", "flags=1"),
    ];
    let mut rows = Vec::new();
    for (name, fields) in wrong {
        rows.push((format!("3.1.1, {name}"), format!("a > connect 4 {fields}\na < closed")));
        rows.push((format!("5.0, {name}"), format!("a > connect 5 {fields}\na < connack 0x81\na < closed")));
    }
    for (name, flags) in [("a will's QoS without a will", "0x0a"), ("a retained will without a will", "0x22")] {
        rows.push((format!("3.1.1, {name}"), format!("a > connect 4 cflags={flags}\na < closed")));
        rows.push((format!("5.0, {name}"), format!("a > connect 5 cflags={flags}\na < connack 0x82\na < closed")));
    }
    let note = "not mosquitto: 2.0.11 takes them";
    rows.push(("3.1.1, a password without a user".into(), "a > connect 4 cflags=0x42 pass=p\na < closed".into()));
    rows.push(("3.1.1, a will with a wildcard".into(), "a > connect 4 will=~/+:x\na < closed".into()));
    rows.push(("5.0, a will with a wildcard".into(), format!("{note}\na > connect 5 will=~/+:x\na < connack 0x90\na < closed")));
    rows.push(("5.0, a will without a topic".into(), format!("{note}\na > connect 5 will=:x\na < connack 0x90\na < closed")));
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

/// 5.0 allows what 3.1.1 forbids (3.1.2.9).
#[test]
fn a_password_without_a_user_is_accepted_in_5_0() {
    check(&[("5.0", "a > connect 5 pass=p\na < connack 0\na < nothing")]);
}

#[test]
fn client_identifiers() {
    // One version after another: the same identifier twice would be a take-over.
    for version in ["3", "4", "5"] {
        check_versions(
            version,
            &[
                ("all that every server has to take", "a > connect V id=0123456789abcdefghiABCX\na < connack 0\na < nothing"),
                ("another 23", "a > connect V id=jklmnopqrstuvwxyzDEFGHI\na < connack 0\na < nothing"),
                ("longer", "not mosquitto: in 3.1 it refuses more than 23 bytes\na > connect V id=a*300\na < connack 0\na < nothing"),
                ("other characters", "a > connect V id=~/é—\u{1f600}+#\na < connack 0\na < nothing"),
            ],
        );
    }
    check(&[
        ("3.1, none", "a > connect 3 id=\na < connack 2\na < closed"),
        ("3.1.1, none", "a > connect 4 id=\na < connack 0\nb > connect 4 id=\nb < connack 0\na < nothing\nb < nothing"),
        ("3.1.1, none and not clean", "a > connect 4 id= clean=0\na < connack 2\na < closed"),
        ("3.1.1, too long", "not mosquitto: it takes it\na > connect 4 id=a*1025\na < connack 2\na < closed"),
        ("5.0, too long", "not mosquitto: it takes it\na > connect 5 id=a*1025\na < connack 0x85\na < closed"),
        (
            "5.0, a session that is there is not said to be where CONNECT is refused",
            "a > connect 5 id=~ session-expiry=60
             a < connack 0
             a > disconnect
             a < closed
             a > connect 5 id=~ clean=0 auth-method=none-such
             a < connack 0x8c
             a < closed",
        ),
        (
            "5.0, none",
            "a > connect 5 id=
             a < connack 0 assigned-id=*
             b > connect 5 id= clean=0 session-expiry=5
             b < connack 0 assigned-id=*
             a < nothing
             b < nothing",
        ),
        (
            "5.0, its own",
            "not mosquitto: it sends more\na > connect 5 keep=60\na < connack 0 receive-max=* alias-max=* max-packet=* exactly",
        ),
    ]);
}

/// [MQTT-3.2.0-1], and that the answers to what came with CONNECT follow it.
#[test]
fn connack_comes_first_and_once() {
    check_versions(
        "345",
        &[(
            "what is sent without waiting",
            "a > connect V
             a > subscribe #1 ~/t=1
             a > publish q1 #2 ~/t x
             a > pingreq
             a < connack 0
             a < suback #1 1
             a | publish q1 #x ~/t \"x\"
             a | puback #2
             a | pingresp
             a < nothing",
        )],
    );
}

/// [MQTT-3.1.4-5] of 3.1.1, [MQTT-3.1.4-6] of 5.0.
#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    check(&[
        (
            "3.1.1",
            "w > connect 4
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect 4 id= clean=0
             a > publish q0 ~/t x
             a < connack 2
             a < closed
             w < nothing",
        ),
        (
            "5.0",
            "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect 5 auth-method=none-such
             a > publish q0 ~/t x
             a < connack 0x8c
             a < closed
             w < nothing",
        ),
    ]);
}

#[test]
fn keep_alive_ends_a_silent_connection_and_no_other() {
    check(&[
        ("3.1", "not mosquitto: it looks every few seconds\nmark\na > connect 3 keep=1\na < connack 0\na < closed\ntook 1400..3500"),
        ("3.1.1", "not mosquitto: it looks every few seconds\nmark\na > connect 4 keep=1\na < connack 0\na < closed\ntook 1400..3500"),
        (
            "5.0",
            "not mosquitto: 2.0.11 looks every few seconds
             mark
             a > connect 5 keep=1
             a < connack 0
             a < disconnect 0x8d
             a < closed
             took 1400..3500",
        ),
        (
            "kept by any packet",
            "a > connect 5 keep=1
             a < connack 0
             wait 900
             a > publish q0 ~/t x
             wait 900
             a > pingreq
             a < pingresp
             wait 900
             a > subscribe #1 ~/t=0
             a < suback #1 0
             wait 900
             a < nothing",
        ),
        ("none", "a > connect 4 keep=0\na < connack 0\nwait 3000\na < nothing"),
        (
            "its will is published",
            "w > connect 4
             w < connack 0
             w > subscribe #1 ~/w=0
             w < suback #1 0
             a > connect 4 keep=1 will=~/w:silent
             a < connack 0
             w < publish q0 ~/w \"silent\"
             a < closed",
        ),
        (
            "the server has none of its own",
            "not mosquitto: it sends other limits\na > connect 5 keep=65535\na < connack 0 receive-max=* alias-max=* max-packet=*",
        ),
    ]);
}

#[test]
fn a_second_connection_takes_the_session_over() {
    check(&[
        ("3.1", "a > connect 3 id=~\na < connack 0\nb > connect 3 id=~\na < closed\nb < connack 0\nb < nothing"),
        ("3.1.1", "a > connect 4 id=~\na < connack 0\nb > connect 4 id=~\na < closed\nb < connack 0\nb < nothing"),
        (
            "5.0",
            "a > connect 5 id=~
             a < connack 0
             b > connect 5 id=~
             a < disconnect 0x8e
             a < closed
             b < connack 0
             b < nothing",
        ),
        (
            "5.0 by 3.1.1, which resumes",
            "a > connect 5 id=~ session-expiry=100
             a < connack 0
             a > subscribe #1 ~/t=1
             a < suback #1 1
             b > connect 4 id=~ clean=0
             a < disconnect 0x8e
             a < closed
             b < connack 0 present
             b > publish q1 #5 ~/t x
             b | puback #5
             b | publish q1 #x ~/t \"x\"",
        ),
        (
            "its will is published",
            "w > connect 5
             w < connack 0
             w > subscribe #1 ~/w=0
             w < suback #1 0
             a > connect 5 id=~ will=~/w:taken
             a < connack 0
             b > connect 5 id=~
             b < connack 0
             w < publish q0 ~/w \"taken\"",
        ),
    ]);
}

/// Only a mechanism that both know can be used; there is none yet (4.12).
#[test]
fn enhanced_authentication_is_refused_by_its_method() {
    check(&[
        ("a method", "a > connect 5 auth-method=SCRAM-SHA-999 auth-data=n,,n=u\na < connack 0x8c\na < closed"),
        ("data without a method", "not mosquitto: 2.0.11 takes it\na > connect 5 auth-data=x\na < connack 0x82\na < closed"),
        ("AUTH without a method", "a > connect 5\na < connack 0\na > auth 0x18 prop-len=0\na < disconnect 0x82\na < closed"),
        (
            "authenticating again without ever having done so",
            "not mosquitto: it answers by CONNACK's place of the method
             a > connect 5
             a < connack 0
             a > auth 0x19 auth-method=PLAIN
             a < disconnect 0x82
             a < closed",
        ),
        ("AUTH in 3.1.1", "a > connect 4\na < connack 0\na > hex f000\na < closed"),
        ("AUTH with a flag", "a > connect 5\na < connack 0\na > auth 0x18 flags=1\na < disconnect 0x81\na < closed"),
    ]);
}

#[test]
fn disconnect_ends_the_connection_without_a_will() {
    let watched = |ways: &[(&str, &str)]| -> Vec<(String, String)> {
        let row = |(name, way): &(&str, &str)| {
            let script = format!(
                "w > connect 5
                 w < connack 0
                 w > subscribe #1 ~/w=0 ~/m=0
                 w < suback #1 0 0
                 {way}
                 w > publish q0 ~/m marker
                 w < publish q0 ~/m \"marker\""
            );
            ((*name).to_owned(), script)
        };
        ways.iter().map(row).collect()
    };
    let rows = watched(&[
        ("3.1.1", "a > connect 4 will=~/w:x\na < connack 0\na > disconnect\na < closed"),
        ("5.0", "a > connect 5 will=~/w:x\na < connack 0\na > disconnect\na < closed"),
        ("5.0, the reason said", "a > connect 5 will=~/w:x\na < connack 0\na > disconnect 0x00\na < closed"),
        ("5.0 with properties", "a > connect 5 will=~/w:x\na < connack 0\na > disconnect 0 reason=bye up=a:b\na < closed"),
        ("0x04: with its will", "a > connect 5 will=~/w:x\na < connack 0\na > disconnect 0x04\na < closed\nw < publish q0 ~/w \"x\""),
        (
            "3.1.1, flags: no clean end",
            "a > connect 4 will=~/w:x\na < connack 0\na > disconnect flags=1\na < closed\nw < publish q0 ~/w \"x\"",
        ),
        (
            "5.0, flags: no clean end",
            "a > connect 5 will=~/w:x\na < connack 0\na > disconnect flags=2\na < disconnect 0x81\na < closed\nw < publish q0 ~/w \"x\"",
        ),
        ("nothing is heard after it", "a > connect 4\na < connack 0\na > disconnect\na > publish q0 ~/w late\na < closed"),
    ]);
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}
