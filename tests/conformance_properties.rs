//! The properties of 5.0 (2.2.2): place, repetition, type and range in every packet that may carry them, and what goes on to receivers.

use crate::harness::script::{Row, check};

/// Each property as a client may send it, by the packets that may carry it (table 2-4; those of a server's packets belong to no client).
const PROPERTIES: &[(&str, &[&str])] = &[
    ("payload-format=1", &["publish", "will"]),
    ("message-expiry=100", &["publish", "will"]),
    ("content-type=text", &["publish", "will"]),
    ("response-topic=a/b", &["publish", "will"]),
    ("correlation=\\x00\\xff", &["publish", "will"]),
    ("sub-id=5", &["subscribe"]),
    ("session-expiry=0", &["connect", "disconnect"]),
    ("assigned-id=x", &[]),
    ("server-keep-alive=5", &[]),
    ("auth-method=x", &[]),
    ("auth-data=x", &[]),
    ("problem-info=1", &["connect"]),
    ("delay=1", &["will"]),
    ("request-response=1", &["connect"]),
    ("response-info=x", &[]),
    ("server-reference=x", &["disconnect"]),
    ("reason=x", &["puback", "pubrec", "pubrel", "pubcomp", "disconnect"]),
    ("receive-max=5", &["connect"]),
    ("alias-max=5", &["connect"]),
    ("alias=1", &["publish"]),
    ("max-qos=1", &[]),
    ("retain-available=1", &[]),
    ("up=k:v", &["connect", "publish", "will", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "unsubscribe", "disconnect"]),
    ("max-packet=1000", &["connect"]),
    ("wildcard-available=1", &[]),
    ("sub-id-available=1", &[]),
    ("shared-available=1", &[]),
];

/// A packet for `PROPERTY`, and what comes when all is well. CONNECT's own rows come without what precedes the others.
const PACKETS: &[(&str, &str, &str)] = &[
    ("connect", "connect 5 PROPERTY", "connack 0"),
    ("will", "connect 5 will=w/t:x will.PROPERTY", "connack 0"),
    ("publish", "publish q1 #9 p/t \"\" PROPERTY", "puback #9"),
    ("puback", "puback #9 0 PROPERTY", "nothing"),
    ("pubrec", "pubrec #9 0x80 PROPERTY", "pubrel #9 *"),
    ("pubrel", "pubrel #9 0 PROPERTY", "pubcomp #9 *"),
    ("pubcomp", "pubcomp #9 0 PROPERTY", "nothing"),
    ("subscribe", "subscribe #9 s/t=1 PROPERTY", "suback #9 1"),
    ("unsubscribe", "unsubscribe #9 s/t PROPERTY", "unsuback #9 *"),
    ("disconnect", "disconnect 0 PROPERTY", "closed"),
];

fn row(packet: (&str, &str, &str), property: &str, refused: Option<&str>) -> String {
    let (kind, text, answer) = packet;
    let packet = text.replace("will.PROPERTY", &property.split(' ').map(|word| format!("will.{word}")).collect::<Vec<_>>().join(" "));
    let packet = packet.replace("PROPERTY", property);
    let connects = matches!(kind, "connect" | "will");
    let begin = if connects { "" } else { "a > connect 5\na < connack 0\n" };
    let end = match refused {
        None => format!("a < {answer}"),
        Some(code) => format!("a < {} {code}\na < closed", if connects { "connack" } else { "disconnect" }),
    };
    format!("not mosquitto: it checks fewer of them, and later\n{begin}a > {packet}\n{end}")
}

