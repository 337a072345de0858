use super::*;
use crate::model::{
    Change, DoneHow, Due, DueDone, DueState, Publisher, QoS, RetainHandling, RetainedMessage, SessionId, StateChange, StoredSession,
    StoredWill, SubscribeOptions, Subscription, TopicFilter,
};

const MS: Duration = Duration::from_millis(1);

impl Rig {
    fn next_id(&mut self) -> EntryId {
        self.counter += 1;
        EntryId::new(self.start.epoch, self.counter)
    }

    fn put_one(&mut self, put: Put) {
        self.ledger.apply(Event::Put(vec![put]), self.now);
        self.settle();
    }

    pub(super) fn change(&mut self, awaited: bool, what: StateChange) -> EntryId {
        let id = self.next_id();
        self.put_one(Put::Change(Change { id, awaited, at: self.now.mono, at_wall: self.now.wall, what }));
        id
    }

    /// Begins a session and secures it.
    pub(super) fn session(&mut self, client: &str) -> SessionId {
        let id = self.next_id();
        let what = StateChange::Session(session(SessionId(id), client));
        self.put_one(Put::Change(Change { id, awaited: true, at: self.now.mono, at_wall: self.now.wall, what }));
        self.after(MS * 201);
        assert!(self.is_secured(id));
        SessionId(id)
    }

    pub(super) fn entry(&mut self, with: impl FnOnce(&mut Entry)) -> EntryId {
        let id = self.next_id();
        let mut entry = Entry {
            id,
            awaited: true,
            accepted: self.now.mono,
            accepted_wall: self.now.wall,
            ..Entry::new(Topic::new("a/b").expect("a topic"), Body::raw(Bytes::from(format!("{:0>100}", self.counter))))
        };
        with(&mut entry);
        self.put_one(Put::Entry(entry));
        id
    }

    pub(super) fn done_by(&mut self, session: SessionId, entry: EntryId, how: DoneHow) {
        self.put_one(Put::Done(DueDone { session, entry, how }));
    }

    pub(super) fn count(&self, table: &str) -> i64 {
        let db = self.file.db.as_ref().expect("a connection");
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a number")
    }
}

fn session(id: SessionId, client: &str) -> StoredSession {
    StoredSession { id, client: client.into(), user: None, expiry: 3_600, left_ms: None, listener: "".into(), will: None }
}

fn will() -> StoredWill {
    StoredWill {
        topic: Topic::new("will").expect("a topic"),
        body: Bytes::from_static(b"gone"),
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: Bytes::from_static(b"\x01\x01"),
        expiry: Some(7),
        delay: 9,
    }
}

pub(super) fn due(session: SessionId, prompt: bool) -> Due {
    Due { session, qos: QoS::AtLeastOnce, retain: false, identifiers: [].into(), state: DueState::Queued, prompt }
}

fn due2(session: SessionId, state: DueState) -> Due {
    Due { qos: QoS::ExactlyOnce, state, ..due(session, false) }
}

fn subscription(filter: &str) -> Subscription {
    Subscription { filter: TopicFilter::new(filter).expect("a filter"), options: SubscribeOptions::at(QoS::AtLeastOnce), identifier: None }
}

