//! PUBLISH towards the client (3.3, 4.3 to 4.7): what it is sent, when, in which order, and what its answers do.

use crate::harness::script::{check, check_versions};

#[test]
fn a_message_goes_out_at_the_lower_of_both_qos() {
    let mut script = "w > connect V\nw < connack 0\na > connect V\na < connack 0\n".to_owned();
    for subscribed in 0..3 {
        for published in 0..3 {
            let (topic, id) = (format!("~/{subscribed}{published}"), 10 * subscribed + published + 1);
            script += &format!("w > subscribe #9 {topic}={subscribed}\nw < suback #9 {subscribed}\n");
            let (id_word, answers) = match published {
                0 => (String::new(), String::new()),
                1 => (format!("#{id}"), format!("a < puback #{id}\n")),
                _ => (format!("#{id}"), format!("a < pubrec #{id}\na > pubrel #{id}\na < pubcomp #{id}\n")),
            };
            script += &format!("a > publish q{published} {id_word} {topic} x\n{answers}");
            script += &match subscribed.min(published) {
                0 => format!("w < publish q0 {topic} \"x\"\n"),
                1 => format!("w < publish q1 #i{id} {topic} \"x\"\nw > puback #i{id}\n"),
                _ => format!("w < publish q2 #i{id} {topic} \"x\"\nw > pubrec #i{id}\nw < pubrel #i{id}\nw > pubcomp #i{id}\n"),
            };
        }
    }
    check_versions("345", &[("all nine", &format!("{script}w < nothing"))]);
}