#[test]
fn each_packet_takes_the_properties_that_it_may_carry_and_no_others() {
    let mut rows = Vec::new();
    for packet in PACKETS {
        for (property, places) in PROPERTIES {
            let kind = packet.0;
            // A client's PUBREC with an error, PUBREL and the like of something unknown are answered; what is asked is whether they are taken.
            let misplaced = match *property {
                "auth-method=x" | "auth-data=x" if kind == "connect" => continue,
                "sub-id=5" if kind == "publish" => Some("0x82"),
                _ => (!places.contains(&kind)).then_some("0x81"),
            };
            rows.push((format!("{property} in {kind}"), row(*packet, property, misplaced)));
        }
    }
    assert_eq!(rows.len(), 10 * 27 - 2);
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_property_comes_once_except_user_properties() {
    let mut rows = Vec::new();
    for packet in PACKETS {
        for (property, _) in PROPERTIES.iter().filter(|(_, places)| places.contains(&packet.0)) {
            let refused = if property.starts_with("up=") { None } else { Some("0x82") };
            rows.push((format!("{property} twice in {}", packet.0), row(*packet, &format!("{property} {property}"), refused)));
        }
    }
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

#[test]
fn values_beyond_their_range_are_refused() {
    let of = |kind: &str| *PACKETS.iter().find(|packet| packet.0 == kind).expect("a packet");
    let mut rows = Vec::new();
    for (kind, property, code) in [
        ("connect", "receive-max=0", "0x82"),
        ("connect", "max-packet=0", "0x82"),
        ("connect", "problem-info=2", "0x82"),
        ("connect", "request-response=2", "0x82"),
        ("will", "payload-format=2", "0x82"),
        ("will", "response-topic=a/+", "0x82"),
        ("publish", "payload-format=2", "0x82"),
        ("publish", "response-topic=a/#", "0x82"),
        ("publish", "alias=0", "0x94"),
        ("subscribe", "sub-id=0", "0x82"),
        // Not of the type, or cut short.
        ("publish", "raw=0b80808080 raw=01", "0x81"),
        ("publish", "content-type=\\xff", "0x81"),
        ("publish", "content-type=a\\x00", "0x81"),
        ("publish", "response-topic=\\xed\\xa0\\x80", "0x81"),
        ("publish", "up=\\xff:v", "0x81"),
        ("publish", "up=k:\\x00", "0x81"),
        ("publish", "raw=020001", "0x81"),
        ("publish", "raw=0900ff00", "0x81"),
        ("publish", "raw=26000161", "0x81"),
        ("connect", "up=\\xff:v", "0x81"),
        ("will", "content-type=\\xc0\\x80", "0x81"),
        ("subscribe", "raw=0b8100 raw=", "0x81"),
        ("disconnect", "reason=\\xff", "0x81"),
        // Unknown ones.
        ("connect", "raw=0400", "0x81"),
        ("publish", "raw=7f00", "0x81"),
        ("publish", "raw=8001", "0x81"),
        // The block's own length.
        ("publish", "prop-len=100", "0x81"),
        ("connect", "prop-len=100", "0x81"),
        ("subscribe", "prop-len=127", "0x81"),
        ("disconnect", "prop-len=9", "0x81"),
    ] {
        rows.push((format!("{property} in {kind}"), row(of(kind), property, Some(code))));
    }
    let minimal = "a > connect 5\na < connack 0\na > hex 3007 0001 74 8000 7878\na < disconnect 0x81\na < closed";
    rows.push(("a length in more bytes than it needs".into(), format!("not mosquitto: it takes it\n{minimal}")));
    let unexpiring = "a > connect 5\na < connack 0\na > disconnect 0 session-expiry=10\na < disconnect 0x82\na < closed";
    rows.push(("DISCONNECT: an expiry where CONNECT had none".into(), unexpiring.into()));
    check(&rows.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

#[test]
fn reason_codes_that_are_not_a_packets_are_refused() {
    let rows = [
        ("PUBACK", "puback #1 0x92"),
        ("PUBREC", "pubrec #1 0x81"),
        ("PUBREL", "pubrel #1 0x80"),
        ("PUBCOMP", "pubcomp #1 0x91"),
        ("DISCONNECT", "disconnect 0x8e"),
        ("DISCONNECT with no code at all", "disconnect 0x01"),
    ];
    let scripts: Vec<_> = rows
        .iter()
        .map(|(name, packet)| {
            (
                *name,
                format!("not mosquitto: it lets most pass\na > connect 5\na < connack 0\na > {packet}\na < disconnect 0x82\na < closed"),
            )
        })
        .collect();
    check(&scripts.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

#[test]
fn what_a_publisher_says_of_its_message_reaches_every_receiver_unaltered() {
    let all = "payload-format=1 content-type=\"text plain\" response-topic=~/answer correlation=\\x00\\xffc up=b:1 up=a:2 up=b:1 up=:";
    let script = |qos: u8| {
        let answer = match qos {
            0 => "",
            1 => "a < puback #9\n",
            _ => "a < pubrec #9\na > pubrel #9\na < pubcomp #9\n",
        };
        let (id, delivered) = if qos == 0 { ("", "") } else { ("#9", "*") };
        format!(
            "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             v > connect 5
             v < connack 0
             v > subscribe #1 ~/#=0
             v < suback #1 0
             o > connect 4
             o < connack 0
             o > subscribe #1 ~/t=0
             o < suback #1 0
             a > connect 5
             a < connack 0
             a > publish q{qos} {id} ~/t x {all}
             {answer}w < publish q{qos} {delivered} ~/t \"x\" {all} exactly
             v < publish q0 ~/t \"x\" {all} exactly
             o < publish q0 ~/t \"x\" exactly
             b > connect 4
             b < connack 0
             b > publish q0 ~/t y
             v < publish q0 ~/t \"y\" exactly"
        )
    };
    let scripts: Vec<_> = (0..3).map(|qos| (format!("QoS {qos}"), script(qos))).collect();
    let mut rows: Vec<_> = scripts.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect();
    rows.push((
        "to a session that was away",
        "w > connect 5 id=~ clean=0 session-expiry=60
         w < connack 0
         w > subscribe #1 ~/t=1
         w < suback #1 1
         w > disconnect
         w < closed
         a > connect 5
         a < connack 0
         a > publish q1 #1 ~/t x payload-format=1 content-type=c response-topic=~/a correlation=c up=z:1 up=a:2
         a < puback #1
         w > connect 5 id=~ clean=0 session-expiry=60
         w < connack 0 present
         w < publish q1 * ~/t \"x\" payload-format=1 content-type=c response-topic=~/a correlation=c up=z:1 up=a:2 exactly",
    ));
    rows.push((
        "the payload format 0, and many user properties",
        "w > connect 5
         w < connack 0
         w > subscribe #1 ~/t=0
         w < suback #1 0
         a > connect 5
         a < connack 0
         a > publish q0 ~/t \\xff payload-format=0 up=a*100:b*1000 up=c*1000:d*100
         w < publish q0 ~/t \"\\xff\" payload-format=0 up=a*100:b*1000 up=c*1000:d*100",
    ));
    check(&rows);
}

#[test]
fn requests_find_their_way_back_by_the_response_topic() {
    check(&[(
        "request and response",
        "s > connect 5
         s < connack 0
         s > subscribe #1 ~/service=1
         s < suback #1 1
         c > connect 5 request-response=1
         c < connack 0
         c > subscribe #1 ~/answers/c=1nl
         c < suback #1 1
         c > publish q1 #1 ~/service question response-topic=~/answers/c correlation=42
         c < puback #1
         s < publish q1 #q ~/service \"question\" response-topic=~/answers/c correlation=42
         s > puback #q
         s > publish q1 #2 ~/answers/c answer correlation=42
         s < puback #2
         c < publish q1 * ~/answers/c \"answer\" correlation=42",
    )]);
}

const EXPIRING: &[Row] = &[
    (
        "at once: as it was",
        "a > connect 5
             a < connack 0
             a > subscribe #1 ~/t=0
             a < suback #1 0
             a > publish q0 ~/t x message-expiry=4294967295
             a < publish q0 ~/t \"x\" message-expiry=4294967294..4294967295",
    ),
    (
        "after 2 s: less",
        "w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             w > disconnect
             w < closed
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t short message-expiry=1
             a < puback #1
             a > publish q1 #2 ~/t long message-expiry=100
             a < puback #2
             a > publish q1 #3 ~/t none
             a < puback #3
             wait 2100
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0 present
             w < publish q1 * ~/t \"long\" message-expiry=96..98
             w < publish q1 * ~/t \"none\" exactly
             w < nothing",
    ),
    (
        "not what is on its way at QoS 2",
        "not mosquitto: it forgets the PUBREL
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q2 #1 ~/t x message-expiry=1
             a < pubrec #1
             a > pubrel #1
             a < pubcomp #1
             w < publish q2 #x ~/t \"x\" message-expiry=0..1
             w > pubrec #x
             w < pubrel #x
             w ! drop
             wait 2100
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0 present
             w < pubrel #x
             w > pubcomp #x
             w < nothing",
    ),
    (
        "not what was sent once, and is sent again",
        "not mosquitto: it drops them
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w > subscribe #1 ~/t=2
             w < suback #1 2
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t 1 message-expiry=1
             a < puback #1
             w < publish q1 #x ~/t \"1\" message-expiry=0..1
             a > publish q2 #2 ~/t 2 message-expiry=1
             a < pubrec #2
             w < publish q2 #y ~/t \"2\" message-expiry=0..1
             w ! drop
             wait 2100
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0 present
             w < publish q1 dup #x ~/t \"1\" message-expiry=0
             w < publish q2 dup #y ~/t \"2\" message-expiry=0
             w > puback #x
             w > pubrec #y
             w < pubrel #y
             w > pubcomp #y
             w < nothing",
    ),
    (
        "to a 3.1.1 session",
        "w > connect 4 id=~ clean=0
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             w > disconnect
             w < closed
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t short message-expiry=1
             a < puback #1
             a > publish q1 #2 ~/t long message-expiry=100
             a < puback #2
             wait 2100
             w > connect 4 id=~ clean=0
             w < connack 0 present
             w < publish q1 * ~/t \"long\"
             w < nothing",
    ),
];

#[test]
fn message_expiry_is_counted_down_and_ends_what_nobody_has_got() {
    check(EXPIRING);
}
