//! A serial line between two ends, each a pty, and a Modbus meter that is not ours at the far end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::python;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A pty in raw mode: the master, the path of the slave, and the slave itself, held open so that the port outlives those who use it.
#[derive(Debug)]
pub struct Port {
    pub master: File,
    pub slave: OwnedFd,
    pub path: PathBuf,
}

impl Port {
    pub fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&master).expect("a pty");
        unlockpt(&master).expect("a pty");
        let path = PathBuf::from(ptsname(&master, Vec::new()).expect("a pty has a name").into_string().expect("in ASCII"));
        let slave = open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the other end");
        let mut termios = tcgetattr(&slave).expect("a terminal");
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios).expect("a terminal");
        Self { master: master.into(), slave, path }
    }
}

/// Carries bytes between two ports until it is dropped.
#[derive(Debug)]
pub struct Wire {
    pub near: PathBuf,
    pub far: PathBuf,
    _stop: mpsc::Sender<()>,
}

impl Wire {
    pub fn new() -> Self {
        let (near, far) = (Port::open(), Port::open());
        let (stop, stopped) = mpsc::channel();
        let wire = Self { near: near.path.clone(), far: far.path.clone(), _stop: stop };
        thread::spawn(move || {
            while stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                carry(&near, &far);
            }
        });
        wire
    }
}

/// Waits a moment for bytes at either end and hands them over.
fn carry(near: &Port, far: &Port) {
    let mut ends = [PollFd::new(&near.master, PollFlags::IN), PollFd::new(&far.master, PollFlags::IN)];
    let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    if poll(&mut ends, Some(&moment)).is_err() {
        return;
    }
    let ready = [0, 1].map(|i| ends[i].revents().contains(PollFlags::IN));
    for (ready, from, to) in [(ready[0], near, far), (ready[1], far, near)] {
        let mut bytes = [0; 1024];
        if !ready {
            continue;
        }
        match (&from.master).read(&mut bytes) {
            Ok(n) => (&to.master).write_all(&bytes[..n]).expect("a pty that we hold open"),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => panic!("the wire fails: {e}"),
        }
    }
}

/// pymodbus as the slave of `tests/peers/meter.py`.
#[derive(Debug)]
pub struct Meter {
    child: Child,
}

impl Meter {
    /// Starts it on `port` and waits until it serves.
    pub fn start(port: &Path, baud: u32) -> Self {
        let mut command = python::peer("meter.py");
        command.arg(port).arg(baud.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python starts");
        let out = child.stdout.take().expect("piped");
        let started = Self { child };
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = said.send(line);
        });
        let line = hear.recv_timeout(READY_WITHIN).expect("the meter serves");
        assert_eq!(line.trim(), "ready", "the meter failed, see above");
        started
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
