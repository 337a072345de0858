//! `tidegate sub` and `tidegate pub`: what people know of mosquitto_sub and mosquitto_pub, against our gateway and against Mosquitto.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tidegate::clock;

use crate::harness::fake_upstream::{Answer, FakeUpstream, Welcome};
use crate::harness::gateway::Site;
use crate::harness::mosquitto::{Mosquitto, Options, free_port};
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{wait_exit, wait_until};

/// Longest for a command that is to end by itself.
pub const SOON: Duration = Duration::from_secs(10);

pub fn tidegate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(args).env_remove("TIDEGATE_PASSWORD").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `args` with a port behind the command.
fn at(port: u16, args: &[&str]) -> Vec<String> {
    let port = port.to_string();
    let (command, rest) = args.split_first().expect("a command");
    [&[*command, "-h", "127.0.0.1", "-p", &port], rest].concat().iter().map(ToString::to_string).collect()
}

fn run_with_input(port: u16, args: &[&str], input: &[u8]) -> Output {
    let args = at(port, args);
    let mut child = tidegate(&args.iter().map(String::as_str).collect::<Vec<_>>()).stdin(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("piped").write_all(input).expect("it is read");
    // What they print fits into a pipe.
    wait_exit(&format!("tidegate {args:?}"), &mut child, SOON);
    child.wait_with_output().expect("the child is ours")
}

fn run(port: u16, args: &[&str]) -> Output {
    run_with_input(port, args, b"")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A `tidegate sub` that has its subscriptions.
struct Sub(Child, mpsc::Receiver<String>);

impl Sub {
    fn start(port: u16, args: &[&str]) -> Self {
        let args = at(port, args);
        let mut child = tidegate(&args.iter().map(String::as_str).collect::<Vec<_>>()).arg("-d").spawn().expect("the binary runs");
        let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(stderr).map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let this = Self(child, lines);
        this.hears("is granted");
        this
    }

    fn hears(&self, what: &str) {
        let deadline = clock::mono() + SOON;
        while let Ok(line) = self.1.recv_timeout(deadline.since(clock::mono())) {
            if line.contains(what) {
                return;
            }
        }
        panic!("tidegate sub has not said: {what}");
    }

    /// What it has printed, and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let code = wait_exit("tidegate sub", &mut self.0, SOON).code();
        let mut out = Vec::new();
        std::io::Read::read_to_end(&mut self.0.stdout.take().expect("piped"), &mut out).expect("it is read");
        (text(&out), code)
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `test` against our gateway and against Mosquitto.
fn at_both(test: impl Fn(&str, u16)) {
    let site = Site::new("");
    let _gateway = site.start();
    test("gateway", site.port);
    test("mosquitto", Mosquitto::start().port());
}

#[test]
fn messages_cross_at_every_version_and_qos() {
    at_both(|broker, port| {
        for version in ["mqttv31", "311", "5"] {
            for qos in ["0", "1", "2"] {
                let sub = Sub::start(port, &["sub", "-V", version, "-q", qos, "-t", "a/#", "-t", "b", "-v", "-C", "3", "-W", "10"]);
                for (tool, topic, payload) in [("tidegate", "a/b", "one"), ("tidegate", "b", ""), ("mosquitto_pub", "a", "3 words x")] {
                    let args = ["-V", version, "-q", qos, "-t", topic, "-m", payload];
                    let out = if tool == "tidegate" {
                        run(port, &[&["pub"], &args[..]].concat())
                    } else {
                        let version = if version == "mqttv31" { "31" } else { version };
                        let port = port.to_string();
                        let args = [&["-p", &port, "-V", version], &args[2..]].concat();
                        Command::new(tool).args(args).output().expect("mosquitto-clients are installed")
                    };
                    assert!(out.status.success(), "{broker} {version} {qos} {tool}: {}", text(&out.stderr));
                }
                assert_eq!(sub.end(), ("a/b one\nb \na 3 words x\n".to_owned(), Some(0)), "{broker} {version} {qos}");
            }
        }
    });
}

/// Each row: what is published first, retained; how it is asked for; what is printed; the exit code.
#[test]
fn every_option_of_sub_says_what_mosquittos_says() {
    type Row<'a> = (&'a [&'a [&'a str]], &'a [&'a str], &'a str, i32);
    let rows: &[Row<'_>] = &[
        (&[&["-t", "o/1", "-m", "x"]], &["-t", "o/1", "-C", "1"], "x\n", 0),
        (&[&["-t", "o/2", "-m", "x"]], &["-t", "o/2", "-C", "1", "-N"], "x", 0),
        (&[&["-t", "o/3", "-m", "x"]], &["-t", "o/3", "-v", "-C", "1"], "o/3 x\n", 0),
        (&[&["-t", "o/4/a", "-m", "x"], &["-t", "o/4/b", "-m", "y"]], &["-t", "o/4/#", "-T", "o/4/a", "-C", "1"], "y\n", 0),
        (&[&["-t", "o/5", "-m", "x"]], &["-t", "o/5", "-R", "-W", "1"], "", 27),
        (&[&["-t", "o/6", "-m", "x"]], &["-t", "o/6", "-W", "1"], "x\n", 27),
        (&[&["-t", "o/7", "-m", "x"]], &["-t", "o/7", "-E"], "", 0),
        (
            &[&["-t", "o/8", "-m", "{\"a\":1}", "-q", "1"]],
            &["-t", "o/8", "-q", "2", "-F", "%t|%p|%q|%r|%l|%x", "-C", "1"],
            "o/8|{\"a\":1}|1|1|7|7b2261223a317d\n",
            0,
        ),
        (&[&["-t", "o/9", "-m", "x"], &["-t", "o/9", "-n"]], &["-t", "o/9", "-W", "1"], "", 27),
        (
            &[&["-t", "o/10", "-m", "x", "-D", "publish", "content-type", "c", "-D", "publish", "user-property", "k", "v"]],
            &["-t", "o/10", "-F", "%C %P", "-C", "1"],
            "c k:v\n",
            0,
        ),
        (
            &[&["-t", "o/11", "-m", "x", "-D", "publish", "response-topic", "r", "-D", "publish", "correlation-data", "d"]],
            &["-t", "o/11", "-F", "%R %D", "-C", "1"],
            "r d\n",
            0,
        ),
        (
            &[&["-t", "o/12", "-m", "x", "-D", "publish", "message-expiry-interval", "900"]],
            &["-t", "o/12", "-F", "%03E", "-C", "1"],
            "900\n",
            0,
        ),
        (
            &[&["-t", "o/13", "-m", "x"]],
            &["-t", "o/13", "-D", "subscribe", "subscription-identifier", "7", "-F", "%S", "-C", "1"],
            "7\n",
            0,
        ),
        (&[&["-t", "o/14", "-m", "x"]], &["-t", "o/14", "-I", "p-", "-k", "5", "-C", "1"], "x\n", 0),
        (&[&["-t", "o/15", "-m", "x"]], &["-t", "o/15", "--remove-retained", "-C", "1"], "x\n", 0),
        (&[], &["-t", "o/15", "-W", "1"], "", 27),
        (&[&["-t", "o/16", "-m", "x", "--repeat", "3", "--repeat-delay", "0.01"]], &["-t", "o/16", "-C", "1"], "x\n", 0),
    ];
    at_both(|broker, port| {
        for (published, asked, want, code) in rows {
            for args in *published {
                let out = run(port, &[&["pub", "-r"], *args].concat());
                assert!(out.status.success(), "{broker} pub {args:?}: {}", text(&out.stderr));
            }
            let out = run(port, &[&["sub"], *asked].concat());
            assert_eq!(
                (text(&out.stdout).as_str(), out.status.code()),
                (*want, Some(*code)),
                "{broker} sub {asked:?}: {}",
                text(&out.stderr)
            );
        }
        let sub = Sub::start(port, &["sub", "-t", "o/#", "--retained-only", "-T", "#"]);
        assert!(run(port, &["pub", "-t", "o/live", "-m", "x"]).status.success());
        assert_eq!(sub.end(), (String::new(), Some(0)), "{broker}: the first that is not retained ends it");
        let json = text(&run(port, &["sub", "-t", "o/8", "-F", "%J", "-C", "1"]).stdout);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&json["topic"], &json["payload"]["a"], &json["retain"]), (&"o/8".into(), &1.into(), &1.into()), "{broker}");
    });
}

