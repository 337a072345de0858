//! What each side has said it will take (5.0: 3.1.2.11, 3.2.2.3, 3.3.4, 4.9): receive maximum, maximum packet size, topic aliases.

use crate::harness::script::{Row, check, check_versions};

/// The server's receive maximum, as its CONNACK says.
const RECEIVE_MAXIMUM: usize = 1_024;
/// The server's topic alias maximum, as its CONNACK says.
const ALIAS_MAXIMUM: u16 = 10;
/// The server's maximum packet size, as its CONNACK says.
const PACKET_MAXIMUM: usize = 2 << 20;

#[test]
fn the_server_says_its_limits() {
    let script = format!(
        "not mosquitto: it has others
         a > connect 5 keep=60
         a < connack 0 receive-max={RECEIVE_MAXIMUM} alias-max={ALIAS_MAXIMUM} max-packet={PACKET_MAXIMUM} exactly"
    );
    check(&[("all of them, and no more", &script)]);
}

#[test]
fn a_client_that_exceeds_the_receive_maximum_is_disconnected() {
    let publish = |n: usize| format!("a > publish q2 #{n} ~/t x\n");
    let received = |n: usize| format!("a < pubrec #{n}\n");
    let within: String = (1..=RECEIVE_MAXIMUM).map(publish).chain((1..=RECEIVE_MAXIMUM).map(received)).collect();
    let note = "not mosquitto: it has another limit\n";
    let begin = format!("{note}a > connect 5\na < connack 0\n{within}");
    let beyond = publish(RECEIVE_MAXIMUM + 1);
    check(&[
        ("one more", &format!("{begin}{beyond}a < disconnect 0x93\na < closed")),
        ("as many, and others", &format!("{begin}a > pingreq\na < pingresp\na > subscribe #1 ~/u=0\na < suback #1 0")),
        (
            "a place that is free again",
            &format!("{begin}a > pubrel #7\na < pubcomp #7\n{beyond}a < pubrec #{}\na < nothing", RECEIVE_MAXIMUM + 1),
        ),
    ]);
}

const WITHIN_RECEIVE_MAXIMUM: &[Row] = &[
    (
        "2, at QoS 1 and 2; other packets are not kept waiting",
        "not mosquitto: a PUBREC makes room there
             w > connect 5 receive-max=2
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t 1
             a < puback #1
             a > publish q2 #2 ~/t 2
             a < pubrec #2
             a > pubrel #2
             a < pubcomp #2
             a > publish q1 #3 ~/t 3
             a < puback #3
             a > publish q1 #4 ~/t 4
             a < puback #4
             w < publish q1 #a ~/t \"1\"
             w < publish q2 #b ~/t \"2\"
             w < nothing
             w > subscribe #2 ~/u=0
             w < suback #2 0
             w > publish q1 #9 ~/x x
             w < puback #9
             w > puback #a
             w < publish q1 #c ~/t \"3\"
             w > pubrec #b
             w < pubrel #b
             w < nothing
             w > pubcomp #b
             w < publish q1 #d ~/t \"4\"
             w > puback #c
             w > puback #d
             w < nothing",
    ),
    (
        "QoS 0 passes",
        "w > connect 5 receive-max=1
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t 1
             a < puback #1
             a > publish q0 ~/t 0
             w | publish q1 #a ~/t \"1\"
             w | publish q0 ~/t \"0\"",
    ),
    (
        "a PUBREC with an error makes room",
        "w > connect 5 receive-max=1
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q2 #1 ~/t 1
             a < pubrec #1
             a > pubrel #1
             a < pubcomp #1
             a > publish q2 #2 ~/t 2
             a < pubrec #2
             a > pubrel #2
             a < pubcomp #2
             w < publish q2 #a ~/t \"1\"
             w < nothing
             w > pubrec #a 0x97
             w < publish q2 #b ~/t \"2\"",
    ),
    (
        "of the new connection, where a session is resumed",
        "w > connect 5 id=~ clean=0 session-expiry=60 receive-max=10
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             w > disconnect
             w < closed
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t 1
             a < puback #1
             a > publish q1 #2 ~/t 2
             a < puback #2
             w > connect 5 id=~ clean=0 session-expiry=60 receive-max=1
             w < connack 0 present
             w < publish q1 #a ~/t \"1\"
             w < nothing
             w > puback #a
             w < publish q1 #b ~/t \"2\"",
    ),
];

#[test]
fn the_server_keeps_to_the_clients_receive_maximum() {
    check(WITHIN_RECEIVE_MAXIMUM);
}

