//! What has hurt other brokers: names and rights of others.

use std::process::Command;
use std::time::Duration;

use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::script::{check_at, hold};

/// A site that knows anna (password "one") and bert ("two"), and lets nobody else in.
fn with_users(rest: &str) -> Site {
    let site = Site::new("");
    let path = site.path().join("users");
    for (n, (user, password)) in [("anna", "one"), ("bert", "two")].into_iter().enumerate() {
        let create: &[&str] = if n == 0 { &["-c"] } else { &[] };
        let mut command = Command::new("mosquitto_passwd");
        command.args(create).arg("-b").arg(&path).args([user, password]);
        let made = command.status().expect("the program mosquitto_passwd");
        assert!(made.success());
    }
    site.rewrite(&format!("[broker.access]\nusers = \"{}\"\n{rest}", path.display()));
    site
}

/// Each of them is somebody else's way in.
#[test]
fn nobody_comes_in_without_the_right_password() {
    let site = with_users("");
    let _gateway = site.start();
    for (name, version, words, refused) in [
        ("no password", 5, "user=anna", "0x86"),
        ("no password, 3.1.1", 4, "user=anna", "4"),
        ("an empty password", 5, "user=anna pass=", "0x86"),
        ("another's password", 5, "user=anna pass=two", "0x86"),
        ("nobody's name", 5, "user=carl pass=one", "0x86"),
        ("a pattern as a name", 5, "user=# pass=one", "0x86"),
        ("a pattern as a name", 5, "user=+ pass=one", "0x86"),
        ("a password without a name", 5, "pass=one", "*"),
        ("nobody at all", 5, "", "*"),
        ("nobody at all, 3.1.1", 4, "", "5"),
        ("a line of the file as a name", 5, "user=anna\\x0abert pass=two", "0x86"),
    ] {
        let script = format!("a > connect {version} {words}\na < connack {refused}\na < closed");
        hold(site.port, "r", &script).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    hold(site.port, "r", "a > connect 5 user=anna pass=one\na < connack 0\na < nothing").expect("anna comes in");
    assert!(!site.log().contains("one\"") && !site.log().contains("two\""), "no password is in the log:\n{}", site.log_tail());
}

#[test]
fn the_will_of_a_login_that_failed_is_never_published() {
    let site = with_users("");
    let _gateway = site.start();
    hold(
        site.port,
        "r",
        "w > connect 5 user=anna pass=one
         w < connack 0
         w > subscribe #1 will/#=1
         w < suback #1 1
         a > connect 5 user=bert pass=wrong will=will/a:boo
         a < connack 0x86
         a < closed
         b > connect 4 user=bert will=will/b:boo
         b < connack *
         b < closed
         c > connect 5 user=bert pass=two will=will/c:good
         c < connack 0
         c ! drop
         w < publish q0 will/c \"good\"
         w < nothing",
    )
    .expect("only that of bert himself");
}

#[test]
fn another_users_session_is_not_to_be_had() {
    let site = with_users("");
    let _gateway = site.start();
    let begin = "a > connect 5 id=pump user=anna pass=one session-expiry=600
         a < connack 0
         a > subscribe #1 t=1
         a < suback #1 1";
    let away = "a > disconnect\na < closed\nc > connect 5 user=anna pass=one\nc < connack 0\nc > publish q1 #1 t secret\nc < puback #1";
    let stolen = |clean: u8| {
        format!(
            "{begin}\n{away}\nb > connect 5 id=pump user=bert pass=two clean={clean}\nb < connack 0x85\nb < closed\nd > connect 4 id=pump user=bert pass=two clean={clean}\nd < connack 2\nd < closed"
        )
    };
    let there = format!("{begin}\nb > connect 5 id=pump user=bert pass=two\nb < connack 0x85\nb < closed\na < nothing");
    for script in [stolen(0), stolen(1), there] {
        hold(site.port, "r", &script).unwrap_or_else(|why| panic!("{why}\n{script}"));
    }
    let back = "a > connect 5 id=pump user=anna pass=one clean=0\na < connack 0 *\n";
    hold(site.port, "r", back).expect("it is anna's still");
    let said: Vec<_> = site.log().lines().filter(|line| line.contains("another user")).map(str::to_owned).collect();
    assert!(said.len() == 1 && said[0].contains("WARN") && said[0].contains("bert"), "it is said once a minute: {said:?}");
}

/// Sessions that are away count, too: who knows one password cannot keep all others out.
#[test]
fn one_user_cannot_take_all_sessions() {
    let site = with_users("[broker.limits]\nsessions_per_user = 2\n");
    let _gateway = site.start();
    let begin = |name: &str, more: &str| format!("{name} > connect 5 user=anna pass=one session-expiry=600 {more}\n{name} < connack ");
    let away = |name: &str| format!("{}0\n{name} > disconnect\n{name} < closed\n", begin(name, ""));
    let bert = "z > connect 5 user=bert pass=two\nz < connack 0\nz < nothing";
    let script = format!("{}{}{}0x97\nc < closed\n{}0 present\n{bert}", away("a"), away("b"), begin("c", ""), begin("a", "clean=0"));
    hold(site.port, "r", &script).expect("as many as may be");
    let old = "d > connect 4 user=anna pass=one\nd < connack 3\nd < closed";
    hold(site.port, "r", old).expect("at 3.1.1, too");
    let status = site.status().expect("it answers");
    assert_eq!(status.broker.limits.get("sessions_per_user"), Some(&2), "{:?}", status.broker.limits);
}

/// Nor can those who need none.
#[test]
fn nobody_cannot_take_all_sessions_where_others_have_names() {
    let port = free_port();
    let listener = format!("[[broker.listener]]\nurl = \"tcp://127.0.0.1:{port}\"\nanonymous = true\n");
    let site = with_users(&format!("{listener}[broker.limits]\nsessions_max = 4\n"));
    let _gateway = site.start();
    let come = |name: &str, code: &str| format!("{name} > connect 5 session-expiry=600\n{name} < connack {code}\n");
    let script = format!("{}{}{}c < closed", come("a", "0"), come("b", "0"), come("c", "0x97"));
    hold(port, "r", &script).expect("half of them");
    hold(site.port, "r", "z > connect 5 user=bert pass=two\nz < connack 0\nz < nothing").expect("there is room for bert");
}

/// Whoever knows one password and a client id could fill the disk with refusals.
#[test]
fn wanting_anothers_session_again_and_again_is_one_line_a_minute() {
    let site = with_users("");
    let _gateway = site.start();
    let owner = "a > connect 5 id=pump user=anna pass=one session-expiry=600\na < connack 0\na > disconnect\na < closed";
    hold(site.port, "r", owner).expect("anna has a session");
    let again = "b > connect 5 id=pump user=bert pass=two\nb < connack 0x85\nb < closed";
    (0..30).for_each(|_| hold(site.port, "r", again).expect("it stays anna's"));
    let log = site.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("bert")).collect();
    assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains("user=\"bert\""), "{lines:#?}");
}

