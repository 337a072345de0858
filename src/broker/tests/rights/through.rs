//! The same rights through wills, retained messages, groups, answers, and what is put off.

use super::*;
use crate::access::users::Users;
use crate::access::{Policy, Realm};
use crate::model::{Identity, Publisher, Restored, RetainedMessage, UpstreamId};

/// Who may do anything, to watch and to speak.
const ROOT: &str = "user root\ntopic readwrite #\n";

fn with(rules: &str) -> Bench {
    let mut bench = Bench::new(&[]);
    bench.lists(&format!("{ROOT}{rules}"), "", "");
    bench
}

/// A new subscriber that may have everything: the retained topics that come to it.
fn kept(bench: &mut Bench, user: &str) -> Vec<String> {
    let client = bench.user(user, &format!("late-{user}"));
    bench.subscribes(client, "#", 0);
    let got = bench.got(client);
    bench.cut(client.id);
    got
}

/// How a will comes to be published.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fires {
    AtOnce,
    /// After its delay, its session is there.
    Late,
    /// At the end of its session, before its delay is over.
    WithSession,
    /// By whoever takes over its client id.
    TakenOver,
}

#[test]
fn a_will_has_the_right_that_its_client_has_when_it_fires() {
    let may = "user u\ntopic write w\ntopic read #\n";
    for version in [4, 5] {
        for fires in [Fires::AtOnce, Fires::Late, Fires::WithSession, Fires::TakenOver] {
            for (now, want) in [(may, 1), ("user u\ntopic read #\n", 0), ("user u\ntopic write w\ntopic read #\ntopic deny w\n", 0)] {
                if version == 4 && matches!(fires, Fires::Late | Fires::WithSession) {
                    continue;
                }
                let mut bench = with(may);
                let root = bench.user("root", "watch");
                bench.subscribes(root, "#", 0);
                let delay = u8::from(fires == Fires::Late) * 5 + u8::from(fires == Fires::WithSession) * 200;
                let stays = fires != Fires::AtOnce;
                let will = Some(("w", Note { delay, ..Note::default() }));
                let (client, code) = bench.enter((Some("u"), 0), version, &hello(version, "c", stays, will));
                assert_eq!(code, 0);
                match fires {
                    Fires::AtOnce => {
                        // Between the end of the connection and the will there is no time but the queue's.
                        let at = bench.now();
                        bench.broker.lost(client.id, End::Eof, at);
                        bench.lists(&format!("{ROOT}{now}"), "", "");
                    }
                    Fires::Late => {
                        bench.cut(client.id);
                        bench.lists(&format!("{ROOT}{now}"), "", "");
                        bench.pass(6_000);
                    }
                    Fires::WithSession => {
                        bench.cut(client.id);
                        bench.lists(&format!("{ROOT}{now}"), "", "");
                        bench.enter((Some("u"), 0), 5, &hello(5, "c", false, None));
                    }
                    Fires::TakenOver => {
                        bench.lists(&format!("{ROOT}{now}"), "", "");
                        bench.enter((Some("u"), 0), version, &hello(version, "c", true, None));
                    }
                }
                bench.commit();
                assert_eq!(bench.got(root).len(), want, "version {version}, {fires:?}, now {now:?}");
            }
        }
    }
}

/// Who has been refused does not leave a will either.
#[test]
fn a_client_that_is_not_let_in_leaves_no_will() {
    let mut bench = with("user u\ntopic write w\n");
    let root = bench.user("root", "watch");
    bench.subscribes(root, "#", 0);
    for (topic, answer, want) in [("x", None, 0x87), ("w", Some("x"), 0x87), ("w", Some("w"), 0), ("$SYS/x", None, 0x87)] {
        let (client, code) = bench.enter((Some("u"), 0), 5, &hello(5, "c", false, Some((topic, Note { answer, ..Note::default() }))));
        assert_eq!(code, want, "{topic} {answer:?}");
        bench.cut(client.id);
        assert_eq!(bench.got(root).len(), usize::from(want == 0), "{topic} {answer:?}");
    }
}

