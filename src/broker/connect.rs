//! CONNECT: sessions begin, are resumed, are taken over.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::access;
use super::alias::{ALIASES_MAX, AliasesOut};
use super::apply::Step;
use super::conn::{End, Hold};
use super::id::{ConnId, SessionIndex};
use super::session::Session;
use super::state::Broker;
use super::subscriptions::Sub;
use crate::model::{SessionId, StateChange, StoredSession, StoredWill};
use crate::mqtt::encode::{self, ConnackProperties};
use crate::mqtt::packet::{Connect, Will};
use crate::mqtt::{Frame, Reason, Version};

/// Sessions kept for clients that are away, for each connection that may be there; a further client gets CONNACK 0x03 (5.0: 0x97).
const SESSIONS_PER_CONNECTION: usize = 4;

/// Longest client id in bytes: a session keeps it for as long as it lives. A longer one gets CONNACK 0x02 (5.0: 0x85) [MQTT-3.1.3-9].
const CLIENT_ID_MAX: usize = 1_024;

/// A CONNECT that is not accepted: what CONNACK says, and why the connection ends.
struct Refusal(Reason, End);

impl Broker {
    pub(super) fn connect(&mut self, id: ConnId, frame: &Frame<'_>) -> Result<Step, End> {
        let connect = match Connect::parse(frame) {
            Ok(connect) => connect,
            Err(refused) => {
                let end = End::from(refused.error);
                return Err(refused.answer.map_or(end, |(version, reason)| self.refuse(id, version, Refusal(reason, end))));
            }
        };
        if !self.owed.is_started() {
            // Whether there is a session is not known yet.
            return Ok(Step::Hold(Hold::NotStarted));
        }
        if let Err(refusal) = self.check_connect(&connect) {
            return Err(self.refuse(id, connect.version, refusal));
        }
        let assigned = connect.client_id.is_empty();
        let client = if assigned { self.assign_client_id() } else { Rc::from(connect.client_id) };
        let known = self.by_client.get(&client).copied();
        if let Some(counter) = known.and_then(|index| self.take_over(id, index, connect.clean)) {
            return Ok(Step::Hold(Hold::Commit(counter)));
        }
        let index = self.by_client.get(&client).copied();
        let present = index.is_some();
        let index = index.unwrap_or_else(|| self.new_session(&client));
        self.join(id, index, &connect);
        self.accept_connect(id, index, present, assigned);
        if present {
            self.resume_session(id, index);
        }
        Ok(Step::Done)
    }

    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Refusal> {
        if connect.client_id.len() > CLIENT_ID_MAX {
            return Err(Refusal(Reason::ClientIdNotValid, End::LongId));
        }
        let sessions_max = self.limits.connections_max.saturating_mul(SESSIONS_PER_CONNECTION);
        if !self.by_client.contains_key(connect.client_id) && self.sessions.len() >= sessions_max {
            let reason = if connect.version.is_5() { Reason::QuotaExceeded } else { Reason::ServerUnavailable };
            return Err(Refusal(reason, End::NoSession));
        }
        Ok(())
    }

    fn refuse(&mut self, id: ConnId, version: Version, Refusal(reason, end): Refusal) -> End {
        let mut packet = Vec::new();
        encode::connack(&mut packet, version, false, reason, &ConnackProperties::default());
        self.send(id, &packet);
        end
    }

    fn assign_client_id(&mut self) -> Rc<str> {
        self.assigned += 1;
        format!("auto-{:016x}-{}", self.seed, self.assigned).into()
    }

    /// Ends the other connection of the session, if there is one [MQTT-3.1.4-2], and the session, where the client wants a new one. The counter
    /// of what has to be committed first: CONNACK says that the old session is gone.
    fn take_over(&mut self, id: ConnId, index: SessionIndex, clean: bool) -> Option<u64> {
        if let Some(other) = self.sessions.get(index).and_then(|s| s.conn) {
            self.end(other, End::TakenOver);
        }
        // One that ends with its connection is gone now.
        let session = self.sessions.get(index).filter(|_| clean)?;
        let durable = session.durable;
        self.remove_session(index);
        let counter = self.change(StateChange::SessionEnded(durable?), Some(id));
        Some(counter)
    }

