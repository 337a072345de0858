//! Another Mosquitto as a bridge into our broker: it connects as a client, with its own bit in the protocol's level where it is 3.1.1, and carries
//! topics in both directions.

use std::process::Command;
use std::time::Duration;

use crate::harness::gateway::Site;
use crate::harness::mosquitto::{Mosquitto, Options};
use crate::harness::script::check_at;
use crate::harness::{let_run, wait_until};

const WITHIN: Duration = Duration::from_secs(20);
/// Of the bridge. The two below 5.0 have the bridge's bit in their level.
const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv50"];
/// In which a loop would show many times over.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// A Mosquitto that joins `site` under the name `version`: `out/` goes to us, `in/` comes from us, `both/` goes both ways.
fn bridge(site: &Site, version: &str) -> Mosquitto {
    // With no limit of its own (0) Mosquitto 2.0.11 would send a receive maximum of 0, which 5.0 forbids.
    let more = format!(
        "max_inflight_messages 100\nconnection {version}\naddress 127.0.0.1:{}\nbridge_protocol_version {version}\ntry_private true\nclientid bridge-{version}\n\
         cleansession false\nnotifications true\nnotification_topic bridge/state\nrestart_timeout 1\n\
         topic out/# out 2\ntopic in/# in 2\ntopic both/# both 2\ntopic # in 1 theirs/ ours/\n",
        site.port
    );
    // The bridge is written before the listener, whose own settings would otherwise end up in it.
    Mosquitto::with(&Options { more, ..Options::default() })
}

