//! The client's sockets.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Error;
use crate::bridge::{self, Tls};

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp {
        /// A name, or an address without brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Both directions of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Has no deadline of its own.
pub(super) async fn open(address: &Address, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Error> {
    let failed = |source| Error::Connect { address: address.to_string(), source };
    let (host, stream) = match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            return secured("localhost", Box::new(stream), tls, address).await;
        }
        Address::Tcp { host, port } => (host, TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?),
    };
    // It only makes answers later.
    let _ = stream.set_nodelay(true);
    secured(host, Box::new(stream), tls, address).await
}

async fn secured(host: &str, stream: Box<dyn Stream>, tls: Option<&Tls>, address: &Address) -> Result<Box<dyn Stream>, Error> {
    let Some(tls) = tls else { return Ok(stream) };
    let config = bridge::client_config(tls)?;
    let name = match host.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|_| Error::ServerName(host.to_owned()))?,
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
    let secured = connector.connect(name, stream).await;
    secured.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|source| Error::Tls { address: address.to_string(), source })
}
