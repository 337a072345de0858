//! The real binary with a site's file of its own: started, seen to be ready, killed, stopped and started again on the same store.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tidegate::clock;
use tidegate::model::Mono;
use tidegate::model::status::Status;

use super::mosquitto::free_port;
use super::{wait_exit, wait_for};

/// From the start of the process to `READY=1`; a debug build on a busy machine takes a few hundred milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// The drain's 5 s, and something for a busy machine.
const EXIT_WITHIN: Duration = Duration::from_secs(10);
/// Lines of the gateway's log that a failure shows.
const LOG_TAIL: usize = 40;

/// A folder with a site's file, a store, a runtime folder and the log. It outlives the gateways that run on it.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    /// Where the gateway's broker listens.
    pub port: u16,
}

/// An access list by which anybody may do what only named users may where there is none.
pub const ALL_RIGHTS: &str = "everyone\ntopic #\ntopic $SYS/#\ntopic $a/#\ntopic $x/#\ntopic $event/#\ntopic $shared/#\n";

impl Site {
    /// As [`Site::new`], with this access list.
    pub fn with_acl(acl: &str, rest: &str) -> Self {
        let site = Self::new("");
        site.write_acl(acl);
        site.rewrite(&format!("[broker.access]\nacl = \"{}\"\n{rest}", site.acl().display()));
        site
    }

    pub fn acl(&self) -> PathBuf {
        self.path().join("acl")
    }

    pub fn write_acl(&self, acl: &str) {
        std::fs::write(self.acl(), acl).expect("the access list is written");
    }

    /// A site named `plant-7` with a store and one listener on the loopback; `rest` is the rest of its file.
    pub fn new(rest: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-test-").tempdir().expect("a temporary folder");
        let site = Self { dir, port: free_port() };
        std::fs::create_dir(site.runtime()).expect("a fresh folder");
        site.rewrite(rest);
        site
    }

    /// Puts another `rest` into the site's file.
    pub fn rewrite(&self, rest: &str) {
        let (store, port) = (self.store(), self.port);
        let text = format!(
            "[gateway]\nid = \"plant-7\"\n[store]\npath = \"{}\"\n[broker]\nlisten = [\"tcp://127.0.0.1:{port}\"]\n{rest}",
            store.display()
        );
        std::fs::write(self.config(), text).expect("the site's file is written");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("tidegate.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("store.db")
    }

    fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    fn log_file(&self) -> PathBuf {
        self.path().join("gateway.log")
    }

    /// All that the gateways of this site have logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log, for messages of failure.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL)..).unwrap_or_default();
        format!("--- the gateway's log, last {} of {} lines\n{}\n---", tail.len(), lines.len(), tail.join("\n"))
    }

    /// `tidegate ARGS` in this site's surroundings.
    pub fn tidegate(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        self.surround(&mut command);
        command.args(args);
        command
    }

    /// Runs `tidegate ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.tidegate(args).stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// What `tidegate status --json` says, whatever its exit code; `None` if it could not ask.
    pub fn status(&self) -> Option<Status> {
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).ok()
    }

    /// The status, asked until `look` finds what it wants there.
    pub fn status_with<T>(&self, what: &str, within: Duration, mut look: impl FnMut(&Status) -> Option<T>) -> T {
        let mut last = None;
        let deadline = clock::mono() + within;
        while clock::mono() < deadline {
            last = self.status();
            if let Some(found) = last.as_ref().and_then(&mut look) {
                return found;
            }
            clock::block_for(Duration::from_millis(50));
        }
        panic!("waited {within:?} in vain for: {what}\nthe last status: {last:#?}\n{}", self.log_tail());
    }

    pub fn start(&self) -> Gateway<'_> {
        self.launch().start()
    }

    pub fn launch(&self) -> Launch<'_> {
        Launch { site: self, fault: None, watchdog: None }
    }

    /// Nothing of the test's own environment reaches the gateway that could change what it does.
    fn surround(&self, command: &mut Command) {
        for name in [
            "TIDEGATE_FAULT",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "JOURNAL_STREAM",
            "STATE_DIRECTORY",
            "CREDENTIALS_DIRECTORY",
        ] {
            command.env_remove(name);
        }
        command.env("RUNTIME_DIRECTORY", self.runtime()).current_dir(self.path());
    }
}

