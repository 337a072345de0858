//! A connection's socket, shared by its own task and the flusher.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(in crate::broker) struct Socket {
    stream: TcpStream,
    /// Of the connection's own task.
    pub(in crate::broker) waker: Option<Waker>,
    /// The kernel took no more: the connection's own task waits until it does.
    pub(in crate::broker) blocked: bool,
}

impl Socket {
    pub(in crate::broker) const fn new(stream: TcpStream) -> Self {
        Self { stream, waker: None, blocked: false }
    }

    /// Whether the peer has closed its side or the connection broke.
    pub(in crate::broker) fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
    }

    /// One read. Short of the buffer's size it has got all that was there, and no second one is needed to find that out.
    pub(in crate::broker) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }

    /// Ready when the kernel may take more; an error is met by the next write.
    pub(in crate::broker) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_write_ready(cx).map(drop)
    }

    /// Nothing more is written. It takes no time: only a flag of the connection is set; and an error means that it is over already.
    pub(in crate::broker) fn shut_down(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
    }

    /// One write. An error of the kind `WouldBlock` means that the kernel takes no more now.
    pub(in crate::broker) fn write(&self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        match slices {
            [one] => self.stream.try_write(one),
            many => self.stream.try_write_vectored(many),
        }
    }
}
