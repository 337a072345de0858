//! WebSocket over a [`Pipe`]: takes the frames off what comes, puts them around what goes. MQTT is a stream in it [MQTT-6.0.0-2].
//!
//! What one write offers becomes one frame; if the kernel takes less, the next writes owe it the rest. Pings and closes are answered between frames,
//! of several pings the newest (RFC 6455, 5.5.3), so that no peer can make us hold more than one answer.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::super::output::SLICES;
use super::pipe::Pipe;
use crate::transport::websocket::{self, Decoder, Event, code};

/// Reads in one turn that bring nothing of MQTT.
const EMPTY_READS: usize = 16;

#[derive(Debug, Default)]
pub(in crate::broker) struct Frames {
    decoder: Decoder,
    /// What of the frame's header is not written, and how much of its payload.
    header: Header,
    payload: usize,
    /// An answer to be written before the next frame.
    control: Vec<u8>,
    /// Our close is said, or is the answer that waits.
    closing: bool,
    /// What was wrong with a frame, once.
    failed: Option<websocket::Error>,
}

#[derive(Debug, Default)]
struct Header {
    bytes: [u8; 10],
    at: u8,
    length: u8,
}

impl Header {
    fn new(length: usize) -> Self {
        let header = websocket::binary(length);
        let mut bytes = [0; 10];
        for (to, from) in bytes.iter_mut().zip(header.as_ref()) {
            *to = *from;
        }
        Self { bytes, at: 0, length: header.as_ref().len() as u8 }
    }

    fn left(&self) -> &[u8] {
        self.bytes.get(self.at.into()..self.length.into()).unwrap_or_default()
    }
}

impl Frames {
    /// As [`Pipe::poll_read`], of MQTT alone. True: an answer waits to be written.
    pub(in crate::broker) fn poll_read(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        for _ in 0..EMPTY_READS {
            if let Some(error) = self.failed {
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
            }
            if self.decoder.is_over() {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            std::task::ready!(pipe.poll_read(cx, buffer))?;
            let came = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let (control, closing) = (&mut self.control, &mut self.closing);
            let mut answer = |event: Event<'_>| match event {
                Event::Ping(_) | Event::Close(_) if *closing => {}
                Event::Ping(payload) => *control = websocket::pong(payload).as_ref().to_vec(),
                Event::Close(code) => {
                    *closing = true;
                    *control = websocket::close(code).as_ref().to_vec();
                }
                Event::None | Event::Data(_) => {}
            };
            let (n, result) = self.decoder.unwrap_in_place(came, &mut answer);
            buffer.set_filled(before + n);
            if let Err(error) = result {
                self.failed = Some(error);
                self.close(Some(error.code()));
            }
            if n > 0 {
                // What came before the fault or the close is taken, too.
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// As [`Pipe::write`].
    pub(in crate::broker) fn write(&mut self, pipe: &mut Pipe, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.payload == 0 {
            self.write_control(pipe)?;
            self.payload = slices.iter().map(|slice| slice.len()).sum();
            self.header = Header::new(self.payload);
        }
        let mut all = [IoSlice::new(&[]); SLICES + 1];
        let (mut left, mut count) = (self.payload, 1);
        let header = self.header.left();
        if let Some(first) = all.first_mut() {
            *first = IoSlice::new(header);
        }
        for (slice, to) in slices.iter().zip(all.iter_mut().skip(1)) {
            let part = slice.get(..left).unwrap_or(slice);
            *to = IoSlice::new(part);
            left -= part.len();
            count += 1;
        }
        let written = pipe.write(all.get_mut(..count).unwrap_or_default())?;
        let of_header = written.min(header.len());
        self.header.at += of_header as u8;
        let taken = written - of_header;
        self.payload -= taken;
        // Of what was offered nothing is taken yet.
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Whether an answer can be written and is not.
    pub(in crate::broker) const fn holds_back(&self) -> bool {
        self.payload == 0 && !self.control.is_empty()
    }

    /// Between frames: the answer that waits. An error of the kind `WouldBlock` if not all of it.
    pub(in crate::broker) fn write_control(&mut self, pipe: &mut Pipe) -> io::Result<()> {
        while self.holds_back() {
            let n = pipe.write(&mut [IoSlice::new(&self.control)])?;
            self.control.drain(..n);
        }
        self.control = Vec::new();
        Ok(())
    }

    /// Says once that we close, as far as the kernel takes it.
    pub(in crate::broker) fn say_close(&mut self, pipe: &mut Pipe) {
        if !self.closing {
            self.close(Some(code::NORMAL));
        }
        let _ = self.write_control(pipe);
    }

    fn close(&mut self, code: Option<u16>) {
        self.closing = true;
        // In the midst of a frame there is no place for it.
        if self.payload == 0 {
            self.control.extend_from_slice(websocket::close(code).as_ref());
        }
    }
}
