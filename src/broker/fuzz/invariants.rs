//! What holds after every step, whatever the steps were.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::peer::{News, Peer};
use super::rig::{Line, Rig};
use super::store::{Disk, Rows, Store};
use crate::broker::conn::Hold;
use crate::broker::flow::SLOW_AT;
use crate::broker::id::ConnId;
use crate::broker::inflight::Stage;
use crate::broker::output::{RECEIVER_OVERHEAD, Stored};
use crate::broker::state::Broker;
use crate::model::{DueState, EntryId, SessionId};

/// What a packet promises is committed before it leaves (outbox.md 3). `session`: of the connection, in the store.
pub(super) fn promised(news: &News, store: &Store, peer: &Peer, session: Option<SessionId>) {
    let secured = |rows: &[EntryId], what: &str| {
        for id in rows {
            assert!(store.is_secured(*id), "{what} before {id} is secured");
        }
    };
    // Whether a kill would bring back what its session has no more.
    let removed = |has: &dyn Fn(&Rows) -> bool| {
        let has = |disk: &Disk| session.and_then(|id| disk.sessions.get(&id)).is_some_and(has);
        has(&store.durable) && !has(&store.latest)
    };
    match news {
        News::Connack(false, 0) => {
            secured(&peer.before_connack, "CONNACK");
            let back = gone(&store.durable, &store.latest).find(|rows| *rows.session.client == *peer.client);
            assert!(back.is_none(), "CONNACK without a session before the end of {back:?}");
        }
        News::Acked(_, reason, rows) if *reason < 0x80 => secured(rows, "PUBACK or PUBREC"),
        News::Pubcomp(id, again, rows) => {
            secured(rows, "PUBCOMP");
            assert!(*again || !removed(&|rows| rows.received.contains(id)), "PUBCOMP before packet id {id} is gone");
        }
        News::Suback(_, _, rows) => secured(rows, "SUBACK"),
        News::Unsuback(_, filters, rows) => {
            secured(rows, "UNSUBACK");
            for filter in filters {
                assert!(!removed(&|rows| rows.subscriptions.contains_key(filter)), "UNSUBACK before {filter} is gone");
            }
        }
        News::Message(got) if got.qos == 2 => {
            if let Some(session) = session.filter(|session| store.latest.sent(*session, got.id).is_some()) {
                assert_eq!(store.durable.sent(session, got.id), Some(false), "PUBLISH {} before its row", got.id);
            }
        }
        News::Pubrel(id) => {
            if let Some(session) = session.filter(|session| store.latest.sent(*session, *id) == Some(true)) {
                assert_eq!(store.durable.sent(session, *id), Some(true), "PUBREL {id} before its row");
            }
        }
        _ => {}
    }
}

/// Nobody receives what its rights forbid.
pub(super) fn allowed(news: &News, broker: &Broker, id: ConnId) {
    let News::Message(got) = news else { return };
    let Some(session) = broker.conns.get(id).and_then(|conn| broker.sessions.get(conn.session?)) else { return };
    let topic = String::from_utf8_lossy(&got.topic);
    assert!(broker.may_receive(session, &topic), "{topic:?} came to {:?} of {:?}", session.client, session.user);
}

/// Sessions that a kill would bring back.
fn gone<'a>(durable: &'a Disk, latest: &'a Disk) -> impl Iterator<Item = &'a Rows> {
    durable.sessions.iter().filter(|(id, _)| !latest.sessions.contains_key(id)).map(|(_, rows)| rows)
}

pub(super) fn check(rig: &Rig<'_>) {
    sessions(&rig.broker);
    windows(&rig.broker, rig.killed);
    budget(&rig.broker);
    if rig.broker.owed.is_started() {
        mirror(&rig.broker, &rig.store);
    }
    nobody_waits_for_nothing(rig);
}

/// Sessions, the table of clients, connections and the tree agree.
fn sessions(broker: &Broker) {
    assert_eq!(broker.by_client.len(), broker.sessions.len());
    for (client, index) in &broker.by_client {
        assert_eq!(&broker.sessions[*index].client, client);
    }
    let durable = broker.sessions.iter().filter(|(_, session)| session.durable.is_some()).count();
    assert_eq!(broker.durable, durable, "sessions that outlive their connection");
    for (index, session) in &broker.sessions {
        if let Some(id) = session.conn {
            let conn = broker.conns.get(id).expect("a session's connection is there");
            assert_eq!((conn.session, conn.end), (Some(index), None));
            assert!(session.ends.is_none(), "a session does not run out while its client is connected");
        } else {
            assert!(!session.is_brief(), "a session that ends with its connection has one");
        }
    }
    for (id, conn) in broker.conns.iter() {
        if let Some(index) = conn.session {
            assert_eq!(broker.sessions[index].conn, Some(id));
        }
    }
    let mut want: Vec<(String, usize)> = Vec::new();
    for (index, session) in &broker.sessions {
        want.extend(session.filters.iter().map(|subscription| (subscription.filter.as_str().to_owned(), index)));
    }
    want.sort();
    let mut tree = broker.subscriptions.all();
    tree.sort();
    assert_eq!(tree, want, "the tree has what sessions subscribed to");
}