#[test]
fn every_source_of_a_payload_is_sent_as_it_is() {
    let all: Vec<u8> = (0..=255).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("payload");
    std::fs::write(&file, &all).expect("a file");
    at_both(|broker, port| {
        for (topic, args, input) in [
            ("s/file", vec!["-f", file.to_str().expect("a path")], &b""[..]),
            ("s/stdin", vec!["-s"], &all[..]),
            ("s/empty", vec!["-s"], b""),
        ] {
            let out = run_with_input(port, &[&["pub", "-q", "1", "-t", topic], &args[..]].concat(), input);
            assert!(out.status.success(), "{broker} {topic}: {}", text(&out.stderr));
        }
        let sub = Sub::start(port, &["sub", "-q", "2", "-t", "s/#", "-C", "4", "-F", "%t %l"]);
        for (topic, args, input) in
            [("s/a", vec!["-f", file.to_str().expect("a path")], &b""[..]), ("s/lines", vec!["-l", "-q", "2", "-M", "1"], b"one\n\nthree")]
        {
            assert!(run_with_input(port, &[&["pub", "-t", topic], &args[..]].concat(), input).status.success());
        }
        assert_eq!(sub.end(), ("s/a 256\ns/lines 3\ns/lines 0\ns/lines 5\n".to_owned(), Some(0)), "{broker}");
        assert!(run(port, &["pub", "-r", "-t", "s/r", "-f", file.to_str().expect("a path")]).status.success());
        let out = run(port, &["sub", "-t", "s/r", "-C", "1", "-N"]);
        assert_eq!(out.stdout, all, "{broker}: a pipe gets the payload, byte for byte");
    });
}

