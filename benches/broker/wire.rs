//! MQTT packets made and read by hand, as far as a load client needs them. A judge shares no code with the judged.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub const CONNACK: u8 = 0x20;
pub const PUBLISH: u8 = 0x30;
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;
const SUBACK: u8 = 0x90;
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A broker that does not answer for so long is taken for stuck.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A session that outlives its connection does so for so many seconds.
const EXPIRY: u32 = 3_600;
/// In seconds; longer than any run. rumqttd refuses 0.
const KEEP_ALIVE: u16 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311 = 4,
    V5 = 5,
}

/// A connection after its CONNACK; it may be asked for nothing that the broker refused.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] if the broker does not take this version.
pub fn connect(broker: SocketAddr, version: Version, client_id: &str, durable: bool) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(broker)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.write_all(&connect_packet(version, client_id, durable))?;
    let (first, body) = match read_packet(&mut socket) {
        Ok(packet) => packet,
        Err(e) if version == Version::V5 && e.kind() == io::ErrorKind::UnexpectedEof => return Err(unsupported("MQTT 5.0")),
        Err(e) => return Err(e),
    };
    match body.get(1) {
        Some(0) if first == CONNACK => Ok(socket),
        Some(0x01 | 0x84) if version == Version::V5 => Err(unsupported("MQTT 5.0")),
        _ => Err(io::Error::other(format!("answer to CONNECT: {first:#x} {body:?}"))),
    }
}

pub fn connect_packet(version: Version, client_id: &str, durable: bool) -> Vec<u8> {
    let clean = if durable { 0 } else { 2 };
    let mut body = b"\x00\x04MQTT".to_vec();
    body.extend([version as u8, clean]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    if version == Version::V5 {
        let properties = if durable { [&[0x11][..], &EXPIRY.to_be_bytes()].concat() } else { Vec::new() };
        body.push(u8::try_from(properties.len()).expect("five bytes at most"));
        body.extend(properties);
    }
    put_text(&mut body, client_id);
    packet(0x10, &body)
}

/// # Errors
/// [`io::ErrorKind::Unsupported`] if the broker grants less than `qos`.
pub fn subscribe(socket: &mut TcpStream, version: Version, filter: &str, qos: u8) -> io::Result<()> {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    put_text(&mut body, filter);
    body.push(qos);
    socket.write_all(&packet(0x82, &body))?;
    let (first, body) = read_packet(socket)?;
    match body.last() {
        Some(granted) if first == SUBACK && *granted == qos => Ok(()),
        Some(0 | 1) if first == SUBACK => Err(unsupported(&format!("a subscription at QoS {qos}"))),
        _ => Err(io::Error::other(format!("answer to SUBSCRIBE: {first:#x} {body:?}"))),
    }
}

/// Says goodbye and waits until the broker has closed: it has read everything before, and the ports of this side are free again at once.
pub fn disconnect(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    // A broker that has closed already may have read all the same.
    let _ = socket.write_all(&DISCONNECT);
    let mut buffer = [0; 4_096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(e),
        }
    }
}

/// A message; the first bytes of its body are the publisher's number, the message's, and when it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub qos: u8,
    pub publisher: u32,
    pub number: u32,
    pub sent_nanos: u64,
    /// Bytes of the body, at least [`BODY_MIN`].
    pub body: usize,
}

/// What a body holds that the receiver wants to know.
const BODY_MIN: usize = 16;

pub fn put_publish(output: &mut Vec<u8>, version: Version, message: Message<'_>) {
    assert!(message.body >= BODY_MIN, "room for what the receiver wants to know");
    output.push(PUBLISH | message.qos << 1);
    let id = if message.qos > 0 { 2 } else { 0 };
    let properties = if version == Version::V5 { 1 } else { 0 };
    put_length(output, 2 + message.topic.len() + id + properties + message.body);
    put_text(output, message.topic);
    if message.qos > 0 {
        // Never 0, and not used again before 65,535 others.
        output.extend(u16::try_from(message.number % 0xFFFF + 1).expect("at most 65,535").to_be_bytes());
    }
    output.resize(output.len() + properties, 0);
    let end = output.len() + message.body;
    output.extend(message.publisher.to_be_bytes());
    output.extend(message.number.to_be_bytes());
    output.extend(message.sent_nanos.to_be_bytes());
    output.resize(end, b'.');
}

/// What came of a PUBLISH.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// None at QoS 0.
    pub id: Option<[u8; 2]>,
    pub publisher: u32,
    pub number: u32,
    pub sent_nanos: u64,
}

/// `body` is that of a PUBLISH with first byte `first`; nothing if it is too short.
pub fn delivery(version: Version, first: u8, body: &[u8]) -> Option<Delivery> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
    let mut id = None;
    if first & 0x06 != 0 {
        let (bytes, behind) = rest.split_first_chunk::<2>()?;
        (id, rest) = (Some(*bytes), behind);
    }
    if version == Version::V5 {
        let (properties, begin) = length_at(rest)?;
        rest = rest.get(begin + properties..)?;
    }
    let (publisher, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (sent, _) = rest.split_first_chunk()?;
    let (publisher, number) = (u32::from_be_bytes(*publisher), u32::from_be_bytes(*number));
    Some(Delivery { id, publisher, number, sent_nanos: u64::from_be_bytes(*sent) })
}

/// The first byte of the first packet in `bytes`, where its body begins and where it ends; none if it is not complete.
pub fn next_packet(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, rest) = bytes.split_first()?;
    let (length, begin) = length_at(rest)?;
    let end = 1 + begin + length;
    (bytes.len() >= end).then_some((*first, 1 + begin, end))
}

/// One packet and nothing behind it.
fn read_packet(socket: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut bytes = vec![0; 2];
    read_exact(socket, &mut bytes)?;
    while bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
        let mut next = [0];
        read_exact(socket, &mut next)?;
        bytes.extend(next);
    }
    let (length, _) = length_at(&bytes[1..]).ok_or(io::ErrorKind::InvalidData)?;
    let mut body = vec![0; length];
    read_exact(socket, &mut body)?;
    Ok((bytes[0], body))
}

/// A broker that has bytes of ours unread resets the connection instead of closing it.
fn read_exact(socket: &mut TcpStream, bytes: &mut [u8]) -> io::Result<()> {
    socket.read_exact(bytes).map_err(|e| if e.kind() == io::ErrorKind::ConnectionReset { io::ErrorKind::UnexpectedEof.into() } else { e })
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    put_length(&mut packet, body.len());
    packet.extend(body);
    packet
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn put_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

/// A number in the form of the remaining length, and the bytes that it takes.
fn length_at(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (i, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((length, i + 1));
        }
    }
    None
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}
