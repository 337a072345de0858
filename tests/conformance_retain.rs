//! Retained messages (3.3.1.3), and what a subscription says of them (5.0, 3.8.3.1).

use crate::harness::script::{Row, check, check_versions};

const LAST_RETAINED: &[Row] = &[
    (
        "the last one, with RETAIN set",
        "a > connect V
                 a < connack 0
                 a > publish q1 retain #1 ~/t first
                 a < puback #1
                 a > publish q1 retain #2 ~/t second
                 a < puback #2
                 a > publish q1 #3 ~/t passing
                 a < puback #3
                 w > connect V
                 w < connack 0
                 w > subscribe #1 ~/#=1
                 w < suback #1 1
                 w < publish q1 retain #x ~/t \"second\"
                 w > puback #x
                 w < nothing",
    ),
    (
        "one for each topic that matches",
        "a > connect V
                 a < connack 0
                 a > publish q1 retain #1 ~/a 1
                 a < puback #1
                 a > publish q1 retain #2 ~/b/c 2
                 a < puback #2
                 a > publish q1 retain #3 ~x 3
                 a < puback #3
                 w > connect V
                 w < connack 0
                 w > subscribe #1 ~/#=0
                 w < suback #1 0
                 w | publish q0 retain ~/a \"1\"
                 w | publish q0 retain ~/b/c \"2\"
                 w < nothing",
    ),
    (
        "at the lower of both QoS",
        "a > connect V
                 a < connack 0
                 a > publish q0 retain ~/0 0
                 a > publish q1 retain #1 ~/1 1
                 a < puback #1
                 a > publish q2 retain #2 ~/2 2
                 a < pubrec #2
                 a > pubrel #2
                 a < pubcomp #2
                 w > connect V
                 w < connack 0
                 w > subscribe #1 ~/0=2
                 w < suback #1 2
                 w < publish q0 retain ~/0 \"0\"
                 w > subscribe #2 ~/1=2
                 w < suback #2 2
                 w < publish q1 retain #a ~/1 \"1\"
                 w > subscribe #3 ~/2=2
                 w < suback #3 2
                 w < publish q2 retain #b ~/2 \"2\"
                 w > subscribe #4 ~/2=0
                 w < suback #4 0
                 w < publish q0 retain ~/2 \"2\"",
    ),
    (
        "again for a subscription that is replaced",
        "a > connect V
                 a < connack 0
                 a > publish q0 retain ~/t x
                 a > subscribe #1 ~/t=0
                 a < suback #1 0
                 a < publish q0 retain ~/t \"x\"
                 a > subscribe #2 ~/t=0
                 a < suback #2 0
                 a < publish q0 retain ~/t \"x\"
                 a < nothing",
    ),
];

#[test]
fn the_last_retained_message_meets_a_new_subscription() {
    check_versions("345", LAST_RETAINED);
}

/// [MQTT-3.3.1-6] of 3.1.1, [MQTT-3.3.1-9] of 5.0: what a subscription is to be sent, its session is to be sent, over several connections, too.
#[test]
fn retained_messages_go_on_where_a_connection_was_cut() {
    let connect = "w > connect 5 id=~w clean=0 session-expiry=60 receive-max=1";
    let script = format!(
        "a > connect 5
         a < connack 0
         a > publish q1 retain #1 ~/1 1
         a < puback #1
         a > publish q1 retain #2 ~/2 2
         a < puback #2
         a > publish q1 retain #3 ~/3 3
         a < puback #3
         {connect}
         w < connack 0
         w > subscribe #1 ~/#=1
         w | suback #1 1
         w | publish q1 retain #x ~/1 \"1\"
         w < nothing
         w ! drop
         {connect}
         w < connack 0 present
         w < publish q1 dup retain #x ~/1 \"1\"
         w > puback #x
         w < publish q1 retain #y ~/2 \"2\"
         w > puback #y
         w < publish q1 retain #z ~/3 \"3\"
         w > puback #z
         w < nothing"
    );
    check(&[("three, one at a time", &script)]);
}

#[test]
fn an_established_subscription_sees_no_retain_flag() {
    check_versions(
        "345",
        &[(
            "each QoS",
            "w > connect V
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             a > connect V
             a < connack 0
             a > publish q0 retain ~/t 0
             a > publish q1 retain #1 ~/t 1
             a < puback #1
             w < publish q0 ~/t \"0\"
             w < publish q1 #x ~/t \"1\"",
        )],
    );
}

