//! The doors: where clients come in, and what is known of one before it has said a word of MQTT.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// One `[[broker.listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique among the listeners; rights may depend on it.
    pub name: Arc<str>,
    pub at: At,
    /// `.../set` and `$` topics are closed to its clients.
    pub restricted: bool,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Somebody stands at a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Index of its listener in the options.
    pub listener: u16,
    pub peer: Peer,
    /// Who it is, where the door knows that already: by its certificate, or by what the kernel says of the process at a unix socket's other end.
    pub user: Option<Arc<str>>,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    Ip { address: IpAddr, port: u16 },
    Unix { uid: u32, pid: u32 },
}

impl From<SocketAddr> for Peer {
    /// An IPv4 address is one, also where it comes by a socket of IPv6.
    fn from(address: SocketAddr) -> Self {
        Self::Ip { address: address.ip().to_canonical(), port: address.port() }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ip { address, port } => SocketAddr::new(address, port).fmt(f),
            Self::Unix { uid, pid } => write!(f, "unix uid {uid} pid {pid}"),
        }
    }
}

/// For tests: a door without and one with restrictions.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn two() -> Vec<Listener> {
    let door = |(name, restricted): (&str, bool)| {
        let at = At::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        Listener { name: name.into(), at, restricted }
    };
    [("open", false), ("restricted", true)].map(door).into()
}

/// For tests: somebody at one of [`two`] doors.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn somebody(restricted: bool) -> Arrival {
    Arrival { listener: restricted.into(), peer: SocketAddr::from(([127, 0, 0, 1], 1)).into(), user: None }
}
