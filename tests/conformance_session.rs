//! Sessions (3.1.2.4, 3.1.2.11, 4.1): when they begin, what they keep, when they end.

use crate::harness::script::{Row, check, check_versions};

/// `BEGIN` is a CONNECT whose session is kept, `CLEAN` one whose is not, `RESUMED` what CONNACK says where there was a session.
const KEPT: &[Row] = &[
    (
        "kept: subscriptions and what came meanwhile",
        "w > connect BEGIN
                     w < connack 0
                     w > subscribe #1 ~/t=2 ~/u=1
                     w < suback #1 2 1
                     w > disconnect
                     w < closed
                     a > connect 4
                     a < connack 0
                     a > publish q1 #1 ~/t 1
                     a < puback #1
                     a > publish q2 #2 ~/t 2
                     a < pubrec #2
                     a > pubrel #2
                     a < pubcomp #2
                     a > publish q0 ~/t 0
                     a > publish q2 #3 ~/u 3
                     a < pubrec #3
                     a > pubrel #3
                     a < pubcomp #3
                     w > connect BEGIN
                     w < connack 0 RESUMED
                     w | publish q1 * ~/t \"1\"
                     w | publish q2 * ~/t \"2\"
                     w | publish q1 * ~/u \"3\"
                     w < nothing
                     a > publish q0 ~/t now
                     w < publish q0 ~/t \"now\"",
    ),
    (
        "ended by a clean one",
        "w > connect BEGIN
                     w < connack 0
                     w > subscribe #1 ~/t=1
                     w < suback #1 1
                     w > disconnect
                     w < closed
                     a > connect 4
                     a < connack 0
                     a > publish q1 #1 ~/t 1
                     a < puback #1
                     w > connect CLEAN
                     w < connack 0
                     w < nothing
                     a > publish q1 #2 ~/t 2
                     a < puback #2
                     w < nothing
                     w > disconnect
                     w < closed
                     w > connect BEGIN
                     w < connack 0
                     w < nothing",
    ),
    (
        "a clean one leaves nothing",
        "w > connect CLEAN
                     w < connack 0
                     w > subscribe #1 ~/t=1
                     w < suback #1 1
                     w > disconnect
                     w < closed
                     a > connect 4
                     a < connack 0
                     a > publish q1 #1 ~/t 1
                     a < puback #1
                     w > connect BEGIN
                     w < connack 0
                     w < nothing",
    ),
];

#[test]
fn a_session_outlives_its_connection_as_the_client_asked() {
    for (version, begin, resumed) in
        [("3", "3 id=~ clean=0", ""), ("4", "4 id=~ clean=0", "present"), ("5", "5 id=~ clean=0 session-expiry=60", "present")]
    {
        let clean = begin.replace("clean=0", "clean=1").replace(" session-expiry=60", "");
        let said = |script: &str| script.replace("BEGIN", begin).replace("CLEAN", &clean).replace("RESUMED", resumed);
        let rows: Vec<_> = KEPT.iter().map(|(name, script)| (*name, said(script))).collect();
        check_versions(version, &rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
    }
}

#[test]
fn session_expiry_is_counted_from_the_end_of_the_connection() {
    let ends = |expiry: &str, leave: &str, wait: u32, then: &str| {
        format!(
            "w > connect 5 id=~ {expiry}
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             {leave}
             wait {wait}
             w > connect 5 id=~ clean=0
             w < connack 0{then}"
        )
    };
    let rows = [
        ("none: ends with the connection", ends("", "w ! drop", 300, "")),
        ("0: the same", ends("session-expiry=0", "w ! drop", 300, "")),
        ("60 s: is there", ends("session-expiry=60", "w ! drop", 1_000, " present")),
        ("for ever", ends("session-expiry=4294967295", "w ! drop", 1_000, " present")),
        ("1 s: is gone after it", ends("session-expiry=1", "w ! drop", 3_300, "")),
        ("clean start begins one that stays, too", ends("clean=1 session-expiry=60", "w ! drop", 300, " present")),
        ("set anew by DISCONNECT", ends("session-expiry=60", "w > disconnect 0 session-expiry=1\nw < closed", 3_300, "")),
        ("ended by DISCONNECT", ends("session-expiry=60", "w > disconnect 0 session-expiry=0\nw < closed", 300, "")),
        ("prolonged by DISCONNECT", ends("session-expiry=1", "w > disconnect 0 session-expiry=60\nw < closed", 3_300, " present")),
        ("left as it was by DISCONNECT", ends("session-expiry=60", "w > disconnect\nw < closed", 300, " present")),
        (
            "while connected nothing expires",
            "w > connect 5 id=~ session-expiry=1
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             wait 3300
             w > publish q0 ~/t x
             w < publish q0 ~/t \"x\""
                .to_owned(),
        ),
        (
            "what a session that expired would have got is gone",
            "w > connect 5 id=~ session-expiry=1
             w < connack 0
             w > subscribe #1 ~/t=1
             w < suback #1 1
             w ! drop
             wait 3300
             a > connect 5
             a < connack 0
             a > publish q1 #1 ~/t x
             a < puback #1
             w > connect 5 id=~ clean=0 session-expiry=60
             w < connack 0
             w < nothing"
                .to_owned(),
        ),
    ];
    let note = |(name, script): &(&'static str, String)| {
        // Mosquitto looks for expired sessions now and then.
        let note = if script.contains("3300") { "not mosquitto: it looks now and then\n" } else { "" };
        (*name, format!("{note}{script}"))
    };
    let rows: Vec<_> = rows.iter().map(note).collect();
    check(&rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_session_belongs_to_its_client_identifier() {
    check(&[
        (
            "another client sees nothing of it",
            "a > connect 4 id=~a clean=0
             a < connack 0
             a > subscribe #1 ~/t=1
             a < suback #1 1
             a > disconnect
             a < closed
             b > connect 4 id=~b clean=0
             b < connack 0
             p > connect 4
             p < connack 0
             p > publish q1 #1 ~/t x
             p < puback #1
             b < nothing
             a > connect 4 id=~a clean=0
             a < connack 0 present
             a < publish q1 * ~/t \"x\"",
        ),
        (
            "letter for letter",
            "a > connect 4 id=~x clean=0
             a < connack 0
             a ! drop
             a > connect 4 id=~X clean=0
             a < connack 0",
        ),
        (
            "over versions: 3.1.1 to 5.0 and back",
            "a > connect 4 id=~ clean=0
             a < connack 0
             a > subscribe #1 ~/t=1
             a < suback #1 1
             a ! drop
             a > connect 5 id=~ clean=0 session-expiry=60
             a < connack 0 present
             a > publish q1 #1 ~/t x content-type=c
             a | puback #1
             a | publish q1 #x ~/t \"x\" content-type=c
             a ! drop
             a > connect 4 id=~ clean=0
             a < connack 0 present
             a < publish q1 dup #x ~/t \"x\"
             a > puback #x
             a < nothing",
        ),
    ]);
}
