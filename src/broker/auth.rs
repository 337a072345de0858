//! Enhanced authentication (5.0, 4.12): AUTH packets between CONNECT and CONNACK, and again whenever the client wants it.
//!
//! How a client proves who it is is a [`Mechanism`]'s; here is the exchange around it. A CONNECT that names a method which is not known where it
//! came in is refused with 0x8C.

use std::fmt;
use std::sync::Arc;

use super::apply::Step;
use super::end::End;
use super::id::ConnId;
use super::state::Broker;
use crate::access::users::{User, Users};
use crate::model::Mono;
use crate::mqtt::packet::{Auth, Connect};
use crate::mqtt::{Error, Frame, Reason, Version, encode, split};

/// One way for a client to prove who it is.
pub(super) trait Mechanism: fmt::Debug {
    /// As CONNECT and AUTH have it (3.1.2.11.9).
    fn name(&self) -> &str;

    /// Whether a client can come in by it where these users are known.
    fn is_offered(&self, users: Option<&Users>) -> bool;

    fn begin(&self, start: Start) -> Box<dyn Exchange>;
}

/// What an exchange begins with.
#[derive(Debug)]
pub(super) struct Start {
    /// Those who are known where the client came in.
    pub(super) users: Option<Arc<Users>>,
    /// Unguessable, never the same twice; printable ASCII without a comma.
    pub(super) nonce: String,
}

/// One exchange of a mechanism with one client.
pub(super) trait Exchange: fmt::Debug {
    /// What the client says next; at first what CONNECT, or AUTH with re-authenticate, has.
    fn next(&mut self, data: Option<&[u8]>) -> Progress;
}

/// How far an exchange is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// The client is asked for more.
    Challenge(Vec<u8>),
    /// The client is this user; `data` is its to check us in turn.
    Accepted { user: Option<Arc<User>>, data: Option<Vec<u8>> },
    /// `name`: the user that it says it is.
    Refused { name: Option<Arc<str>>, why: String },
}

/// The method of a connection, and its exchange.
#[derive(Debug)]
pub(super) struct Authentication {
    /// It holds for as long as the connection [MQTT-4.12.1-1].
    method: Box<str>,
    exchange: Option<Box<dyn Exchange>>,
    /// CONNECT as it came, until it can be applied.
    connect: Vec<u8>,
    /// The exchange that it began is over, with this for the client; it may have to wait for a commit.
    accepted: Option<Vec<u8>>,
    /// When a re-authentication has taken too long; an exchange before CONNACK has what is left of `connect_timeout`.
    pub(super) deadline: Option<Mono>,
}

impl Authentication {
    /// CONNECT was taken, and is to be applied once the client has proven who it is.
    pub(super) const fn has_connect(&self) -> bool {
        !self.connect.is_empty()
    }

    /// Method and data for CONNACK.
    pub(super) fn outcome(&self) -> (&str, Option<&[u8]>) {
        (&self.method, self.accepted.as_deref())
    }
}

impl Broker {
    /// The method that a CONNECT names. True: the client is who it says it is; false: it is asked for more.
    pub(super) fn begin_authentication(&mut self, id: ConnId, connect: &Connect<'_>, frame: &Frame<'_>) -> Result<bool, End> {
        let Some((method, data)) = connect.properties.authentication else { return Ok(true) };
        let Some(conn) = self.conns.get(id) else { return Ok(false) };
        if conn.auth.as_ref().is_some_and(|auth| auth.exchange.is_none()) {
            // It was accepted, and waits for a commit.
            return Ok(true);
        }
        let exchange = Some(self.begin_exchange(id, method)?);
        let Some(conn) = self.conns.get_mut(id) else { return Ok(false) };
        conn.version = Version::V5;
        conn.packet_max = connect.properties.maximum_packet_size.map_or(u32::MAX, u32::from);
        let connect = frame.raw.to_vec();
        conn.auth = Some(Box::new(Authentication { method: method.into(), exchange, connect, accepted: None, deadline: None }));
        let accepted = self.step(id, data)?;
        if let Some(auth) = self.conns.get_mut(id).and_then(|conn| conn.auth.as_mut()).filter(|_| accepted) {
            // It is applied as it stands in the input.
            auth.connect = Vec::new();
        }
        Ok(accepted)
    }

    fn begin_exchange(&mut self, id: ConnId, method: &str) -> Result<Box<dyn Exchange>, End> {
        let users = self.users_of(id);
        let nonce = self.passwords.nonce();
        let mechanism = self.mechanisms.iter().find(|m| m.name() == method && m.is_offered(users.as_deref())).ok_or(End::Method)?;
        Ok(mechanism.begin(Start { users, nonce }))
    }

