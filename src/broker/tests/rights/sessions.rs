//! Whose a session is, and what is left of it when its client comes back with other rights.

use super::*;
use crate::model::admin::Ask;
use crate::model::{Due, DueState, Entry, Restored, SessionId, StateChange, StoredSession, SubscribeOptions, Subscription};

const ROOT: &str = "user root\ntopic readwrite #\n";

/// What a session is when somebody else comes with its client id.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Connected,
    Away,
    Stored,
}

fn stored(user: Option<&str>) -> StoredSession {
    StoredSession {
        id: SessionId(EntryId::new(EPOCH - 1, 1)),
        client: "c".into(),
        user: user.map(Into::into),
        expiry: StoredSession::NEVER,
        left_ms: None,
        listener: "open".into(),
        will: None,
    }
}

/// A session of `user` with a subscription to `a/#` and messages to `a/1` and `a/2` that wait for it.
fn session_of(user: Option<&str>, is: Is, rules: &str) -> Bench {
    if is == Is::Stored {
        let mut bench = Bench::unstarted(&[], quiet());
        bench.lists(rules, "", "");
        let session = stored(user);
        let id = session.id;
        let subscription =
            Subscription { filter: TopicFilter::new("a/#").unwrap(), options: SubscribeOptions::at(QoS::AtLeastOnce), identifier: None };
        let due = Due { session: id, qos: QoS::AtLeastOnce, retain: false, identifiers: [].into(), state: DueState::Queued, prompt: false };
        let entry = |n: u64| {
            let entry = Entry::new(Topic::new(&format!("a/{n}")).unwrap(), Body::raw("x".into()));
            Restored::Entry(Entry { id: EntryId::new(EPOCH - 1, 1 + n), due: vec![due.clone()], ..entry })
        };
        bench.outbox(OutboxToBroker::Restored(vec![
            Restored::Session(session),
            Restored::Subscription { session: id, subscription },
            entry(1),
            entry(2),
        ]));
        return bench.started();
    }
    let mut bench = Bench::new(&[]);
    bench.lists(rules, "", "");
    let (client, code) = bench.enter((user, 0), 4, &hello(4, "c", true, None));
    assert_eq!((code, bench.subscribes(client, "a/#", 1)), (0, 1));
    if is == Is::Away {
        bench.cut(client.id);
    }
    let root = bench.user("root", "speaker");
    bench.publishes(root, "a/1", Note::default());
    bench.publishes(root, "a/2", Note::default());
    bench
}

#[test]
fn a_session_belongs_to_its_user() {
    let rules = format!("{ROOT}topic a/#\neveryone\ntopic a/#\n");
    for (owner, other, refused, inherits) in [
        (Some("u"), Some("u"), false, true),
        (Some("u"), Some("v"), true, false),
        (Some("u"), None, true, false),
        (None, Some("u"), false, false),
        (None, None, false, true),
    ] {
        for is in [Is::Connected, Is::Away, Is::Stored] {
            for version in [4, 5] {
                for stays in [true, false] {
                    let case = format!("{owner:?} {is:?}, then {other:?} of {version}, stays {stays}");
                    let mut bench = session_of(owner, is, &rules);
                    let (client, code) = bench.enter((other, 0), version, &hello(version, "c", stays, None));
                    bench.commit();
                    if refused {
                        assert_eq!(code, if version == 5 { 0x85 } else { 0x02 }, "{case}");
                        assert!(bench.end_of(client.id) == Some(End::Foreign) && bench.got(client).is_empty(), "{case}");
                        // Its owner has lost nothing.
                        let (owner, code) = bench.enter((owner, 0), 4, &hello(4, "c", true, None));
                        assert_eq!((code, bench.sessions_of("c"), bench.count_of("c")), (0, 1, 2), "{case}");
                        bench.cut(owner.id);
                        continue;
                    }
                    let keeps = inherits && stays;
                    assert_eq!((bench.sessions_of("c"), bench.count_of("c")), (1, if keeps { 2 } else { 0 }), "{case}");
                    let root = bench.user("root", "speaker2");
                    bench.publishes(root, "a/3", Note::default());
                    assert_eq!(bench.count_of("c"), if keeps { 3 } else { 0 }, "nor its subscriptions: {case}");
                }
            }
        }
    }
}

