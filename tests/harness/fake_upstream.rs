//! A hand-written upstream that does what no good broker does. One thread a connection; MQTT 3.1.1 as far as a publishing client needs it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What to do on a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Ack,
    /// Close the connection, without an answer.
    Close,
    /// Do nothing; pings are answered all the same.
    Nothing,
    /// Send these bytes instead.
    Bytes(Vec<u8>),
}

type Policy = dyn Fn(&[u8]) -> Answer + Send + Sync;

#[derive(Debug)]
pub struct FakeUpstream {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    connects: AtomicUsize,
    acked: Mutex<Vec<Vec<u8>>>,
}

impl FakeUpstream {
    /// Lets everybody in and asks `policy` about each payload. It lives as long as the process.
    pub fn start(policy: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), policy)
    }

    /// At another address of this machine.
    pub fn start_at(address: IpAddr, policy: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Seen::default());
        let policy: Arc<Policy> = Arc::new(policy);
        let shared = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, policy) = (shared.clone(), policy.clone());
                thread::spawn(move || serve(stream, &seen, &*policy));
            }
        });
        Self { port, seen }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// CONNECT packets so far.
    pub fn connects(&self) -> usize {
        self.seen.connects.load(Ordering::Relaxed)
    }

    /// The payloads that were acknowledged, as texts, in order.
    pub fn acked(&self) -> Vec<String> {
        let acked = self.seen.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.iter().map(|payload| String::from_utf8_lossy(payload).into_owned()).collect()
    }
}

fn serve(mut stream: TcpStream, seen: &Seen, policy: &Policy) -> io::Result<()> {
    loop {
        let (kind, body) = packet(&mut stream)?;
        match kind >> 4 {
            1 => {
                seen.connects.fetch_add(1, Ordering::Relaxed);
                stream.write_all(&[0x20, 2, 0, 0])?;
            }
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let (packet_id, payload) = body[2 + topic..].split_at(2);
                match policy(payload) {
                    Answer::Ack => {
                        seen.acked.lock().unwrap_or_else(PoisonError::into_inner).push(payload.to_vec());
                        stream.write_all(&[0x40, 2, packet_id[0], packet_id[1]])?;
                    }
                    Answer::Close => return Ok(()),
                    Answer::Nothing => {}
                    Answer::Bytes(bytes) => stream.write_all(&bytes)?,
                }
            }
            12 => stream.write_all(&[0xd0, 0])?,
            _ => return Ok(()),
        }
    }
}

/// First byte and what follows the remaining length.
fn packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}