#[test]
fn a_retained_message_comes_while_its_source_might_publish_it() {
    let may = "user a\ntopic t/#\nuser b\ntopic t/b\n";
    for (by, rules, want) in [
        ("a", may, true),
        ("a", "user a\ntopic read t/#\nuser b\ntopic t/b\n", false),
        ("a", "user a\ntopic t/#\ntopic deny t/a\nuser b\ntopic t/b\n", false),
        ("a", "user b\ntopic t/#\n", false),
        ("a", "user a\ntopic t/a\n", true),
        ("b", "user a\ntopic t/#\n", false),
        ("b", may, true),
    ] {
        for how in ["published", "as a will", "at QoS 0"] {
            let mut bench = with(may);
            let (topic, note) = (if by == "a" { "t/a" } else { "t/b" }, Note { retain: true, ..Note::default() });
            let will = (how == "as a will").then_some((topic, note));
            let (client, _) = bench.enter((Some(by), 0), 5, &hello(5, by, false, will));
            match how {
                "published" => assert_eq!(bench.publishes(client, topic, note), 0),
                "at QoS 0" => bench.say_publish(client, topic, 0, note),
                _ => {}
            }
            bench.cut(client.id);
            bench.commit();
            assert_eq!(kept(&mut bench, "root"), [topic]);
            bench.lists(&format!("{ROOT}{rules}"), "", "");
            assert_eq!(!kept(&mut bench, "root").is_empty(), want, "{how} by {by}, then {rules:?}");
            // It was held back, not lost.
            bench.lists(&format!("{ROOT}{may}"), "", "");
            assert_eq!(kept(&mut bench, "root"), [topic], "{how} by {by}, after {rules:?}");
        }
    }
}

/// A name that the lists still know, or that they leave all rights, says nothing once nobody can come in by it.
#[test]
fn what_a_user_left_behind_goes_with_the_user() {
    let users = |names: &[&str]| {
        let text: String = names.iter().map(|name| format!("{name}:$6$c2FsdHNhbHRzYWx0${}==\n", "A".repeat(86))).collect();
        let users = Some(Arc::new(Users::parse(text.as_bytes()).unwrap()));
        Policy { realms: vec![Realm { users, acl: None }, Realm::default()], acl: None }
    };
    for (user, now, want) in [
        ("u", &["root", "u"][..], true),
        ("u", &["root"], false),
        // Whom a door knows need not be in the file.
        ("cert:u", &["root"], true),
    ] {
        let mut bench = Bench::new(&[]);
        let at = bench.now();
        bench.broker.take_policy(users(&["root", "u"]), at);
        let watch = bench.user("root", "watch");
        bench.subscribes(watch, "pump/on", 0);
        let will = Some(("pump/on", Note { delay: 5, ..Note::default() }));
        let (client, _) = bench.enter((Some(user), 0), 5, &hello(5, "c", true, will));
        assert_eq!(bench.publishes(client, "pump/set", Note { retain: true, ..Note::default() }), 0);
        bench.cut(client.id);
        bench.commit();
        assert_eq!(kept(&mut bench, "root"), ["pump/set"]);
        let at = bench.now();
        bench.broker.take_policy(users(now), at);
        bench.resume();
        assert_eq!(!kept(&mut bench, "root").is_empty(), want, "{user}, then {now:?}");
        bench.pass(6_000);
        bench.commit();
        assert_eq!(!bench.got(watch).is_empty(), want, "the will of {user}, then {now:?}");
    }
}

#[test]
fn a_client_whose_certificate_is_revoked_leaves_no_will() {
    for (end, want) in [(End::Eof, 1), (End::RightLost, 1), (End::UserChanged, 1), (End::Revoked, 0)] {
        for delay in [0, 5] {
            let mut bench = Bench::new(&[]);
            let watch = bench.user("root", "watch");
            bench.subscribes(watch, "w", 0);
            let will = Some(("w", Note { delay, ..Note::default() }));
            let (client, _) = bench.enter((Some("cert:u"), 0), 5, &hello(5, "c", true, will));
            let at = bench.now();
            bench.broker.lost(client.id, end, at);
            bench.resume();
            bench.pass(6_000);
            bench.commit();
            assert_eq!(bench.got(watch).len(), want, "{end:?}, after {delay} s");
        }
    }
}