#[test]
fn a_packet_larger_than_the_servers_maximum_ends_the_connection() {
    // As large as it may be: 1 + 3 + 2 + 1 bytes beside the body, and in 5.0 the length of no properties.
    let body = PACKET_MAXIMUM - 7;
    check(&[
        ("3.1.1, as large", &format!("a > connect 4\na < connack 0\na > publish q0 t x*{body}\na < nothing")),
        (
            "3.1.1, one more",
            &format!("not mosquitto: it has no limit\na > connect 4\na < connack 0\na > publish q0 t x*{}\na < closed", body + 1),
        ),
        ("5.0, as large", &format!("a > connect 5\na < connack 0\na > publish q0 t x*{}\na < nothing", body - 1)),
        (
            "5.0, one more",
            &format!(
                "not mosquitto: it has no limit\na > connect 5\na < connack 0\na > publish q0 t x*{body}\na < disconnect 0x95\na < closed"
            ),
        ),
        (
            "by its length alone",
            "not mosquitto: it has no limit\na > connect 5\na < connack 0\na > hex 30ffffff7f\na < disconnect 0x95\na < closed",
        ),
        ("a length of five bytes", "a > connect 5\na < connack 0\na > hex 30ffffffff01\na < disconnect 0x81\na < closed"),
    ]);
}

const WITHIN_PACKET_MAXIMUM: &[Row] = &[
    (
        "each QoS",
        "w > connect 5 max-packet=100
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q0 ~/t x*200
             a > publish q1 #1 ~/t x*200
             a < puback #1
             a > publish q2 #2 ~/t x*200
             a < pubrec #2
             a > pubrel #2
             a < pubcomp #2
             a > publish q1 #3 ~/t small up=k:x*100
             a < puback #3
             a > publish q1 #4 ~/t small
             a < puback #4
             w < publish q1 * ~/t \"small\"
             w < nothing",
    ),
    (
        "it takes no place in flight",
        "not mosquitto: it does
             w > connect 5 max-packet=100 receive-max=1
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t x*200
             a < puback #1
             a > publish q1 #2 ~/t small
             a < puback #2
             w < publish q1 * ~/t \"small\"",
    ),
    (
        "of the new connection, where a session is resumed",
        "w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             w > disconnect
             w < closed
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t x*200
             a < puback #1
             a > publish q1 #2 ~/t small
             a < puback #2
             w > connect 5 id=~ clean=0 session-expiry=60 max-packet=100
             w < connack 0 present
             w < publish q1 * ~/t \"small\"
             w < nothing
             w ! drop
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0 present
             w < publish q1 dup * ~/t \"small\"
             w < nothing",
    ),
    (
        "a retained one",
        "a > connect 5 max-packet=100
             a < connack 0
             b > connect 5
             b < connack 0
             b > publish q1 retain #1 ~/t x*200
             b < puback #1
             a > subscribe #1 ~/t=1
             a < suback #1 1
             a < nothing",
    ),
    (
        "exactly as large",
        "not mosquitto: it does not count the header
             w > connect 5 max-packet=20
             w < connack 0
             w > subscribe #1 abc=0
             w < suback #1 0
             a > connect 5
             a < connack 0
             a > publish q0 abc 123456789012
             a > publish q0 abc 1234567890123
             w < publish q0 abc \"123456789012\"
             w < nothing",
    ),
];

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: dropped, as if it had been delivered.
#[test]
fn the_server_sends_nothing_larger_than_the_clients_maximum() {
    check(WITHIN_PACKET_MAXIMUM);
    // Header, identifier and no properties are 5 bytes of the answer.
    let filters = |count: usize| (0..count).map(|n| format!("~/{n}")).collect::<Vec<_>>();
    let begin = "not mosquitto: it sends the answer\na > connect 5 max-packet=100\na < connack 0\n";
    for (count, fits) in [(95, true), (96, false)] {
        let (subscribed, unsubscribed) = (filters(count).join("=0 ") + "=0", filters(count).join(" "));
        let answered = |kind: &str, code: &str| match fits {
            true => format!("a < {kind} #1{}\na < nothing", format!(" {code}").repeat(count)),
            false => "a < disconnect 0x95\na < closed".to_owned(),
        };
        check(&[
            ("SUBACK", &format!("{begin}a > subscribe #1 {subscribed}\n{}", answered("suback", "0"))),
            ("UNSUBACK", &format!("{begin}a > unsubscribe #1 {unsubscribed}\n{}", answered("unsuback", "17"))),
        ]);
    }
}

