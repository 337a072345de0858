//! An MQTT client for the command line's tools: 3.1, 3.1.1 and 5.0 over TCP, TLS and unix sockets.
//!
//! Job: connect, subscribe, publish and acknowledge for `tidegate sub` and `tidegate pub`. [`session`] is the protocol without I/O, on the
//! gateway's own codec; `link` moves the bytes and keeps the deadlines; `stream` is the only file that touches a socket.
//!
//! Invariants: a message of the server is acknowledged only when the caller says that it is done with it; one of the caller's is kept until the
//! server has acknowledged it, and goes again on the next connection. What a server says is a stranger's: it is checked, and it takes memory
//! only as it arrives.
//!
//! Failure: every error says what was refused and by which reason, and has the exit code that Mosquitto's users know ([`Error::exit_code`]).

mod error;
mod files;
mod link;
mod session;
mod stream;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use files::read as read_file;
pub use link::Link;
pub use session::{Event, Message, Publication, Session};
pub use stream::Address;

use std::fmt;
use std::path::Path;

use crate::bridge;
use crate::model::{QoS, Secret};
use crate::mqtt::Version;

/// A password: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// The file's text, without one newline at its end.
    ///
    /// # Errors
    /// It cannot be read, is no UTF-8, or is longer than a password may be.
    pub fn of_file(path: &Path) -> Result<Self, crate::model::SecretError> {
        bridge::read_secret(&Secret::File(path.to_owned())).map(|text| Self::new(&text))
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    pub address: Address,
    /// `None`: plain.
    pub tls: Option<bridge::Tls>,
    pub version: Version,
    pub clean: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<Password>,
    pub will: Option<Will>,
    /// Blocks of properties, encoded.
    pub connect_properties: Vec<u8>,
    pub disconnect_properties: Vec<u8>,
    /// QoS 1 and 2 messages in flight to the server; it may allow fewer.
    pub window: u16,
}

#[derive(Debug, Clone)]
pub struct Will {
    pub topic: String,
    pub body: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    /// A block of properties, encoded.
    pub properties: Vec<u8>,
}
