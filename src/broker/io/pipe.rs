//! A TCP connection, with TLS over it or without: bytes in, bytes out. The doors' thread shakes hands on it; the broker's thread goes on with it.
//!
//! Memory: rustls holds of what comes at most a record that is not whole and 16 KiB that are, of what goes at most [`HELD_MAX`] and what it says by
//! itself. What it was given counts as written, so no more is given to it before all of that is out.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::yield_now;

/// Bytes that rustls may hold for a peer that does not read. One record of the largest size.
const HELD_MAX: usize = 16 << 10;

/// Reads from the kernel in one turn; rustls takes 4 KiB with each.
const READS_A_TURN: usize = 16;

#[derive(Debug)]
pub(in crate::broker) struct Pipe {
    pub(super) tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Read beyond what the doors wanted; comes before all else.
    early: Vec<u8>,
}

/// A [`Pipe`] on its way to another thread.
#[derive(Debug)]
pub(in crate::broker) struct Packed {
    tcp: std::net::TcpStream,
    tls: Option<Box<ServerConnection>>,
    early: Vec<u8>,
}

impl Packed {
    pub(in crate::broker) fn unpack(self) -> io::Result<Pipe> {
        Ok(Pipe { tcp: TcpStream::from_std(self.tcp)?, tls: self.tls, early: self.early })
    }
}

impl Pipe {
    pub(in crate::broker) const fn new(tcp: TcpStream) -> Self {
        Self { tcp, tls: None, early: Vec::new() }
    }

    /// `early`: what was read last and belongs to whoever reads next.
    pub(in crate::broker) fn pack(self, early: Vec<u8>) -> io::Result<Packed> {
        Ok(Packed { tcp: self.tcp.into_std()?, tls: self.tls, early })
    }

    pub(in crate::broker) const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.early.is_empty()
    }

    pub(in crate::broker) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    pub(in crate::broker) fn tls(&self) -> Option<&ServerConnection> {
        self.tls.as_deref()
    }

    /// TLS, up to where both sides have proved what they have to.
    pub(in crate::broker) async fn shake_hands(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(broken)?;
        tls.set_buffer_limit(Some(HELD_MAX));
        self.tls = Some(Box::new(tls));
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls: Some(tls), .. } = self else { return Poll::Ready(Ok(())) };
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut Kernel { tcp, cx }) {
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(tcp.poll_write_ready(cx))?,
                    Err(e) => return Poll::Ready(Err(e)),
                }
            }
            if !tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match tls.read_tls(&mut Kernel { tcp, cx }) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(e) => return Poll::Ready(Err(e)),
            }
            if let Err(error) = tls.process_new_packets() {
                // It says what is wrong, if the peer listens.
                let _ = tls.write_tls(&mut Kernel { tcp, cx });
                return Poll::Ready(Err(broken(error)));
            }
        }
    }

    /// Reads what is there, up to the buffer's end or the end of a turn. Ready without a byte at the end of all.
    ///
    /// # Errors
    /// Of the kind `Interrupted`: what came has no content, and there may be more.
    pub(in crate::broker) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let n = self.early.len().min(buffer.remaining());
            buffer.put_slice(self.early.get(..n).unwrap_or_default());
            self.early.drain(..n);
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let Self { tcp, tls: Some(tls), .. } = self else { return Pin::new(&mut self.tcp).poll_read(cx, buffer) };
        let before = buffer.filled().len();
        for _ in 0..READS_A_TURN {
            if take(tls, buffer)? {
                return Poll::Ready(Ok(()));
            }
            match tls.read_tls(&mut Kernel { tcp, cx }) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && buffer.filled().len() > before => return Poll::Ready(Ok(())),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(e) => return Poll::Ready(Err(e)),
            }
            let processed = tls.process_new_packets();
            if tls.wants_write() {
                // An alert, or new keys: whoever does not take them now gets them with the next write.
                let _ = tls.write_tls(&mut Kernel { tcp, cx });
            }
            processed.map_err(broken)?;
        }
        take(tls, buffer)?;
        if buffer.filled().len() == before {
            // Records without content: others have their turn.
            return Poll::Ready(Err(ErrorKind::Interrupted.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// One write. An error of the kind `WouldBlock` means that nothing is taken now. Of what was taken some may still be held: see
    /// [`Pipe::holds_back`].
    pub(in crate::broker) fn write(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<usize> {
        let Self { tcp, tls: Some(tls), .. } = self else { return self.tcp.try_write_vectored(slices) };
        let mut slices = slices;
        let mut taken = 0;
        flush(tls, tcp)?;
        while slices.iter().any(|slice| !slice.is_empty()) {
            let n = tls.writer().write_vectored(slices)?;
            if n == 0 {
                break;
            }
            taken += n;
            IoSlice::advance_slices(&mut slices, n);
            match flush(tls, tcp) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Whether something that was taken is not written.
    pub(in crate::broker) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Ready when nothing is held back and the kernel may take more.
    ///
    /// # Errors
    /// The connection is broken: what is held back stays so.
    pub(in crate::broker) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            match flush(tls, &self.tcp) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(self.tcp.poll_write_ready(cx))?,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        self.tcp.poll_write_ready(cx)
    }

    /// Nothing more is written: says so in TLS as far as the kernel takes it, and in TCP.
    pub(in crate::broker) fn shut_down(&mut self, cx: &mut Context<'_>) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = flush(tls, &self.tcp);
        }
        let _ = Pin::new(&mut self.tcp).poll_shutdown(cx);
    }

    /// As [`Pipe::shut_down`], on the doors' thread.
    pub(in crate::broker) async fn close(&mut self) {
        poll_fn(|cx| {
            self.shut_down(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// What is read where nobody listens any more, as it comes.
    pub(in crate::broker) fn poll_discard(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }

    /// At most this many bytes; none at the end of all.
    pub(in crate::broker) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        while let Err(error) = poll_fn(|cx| self.poll_read(cx, &mut buffer)).await {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
            yield_now().await;
        }
        Ok(buffer.filled().len())
    }

    /// All of it, into the kernel.
    pub(in crate::broker) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() || self.holds_back() {
            match self.write(&mut [IoSlice::new(bytes)]) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if !bytes.is_empty() || self.holds_back() {
                poll_fn(|cx| self.poll_writable(cx)).await?;
            }
        }
        Ok(())
    }
}

/// Moves what is decrypted into the buffer. True at its end, or that of all.
fn take(tls: &mut ServerConnection, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
    while buffer.remaining() > 0 {
        match tls.reader().read(buffer.initialize_unfilled()) {
            Ok(0) => return Ok(true),
            Ok(n) => buffer.advance(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            // The peer closed TCP and not TLS first, as many do: MQTT has its own ends.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(true),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Writes what TLS holds; an error of the kind `WouldBlock` if not all of it.
fn flush(tls: &mut ServerConnection, tcp: &TcpStream) -> io::Result<()> {
    struct Out<'a>(&'a TcpStream);
    impl Write for Out<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.try_write(bytes)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.0.try_write_vectored(slices)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    while tls.wants_write() {
        tls.write_tls(&mut Out(tcp))?;
    }
    Ok(())
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// The socket as rustls wants it; what is not ready is waited for.
struct Kernel<'a, 'c, 'w> {
    tcp: &'a mut TcpStream,
    cx: &'c mut Context<'w>,
}

impl Read for Kernel<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.tcp).poll_read(self.cx, &mut buffer) {
            Poll::Ready(result) => result.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Kernel<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tcp.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
