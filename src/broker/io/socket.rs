//! A connection's socket, shared by its own task and the flusher.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::pipe::Pipe;
use super::web::Frames;

#[derive(Debug)]
pub(in crate::broker) struct Socket {
    stream: Stream,
    /// Of the connection's own task.
    pub(in crate::broker) waker: Option<Waker>,
    /// The kernel took no more: the connection's own task waits until it does.
    pub(in crate::broker) blocked: bool,
    /// Its turn comes after those of others.
    pub(in crate::broker) put_off: bool,
}

#[derive(Debug)]
pub(in crate::broker) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// With TLS, WebSocket, or both over TCP.
    Layered(Box<Layered>),
}

#[derive(Debug)]
pub(in crate::broker) struct Layered {
    pub(in crate::broker) pipe: Pipe,
    pub(in crate::broker) web: Option<Box<Frames>>,
}

impl Socket {
    pub(in crate::broker) const fn new(stream: Stream) -> Self {
        Self { stream, waker: None, blocked: false, put_off: false }
    }

    /// Whether the peer has closed its side or the connection broke.
    pub(in crate::broker) fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
    }

    /// One read. Short of the buffer's size it has got all that was there, and no second one is needed to find that out.
    pub(in crate::broker) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Layered(layered) => {
                let read = layered.poll_read(cx, buffer);
                if layered.answers_wait() && !self.blocked {
                    self.blocked = true;
                    cx.waker().wake_by_ref();
                }
                read
            }
        }
    }

    /// Reads what nobody listens to any more.
    pub(in crate::broker) fn poll_discard(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Layered(layered) => layered.pipe.poll_discard(cx, buffer),
            _ => self.poll_read(cx, buffer),
        }
    }

    /// Ready when the kernel may take more; an error is met by the next write.
    pub(in crate::broker) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.poll_write_ready(cx).map(drop),
            Stream::Unix(stream) => stream.poll_write_ready(cx).map(drop),
            Stream::Layered(layered) => layered.poll_writable(cx),
        }
    }

    /// Nothing more is written. It takes no time: only a flag of the connection is set; and an error means that it is over already.
    pub(in crate::broker) fn shut_down(&mut self, cx: &mut Context<'_>) {
        match &mut self.stream {
            Stream::Tcp(stream) => drop(Pin::new(stream).poll_shutdown(cx)),
            Stream::Unix(stream) => drop(Pin::new(stream).poll_shutdown(cx)),
            Stream::Layered(layered) => layered.shut_down(cx),
        }
    }

    /// The last word of TLS and WebSocket, where there are such: without it the end might be another's doing.
    pub(in crate::broker) fn say_farewell(&mut self, cx: &mut Context<'_>) {
        if let Stream::Layered(layered) = &mut self.stream {
            layered.shut_down(cx);
        }
    }

    /// One write. An error of the kind `WouldBlock` means that the kernel takes no more now. After it `blocked` may be set: not all that was taken
    /// is written.
    pub(in crate::broker) fn write(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<usize> {
        match (&mut self.stream, &*slices) {
            (Stream::Tcp(stream), [one]) => stream.try_write(one),
            (Stream::Tcp(stream), many) => stream.try_write_vectored(many),
            (Stream::Unix(stream), many) => stream.try_write_vectored(many),
            (Stream::Layered(layered), _) => {
                let written = layered.write(slices);
                self.blocked = layered.holds_back();
                written
            }
        }
    }

    /// The certificates that a client of TLS has shown.
    pub(in crate::broker) fn tls(&self) -> Option<&rustls::ServerConnection> {
        match &self.stream {
            Stream::Layered(layered) => layered.pipe.tls(),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Layered(layered) => layered.pipe.tcp.as_fd(),
        }
    }
}

impl Layered {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.web {
            None => self.pipe.poll_read(cx, buffer),
            Some(web) => web.poll_read(&mut self.pipe, cx, buffer),
        }
    }

    fn write(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.web {
            None => self.pipe.write(slices),
            Some(web) => web.write(&mut self.pipe, slices),
        }
    }

    fn holds_back(&self) -> bool {
        self.pipe.holds_back() || self.answers_wait()
    }

    fn answers_wait(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.holds_back())
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if std::task::ready!(self.pipe.poll_writable(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.web.as_mut().map(|web| web.write_control(&mut self.pipe)) {
                // The kernel said that it takes more and did not: it says so again when it does.
                Some(Err(e)) if e.kind() == ErrorKind::WouldBlock => {}
                None | Some(Ok(())) if self.pipe.holds_back() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    fn shut_down(&mut self, cx: &mut Context<'_>) {
        if let Some(web) = &mut self.web {
            web.say_close(&mut self.pipe);
        }
        self.pipe.shut_down(cx);
    }
}