#[test]
fn a_kept_session_has_what_came_while_its_client_was_away() {
    at_both(|broker, port| {
        for version in ["311", "5"] {
            let id = format!("keeper-{version}");
            let base = ["sub", "-V", version, "-i", &id, "-c", "-q", "1", "-t", "k"];
            assert_eq!(run(port, &[&base[..], &["-E"]].concat()).status.code(), Some(0), "{broker} {version}");
            assert!(run_with_input(port, &["pub", "-q", "1", "-t", "k", "-l"], b"1\n2\n").status.success());
            let out = run(port, &[&base[..], &["-C", "2", "-W", "5"]].concat());
            assert_eq!((text(&out.stdout).as_str(), out.status.code()), ("1\n2\n", Some(0)), "{broker} {version}");
        }
        // Until it is over by -x.
        let base = ["sub", "-i", "brief", "-c", "-x", "1", "-q", "1", "-t", "k"];
        assert_eq!(run(port, &[&base[..], &["-E"]].concat()).status.code(), Some(0), "{broker}");
        wait_until("the session is over", SOON, || {
            let out = run(port, &[&base[..], &["-E", "-d"]].concat());
            let gone = text(&out.stderr).contains("session_present: false");
            if !gone {
                clock::block_for(Duration::from_millis(1_500));
            }
            gone
        });
    });
}

