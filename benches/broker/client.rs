//! A load client for MQTT 3.1.1: raw sockets, packets made by hand, the same for every broker. It is a judge, so it shares no code with ours.
//!
//! Publishers never run ahead of the slowest receiver by more than a window, so that no broker has a reason to drop: what is lost is lost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// Bytes of every message's body; the first eight are the publisher's number and the message's.
pub const PAYLOAD: usize = 64;
/// What receivers subscribe to.
const FILTER: &str = "bench/+/+";
/// Each publisher goes round so many topics of its own, as a device with its points does: no broker lives off the last lookup.
const TOPICS: u32 = 8;
/// Longest silence before what has not come counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const READ_BUFFER: usize = 256 << 10;

const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const CONNACK: u8 = 0x20;

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub publishers: u32,
    pub subscribers: usize,
    pub qos: u8,
    /// Messages a publisher.
    pub messages: u32,
    /// Messages that a publisher hands to its socket at once.
    pub batch: u32,
    /// Messages of all publishers that a receiver may not have yet; at least `batch`.
    pub window: u64,
}

impl Load {
    pub fn deliveries(&self) -> u64 {
        u64::from(self.publishers) * u64::from(self.messages) * self.subscribers as u64
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    pub delivered: u64,
    /// Deliveries that came out of their publisher's order, or twice.
    pub disordered: u64,
}

/// What lies between publishers and receivers.
#[derive(Debug, Default)]
struct Gate {
    /// Messages sent, and messages that every receiver has. At the end of a run nobody waits any more.
    counts: Mutex<(u64, u64)>,
    changed: Condvar,
}

impl Gate {
    /// Waits until `n` more may be sent, and takes them.
    fn take(&self, n: u64, window: u64) {
        let counts = self.counts.lock().expect("no holder panics");
        let mut counts =
            self.changed.wait_while(counts, |(sent, all_have)| *sent + n > all_have.saturating_add(window)).expect("no holder panics");
        counts.0 += n;
    }

    fn all_have(&self, n: u64) {
        self.counts.lock().expect("no holder panics").1 = n;
        self.changed.notify_all();
    }
}

/// Connects everybody to `broker`, calls `start` once all are subscribed, runs the load, and returns when all has come or nothing comes any more.
pub fn run(broker: SocketAddr, load: Load, start: impl FnOnce()) -> io::Result<Outcome> {
    let receivers = (0..load.subscribers)
        .map(|n| Receiver::subscribe(broker, &format!("receiver-{n}"), FILTER, load.qos))
        .collect::<io::Result<Vec<_>>>()?;
    let sockets = (0..load.publishers).map(|n| connect(broker, &format!("publisher-{n}"))).collect::<io::Result<Vec<_>>>()?;
    start();
    let gate = Gate::default();
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..)
            .zip(sockets)
            .map(|(n, socket)| {
                scope.spawn({
                    let gate = &gate;
                    move || publish(socket, n, load, gate)
                })
            })
            .collect();
        let outcome = receive(receivers, load, &gate);
        gate.all_have(u64::MAX);
        for publisher in publishers {
            publisher.join().expect("a publisher does not panic")?;
        }
        outcome
    })
}

fn publish(mut socket: TcpStream, publisher: u32, load: Load, gate: &Gate) -> io::Result<()> {
    let mut output = Vec::new();
    let topics: Vec<String> = (0..TOPICS).map(|point| format!("bench/line-{publisher}/value-{point}")).collect();
    let mut acks = Acks::default();
    let mut next = 0;
    while next < load.messages {
        let batch = load.batch.min(load.messages - next);
        gate.take(batch.into(), load.window);
        output.clear();
        for message in next..next + batch {
            put_publish(&mut output, &topics[(message % TOPICS) as usize], [publisher, message], load.qos);
        }
        socket.write_all(&output)?;
        next += batch;
        if load.qos > 0 {
            acks.wait(&mut socket, next.saturating_sub(load.batch))?;
        }
    }
    if load.qos > 0 { acks.wait(&mut socket, load.messages) } else { Ok(()) }
}

/// PUBACKs that a publisher has got; each is four bytes.
#[derive(Default)]
struct Acks {
    bytes: u64,
}

impl Acks {
    fn wait(&mut self, socket: &mut TcpStream, acks: u32) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        while self.bytes < u64::from(acks) * 4 {
            match socket.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.bytes += n as u64,
            }
        }
        Ok(())
    }
}

