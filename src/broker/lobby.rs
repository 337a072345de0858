//! Who is let in at all: connections in all, by listener and by address, and strangers that have not sent CONNECT.

use foldhash::HashMap;

use super::crowd::Crowd;
use super::door::{Arrival, Listener, Origin, Peer};
use super::id::ConnId;
use super::limit::Limit;
use super::limits::Limits;

/// What is counted of connections, whatever they are.
#[derive(Debug)]
pub(super) struct Lobby {
    /// Those that have not sent CONNECT.
    pub(super) pending: Crowd<ConnId>,
    of_origin: HashMap<Origin, usize>,
    of_listener: Vec<usize>,
}

impl Lobby {
    pub(super) fn new(limits: &Limits, listeners: usize) -> Self {
        Self { pending: Crowd::new(limits.pending_max(), usize::MAX), of_origin: HashMap::default(), of_listener: vec![0; listeners] }
    }

    /// The limit that one more connection would pass.
    pub(super) fn limit(&self, arrival: &Arrival, limits: &Limits, listener: Option<&Listener>) -> Option<Limit> {
        // Whoever is on this machine may be a proxy for many, and has other ways to hurt it: a limit holds for it if the site gives one.
        let counts = limits.connections_per_address.is_some() || !arrival.peer.is_local();
        let here = self.of_origin.get(&arrival.peer.origin()).copied().unwrap_or_default();
        if counts && here >= limits.connections_per_address() {
            return Some(Limit::ConnectionsPerAddress);
        }
        let by_listener = self.of_listener.get(usize::from(arrival.listener)).copied().unwrap_or_default();
        let is_full = listener.and_then(|listener| listener.connections_max).is_some_and(|max| by_listener >= max);
        is_full.then_some(Limit::ConnectionsMax)
    }

    /// A connection is there; the stranger that is to go for it.
    pub(super) fn enter(&mut self, id: ConnId, peer: Peer, listener: u16) -> Option<ConnId> {
        *self.of_origin.entry(peer.origin()).or_default() += 1;
        if let Some(count) = self.of_listener.get_mut(usize::from(listener)) {
            *count += 1;
        }
        self.pending.enter(id, peer.origin())
    }

    /// A connection is gone.
    pub(super) fn leave(&mut self, id: ConnId, peer: Peer, listener: u16) {
        self.pending.leave(id);
        if let Some(count) = self.of_origin.get_mut(&peer.origin()) {
            *count -= 1;
            if *count == 0 {
                self.of_origin.remove(&peer.origin());
            }
        }
        if let Some(count) = self.of_listener.get_mut(usize::from(listener)) {
            *count -= 1;
        }
    }
}