#[test]
fn a_client_may_name_topics_by_alias() {
    let watch = "w > connect 4\nw < connack 0\nw > subscribe #1 ~/#=0\nw < suback #1 0\na > connect 5 id=~\na < connack 0\n";
    let rows = [
        (
            "named, used, renamed",
            format!(
                "{watch}a > publish q0 ~/one 1 alias=1
                 a > publish q0 ~/two 2 alias={ALIAS_MAXIMUM}
                 a > publish q0 \"\" 3 alias=1
                 a > publish q1 #9 \"\" 4 alias={ALIAS_MAXIMUM}
                 a < puback #9
                 a > publish q0 ~/three 5 alias=1
                 a > publish q0 \"\" 6 alias=1
                 w < publish q0 ~/one \"1\"
                 w < publish q0 ~/two \"2\"
                 w < publish q0 ~/one \"3\"
                 w < publish q0 ~/two \"4\"
                 w < publish q0 ~/three \"5\"
                 w < publish q0 ~/three \"6\""
            ),
        ),
        (
            "beyond the maximum",
            format!("{watch}a > publish q0 ~/t x alias={}\na < disconnect 0x94\na < closed\nw < nothing", ALIAS_MAXIMUM + 1),
        ),
        ("0", format!("not mosquitto: it has 0x81\n{watch}a > publish q0 ~/t x alias=0\na < disconnect 0x94\na < closed\nw < nothing")),
        (
            "one that was not named",
            format!("not mosquitto: it has another code\n{watch}a > publish q0 \"\" x alias=5\na < disconnect 0x82\na < closed"),
        ),
        (
            "not carried over to the next connection",
            format!(
                "not mosquitto: it has another code
                 {watch}a > publish q0 ~/t x alias=1
                 w < publish q0 ~/t \"x\"
                 a ! drop
                 a > connect 5 id=~ clean=0 session-expiry=60
                 a < connack 0
                 a > publish q0 \"\" y alias=1
                 a < disconnect 0x82
                 a < closed"
            ),
        ),
        (
            "each connection has its own",
            format!(
                "{watch}b > connect 5
                 b < connack 0
                 a > publish q0 ~/a 1 alias=1
                 w < publish q0 ~/a \"1\"
                 b > publish q0 ~/b 2 alias=1
                 w < publish q0 ~/b \"2\"
                 a > publish q0 \"\" 3 alias=1
                 w < publish q0 ~/a \"3\""
            ),
        ),
    ];
    check(&rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

/// Whether it uses them is its own choice; it must not where it was not asked to.
#[test]
fn the_server_uses_no_alias_that_the_client_did_not_allow() {
    let topic = "~/a/long/topic/of/which/the/name/is/worth/an/alias/because/it/comes/again/and/again";
    check_versions(
        "45",
        &[(
            "none allowed",
            &format!(
                "w > connect V
                 w < connack 0
                 w > subscribe #1 ~/#=0
                 w < suback #1 0
                 a > connect V
                 a < connack 0
                 a > publish q0 {topic} 1
                 a > publish q0 {topic} 2
                 w < publish q0 {topic} \"1\" exactly
                 w < publish q0 {topic} \"2\" exactly"
            ),
        )],
    );
    check(&[(
        "two allowed: never a third, and each says first what it stands for",
        &format!(
            "not mosquitto: 2.0.11 sends none
             w > connect 5 alias-max=2
             w < connack 0
             w > subscribe #1 ~/#=0
             w < suback #1 0
             a > connect 5
             a < connack 0
             a > publish q0 {topic}/1 1
             a > publish q0 {topic}/1 2
             a > publish q0 {topic}/2 3
             a > publish q0 {topic}/3 4
             a > publish q0 {topic}/1 5
             w < publish q0 {topic}/1 \"1\" alias=1
             w < publish q0 \"\" \"2\" alias=1
             w < publish q0 {topic}/2 \"3\" alias=2
             w < publish q0 {topic}/3 \"4\" exactly
             w < publish q0 \"\" \"5\" alias=1"
        ),
    )]);
}

/// 3.1.2.11.7: whoever asked not to be told is told by code alone.
#[test]
fn no_reasons_for_a_client_that_wants_none() {
    check(&[(
        "PUBACK, SUBACK, UNSUBACK, PUBCOMP",
        "not mosquitto: it lets clients publish there
         a > connect 5 problem-info=0
         a < connack 0
         a > publish q1 #1 $SYS/x x
         a < puback #1 0x87 exactly
         a > subscribe #2 ~/#/x=0
         a < suback #2 0x8f exactly
         a > unsubscribe #3 ~/x
         a < unsuback #3 17 exactly
         a > pubrel #4
         a < pubcomp #4 0x92 exactly",
    )]);
}
