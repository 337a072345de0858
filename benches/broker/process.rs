//! The brokers as processes, and what the kernel says about them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidegate::clock;

/// Longest time from exec to a listening socket.
const START_MAX: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(1);

/// A broker that runs, until this is dropped.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    pub address: SocketAddr,
}

impl Broker {
    /// The release binary of this tree.
    pub fn tidegate(config: &Path, address: SocketAddr) -> io::Result<Self> {
        let socket = config.with_extension("sock");
        Self::start(
            Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("run").arg("--config").arg(config).arg("--socket").arg(socket),
            address,
        )
    }

    /// Debian's, with its limits on queues lifted, so that it has no reason to drop.
    pub fn mosquitto(folder: &Path) -> io::Result<Self> {
        let address = free_address()?;
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "listener {} {}\nallow_anonymous true\npersistence false\nlog_dest none\nmax_queued_messages 0\nmax_inflight_messages 0\n",
            address.port(),
            address.ip()
        );
        fs::write(&config, text)?;
        let broker = Self::start(Command::new("mosquitto").arg("-c").arg(config), address)?;
        broker.wait_for_listener()?;
        Ok(broker)
    }

    fn start(command: &mut Command, address: SocketAddr) -> io::Result<Self> {
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

    /// Time that all its threads together have been on a CPU.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// A line of `/proc/PID/status` in kB: `VmHWM` is the most memory that it ever held.
    pub fn memory_kb(&self, line: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
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

/// An address of this machine that nobody listens on.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The first line that a program says of itself; Mosquitto has its version in the help, with an exit code of its own.
pub fn version(program: &str, flag: &str) -> io::Result<String> {
    let output = Command::new(program).arg(flag).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