#[test]
fn every_kind_of_state_is_there_again_after_a_kill() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    let one = rig.session("one");
    let two = SessionId(rig.next_id());
    let with_all = StoredSession {
        user: Some("somebody".into()),
        left_ms: Some(5_000),
        listener: "lan".into(),
        will: Some(will()),
        ..session(two, "two")
    };
    rig.put_one(Put::Change(Change {
        id: two.0,
        awaited: true,
        at: rig.now.mono,
        at_wall: rig.now.wall,
        what: StateChange::Session(with_all.clone()),
    }));
    let options =
        SubscribeOptions { qos: QoS::ExactlyOnce, no_local: true, retain_as_published: true, retain_handling: RetainHandling::DoNotSend };
    let full = Subscription { options, identifier: Some(268_435_455), ..subscription("$share/g/a/#") };
    rig.change(true, StateChange::Subscribed { session: one, subscription: subscription("gone") });
    rig.change(true, StateChange::Subscribed { session: one, subscription: full.clone() });
    rig.change(true, StateChange::Unsubscribed { session: one, filter: subscription("gone").filter });
    rig.change(true, StateChange::Received { session: one, packet_id: 6 });
    rig.change(true, StateChange::Received { session: one, packet_id: 7 });
    rig.change(true, StateChange::Released { session: one, packet_id: 7 });
    let detailed = Due { retain: true, identifiers: [1, 70_000].into(), ..due2(one, DueState::Sent(9)) };
    let entry = rig.entry(|entry| {
        entry.due = vec![detailed.clone(), due(two, false)];
        entry.received = Some((two, 5));
        entry.properties = Bytes::from_static(b"\x01\x00");
        entry.retained = true;
        entry.retain = true;
    });
    let gone = rig.entry(|entry| entry.due = vec![due(two, false)]);
    rig.change(true, StateChange::Due { entry, due: due2(two, DueState::Released(4)) });
    let retained = RetainedMessage {
        topic: Topic::new("r").expect("a topic"),
        body: Body::raw(Bytes::from_static(b"r")),
        qos: QoS::AtMostOnce,
        properties: Bytes::new(),
        expires: None,
        source: Publisher::Gateway,
    };
    rig.change(false, StateChange::Retained(retained.clone()));
    rig.change(false, StateChange::Retained(RetainedMessage { topic: Topic::new("not").expect("a topic"), ..retained.clone() }));
    rig.change(false, StateChange::RetainedGone(Topic::new("not").expect("a topic")));
    rig.after(MS * 1_001);
    assert!((1..=rig.counter).all(|n| rig.is_secured(EntryId::new(1, n))));
    rig.done_by(two, gone, DoneHow::Acknowledged);
    rig.after(MS * 5_001);
    drop(rig);

    let rig = Rig::open(&store_in(&folder), &["cloud"]);
    let [sessions @ .., last] = &rig.restored[..] else { panic!("{:?}", rig.restored) };
    assert_eq!(last, &Restored::Retained(retained));
    let [Restored::Session(first), Restored::Session(second), rest @ ..] = sessions else { panic!("{sessions:?}") };
    assert_eq!(first, &session(one, "one"));
    // In the same boot, and the clock of this run began again.
    assert_eq!(second, &with_all);
    let [Restored::Subscription { session, subscription }, rest @ ..] = rest else { panic!("{rest:?}") };
    assert_eq!((session, subscription), (&one, &full));
    let [a, b, Restored::Entry(kept), Restored::Retained(of_entry)] = rest else { panic!("{rest:?}") };
    assert_eq!([a, b], [&Restored::Received { session: one, packet_id: 6 }, &Restored::Received { session: two, packet_id: 5 }]);
    assert_eq!((kept.id, &kept.due), (entry, &vec![detailed, due2(two, DueState::Released(4))]));
    assert_eq!((&kept.properties[..], kept.retain, kept.qos), (&b"\x01\x00"[..], true, QoS::AtLeastOnce));
    assert_eq!(of_entry.body, kept.body);
}

#[test]
fn what_a_session_is_done_with_goes_and_the_entry_with_the_last_of_it() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    let (one, two) = (rig.session("one"), rig.session("two"));
    let both = rig.entry(|entry| entry.due = vec![due(one, false), due(two, false)]);
    let with_upstream = rig.entry(|entry| {
        entry.due = vec![due(one, false)];
        entry.owed.insert(UpstreamId(0));
    });
    rig.after(MS * 1_001);
    assert!(rig.is_secured(both) && rig.is_secured(with_upstream));
    assert_eq!((rig.count("entry"), rig.count("due")), (2, 3));
    rig.done_by(one, both, DoneHow::Acknowledged);
    rig.done_by(one, with_upstream, DoneHow::Acknowledged);
    rig.after(MS * 5_001);
    assert_eq!((rig.count("entry"), rig.count("due")), (2, 1), "the other session and the upstream are still owed");
    rig.done_by(two, both, DoneHow::Expired);
    rig.link(0, true);
    assert_eq!(rig.drain(0).len(), 1);
    rig.after(MS * 5_001);
    assert_eq!((rig.count("entry"), rig.count("due")), (0, 0));
    assert_eq!((rig.status().entries, rig.status().expired), (0, 1));
}

/// Somebody else's hand on the file, while nobody holds it.
fn edit(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).expect("the file opens").execute_batch(sql).expect("it can be edited");
}

