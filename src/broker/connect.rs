//! CONNECT: sessions begin, are resumed, are taken over.

use std::rc::Rc;

use bytes::Bytes;

use super::alias::AliasesOut;
use super::apply::Step;
use super::conn::Hold;
use super::door::Listener;
use super::end::End;
use super::id::{ConnId, SessionIndex};
use super::limit::{Limit, Who};
use super::session::Session;
use super::state::Broker;
use crate::access::rights::Rights;
use crate::faults;
use crate::model::{Identity, SessionId, StoredWill};
use crate::mqtt::encode::{self, ConnackProperties};
use crate::mqtt::packet::{Connect, Disconnect, Will};
use crate::mqtt::{Error, Frame, Reason, Version};

/// Longest will, with its topic and properties, that always has room beside `wills_bytes`.
const WILL_SHORT: usize = 1 << 10;

/// A client that takes smaller packets than this may not take our CONNACK.
const SMALL_PACKETS: u32 = 256;

/// As long as a client id that the broker assigns.
const ASSIGNED_LONGEST: &str = "auto-0123456789abcdef-18446744073709551615";

/// A CONNECT that is not accepted: what CONNACK says, and why the connection ends.
struct Refusal(Reason, End);

impl Refusal {
    fn for_reason_of(end: End) -> Self {
        Self(end.reason().unwrap_or(Reason::Unspecified), end)
    }
}

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
        let step = self.connect_client(id, &connect, frame);
        if let Err(end) = step {
            self.say_refused(id, connect.client_id, connect.user, end);
        }
        step
    }

    fn connect_client(&mut self, id: ConnId, connect: &Connect<'_>, frame: &Frame<'_>) -> Result<Step, End> {
        if connect.properties.authentication.is_none() {
            return match self.identify(id, connect) {
                Ok(Step::Done) => self.admit_client(id, connect),
                Ok(wait) => Ok(wait),
                Err(end) => {
                    self.note_failed_login(id, connect.client_id, connect.user.unwrap_or_default(), end);
                    Err(self.refuse_for(id, connect.version, end))
                }
            };
        }
        match self.begin_authentication(id, connect, frame) {
            Ok(true) => self.admit_client(id, connect),
            Ok(false) => Ok(Step::Done),
            Err(end @ End::Method) => Err(self.refuse_for(id, connect.version, end)),
            Err(end) => Err(end),
        }
    }

    /// Who it is is known, and it may come in.
    pub(super) fn admit_client(&mut self, id: ConnId, connect: &Connect<'_>) -> Result<Step, End> {
        if !self.names_itself(id, connect) {
            return Err(self.refuse_for(id, connect.version, End::NotAuthorized));
        }
        if let Err(end) = self.check_connect(id, connect) {
            return Err(self.refuse_for(id, connect.version, end));
        }
        let client = if connect.client_id.is_empty() { self.assign_client_id() } else { Rc::from(connect.client_id) };
        let Some(conn) = self.conns.get(id) else { return Ok(Step::Done) };
        let identity = self.identity_at(conn, &client);
        let will = connect.will.as_ref().map_or(Ok(()), |will| self.may_will(&identity, &will.topic, &will.properties));
        if will.is_err() {
            self.counters.forbidden += 1;
        }
        // As with what it publishes: 3.x has no code for it, so the will is taken and dropped.
        if will == Err(true) && connect.version.is_5() {
            return Err(self.refuse_for(id, connect.version, End::Will));
        }
        if let Some(known) = self.by_client.get(&client).copied() {
            let inherits = self.may_inherit(known, &identity).map_err(|end| self.refuse_for(id, connect.version, end))?;
            self.take_over(known, connect.clean || !inherits);
        }
        let index = self.by_client.get(&client).copied();
        if index.is_none()
            && let Some(counter) = self.wait_for_end(id, &client)
        {
            return Ok(Step::Hold(Hold::Commit(counter)));
        }
        let present = index.is_some();
        let rights = self.rights_of(&identity);
        let index = index.unwrap_or_else(|| self.new_session(&client, Rc::clone(&rights)));
        self.join(id, index, connect, will.is_ok());
        self.belong(index, &identity, rights, present);
        self.set_expiry(index, self.limits.session_expiry(connect));
        self.say_connected(id, present);
        let packet = self.connack(id, connect, &client, present);
        self.send(id, &packet);
        self.say_shortened(id, connect);
        if present {
            self.resume_session(id, index);
        }
        Ok(Step::Done)
    }

    fn check_connect(&self, id: ConnId, connect: &Connect<'_>) -> Result<(), End> {
        if connect.client_id.len() > self.limits.client_id_max {
            return Err(End::LongId);
        }
        let new = !self.by_client.contains_key(connect.client_id);
        if new && self.sessions.len() >= self.limits.sessions_max() {
            return Err(End::NoSession);
        }
        if new && self.has_its_share_of_sessions(id) {
            return Err(End::Limit(Limit::SessionsPerUser));
        }
        if let Some(will) = &connect.will {
            self.check_will(connect.client_id, will)?;
        }
        let packet_max = connect.properties.maximum_packet_size.map_or(u32::MAX, u32::from);
        // [MQTT-3.1.2-24]
        if packet_max < SMALL_PACKETS && self.connack(id, connect, ASSIGNED_LONGEST, false).len() > packet_max as usize {
            return Err(End::SmallPackets);
        }
        Ok(())
    }

    /// Those of nobody are one user's where anybody has a name.
    fn has_its_share_of_sessions(&self, id: ConnId) -> bool {
        let (user, max) = (self.conns.get(id).and_then(|conn| conn.user.as_ref()), self.limits.sessions_per_user());
        if self.sessions.len() < max || (user.is_none() && !self.may_know_somebody()) {
            return false;
        }
        self.sessions.iter().filter(|(_, session)| session.user.as_ref() == user).count() >= max
    }

    /// Whether a client may have a name here.
    fn may_know_somebody(&self) -> bool {
        self.policy.realms.iter().any(|realm| realm.users.is_some()) || self.doors.iter().any(Listener::names_clients)
    }

    fn check_will(&self, client: &str, will: &Will<'_>) -> Result<(), End> {
        if let Some(limit) = self.limits.of_topic(will.topic.as_bytes()) {
            return Err(End::Limit(limit));
        }
        let max = self.limits.wills_max();
        // A session has one will at most: that of its connection, or the one that is still to be published.
        if self.sessions.len() + self.wills.len() >= max && self.wills_of_others(client).count() + self.wills.len() >= max {
            return Err(End::Limit(Limit::WillsMax));
        }
        let bytes = will.topic.as_bytes().len() + will.body.len() + will.properties.len();
        let of_others = || self.wills_of_others(client).map(StoredWill::bytes).sum::<usize>();
        if bytes > WILL_SHORT && bytes + of_others() > self.limits.wills_bytes {
            return Err(End::Limit(Limit::WillsBytes));
        }
        Ok(())
    }

    /// Those that may still be published, but for the ones that are about to be.
    fn wills_of_others(&self, client: &str) -> impl Iterator<Item = &StoredWill> {
        let others = self.sessions.iter().filter(move |(_, session)| *session.client != *client);
        others.filter_map(|(_, session)| {
            let of_connection = session.conn.and_then(|id| self.conns.get(id)?.will.as_deref());
            of_connection.or_else(|| session.will.as_ref().map(|(_, will)| &**will))
        })
    }

    /// CONNACK says why.
    pub(super) fn refuse_for(&mut self, id: ConnId, version: Version, end: End) -> End {
        self.refuse(id, version, Refusal::for_reason_of(end))
    }

    fn refuse(&mut self, id: ConnId, version: Version, Refusal(reason, end): Refusal) -> End {
        let mut packet = Vec::new();
        encode::connack(&mut packet, version, false, reason, &ConnackProperties::default());
        self.send(id, &packet);
        // Its authentication is over: no more is said.
        if let Some(conn) = self.conns.get_mut(id) {
            conn.auth = None;
        }
        end
    }

    fn assign_client_id(&mut self) -> Rc<str> {
        self.assigned += 1;
        format!("auto-{:016x}-{}", self.seed, self.assigned).into()
    }

    /// Whether a client goes on with the session that has its client id: one of nobody is only ended by somebody.
    ///
    /// # Errors
    /// It is another user's.
    fn may_inherit(&mut self, index: SessionIndex, identity: &Identity) -> Result<bool, End> {
        let owner = self.sessions.get(index).and_then(|session| session.user.as_ref());
        if owner == identity.user.as_ref() || faults::active("inherit-any") {
            return Ok(true);
        }
        if owner.is_none() {
            return Ok(false);
        }
        self.counters.forbidden += 1;
        Err(End::Foreign)
    }

    /// Ends the other connection of the session, if there is one [MQTT-3.1.4-2], and the session, where the client wants a new one. One that ends
    /// with its connection is gone then, too.
    fn take_over(&mut self, index: SessionIndex, clean: bool) {
        if let Some(other) = self.sessions.get(index).and_then(|s| s.conn) {
            self.end(other, End::TakenOver);
        }
        if clean {
            self.end_session(index, true);
        }
    }

    pub(super) fn new_session(&mut self, client: &Rc<str>, rights: Rc<Rights>) -> SessionIndex {
        self.serial += 1;
        let index = self.sessions.insert(Box::new(Session::new(Rc::clone(client), self.serial, rights)));
        self.by_client.insert(Rc::clone(client), index);
        index
    }

    /// `will`: it may leave one.
    fn join(&mut self, id: ConnId, index: SessionIndex, connect: &Connect<'_>, will: bool) {
        let patience_ms = u32::from(self.limits_of(id).keep_alive(connect)) * 1_500;
        let (Some(conn), Some(session)) = (self.conns.get_mut(id), self.sessions.get_mut(index)) else { return };
        let properties = &connect.properties;
        conn.connected = true;
        conn.session = Some(index);
        conn.version = connect.version;
        conn.bridge = connect.bridge;
        conn.packet_max = properties.maximum_packet_size.map_or(u32::MAX, u32::from);
        conn.explains = properties.request_problem_information;
        conn.aliases_out = AliasesOut::new(properties.topic_alias_maximum);
        conn.replays = std::mem::take(&mut session.replays);
        // [MQTT-3.1.2-22]
        conn.patience_ms = patience_ms;
        conn.will = connect.will.as_ref().filter(|_| will).map(|will| Box::new(stored_will(will)));
        session.conn = Some(id);
        session.ends = None;
        session.will = None;
        session.receive_maximum = properties.receive_maximum;
        session.user = conn.user.clone();
        session.listener = conn.listener;
        self.schedule(index);
    }

    /// Its client's rights are those of the present connection. `before`: the session was there.
    fn belong(&mut self, index: SessionIndex, identity: &Identity, rights: Rc<Rights>, before: bool) {
        let generation = self.access.generation;
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.source.take_if(|source| **source != *identity);
        let kept = !before || (session.checked == generation && rights.covers(&session.rights));
        self.set_rights(index, rights);
        if !kept {
            self.filter_session(index);
        }
    }

    /// A client has less than it asked for.
    fn say_shortened(&mut self, id: ConnId, connect: &Connect<'_>) {
        if self.limits.shortens_session(connect) {
            self.reached(Limit::SessionExpiryMax, Who::Conn(id));
        }
        // One of 3.x has no way to be told: that is said once it was silent for too long.
        let limits = self.limits_of(id);
        let shortened = limits.keep_alive_max < u16::MAX && limits.keep_alive(connect) != connect.keep_alive;
        if shortened && connect.version.is_5() {
            self.reached(Limit::KeepAliveMax, Who::Conn(id));
        }
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
                session.ceased = next.counter();
                let client = Rc::clone(&session.client);
                // A client that is back at once waits for it.
                self.put_end(id, &client, true);
            }
            (Some(_), _) => self.put_session(index),
        }
    }

    /// CONNACK that lets a client in, with all that it has to know of us.
    fn connack(&self, id: ConnId, connect: &Connect<'_>, client: &str, present: bool) -> Vec<u8> {
        let expiry = self.limits.session_expiry(connect);
        let keep_alive = self.limits_of(id).keep_alive(connect);
        let properties = ConnackProperties {
            session_expiry: (expiry != connect.properties.session_expiry).then_some(expiry),
            receive_maximum: Some(self.limits.receive_maximum),
            maximum_packet_size: u32::try_from(self.limits_of(id).packet_max).ok(),
            assigned_client_id: connect.client_id.is_empty().then_some(client),
            topic_alias_maximum: self.limits.topic_aliases_max,
            server_keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
            authentication: self.conns.get(id).and_then(|conn| conn.auth.as_ref()).map(|auth| auth.outcome()),
            ..ConnackProperties::default()
        };
        // In 3.1 the flag is reserved.
        let present = present && connect.version != Version::V31;
        let mut packet = Vec::new();
        encode::connack(&mut packet, connect.version, present, Reason::Success, &properties);
        packet
    }

    /// DISCONNECT of a client (3.14).
    pub(super) fn disconnect(&mut self, id: ConnId, disconnect: &Disconnect<'_>) -> Result<End, End> {
        let Some((index, session)) = self.conns.get(id).and_then(|c| c.session).and_then(|s| Some((s, self.sessions.get(s)?))) else {
            return Ok(End::Disconnect);
        };
        if let Some(expiry) = disconnect.session_expiry {
            if expiry > 0 && session.expiry == 0 {
                return Err(Error::Protocol("a session expiry interval in DISCONNECT where CONNECT had none [3.14.2.2.2]").into());
            }
            self.set_expiry(index, expiry.min(self.limits.session_expiry_max));
        }
        Ok(if disconnect.reason == Reason::Success { End::Disconnect } else { End::WithWill(disconnect.reason) })
    }

    /// What is in flight is sent again, in order, then what waits.
    fn resume_session(&mut self, id: ConnId, index: SessionIndex) {
        self.resend(id, index);
        self.refill(id, self.now);
    }
}

pub(super) fn stored_will(will: &Will<'_>) -> StoredWill {
    StoredWill {
        topic: will.topic.clone(),
        body: Bytes::copy_from_slice(will.body),
        qos: will.qos,
        retain: will.retain,
        properties: will.properties.to_bytes(),
        expiry: will.expiry,
        delay: will.delay,
    }
}
