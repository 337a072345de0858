//! The way of one stranger through a door: PROXY header, TLS, the opening of a WebSocket, as far as the listener has them.

use std::io;
use std::sync::Arc;

use super::super::door::Peer;
use super::doors::{Door, Hall};
use super::pipe::Pipe;
use super::tls;
use super::web::Frames;
use crate::transport::{proxy, upgrade};

/// Bytes of an HTTP request read at a time.
const REQUEST_READ: usize = 1 << 10;

/// Who has come through, and with what.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) user: Option<Arc<str>>,
    pub(super) web: Option<Box<Frames>>,
    /// Read beyond the request that opened the WebSocket.
    pub(super) early: Vec<u8>,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("not one of the listener's proxies")]
    NoProxy,
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    #[error("WebSocket: {0}")]
    Upgrade(upgrade::Refusal),
    #[error("TLS: the certificate is accepted no more: the files were read anew meanwhile")]
    Revoked,
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// All that comes before MQTT. `peer` is whom the connection turns out to be of.
pub(super) async fn pass(pipe: &mut Pipe, peer: &mut Peer, id: u64, door: &Door, hall: &Hall) -> Result<Passed, Trouble> {
    let mut passed = Passed::default();
    if !door.listener.proxy_from.is_empty()
        && let Some(client) = behind_proxy(pipe).await?
    {
        *peer = client;
        hall.is_of(id, client);
    }
    let secured = door.secured.borrow().clone();
    if let Some(secured) = secured {
        pipe.shake_hands(secured.config).await.map_err(Trouble::Tls)?;
        let clients = door.listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        let chain = pipe.tls().and_then(|tls| tls.peer_certificates());
        passed.user = chain.zip(clients).and_then(|(chain, clients)| tls::user_of(chain, clients));
    }
    if let Some(rules) = &door.rules {
        passed.early = open_web(pipe, rules).await?;
        passed.web = Some(Box::default());
    }
    Ok(passed)
}

/// Whom the proxy's connection is of; `None`: of the proxy, or of somebody of whom it knows no address.
async fn behind_proxy(pipe: &mut Pipe) -> Result<Option<Peer>, Trouble> {
    let mut header = Vec::new();
    loop {
        match proxy::parse(&header)? {
            proxy::Progress::Whole { client: proxy::Client::Address(address), .. } => return Ok(Some(address.into())),
            proxy::Progress::Whole { .. } => return Ok(None),
            proxy::Progress::More(more) => {
                // It says how long it is within its first bytes, and that is bounded.
                let length = header.len();
                header.resize(length + more, 0);
                let n = pipe.read(header.get_mut(length..).unwrap_or_default()).await?;
                if n == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                header.truncate(length + n);
            }
        }
    }
}

/// What was read beyond the request.
async fn open_web(pipe: &mut Pipe, rules: &upgrade::Rules) -> Result<Vec<u8>, Trouble> {
    let mut request = Vec::new();
    loop {
        match upgrade::parse(&request, rules) {
            upgrade::Progress::Accepted { length, answer } => {
                pipe.write_all(answer.as_bytes()).await?;
                request.drain(..length);
                return Ok(request);
            }
            upgrade::Progress::Refused(refusal) => {
                pipe.write_all(refusal.answer().as_bytes()).await?;
                pipe.close().await;
                return Err(Trouble::Upgrade(refusal));
            }
            upgrade::Progress::More => {
                let length = request.len();
                request.resize(length + REQUEST_READ, 0);
                let n = pipe.read(request.get_mut(length..).unwrap_or_default()).await?;
                if n == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                request.truncate(length + n);
            }
        }
    }
}