/// Two sessions with a subscription, a packet id and a message each, and two retained messages.
fn filled(path: &Path) -> (SessionId, SessionId) {
    let mut rig = Rig::open(path, &["cloud"]);
    let sessions = [rig.session("one"), rig.session("two")];
    for session in sessions {
        rig.change(true, StateChange::Subscribed { session, subscription: subscription("a/#") });
        rig.change(true, StateChange::Received { session, packet_id: 1 });
        rig.entry(|entry| entry.due = vec![due(session, false)]);
    }
    for topic in ["r/1", "r/2"] {
        rig.entry(|entry| {
            entry.retained = true;
            entry.topic = Topic::new(topic).expect("a topic");
        });
    }
    rig.after(MS * 1_001);
    (sessions[0], sessions[1])
}

/// Sessions, subscriptions, packet ids, entries, retained messages.
fn kinds(restored: &[Restored]) -> [usize; 5] {
    let mut kinds = [0; 5];
    for item in restored {
        let kind = match item {
            Restored::Session(_) => 0,
            Restored::Subscription { .. } => 1,
            Restored::Received { .. } => 2,
            Restored::Entry(_) => 3,
            Restored::Retained(_) => 4,
        };
        kinds[kind] += 1;
    }
    kinds
}

#[test]
fn a_damaged_row_takes_what_hangs_on_it_and_nothing_else() {
    let all = [2, 2, 2, 2, 2];
    for (what, sql, expected, lost) in [
        ("nothing", "SELECT 1", all, 0),
        ("a session", "UPDATE session SET client = 'other' WHERE client = 'one'", [1, 1, 1, 1, 2], 0),
        ("a session that is another type", "UPDATE session SET expiry = 'x' WHERE client = 'one'", [1, 1, 1, 1, 2], 0),
        ("a subscription", "UPDATE subscription SET options = 2 WHERE session = (SELECT min(id) FROM session)", [2, 1, 2, 2, 2], 0),
        ("a packet id", "UPDATE received SET packet_id = 9 WHERE session = (SELECT min(id) FROM session)", [2, 2, 1, 2, 2], 0),
        ("what is due", "UPDATE due SET state = 1 WHERE session = (SELECT min(id) FROM session)", [2, 2, 2, 1, 2], 1),
        ("an entry", "UPDATE entry SET body = x'00' WHERE id = (SELECT min(id) FROM entry)", [2, 2, 2, 1, 2], 1),
        ("an entry that is gone", "DELETE FROM entry WHERE id = (SELECT min(id) FROM entry)", [2, 2, 2, 1, 2], 1),
        ("a retained message", "UPDATE retained SET kind = 1 WHERE topic = CAST('r/1' AS BLOB)", [2, 2, 2, 2, 1], 0),
        ("a boot", "UPDATE boot SET began = began + 1", all, 0),
    ] {
        let folder = folder();
        let path = store_in(&folder);
        filled(&path);
        edit(&path, sql);
        let rig = Rig::open(&path, &["cloud"]);
        assert_eq!(kinds(&rig.restored), expected, "{what}");
        let status = rig.status();
        assert_eq!(status.lost, lost, "{what}");
        assert_eq!(status.alarms.is_empty(), expected == all, "{what}: {:?}", status.alarms);
        drop(rig);
        let rig = Rig::open(&path, &["cloud"]);
        assert_eq!((kinds(&rig.restored), rig.status().lost), (expected, lost), "{what}: told once");
    }
}

#[test]
fn a_file_of_before_sessions_is_migrated_and_keeps_what_it_held() {
    let folder = folder();
    let path = store_in(&folder);
    Rig::open(&path, &["cloud"]).put(3, &[0], true);
    let crc = crate::outbox::schema::meta_crc("schema", 1);
    let tables = ["boot", "session", "subscription", "due", "received", "retained", "lost"].map(|table| format!("DROP TABLE {table};"));
    edit(&path, &format!("{} UPDATE meta SET value = 1, crc = {crc}", tables.concat()));
    let mut rig = Rig::open(&path, &["cloud"]);
    assert!(rig.status().alarms.is_empty(), "{:?}", rig.status().alarms);
    let session = rig.session("one");
    let id = rig.entry(|entry| entry.due = vec![due(session, false)]);
    assert!(rig.is_secured(id));
    rig.link(0, true);
    assert_eq!(rig.drain(0), [1, 2, 3]);
    drop(rig);
    assert_eq!(kinds(&Rig::open(&path, &["cloud"]).restored), [1, 0, 0, 1, 0]);
}

