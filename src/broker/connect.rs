//! CONNECT: sessions begin, are resumed, are taken over.

use std::rc::Rc;
use std::time::Duration;

use super::access;
use super::apply::VERSION;
use super::conn::{End, StoredWill};
use super::id::{ConnId, SessionIndex};
use super::session::Session;
use super::state::Broker;
use super::subscriptions::Sub;
use crate::model::{Body, QoS};
use crate::mqtt::packet::Connect;
use crate::mqtt::{Error, Frame, Reason, Version, encode};

/// Sessions kept for clients that are away, for each connection that may be there; a further client gets CONNACK 0x03.
const SESSIONS_PER_CONNECTION: usize = 4;

/// Longest client id in bytes: a session keeps it for as long as it lives. A longer one gets CONNACK 0x02 [MQTT-3.1.3-9].
const CLIENT_ID_MAX: usize = 1_024;

impl Broker {
    pub(super) fn connect(&mut self, id: ConnId, frame: &Frame<'_>) -> Result<(), End> {
        let connect = match Connect::parse(frame) {
            Ok(connect) if connect.version == VERSION && !connect.bridge => connect,
            Ok(connect) => {
                let end = Error::Version(connect.version as u8).into();
                return Err(self.refuse(id, connect.version, Reason::UnsupportedVersion, end));
            }
            Err(refused) => {
                let end = End::from(refused.error);
                return Err(refused.answer.map_or(end, |(version, reason)| self.refuse(id, version, reason, end)));
            }
        };
        if connect.client_id.len() > CLIENT_ID_MAX {
            return Err(self.refuse(id, VERSION, Reason::ClientIdNotValid, End::LongId));
        }
        if connect.will.as_ref().is_some_and(|w| w.qos == QoS::ExactlyOnce) {
            return Err(self.refuse(id, VERSION, Reason::ServerUnavailable, End::Qos2));
        }
        let client = if connect.client_id.is_empty() { self.assign_client_id() } else { Rc::from(connect.client_id) };
        let known = self.by_client.get(&client).copied();
        let sessions_max = self.limits.connections_max.saturating_mul(SESSIONS_PER_CONNECTION);
        if known.is_none() && self.sessions.len() >= sessions_max {
            return Err(self.refuse(id, VERSION, Reason::ServerUnavailable, End::NoSession));
        }
        let index = known.and_then(|index| self.take_over(index, &connect));
        let present = index.is_some();
        let index = index.unwrap_or_else(|| self.new_session(&client, connect.clean));
        self.join(id, index, &connect);
        self.connack(id, VERSION, present, Reason::Success);
        if present {
            self.resume_session(id, index);
        }
        Ok(())
    }

    fn refuse(&mut self, id: ConnId, version: Version, reason: Reason, end: End) -> End {
        self.connack(id, version, false, reason);
        end
    }

    fn connack(&mut self, id: ConnId, version: Version, present: bool, reason: Reason) {
        let mut packet = Vec::new();
        encode::connack(&mut packet, version, present, reason, &encode::ConnackProperties::default());
        self.send(id, &packet);
    }

    fn assign_client_id(&mut self) -> Rc<str> {
        self.assigned += 1;
        format!("auto-{:016x}-{}", self.seed, self.assigned).into()
    }

    /// Ends the other connection of the session, if there is one [MQTT-3.1.4-2]. The session, if this client is to go on with it.
    fn take_over(&mut self, index: SessionIndex, connect: &Connect<'_>) -> Option<SessionIndex> {
        if let Some(other) = self.sessions.get(index).and_then(|s| s.conn) {
            self.end(other, End::TakenOver);
        }
        // A clean session is gone with its connection.
        self.sessions.get(index)?;
        if connect.clean {
            self.remove_session(index);
            return None;
        }
        Some(index)
    }

    fn new_session(&mut self, client: &Rc<str>, clean: bool) -> SessionIndex {
        let index = self.sessions.insert(Session::new(Rc::clone(client), clean));
        self.by_client.insert(Rc::clone(client), index);
        index
    }

    fn join(&mut self, id: ConnId, index: SessionIndex, connect: &Connect<'_>) {
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        conn.connected = true;
        conn.session = Some(index);
        // [MQTT-3.1.2-24]
        conn.patience = Duration::from_millis(u64::from(connect.keep_alive) * 1_500);
        conn.will = connect.will.as_ref().map(|will| {
            let body = Body::raw(bytes::Bytes::copy_from_slice(will.body));
            let topic = will.topic.clone();
            Box::new(StoredWill { topic, body, qos: will.qos, retain: will.retain, restricted: conn.restricted })
        });
        session.conn = Some(id);
        tracing::debug!(client = ?session.client, peer = %conn.peer, clean = session.clean, "client connected");
    }

    /// What is in flight is sent again, in order, then what waits. Rights are those of the present connection.
    fn resume_session(&mut self, id: ConnId, index: SessionIndex) {
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        let restricted = conn.restricted;
        if restricted {
            session.inflight.retain(&self.budget, |m| !access::is_closed(m.topic.as_str()));
            session.queue.retain(&self.budget, |m| !access::is_closed(m.topic.as_str()));
        }
        session.inflight.resend(&mut conn.out);
        if session.restricted != restricted {
            session.restricted = restricted;
            for (filter, qos) in &session.filters {
                self.subscriptions.insert(filter, Sub { session: index, qos: *qos, restricted });
            }
        }
        self.refill(id, self.now);
    }
}