#[test]
fn a_will_goes_out_when_its_client_is_killed_and_not_when_it_ends() {
    at_both(|broker, port| {
        let will = ["--will-topic", "w", "--will-payload", "gone", "--will-qos", "1", "--will-retain"];
        let start = || Sub::start(port, &[&["sub", "-t", "x"], &will[..]].concat());
        let watch = Sub::start(port, &["sub", "-t", "w", "-q", "1", "-F", "%p %q", "-C", "1"]);
        let polite = start();
        let pid = i32::try_from(polite.0.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("the child is ours");
        assert_eq!(polite.end().1, Some(0), "{broker}");
        let mut killed = start();
        assert!(watch.1.try_recv().is_err(), "{broker}: the polite one's will was taken back");
        killed.0.kill().expect("the child is ours");
        assert_eq!(watch.end(), ("gone 1\n".to_owned(), Some(0)), "{broker}");
    });
}

/// What is wrong, the exit code, and what is said.
#[test]
fn what_is_refused_is_named_and_has_mosquittos_exit_code() {
    let closed = free_port().to_string();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rows: &[(&[&str], i32, &str)] = &[
        (&["pub", "-h", "127.0.0.1", "-p", &closed, "-t", "a", "-m", "x"], 14, "cannot connect to 127.0.0.1:"),
        (&["sub", "-h", "127.0.0.1", "-p", &closed, "-t", "a"], 14, "Connection refused"),
        (&["sub", "-h", "127.0.0.1", "-p", &closed, "-t", "a", "--quiet"], 14, ""),
        (&["sub", "--unix", "/nowhere.sock", "-t", "a"], 14, "unix:///nowhere.sock"),
        (&["sub", "-h", "no.such.host.invalid", "-t", "a"], 14, "cannot connect to no.such.host.invalid"),
        (&["pub", "-t", "a/#", "-m", "x"], 2, "wildcards"),
        (&["sub", "-t", "a/#/b"], 2, "# alone as the last level"),
        (&["pub", "-t", "a"], 2, "--message"),
        (&["pub", "-t", "a", "-m", "x", "-n"], 2, "cannot be used with"),
        (&["pub", "-t", "a", "-m", "x", "-q", "3"], 2, "there are 0, 1 and 2"),
        (&["pub", "-t", "a", "-m", "x", "-V", "6"], 2, "mqttv31, mqttv311 and mqttv5"),
        (&["pub", "-t", "a", "-m", "x", "-V", "311", "-x", "1"], 2, "5.0"),
        (&["pub", "-m", "x"], 2, "-t TOPIC is missing"),
        (&["sub"], 2, "-t FILTER is missing"),
        (&["sub", "-c", "-t", "a"], 2, "add -i ID"),
        (&["sub", "-t", "a", "-F", "%y"], 2, "%y is no field"),
        (&["pub", "-t", "a", "-f", "/nowhere", "-q", "1"], 14, "cannot read /nowhere"),
        (&["pub", "-t", "a", "-m", "x", "--password-file", "/nowhere"], 2, "/nowhere"),
        (&["pub", "-L", "http://x", "-m", "x"], 2, "-L takes"),
        (&["pub", "-t", "a", "-m", "x", "--cafile", file.path().to_str().expect("a path"), "-p", &closed], 14, "cannot connect"),
    ];
    for (args, code, want) in rows {
        let out = tidegate(args).output().expect("the binary runs");
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(*code), "{args:?}: {said}");
        assert!(said.contains(want) && said.is_empty() == want.is_empty(), "{args:?}: {said}");
    }
    let refusing = FakeUpstream::welcoming(Welcome::Refuse(0x87), |_| Answer::Ack);
    let out = run(refusing.port(), &["pub", "-t", "a", "-m", "x"]);
    assert_eq!(out.status.code(), Some(0x87));
    assert!(text(&out.stderr).contains("not authorized (0x87)"), "{}", text(&out.stderr));
    let refusing = FakeUpstream::start(|_| Answer::Code(0x97));
    let out = run(refusing.port(), &["pub", "-t", "a", "-m", "x", "-q", "1"]);
    assert_eq!(out.status.code(), Some(0x97));
    assert!(text(&out.stderr).contains("quota exceeded (0x97)"), "{}", text(&out.stderr));
}

#[test]
fn a_broker_that_knows_no_5_is_spoken_to_in_3() {
    let old = FakeUpstream::welcoming(Welcome::Only311(&[0x20, 2, 0, 1]), |_| Answer::Ack);
    let out = run(old.port(), &["pub", "-t", "a", "-m", "x", "-q", "1"]);
    assert_eq!((out.status.code(), old.levels(), old.acked()), (Some(0), vec![5, 4], vec!["x".to_owned()]));
    let out = run(old.port(), &["pub", "-t", "a", "-m", "x", "-q", "1", "-V", "5"]);
    assert_eq!(out.status.code(), Some(1), "it was asked for 5.0: {}", text(&out.stderr));
}

#[test]
fn pub_ends_with_success_only_after_the_acknowledgement() {
    let acks = Arc::new(AtomicBool::new(false));
    let decided = acks.clone();
    let broker = FakeUpstream::start(move |_| if decided.load(Ordering::Relaxed) { Answer::Ack } else { Answer::Nothing });
    let args = at(broker.port(), &["pub", "-t", "a", "-q", "1", "-m", "x"]);
    let mut waiting = tidegate(&args.iter().map(String::as_str).collect::<Vec<_>>()).spawn().expect("the binary runs");
    wait_until("the message has come", SOON, || !broker.publishes().is_empty());
    assert!(waiting.try_wait().expect("the child is ours").is_none(), "nobody has acknowledged it");
    waiting.kill().and_then(|()| waiting.wait()).expect("the child is ours");
    acks.store(true, Ordering::Relaxed);
    assert!(run(broker.port(), &["pub", "-t", "a", "-q", "1", "-m", "y"]).status.success());
    // A connection that breaks first is no success.
    let closing = FakeUpstream::start(|_| Answer::Close);
    assert_eq!(run(closing.port(), &["pub", "-t", "a", "-q", "1", "-m", "x"]).status.code(), Some(7));
}