#[test]
fn what_expires_counts_over_a_restart_as_far_as_the_clocks_are_known() {
    const SECOND: i64 = 1_000;
    let moment = |boot: &str, since_boot: u64, wall: i64, trusted| Moment {
        now: Now { mono: Mono::from_millis(1_000), wall: Wall(wall) },
        boot: boot.into(),
        since_boot: Duration::from_millis(since_boot),
        trusted,
    };
    for (what, trusted, next, left) in [
        ("the process was away for 20 s", false, moment("a", 30_000, 0, false), 40_000),
        ("5 s of another boot, no trusted clock", false, moment("b", 5_000, 999 * SECOND, true), 55_000),
        ("off for 20 s, trusted", true, moment("b", 5_000, 30 * SECOND, true), 40_000),
        ("longer than it lasts", true, moment("b", 5_000, 999 * SECOND, true), 0),
    ] {
        let folder = folder();
        let options = || options(&store_in(&folder), &["cloud"]);
        let mut rig = Rig::at(options(), &moment("a", 10_000, 10 * SECOND, trusted)).expect("free");
        let id = SessionId(rig.next_id());
        let change = Change {
            id: id.0,
            awaited: true,
            at: rig.now.mono,
            at_wall: rig.now.wall,
            what: StateChange::Session(StoredSession { left_ms: Some(60_000), ..session(id, "one") }),
        };
        rig.put_one(Put::Change(change));
        let expires = rig.now.mono + MS * 60_000;
        let entry = rig.entry(|entry| {
            entry.due = vec![due(id, false)];
            entry.expires = Some(expires);
            entry.retained = true;
        });
        assert!(rig.is_secured(entry));
        drop(rig);
        let rig = Rig::at(options(), &next).expect("free");
        let [Restored::Session(session), Restored::Entry(entry), Restored::Retained(retained)] = &rig.restored[..] else {
            panic!("{what}: {:?}", rig.restored)
        };
        let expires = next.now.mono + Duration::from_millis(left);
        assert_eq!((session.left_ms, entry.expires, retained.expires), (Some(left), Some(expires), Some(expires)), "{what}");
    }
}

/// Online nothing is written for as long as a site runs; what it ran counts all the same after an orderly end.
#[test]
fn an_orderly_end_says_how_long_the_machine_ran() {
    let folder = folder();
    let path = store_in(&folder);
    let mut rig = Rig::open(&path, &["cloud"]);
    let id = SessionId(rig.next_id());
    let what = StateChange::Session(StoredSession { left_ms: Some(60_000), ..session(id, "one") });
    rig.put_one(Put::Change(Change { id: id.0, awaited: true, at: rig.now.mono, at_wall: rig.now.wall, what }));
    rig.after(MS * 20_000);
    rig.ledger.apply(Event::Finish, rig.now);
    rig.settle();
    let another = Moment { boot: "another".into(), since_boot: MS * 5_000, ..moment(rig.now) };
    drop(rig);
    let rig = Rig::at(options(&path, &["cloud"]), &another).expect("free");
    let [Restored::Session(session)] = &rig.restored[..] else { panic!("{:?}", rig.restored) };
    assert_eq!(session.left_ms, Some(35_000));
}

#[test]
fn what_has_expired_is_not_handed_to_an_upstream() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    let expires = rig.now.mono + MS * 500;
    for expires in [Some(expires), None, Some(expires)] {
        rig.entry(|entry| {
            entry.owed.insert(UpstreamId(0));
            entry.expires = expires;
        });
    }
    rig.after(MS * 1_000);
    rig.link(0, true);
    rig.pull(0, 10);
    assert_eq!(rig.handed[0].iter().map(number).collect::<Vec<_>>(), [2]);
    let id = rig.handed[0][0].id;
    rig.ack(0, &[id]);
    rig.after(MS * 6_000);
    assert_eq!((rig.status().entries, rig.status().expired, rig.count("entry")), (0, 2, 0));
}
