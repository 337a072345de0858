//! Listening sockets → connections, or people at the doors.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::super::door::{Arrival, At, Bound, Peer};
use super::super::{Error, Listener};
use super::connection::Connection;
use super::doors::News;
use super::recheck;
use super::shell::Shell;
use super::socket::{Layered, Socket, Stream};
use crate::{clock, unix_socket};

/// After an accept that failed for want of something: descriptors, memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1_024;

/// The group that may connect to a unix socket, where the site names none and there is such a group.
const GROUP: &str = "tidegate";

/// A socket that listens.
#[derive(Debug)]
pub(in crate::broker) enum Listening {
    Tcp(TcpListener),
    Unix(UnixDoor),
}

/// Its file goes when this is dropped.
#[derive(Debug)]
pub(in crate::broker) struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    peer_users: bool,
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        unix_socket::remove(&self.path);
    }
}

/// Binds all listeners, in order.
pub(in crate::broker) fn bind(listeners: &[Listener]) -> Result<Vec<(Listening, Bound)>, Error> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let fail = |source| Error::Listen { at: listener.at.clone(), source };
        let (socket, told) = match &listener.at {
            At::Tcp(address) => tcp(*address, listener).map_err(fail)?,
            At::Unix(path) => (Listening::Unix(unix(path, listener).map_err(fail)?), Bound { url: listener.at.to_string(), address: None }),
        };
        tracing::info!(at = told.url, name = &*listener.name, "broker listens");
        bound.push((socket, told));
    }
    Ok(bound)
}

fn tcp(address: SocketAddr, listener: &Listener) -> io::Result<(Listening, Bound)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // What the system does without being told is its administrator's choice.
        rustix::net::sockopt::set_ipv6_v6only(&socket, listener.v6_only)?;
    }
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG)?;
    // Each accepted socket takes it from here.
    if let Err(error) = rustix::net::sockopt::set_tcp_nodelay(&socket, true) {
        tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
    }
    let address = socket.local_addr()?;
    let path = listener.web.as_ref().and_then(|web| web.path.as_deref()).unwrap_or_default();
    Ok((Listening::Tcp(socket), Bound { url: format!("{}://{address}{path}", listener.scheme()), address: Some(address) }))
}

fn unix(path: &Path, listener: &Listener) -> io::Result<UnixDoor> {
    let socket = unix_socket::bind(path)?;
    let door = UnixDoor { listener: UnixListener::from_std(socket)?, path: path.to_owned(), peer_users: listener.peer_users };
    match (unix_socket::give_to_group(path, listener.group.as_deref().unwrap_or(GROUP)), &listener.group) {
        (Ok(()), _) => {}
        // Nobody has asked for it.
        (Err(error), None) => tracing::debug!(%error, group = GROUP, "the socket keeps its group"),
        (Err(error), Some(group)) => {
            return Err(io::Error::new(error.kind(), format!("the socket cannot be given to the group {group}: {error}")));
        }
    }
    Ok(door)
}

/// Accepts for as long as the thread lives.
pub(in crate::broker) async fn run(listening: Listening, index: u16, shell: Rc<Shell>) {
    match listening {
        Listening::Tcp(listener) => {
            let mut pause = Pause::default();
            loop {
                if let Some((stream, peer)) = pause.after(listener.accept().await).await {
                    begin(Stream::Tcp(stream), Arrival { listener: index, peer: peer.into(), user: None }, &shell);
                }
            }
        }
        Listening::Unix(door) => {
            let mut pause = Pause::default();
            loop {
                if let Some((stream, _)) = pause.after(door.listener.accept().await).await {
                    begin_unix(stream, index, door.peer_users, &shell);
                }
            }
        }
    }
}

/// Takes what comes from the doors' thread.
pub(in crate::broker) async fn receive(mut news: mpsc::Receiver<News>, shell: Rc<Shell>) {
    while let Some(news) = news.recv().await {
        match news {
            News::Arrived(guest) => {
                let pipe = match guest.pipe.unpack() {
                    Ok(pipe) => pipe,
                    Err(error) => {
                        tracing::debug!(%error, "a connection could not be moved");
                        continue;
                    }
                };
                let stream = match guest.web {
                    None if pipe.is_plain() => Stream::Tcp(pipe.into_tcp()),
                    web => Stream::Layered(Box::new(Layered { pipe, web })),
                };
                if let Some(id) = begin(stream, guest.arrival, &shell) {
                    shell.broker.borrow_mut().opened_at(id, guest.since);
                }
            }
            News::Reached { limit, peer, times } => shell.broker.borrow_mut().reached_outside(limit, peer, times, clock::now()),
            News::Renewed(renewed) => recheck::run(&renewed, &shell).await,
        }
    }
}

fn begin_unix(stream: UnixStream, index: u16, peer_users: bool, shell: &Rc<Shell>) {
    let Ok(peer) = stream.peer_cred() else { return };
    let (uid, pid) = (peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default());
    let user = peer_users.then(|| unix_socket::name_of_user(uid).map_or_else(|| format!("unix:uid:{uid}"), |name| format!("unix:{name}")));
    begin(Stream::Unix(stream), Arrival { listener: index, peer: Peer::Unix { uid, pid }, user: user.map(Into::into) }, shell);
}

fn begin(stream: Stream, arrival: Arrival, shell: &Rc<Shell>) -> Option<super::super::id::ConnId> {
    let peer = arrival.peer;
    let opened = shell.broker.borrow_mut().open(arrival, clock::now());
    // A stranger may have had to go for it.
    shell.settle();
    let Some(id) = opened else {
        tracing::debug!(%peer, "connection closed: there are as many as may be");
        return None;
    };
    shell.add(id, Socket::new(stream));
    spawn_local(Connection::new(id, Rc::clone(shell)));
    Some(id)
}

/// Between accepts that fail.
#[derive(Debug, Default)]
pub(in crate::broker) struct Pause {
    failing: bool,
}

impl Pause {
    /// What was accepted; a while after an accept that failed.
    pub(in crate::broker) async fn after<S, A>(&mut self, accepted: io::Result<(S, A)>) -> Option<(S, A)> {
        match accepted {
            Ok(accepted) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("connections are accepted again");
                }
                Some(accepted)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot accept connections for now");
                }
                clock::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

/// A listening socket on its way to another thread.
pub(in crate::broker) fn pack(listening: Listening) -> io::Result<std::net::TcpListener> {
    match listening {
        Listening::Tcp(listener) => listener.into_std(),
        Listening::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// For the doors' thread.
pub(in crate::broker) fn unpack(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}
