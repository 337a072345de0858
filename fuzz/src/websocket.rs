//! WebSocket frames: our decoder, however the reads cut them, and tungstenite's, of the same bytes.
//!
//! Where ours is the stricter or tungstenite not the standard's, [`held_to`] and [`stricter`] say so: a text message (MQTT has none), a length in more bytes than it
//! needs (5.2), code 1014 (registered with IANA since). And ours refuses a frame at the byte that shows it, tungstenite when it has come whole.

use std::io::{Cursor, Read, Write};

use tidegate::transport::websocket::{Decoder, Error, Event, code};
use tungstenite::protocol::frame::{FrameHeader, coding};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error as Theirs, Message};

/// Frames that claim more are not read by tungstenite, which reserves what a frame claims. No input is as long.
const FRAME_MAX: usize = 1 << 16;

/// The first two bytes say how the others are cut into reads.
pub fn check(input: &[u8]) {
    let Some((&[first, second], bytes)) = input.split_first_chunk() else { return };
    let ours = ours(bytes, &[bytes.len().max(1)]);
    let cuts = [usize::from(first % 16) + 1, usize::from(second) + 1];
    assert_eq!(self::ours(bytes, &cuts), ours, "cut into {cuts:?}");
    assert_eq!(in_place(bytes, &cuts), ours, "in place, cut into {cuts:?}");
    unmasked_by_another(bytes, &ours);
    held_to(bytes, &ours, &theirs(bytes));
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Control {
    Ping(Vec<u8>),
    Close(Option<u16>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End<E> {
    Open,
    Closed,
    Refused(E),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading<E> {
    /// Payload of binary messages; theirs of whole ones.
    data: Vec<u8>,
    controls: Vec<Control>,
    end: End<E>,
}

impl<E> Reading<E> {
    const fn new() -> Self {
        Self { data: Vec::new(), controls: Vec::new(), end: End::Open }
    }

    fn control(&mut self, event: &Event<'_>) {
        match event {
            Event::Ping(payload) => self.controls.push(Control::Ping(payload.to_vec())),
            Event::Close(code) => {
                self.controls.push(Control::Close(*code));
                self.end = End::Closed;
            }
            Event::None | Event::Data(_) => {}
        }
    }
}

/// `bytes` in reads of the lengths `cuts`, over and over.
fn reads(mut bytes: &[u8], cuts: &[usize]) -> impl Iterator<Item = Vec<u8>> {
    let mut cuts = cuts.iter().copied().cycle();
    std::iter::from_fn(move || {
        let (read, rest) = bytes.split_at(cuts.next().expect("a cycle").min(bytes.len()));
        bytes = rest;
        (!read.is_empty()).then(|| read.to_vec())
    })
}

fn ours(bytes: &[u8], cuts: &[usize]) -> Reading<Error> {
    let (mut decoder, mut out) = (Decoder::default(), Reading::new());
    for mut read in reads(bytes, cuts) {
        let mut at = 0;
        while at < read.len() {
            match decoder.step(&mut read[at..]) {
                Ok((taken, event)) => {
                    assert!(taken > 0);
                    out.control(&event);
                    if let Event::Data(range) = event {
                        out.data.extend(&read[at + range.start..at + range.end]);
                    }
                    at += taken;
                }
                Err(error) => {
                    out.end = End::Refused(error);
                    return out;
                }
            }
        }
    }
    assert_eq!(decoder.is_over(), out.end != End::Open);
    out
}

fn in_place(bytes: &[u8], cuts: &[usize]) -> Reading<Error> {
    let (mut decoder, mut out) = (Decoder::default(), Reading::new());
    for mut read in reads(bytes, cuts) {
        let (length, result) = decoder.unwrap_in_place(&mut read, |event| out.control(&event));
        out.data.extend(&read[..length]);
        if let Err(error) = result {
            out.end = End::Refused(error);
            break;
        }
    }
    out
}

/// The payload again, by tungstenite's reader of headers, byte by byte.
fn unmasked_by_another(bytes: &[u8], ours: &Reading<Error>) {
    let (mut cursor, mut data) = (Cursor::new(bytes), Vec::new());
    while let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) {
        let at = cursor.position() as usize;
        let end = at.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
        let mask = header.mask.unwrap_or_default();
        match header.opcode {
            coding::OpCode::Data(_) => data.extend(bytes[at..end].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key)),
            coding::OpCode::Control(coding::Control::Close) => break,
            coding::OpCode::Control(_) => {}
        }
        cursor.set_position(end as u64);
    }
    assert!(data.starts_with(&ours.data), "the payload is another's");
    assert!(ours.end != End::Open || data.len() == ours.data.len(), "payload is missing");
}

/// What tungstenite's server makes of a connection that sends `bytes` and ends.
fn theirs(bytes: &[u8]) -> Reading<Theirs> {
    let config = WebSocketConfig::default().max_frame_size(Some(FRAME_MAX)).max_message_size(None);
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), Role::Server, Some(config));
    let mut out = Reading::new();
    loop {
        match socket.read() {
            Ok(Message::Binary(payload)) => out.data.extend(payload),
            Ok(Message::Ping(payload)) => out.controls.push(Control::Ping(payload.to_vec())),
            Ok(Message::Close(frame)) => {
                out.controls.push(Control::Close(frame.map(|frame| frame.code.into())));
                out.end = End::Closed;
                return out;
            }
            Ok(_) => {}
            Err(Theirs::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => return out,
            Err(error) => {
                out.end = End::Refused(error);
                return out;
            }
        }
    }
}

/// Yields its bytes and takes whatever is written.
struct Wire<'b>(&'b [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A control frame of more than 125 bytes says its length in more than seven bits, and tungstenite believes it when it is less.
fn stricter(error: Error) -> bool {
    let text = error.to_string();
    error == Error::Text || text.contains("more bytes than it needs") || text.contains("more than 125 bytes")
}

fn held_to(bytes: &[u8], ours: &Reading<Error>, theirs: &Reading<Theirs>) {
    let both = || format!("\nours:   {ours:?}\ntheirs: {theirs:?}");
    // Stricter than tungstenite: it may read on, so that only what came before can be compared.
    if let End::Refused(error) = ours.end
        && stricter(error)
    {
        assert!(theirs.controls.starts_with(&ours.controls), "{}", both());
        assert!(theirs.data.starts_with(&ours.data) || ours.data.starts_with(&theirs.data), "{}", both());
        return;
    }
    assert!(ours.data.starts_with(&theirs.data), "{}", both());
    match (&ours.end, &theirs.end) {
        // Larger than it reads; to us a stream like any other, and it does not end within the input.
        (End::Open | End::Refused(_), End::Refused(Theirs::Capacity(_))) => {}
        (End::Open, End::Open) | (End::Refused(_), End::Refused(_)) => {}
        (End::Refused(_), End::Open) => {
            let whole = [bytes, &vec![0; FRAME_MAX + 64]].concat();
            let end = self::theirs(&whole).end;
            assert!(matches!(end, End::Refused(_)), "tungstenite takes it when it is whole: {end:?} {}", both());
        }
        (End::Closed, End::Closed) if ours.controls.last() == Some(&Control::Close(Some(1014))) => {
            assert_eq!(theirs.controls.last(), Some(&Control::Close(Some(code::PROTOCOL_ERROR))), "{}", both());
            return;
        }
        (End::Closed, End::Closed) => {}
        // It answers a code that is not sent with 1002, as we do, and calls that the client's.
        (End::Refused(error), End::Closed) if error.to_string().contains("a code that is not sent") => {
            assert_eq!(theirs.controls.last(), Some(&Control::Close(Some(error.code()))), "{}", both());
            return;
        }
        _ => panic!("one takes what the other refuses {}", both()),
    }
    assert_eq!(ours.controls, theirs.controls, "{}", both());
}
