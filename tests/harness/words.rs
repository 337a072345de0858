//! A client that speaks packets as words (`packet`) and never blocks: many of them in one thread, each as far as the broker lets it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use tidegate::clock;

use super::packet::{Ids, decode, encode};

/// For one packet that is waited for.
const WITHIN: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub struct Words {
    stream: TcpStream,
    version: u8,
    seen: Vec<u8>,
    over: bool,
    /// Packets that [`Words::next`] was not asked for yet.
    ahead: VecDeque<Vec<String>>,
}

impl Words {
    /// `None` while nobody listens.
    pub fn open(port: u16, version: u8) -> Option<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_nonblocking(true).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Some(Self { stream, version, seen: Vec::new(), over: false, ahead: VecDeque::new() })
    }

    /// Sends a packet; what the other end no longer takes is lost with the connection.
    pub fn send(&mut self, packet: &str) {
        let bytes = encode(self.version, packet, &Ids::new());
        let mut rest = &bytes[..];
        while !rest.is_empty() && !self.over {
            match self.stream.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => std::thread::yield_now(),
                Err(_) => self.over = true,
            }
        }
    }

    /// The next packet, of a client that waits for it.
    pub fn next(&mut self, what: &str) -> Vec<String> {
        let deadline = clock::mono() + WITHIN;
        loop {
            let packets = self.packets();
            self.ahead.extend(packets);
            if let Some(packet) = self.ahead.pop_front() {
                return packet;
            }
            assert!(!self.over && clock::mono() < deadline, "waited in vain for: {what}");
            clock::block_for(Duration::from_millis(1));
        }
    }

    /// The packets that have come.
    pub fn packets(&mut self) -> Vec<Vec<String>> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.over = true,
                Ok(n) => {
                    self.seen.extend_from_slice(&buffer[..n]);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.over = true,
            }
            break;
        }
        let (mut packets, mut used): (Vec<_>, usize) = (self.ahead.drain(..).collect(), 0);
        while let Ok(Some(frame)) = tidegate::mqtt::split(&self.seen[used..], usize::MAX) {
            packets.push(decode(self.version, frame.first, frame.body));
            used += frame.raw.len();
        }
        self.seen.drain(..used);
        packets
    }

    /// The connection is over, and all that came before its end was given out.
    pub const fn is_over(&self) -> bool {
        self.over
    }
}

/// The packet id in a packet's words; 0 where there is none.
pub fn id_of(packet: &[String]) -> u16 {
    packet.iter().find_map(|word| word.strip_prefix('#')?.parse().ok()).unwrap_or(0)
}

/// Topic and body of a PUBLISH.
pub fn message_of(packet: &[String]) -> (String, String) {
    let at = packet.iter().position(|word| word.starts_with('"')).expect("a body");
    (packet[at - 1].clone(), packet[at].trim_matches('"').to_owned())
}