    /// AUTH of a client.
    pub(super) fn authenticate(&mut self, id: ConnId, auth: &Auth<'_>) -> Result<Step, End> {
        let Some(conn) = self.conns.get_mut(id) else { return Ok(Step::Done) };
        let connected = conn.connected;
        let Some(state) = &mut conn.auth else {
            return Err(Error::Protocol("AUTH where CONNECT named no method [MQTT-4.12.0-6]").into());
        };
        if *state.method != *auth.method {
            return Err(Error::Protocol("AUTH with another method than CONNECT's [MQTT-4.12.1-1]").into());
        }
        if !connected {
            return self.authenticate_stranger(id, auth);
        }
        match (auth.reason, &state.exchange) {
            (Reason::ReAuthenticate, None) => {
                let exchange = self.begin_exchange(id, auth.method)?;
                let deadline = self.now.mono + self.limits.connect_timeout;
                if let Some(state) = self.conns.get_mut(id).and_then(|conn| conn.auth.as_mut()) {
                    state.exchange = Some(exchange);
                    state.deadline = Some(deadline);
                }
            }
            (Reason::ContinueAuthentication, Some(_)) => {}
            _ => return Err(Error::Protocol("AUTH out of turn [4.12.1]").into()),
        }
        if self.step(id, auth.data)?
            && let Some(state) = self.conns.get_mut(id).and_then(|conn| conn.auth.as_mut())
        {
            state.deadline = None;
            let data = state.accepted.take();
            let mut packet = Vec::new();
            encode::auth(&mut packet, Reason::Success, &state.method, data.as_deref());
            self.send_auth(id, &packet)?;
        }
        Ok(Step::Done)
    }

    /// Before CONNACK.
    fn authenticate_stranger(&mut self, id: ConnId, auth: &Auth<'_>) -> Result<Step, End> {
        if auth.reason != Reason::ContinueAuthentication {
            return Err(Error::Protocol("a re-authentication before CONNACK [4.12.1]").into());
        }
        let under_way = self.conns.get(id).and_then(|conn| conn.auth.as_ref()).is_some_and(|state| state.exchange.is_some());
        if under_way && !self.step(id, auth.data)? {
            return Ok(Step::Done);
        }
        let Some(state) = self.conns.get_mut(id).and_then(|conn| conn.auth.as_mut()) else { return Ok(Step::Done) };
        let raw = std::mem::take(&mut state.connect);
        let step = match split(&raw, raw.len())? {
            Some(frame) => match Connect::parse(&frame) {
                Ok(connect) => self.admit_client(id, &connect)?,
                Err(refused) => return Err(refused.error.into()),
            },
            None => return Ok(Step::Done),
        };
        if let (Step::Hold(_), Some(state)) = (step, self.conns.get_mut(id).and_then(|conn| conn.auth.as_mut())) {
            state.connect = raw;
        }
        Ok(step)
    }

    /// True: the exchange has ended well; false: the client is asked for more.
    fn step(&mut self, id: ConnId, data: Option<&[u8]>) -> Result<bool, End> {
        let Some(state) = self.conns.get_mut(id).and_then(|conn| conn.auth.as_mut()) else { return Ok(false) };
        let Some(exchange) = &mut state.exchange else { return Ok(false) };
        match exchange.next(data) {
            Progress::Challenge(challenge) => {
                let mut packet = Vec::new();
                encode::auth(&mut packet, Reason::ContinueAuthentication, &state.method, Some(&challenge));
                self.send_auth(id, &packet)?;
                Ok(false)
            }
            Progress::Accepted { user, data } => {
                state.exchange = None;
                state.accepted = data;
                user.map_or(Ok(true), |user| self.log_in(id, user).map(|()| true))
            }
            Progress::Refused { name, why } => {
                tracing::debug!(user = ?name, why, "an authentication is refused");
                self.note_failed_login(id, "", name.as_deref().unwrap_or_default(), End::NotAuthorized);
                Err(End::NotAuthorized)
            }
        }
    }

    fn send_auth(&mut self, id: ConnId, packet: &[u8]) -> Result<(), End> {
        let fits = self.conns.get(id).is_some_and(|conn| packet.len() <= conn.packet_max as usize);
        if !fits {
            return Err(End::SmallPackets);
        }
        self.send(id, packet);
        Ok(())
    }
}