/// 4.3.3, the sender's side: what we do with what a client answers.
#[test]
fn a_qos_2_delivery_goes_on_from_where_it_was() {
    let begun = "w > connect V id=~ clean=0 EXPIRY
                 w < connack 0
                 w > subscribe #1 ~/t=2
                 w < suback #1 2
                 a > connect V
                 a < connack 0
                 a > publish q2 #5 ~/t x
                 a < pubrec #5
                 a > pubrel #5
                 a < pubcomp #5
                 w < publish q2 #x ~/t \"x\"\n";
    let again = "w ! drop\nw > connect V id=~ clean=0 EXPIRY\nw < connack 0 present\n";
    let again_3 = again.replace(" present", "");
    let rows = |again: &str| {
        vec![
            ("unanswered: PUBLISH again", format!("{begun}{again}w < publish q2 dup #x ~/t \"x\"\nw < nothing")),
            (
                "received: PUBREL again, never PUBLISH",
                format!("{begun}w > pubrec #x\nw < pubrel #x\n{again}w < pubrel #x\nw > pubcomp #x\nw < nothing"),
            ),
            ("complete: nothing", format!("{begun}w > pubrec #x\nw < pubrel #x\nw > pubcomp #x\n{again}w < nothing")),
            ("not again on the same connection", format!("{begun}wait 1500\nw < nothing")),
        ]
    };
    for (version, expiry) in [("3", ""), ("4", ""), ("5", "session-expiry=60")] {
        let rows = rows(if version == "3" { &again_3 } else { again });
        let rows: Vec<_> = rows.into_iter().map(|(name, script)| (name, script.replace("EXPIRY", expiry))).collect();
        check_versions(version, &rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
    }
}

#[test]
fn what_a_5_0_client_refuses_is_not_sent_again() {
    let begin = "w > connect 5 id=~ clean=0 session-expiry=60
                 w < connack 0
                 w > subscribe #1 ~/t=2
                 w < suback #1 2
                 a > connect 5
                 a < connack 0\n";
    let again = "w ! drop\nw > connect 5 id=~ clean=0 session-expiry=60\nw < connack 0 present\nw < nothing";
    let rows = [
        ("PUBACK 0x80", format!("{begin}a > publish q1 #1 ~/t x\na < puback #1\nw < publish q1 #x ~/t \"x\"\nw > puback #x 0x80\n{again}")),
        (
            "PUBACK 0x97 with a reason",
            format!(
                "{begin}a > publish q1 #1 ~/t x\na < puback #1\nw < publish q1 #x ~/t \"x\"\nw > puback #x 0x97 reason=full up=a:b\n{again}"
            ),
        ),
        (
            "PUBREC 0x80: no PUBREL",
            format!(
                "{begin}a > publish q2 #1 ~/t x\na < pubrec #1\na > pubrel #1\na < pubcomp #1\nw < publish q2 #x ~/t \"x\"\nw > pubrec #x 0x80\nw < nothing\n{again}"
            ),
        ),
        ("PUBREC of something unknown", format!("not mosquitto: it answers with success\n{begin}w > pubrec #4000\nw < pubrel #4000 0x92")),
        ("PUBACK and PUBCOMP of something unknown", format!("{begin}w > puback #4000\nw > pubcomp #4001 0x92\nw < nothing")),
    ];
    check(&rows.iter().map(|(name, script)| (*name, script.as_str())).collect::<Vec<_>>());
}

/// 4.4, 4.6: on reconnect in the order of the first time, with the identifiers of the first time.
#[test]
fn what_was_not_acknowledged_is_sent_again_in_its_order() {
    let script = "w > connect V id=~ clean=0 EXPIRY
                  w < connack 0
                  w > subscribe #1 ~/#=2
                  w < suback #1 2
                  a > connect V
                  a < connack 0
                  a > publish q1 #1 ~/1 1
                  a < puback #1
                  a > publish q2 #2 ~/2 2
                  a < pubrec #2
                  a > pubrel #2
                  a < pubcomp #2
                  a > publish q1 #3 ~/3 3
                  a < puback #3
                  a > publish q2 #4 ~/4 4
                  a < pubrec #4
                  a > pubrel #4
                  a < pubcomp #4
                  w < publish q1 #a ~/1 \"1\"
                  w < publish q2 #b ~/2 \"2\"
                  w < publish q1 #c ~/3 \"3\"
                  w < publish q2 #d ~/4 \"4\"
                  distinct #a #b #c #d
                  w > puback #c
                  w < nothing
                  w > disconnect
                  w < closed
                  a > publish q1 #5 ~/5 5
                  a < puback #5
                  w > connect V id=~ clean=0 EXPIRY
                  w < connack 0 PRESENT
                  w < publish q1 dup #a ~/1 \"1\"
                  w < publish q2 dup #b ~/2 \"2\"
                  w < publish q2 dup #d ~/4 \"4\"
                  w < publish q1 #e ~/5 \"5\"
                  distinct #a #b #d #e
                  w < nothing";
    for (version, expiry, present) in [("3", "", ""), ("4", "", "present"), ("5", "session-expiry=60", "present")] {
        check_versions(version, &[("four in flight", &script.replace("EXPIRY", expiry).replace("PRESENT", present))]);
    }
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6] of 5.0 and of 3.1.1.
#[test]
fn messages_of_a_topic_keep_their_order() {
    let publish = |n: usize| format!("a > publish q1 #{} ~/{} {n}\n", n + 1, n % 2);
    let expect = |n: usize| format!("w < publish q1 #* ~/{} \"{n}\"\n", n % 2);
    let acknowledged: String = (0..40).map(|n| format!("a < puback #{}\n", n + 1)).collect();
    let script = format!(
        "w > connect V\nw < connack 0\nw > subscribe #1 ~/+=1\nw < suback #1 1\na > connect V\na < connack 0\n{}{acknowledged}{}",
        (0..40).map(publish).collect::<String>(),
        (0..20).map(expect).collect::<String>().replace("#*", "*"),
    );
    check_versions("345", &[("40 messages", &script)]);
}

#[test]
fn overlapping_subscriptions_give_one_copy_at_the_highest_qos() {
    check_versions(
        "345",
        &[(
            "three filters",
            "not mosquitto: it takes the QoS of one of them
             w > connect V
             w < connack 0
             w > subscribe #1 ~/#=0 ~/+=2 ~/t=1
             w < suback #1 0 2 1
             a > connect V
             a < connack 0
             a > publish q2 #1 ~/t x
             a < pubrec #1
             a > pubrel #1
             a < pubcomp #1
             w < publish q2 #x ~/t \"x\"
             w > pubrec #x
             w < pubrel #x
             w > pubcomp #x
             a > publish q0 ~/t/deep y
             w < publish q0 ~/t/deep \"y\"
             w < nothing",
        )],
    );
}

#[test]
fn wildcards_match_as_the_standard_says() {
    // Filter, topics that it matches, topics that it does not. ~ is one level.
    let rows = [
        ("~/#", "~ ~/a ~/a/b ~//", "~x"),
        ("~/+", "~/a ~/ ~/é", "~ ~/a/b"),
        ("~/+/c", "~/b/c ~//c", "~/c ~/b/c/ ~/b/d"),
        ("~/+/+/#", "~/a/b ~/a/b/c ~//", "~ ~/a"),
        ("+/~", "a/~ /~", "$a/~ a/b/~"),
        ("$a/~/#", "$a/~ $a/~/b", "a/~"),
        ("~/A", "~/A", "~/a"),
        ("~/a", "~/a", "~/a/ ~/A"),
        ("~/e\u{301}", "~/e\u{301}", "~/é"),
        ("~/\u{feff}x", "~/\u{feff}x", "~/x"),
        ("\"~/a b\"", "\"~/a b\"", "~/ab"),
    ];
    let mut scripts = Vec::new();
    for (filter, matched, others) in rows {
        let mut script =
            format!("w > connect V\nw < connack 0\nw > subscribe #1 {filter}=0 ~~=0\nw < suback #1 0 0\na > connect V\na < connack 0\n");
        let topics = |text: &str| crate::harness::packet::words(text);
        for topic in topics(others).iter().chain(&topics(matched)) {
            script += &format!("a > publish q0 {topic} x\n");
        }
        for topic in topics(matched) {
            script += &format!("w < publish q0 {topic} \"x\"\n");
        }
        scripts.push((filter, format!("{script}w < nothing")));
    }
    let scripts: Vec<_> = scripts.iter().map(|(f, s)| (*f, s.as_str())).collect();
    check_versions("45", &scripts);
}

/// [MQTT-4.7.2-1]: nobody who asks for everything is told what the server says of itself.
#[test]
fn a_leading_wildcard_does_not_match_what_begins_with_a_dollar() {
    check_versions(
        "345",
        &[(
            "# and +/#",
            "w > connect V
             w < connack 0
             w > subscribe #1 #=0 +/broker/version=0
             w < suback #1 0 0
             s > connect V
             s < connack 0
             s > subscribe #1 $SYS/broker/version=0
             s < suback #1 0
             s < publish q0 retain? $SYS/broker/version *
             w < nothing",
        )],
    );
}
