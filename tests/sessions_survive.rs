//! What sessions that outlive their connection were promised is there when the gateway has been killed: subscriptions, messages, packet ids of
//! QoS 2 both ways, retained messages, wills. After an orderly stop so is what nobody had to wait for.

use crate::harness::gateway::{Gateway, Site};
use crate::harness::script::check_at;

/// What it is about, what is said before the restart, what after.
type Row = (&'static str, &'static str, &'static str);

fn check(rows: &[Row], end: impl FnOnce(Gateway<'_>)) {
    let site = Site::new("");
    let gateway = site.start();
    check_at(site.port, &rows.iter().map(|(name, before, _)| (*name, *before)).collect::<Vec<_>>());
    end(gateway);
    let gateway = site.start();
    // The same row has the same `~`.
    check_at(site.port, &rows.iter().map(|(name, _, after)| (*name, *after)).collect::<Vec<_>>());
    drop(gateway);
}

#[test]
fn what_a_session_was_promised_survives_a_kill() {
    check(SESSIONS, |gateway| {
        gateway.kill();
    });
}

#[test]
fn what_nobody_waited_for_survives_an_orderly_stop() {
    check(VOLATILE, |gateway| {
        gateway.terminate();
    });
}

const SESSIONS: &[Row] = &[
    (
        "a subscription",
        "c > connect 4 clean=0
         c < connack 0
         c > subscribe #1 ~/t=1
         c < suback #1 1",
        "c > connect 4 clean=0
         c < connack 0 present
         p > connect 4
         p < connack 0
         p > publish q1 #1 ~/t x
         p < puback #1
         c < publish q1 * ~/t \"x\"",
    ),
    (
        "a subscription of 5.0, with its options",
        "c > connect 5 clean=0 session-expiry=600
         c < connack 0
         c > subscribe #1 ~/t=2rap sub-id=7
         c < suback #1 2",
        "c > connect 5 clean=0 session-expiry=600
         c < connack 0 present
         p > connect 5
         p < connack 0
         p > publish q1 retain #1 ~/t x content-type=text
         p < puback #1
         c < publish q1 retain * ~/t \"x\" sub-id=7 content-type=text",
    ),
    (
        "a filter that was given up",
        "c > connect 4 clean=0
         c < connack 0
         c > subscribe #1 ~/t=1
         c < suback #1 1
         c > unsubscribe #2 ~/t
         c < unsuback #2",
        "c > connect 4 clean=0
         c < connack 0 present
         p > connect 4
         p < connack 0
         p > publish q1 #1 ~/t x
         p < puback #1
         c < nothing",
    ),
    (
        "messages that waited",
        "c > connect 4 clean=0
         c < connack 0
         c > subscribe #1 ~/t=2
         c < suback #1 2
         c > disconnect
         c < closed
         p > connect 4
         p < connack 0
         p > publish q1 #1 ~/t 1
         p < puback #1
         p > publish q2 #2 ~/t 2
         p < pubrec #2
         p > pubrel #2
         p < pubcomp #2",
        "c > connect 4 clean=0
         c < connack 0 present
         c < publish q1 * ~/t \"1\"
         c < publish q2 * ~/t \"2\"
         c < nothing",
    ),
    (
        "a QoS 2 message on its way to a client",
        "c > connect 4 clean=0
         c < connack 0
         c > subscribe #1 ~/t=2
         c < suback #1 2
         p > connect 4
         p < connack 0
         p > publish q2 #2 ~/t x
         p < pubrec #2
         c < publish q2 #1 ~/t \"x\"",
        "c > connect 4 clean=0
         c < connack 0 present
         c < publish q2 dup #1 ~/t \"x\"
         c > pubrec #1
         c < pubrel #1
         c > pubcomp #1
         c < nothing",
    ),
    (
        "one that the client has",
        "c > connect 4 clean=0
         c < connack 0
         c > subscribe #1 ~/t=2
         c < suback #1 2
         p > connect 4
         p < connack 0
         p > publish q2 #2 ~/t x
         p < pubrec #2
         c < publish q2 #1 ~/t \"x\"
         c > pubrec #1
         c < pubrel #1",
        "c > connect 4 clean=0
         c < connack 0 present
         c < pubrel #1
         c > pubcomp #1
         c < nothing",
    ),
    (
        "a QoS 2 message of a client, delivered once",
        "w > connect 4 clean=0
         w < connack 0
         w > subscribe #1 ~/t=1
         w < suback #1 1
         w > disconnect
         w < closed
         c > connect 4 clean=0
         c < connack 0
         c > publish q2 #7 ~/t x
         c < pubrec #7",
        "c > connect 4 clean=0
         c < connack 0 present
         c > publish q2 dup #7 ~/t x
         c < pubrec #7
         c > pubrel #7
         c < pubcomp #7
         w > connect 4 clean=0
         w < connack 0 present
         w < publish q1 * ~/t \"x\"
         w < nothing",
    ),
    (
        "a packet id that was released",
        "c > connect 4 clean=0
         c < connack 0
         c > publish q2 #7 ~/t 1
         c < pubrec #7
         c > pubrel #7
         c < pubcomp #7",
        "c > connect 4 clean=0
         c < connack 0 present
         c > subscribe #1 ~/t=1
         c < suback #1 1
         c > publish q2 #7 ~/t 2
         c | pubrec #7
         c | publish q1 * ~/t \"2\"",
    ),
    (
        "a retained message",
        "p > connect 4
         p < connack 0
         p > publish q1 retain #1 ~/r kept
         p < puback #1
         p > publish q1 retain #2 ~/gone x
         p < puback #2
         p > publish q1 retain #3 ~/gone \"\"
         p < puback #3",
        "c > connect 4
         c < connack 0
         c > subscribe #1 ~/r=1 ~/gone=1
         c < suback #1 1 1
         c < publish q1 retain * ~/r \"kept\"
         c < nothing",
    ),
    (
        "a will, before its delay is over",
        "w > connect 4 clean=0
         w < connack 0
         w > subscribe #1 ~/w=1
         w < suback #1 1
         c > connect 5 clean=0 session-expiry=600 will=~/w:gone wq=1 will.delay=2
         c < connack 0
         // Its row is committed before the answer to this.
         c > subscribe #1 ~/x=1
         c < suback #1 1",
        "w > connect 4 clean=0
         w < connack 0 present
         w < publish q1 * ~/w \"gone\"",
    ),
    (
        "a session that was given up",
        "c > connect 4 clean=0
         c < connack 0
         c > subscribe #1 ~/t=1
         c < suback #1 1
         c > disconnect
         c < closed
         c > connect 4 clean=1
         c < connack 0",
        "c > connect 4 clean=0
         c < connack 0",
    ),
];

const VOLATILE: &[Row] = &[
    (
        "a retained message at QoS 0",
        "p > connect 4
         p < connack 0
         p > publish q0 retain ~/r kept
         p < nothing",
        "c > connect 4
         c < connack 0
         c > subscribe #1 ~/r=1
         c < suback #1 1
         c < publish q0 retain ~/r \"kept\"",
    ),
    (
        "a session and its message",
        "c > connect 5 clean=0 session-expiry=600
         c < connack 0
         c > subscribe #1 ~/t=1
         c < suback #1 1
         c > disconnect
         c < closed
         p > connect 4
         p < connack 0
         p > publish q1 #1 ~/t x
         p < puback #1",
        "c > connect 5 clean=0 session-expiry=600
         c < connack 0 present
         c < publish q1 * ~/t \"x\"",
    ),
];