fn receive(mut receivers: Vec<Receiver>, load: Load, gate: &Gate) -> io::Result<Outcome> {
    let each = u64::from(load.publishers) * u64::from(load.messages);
    let mut buffer = vec![0; READ_BUFFER];
    let silence = Timespec::try_from(SILENCE_MAX).expect("some seconds fit");
    for receiver in &mut receivers {
        receiver.socket.set_nonblocking(true)?;
        receiver.next = vec![0; load.publishers as usize];
    }
    while receivers.iter().any(|receiver| receiver.delivered < each) {
        let mut waiting: Vec<PollFd<'_>> = receivers.iter().map(|receiver| PollFd::new(&receiver.socket, PollFlags::IN)).collect();
        if poll(&mut waiting, Some(&silence))? == 0 {
            break;
        }
        let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (receiver, _) in receivers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            receiver.take(&mut buffer)?;
        }
        gate.all_have(receivers.iter().map(|receiver| receiver.delivered).min().unwrap_or(0));
    }
    Ok(receivers.iter().fold(Outcome::default(), |sum, receiver| Outcome {
        delivered: sum.delivered + receiver.delivered,
        disordered: sum.disordered + receiver.disordered,
    }))
}

/// A subscriber.
#[derive(Debug)]
pub struct Receiver {
    socket: TcpStream,
    /// The beginning of a packet that is not complete.
    rest: Vec<u8>,
    delivered: u64,
    disordered: u64,
    /// The next message expected of each publisher.
    next: Vec<u32>,
}

impl Receiver {
    pub fn subscribe(broker: SocketAddr, client_id: &str, filter: &str, qos: u8) -> io::Result<Self> {
        let mut socket = connect(broker, client_id)?;
        let mut body = vec![0, 1];
        put_text(&mut body, filter);
        body.push(qos);
        socket.write_all(&packet(0x82, &body))?;
        let mut suback = [0; 5];
        socket.read_exact(&mut suback)?;
        if suback[0] != SUBACK || suback[4] != qos {
            return Err(io::Error::other(format!("SUBACK {suback:?}")));
        }
        Ok(Self { socket, rest: Vec::new(), delivered: 0, disordered: 0, next: Vec::new() })
    }

    /// Blocks until something has come.
    pub fn wait(&mut self) -> io::Result<()> {
        self.socket.read_exact(&mut [0])
    }

    /// Reads once and acknowledges what has come.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let n = match self.socket.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(&buffer[..n]);
        let mut acks = Vec::new();
        let mut at = 0;
        while let Some((first, body, end)) = next_packet(&bytes[at..]) {
            if first & 0xF0 == PUBLISH {
                self.delivery(first, &bytes[at + body..at + end], &mut acks);
            }
            at += end;
        }
        bytes.drain(..at);
        self.rest = bytes;
        self.send(&acks)
    }

    fn delivery(&mut self, first: u8, body: &[u8], acks: &mut Vec<u8>) {
        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let mut payload = &body[topic..];
        if first & 0x06 != 0 {
            acks.extend([PUBACK, 2, payload[0], payload[1]]);
            payload = &payload[2..];
        }
        let number = |at: usize| u32::from_be_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
        let next = &mut self.next[number(0) as usize];
        self.disordered += u64::from(*next != number(4));
        *next = number(4) + 1;
        self.delivered += 1;
    }

    /// The socket does not block for reading; acknowledgements are few, so waiting for room is rare.
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn connect(broker: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(broker)?;
    socket.set_nodelay(true)?;
    let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
    put_text(&mut body, client_id);
    socket.write_all(&packet(0x10, &body))?;
    let mut connack = [0; 4];
    socket.read_exact(&mut connack)?;
    if connack != [CONNACK, 2, 0, 0] {
        return Err(io::Error::other(format!("CONNACK {connack:?}")));
    }
    Ok(socket)
}

fn put_publish(output: &mut Vec<u8>, topic: &str, [publisher, message]: [u32; 2], qos: u8) {
    let mut body = Vec::with_capacity(2 + topic.len() + 2 + PAYLOAD);
    put_text(&mut body, topic);
    if qos > 0 {
        // Never 0, and not used again before 65,535 others.
        body.extend(u16::try_from(message % 0xFFFF + 1).expect("at most 65,535").to_be_bytes());
    }
    let payload = body.len();
    body.extend(publisher.to_be_bytes());
    body.extend(message.to_be_bytes());
    body.resize(payload + PAYLOAD, b'.');
    output.extend(packet(PUBLISH | qos << 1, &body));
}

/// For bodies of at most 127 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of remaining length");
    let mut packet = vec![first, body.len() as u8];
    packet.extend(body);
    packet
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// The first byte of the first packet in `bytes`, where its body begins and where it ends; none if it is not complete.
fn next_packet(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let mut length = 0;
    for (i, byte) in bytes.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 0x7F) << (7 * (i - 1));
        if byte & 0x80 == 0 {
            let end = i + 1 + length;
            return (bytes.len() >= end).then_some((bytes[0], i + 1, end));
        }
    }
    None
}