#[test]
fn a_kept_question_comes_while_its_source_might_publish_the_answer() {
    let may = "user u\ntopic write ask\ntopic write mine\n";
    let mut bench = with(may);
    let client = bench.user("u", "c");
    assert_eq!(bench.publishes(client, "ask", Note { answer: Some("mine"), retain: true, ..Note::default() }), 0);
    bench.commit();
    for (rules, want) in [(may, 1), ("user u\ntopic write ask\n", 0), (may, 1)] {
        bench.lists(&format!("{ROOT}{rules}"), "", "");
        assert_eq!(kept(&mut bench, "root").len(), want, "{rules:?}");
    }
}

#[test]
fn a_retained_message_comes_to_who_may_receive_it() {
    let mut bench =
        with("user all\ntopic read t/#\nuser one\ntopic read t/1\nuser deny\ntopic read t/#\ntopic deny t/2\nuser none\ntopic read x\n");
    let root = bench.user("root", "speaker");
    for topic in ["t/1", "t/2"] {
        bench.publishes(root, topic, Note { retain: true, ..Note::default() });
    }
    bench.commit();
    for (user, want) in [("all", &["t/1", "t/2"][..]), ("one", &["t/1"]), ("deny", &["t/1"]), ("none", &[]), ("root", &["t/1", "t/2"])] {
        assert_eq!(kept(&mut bench, user), want, "{user}");
    }
}

/// The store knows who it was. What it kept before it did has the rights of nobody; the gateway's own has every right.
#[test]
fn the_source_of_a_retained_message_outlives_a_restart() {
    let client = |user: Option<&str>| {
        Publisher::Client(Arc::new(Identity { user: user.map(Into::into), client: "c".into(), listener: "open".into() }))
    };
    for (source, topic, rules, want) in [
        (client(Some("a")), "t", "user a\ntopic write t\n", true),
        (client(Some("a")), "t", "user a\ntopic read t\n", false),
        (client(Some("gone")), "t", "user a\ntopic write t\n", false),
        (client(None), "t", "anonymous\ntopic write t\n", true),
        (client(None), "t", "user a\ntopic write t\n", false),
        (client(Some("a")), "c/t", "pattern write %c/t\n", true),
        (client(Some("a")), "d/t", "pattern write %c/t\n", false),
        (Publisher::Gateway, "t/set", "", true),
        (Publisher::Unknown, "t", "", true),
        (Publisher::Unknown, "t/set", "", false),
        (Publisher::Unknown, "t/set", "anonymous\ntopic t/set\n", false),
    ] {
        let mut bench = Bench::unstarted(&[], quiet());
        bench.lists(&format!("{ROOT}{rules}"), "", "");
        let (topic_of, body) = (Topic::new(topic).unwrap(), Body::raw("x".into()));
        let message = RetainedMessage {
            topic: topic_of,
            body,
            qos: QoS::AtLeastOnce,
            properties: bytes::Bytes::new(),
            expires: None,
            source: source.clone(),
        };
        bench.outbox(OutboxToBroker::Restored(vec![Restored::Retained(message)]));
        let mut bench = bench.started();
        assert_eq!(kept(&mut bench, "root") == [topic], want, "{source:?} {topic}, {rules:?}");
    }
}

/// And tells the store.
#[test]
fn a_retained_message_goes_to_the_store_with_its_source() {
    let mut bench = with("user a\ntopic #\n");
    let client = bench.user("a", "c");
    bench.publishes(client, "t", Note { retain: true, ..Note::default() });
    bench.commit();
    let told = |put: &Put| if let Put::Entry(entry) = put { Some(entry.source.clone()) } else { None };
    let by = Identity { user: Some("a".into()), client: "c".into(), listener: "open".into() };
    assert_eq!(bench.put.iter().filter_map(told).collect::<Vec<_>>(), [Publisher::Client(Arc::new(by))]);
}

