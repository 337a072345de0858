//! What people ask while the broker runs: who is there, what is retained; and what they do about it.
//!
//! Each question is one slice, bounded in rows and in what it looks at; whoever wants more asks again from where the answer ended.

use tokio::sync::oneshot;

use super::end::End;
use super::id::{ConnId, SessionIndex};
use super::letter;
use super::session::Session;
use super::state::Broker;
use super::sys;
use crate::model::admin::{Act, Ask, ClearedPage, Client, ClientDetail, ClientsPage, Connection, Retained, RetainedPage};
use crate::model::{Mono, Now, StateChange, StoredSession, Topic, TopicFilter};
use crate::mqtt::Version;

/// Places of sessions that one question looks at: those of ended ones are empty.
const PLACES: usize = 4_096;

/// Answers that wait for the store; more are given without waiting.
const WAITING_MAX: usize = 64;

/// Answers that are given when the store knows what was done.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<(u64, u64, Answer)>);

#[cfg(test)]
impl Waiting {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug)]
enum Answer {
    Act(oneshot::Sender<Act>, Act),
    Cleared(oneshot::Sender<ClearedPage>, ClearedPage),
}

impl Answer {
    /// Whoever asked may have gone.
    fn give(self) {
        match self {
            Self::Act(reply, act) => drop(reply.send(act)),
            Self::Cleared(reply, page) => drop(reply.send(page)),
        }
    }
}

impl Broker {
    pub(super) fn ask(&mut self, ask: Ask, now: Now) {
        self.now = now;
        if !self.owed.is_started() {
            // What is there is not known yet: there is no answer.
            return;
        }
        let first = self.owed.next_id().counter();
        match ask {
            Ask::Clients { from, reply } => drop(reply.send(self.clients(from))),
            Ask::Client { id, from, reply } => drop(reply.send(self.client(&id, from))),
            Ask::Kick { id, reply } => drop(reply.send(self.kick(&id))),
            Ask::Forget { id, reply } => {
                let act = self.forget(&id);
                self.answer_later(first, Answer::Act(reply, act));
            }
            Ask::Retained { filter, after, reply } => drop(reply.send(self.list_retained(&filter, after))),
            Ask::Clear { filter, after, reply } => {
                let page = self.clear_retained(&filter, after);
                self.answer_later(first, Answer::Cleared(reply, page));
            }
        }
    }

    /// When all that was changed from counter `first` on is secured.
    fn answer_later(&mut self, first: u64, answer: Answer) {
        let last = self.owed.next_id().counter().saturating_sub(1);
        if self.owed.is_secured(first, last) || self.waiting.0.len() >= WAITING_MAX {
            return answer.give();
        }
        self.waiting.0.push((first, last, answer));
    }

    /// Gives the answers whose time has come.
    pub(super) fn answer_waiting(&mut self) {
        for at in (0..self.waiting.0.len()).rev() {
            let secured = self.waiting.0.get(at).is_some_and(|(first, last, _)| self.owed.is_secured(*first, *last));
            if secured {
                self.waiting.0.swap_remove(at).2.give();
            }
        }
    }

    /// Who the connection's client is.
    pub(super) fn user_of(&self, id: ConnId) -> Option<String> {
        self.conns.get(id)?.user.as_ref().map(ToString::to_string)
    }

    fn clients(&self, from: usize) -> ClientsPage {
        let mut page = ClientsPage::default();
        let end = from.saturating_add(PLACES).min(self.sessions.capacity());
        for place in from..end {
            if page.clients.len() == ClientsPage::ROWS {
                page.next = Some(place);
                return page;
            }
            page.clients.extend(self.sessions.get(place).map(|session| self.describe(session)));
        }
        page.next = Some(end).filter(|end| *end < self.sessions.capacity());
        page
    }

    fn client(&self, id: &str, from: usize) -> Option<ClientDetail> {
        let session = self.sessions.get(*self.by_client.get(id)?)?;
        let rest = session.filters.get(from..).unwrap_or_default();
        let filters = rest.iter().take(ClientsPage::ROWS).map(|s| (s.filter.as_str().to_owned(), s.options.qos as u8)).collect();
        let next = Some(from.saturating_add(ClientsPage::ROWS)).filter(|_| rest.len() > ClientsPage::ROWS);
        Some(ClientDetail { client: self.describe(session), filters, next })
    }