/// Lines about limits have an end in each minute. Whoever uses it up must not guess passwords unseen.
#[test]
fn limits_reached_under_many_names_hide_no_wrong_password() {
    let site = with_users("[broker.limits]\nkeep_alive_max = \"30s\"\n");
    let _gateway = site.start();
    for n in 0..270 {
        hold(site.port, "r", &format!("a > connect 5 id=many{n} user=anna pass=one keep=60\na < connack 0")).expect("anna comes in");
    }
    assert!(site.log().contains("more clients than are named in a minute"), "{}", site.log_tail());
    hold(site.port, "r", "b > connect 5 user=bert pass=guess\nb < connack 0x86\nb < closed").expect("it is wrong");
    assert!(site.log().lines().any(|line| line.contains("client not let in") && line.contains("bert")), "{}", site.log_tail());
}

#[test]
fn filters_are_looked_through_to_what_they_would_match() {
    let port = free_port();
    // Others than this machine may reach it: commands and `$` are closed there.
    let listener = "insecure_plaintext = true\ninsecure_anonymous = true\n";
    let site = Site::new(&format!("[[broker.listener]]\nurl = \"tcp://0.0.0.0:{port}\"\n{listener}"));
    let _gateway = site.start();
    check_at(
        port,
        &[
            (
                "a shared subscription is checked as what it subscribes to",
                "a > connect 5\na < connack 0
             a > subscribe #1 $share/g/~/set=1 $share/g/$SYS/#=0 $share/g/~/ok=1
             a < suback #1 0x87 0x87 1",
            ),
            (
                "each filter of a packet, not only the first",
                "a > connect 5\na < connack 0
             a > subscribe #1 ~/ok=1 ~/set=1 ~/ok2=0 +/set=0 $SYS/#=0
             a < suback #1 1 0x87 0 0x87 0x87",
            ),
            (
                "a wildcard at the first level sees no $ topics",
                "a > connect 5\na < connack 0
             a > subscribe #1 #=0 +/broker/uptime=0 +/#=0
             a < suback #1 0 0 0
             wait 300
             a > publish q0 $SYS/broker/uptime forged
             a < nothing",
            ),
        ],
    );
}

/// 40 logins at once, all wrong, each of which costs 8 MiB and time: they wait in a queue that has an end, and nobody else waits with them.
#[test]
fn a_flood_of_wrong_passwords_costs_those_who_send_it() {
    let site = with_users("");
    let gateway = site.start();
    hold(site.port, "r", "a > connect 5 user=anna pass=one\na < connack 0").expect("remembered from here on");
    let before = gateway.rss_kib();
    let honest = "a > connect 5 user=anna pass=one\na < connack 0\na < nothing";
    std::thread::scope(|scope| {
        for worker in 0..10 {
            let port = site.port;
            scope.spawn(move || {
                for n in 0..20 {
                    let script = format!("a > connect 5 id=f{worker} user=u{n} pass=guess{worker}\na < connack *\na < closed");
                    hold(port, "r", &script).expect("an answer");
                }
            });
        }
        for _ in 0..20 {
            hold(site.port, "honest", honest).expect("a password that succeeded is not hashed again");
        }
    });
    assert!(gateway.rss_kib() < before + (24 << 10), "{before} KiB, then {}", gateway.rss_kib());
    site.status_with("all are gone", Duration::from_secs(20), |status| (status.broker.clients == 0).then_some(()));
}
