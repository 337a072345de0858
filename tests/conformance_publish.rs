//! PUBLISH towards the server and its answers (3.3 to 3.7, 4.3) on the wire.

use crate::harness::script::{Row, check, check_versions};

#[test]
fn each_qos_has_its_answers() {
    check_versions(
        "345",
        &[
            ("QoS 0: none", "a > connect V\na < connack 0\na > publish q0 ~/t x\na < nothing"),
            ("QoS 1: PUBACK", "a > connect V\na < connack 0\na > publish q1 #65535 ~/t x\na < puback #65535\na < nothing"),
            (
                "QoS 2: PUBREC, and PUBCOMP for PUBREL",
                "a > connect V
                 a < connack 0
                 a > publish q2 #10 ~/t x
                 a < pubrec #10
                 a > pubrel #10
                 a < pubcomp #10
                 a < nothing",
            ),
            (
                "several at once, each in its order",
                "a > connect V
                 a < connack 0
                 a > publish q1 #3 ~/t 1
                 a > publish q1 #1 ~/t 2
                 a > publish q2 #2 ~/t 3
                 a > publish q1 #4 ~/t 4
                 a > publish q2 #9 ~/t 5
                 a < puback #3
                 a < puback #1
                 a < pubrec #2
                 a < puback #4
                 a < pubrec #9
                 a > pubrel #9
                 a > pubrel #2
                 a < pubcomp #9
                 a < pubcomp #2",
            ),
            ("an empty message", "a > connect V\na < connack 0\na > publish q1 #1 ~/t \"\"\na < puback #1"),
        ],
    );
}

