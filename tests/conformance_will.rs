//! Wills (3.1.2.5, 3.1.3.2): published when and as their client said.

use crate::harness::script::{Row, check, check_versions};

/// A subscriber `w` that watches `~/w`.
const WATCHED: &str = "w > connect V\nw < connack 0\nw > subscribe #1 ~/w=2\nw < suback #1 2\n";

#[test]
fn a_will_is_published_when_the_connection_ends_otherwise_than_by_disconnect() {
    let rows = [
        ("broken", format!("{WATCHED}a > connect V will=~/w:gone\na < connack 0\na ! drop\nw < publish q0 ~/w \"gone\"\nw < nothing")),
        (
            "by a malformed packet",
            format!("{WATCHED}a > connect V will=~/w:gone\na < connack 0\na > hex f100\nw < publish q0 ~/w \"gone\""),
        ),
        (
            "once only",
            format!(
                "{WATCHED}a > connect V id=~ will=~/w:gone
                 a < connack 0
                 a ! drop
                 w < publish q0 ~/w \"gone\"
                 a > connect V id=~
                 a < connack 0
                 a ! drop
                 b > connect V id=~
                 b < connack 0
                 b > disconnect
                 b < closed
                 w < nothing"
            ),
        ),
        (
            "of the last connection",
            format!(
                "{WATCHED}a > connect V id=~ will=~/w:first
                 a < connack 0
                 a > disconnect
                 a < closed
                 a > connect V id=~ will=~/w:second
                 a < connack 0
                 a ! drop
                 w < publish q0 ~/w \"second\"
                 w < nothing"
            ),
        ),
        (
            "none, where none was given",
            format!(
                "{WATCHED}w > subscribe #2 ~/#=0
                 w < suback #2 0
                 a > connect V
                 a < connack 0
                 a ! drop
                 wait 300
                 w < nothing"
            ),
        ),
        ("an empty one", format!("{WATCHED}a > connect V will=~/w:\na < connack 0\na ! drop\nw < publish q0 ~/w \"\"")),
    ];
    check_versions("345", &rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_will_has_its_qos_and_its_retain_flag() {
    let rows = [
        ("QoS 1", format!("{WATCHED}a > connect V will=~/w:x wq=1\na < connack 0\na ! drop\nw < publish q1 * ~/w \"x\"")),
        ("QoS 2", format!("{WATCHED}a > connect V will=~/w:x wq=2\na < connack 0\na ! drop\nw < publish q2 * ~/w \"x\"")),
        (
            "not retained",
            format!(
                "{WATCHED}a > connect V will=~/w:x wq=1
                 a < connack 0
                 a ! drop
                 w < publish q1 * ~/w \"x\"
                 v > connect V
                 v < connack 0
                 v > subscribe #1 ~/w=1
                 v < suback #1 1
                 v < nothing"
            ),
        ),
        (
            "retained",
            format!(
                "{WATCHED}a > connect V will=~/w:x wq=1 wr
                 a < connack 0
                 a ! drop
                 w < publish q1 * ~/w \"x\"
                 v > connect V
                 v < connack 0
                 v > subscribe #1 ~/w=1
                 v < suback #1 1
                 v < publish q1 retain * ~/w \"x\""
            ),
        ),
        (
            "a retained empty one removes",
            format!(
                "{WATCHED}a > connect V will=~/w: wr
                 a < connack 0
                 a > publish q0 retain ~/w old
                 w < publish q0 ~/w \"old\"
                 a ! drop
                 w < publish q0 ~/w \"\"
                 v > connect V
                 v < connack 0
                 v > subscribe #1 ~/w=1
                 v < suback #1 1
                 v < nothing"
            ),
        ),
    ];
    check_versions("345", &rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_wills_properties_go_with_it() {
    let watched = WATCHED.replace('V', "5");
    let row = format!(
        "{watched}a > connect 5 will=~/w:x will.payload-format=1 will.message-expiry=100 will.content-type=c will.response-topic=~/r \
         will.correlation=\\x00c will.up=b:1 will.up=a:2 will.up=b:1 up=not:this
         a < connack 0
         a ! drop
         w < publish q0 ~/w \"x\" payload-format=1 message-expiry=99..100 content-type=c response-topic=~/r correlation=\\x00c up=b:1 up=a:2 up=b:1 exactly"
    );
    check(&[("all", &row)]);
}

/// After [`WATCHED`].
const DELAYED: &[Row] = &[
    (
        "after its delay",
        "a > connect 5 session-expiry=60 will=~/w:x will.delay=2
         a < connack 0
         mark
         a ! drop
         w < nothing
         w < publish q0 ~/w \"x\"
         took 1900..4500",
    ),
    (
        "never later than the session's end",
        "a > connect 5 session-expiry=1 will=~/w:x will.delay=60
         a < connack 0
         mark
         a ! drop
         w < publish q0 ~/w \"x\"
         took 900..3500",
    ),
    (
        "at once where the session ends with the connection",
        "mark
         a > connect 5 will=~/w:x will.delay=60
         a < connack 0
         a ! drop
         w < publish q0 ~/w \"x\"
         took 0..1500",
    ),
    (
        "not at all, where the client comes back in time",
        "a > connect 5 id=~ session-expiry=60 will=~/w:x will.delay=2
         a < connack 0
         a ! drop
         a > connect 5 id=~ clean=0 session-expiry=60
         a < connack 0 present
         wait 3500
         w < nothing
         a ! drop
         wait 1500
         w < nothing",
    ),
    (
        "not at all, where it comes back by a take-over",
        "a > connect 5 id=~ session-expiry=60 will=~/w:x will.delay=2
         a < connack 0
         b > connect 5 id=~ clean=0 session-expiry=60
         a < disconnect 0x8e
         a < closed
         b < connack 0 present
         wait 3500
         w < nothing",
    ),
    (
        "at once, where a clean start ends its session",
        "a > connect 5 id=~ session-expiry=60 will=~/w:x will.delay=30
         a < connack 0
         a ! drop
         mark
         b > connect 5 id=~ clean=1
         b < connack 0
         w < publish q0 ~/w \"x\"
         took 0..3000",
    ),
    (
        "0x04, delayed as well",
        "a > connect 5 session-expiry=60 will=~/w:x will.delay=2
         a < connack 0
         mark
         a > disconnect 4
         a < closed
         w < publish q0 ~/w \"x\"
         took 1900..4500",
    ),
];

#[test]
fn a_will_is_delayed_and_withdrawn_by_a_client_that_comes_back() {
    let watched = WATCHED.replace('V', "5");
    let note = "not mosquitto: 2.0.11 looks now and then, and has no will where a session is taken over";
    let rows: Vec<_> = DELAYED.iter().map(|(name, script)| (*name, format!("{note}\n{watched}{script}"))).collect();
    check(&rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}
