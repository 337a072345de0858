//! The doors: where clients come in, and what is known of one before it has said a word of MQTT.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::limits::Limits;

/// One `[[broker.listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique among the listeners; rights may depend on it.
    pub name: Arc<str>,
    pub at: At,
    /// An IPv6 address takes IPv4, too, unless this is set.
    pub v6_only: bool,
    /// The unix socket's group; `None`: `tidegate` if there is one.
    pub group: Option<String>,
    /// Whoever connects to the unix socket is the user `unix:NAME`, by the kernel's word.
    pub peer_users: bool,
    /// Connections from here begin with a PROXY header, all others are refused. Empty: there is no such header.
    pub proxy_from: Vec<Network>,
    pub tls: Option<Tls>,
    pub web: Option<Web>,
    /// Clients that name no user are let in.
    pub anonymous: bool,
    /// The file of those who may come in by name and password; `None`: nobody may.
    pub users: Option<PathBuf>,
    /// The file of their rights; `None`: those that are built in.
    pub acl: Option<PathBuf>,
    /// Its connections; one more is closed at once. `None`: as many as the broker has.
    pub connections_max: Option<usize>,
    pub own: OwnLimits,
}

impl Listener {
    /// Without TLS, WebSocket or users.
    pub const fn plain(name: Arc<str>, at: At) -> Self {
        Self {
            name,
            at,
            v6_only: false,
            group: None,
            peer_users: false,
            proxy_from: Vec::new(),
            tls: None,
            web: None,
            anonymous: true,
            users: None,
            acl: None,
            connections_max: None,
            own: OwnLimits::NONE,
        }
    }

    /// The limits that hold for its connections, where they are others than `all`.
    pub(super) fn limits(&self, all: &Limits) -> Option<Box<Limits>> {
        let Self { connections_max, own, .. } = self;
        let limits = Limits {
            connections_max: connections_max.unwrap_or(all.connections_max),
            connections_per_address: own.connections_per_address.or(all.connections_per_address),
            packet_max: own.packet_max.map_or(all.packet_max, |max| max.min(all.packet_max)),
            keep_alive_max: own.keep_alive_max.unwrap_or(all.keep_alive_max),
            connect_timeout: own.connect_timeout.unwrap_or(all.connect_timeout),
            publish_rate: own.publish_rate.unwrap_or(all.publish_rate),
            ..all.clone()
        };
        (limits != *all).then(|| Box::new(limits))
    }

    /// Whether the door itself may say that somebody is this user: by a certificate, or by the kernel's word.
    pub(super) fn may_name(&self, user: &str) -> bool {
        let clients = self.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        let mapped = clients.is_some_and(|clients| clients.names.values().any(|name| **name == *user));
        mapped || user.starts_with("cert:") || user.starts_with("unix:")
    }

    /// Whether something comes before MQTT: PROXY header, TLS, WebSocket.
    pub const fn has_threshold(&self) -> bool {
        self.tls.is_some() || self.web.is_some() || !self.proxy_from.is_empty()
    }

    /// Whether the door itself may know who comes in: by a certificate, or by the kernel's word.
    pub(super) fn names_clients(&self) -> bool {
        self.peer_users || self.tls.as_ref().is_some_and(|tls| tls.clients.is_some())
    }

    /// `tcp`, `tls`, `ws`, `wss` or `unix`.
    pub const fn scheme(&self) -> &'static str {
        match (&self.at, &self.tls, &self.web) {
            (At::Unix(_), ..) => "unix",
            (_, None, None) => "tcp",
            (_, Some(_), None) => "tls",
            (_, None, Some(_)) => "ws",
            (_, Some(_), Some(_)) => "wss",
        }
    }
}

/// Limits of a listener, in place of those of the broker. `None`: as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLimits {
    pub connections_per_address: Option<usize>,
    /// At most the broker's.
    pub packet_max: Option<usize>,
    /// Seconds.
    pub keep_alive_max: Option<u16>,
    pub connect_timeout: Option<Duration>,
    pub publish_rate: Option<u32>,
}