#[test]
fn an_empty_retained_message_removes_and_is_not_kept() {
    check_versions(
        "345",
        &[
            (
                "removed, and passed on as a message",
                "w > connect V
                 w < connack 0
                 w > subscribe #1 ~/t=0
                 w < suback #1 0
                 a > connect V
                 a < connack 0
                 a > publish q1 retain #1 ~/t x
                 a < puback #1
                 a > publish q1 retain #2 ~/t \"\"
                 a < puback #2
                 w < publish q0 ~/t \"x\"
                 w < publish q0 ~/t \"\"
                 w > subscribe #2 ~/+=0
                 w < suback #2 0
                 w < nothing",
            ),
            (
                "not by an empty one without RETAIN",
                "a > connect V
                 a < connack 0
                 a > publish q1 retain #1 ~/t x
                 a < puback #1
                 a > publish q1 #2 ~/t \"\"
                 a < puback #2
                 a > subscribe #1 ~/t=0
                 a < suback #1 0
                 a < publish q0 retain ~/t \"x\"",
            ),
            (
                "nothing to remove",
                "a > connect V
                 a < connack 0
                 a > publish q1 retain #1 ~/t \"\"
                 a < puback #1
                 a > subscribe #1 ~/t=0
                 a < suback #1 0
                 a < nothing",
            ),
            (
                "at QoS 0: replaced, removed",
                "a > connect V
                 a < connack 0
                 a > publish q1 retain #1 ~/t x
                 a < puback #1
                 a > publish q0 retain ~/t y
                 a > subscribe #1 ~/t=0
                 a < suback #1 0
                 a < publish q0 retain ~/t \"y\"
                 a > publish q0 retain ~/t \"\"
                 a < publish q0 ~/t \"\"
                 a > subscribe #2 ~/t=0
                 a < suback #2 0
                 a < nothing",
            ),
        ],
    );
}

/// [MQTT-3.1.2-7] of 3.1.1: they belong to no session.
#[test]
fn retained_messages_outlive_their_publishers_session() {
    check_versions(
        "345",
        &[(
            "clean, and gone",
            "a > connect V id=~
             a < connack 0
             a > publish q1 retain #1 ~/t x
             a < puback #1
             a > disconnect
             a < closed
             a > connect V id=~
             a < connack 0
             a > subscribe #1 ~/t=0
             a < suback #1 0
             a < publish q0 retain ~/t \"x\"",
        )],
    );
}

#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    check(&[(
        "0, 1 and 2, new and existing",
        "a > connect 5
         a < connack 0
         a > publish q1 retain #1 ~/t x
         a < puback #1
         a > subscribe #1 ~/t=0rh0
         a < suback #1 0
         a < publish q0 retain ~/t \"x\"
         a > subscribe #2 ~/t=0rh0
         a < suback #2 0
         a < publish q0 retain ~/t \"x\"
         a > subscribe #3 ~/t=0rh1
         a < suback #3 0
         a > subscribe #4 ~/t=0rh2
         a < suback #4 0
         a < nothing
         a > unsubscribe #5 ~/t
         a < unsuback #5 0
         a > subscribe #6 ~/t=0rh2
         a < suback #6 0
         a < nothing
         a > subscribe #7 ~/t=1rh1
         a < suback #7 1
         a < nothing
         a > unsubscribe #8 ~/t
         a < unsuback #8 0
         a > subscribe #9 ~/t=0rh1
         a < suback #9 0
         a < publish q0 retain ~/t \"x\"
         a < nothing",
    )]);
}

#[test]
fn retain_as_published_keeps_the_flag() {
    check(&[
        (
            "set and clear",
            "w > connect 5
             w < connack 0
             w > subscribe #1 ~/t=1rap
             w < suback #1 1
             v > connect 5
             v < connack 0
             v > subscribe #1 ~/t=1
             v < suback #1 1
             a > connect 5
             a < connack 0
             a > publish q1 retain #1 ~/t x
             a < puback #1
             a > publish q1 #2 ~/t y
             a < puback #2
             w < publish q1 retain * ~/t \"x\"
             w < publish q1 * ~/t \"y\"
             v < publish q1 * ~/t \"x\"
             v < publish q1 * ~/t \"y\"",
        ),
        (
            "to a session that was away",
            "w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w > subscribe #1 ~/t=1rap ~/u=1
             w < suback #1 1 1
             w > disconnect
             w < closed
             a > connect 5
             a < connack 0
             a > publish q1 retain #1 ~/t x
             a < puback #1
             a > publish q1 retain #2 ~/u y
             a < puback #2
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0 present
             w < publish q1 retain * ~/t \"x\"
             w < publish q1 * ~/u \"y\"",
        ),
    ]);
}

#[test]
fn retained_messages_keep_their_properties_and_expire() {
    check(&[
        (
            "properties",
            "a > connect 5
             a < connack 0
             a > publish q1 retain #1 ~/t x payload-format=1 content-type=text response-topic=~/r correlation=c up=b:1 up=a:2
             a < puback #1
             a > subscribe #1 ~/t=0 sub-id=7
             a < suback #1 0
             a < publish q0 retain ~/t \"x\" payload-format=1 content-type=text response-topic=~/r correlation=c up=b:1 up=a:2 sub-id=7",
        ),
        (
            "counted down",
            "a > connect 5
             a < connack 0
             a > publish q1 retain #1 ~/t x message-expiry=100
             a < puback #1
             wait 2100
             a > subscribe #1 ~/t=0
             a < suback #1 0
             a < publish q0 retain ~/t \"x\" message-expiry=96..98",
        ),
        (
            "gone",
            "a > connect 5
             a < connack 0
             a > publish q1 retain #1 ~/t x message-expiry=1
             a < puback #1
             wait 2100
             a > subscribe #1 ~/t=0
             a < suback #1 0
             a < nothing",
        ),
    ]);
}