impl Bench {
    fn sessions_of(&self, client: &str) -> usize {
        self.broker.sessions.iter().filter(|(_, session)| *session.client == *client).count()
    }

    /// Messages that wait for this client, or are on their way to it.
    fn count_of(&self, client: &str) -> usize {
        let of = self.broker.sessions.iter().find(|(_, session)| *session.client == *client);
        of.map_or(0, |(_, session)| session.queue.len() + session.inflight.len())
    }
}

#[test]
fn a_session_that_is_resumed_has_what_its_rights_allow() {
    let before = format!("{ROOT}user u\ntopic read a/#\n");
    for (now, messages, subscribed) in [
        ("user u\ntopic read a/#\n", 2, true),
        ("user u\ntopic read a/1\n", 1, true),
        ("user u\ntopic read a/#\ntopic deny a/1\n", 1, true),
        ("user u\ntopic receive a/#\n", 2, false),
        ("user u\ntopic receive a/#\ntopic subscribe a/#\n", 2, true),
        ("user u\ntopic read b\n", 0, false),
        ("user v\ntopic read a/#\n", 0, false),
    ] {
        let after = format!("{ROOT}{now}");
        for is in [Is::Connected, Is::Away, Is::Stored] {
            // The list was another one when it was stored.
            let mut bench = session_of(Some("u"), is, if is == Is::Stored { &after } else { &before });
            bench.lists(&after, "", "");
            let (client, code) = bench.enter((Some("u"), 0), 5, &hello(5, "c", true, None));
            assert_eq!(code, 0);
            bench.commit();
            let case = format!("{is:?}, now {now:?}");
            // What was sent before and is sent again counts once.
            assert_eq!(bench.count_of("c"), messages, "{case}");
            bench.got(client);
            let root = bench.user("root", "speaker2");
            bench.publishes(root, "a/2", Note::default());
            let receives = subscribed && !now.contains("read a/1\n");
            assert_eq!(bench.got(client).len(), usize::from(receives), "{case}");
            let told = bench.put.iter().filter(|put| matches!(put, Put::Change(c) if matches!(c.what, StateChange::Unsubscribed { .. })));
            assert_eq!(told.count(), usize::from(!subscribed), "the store hears of it: {case}");
        }
    }
}

/// Rights may depend on the door: a session goes by the door by which its client came last.
#[test]
fn a_session_that_comes_by_another_door_has_the_rights_of_that() {
    let mut bench = Bench::new(&[]);
    bench.lists("", "everyone\ntopic #\n", "everyone\ntopic a/1\n");
    let speaker = bench.user("root", "speaker");
    let (client, _) = bench.enter((Some("u"), 0), 4, &hello(4, "c", true, None));
    bench.subscribes(client, "a/#", 1);
    bench.cut(client.id);
    for (door, want) in [(0, &["a/1", "a/2"][..]), (1, &["a/1"]), (1, &["a/1"]), (0, &["a/1", "a/2"])] {
        let (client, code) = bench.enter((Some("u"), door), 4, &hello(4, "c", true, None));
        assert_eq!(code, 0);
        for topic in ["a/1", "a/2"] {
            bench.publishes(speaker, topic, Note::default());
        }
        assert_eq!(bench.got(client), want, "by door {door}");
        bench.cut(client.id);
        bench.commit();
    }
}

#[test]
fn whose_a_session_is_is_told_also_while_nobody_is_there() {
    for is in [Is::Connected, Is::Away, Is::Stored] {
        let mut bench = session_of(Some("root"), is, ROOT);
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        let now = bench.now();
        bench.broker.ask(Ask::Client { id: "c".into(), from: 0, reply }, now);
        let detail = answer.try_recv().expect("an answer").expect("there is such a session");
        assert_eq!(detail.client.user.as_deref(), Some("root"), "{is:?}");
    }
}
