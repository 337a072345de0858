//! One connection: bytes out, bytes in, and the deadlines.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::session::{Event, Session};
use super::stream::{self, Stream};
use super::{Error, Options};
use crate::clock;
use crate::model::Mono;
use crate::mqtt::client::Connack;

/// From the first packet of TCP to CONNACK.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Shortest time that an answer to a ping may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(5);

/// From DISCONNECT to the end of the connection.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of one read.
const READ: usize = 64 << 10;

/// A connection that the server has let in.
pub struct Link {
    stream: Box<dyn Stream>,
    /// Seconds, or what the server says; 0: none.
    keep_alive: Duration,
    /// Bytes of the session's output that are written.
    written: usize,
    spoken: Mono,
    asked: Option<Mono>,
    buffer: Box<[u8]>,
}

/// What an exchange has come to.
enum Done {
    /// All that was to be said.
    Written,
    /// So many bytes.
    Read(usize),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("keep_alive", &self.keep_alive).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects and waits until the server has let us in; what the session had in flight goes again.
    ///
    /// # Errors
    /// Nobody is there, TLS does not come about, or the server refuses.
    pub async fn open(options: &Options, session: &mut Session) -> Result<(Self, Connack), Error> {
        let address = options.address.to_string();
        let late = || Error::Late { address: address.clone(), seconds: CONNECT_TIMEOUT.as_secs() };
        let deadline = clock::mono() + CONNECT_TIMEOUT;
        let stream = clock::before(deadline, stream::open(&options.address, options.tls.as_ref())).await.ok_or_else(late)??;
        let mut link =
            Self { stream, keep_alive: Duration::ZERO, written: 0, spoken: clock::mono(), asked: None, buffer: vec![0; READ].into() };
        session.begin(options);
        let first = loop {
            match clock::before(deadline, link.event(session)).await.ok_or_else(late)? {
                Ok(Event::Written) => {}
                first => break first,
            }
        };
        let connack = match first {
            Ok(Event::Connected(connack)) => connack,
            Ok(Event::Farewell(farewell)) => return Err(farewell.into()),
            Ok(_) => return Err(crate::mqtt::Error::Protocol("the first packet of a server is CONNACK [MQTT-3.2.0-1]").into()),
            Err(Error::Lost(_)) => return Err(Error::Unanswered),
            Err(error) => return Err(error),
        };
        if let Some(refused) = connack.refused {
            return Err(Error::Refused { refused, text: connack.reason_string });
        }
        link.keep_alive = Duration::from_secs(connack.server_keep_alive.unwrap_or(options.keep_alive).into());
        session.resume(&connack, options.window);
        Ok((link, connack))
    }

    /// Writes what the session has to say, and waits for what the server says. May be dropped at any time and called again.
    ///
    /// # Errors
    /// The connection is over, or what comes is no MQTT.
    pub async fn event(&mut self, session: &mut Session) -> Result<Event, Error> {
        loop {
            if let Some(event) = session.next()? {
                match &event {
                    Event::Pong => self.asked = None,
                    _ => return Ok(event),
                }
                continue;
            }
            let done = match self.deadline() {
                None => self.exchange(session).await?,
                Some(deadline) => match clock::before(deadline, self.exchange(session)).await {
                    Some(result) => result?,
                    None if self.asked.is_some() => return Err(Error::Silent(self.pong_timeout().as_secs())),
                    None => {
                        self.asked = Some(clock::mono());
                        session.ping();
                        continue;
                    }
                },
            };
            match done {
                Done::Written => return Ok(Event::Written),
                Done::Read(n) => session.input(self.buffer.get(..n).unwrap_or_default()),
            }
        }
    }

    /// Writes all that the session has to say.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn flush(&mut self, session: &mut Session) -> Result<(), Error> {
        poll_fn(|cx| self.poll_write(cx, session)).await.map_err(Error::Lost)
    }

    /// Says DISCONNECT and waits for the server to close, for a little.
    pub async fn leave(mut self, options: &Options, session: &mut Session) {
        session.disconnect(&options.disconnect_properties);
        let deadline = clock::mono() + LEAVE_TIMEOUT;
        let goodbye = async {
            self.flush(session).await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await.map_err(Error::Lost)?;
            while poll_fn(|cx| self.poll_read(cx)).await.map_err(Error::Lost)? > 0 {}
            Ok::<(), Error>(())
        };
        // It is over in any case.
        let _ = clock::before(deadline, goodbye).await;
    }

    /// When a ping is due, or its answer too late.
    fn deadline(&self) -> Option<Mono> {
        match self.asked {
            Some(asked) => Some(asked + self.pong_timeout()),
            None => (!self.keep_alive.is_zero()).then(|| self.spoken + self.keep_alive),
        }
    }

    fn pong_timeout(&self) -> Duration {
        self.keep_alive.max(PONG_TIMEOUT)
    }

    /// Until all is written that was to be, or something was read.
    async fn exchange(&mut self, session: &mut Session) -> Result<Done, Error> {
        let speaking = !session.is_written();
        let done = poll_fn(|cx| {
            match self.poll_write(cx, session) {
                Poll::Ready(Ok(())) if speaking => return Poll::Ready(Ok(Done::Written)),
                // What cannot be written is found out by reading, too: a server's last word may still be there.
                Poll::Ready(Err(error)) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
            self.poll_read(cx).map_ok(Done::Read)
        });
        match done.await {
            Ok(Done::Read(0)) => Err(Error::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(done) => Ok(done),
            Err(error) => Err(Error::Lost(error)),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, session: &mut Session) -> Poll<io::Result<()>> {
        while let Some(rest) = session.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.written += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            self.spoken = clock::mono();
        }
        session.output.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}
