//! The conversations, a limit each or a version of it.

use super::Reaching;

/// Limits that are reached by other tests: those of what comes before MQTT (`limits_reached`), and those of users (`login`, `attacks_access`).
pub(super) const ELSEWHERE: [&str; 4] = ["handshakes_max", "websocket_header_max", "logins_waiting_max", "sessions_per_user"];

/// Enough to see what is left of each; few where a try takes long.
const MANY: usize = 60;

const FEW: usize = 2;

/// Where a try takes seconds.
const NONE: usize = 0;

pub(super) fn all() -> Vec<Reaching> {
    let mut rows = Vec::new();
    connections(&mut rows);
    packets(&mut rows);
    topics(&mut rows);
    subscriptions(&mut rows);
    sessions(&mut rows);
    kept(&mut rows);
    rows
}

/// `setting` is that of the limit; `more`: other lines of `[broker.limits]`, or further tables.
fn row(rows: &mut Vec<Reaching>, limit: &'static str, setting: &str, more: &str, who: &'static str, tries: usize, script: &str) {
    let site = format!("[broker.limits]\n{limit} = {setting}\n{more}");
    rows.push(Reaching { limit, site, who, tries, script: script.to_owned() });
}

const OTHERS_IN: &str = "a > connect 5\na < connack 0\nb > connect 4\nb < connack 0\n";

fn connections(rows: &mut Vec<Reaching>) {
    let third = format!("{OTHERS_IN}c > hex 10\nc < closed\na > disconnect\na < closed\nb > disconnect\nb < closed");
    row(rows, "connections_max", "2", "", "?", FEW, &third);
    row(rows, "connections_per_address", "2", "", "?", FEW, &third);
    let pending = "a > hex 10\nb > hex 10\nc > hex 10\na < closed\nd > hex 10\nb < closed";
    row(rows, "pending_max", "2", "", "?", FEW, pending);
    row(rows, "connect_timeout", "\"100ms\"", "", "?", NONE, "a > hex 10\na < closed");
    row(rows, "keep_alive_max", "\"30s\"", "", "a", MANY, "a > connect 5 keep=60\na < connack 0 server-keep-alive=30\na < nothing");
    row(rows, "keep_alive_max", "\"30s\"", "", "a", MANY, "a > connect 5 keep=0\na < connack 0 server-keep-alive=30\na < nothing");
    row(rows, "keep_alive_max", "\"1s\"", "", "a", NONE, "a > connect 4 keep=0\na < connack 0\nmark\na < closed\ntook 1000..9000");
}

fn packets(rows: &mut Vec<Reaching>) {
    let max = "\"4KiB\"";
    row(
        rows,
        "packet_max",
        max,
        "",
        "a",
        MANY,
        "a > connect 5\na < connack 0 max-packet=4096\na > publish q1 #1 t x*5000\na < disconnect 0x95\na < closed",
    );
    row(rows, "packet_max", max, "", "a", MANY, "a > connect 4\na < connack 0\na > publish q1 #1 t x*5000\na < closed");
    row(rows, "packet_max", max, "", "a", MANY, "a > connect 5\na < connack 0\na > hex 30ffffff7f\na < disconnect 0x95\na < closed");
    row(rows, "packet_max", max, "", "?", MANY, "a > hex 10ffffff7f\na < closed");
    // A packet of 30,000 bytes of which a third is missing.
    let part = format!("hex 30b0ea01000174{}", "78".repeat(25_000));
    let parts = format!(
        "{OTHERS_IN}a > {part}\nc > connect 5\nc < connack 0\nb > {part}\nd > connect 5\nd < connack 0\nc > {part}\nc < disconnect 0x97\nc < closed"
    );
    row(rows, "unfinished_max", "\"64KiB\"", "packet_max = \"32KiB\"", "c", FEW, &parts);
    row(rows, "client_id_max", "23", "", "?", MANY, "a > connect 5 id=i*24\na < connack 0x85\na < closed");
    row(rows, "client_id_max", "23", "", "?", MANY, "a > connect 4 id=i*24\na < connack 2\na < closed");
    let four = "up=a:b up=a:b up=c:d up=e:f";
    for (packet, who) in [
        (format!("a > connect 5 {four}\na < connack 0x97\na < closed"), "?"),
        (format!("a > connect 5\na < connack 0\na > publish q1 #1 t x {four}\na < disconnect 0x97\na < closed"), "a"),
        (format!("a > connect 5\na < connack 0\na > subscribe #1 t=0 {four}\na < disconnect 0x97\na < closed"), "a"),
        (format!("a > connect 5\na < connack 0\na > disconnect 4 {four}\na < disconnect 0x97\na < closed"), "a"),
    ] {
        row(rows, "user_properties_max", "3", "", who, MANY, &packet);
    }
    let ten: String = (1..=10).map(|n| format!("a > publish q1 #{n} t x\n")).collect();
    let acks: String = (1..=10).map(|n| format!("a < puback #{n}\n")).collect();
    let script = |version| format!("a > connect {version}\na < connack 0\nmark\n{ten}{acks}took 500..9000");
    row(rows, "publish_rate", "5", "", "a", NONE, &script(5));
    row(rows, "publish_rate", "5", "", "a", NONE, &script(4));
    let four: String = (1..=4).map(|n| format!("a > publish q2 #{n} t x\n")).collect();
    let three: String = (1..=3).map(|n| format!("a < pubrec #{n}\n")).collect();
    let beyond = format!("a > connect 5\na < connack 0 receive-max=3\n{four}{three}a < disconnect 0x93\na < closed");
    row(rows, "receive_maximum", "3", "", "a", MANY, &beyond);
    // What an upstream that is away is owed is acknowledged by commits.
    let away = "[[upstream]]\nname = \"away\"\nurl = \"mqtt://127.0.0.1:9\"\ntopics = [\"#\"]\n";
    let acks: String = (1..=10).map(|n| format!("a < puback #{n}\n")).collect();
    row(rows, "receive_maximum", "3", away, "a", FEW, &format!("a > connect 4\na < connack 0\n{ten}{acks}"));
}

