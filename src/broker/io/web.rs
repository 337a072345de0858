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

#[derive(Debug, Default)]
pub(in crate::broker) struct Frames {
    decoder: Decoder,
    /// What of the frame's header is not written, and how much of its payload.
    header: Header,
    payload: usize,
    /// What is to be written before the next frame.
    control: Answers,
    /// Our close is said, or is the answer that waits.
    closing: bool,
    /// What was wrong with a frame, once.
    failed: Option<websocket::Error>,
}

/// Control frames that wait: the rest of one that is partly written, which has to be seen out, and the newest answer.
#[derive(Debug, Default)]
struct Answers {
    bytes: Vec<u8>,
    /// Of them the rest of a frame that is partly written.
    begun: usize,
}

impl Answers {
    /// In the place of whatever is not begun.
    fn put(&mut self, frame: &[u8]) {
        self.bytes.truncate(self.begun);
        self.bytes.extend_from_slice(frame);
    }

    fn written(&mut self, n: usize) {
        let mut at = 0;
        while at < n {
            if self.begun == 0 {
                // A control frame of ours has a header of two bytes, the second of which is the length of the rest.
                self.begun = self.bytes.get(at + 1).map_or(1, |length| 2 + usize::from(*length));
            }
            let part = self.begun.min(n - at);
            self.begun -= part;
            at += part;
        }
        self.bytes.drain(..n.min(self.bytes.len()));
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
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
    /// As [`Pipe::poll_read`], of MQTT alone.
    pub(in crate::broker) fn poll_read(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
            Event::Ping(payload) => control.put(websocket::pong(payload).as_ref()),
            Event::Close(code) => {
                *closing = true;
                control.put(websocket::close(code).as_ref());
            }
            Event::None | Event::Data(_) => {}
        };
        let (n, result) = self.decoder.unwrap_in_place(came, &mut answer);
        buffer.set_filled(before + n);
        if let Err(error) = result {
            self.failed = Some(error);
            self.close(Some(error.code()));
        }
        // What came before a fault or a close is taken, too. Ten thousand pings fit into one read: others have their turn.
        Poll::Ready(if n > 0 { Ok(()) } else { Err(ErrorKind::Interrupted.into()) })
    }

    /// As [`Pipe::write`].
    pub(in crate::broker) fn write(&mut self, pipe: &mut Pipe, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.payload == 0 {
            self.write_control(pipe)?;
            let offered = slices.iter().map(|slice| slice.len()).sum();
            if self.closing {
                // Nothing follows a close (RFC 6455, 5.5.1).
                return Ok(offered);
            }
            self.payload = offered;
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
        self.payload == 0 && !self.control.bytes.is_empty()
    }

    /// Between frames: the answer that waits. An error of the kind `WouldBlock` if not all of it.
    pub(in crate::broker) fn write_control(&mut self, pipe: &mut Pipe) -> io::Result<()> {
        while self.holds_back() {
            let n = pipe.write(&mut [IoSlice::new(&self.control.bytes)])?;
            self.control.written(n);
        }
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
        self.control.bytes.extend_from_slice(websocket::close(code).as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that has begun is seen out, whatever comes meanwhile; of those that have not begun only the newest is sent.
    #[test]
    fn answers_stay_whole_frames_however_little_is_taken() {
        for step in 1..20 {
            let (mut answers, mut sent, mut longest) = (Answers::default(), Vec::new(), 0);
            for n in 0..100_u8 {
                answers.put(websocket::pong(&vec![n; usize::from(n)]).as_ref());
                longest = longest.max(answers.bytes.len());
                let taken = answers.bytes.len().min(step);
                sent.extend_from_slice(&answers.bytes[..taken]);
                answers.written(taken);
            }
            sent.extend_from_slice(&answers.bytes);
            answers.written(answers.bytes.len());
            assert!(answers.bytes.is_empty() && answers.begun == 0);
            let mut last = None;
            while let Some((&[first, length], rest)) = sent.split_first_chunk() {
                let payload = &rest[..length.into()];
                assert!(first == 0x8a && payload.iter().all(|byte| *byte == length), "step {step}: {first:x} {payload:?}");
                assert!(last < Some(length));
                last = Some(length);
                sent.drain(..2 + usize::from(length));
            }
            assert_eq!((last, sent.len()), (Some(99), 0), "the newest comes last");
            assert!(longest <= 2 * (2 + websocket::CONTROL_MAX));
        }
    }
}