/// How a gateway is to be started.
#[derive(Debug)]
#[must_use]
pub struct Launch<'a> {
    site: &'a Site,
    fault: Option<String>,
    watchdog: Option<Duration>,
}

impl<'a> Launch<'a> {
    /// With `TIDEGATE_FAULT`.
    pub fn fault(mut self, fault: &str) -> Self {
        self.fault = Some(fault.to_owned());
        self
    }

    /// With a watchdog of this period, as systemd announces it.
    pub fn watchdog(mut self, period: Duration) -> Self {
        self.watchdog = Some(period);
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Gateway<'a> {
        let mut gateway = self.start_unready();
        gateway.wait_ready();
        gateway
    }

    /// Starts it.
    pub fn start_unready(self) -> Gateway<'a> {
        let notify = Notify::bind(&self.site.path().join("notify"));
        // The shell gives the process its own id as WATCHDOG_PID and becomes the gateway.
        let mut command = Command::new("/bin/sh");
        self.site.surround(&mut command);
        command.args([
            "-c",
            "if [ -n \"$WATCHDOG_USEC\" ]; then export WATCHDOG_PID=$$; fi; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_tidegate"),
        ]);
        command.arg("run").arg("--config").arg(self.site.config());
        command.env("NOTIFY_SOCKET", &notify.path);
        if let Some(fault) = &self.fault {
            command.env("TIDEGATE_FAULT", fault);
        }
        if let Some(period) = self.watchdog {
            command.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        let log = File::options().create(true).append(true).open(self.site.log_file()).expect("the log can be written");
        let out = log.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().expect("the gateway starts");
        Gateway { site: self.site, child, notify }
    }
}

/// A running gateway. It is killed when it is dropped; while a test fails, it shows the end of its log.
#[derive(Debug)]
pub struct Gateway<'a> {
    site: &'a Site,
    child: Child,
    notify: Notify,
}

impl Gateway<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory now.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub fn wait_ready(&mut self) {
        let (notify, child) = (&self.notify, &mut self.child);
        wait_for("READY=1 of the gateway", READY_WITHIN, || {
            if let Some(status) = child.try_wait().expect("the child is ours") {
                panic!("the gateway ended before it was ready: {status}");
            }
            notify.said("READY=1").first().copied()
        });
    }

    /// When each `WATCHDOG=1` came.
    pub fn watchdog_beats(&self) -> Vec<Mono> {
        self.notify.said("WATCHDOG=1")
    }

    /// As a power cut does, as far as a process can be cut. Returns when it was sent.
    pub fn kill(mut self) -> Mono {
        let at = clock::mono();
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
        at
    }

    /// Whether it told its supervisor that it is draining.
    pub fn is_stopping(&self) -> bool {
        !self.notify.said("STOPPING=1").is_empty()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the child is ours and not yet waited for");
    }

    /// SIGTERM; how it ended, and how long it took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let asked = clock::mono();
        self.signal(Signal::TERM);
        let status = self.wait_exit();
        (status, clock::mono().since(asked))
    }

    /// Waits until it ends by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_exit("the gateway", &mut self.child, EXIT_WITHIN)
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.site.log_tail());
        }
    }
}

/// The socket at which systemd would listen.
#[derive(Debug)]
struct Notify {
    path: PathBuf,
    heard: Arc<Mutex<Vec<(Mono, String)>>>,
}

impl Notify {
    /// A gateway that was killed has left the socket of the run before.
    fn bind(path: &Path) -> Self {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{} cannot be removed: {error}", path.display()),
            _ => {}
        }
        let socket = UnixDatagram::bind(path).expect("the socket's path is free");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout above zero");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::downgrade(&heard);
        thread::spawn(move || {
            let mut datagram = [0; 4096];
            // Ends within a read's timeout after the owner has gone.
            while ears.strong_count() > 0 {
                let Ok(length) = socket.recv(&mut datagram) else { continue };
                let Some(heard) = ears.upgrade() else { break };
                let text = String::from_utf8_lossy(datagram.get(..length).unwrap_or_default()).into_owned();
                let now = clock::mono();
                heard.lock().unwrap_or_else(PoisonError::into_inner).extend(text.lines().map(|line| (now, line.to_owned())));
            }
        });
        Self { path: path.to_owned(), heard }
    }

    fn said(&self, line: &str) -> Vec<Mono> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|(_, said)| said == line).map(|(at, _)| *at).collect()
    }
}
