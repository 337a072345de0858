//! mosquitto_pub and mosquitto_sub over any transport.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::wait_exit;

/// Longest time that one of them takes to say what it has to.
pub const WITHIN: Duration = Duration::from_secs(10);

/// How to reach a broker: arguments for Mosquitto's clients.
#[derive(Debug, Clone, Default)]
pub struct Way(Vec<String>);

impl Way {
    pub fn tcp(host: &str, port: u16) -> Self {
        Self(["-h", host, "-p", &port.to_string()].map(str::to_owned).into())
    }

    pub fn unix(path: &Path) -> Self {
        Self(vec!["--unix".to_owned(), path.display().to_string()])
    }

    /// By TLS, where `ca` has signed the server.
    pub fn tls(port: u16, ca: &Path) -> Self {
        Self::tcp("localhost", port).with(&["--cafile", &ca.display().to_string()])
    }

    /// With a certificate of its own.
    pub fn showing(&self, (cert, key): &(std::path::PathBuf, std::path::PathBuf)) -> Self {
        self.with(&["--cert", &cert.display().to_string(), "--key", &key.display().to_string()])
    }

    pub fn with(&self, more: &[&str]) -> Self {
        Self(self.0.iter().cloned().chain(more.iter().map(|arg| (*arg).to_owned())).collect())
    }

    /// `mosquitto_pub` at QoS 1, to its end.
    pub fn publish(&self, topic: &str, body: &str) -> Output {
        let mut command = Command::new("mosquitto_pub");
        let child = command.args(&self.0).args(["-q", "1", "-t", topic, "-m", body]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("mosquitto-clients are installed");
        wait_exit("mosquitto_pub", &mut child, WITHIN);
        child.wait_with_output().expect("it has ended")
    }

    /// Whether what it publishes is acknowledged.
    pub fn gets_in(&self) -> bool {
        self.publish("in", "1").status.success()
    }

    /// `mosquitto_sub`, once it is subscribed.
    pub fn subscribe(&self, filter: &str) -> Subscriber {
        // Into a pipe it would say a page at a time.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub"]).args(&self.0).args(["-q", "1", "-d", "-t", filter, "-F", "got %t %p"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("mosquitto-clients are installed");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (told, lines) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let subscriber = Subscriber { child, lines };
        subscriber.wait_line("Subscribed");
        subscriber
    }
}

/// Killed when it is dropped.
#[derive(Debug)]
pub struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl Subscriber {
    /// The next message, as topic and body with a space between.
    pub fn next(&self) -> String {
        self.wait_line("got ").trim_start_matches("got ").to_owned()
    }

    /// Waits until it says that it has lost its connection.
    pub fn wait_lost(&self) {
        // It connects again by itself, or tries to.
        self.wait_line("sending CONNECT");
    }

    /// Whether it has not said that it lost its connection up to now.
    pub fn stays(&self) -> bool {
        !self.lines.try_iter().any(|line| line.contains("sending CONNECT"))
    }

    fn wait_line(&self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(WITHIN) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("waited {WITHIN:?} in vain for {part:?}; there was {seen:?}");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
