//! Clients of our own at the broker's doors, by TCP, TLS, WebSocket and both: raw enough to stop reading, and to be counted.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};

use super::certificates::Certificates;
use super::mosquitto::free_port;

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(10);

/// What a connection is to a client.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// An MQTT client.
pub struct Client {
    stream: Box<dyn Stream>,
    web: bool,
    /// Bytes of the WebSocket frame that is being read.
    frame: usize,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("web", &self.web).finish_non_exhaustive()
    }
}

/// Lines of a door of this scheme at a free port of loopback.
pub fn door(scheme: &str, certificates: &Certificates) -> (u16, String) {
    let port = free_port();
    let (cert, key) = (certificates.server.0.display(), certificates.server.1.display());
    let files = if is_secure(scheme) { format!("cert = \"{cert}\"\nkey = \"{key}\"\n") } else { String::new() };
    (port, format!("[[broker.listener]]\nurl = \"{scheme}://127.0.0.1:{port}\"\n{files}"))
}

fn is_secure(scheme: &str) -> bool {
    matches!(scheme, "tls" | "wss")
}

/// What a client of TLS wants; with `resume` it comes back by a ticket.
pub fn config(certificates: &Certificates, resume: bool) -> Arc<ClientConfig> {
    let mut config = builder(certificates).with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn builder(certificates: &Certificates) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).expect("a certificate")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    builder.with_root_certificates(roots)
}

/// A client's side of TLS that shows this certificate.
pub fn showing(certificates: &Certificates, (cert, key): &(PathBuf, PathBuf)) -> ClientConnection {
    let chain = vec![CertificateDer::from_pem_file(cert).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = builder(certificates).with_client_auth_cert(chain, key).expect("a client");
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").expect("a name")).expect("a client")
}

/// A connection that has said nothing yet.
pub fn open(port: u16, tls: Option<&Arc<ClientConfig>>) -> Box<dyn Stream> {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    tcp.set_nodelay(true).expect("a socket");
    tcp.set_read_timeout(Some(WITHIN)).expect("a socket");
    let Some(config) = tls else { return Box::new(tcp) };
    let name = ServerName::try_from("localhost").expect("a name");
    Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), tcp))
}

/// Opens a WebSocket.
pub fn upgrade(stream: &mut dyn Stream) {
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        seen.extend(byte);
    }
}

impl Client {
    /// At a door of this scheme; a client of 3.1.1 that has its CONNACK.
    pub fn connect(scheme: &str, port: u16, config: &Arc<ClientConfig>, id: &str) -> Self {
        let web = scheme.starts_with('w');
        let mut stream = open(port, is_secure(scheme).then_some(config));
        if web {
            upgrade(&mut *stream);
        }
        let mut client = Self { stream, web, frame: 0 };
        let length = u8::try_from(id.len()).expect("a short name");
        client.say(&[&[0x10, 12 + length, 0, 4][..], b"MQTT\x04\x02\0\0\0", &[length], id.as_bytes()].concat());
        assert_eq!(client.next(), (0x20, vec![0, 0]), "CONNACK");
        client
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let length = u8::try_from(filter.len()).expect("a short filter");
        self.say(&[&[0x82, 5 + length, 0, 1, 0, length], filter.as_bytes(), &[qos]].concat());
        assert_eq!(self.next(), (0x90, vec![0, 1, qos]), "SUBACK");
    }

    /// A short packet.
    pub fn say(&mut self, packet: &[u8]) {
        let length = u8::try_from(packet.len()).ok().filter(|length| *length < 126).expect("a short packet");
        // The mask is zero, which is one.
        let frame = if self.web { [&[0x82, 0x80 | length, 0, 0, 0, 0], packet].concat() } else { packet.to_vec() };
        self.stream.write_all(&frame).expect("it is taken");
        self.stream.flush().expect("it is taken");
    }

    /// Bytes as they are.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("it is taken");
    }

    /// The next packet: its first byte, and what follows its length.
    pub fn next(&mut self) -> (u8, Vec<u8>) {
        let [first] = self.bytes();
        let (mut length, mut shift) = (0, 0);
        loop {
            let [digit] = self.bytes();
            length |= usize::from(digit & 0x7f) << shift;
            shift += 7;
            if digit < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.read(&mut body);
        (first, body)
    }

    /// What comes before the end of all, where that is said in the way of each layer.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut left = Vec::new();
        // A client of TLS finds an end that was not said to be an error.
        self.stream.read_to_end(&mut left).map(|_| left)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(&mut bytes);
        bytes
    }

    fn read(&mut self, mut buffer: &mut [u8]) {
        while self.web && !buffer.is_empty() {
            if self.frame == 0 {
                self.frame = self.frame_length();
            }
            let (part, rest) = buffer.split_at_mut(self.frame.min(buffer.len()));
            self.stream.read_exact(part).expect("an answer");
            self.frame -= part.len();
            buffer = rest;
        }
        self.stream.read_exact(buffer).expect("an answer");
    }

    fn frame_length(&mut self) -> usize {
        let mut raw = |bytes: &mut [u8]| self.stream.read_exact(bytes).expect("a frame");
        let (mut head, mut two, mut eight) = ([0; 2], [0; 2], [0; 8]);
        raw(&mut head);
        assert_eq!(head[0], 0x82, "a whole binary message [MQTT-6.0.0-1]");
        match head[1] {
            126 => raw(&mut two),
            127 => raw(&mut eight),
            short => return short.into(),
        }
        if head[1] == 126 { u16::from_be_bytes(two).into() } else { usize::try_from(u64::from_be_bytes(eight)).expect("a length") }
    }
}