fn run(tool: &str, port: u16, args: &[&str]) -> String {
    let output = Command::new(tool).args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(args).output().expect("mosquitto-clients");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Error"), "{tool} {args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// What a new subscriber of `topic` gets first.
fn retained(port: u16, topic: &str) -> String {
    run("mosquitto_sub", port, &["-t", topic, "-q", "2", "-C", "1", "-W", "1", "-F", "%t %p %q %r"])
}

#[test]
fn a_mosquitto_bridge_carries_topics_both_ways_at_qos_2() {
    for version in VERSIONS {
        let site = Site::new("");
        let _gateway = site.start();
        let theirs = bridge(&site, version);
        wait_until("the bridge says that it is up", WITHIN, || retained(site.port, "bridge/state") == "bridge/state 1 1 1");

        for qos in ["0", "1", "2"] {
            run("mosquitto_pub", theirs.port(), &["-t", &format!("out/{qos}"), "-m", "there", "-q", qos, "-r"]);
            run("mosquitto_pub", site.port, &["-t", &format!("in/{qos}"), "-m", "here", "-q", qos, "-r"]);
        }
        for qos in ["0", "1", "2"] {
            wait_until("out/ is here", WITHIN, || retained(site.port, &format!("out/{qos}")) == format!("out/{qos} there {qos} 1"));
            // 3.1.1 has no way to ask for RETAIN as it was published, except the bridge's bit in the level.
            wait_until("in/ is there", WITHIN, || retained(theirs.port(), &format!("in/{qos}")) == format!("in/{qos} here {qos} 1"));
        }
        run("mosquitto_pub", site.port, &["-t", "ours/deep/x", "-m", "renamed", "-q", "1", "-r"]);
        wait_until("a renamed topic is there", WITHIN, || retained(theirs.port(), "theirs/deep/x") == "theirs/deep/x renamed 1 1");
        // Removed there by what removes it here.
        run("mosquitto_pub", site.port, &["-t", "in/1", "-n", "-q", "1", "-r"]);
        wait_until("it is removed there, too", WITHIN, || retained(theirs.port(), "in/1").is_empty());
    }
}

/// A bridge with nothing but a name, an address and a topic says under `$SYS` that it is there, by a message and by its will.
#[test]
fn a_mosquitto_bridge_says_its_state_where_mosquitto_looks_for_it() {
    for version in VERSIONS {
        let site = Site::with_acl("topic #\ntopic $SYS/broker/connection/+/state\n", "");
        let _gateway = site.start();
        let name = format!("plain-{version}");
        let more = format!(
            "max_inflight_messages 100\nconnection {name}\naddress 127.0.0.1:{}\nbridge_protocol_version {version}\nremote_clientid {name}\n\
             restart_timeout 1\ntopic out/# out 1\n",
            site.port
        );
        let theirs = Mosquitto::with(&Options { more, ..Options::default() });
        let topic = format!("$SYS/broker/connection/{name}/state");
        wait_until("the bridge says that it is up", WITHIN, || retained(site.port, &topic) == format!("{topic} 1 1 1"));
        run("mosquitto_pub", theirs.port(), &["-t", "out/x", "-m", "there", "-q", "1", "-r"]);
        wait_until("and carries its topic", WITHIN, || retained(site.port, "out/x") == "out/x there 1 1");
        drop(theirs);
        wait_until("its will says that it is gone", WITHIN, || retained(site.port, &topic) == format!("{topic} 0 1 1"));
    }
}

/// A topic that goes both ways would go round for ever if either side sent a message back to where it came from.
#[test]
fn a_mosquitto_bridge_makes_no_loop() {
    for version in VERSIONS {
        let site = Site::new("");
        let _gateway = site.start();
        let theirs = bridge(&site, version);
        wait_until("the bridge says that it is up", WITHIN, || retained(site.port, "bridge/state") == "bridge/state 1 1 1");
        let before = site.status().expect("a status").broker.received;
        for (port, n) in [(site.port, 1), (theirs.port(), 2)] {
            run("mosquitto_pub", port, &["-t", "both/x", "-m", &n.to_string(), "-q", "2"]);
        }
        wait_until("both are here", WITHIN, || site.status().is_some_and(|status| status.broker.received >= before + 2));
        let_run(A_WHILE);
        let after = site.status().expect("a status").broker.received;
        assert_eq!(after - before, 2, "{version}: messages go round");
    }
}

/// What a bridge missed while it was away is there when it comes back: it is a session like others.
#[test]
fn a_mosquitto_bridge_gets_what_it_missed() {
    let site = Site::new("");
    let _gateway = site.start();
    let theirs = bridge(&site, "mqttv50");
    wait_until("the bridge says that it is up", WITHIN, || retained(site.port, "bridge/state") == "bridge/state 1 1 1");
    drop(theirs);
    wait_until("its will says that it is gone", WITHIN, || retained(site.port, "bridge/state") == "bridge/state 0 1 1");
    for n in 0..20 {
        run("mosquitto_pub", site.port, &["-t", &format!("in/{n}"), "-m", "missed", "-q", "2", "-r"]);
    }
    let again = bridge(&site, "mqttv50");
    wait_until("all of it is there", WITHIN, || {
        (0..20).all(|n| retained(again.port(), &format!("in/{n}")).starts_with(&format!("in/{n} missed")))
    });
}

/// Bit 7 of the level is what `try_private` sets; with it a bridge is told RETAIN as it was published, and not its own messages (as no local and
/// retain as published of 5.0).
#[test]
fn the_bridges_bit_in_the_level_asks_for_retain_as_published_and_no_local() {
    let site = Site::new("");
    let _gateway = site.start();
    check_at(
        site.port,
        &[
            (
                "a bridge",
                "b > connect 4 level=0x84
                 b < connack 0
                 b > subscribe #1 ~/t=1
                 b < suback #1 1
                 a > connect 4
                 a < connack 0
                 a > publish q1 retain #1 ~/t x
                 a < puback #1
                 b < publish q1 retain #x ~/t \"x\"
                 b > puback #x
                 b > publish q1 #9 ~/t mine
                 b < puback #9
                 b < nothing",
            ),
            (
                "a client",
                "b > connect 4
                 b < connack 0
                 b > subscribe #1 ~/t=1
                 b < suback #1 1
                 a > connect 4
                 a < connack 0
                 a > publish q1 retain #1 ~/t x
                 a < puback #1
                 b < publish q1 #x ~/t \"x\"
                 b > puback #x
                 b > publish q1 #9 ~/t mine
                 b | puback #9
                 b | publish q1 #y ~/t \"mine\"",
            ),
        ],
    );
}