    fn new_session(&mut self, client: &Rc<str>) -> SessionIndex {
        self.serial += 1;
        let index = self.sessions.insert(Session::new(Rc::clone(client), self.serial));
        self.by_client.insert(Rc::clone(client), index);
        index
    }

    fn join(&mut self, id: ConnId, index: SessionIndex, connect: &Connect<'_>) {
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        let properties = &connect.properties;
        conn.connected = true;
        conn.session = Some(index);
        conn.version = connect.version;
        conn.packet_max = properties.maximum_packet_size.map_or(u32::MAX, u32::from);
        conn.explains = properties.request_problem_information;
        conn.aliases_out = AliasesOut::new(properties.topic_alias_maximum);
        // [MQTT-3.1.2-24]
        conn.patience = Duration::from_millis(u64::from(connect.keep_alive) * 1_500);
        conn.will = connect.will.as_ref().map(|will| Box::new(stored_will(will, conn.restricted)));
        session.conn = Some(id);
        session.ends = None;
        session.will = None;
        session.receive_maximum = properties.receive_maximum;
        let expiry = match (connect.version, connect.clean) {
            (Version::V5, _) => properties.session_expiry,
            (_, true) => 0,
            (_, false) => StoredSession::NEVER,
        };
        tracing::debug!(client = ?session.client, peer = %conn.peer, version = ?conn.version, expiry, "client connected");
        self.set_expiry(index, expiry);
    }

    /// The session's expiry interval is what its client says now: it begins or ceases to outlive its connection, and the store hears of it.
    pub(super) fn set_expiry(&mut self, index: SessionIndex, expiry: u32) {
        let next = self.owed.next_id();
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.expiry = expiry;
        match (session.durable, expiry) {
            (None, 0) => {}
            (None, _) => {
                session.durable = Some(SessionId(next));
                self.durable += 1;
                self.put_session(index);
            }
            (Some(id), 0) => {
                session.durable = None;
                self.durable -= 1;
                self.change(StateChange::SessionEnded(id), None);
            }
            (Some(_), _) => {
                self.put_session(index);
            }
        }
    }

    fn accept_connect(&mut self, id: ConnId, index: SessionIndex, present: bool, assigned: bool) {
        let Some(version) = self.conns.get(id).map(|conn| conn.version) else { return };
        let client = self.sessions.get(index).map(|s| Rc::clone(&s.client)).unwrap_or_default();
        let properties = ConnackProperties {
            receive_maximum: Some(self.limits.receive_maximum),
            maximum_packet_size: u32::try_from(self.limits.packet_max).ok(),
            assigned_client_id: assigned.then_some(&*client),
            topic_alias_maximum: ALIASES_MAX,
            ..ConnackProperties::default()
        };
        let mut packet = Vec::new();
        encode::connack(&mut packet, version, present, Reason::Success, &properties);
        self.send(id, &packet);
    }

    /// What is in flight is sent again, in order, then what waits. Rights are those of the present connection.
    fn resume_session(&mut self, id: ConnId, index: SessionIndex) {
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        let restricted = conn.restricted;
        if restricted {
            session.inflight.take_unless(&self.budget, |s| s.message.as_ref().is_none_or(|m| !access::is_closed(m.topic.as_str())));
            session.queue.take_unless(&self.budget, |w| !access::is_closed(w.message.topic.as_str()));
        }
        if session.restricted != restricted {
            session.restricted = restricted;
            for subscription in &session.filters {
                self.subscriptions.insert(&subscription.filter, Sub::new(index, subscription, restricted));
            }
        }
        self.resend(id, index);
        self.refill(id, self.now);
    }
}

pub(super) fn stored_will(will: &Will<'_>, restricted: bool) -> StoredWill {
    StoredWill {
        topic: will.topic.clone(),
        body: Bytes::copy_from_slice(will.body),
        qos: will.qos,
        retain: will.retain,
        properties: will.properties.to_bytes(),
        expiry: will.expiry,
        delay: will.delay,
        restricted,
    }
}
