//! The brokers as processes, and what the kernel says about them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tidegate::clock;

/// Longest time from exec to a listening socket.
const START_MAX: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tidegate,
    Mosquitto,
    Rumqttd,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Tidegate, Self::Mosquitto, Self::Rumqttd];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "Tidegate",
            Self::Mosquitto => "Mosquitto",
            Self::Rumqttd => "rumqttd",
        }
    }

    /// What the broker says of itself, on one line; none if it is not there.
    pub fn version(self) -> Option<String> {
        let mut command = match self {
            Self::Tidegate => Command::new(env!("CARGO_BIN_EXE_tidegate")),
            Self::Mosquitto => Command::new("mosquitto"),
            Self::Rumqttd => Command::new(rumqttd_path()),
        };
        // Mosquitto has its version in the help, with an exit code of its own.
        let output = command.arg(if self == Self::Mosquitto { "-h" } else { "--version" }).output().ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
    }
}

/// A broker that runs, until this is dropped.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    pub address: SocketAddr,
}

impl Broker {
    /// Starts a broker that keeps its files in `folder`, and returns at once. `durable`: sessions outlive connections, so Mosquitto may keep
    /// them, too; ours always does.
    pub fn start(kind: Kind, folder: &Path, durable: bool) -> io::Result<Self> {
        let address = free_address()?;
        match kind {
            Kind::Tidegate => {
                let config = folder.join("broker.toml");
                fs::write(&config, tidegate_config(address, folder))?;
                Self::tidegate(&config, address)
            }
            Kind::Mosquitto => {
                let config = folder.join("mosquitto.conf");
                fs::write(&config, mosquitto_config(address, folder, durable))?;
                Self::spawn(Command::new("mosquitto").arg("-c").arg(config), address)
            }
            Kind::Rumqttd => {
                let config = folder.join("rumqttd.toml");
                fs::write(&config, rumqttd_config(address))?;
                Self::spawn(Command::new(rumqttd_path()).arg("--config").arg(config).arg("--quiet"), address)
            }
        }
    }

    /// The release binary of this tree.
    pub fn tidegate(config: &Path, address: SocketAddr) -> io::Result<Self> {
        let socket = config.with_extension("sock");
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("run").arg("--config").arg(config).arg("--socket").arg(socket),
            address,
        )
    }

    fn spawn(command: &mut Command, address: SocketAddr) -> io::Result<Self> {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { process, address })
    }

    pub fn wait_for_listener(&self) -> io::Result<()> {
        let deadline = clock::mono() + START_MAX;
        while TcpStream::connect(self.address).is_err() {
            if clock::mono() > deadline {
                return Err(io::Error::other(format!("nobody listens on {}", self.address)));
            }
            clock::block_for(START_POLL);
        }
        Ok(())
    }

    /// Time that all its threads together have been on a CPU, in user and in system mode.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The most memory that it ever held, in kB.
    pub fn peak_kb(&self) -> io::Result<u64> {
        self.memory_kb("status", "VmHWM")
    }

    /// The memory that it has written to, counted page by page, in kB. Pages of the program file are not in it: they come when they are first run.
    pub fn own_kb(&self) -> io::Result<u64> {
        self.memory_kb("smaps_rollup", "Anonymous")
    }

    fn memory_kb(&self, file: &str, line: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.process.id()))?;
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok());
        value.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Until this is dropped this thread, and what it starts, runs on one CPU.
#[derive(Debug)]
pub struct OneCpu {
    before: Option<CpuSet>,
}

pub fn stay_on_one_cpu() -> OneCpu {
    let before = sched_getaffinity(None).ok();
    let mut one = CpuSet::new();
    if let Some(cpu) = before.and_then(|set| (0..CpuSet::MAX_CPU).rev().find(|cpu| set.is_set(*cpu))) {
        one.set(cpu);
        sched_setaffinity(None, &one).expect("a part of what is allowed is allowed");
    }
    OneCpu { before }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            sched_setaffinity(None, before).expect("it was allowed before");
        }
    }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A site without buses and upstreams.
fn tidegate_config(address: SocketAddr, folder: &Path) -> String {
    let store = folder.join("broker.db");
    format!("[gateway]\nid = \"bench\"\n[store]\npath = \"{}\"\n[broker]\nlisten = [\"tcp://{address}\"]\n", store.display())
}

/// As Debian ships it, with the limits on queues lifted, so that it has no reason to drop.
fn mosquitto_config(address: SocketAddr, folder: &Path, durable: bool) -> String {
    let persistence =
        if durable { format!("persistence true\npersistence_location {}/", folder.display()) } else { "persistence false".into() };
    format!(
        "listener {} {}\nallow_anonymous true\n{persistence}\nlog_dest none\nmax_queued_messages 0\nmax_inflight_messages 0\n",
        address.port(),
        address.ip()
    )
}

/// Its own example, with the pause between two accepted connections and the limit on payloads lifted.
fn rumqttd_config(address: SocketAddr) -> String {
    format!(
        r#"id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "{address}"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"#
    )
}

/// Where benches/prepare puts it.
fn rumqttd_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/rumqttd/bin/rumqttd")
}
