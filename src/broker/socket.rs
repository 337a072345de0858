//! The write side of a connection's socket, shared by its own task and the flusher.

use std::io::IoSlice;
use std::task::Waker;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// The write side of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) half: OwnedWriteHalf,
    /// Of the connection's own task.
    pub(super) waker: Option<Waker>,
    /// The kernel took no more: the connection's own task waits until it does.
    pub(super) blocked: bool,
}

impl Socket {
    pub(super) const fn new(half: OwnedWriteHalf) -> Self {
        Self { half, waker: None, blocked: false }
    }

    /// Whether the peer has closed its side or the connection broke.
    pub(super) fn is_hung_up(&self) -> bool {
        let stream: &TcpStream = self.half.as_ref();
        let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
    }

    /// One write. An error of the kind `WouldBlock` means that the kernel takes no more now.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        match slices {
            [one] => self.half.try_write(one),
            many => self.half.try_write_vectored(many),
        }
    }
}