fn topics(rows: &mut Vec<Reaching>) {
    for (limit, setting, topic) in [("topic_length_max", "64", "t*65"), ("topic_levels_max", "8", "1/2/3/4/5/6/7/8/9")] {
        for (version, script) in [
            (5, format!("a > publish q1 #1 {topic} x\na < puback #1 0x90\na > publish q2 #2 {topic} x\na < pubrec #2 0x90\na < nothing")),
            (5, format!("a > publish q0 {topic} x\na < disconnect 0x90\na < closed")),
            (5, format!("a > publish q0 {topic} x alias=1\na < disconnect 0x90\na < closed")),
            (5, format!("a > subscribe #1 good=1 {topic}=1\na < suback #1 1 0x97\na < nothing")),
            (4, format!("a > publish q1 #1 {topic} x\na < closed")),
            (4, format!("a > subscribe #1 {topic}=0 good=1\na < suback #1 0x80 1\na < nothing")),
        ] {
            row(rows, limit, setting, "", "a", MANY, &format!("a > connect {version}\na < connack 0\n{script}"));
        }
        row(rows, limit, setting, "", "?", MANY, &format!("a > connect 5 will={topic}:x\na < connack 0x90\na < closed"));
        row(rows, limit, setting, "", "?", MANY, &format!("a > connect 4 will={topic}:x\na < connack 3\na < closed"));
    }
    let alias = "a > connect 5\na < connack 0 alias-max=2\na > publish q0 t x alias=3\na < disconnect 0x94\na < closed";
    row(rows, "topic_aliases_max", "2", "", "a", MANY, alias);
    let long: String = (1..=4).map(|n| format!("a > publish q0 {} x alias={n}\n", n.to_string().repeat(300))).collect();
    let script = format!("a > connect 5\na < connack 0\n{long}a < disconnect 0x97\na < closed");
    row(rows, "topic_aliases_bytes", "\"1KiB\"", "", "a", MANY, &script);
}

fn subscriptions(rows: &mut Vec<Reaching>) {
    let versions = [(5, "0x97"), (4, "0x80")];
    for (version, refused) in versions {
        let begin = format!("a > connect {version}\na < connack 0\n");
        let four = format!(
            "{begin}a > subscribe #1 a=0 b=1 c=2 d=0\na < suback #1 0 1 2 {refused}\na > subscribe #2 b=0\na < suback #2 0\na < nothing"
        );
        row(rows, "subscriptions_max", "3", "", "a", MANY, &four);
        let deep = |n: usize| format!("{n}{}", "/x".repeat(99));
        let filters: String = (0..3).map(|n| format!(" {}=0", deep(n))).collect();
        let deep = format!("{begin}a > subscribe #1{filters}\na < suback #1 0 0 {refused}");
        row(rows, "subscription_levels_max", "256", "", "a", MANY, &deep);
        let long = format!("{begin}a > subscribe #1 a*40000=0 b*40000=0\na < suback #1 0 {refused}");
        row(rows, "subscription_bytes", "\"64KiB\"", "", "a", MANY, &long);
        let groups = format!("{begin}a > subscribe #1 $share/a/t=0 $share/b/t=1 $share/c/t=0\na < suback #1 0 1 {refused}\na < nothing");
        row(rows, "shared_groups_max", "2", "", "a", MANY, &groups);
        let join = |who: &str, code: &str| {
            format!("{who} > connect {version}\n{who} < connack 0\n{who} > subscribe #1 $share/g/t=0\n{who} < suback #1 {code}\n")
        };
        let leave = "a > disconnect\na < closed\nb > disconnect\nb < closed";
        let members = format!("{}{}{}{leave}", join("a", "0"), join("b", "0"), join("c", refused));
        row(rows, "shared_members_max", "2", "", "c", MANY, &members);
    }
}

