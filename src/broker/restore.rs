//! What the store held at the start comes back, page by page, before ids can be given and any client is let in.
//!
//! Whatever is restored was accepted once: limits that have been lowered since do not take it away, they hold for what comes. Every session
//! counts as left by its client at the start.

use std::rc::Rc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::id::SessionIndex;
use super::inflight::{Sent, Stage};
use super::letter;
use super::output::Stored;
use super::queue::Waiting;
use super::session::Session;
use super::state::Broker;
use super::subscriptions::Sub;
use crate::model::{Due, DueState, Entry, Identity, QoS, Restored, RetainedMessage, SessionId, StateChange, StoredSession, Subscription};

/// First byte of a PUBLISH at QoS 2.
const PUBLISH_QOS2: u8 = 0x34;

impl Broker {
    pub(super) fn restore(&mut self, page: Vec<Restored>) {
        if self.owed.is_started() {
            tracing::warn!(rows = page.len(), "rows of sessions that came after the start are not used");
            return;
        }
        for row in page {
            match row {
                Restored::Session(session) => self.restore_session(session),
                Restored::Subscription { session, subscription } => self.restore_subscription(session, subscription),
                Restored::Received { session, packet_id } => {
                    if let Some((_, session)) = self.restored(session) {
                        session.received.insert(packet_id, 0);
                    }
                }
                Restored::Entry(entry) => self.restore_entry(entry),
                Restored::Retained(message) => {
                    let source = self.known_source(message.source);
                    self.retained.restore(RetainedMessage { source, ..message });
                }
            }
        }
    }

    /// Ids can be given: nothing more comes.
    pub(super) fn finish_restore(&mut self) {
        let restored = std::mem::replace(&mut self.restoring, HashMap::new());
        // The site's lists may be others than when it was stored.
        self.begin_check();
        if !restored.is_empty() {
            tracing::info!(sessions = self.durable, retained = self.retained.len(), "sessions are back");
        }
        // A client has one session: what is left of an earlier one would stay in the store for ever.
        let doubles = restored.into_iter().filter(|(id, index)| self.sessions.get(*index).is_none_or(|s| s.durable != Some(*id)));
        for (id, _) in doubles.collect::<Vec<_>>() {
            self.change(StateChange::SessionEnded(id), None);
        }
    }

    fn restored(&mut self, id: SessionId) -> Option<(SessionIndex, &mut Session)> {
        let index = *self.restoring.get(&id)?;
        Some((index, self.sessions.get_mut(index).filter(|s| s.durable == Some(id))?))
    }

    fn restore_session(&mut self, row: StoredSession) {
        let now = self.now.mono;
        let digest = row.digest();
        let StoredSession { id, client, user, expiry, left_ms, listener, will } = row;
        let client: Rc<str> = Rc::from(&*client);
        if let Some(older) = self.by_client.get(&client).copied() {
            self.forget_restored(older);
        }
        let identity = Identity { user, client: (*client).into(), listener };
        let rights = self.rights_of(&identity);
        let listener = self.door_of(&identity.listener);
        let index = self.new_session(&client, rights);
        self.restoring.insert(id, index);
        self.durable += 1;
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.durable = Some(id);
        session.expiry = expiry;
        session.user = identity.user;
        session.listener = listener;
        session.row = Some(digest);
        let full = Duration::from_secs(expiry.into());
        session.ends = (expiry != StoredSession::NEVER).then(|| now + left_ms.map_or(full, Duration::from_millis).min(full));
        session.will = will.map(|will| (now + Duration::from_secs(will.delay.into()), Box::new(will)));
        self.schedule(index);
    }

    /// As if its row had not been there; its number stays known, so that the rest of its rows finds nobody.
    fn forget_restored(&mut self, index: SessionIndex) {
        let Some(mut session) = self.sessions.try_remove(index) else { return };
        if let Some(at) = session.deadline {
            self.deadlines.remove(&(at, index));
        }
        for subscription in &session.filters {
            self.subscriptions.remove(&subscription.filter, index);
        }
        session.clear(&self.budget);
        self.by_client.remove(&session.client);
        self.durable -= 1;
    }

    fn restore_subscription(&mut self, id: SessionId, subscription: Subscription) {
        let Some((index, session)) = self.restored(id) else { return };
        let sub = Sub::new(index, &subscription);
        let filter = subscription.filter.clone();
        session.filters.push(subscription);
        self.subscriptions.insert(&filter, sub);
    }

    /// One message, shared by all sessions that are owed it.
    fn restore_entry(&mut self, entry: Entry) {
        let Entry { id, due, topic, body, properties, expires, .. } = entry;
        let message = Stored::new(topic, letter::text(&body), properties, expires, &self.budget);
        for due in due {
            let budget = self.budget.clone();
            let Some((index, _)) = self.restored(due.session) else { continue };
            let group = self.group_of(index, message.topic.as_str());
            let Some(session) = self.sessions.get_mut(index) else { continue };
            let Due { qos, retain, identifiers, state, .. } = due;
            let identifiers = Some(identifiers).filter(|list| !list.is_empty());
            // It may have been sent: it goes out marked as a duplicate.
            let sent = |packet_id, stage, message| Sent {
                packet_id,
                stage,
                first: PUBLISH_QOS2 | u8::from(retain),
                written: true,
                wait: 0,
                entry: id,
                message,
                identifiers: identifiers.clone(),
                group,
            };
            match state {
                DueState::Queued => {
                    let message = Rc::clone(&message);
                    session.queue.restore(Waiting { message, qos, retain, entry: id, identifiers, group, gate: 0 }, &budget);
                }
                DueState::Sent(packet_id) => {
                    debug_assert_eq!(qos, QoS::ExactlyOnce);
                    session.inflight.restore(sent(packet_id, Stage::ExactlyOnce, Some(Rc::clone(&message))), &budget);
                }
                DueState::Released(packet_id) => session.inflight.restore(sent(packet_id, Stage::Release, None), &budget),
            }
        }
    }
}
