//! Who may do what, with Mosquitto's clients against the real gateway: by an access list, after a change of it, and after a kill.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::wait_until;

const WITHIN: Duration = Duration::from_secs(20);

/// Two doors whose clients have different rights.
struct Doors {
    site: Site,
    /// That of whoever may do everything.
    inner: u16,
}

impl Doors {
    fn new(acl: &str) -> Self {
        let inner = free_port();
        let site = Site::with_acl(acl, &format!("[[broker.listener]]\nname = \"inner\"\nurl = \"tcp://127.0.0.1:{inner}\"\n"));
        Self { site, inner }
    }
}

fn client(program: &str, port: u16, args: &[&str]) -> Output {
    let address = ["-h", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
    Command::new(program).args(address).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Whether mosquitto_pub was told that it may not, or was told nothing (3.1.1) or that all is well.
fn publish(port: u16, version: &str, topic: &str, more: &[&str]) -> bool {
    let output = client("mosquitto_pub", port, &[&["-V", version, "-t", topic, "-m", "x", "-q", "1"], more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() || said.contains("authorized"), "{said}");
    !said.to_lowercase().contains("not authorized")
}

/// What mosquitto_sub says when its subscriptions, or its will, are refused.
fn is_refused(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    said.contains("denied") || said.contains("not authorized")
}

/// The retained topics that come to a new subscriber.
fn retained(port: u16, filter: &str) -> Vec<String> {
    let output = client("mosquitto_sub", port, &["-V", "5", "-t", filter, "-F", "%t", "-W", "1"]);
    let mut topics: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    topics.sort_unstable();
    topics
}

const RULES: &str = "listener inner\ntopic readwrite #\ntopic read $SYS/#\neveryone\n";

#[test]
fn a_list_says_what_mosquittos_clients_may_do() {
    let doors = Doors::new(&format!("{RULES}topic plant/#\ntopic deny plant/secret/#\ntopic write box\npattern write dev/%c\n"));
    let _gateway = doors.site.start();
    let port = doors.site.port;
    for (topic, id, want) in [
        ("plant/a", "c", true),
        ("plant/secret/a", "c", false),
        ("box", "c", true),
        ("other", "c", false),
        ("plant/set", "c", true),
        ("dev/c", "c", true),
        ("dev/d", "c", false),
        ("dev/d", "+", false),
        ("$SYS/x", "c", false),
    ] {
        assert_eq!(publish(port, "5", topic, &["-i", id, "-r"]), want, "{topic} as {id}");
        // 3.1.1 has no code for it.
        assert!(publish(port, "311", topic, &["-i", id]), "{topic} as {id}");
    }
    assert_eq!(retained(doors.inner, "#"), ["box", "dev/c", "plant/a", "plant/set"]);
    assert_eq!(retained(port, "#"), ["plant/a", "plant/set"]);
    let refused = client("mosquitto_sub", port, &["-V", "5", "-t", "other/#", "-W", "2"]);
    assert!(is_refused(&refused), "{refused:?}");
    let refused = client("mosquitto_sub", port, &["-V", "5", "-t", "$share/g/other/#", "-W", "2"]);
    assert!(is_refused(&refused), "{refused:?}");
    let will = ["--will-topic", "other", "--will-payload", "x", "-t", "plant/#", "-W", "1"];
    let refused = client("mosquitto_sub", port, &[&["-V", "5"][..], &will].concat());
    assert!(is_refused(&refused), "{refused:?}");
    wait_until("what was refused is counted", WITHIN, || doors.site.status().is_some_and(|status| status.broker.forbidden >= 10));
}

#[test]
fn without_a_list_anonymous_clients_give_no_commands() {
    let site = Site::new("");
    let _gateway = site.start();
    for (topic, want) in [("a/b", true), ("a/set", false), ("$x/y", false), ("a/set/b", true)] {
        assert_eq!(publish(site.port, "5", topic, &["-r"]), want, "{topic}");
        assert!(publish(site.port, "311", topic, &["-r"]), "{topic}");
    }
    assert_eq!(retained(site.port, "#"), ["a/b", "a/set/b"]);
    for filter in ["$SYS/#", "a/set"] {
        let refused = client("mosquitto_sub", site.port, &["-V", "5", "-t", filter, "-W", "2"]);
        assert!(is_refused(&refused), "{filter}: {refused:?}");
    }
}

/// The store knows who published what is retained, and by which door; a kill does not make it anybody's.
#[test]
fn a_retained_message_outlives_a_kill_with_its_source() {
    let may = format!("{RULES}topic plant/#\n");
    let doors = Doors::new(&may);
    let gateway = doors.site.start();
    assert!(publish(doors.site.port, "5", "plant/outer", &["-r"]) && publish(doors.inner, "5", "plant/inner", &["-r"]));
    gateway.kill();
    for (acl, want) in [
        (may.as_str(), &["plant/inner", "plant/outer"][..]),
        (&format!("{RULES}topic read plant/#\n"), &["plant/inner"]),
        (may.as_str(), &["plant/inner", "plant/outer"]),
    ] {
        doors.site.write_acl(acl);
        let gateway = doors.site.start();
        assert_eq!(retained(doors.inner, "plant/#"), want, "{acl}");
        gateway.kill();
    }
}

/// SIGHUP: the list is read anew, who lost a right goes, and one with a mistake changes nothing.
#[test]
fn a_list_that_is_read_anew_holds_at_once() {
    let doors = Doors::new(&format!("{RULES}topic plant/#\n"));
    let gateway = doors.site.start();
    let port = doors.site.port.to_string();
    let mut watcher = Command::new("mosquitto_sub")
        .args(["-V", "5", "-h", "127.0.0.1", "-p", &port, "-t", "plant/#", "-i", "watcher"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub");
    let clients = |n| doors.site.status().is_some_and(|status| status.broker.clients == n);
    wait_until("it is there", WITHIN, || clients(1));
    doors.site.write_acl("topic nonsense\ntopc x\n");
    gateway.signal(Signal::HUP);
    wait_until("the mistake is told with its line", WITHIN, || doors.site.log().contains("acl:2"));
    assert!(publish(doors.site.port, "5", "plant/a", &["-r"]) && clients(1), "nothing has changed");
    doors.site.write_acl(&format!("{RULES}topic plant/a\n"));
    gateway.signal(Signal::HUP);
    wait_until("it is disconnected", WITHIN, || watcher.try_wait().is_ok_and(|ended| ended.is_some()) || clients(0));
    let _ = watcher.kill();
    watcher.wait().expect("its end");
    assert!(!publish(doors.site.port, "5", "plant/b", &["-r"]) && publish(doors.site.port, "5", "plant/a", &["-r"]));
}
