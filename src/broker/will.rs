//! Wills: published when their delay is over after the end of a connection, or when its session ends, whichever comes first
//! (3.1.2.5; 5.0, 3.1.3.2.2); not at all if the client is back before that.
//!
//! The will of a session that outlives its connection is part of its row, until it is published: after a restart its delay begins anew.

use std::sync::Arc;

use super::apply::Work;
use super::id::SessionIndex;
use super::limit::{Limit, Who};
use super::state::Broker;
use crate::model::{Body, Identity, Message, Origin, Publisher, StoredWill};

/// A will that is to be published now, whose it is, and the session whose row then goes without it.
#[derive(Debug)]
pub(super) struct DueWill {
    will: StoredWill,
    of: Arc<Identity>,
    session: Option<(SessionIndex, u64)>,
}

impl Broker {
    /// `lasts`: the session is not over. One beyond `wills_max` is dropped and counted; since no CONNECT with a will is let in at it, only what was
    /// restored under a higher limit comes to that.
    pub(super) fn queue_will(&mut self, will: StoredWill, index: SessionIndex, lasts: bool) {
        let Some(session) = self.sessions.get(index) else { return };
        if self.takes_will() {
            let (of, session) = (self.identity(session), lasts.then_some((index, session.serial)));
            self.wills.push_back(DueWill { will, of, session });
            self.news = true;
        } else {
            self.counters.dropped_queue += 1;
            self.reached(Limit::WillsMax, Who::Session(index));
        }
    }

    pub(super) fn takes_will(&self) -> bool {
        self.wills.len() < self.limits.wills_max()
    }

    /// Publishes wills that wait; true if some are left.
    pub(super) fn publish_wills(&mut self) -> bool {
        let mut work = Work::turn();
        while !work.is_done()
            && self.takes_readings()
            && let Some(DueWill { will, of, session }) = self.wills.pop_front()
        {
            let session =
                session.filter(|(index, serial)| self.sessions.get(*index).is_some_and(|s| s.serial == *serial)).map(|(index, _)| index);
            self.publish_will(will, of, session, &mut work);
            work.spend(self.access.take_spent());
            if let Some(index) = session {
                self.put_session(index);
            }
        }
        !self.wills.is_empty() && self.takes_readings()
    }

    /// Its right is that of its client now, who is away.
    fn publish_will(&mut self, will: StoredWill, of: Arc<Identity>, session: Option<SessionIndex>, work: &mut Work) {
        if !self.may_still_will(&will, &of) {
            self.counters.forbidden += 1;
            tracing::debug!(client = ?of.client, topic = ?will.topic.as_str(), "will to a topic that is closed to its client dropped");
            return;
        }
        let StoredWill { topic, body, qos, retain, properties, expiry, .. } = will;
        let message = Message { properties, expiry, ..Message::new(topic, Body::raw(body), qos, retain, Origin::Client) };
        self.accept(&message, session, &Publisher::Client(of), work);
    }

    /// At an orderly stop, after all that was read: to its clients this broker is about to be gone, so wills are published now. One with a delay
    /// that is in the store is left for the next start: the client may be back within the delay.
    pub(super) fn queue_all_wills(&mut self) {
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            let Some((index, session)) = conn.session.and_then(|s| Some((s, self.sessions.get(s)?))) else { continue };
            let stays = !session.is_brief() && conn.will.as_ref().is_some_and(|will| will.delay > 0);
            let lasts = !session.is_brief();
            if let Some(will) = conn.will.take_if(|_| !stays) {
                self.queue_will(*will, index, lasts);
            }
        }
    }
}