impl OwnLimits {
    pub const NONE: Self =
        Self { connections_per_address: None, packet_max: None, keep_alive_max: None, connect_timeout: None, publish_rate: None };
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

/// The files of a listener's TLS, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, the listener's own certificate first.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Clients are asked for a certificate.
    pub clients: Option<Clients>,
}

/// What is expected of clients' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// Authorities that sign them.
    pub ca: PathBuf,
    /// Clients without one are refused.
    pub required: bool,
    /// Revocation lists of those authorities.
    pub crl: Option<PathBuf>,
    /// Common name → user; the user of one that is not here is `cert:CN`.
    pub names: BTreeMap<String, Arc<str>>,
}

/// A WebSocket listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Begins with `/`. `None`: any.
    pub path: Option<String>,
    /// Origins whose pages may connect, as browsers write them. Empty: only clients that are no browser.
    pub origins: Vec<String>,
    /// Names by which clients may call this machine, beside its addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// All addresses with the first `prefix` bits of `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => (net.to_bits() ^ ip.to_bits()).leading_zeros() >= self.prefix.into(),
            (IpAddr::V6(net), IpAddr::V6(ip)) => (net.to_bits() ^ ip.to_bits()).leading_zeros() >= self.prefix.into(),
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = ();

    /// `10.0.0.5`, `10.0.0.0/8`, `fd00::/8`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(drop)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(drop))?;
        (prefix <= bits).then_some(Self { address, prefix }).ok_or(())
    }
}

/// A listener that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// As the site's file would say it, with the port that it got.
    pub url: String,
    /// `None`: a unix socket.
    pub address: Option<SocketAddr>,
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

impl Peer {
    /// What counts as one address where there is a limit for each: of IPv6 the 64 bits that one subscriber has at least.
    pub const fn origin(self) -> Origin {
        match self {
            Self::Ip { address: IpAddr::V6(ip), .. } => Origin::Ip(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))),
            Self::Ip { address, .. } => Origin::Ip(address),
            Self::Unix { uid, .. } => Origin::Unix(uid),
        }
    }

    /// On this machine.
    pub const fn is_local(self) -> bool {
        match self {
            Self::Ip { address, .. } => address.is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

/// See [`Peer::origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Ip(IpAddr),
    Unix(u32),
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

/// The user of most tests.
#[cfg(any(test, feature = "fuzz"))]
pub(super) const SOMEBODY: &str = "somebody";

/// For tests: two doors.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn two() -> Vec<Listener> {
    let at = At::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    ["open", "restricted"].map(|name| Listener::plain(name.into(), at.clone())).into()
}

/// For tests: [`SOMEBODY`], or nobody, who may do less.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn somebody(restricted: bool) -> Arrival {
    let user = (!restricted).then(|| SOMEBODY.into());
    Arrival { listener: restricted.into(), peer: SocketAddr::from(([127, 0, 0, 1], 1)).into(), user }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_first_bits() {
        let rows = [
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.6", false),
            ("10.0.0.5", "::ffff:10.0.0.5", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdff::1", true),
            ("::1", "::1", true),
            ("::/0", "10.0.0.1", false),
        ];
        for (network, address, within) in rows {
            let network: Network = network.parse().expect("a network");
            assert_eq!(network.contains(address.parse().expect("an address")), within, "{network:?} {address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "host", "10.0.0/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_addresses_of_one_subscriber_have_one_origin() {
        let origin = |text: &str| Peer::from(text.parse::<SocketAddr>().expect("an address")).origin();
        assert_eq!(origin("[2001:db8:0:1::1]:1"), origin("[2001:db8:0:1:ffff::2]:2"));
        assert_ne!(origin("[2001:db8:0:1::1]:1"), origin("[2001:db8:0:2::1]:1"));
        assert_eq!(origin("[::ffff:192.0.2.1]:1"), origin("192.0.2.1:2"));
        assert_ne!(origin("192.0.2.1:1"), origin("192.0.2.2:1"));
    }
}
