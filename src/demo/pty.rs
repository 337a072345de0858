//! Pseudo terminals: the wire between a simulated device and the gateway. Also the size of our own terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};

/// The device's end. The gateway's end is gone with it.
#[derive(Debug)]
pub struct Pty {
    master: OwnedFd,
    /// Held, so that the wire is there before the gateway opens it and while it opens it again.
    _slave: OwnedFd,
    path: PathBuf,
}

impl Pty {
    pub fn open() -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = PathBuf::from(ptsname(&master, Vec::new())?.to_string_lossy().into_owned());
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        // Raw from the start: an echo would come back to the device as if the gateway had sent it.
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        // A gateway that does not read must not hold the device up.
        ioctl_fionbio(&master, true)?;
        Ok(Self { master, _slave: slave, path })
    }

    /// What the gateway opens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes from the gateway; 0 if none came within `timeout`.
    pub fn read(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut ready, Some(&timeout))? == 0 {
            return Ok(0);
        }
        match rustix::io::read(&self.master, buffer) {
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            read => Ok(read?),
        }
    }

    /// Sends what the wire takes; the rest is lost.
    pub fn write(&self, bytes: &[u8]) {
        let _ = rustix::io::write(&self.master, bytes);
    }
}

/// Rows and columns of the terminal at our standard output, if it is one.
pub fn window() -> Option<(usize, usize)> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some((size.ws_row.into(), size.ws_col.into()))
}