    fn describe(&self, session: &Session) -> Client {
        let now = self.now.mono;
        Client {
            id: session.client.to_string(),
            user: session.user.as_ref().map(ToString::to_string),
            connection: session.conn.and_then(|id| self.describe_connection(id)),
            expiry_s: Some(session.expiry).filter(|expiry| *expiry != StoredSession::NEVER),
            ends_in_ms: session.ends.map(|ends| millis(ends, now)),
            subscriptions: session.filters.len(),
            queued: session.queue.len(),
            queued_bytes: session.queue.bytes(),
            in_flight: session.inflight.len(),
            stored: session.durable.is_some(),
        }
    }

    fn describe_connection(&self, id: ConnId) -> Option<Connection> {
        let conn = self.conns.get(id)?;
        Some(Connection {
            address: conn.peer.to_string(),
            listener: self.listener_name(conn.listener).to_owned(),
            protocol: spoken(conn.version).to_owned(),
            since_ms: millis(self.now.mono, conn.opened),
            keep_alive_s: Some(conn.patience_ms / 1_500).filter(|seconds| *seconds > 0),
            unread_bytes: conn.out.waiting(),
            will: conn.will.as_ref().map(|will| will.topic.to_string()),
        })
    }

    fn kick(&mut self, id: &str) -> Act {
        let Some(session) = self.by_client.get(id).and_then(|index| self.sessions.get(*index)) else { return Act::Unknown };
        let Some(conn) = session.conn else { return Act::Away };
        self.end(conn, End::Kicked);
        Act::Done
    }

    fn forget(&mut self, id: &str) -> Act {
        if !self.by_client.contains_key(id) {
            return Act::Unknown;
        }
        self.kick(id);
        // One that ended with its connection is gone by now.
        let left: Option<SessionIndex> = self.by_client.get(id).copied();
        if let Some(index) = left {
            self.end_session(index, true);
        }
        Act::Done
    }

    /// Each look at `matching` retained messages behind `after`; the last topic that was looked at, where there may be more.
    fn look(
        &self,
        filter: &TopicFilter,
        after: Option<Topic>,
        rows: usize,
        mut found: impl FnMut(&crate::model::RetainedMessage),
    ) -> Option<Topic> {
        let (mut last, mut rows) = (after, rows);
        for _ in 0..RetainedPage::LOOKS {
            let message = &self.retained.next(filter, last.as_ref())?.message;
            if filter.matches(message.topic.as_str()) && !super::retained::is_expired(message, self.now.mono) {
                if rows == 0 {
                    return last;
                }
                rows -= 1;
                found(message);
            }
            last = Some(message.topic.clone());
        }
        last
    }

    fn list_retained(&self, filter: &TopicFilter, after: Option<Topic>) -> RetainedPage {
        let mut messages = Vec::new();
        let next = self.look(filter, after, RetainedPage::ROWS, |message| {
            let body = letter::text(&message.body);
            let preview = body.get(..RetainedPage::PREVIEW.min(body.len())).unwrap_or_default();
            messages.push(Retained {
                topic: message.topic.to_string(),
                qos: message.qos as u8,
                bytes: body.len(),
                expires_in_ms: message.expires.map(|at| millis(at, self.now.mono)),
                preview: String::from_utf8_lossy(preview).into_owned(),
            });
        });
        RetainedPage { messages, next: next.map(|topic| topic.to_string()) }
    }

    /// What the broker says itself stays: it would be there again at once.
    fn clear_retained(&mut self, filter: &TopicFilter, after: Option<Topic>) -> ClearedPage {
        let mut topics = Vec::new();
        let next = self.look(filter, after, RetainedPage::ROWS, |message| topics.push(message.topic.clone()));
        topics.retain(|topic| !sys::is_sys(topic.as_str()));
        for topic in &topics {
            if self.retained.clear(topic) {
                self.put_change(StateChange::RetainedGone(topic.clone()), true, 0, None);
            }
        }
        ClearedPage { cleared: topics.len(), next: next.map(|topic| topic.to_string()) }
    }
}

const fn spoken(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

fn millis(later: Mono, earlier: Mono) -> u64 {
    u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX)
}