fn sessions(rows: &mut Vec<Reaching>) {
    for (version, refused) in [(5, "0x97"), (4, "3")] {
        let third = format!("{OTHERS_IN}c > connect {version}\nc < connack {refused}\nc < closed");
        row(rows, "sessions_max", "2", "", "?", MANY, &third);
        let wills = format!(
            "a > connect 5 will=t:x\na < connack 0\nb > connect {version} will=t:x\nb < connack {refused}\nb < closed\nc > connect 4\nc < connack 0\na > disconnect\na < closed"
        );
        row(rows, "wills_max", "1", "", "?", MANY, &wills);
        let wills = wills.replacen(":x\nb <", ":x*2000\nb <", 1);
        row(rows, "wills_bytes", "\"1KiB\"", "", "?", MANY, &wills);
    }
    let expiry = "a > connect 5 session-expiry=3600\na < connack 0 session-expiry=60\na > disconnect\na < closed";
    row(rows, "session_expiry_max", "\"60s\"", "", "a", FEW, expiry);
    let expiry =
        "a > connect 4\na < connack 0\na > disconnect\na < closed\na > connect 4 clean=0\na < connack 0\na > disconnect\na < closed";
    row(rows, "session_expiry_max", "\"1s\"", "", "a", FEW, expiry);
}

/// A session that is away, and what comes to it meanwhile.
fn away(messages: &str) -> String {
    format!(
        "w > connect 5 clean=1 session-expiry=60
         w < connack 0
         w > subscribe #1 ~/t=1
         w < suback #1 1
         w > disconnect
         w < closed
         a > connect 5
         a < connack 0
         {messages}
         w > connect 5 clean=0
         w < connack 0 present"
    )
}

fn kept(rows: &mut Vec<Reaching>) {
    let five: String = (1..=5).map(|n| format!("a > publish q1 #{n} ~/t {n}\na < puback #{n}\n")).collect();
    let last = "\nw < publish q1 * ~/t \"3\"\nw < publish q1 * ~/t \"4\"\nw < publish q1 * ~/t \"5\"\nw < nothing";
    row(rows, "session_queue", "3", "", "w", FEW, &(away(&five) + last));
    let bytes: String = (1..=3).map(|n| format!("a > publish q1 #{n} ~/t {n}*400\na < puback #{n}\n")).collect();
    let last = "\nw < publish q1 * ~/t \"2*400\"\nw < publish q1 * ~/t \"3*400\"\nw < nothing";
    row(rows, "session_queue_bytes", "\"1KiB\"", "", "w", FEW, &(away(&bytes) + last));
    // What the kernel takes for one that does not read, and more.
    let flood = "a > publish q0 ~/t x*60000\n".repeat(300);
    let unread =
        format!("w > connect 5\nw < connack 0\nw > subscribe #1 ~/t=0\nw < suback #1 0\na > connect 5\na < connack 0\n{flood}a < nothing");
    row(rows, "output_max", "\"64KiB\"", "", "w", FEW, &unread);
    let third = |version, answer: &str| {
        format!(
            "a > connect {version}\na < connack 0\na > publish q1 retain #1 ~/1 x\na < puback #1\na > publish q1 retain #2 ~/2 x\na < puback #2
             a > publish q1 retain #3 ~/3 x\na < puback #3{answer}\na > publish q0 retain ~/4 x\na < nothing
             w > connect 5\nw < connack 0\nw > subscribe #1 ~/#=0\nw < suback #1 0
             w | publish q0 retain ~/1 \"x\"\nw | publish q0 retain ~/2 \"x\"\nw < nothing"
        )
    };
    row(rows, "retained_max", "2", "", "a", FEW, &third(5, " 0x97"));
    row(rows, "retained_max", "2", "", "a", FEW, &third(4, ""));
    let large = |version, answer: &str| third(version, answer).replace("x\n", "x*30000\n").replace("\"x\"", "\"x*30000\"");
    row(rows, "retained_bytes", "\"64KiB\"", "", "a", FEW, &large(5, " 0x97"));
    row(rows, "retained_bytes", "\"64KiB\"", "", "a", FEW, &large(4, ""));
}
