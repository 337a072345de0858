//! Listening sockets → connections.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::super::door::{Arrival, At};
use super::super::{Error, Listener};
use super::connection::Connection;
use super::shell::Shell;
use super::socket::Socket;
use crate::clock;

/// After an accept that failed for want of something: descriptors, memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds all listeners, in order.
pub(in crate::broker) async fn bind(listeners: &[Listener]) -> Result<Vec<TcpListener>, Error> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let fail = |source| Error::Listen { at: listener.at.clone(), source };
        let At::Tcp(address) = listener.at else { return Err(fail(std::io::ErrorKind::Unsupported.into())) };
        if listener.has_threshold() {
            return Err(fail(std::io::ErrorKind::Unsupported.into()));
        }
        let socket = TcpListener::bind(address).await.map_err(fail)?;
        // Each accepted socket takes it from here.
        if let Err(error) = rustix::net::sockopt::set_tcp_nodelay(&socket, true) {
            tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        tracing::info!(%address, restricted = listener.restricted, "broker listens");
        bound.push(socket);
    }
    Ok(bound)
}

/// Accepts for as long as the thread lives.
pub(in crate::broker) async fn run(listener: TcpListener, index: u16, shell: Rc<Shell>) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("connections are accepted again");
                }
                begin(stream, Arrival { listener: index, peer: peer.into(), user: None }, &shell);
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections for now");
                }
                clock::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn begin(stream: TcpStream, arrival: Arrival, shell: &Rc<Shell>) {
    let peer = arrival.peer;
    let opened = shell.broker.borrow_mut().open(arrival, clock::now());
    let Some(id) = opened else {
        tracing::debug!(%peer, "connection closed: there are connections_max already");
        return;
    };
    shell.add(id, Socket::new(stream));
    spawn_local(Connection::new(id, Rc::clone(shell)));
}
