//! `tidegate demo`, as a newcomer runs it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tidegate::clock;

use crate::harness::{alone, report, wait_exit, wait_until};

/// All points of the demo's site, by their topics.
const TOPICS: [&str; 14] = [
    "demo/main-meter/current",
    "demo/main-meter/energy",
    "demo/main-meter/frequency",
    "demo/main-meter/power",
    "demo/main-meter/voltage",
    "demo/pump-meter/current",
    "demo/pump-meter/energy",
    "demo/pump-meter/power",
    "demo/pump-meter/running",
    "demo/pump-meter/voltage",
    "demo/station/humidity",
    "demo/station/pressure",
    "demo/station/temperature",
    "demo/station/wind",
];

/// A child that does not outlive its test.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_demo_shows_every_point_and_loses_none() {
    let _alone = alone();
    let started = clock::mono();
    let mut demo = Owned(
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["demo", "--for", "12s"])
            .env_remove("TIDEGATE_FAULT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs"),
    );
    let lines = lines(demo.0.stdout.take().expect("its output is ours"));
    let port = |name: &str| {
        let line = lines.iter().find(|line| line.trim_end().ends_with(name)).unwrap_or_else(|| panic!("the demo names {name}"));
        let mut words = line.split_whitespace().skip_while(|word| *word != "-p");
        words.nth(1).and_then(|port| port.parse::<u16>().ok()).unwrap_or_else(|| panic!("no port in {line:?}"))
    };
    let (gateway, upstream) = (Subscriber::start(port("# the gateway")), Subscriber::start(port("# the upstream")));

    let pid = demo.0.id();
    wait_until("two pseudo terminals among the demo's files", Duration::from_secs(5), || {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the demo runs").flatten();
        let ports: BTreeSet<_> =
            links.filter_map(|link| std::fs::read_link(link.path()).ok()).filter(|to| to.starts_with("/dev/pts")).collect();
        ports.len() >= 2
    });
    for (name, subscriber) in [("gateway", gateway), ("upstream", upstream)] {
        let seen = subscriber.good_topics(&TOPICS);
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), TOPICS, "good readings at the {name}");
    }

    let status = wait_exit("the demo", &mut demo.0, Duration::from_secs(35).saturating_sub(clock::mono().since(started)));
    let took = clock::mono().since(started);
    let (mut errors, rest) = (String::new(), lines.iter().collect::<Vec<_>>());
    demo.0.stderr.take().expect("its errors are ours").read_to_string(&mut errors).expect("they are text");
    assert!(status.success(), "{status}\n{}\n{errors}", rest.join("\n"));
    let summary = rest.last().expect("a summary").clone();
    let count: u64 =
        summary.strip_prefix("published = upstream received = ").and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{summary:?}"));
    assert!(count >= 14, "{summary}");
    assert!(took < Duration::from_secs(35), "{took:?}");
    report(&format!("demo: {summary}, in {:.1} s", took.as_secs_f64()));
}

#[test]
fn the_demos_site_passes_its_own_check() {
    let tidegate = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_tidegate")).args(args).output().expect("the binary runs");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("site.toml");
    let printed = tidegate(&["demo", "--print-config"]);
    assert!(printed.status.success());
    std::fs::write(&file, printed.stdout).expect("a fresh file");
    let checked = tidegate(&["check", file.to_str().expect("a plain path")]);
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
}

/// A real `mosquitto_sub` that has subscribed to everything.
struct Subscriber {
    _process: Owned,
    lines: Receiver<String>,
}

impl Subscriber {
    fn start(port: u16) -> Self {
        let mut process = Owned(
            Command::new("mosquitto_sub")
                .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "#", "-v"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("mosquitto-clients is installed"),
        );
        let lines = lines(process.0.stdout.take().expect("its output is ours"));
        Self { _process: process, lines }
    }

    /// The topics of which a good reading has come: as soon as all of `wanted` are there, else after some time.
    fn good_topics(&self, wanted: &[&str]) -> BTreeSet<String> {
        let deadline = clock::mono() + Duration::from_secs(10);
        let mut seen = BTreeSet::new();
        while !wanted.iter().all(|topic| seen.contains(*topic)) {
            let Ok(line) = self.lines.recv_timeout(deadline.since(clock::mono())) else { break };
            if let Some((topic, body)) = line.split_once(' ')
                && body.contains(r#""q":"good""#)
            {
                seen.insert(topic.to_owned());
            }
        }
        seen
    }
}

fn lines(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}
