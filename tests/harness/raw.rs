//! A client that is bytes on a socket: for what real clients do not do.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// For one answer.
const WITHIN: Duration = Duration::from_secs(20);

/// A packet: its first byte, and what follows the remaining length.
pub type Packet = (u8, Vec<u8>);

#[derive(Debug)]
pub struct Raw {
    pub stream: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    /// Connected with a clean session, without keep-alive.
    pub fn connect(port: u16, client: &str) -> Self {
        Self::greet(port, &packet(0x10, &[&string("MQTT"), &[4, 2, 0, 0], &string(client)]))
    }

    /// The same, with a will at QoS 1.
    pub fn connect_with_will(port: u16, client: &str, topic: &str, body: &[u8]) -> Self {
        Self::connect_for(port, client, 0, topic, body)
    }

    /// With a will at QoS 1, and a keep-alive in seconds.
    pub fn connect_for(port: u16, client: &str, keep_alive: u8, topic: &str, body: &[u8]) -> Self {
        let body_length = u16::try_from(body.len()).expect("a short will").to_be_bytes();
        let will = [&string(topic), &body_length[..], body].concat();
        Self::greet(port, &packet(0x10, &[&string("MQTT"), &[4, 0x0e, 0, keep_alive], &string(client), &will]))
    }

    fn greet(port: u16, connect: &[u8]) -> Self {
        let mut raw = Self::open_with(port, connect);
        assert_eq!(raw.next(), (0x20, vec![0, 0]), "CONNACK");
        raw
    }

    /// Connected by this CONNECT, of whatever version.
    pub fn greet_with(port: u16, connect: &[u8]) -> Self {
        let mut raw = Self::open_with(port, connect);
        let (kind, body) = raw.next();
        assert_eq!((kind, body.get(1)), (0x20, Some(&0)), "CONNACK");
        raw
    }

    /// This CONNECT is sent; what comes of it is still to be read.
    pub fn open_with(port: u16, connect: &[u8]) -> Self {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the broker listens"), connect)
    }

    /// The same, by a connection that stands.
    pub fn over(stream: TcpStream, connect: &[u8]) -> Self {
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let mut raw = Self { stream, seen: Vec::new() };
        raw.send(connect);
        raw
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&packet(0x82, &[&[0, 1], &string(filter), &[qos]]));
        assert_eq!(self.next(), (0x90, vec![0, 1, qos]), "SUBACK");
    }

    /// Asks for a sign of life and returns what came before it.
    pub fn ping(&mut self) -> Vec<Packet> {
        self.send(&[0xc0, 0]);
        let mut before = Vec::new();
        loop {
            match self.next() {
                (0xd0, _) => return before,
                packet => before.push(packet),
            }
        }
    }

    /// The next packet.
    pub fn next(&mut self) -> Packet {
        loop {
            if let Ok(Some(frame)) = tidegate::mqtt::split(&self.seen, usize::MAX) {
                let (packet, length) = ((frame.first, frame.body.to_vec()), frame.raw.len());
                self.seen.drain(..length);
                return packet;
            }
            let mut buffer = [0; 4_096];
            let n = self.stream.read(&mut buffer).expect("the broker answers in time");
            assert!(n > 0, "the broker closed the connection");
            self.seen.extend_from_slice(buffer.get(..n).expect("it was read"));
        }
    }
}

/// `id` 0: QoS 0.
pub fn publish(topic: &str, body: &[u8], id: u16) -> Vec<u8> {
    let id_bytes = id.to_be_bytes();
    let (first, id_bytes): (u8, &[u8]) = if id == 0 { (0x30, &[]) } else { (0x32, &id_bytes) };
    packet(first, &[&string(topic), id_bytes, body])
}

fn packet(first: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut bytes = vec![first];
    tidegate::mqtt::encode::remaining_length(&mut bytes, content.len());
    bytes.extend(content);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short string");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}
