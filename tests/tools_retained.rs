//! `tidegate retained`: what the broker keeps for topics is listed and removed, for good.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::gateway::Site;
use crate::harness::raw::{Raw, publish};
use crate::harness::{report, wait_for};

fn run(site: &Site, args: &[&str]) -> (String, String, Option<i32>) {
    let out = site.run(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr), out.status.code())
}

/// Publishes retained messages at QoS 1 and waits for the last acknowledgement.
fn retain(site: &Site, topics: impl Iterator<Item = String>, body: &[u8]) {
    let mut client = Raw::connect(site.port, "retainer");
    let (mut sent, mut acked) = (0, 0);
    for topic in topics {
        let mut packet = publish(&topic, body, 1 + (sent % 500) as u16);
        packet[0] |= 1;
        client.send(&packet);
        sent += 1;
        while sent - acked > 400 {
            assert_eq!(client.next().0, 0x40);
            acked += 1;
        }
    }
    (acked..sent).for_each(|_| assert_eq!(client.next().0, 0x40));
}

#[test]
fn retained_messages_are_listed_and_stay_removed_after_a_kill() {
    let site = Site::new("[broker.limits]\nretained_max = 65536\n");
    let gateway = site.start();
    retain(&site, ["a/1", "a/2", "a/x/3", "b"].into_iter().map(str::to_owned), b"21.5 \x1b[2J");
    let (out, _, code) = run(&site, &["retained", "list", "a/+"]);
    assert_eq!((out.lines().count(), code), (2, Some(0)), "{out}");
    assert!(out.starts_with("a/1") && out.contains("21.5 \\u{1b}[2J") && !out.contains('\x1b'), "{out}");
    let (out, _, _) = run(&site, &["retained", "list", "--json"]);
    let all: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((all.as_array().map(Vec::len), &all[0]["topic"], &all[0]["bytes"]), (Some(4), &"a/1".into(), &9.into()));
    for (args, code, said) in [
        (&["retained", "clear", "a/#"][..], 2, "add --yes"),
        (&["retained", "clear", "a/#/b", "--yes"], 2, "# alone as the last level"),
        (&["retained", "clear"], 2, "FILTER"),
        (&["retained", "lst"], 2, "list"),
    ] {
        let (_, err, got) = run(&site, args);
        assert!(got == Some(code) && err.contains(said), "{args:?}: {got:?} {err}");
    }
    let (out, err, code) = run(&site, &["retained", "clear", "a/#", "--yes"]);
    assert_eq!((out.as_str(), code), ("3 retained messages removed\n", Some(0)), "{err}");
    gateway.kill();
    let _gateway = site.start();
    let (out, _, _) = run(&site, &["retained", "list"]);
    assert!(out.starts_with("b ") && out.lines().count() == 1, "{out}");
}

#[test]
fn somebody_at_a_terminal_is_asked_first() {
    let site = Site::new("");
    let _gateway = site.start();
    retain(&site, ["a", "b"].into_iter().map(str::to_owned), b"x");
    for (answer, left) in [("n\n", 2), ("\n", 2), ("y\n", 0)] {
        let command =
            format!("{} retained clear '#' --socket {}", env!("CARGO_BIN_EXE_tidegate"), site.path().join("run/control.sock").display());
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux");
        child.stdin.as_mut().expect("piped").write_all(answer.as_bytes()).expect("it is read");
        let out = child.wait_with_output().expect("the child is ours");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.contains("Remove 2 retained messages of #?") && out.status.success() == (left == 0), "{answer:?}: {text}");
        let (out, _, _) = run(&site, &["retained", "list"]);
        assert_eq!(out.lines().count(), left, "{answer:?}: {text}");
    }
}

/// As many as may be: no question holds the broker's thread.
#[test]
fn very_many_retained_messages_are_listed_and_removed_in_slices() {
    const TOPICS: usize = 20_000;
    let site = Site::new("");
    let _gateway = site.start();
    retain(&site, (0..TOPICS).map(|i| format!("many/{i:05}")), b"x");
    let before = wait_for("the status", Duration::from_secs(10), || site.status());
    assert_eq!(before.broker.retained, TOPICS as u64);
    let mut honest = Raw::connect(site.port, "honest");
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let (out, _, code) = run(&site, &["retained", "list"]);
            assert_eq!((out.lines().count(), code), (TOPICS, Some(0)));
            let (out, err, code) = run(&site, &["retained", "clear", "many/#", "--yes"]);
            assert_eq!((out, code), (format!("{TOPICS} retained messages removed\n"), Some(0)), "{err}");
        });
        while !working.is_finished() {
            let asked = tidegate::clock::mono();
            assert_eq!(honest.ping(), []);
            longest = longest.max(tidegate::clock::mono().since(asked));
        }
        working.join().expect("it ends well");
    });
    let status = wait_for("the status", Duration::from_secs(10), || site.status());
    report(&format!("retained list and clear of {TOPICS} topics: longest ping beside it {longest:?}"));
    assert_eq!(status.broker.retained, 0);
    assert!(longest < Duration::from_millis(200), "an honest client waited {longest:?}");
}
