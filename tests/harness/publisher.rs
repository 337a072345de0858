//! QoS 1 publishers that are real MQTT clients (paho-mqtt, `tests/peers/publisher.py`) and keep a ledger.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::model::Mono;

use super::ledger::Ledger;
use super::{mono_of, python, wait_exit};

/// From the start of Python to the last CONNACK.
const CONNECTED_WITHIN: Duration = Duration::from_secs(20);

/// What a group of publishers does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub publishers: u32,
    /// Messages a second of each, at most.
    pub rate: u32,
    /// Unacknowledged messages of each, at most.
    pub window: u32,
    /// `{p}` is the publisher's number, from 1.
    pub topic: &'static str,
}

#[derive(Debug)]
pub struct Publishers {
    child: Child,
    stdin: Option<ChildStdin>,
    dir: TempDir,
}

impl Publishers {
    /// Starts them against the broker at `port` and waits until all are connected.
    pub fn start(port: u16, load: Load) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-ledger-").tempdir().expect("a temporary folder");
        let mut command = python::peer("publisher.py");
        command.arg(port.to_string()).arg(ledger_file(&dir));
        command.args([load.publishers.to_string(), load.rate.to_string(), load.window.to_string(), load.topic.to_owned()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
        let out = child.stdout.take().expect("piped");
        let started = Self { stdin: child.stdin.take(), child, dir };
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = said.send(line);
        });
        let line = hear.recv_timeout(CONNECTED_WITHIN).expect("the publishers connect");
        assert_eq!(line.trim(), "connected", "the publishers failed, see above");
        started
    }

    /// What has happened so far.
    pub fn ledger(&self) -> Ledger {
        let text = std::fs::read_to_string(ledger_file(&self.dir)).unwrap_or_default();
        let mut ledger = Ledger::default();
        // The last line may be half written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            ledger.add(line, mono_of);
        }
        ledger
    }

    /// Messages acknowledged in `from ..= to`.
    pub fn acked_between(&self, from: Mono, to: Mono) -> usize {
        self.ledger().acked.values().filter(|at| from <= **at && **at <= to).count()
    }

    /// Ends the sending and waits until everything that was sent is acknowledged, too.
    pub fn finish(mut self, within: Duration) -> Ledger {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = writeln!(stdin, "stop");
        }
        let status = wait_exit("the publishers, told to stop when all is acknowledged,", &mut self.child, within);
        assert!(status.success(), "the publishers failed: {status}, see above");
        self.ledger()
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ledger_file(dir: &TempDir) -> PathBuf {
    dir.path().join("ledger")
}