/// Packet ids are used once, windows and queues keep their limits.
/// `killed`: what a store brought back was accepted once, also where it is more than a queue takes.
fn windows(broker: &Broker, killed: bool) {
    let limits = broker.queue_limits();
    for (_, session) in &broker.sessions {
        let ids: BTreeSet<u16> = session.inflight.iter().map(|sent| sent.packet_id).collect();
        assert_eq!(ids.len(), session.inflight.len(), "a packet id is in use twice");
        assert!(!ids.contains(&0));
        let cost = session.queue.iter().map(|waiting| waiting.message.len() + RECEIVER_OVERHEAD).sum::<usize>();
        assert!(killed || session.queue.len() <= limits.messages);
        assert!(killed || cost <= limits.bytes || session.queue.len() <= 1, "{cost} bytes queued");
    }
    for (_, conn) in broker.conns.iter() {
        let max = usize::from(broker.limits.receive_maximum);
        // The last packet that is applied may have an answer and be acknowledged. In 5.0 the client is held to its part of them.
        assert!(conn.acks.len() <= max + 1 && !conn.has_too_many_waiting(max + 2), "acknowledgements have a limit");
    }
}

/// The budget is what outputs, queues and windows hold.
fn budget(broker: &Broker) {
    let mut stored: HashMap<*const Stored, usize> = HashMap::new();
    let mut sum = 0;
    let mut hold = |message: &Rc<Stored>| {
        stored.insert(Rc::as_ptr(message), message.len());
    };
    for (_, conn) in broker.conns.iter() {
        sum += conn.out.held(&mut hold);
    }
    for (_, session) in &broker.sessions {
        for waiting in session.queue.iter() {
            hold(&waiting.message);
            sum += RECEIVER_OVERHEAD;
        }
        for message in session.inflight.iter().filter_map(|sent| sent.message.as_ref()) {
            hold(message);
            sum += RECEIVER_OVERHEAD;
        }
    }
    for deferred in broker.deferred.values() {
        hold(&deferred.stored);
    }
    sum += stored.values().sum::<usize>();
    assert_eq!(broker.budget.used(), sum, "the budget is what is held");
    let slack = broker.limits.packet_max + broker.sessions.len() * broker.limits.session_queue_bytes;
    let fair = broker.limits.output_max + slack + broker.conns.len() * (SLOW_AT + broker.limits.packet_max);
    assert!(sum <= fair, "{sum} bytes are held, {fair} are allowed");
}

/// The store would restore what the broker has.
fn mirror(broker: &Broker, store: &Store) {
    let mut known: BTreeSet<SessionId> = BTreeSet::new();
    let mut due: BTreeMap<(SessionId, EntryId), Option<(u16, bool)>> = BTreeMap::new();
    for (_, session) in &broker.sessions {
        let Some(id) = session.durable else { continue };
        known.insert(id);
        let rows = store.latest.sessions.get(&id).expect("a session that outlives its connection is in the store");
        assert_eq!((&*rows.session.client, rows.session.expiry), (&*session.client, session.expiry));
        let mut filters: Vec<_> = session.filters.iter().collect();
        filters.sort_by_key(|subscription| subscription.filter.as_str());
        assert_eq!(filters, rows.subscriptions.values().collect::<Vec<_>>(), "subscriptions of {:?}", session.client);
        assert_eq!(session.received.ids(), rows.received, "packet ids of {:?}", session.client);
        for sent in session.inflight.iter().filter(|sent| sent.entry != EntryId::ZERO) {
            let exactly = sent.stage != Stage::AtLeastOnce;
            due.insert((id, sent.entry), exactly.then_some((sent.packet_id, sent.stage == Stage::Release)));
        }
        due.extend(session.queue.iter().filter(|waiting| waiting.entry != EntryId::ZERO).map(|waiting| ((id, waiting.entry), None)));
    }
    assert_eq!(known, store.latest.sessions.keys().copied().collect::<BTreeSet<_>>(), "sessions of the broker and of the store");
    let stored: BTreeMap<_, _> = store.latest.due.iter().map(|(key, due)| (*key, state(due.state))).collect();
    assert_eq!(due, stored, "what sessions are owed, by the broker and by the store");
}

const fn state(state: DueState) -> Option<(u16, bool)> {
    match state {
        DueState::Queued => None,
        DueState::Sent(id) => Some((id, false)),
        DueState::Released(id) => Some((id, true)),
    }
}

/// Whoever is held will be woken, and what is to be written is somebody's to write.
fn nobody_waits_for_nothing(rig: &Rig<'_>) {
    for Line { id, blocked, .. } in &rig.lines {
        let Some(conn) = rig.broker.conns.get(*id) else { continue };
        assert!(conn.out.waiting() == 0 || conn.dirty || *blocked, "output that nobody writes");
        if conn.end.is_some() {
            continue;
        }
        match conn.hold {
            Some(Hold::NotStarted) => assert!(!rig.broker.owed.is_started(), "held for a start that has been"),
            Some(Hold::Acks) => assert!(conn.acks.len() + conn.answers.len() > 0, "held for acknowledgements that have left"),
            Some(Hold::Commit(counter)) => assert!(!rig.broker.owed.is_secured(counter, counter), "held for a commit that has been"),
            Some(Hold::Full(full)) => assert!(full.bits() & rig.broker.owed.full.bits() != 0, "held for queues that have room"),
            Some(Hold::Unsecured) => assert!(rig.broker.owed.bytes() > 0, "held for room that is there"),
            Some(Hold::Unread) => assert!(conn.answered > 0, "held for answers that were read"),
            Some(Hold::Slow | Hold::Rate) => assert!(rig.broker.paused_until().is_some(), "paused without an end"),
            Some(Hold::Password) => assert!(rig.broker.passwords.has_waiter(*id), "held for an answer that nobody asked for"),
            None => {}
        }
    }
}
