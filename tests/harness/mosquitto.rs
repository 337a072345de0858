//! Mosquitto as a peer: the real broker, on a free port, with a folder of its own, gone when dropped.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{fs, process};

use tempfile::TempDir;
use tidegate::clock;

/// What a listener with TLS needs, PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    /// A client has to show a certificate of `ca`.
    pub clients_too: bool,
}

/// How a Mosquitto is to be started. The default lets anybody in, bounds no queue and keeps nothing on disk.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub password: Option<(String, String)>,
    pub tls: Option<TlsFiles>,
    /// More lines of mosquitto.conf(5), each with its newline.
    pub more: String,
}

#[derive(Debug)]
pub struct Mosquitto {
    child: Child,
    port: u16,
    tls_port: Option<u16>,
    dir: TempDir,
}

impl Mosquitto {
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    /// Starts it and waits until it accepts.
    pub fn with(options: &Options) -> Self {
        // A port may be taken between the look and the start.
        (0..5).find_map(|_| Self::try_start(options)).expect("mosquitto starts (Debian: apt-get install mosquitto mosquitto-clients)")
    }

    /// Plain MQTT on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// MQTT over TLS on 127.0.0.1.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("started with TLS")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn try_start(options: &Options) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let tls_port = options.tls.as_ref().map(|_| free_port());
        let config = dir.path().join("mosquitto.conf");
        fs::write(&config, configuration(options, dir.path(), port, tls_port)).expect("a file");
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the program mosquitto");
        let mut started = Self { child, port, tls_port, dir };
        let deadline = clock::mono() + Duration::from_secs(10);
        while clock::mono() < deadline {
            if started.child.try_wait().expect("our child").is_some() {
                eprintln!("mosquitto ended at once:\n{}", started.log());
                return None;
            }
            if [Some(port), tls_port].into_iter().flatten().all(accepts) {
                return Some(started);
            }
            clock::block_for(Duration::from_millis(5));
        }
        eprintln!("mosquitto does not accept:\n{}", started.log());
        None
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of 127.0.0.1 that nobody has now: below those that the kernel gives away by itself, so that only another test can take it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const BASE: u16 = 20_000;
    const SPAN: u16 = 12_000;
    // Each process begins elsewhere, so that two runs do not ask for the same ports in the same order.
    let start = (process::id() % 120) as u16 * 100;
    loop {
        let port = BASE + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % SPAN;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn configuration(options: &Options, dir: &Path, port: u16, tls_port: Option<u16>) -> String {
    let mut text =
        String::from("user root\npersistence false\nset_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\nlog_type all\n");
    let log = dir.join("log");
    let _ = writeln!(text, "log_dest file {}", log.display());
    match &options.password {
        None => text.push_str("allow_anonymous true\n"),
        Some((user, password)) => {
            let file = dir.join("passwords");
            let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args([user, password]).status();
            assert!(made.expect("the program mosquitto_passwd").success());
            let _ = writeln!(text, "allow_anonymous false\npassword_file {}", file.display());
        }
    }
    text.push_str(&options.more);
    let _ = writeln!(text, "listener {port} 127.0.0.1");
    if let (Some(tls), Some(tls_port)) = (&options.tls, tls_port) {
        let _ = writeln!(text, "listener {tls_port} 127.0.0.1");
        let _ = writeln!(
            text,
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {}",
            tls.ca.display(),
            tls.cert.display(),
            tls.key.display(),
            tls.clients_too
        );
    }
    text
}
