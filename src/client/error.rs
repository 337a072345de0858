//! What can go wrong for a client.

use std::io;
use std::path::PathBuf;

use crate::bridge::TlsError;
use crate::mqtt;
use crate::mqtt::client::{Farewell, Refused};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    #[error("no TLS connection to {address}")]
    Tls { address: String, source: io::Error },
    #[error("the TLS files")]
    TlsFiles(#[from] TlsError),
    #[error("{0:?} is no name that a certificate could be for")]
    ServerName(String),
    #[error("{address} did not answer in {seconds} s")]
    Late { address: String, seconds: u64 },
    #[error("the connection is refused: {refused}{}", said(text.as_deref()))]
    Refused { refused: Refused, text: Option<String> },
    #[error("{what} is refused: {refused}{}", said(text.as_deref()))]
    Denied { what: String, refused: Refused, text: Option<String> },
    /// Before CONNACK.
    #[error("the server closed the connection without an answer")]
    Unanswered,
    #[error("the server ended the connection: {refused}{}", said(text.as_deref()))]
    Ended { refused: Refused, text: Option<String> },
    #[error("the connection is lost")]
    Lost(#[source] io::Error),
    #[error("the connection is lost: nothing was heard for {0} s")]
    Silent(u64),
    #[error("what the server says is no MQTT: {0}")]
    Protocol(#[from] mqtt::Error),
    #[error("the message takes {bytes} bytes, and the server takes {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("the server takes no {0}")]
    NotTaken(&'static str),
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// What the server says of it, for people. It comes from outside: it is shown escaped.
fn said(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text:?})")).unwrap_or_default()
}

impl From<Farewell> for Error {
    fn from(farewell: Farewell) -> Self {
        Self::Ended { refused: Refused::Reason(farewell.reason), text: farewell.reason_string }
    }
}

impl Error {
    /// As mosquitto_sub and mosquitto_pub end: with the server's code where it refused something, else with libmosquitto's number.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { refused, .. } | Self::Denied { refused, .. } | Self::Ended { refused, .. } => refused.code(),
            Self::Connect { .. } | Self::File { .. } => 14,
            Self::Tls { .. } | Self::TlsFiles(_) | Self::ServerName(_) => 8,
            Self::Late { .. } | Self::Unanswered | Self::Lost(_) => 7,
            Self::Silent(_) => 19,
            Self::Protocol(_) => 2,
            Self::TooLarge { .. } => 25,
            Self::NotTaken(_) => 24,
        }
    }

    /// Whether another try, later, may go better: the network's errors, and what a server says while it starts or stops.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Late { .. } | Self::Lost(_) | Self::Silent(_) | Self::Unanswered => true,
            Self::Refused { refused, .. } | Self::Ended { refused, .. } => {
                matches!(refused.code(), 0x03 | 0x88 | 0x89 | 0x8b | 0x97 | 0x9f)
            }
            _ => false,
        }
    }
}