#[test]
fn malformed_publishes_end_the_connection() {
    let wrong = [
        ("QoS 3", "publish q3 #1 ~/t x", "0x81"),
        ("DUP at QoS 0", "publish q0 dup ~/t x", "0x81"),
        ("packet identifier 0 at QoS 1", "publish q1 #0 ~/t x", "0x82"),
        ("packet identifier 0 at QoS 2", "publish q2 #0 ~/t x", "0x82"),
        ("no packet identifier", "hex 3203 0001 74", "0x81"),
        ("a topic longer than the packet", "hex 3004 0009 7474", "0x81"),
        ("no topic at all", "hex 3000", "0x81"),
        ("a topic with U+0000", "publish q0 ~/\\x00 x", "0x81"),
        ("a topic that is not UTF-8", "publish q0 ~/\\xc3\\x28 x", "0x81"),
        ("a topic with a surrogate", "publish q0 ~/\\xed\\xbf\\xbf x", "0x81"),
        ("a topic with #", "publish q0 ~/# x", "0x90"),
        ("a topic with +", "publish q0 ~/+/t x", "0x90"),
        ("a topic of which a level has a +", "publish q0 ~/a+ x", "0x90"),
    ];
    let mut rows = Vec::new();
    for (name, packet, code) in wrong {
        let peer = if name.contains("DUP") || code == "0x90" { "not mosquitto: it lets it pass, or has 0x82\n" } else { "" };
        rows.push((format!("3.1.1, {name}"), format!("{peer}a > connect 4\na < connack 0\na > {packet}\na < closed")));
        rows.push((format!("5.0, {name}"), format!("{peer}a > connect 5\na < connack 0\na > {packet}\na < disconnect {code}\na < closed")));
    }
    rows.push(("3.1.1, an empty topic".into(), "a > connect 4\na < connack 0\na > publish q0 \"\" x\na < closed".into()));
    let empty = "a > connect 5\na < connack 0\na > publish q0 \"\" x\na < disconnect 0x82\na < closed";
    rows.push(("5.0, an empty topic without an alias".into(), empty.into()));
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

#[test]
fn malformed_answers_end_the_connection() {
    let wrong = [
        ("PUBACK with a flag", "hex 4102 0001"),
        ("PUBREC with a flag", "hex 5202 0001"),
        ("PUBREL without its flag", "hex 6002 0001"),
        ("PUBREL with other flags", "hex 6302 0001"),
        ("PUBCOMP with a flag", "hex 7202 0001"),
        ("PUBACK cut short", "hex 4001 00"),
        ("PUBREL cut short", "hex 6201 00"),
        ("a server's SUBACK", "hex 9003 0001 00"),
        ("a server's PINGRESP", "hex d000"),
        ("PINGREQ with a flag", "hex c100"),
        ("a reserved type", "hex 0000"),
    ];
    let mut rows = Vec::new();
    let peer = "not mosquitto: it lets most of these pass\n";
    for (name, packet) in wrong {
        rows.push((format!("3.1.1, {name}"), format!("{peer}a > connect 4\na < connack 0\na > {packet}\na < closed")));
        let code = if name.starts_with("a server's") || name == "a reserved type" { "0x82" } else { "0x81" };
        rows.push((format!("5.0, {name}"), format!("{peer}a > connect 5\na < connack 0\na > {packet}\na < disconnect {code}\na < closed")));
    }
    rows.push((
        "3.1.1, PUBACK too long".into(),
        "not mosquitto: it lets it pass\na > connect 4\na < connack 0\na > hex 4003 0001 00\na < closed".into(),
    ));
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

const QOS_2_BEFORE_5_0: &[Row] = &[
    (
        "sent again",
        "w > connect V
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect V
             a < connack 0
             a > publish q2 #5 ~/t once
             a < pubrec #5
             a > publish q2 dup #5 ~/t once
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q2 #x ~/t \"once\"
             w > pubrec #x
             w < pubrel #x
             w > pubcomp #x
             w < nothing
             a > publish q2 #5 ~/t next
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q2 #y ~/t \"next\"",
    ),
    (
        "sent again with DUP forgotten, which only 5.0 can tell from a new one",
        "not mosquitto: it ends the connection
             w > connect V
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect V
             a < connack 0
             a > publish q2 #5 ~/t once
             a < pubrec #5
             a > publish q2 #5 ~/t once
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q0 ~/t \"once\"
             w < nothing",
    ),
];

const QOS_2: &[Row] = &[
    (
        "5.0",
        "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q2 #5 ~/t once
             a < pubrec #5
             a > publish q2 dup #5 ~/t once
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q2 #x ~/t \"once\"
             w > pubrec #x
             w < pubrel #x
             w > pubcomp #x
             w < nothing
             a > publish q2 #5 ~/t next
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q2 #y ~/t \"next\"",
    ),
    (
        "5.0: a new message under an identifier that is held",
        "not mosquitto: it ends the connection
             w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect 5
             a < connack 0
             a > publish q2 #5 ~/t first
             a < pubrec #5
             a > publish q2 #5 ~/t second
             a < pubrec #5 0x91
             w < publish q0 ~/t \"first\"
             w < nothing
             a > pubrel #5
             a < pubcomp #5",
    ),
    (
        "5.0: PUBREL of an identifier that is not held",
        "not mosquitto: 2.0.11 answers with success
             a > connect 5
             a < connack 0
             a > pubrel #77
             a < pubcomp #77 0x92
             a > publish q2 #77 ~/t x
             a < pubrec #77
             a > pubrel #77
             a < pubcomp #77
             a > pubrel #77
             a < pubcomp #77 0x92",
    ),
    (
        "3.1.1: PUBREL of an identifier that is not held",
        "a > connect 4
             a < connack 0
             a > pubrel #77
             a < pubcomp #77",
    ),
    (
        "held over the end of the connection",
        "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect 5 id=~ clean=0 session-expiry=60
             a < connack 0
             a > publish q2 #5 ~/t once
             a < pubrec #5
             a ! drop
             a > connect 5 id=~ clean=0 session-expiry=60
             a < connack 0 present
             a > publish q2 dup #5 ~/t once
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q0 ~/t \"once\"
             w < nothing",
    ),
    (
        "DUP of a message that never came",
        "w > connect 4
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect 4
             a < connack 0
             a > publish q2 dup #5 ~/t x
             a < pubrec #5
             a > pubrel #5
             a < pubcomp #5
             w < publish q0 ~/t \"x\"",
    ),
];

/// 4.3.3, the receiver's side: what we do with what a client sends.
#[test]
fn a_qos_2_message_is_taken_once_between_publish_and_pubrel() {
    check_versions("34", QOS_2_BEFORE_5_0);
    check(QOS_2);
}

/// [MQTT-4.3.2-5]: after its PUBACK an identifier stands for a new message, whatever DUP says.
#[test]
fn a_qos_1_message_is_new_after_its_puback() {
    check_versions(
        "345",
        &[(
            "the same three times",
            "w > connect V
             w < connack 0
             w > subscribe #1 ~/t=0
             w < suback #1 0
             a > connect V
             a < connack 0
             a > publish q1 #5 ~/t x
             a < puback #5
             a > publish q1 dup #5 ~/t x
             a < puback #5
             a > publish q1 #5 ~/t x
             a < puback #5
             w < publish q0 ~/t \"x\"
             w < publish q0 ~/t \"x\"
             w < publish q0 ~/t \"x\"
             w < nothing",
        )],
    );
}

/// What a server keeps for itself: nothing that a client says there reaches anybody.
#[test]
fn nobody_publishes_where_only_the_server_does() {
    let topics = ["$SYS/broker/uptime", "$share/g/~", "$event/~"];
    let mut rows = Vec::new();
    for topic in topics {
        for (version, refused) in [("4", ""), ("5", " 0x87")] {
            let script = format!(
                "not mosquitto: it lets some pass
                 w > connect {version}
                 w < connack 0
                 w > subscribe #1 ~=0 {}=0
                 w < suback #1 0 0
                 a > connect {version}
                 a < connack 0
                 a > publish q1 #1 {topic} x
                 a < puback #1{refused}
                 a > publish q2 #2 {topic} x
                 a < pubrec #2{refused}
                 a > publish q0 {topic} x
                 a < nothing
                 w < nothing",
                if topic.starts_with("$event") { topic } else { "~/none" }
            );
            rows.push((format!("{version}, {topic}"), script));
        }
    }
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

/// [MQTT-3.3.1-3]: the sender's DUP says nothing of what we send.
#[test]
fn dup_is_not_handed_on() {
    check_versions(
        "345",
        &[(
            "QoS 1 and 2",
            "w > connect V
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect V
             a < connack 0
             a > publish q1 dup #5 ~/t 1
             a < puback #5
             a > publish q2 dup #6 ~/t 2
             a < pubrec #6
             a > pubrel #6
             a < pubcomp #6
             w < publish q1 #x ~/t \"1\"
             w < publish q2 #y ~/t \"2\"",
        )],
    );
}
