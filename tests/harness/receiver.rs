//! The counting end: `mosquitto_sub`, subscribed at QoS 1 all the time, and what it has received in order.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;

/// One PUBLISH as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub qos: u8,
    pub at: Mono,
}

impl Received {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

#[derive(Debug)]
pub struct Receiver {
    child: Child,
    inbox: Arc<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<(bool, Vec<Received>)>,
    changed: Condvar,
}

impl Receiver {
    /// Subscribes to `filter` at `port` of 127.0.0.1 and returns once the SUBACK is there.
    pub fn start(port: u16, filter: &str) -> Self {
        Self::with(port, filter, &[])
    }

    /// With more arguments of mosquitto_sub(1), as `-u`, `-P`, `-c`, `-i`.
    pub fn with(port: u16, filter: &str, more: &[&str]) -> Self {
        // Into a pipe it would keep "Subscribed" to itself until the first message.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub"]);
        command.args(["-d", "-q", "1", "-F", "\x01%r %q %x %t", "-h", "127.0.0.1", "-t", filter, "-p"]).arg(port.to_string()).args(more);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program mosquitto_sub");
        let inbox = Arc::new(Inbox::default());
        let out = child.stdout.take().expect("piped");
        let writer = inbox.clone();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                writer.take(&line);
            }
        });
        let started = Self { child, inbox };
        let subscribed = started.wait(Duration::from_secs(10), |(subscribed, _)| subscribed.then_some(()));
        assert!(subscribed.is_some(), "mosquitto_sub has not subscribed within 10 s");
        started
    }

    /// Everything so far, in the order of arrival, duplicates too.
    pub fn all(&self) -> Vec<Received> {
        self.inbox.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    pub fn count(&self) -> usize {
        self.inbox.state.lock().unwrap_or_else(PoisonError::into_inner).1.len()
    }

    /// Waits until `done` holds of what has arrived; `false` if it does not within `at_most`.
    pub fn wait_until(&self, at_most: Duration, done: impl Fn(&[Received]) -> bool) -> bool {
        self.wait(at_most, |(_, all)| done(all).then_some(())).is_some()
    }

    /// Waits until `n` messages have arrived, duplicates too.
    pub fn wait_for(&self, n: usize, at_most: Duration) -> bool {
        self.wait_until(at_most, |all| all.len() >= n)
    }

    fn wait<T>(&self, at_most: Duration, done: impl Fn(&(bool, Vec<Received>)) -> Option<T>) -> Option<T> {
        let deadline: Mono = clock::mono() + at_most;
        let mut state = self.inbox.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = done(&state) {
                return Some(result);
            }
            let left = deadline.since(clock::mono());
            if left.is_zero() {
                return None;
            }
            state = self.inbox.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Inbox {
    fn take(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if line.starts_with("Subscribed") {
            state.0 = true;
        } else if let Some(message) = line.strip_prefix('\x01').and_then(parse) {
            state.1.push(message);
        } else {
            return;
        }
        self.changed.notify_all();
    }
}

fn parse(line: &str) -> Option<Received> {
    let mut parts = line.splitn(4, ' ');
    let retain = parts.next()? == "1";
    let qos = parts.next()?.parse().ok()?;
    let payload = unhex(parts.next()?)?;
    Some(Received { topic: parts.next()?.to_owned(), payload, retain, qos, at: clock::mono() })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