#[test]
fn a_group_has_no_member_without_the_right() {
    let rules = "user all\ntopic read #\nuser some\ntopic read t/1\nuser deny\ntopic read #\ntopic deny t/2\n";
    for version in [4, 5] {
        let mut bench = with(rules);
        let root = bench.user("root", "speaker");
        let mut members = Vec::new();
        for user in ["all", "some", "deny"] {
            let (member, _) = bench.enter((Some(user), 0), version, &hello(version, user, false, None));
            assert_eq!(bench.subscribes(member, "$share/g/t/#", 1), 1, "{user}");
            members.push(member);
        }
        for n in 0..12 {
            let topic = if n < 6 { "t/1" } else { "t/2" };
            bench.publishes(root, topic, Note::default());
        }
        let got: Vec<_> = members.iter().map(|member| bench.got(*member)).collect();
        assert_eq!(got.iter().flatten().count(), 12, "each message comes to one of them: {got:?}");
        assert_eq!(got[0].iter().filter(|topic| *topic == "t/2").count(), 6, "{got:?}");
        assert!(got.iter().all(|got| got.contains(&"t/1".to_owned())), "in turn: {got:?}");
        // A member that loses its right hands on what it has not answered.
        bench.publishes(root, "t/2", Note::default());
        bench.raw(members[0].id);
        bench.lists(&format!("{ROOT}user some\ntopic read t/1\nuser deny\ntopic read #\n"), "", "");
        assert_eq!(bench.got(members[2]), ["t/2"], "version {version}");
    }
}

/// What an answer is published to, the client itself must be allowed to publish to.
#[test]
fn an_answer_has_the_rights_of_who_asks_for_it() {
    let mut bench = with("user u\ntopic write ask\ntopic write mine\ntopic deny mine/not\n");
    let root = bench.user("root", "watch");
    bench.subscribes(root, "#", 0);
    let client = bench.user("u", "c");
    for (answer, want) in [("mine", 0), ("ask", 0), ("theirs/set", 0x87), ("mine/not", 0x87), ("$SYS/x", 0x87), ("mine/", 0x87)] {
        assert_eq!(bench.publishes(client, "ask", Note { answer: Some(answer), ..Note::default() }), want, "{answer}");
        bench.say_publish(client, "ask", 0, Note { answer: Some(answer), ..Note::default() });
        assert_eq!(bench.got(root).len(), if want == 0 { 2 } else { 0 }, "{answer}");
    }
}

/// A message of QoS 2 may go out long after it came: to those who may receive it then.
#[test]
fn what_is_put_off_goes_to_who_may_receive_it_then() {
    let rules = "user u\ntopic read t\n";
    for (now, want) in [(rules, 1), ("user u\ntopic read x\n", 0)] {
        let mut bench = with(rules);
        let (speaker, _) = bench.enter((Some("root"), 0), 5, &hello(5, "speaker", true, None));
        let reader = bench.user("u", "reader");
        bench.subscribes(reader, "t", 0);
        bench.commit();
        qos2::say(&mut bench, speaker.id, &wire5::publish5(0x34, "t", 7, &[], "x"));
        assert_eq!(bench.got(reader), [""; 0], "not before its packet id is committed");
        bench.lists(&format!("{ROOT}{now}user u\ntopic read other\n"), "", "");
        bench.commit();
        assert_eq!(bench.got(reader).len(), want, "{now:?}");
    }
}

#[test]
fn what_comes_from_an_upstream_has_its_users_rights() {
    for (rules, topic, want) in [
        (None, "t", true),
        (None, "t/set", false),
        (None, "$SYS/x", false),
        (None, "$x/y", false),
        (Some("user upstream:up0\ntopic write +/set\n"), "t/set", true),
        (Some("user upstream:up0\ntopic write +/set\n"), "t", false),
        (Some("user upstream:other\ntopic write #\n"), "t", false),
        (Some("anonymous\ntopic write #\n"), "t", false),
        (Some("user upstream:up0\ntopic write $SYS/#\n"), "$SYS/x", false),
    ] {
        let mut bench = Bench::new(&[&["nothing"]]);
        if let Some(rules) = rules {
            bench.lists(&format!("{ROOT}topic readwrite $x/#\ntopic readwrite $SYS/#\n{rules}"), "", "");
        }
        let root = bench.user("root", "watch");
        for filter in ["#", "$x/#", "$SYS/#"] {
            bench.subscribes(root, filter, 0);
        }
        let message =
            Message::new(Topic::new(topic).unwrap(), Body::raw("x".into()), QoS::AtLeastOnce, true, Origin::Upstream(UpstreamId(0)));
        let now = bench.now();
        bench.broker.inject(&mut [message].into(), now);
        assert_eq!(!bench.got(root).is_empty(), want, "{rules:?} {topic}");
        assert_eq!(kept(&mut bench, "root").is_empty(), !want || topic.starts_with('$'), "{rules:?} {topic}");
    }
}
