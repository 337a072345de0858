//! A hand-written upstream that does what no good broker does. One thread a connection; MQTT 5.0 and 3.1.1, as the client asks, as far as a
//! publishing client needs them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
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
    /// PUBACK with this reason code (5.0).
    Code(u8),
    /// DISCONNECT with this reason code and these properties (5.0), then close.
    Dismiss(u8, Vec<u8>),
}

/// What to do on a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// Lets it in, by these properties if it speaks 5.0.
    In(Vec<u8>),
    /// CONNACK of 5.0 with this reason code, then close.
    Refuse(u8),
    /// As a broker that knows 3.1.1 only: these bytes to any other version, then close.
    Only311(&'static [u8]),
}

/// A PUBLISH as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub retain: bool,
    pub packet_id: u16,
    /// Of 5.0, without their length.
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Publish {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
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
    pings: AtomicUsize,
    /// Protocol levels, in order.
    levels: Mutex<Vec<u8>>,
    publishes: Mutex<Vec<Publish>>,
    acked: Mutex<Vec<Vec<u8>>>,
}

impl FakeUpstream {
    /// Lets everybody in and asks `policy` about each payload. It lives as long as the process.
    pub fn start(policy: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), policy)
    }

    /// At another address of this machine.
    pub fn start_at(address: IpAddr, policy: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        Self::bind(address, Welcome::In(Vec::new()), Arc::new(policy))
    }

    /// With another answer to CONNECT.
    pub fn welcoming(welcome: Welcome, policy: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        Self::bind(Ipv4Addr::LOCALHOST.into(), welcome, Arc::new(policy))
    }

    fn bind(address: IpAddr, welcome: Welcome, policy: Arc<Policy>) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, policy, welcome) = (shared.clone(), policy.clone(), welcome.clone());
                thread::spawn(move || serve(stream, &seen, &welcome, &*policy));
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

    /// PINGREQ packets so far.
    pub fn pings(&self) -> usize {
        self.seen.pings.load(Ordering::Relaxed)
    }

    /// The protocol level of each CONNECT, in order.
    pub fn levels(&self) -> Vec<u8> {
        lock(&self.seen.levels).clone()
    }

    /// All that came, in order.
    pub fn publishes(&self) -> Vec<Publish> {
        lock(&self.seen.publishes).clone()
    }

    /// The payloads that were acknowledged, as texts, in order.
    pub fn acked(&self) -> Vec<String> {
        lock(&self.seen.acked).iter().map(|payload| String::from_utf8_lossy(payload).into_owned()).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, seen: &Seen, welcome: &Welcome, policy: &Policy) -> io::Result<()> {
    let mut level = 0;
    loop {
        let (kind, body) = packet(&mut stream)?;
        match kind >> 4 {
            1 => {
                level = body[6];
                seen.connects.fetch_add(1, Ordering::Relaxed);
                lock(&seen.levels).push(level);
                if !greet(&mut stream, welcome, level)? {
                    return Ok(());
                }
            }
            3 => {
                let publish = publish(kind, &body, level);
                lock(&seen.publishes).push(publish.clone());
                match policy(&publish.payload) {
                    Answer::Ack => {
                        lock(&seen.acked).push(publish.payload.clone());
                        stream.write_all(&[0x40, 2, body_id(&publish)[0], body_id(&publish)[1]])?;
                    }
                    Answer::Close => return Ok(()),
                    Answer::Nothing => {}
                    Answer::Bytes(bytes) => stream.write_all(&bytes)?,
                    Answer::Code(code) => stream.write_all(&[0x40, 3, body_id(&publish)[0], body_id(&publish)[1], code])?,
                    Answer::Dismiss(code, properties) => {
                        stream.write_all(&with_length(0xe0, &[&[code, properties.len() as u8], &properties[..]].concat()))?;
                        // A close with bytes unread would be a reset, which overtakes what was said.
                        stream.shutdown(Shutdown::Write)?;
                        return io::copy(&mut stream, &mut io::sink()).map(drop);
                    }
                }
            }
            12 => {
                seen.pings.fetch_add(1, Ordering::Relaxed);
                stream.write_all(&[0xd0, 0])?;
            }
            _ => return Ok(()),
        }
    }
}

/// Whether it is let in.
fn greet(stream: &mut TcpStream, welcome: &Welcome, level: u8) -> io::Result<bool> {
    match welcome {
        Welcome::Only311(answer) if level != 4 => stream.write_all(answer)?,
        Welcome::Refuse(code) => stream.write_all(&[0x20, 3, 0, *code, 0])?,
        Welcome::In(properties) if level == 5 => {
            stream.write_all(&with_length(0x20, &[&[0, 0, properties.len() as u8], &properties[..]].concat()))?;
            return Ok(true);
        }
        _ => {
            stream.write_all(&[0x20, 2, 0, 0])?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn body_id(publish: &Publish) -> [u8; 2] {
    publish.packet_id.to_be_bytes()
}

fn publish(kind: u8, body: &[u8], level: u8) -> Publish {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let (topic, rest) = body[2..].split_at(topic);
    let (packet_id, mut payload) = rest.split_at(2);
    let mut properties = Vec::new();
    if level == 5 {
        let (length, after) = varint(payload);
        properties = after[..length].to_vec();
        payload = &after[length..];
    }
    Publish {
        topic: String::from_utf8_lossy(topic).into_owned(),
        retain: kind & 1 != 0,
        packet_id: u16::from_be_bytes([packet_id[0], packet_id[1]]),
        properties,
        payload: payload.to_vec(),
    }
}

/// A short packet of this first byte.
fn with_length(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 0x80, "one byte of length");
    [&[kind, body.len() as u8], body].concat()
}

/// A variable byte integer, and what follows it.
fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("it ends");
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[end + 1..])
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