#[test]
fn lines_and_subscriptions_go_on_over_a_broken_connection() {
    let mosquitto = Mosquitto::start();
    let proxy = Proxy::before(mosquitto.port());
    let sub = Sub::start(proxy.port(), &["sub", "-t", "l", "-q", "1", "-C", "2"]);
    let args = at(proxy.port(), &["pub", "-t", "l", "-q", "1", "-l"]);
    let mut lines = tidegate(&args.iter().map(String::as_str).collect::<Vec<_>>()).stdin(Stdio::piped()).spawn().expect("the binary runs");
    let mut input = lines.stdin.take().expect("piped");
    input.write_all(b"one\n").expect("it is read");
    wait_until("the first line has come", SOON, || mosquitto.log().contains("Sending PUBLISH to"));
    proxy.set(Mode::Closed);
    proxy.set(Mode::Open);
    sub.hears("is granted");
    input.write_all(b"two\n").expect("it is read");
    drop(input);
    assert!(wait_exit("tidegate pub", &mut lines, SOON).success());
    assert_eq!(sub.end(), ("one\ntwo\n".to_owned(), Some(0)));
}

#[test]
fn a_password_comes_from_a_file_or_the_environment() {
    let mosquitto = Mosquitto::with(&Options { password: Some(("ann".to_owned(), "s e:c@ret".to_owned())), ..Options::default() });
    let port = mosquitto.port();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s e:c@ret\n").expect("it is written");
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let base = ["pub", "-t", "a", "-m", "x", "-q", "1"];
    let url = format!("mqtt://ann:s%20e%3ac%40ret@127.0.0.1:{port}/a");
    let port = port.to_string();
    let here = ["-h", "127.0.0.1", "-p", &port];
    let path = file.path().to_str().expect("a path");
    for (args, variable, code) in [
        (vec!["-u", "ann", "--password-file", path], None, 0),
        (vec!["-u", "ann", "-P", "s e:c@ret"], None, 0),
        (vec!["-u", "ann"], Some("s e:c@ret"), 0),
        (vec!["-u", "ann"], Some("wrong"), 0x87),
        (vec!["-u", "ann", "-P", "wrong", "-V", "311"], None, 5),
        (vec![], Some("s e:c@ret"), 0x87),
    ] {
        let mut command = tidegate(&[&base[..], &here[..], &args].concat());
        variable.map(|text| command.env("TIDEGATE_PASSWORD", text));
        let out = command.output().expect("the binary runs");
        assert_eq!(out.status.code(), Some(code), "{args:?} {variable:?}: {}", text(&out.stderr));
        assert!(!text(&out.stderr).contains("c@ret"), "a password is not shown");
    }
    let out = tidegate(&["pub", "-L", &url, "-m", "x", "-q", "1", "-d"]).output().expect("the binary runs");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(!text(&out.stderr).contains("@ret"), "a password is not shown: {}", text(&out.stderr));
}

#[test]
fn without_a_host_the_local_gateway_is_asked() {
    let site = Site::new("");
    let _gateway = site.start();
    let config = site.config();
    let config = config.to_str().expect("a path");
    assert!(tidegate(&["pub", "--config", config, "-t", "l", "-m", "x", "-r", "-q", "1"]).status().expect("the binary runs").success());
    let out = run(site.port, &["sub", "-t", "l", "-C", "1"]);
    assert_eq!(text(&out.stdout), "x\n");
    // Without a site's file it is localhost.
    let out = tidegate(&["pub", "--config", "/nowhere.toml", "-t", "l", "-m", "x", "-d"]).output().expect("the binary runs");
    assert!(text(&out.stderr).contains("localhost:1883"), "{}", text(&out.stderr));
}

#[test]
fn a_payload_cannot_steer_the_terminal_that_shows_it() {
    let mosquitto = Mosquitto::start();
    let port = mosquitto.port();
    assert!(run_with_input(port, &["pub", "-r", "-t", "tty", "-s"], b"\x1b]0;owned\x07\x9b2J\n21.5").status.success());
    let on_terminal = |more: &str| {
        let command = format!("{} sub -h 127.0.0.1 -p {port} -t tty -C 1 {more}", env!("CARGO_BIN_EXE_tidegate"));
        let out = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().expect("script of util-linux");
        out.stdout
    };
    assert_eq!(text(&on_terminal("")), "\\u{1b}]0;owned\\u{7}\\x9b2J\r\n21.5\r\n");
    assert!(on_terminal("--raw").starts_with(b"\x1b]0;owned\x07\x9b2J"), "the control: --raw shows it as it is");
}
