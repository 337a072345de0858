//! Kills that are placed where a promise could be broken: between the packet that makes it and the commit that it stands for. Each case runs as
//! it is, and with the defect that it is there to find.

use std::time::Duration;

use tidegate::clock;

use crate::harness::gateway::Site;
use crate::harness::words::{Words, message_of};
use crate::harness::{alone, has_faults, report};

/// Commits are held for 3 s (`hang-fsync`); what comes before this has passed was not committed.
const EARLY: Duration = Duration::from_millis(1_500);

/// What comes within [`EARLY`] that `wanted` names.
fn early(link: &mut Words, wanted: &str) -> Option<Vec<String>> {
    let deadline = clock::mono() + EARLY;
    while clock::mono() < deadline {
        if let Some(found) = link.packets().into_iter().find(|packet| packet[0] == wanted) {
            return Some(found);
        }
        clock::block_for(Duration::from_millis(2));
    }
    None
}

fn client(site: &Site, name: &str, clean: u8) -> Words {
    let mut link = Words::open(site.port, 4).expect("the gateway listens");
    link.send(&format!("connect 4 id={name} clean={clean}"));
    let greeted = link.next("CONNACK");
    assert_eq!(greeted[..2], ["connack", "0"]);
    link
}

/// Runs `case` against a gateway with its commits held, and `fault` if it is not empty. True if what was promised is kept.
fn kept(fault: &str, case: fn(&Site, Held<'_>) -> bool) -> bool {
    let site = Site::new("");
    let fault = if fault.is_empty() { "hang-fsync".to_owned() } else { format!("hang-fsync,{fault}") };
    case(&site, &|site: &Site, act: &mut dyn FnMut()| {
        let held = site.launch().fault(&fault).start();
        act();
        held.kill();
    })
}

type Held<'a> = &'a dyn Fn(&Site, &mut dyn FnMut());

fn check(fault: &str, case: fn(&Site, Held<'_>) -> bool) {
    if !has_faults(&format!("kill_sessions: {fault}")) {
        return;
    }
    let _alone = alone();
    assert!(kept("", case), "a promise was broken");
    assert!(!kept(fault, case), "the test does not see what `{fault}` breaks");
    report(&format!("kill_sessions: CONTROL {fault}: the kill before the commit is seen"));
}

/// A subscription that was acknowledged is there.
fn subscription(site: &Site, held: Held<'_>) -> bool {
    let gateway = site.start();
    let mut own = client(site, "own", 0);
    own.send("subscribe #1 before=1");
    own.next("SUBACK");
    gateway.kill();
    let mut acknowledged = false;
    held(site, &mut || {
        let mut own = client(site, "own", 0);
        own.send("subscribe #2 x=1");
        acknowledged = early(&mut own, "suback").is_some();
    });
    let gateway = site.start();
    let mut own = client(site, "own", 0);
    let mut other = client(site, "other", 1);
    other.send("publish q0 x \"1\"");
    other.send("publish q0 before \"2\"");
    let came = message_of(&own.next("a message")).1;
    drop(gateway);
    !acknowledged || came == "1"
}

/// A packet id whose release was acknowledged is free: what is sent under it then is a new message.
fn release(site: &Site, held: Held<'_>) -> bool {
    let gateway = site.start();
    let mut own = client(site, "own", 0);
    own.send("publish q2 #1 x \"old\"");
    assert_eq!(own.next("PUBREC")[0], "pubrec");
    gateway.kill();
    let mut completed = false;
    held(site, &mut || {
        let mut own = client(site, "own", 0);
        own.send("pubrel #1");
        completed = early(&mut own, "pubcomp").is_some();
    });
    let gateway = site.start();
    let mut subscriber = client(site, "subscriber", 1);
    subscriber.send("subscribe #1 x=2");
    subscriber.send("subscribe #2 end=0");
    subscriber.next("SUBACK");
    subscriber.next("SUBACK of the end");
    let mut own = client(site, "own", 0);
    if !completed {
        own.send("pubrel #1");
        assert_eq!(own.next("PUBCOMP")[0], "pubcomp");
    }
    own.send("publish q2 #1 x \"new\"");
    assert_eq!(own.next("PUBREC")[0], "pubrec");
    own.send("publish q0 end \"end\"");
    let came = subscriber.next("the message, or the end");
    drop(gateway);
    message_of(&came).1 == "new"
}

/// What a client got under a packet id is not followed by another message under it, as if the first had never been.
fn delivery(site: &Site, held: Held<'_>) -> bool {
    let gateway = site.start();
    let mut subscriber = client(site, "subscriber", 0);
    subscriber.send("subscribe #1 x=2");
    subscriber.next("SUBACK");
    gateway.kill();
    // What the subscriber has under which id, and has not been asked to release.
    let mut known: Option<(String, String)> = None;
    held(site, &mut || {
        let mut subscriber = client(site, "subscriber", 0);
        let mut publisher = client(site, "publisher", 0);
        publisher.send("publish q2 #1 x \"first\"");
        if let Some(packet) = early(&mut subscriber, "publish") {
            let id = packet.iter().find(|word| word.starts_with('#')).expect("an id").clone();
            subscriber.send(&format!("pubrec {id}"));
            known = Some((id, message_of(&packet).1));
        }
    });
    let gateway = site.start();
    let mut other = client(site, "other", 1);
    other.send("publish q2 #1 x \"second\"");
    assert_eq!(other.next("PUBREC")[0], "pubrec");
    let mut subscriber = client(site, "subscriber", 0);
    let came = subscriber.next("the message");
    drop(gateway);
    // To a receiver an id that it holds is the message that it has: it drops what comes under it [MQTT-4.3.3].
    known.is_none_or(|(id, body)| !came.contains(&id) || message_of(&came).1 == body)
}

#[test]
fn an_acknowledged_subscription_is_in_the_store() {
    check("suback-early", subscription);
}

#[test]
fn an_acknowledged_release_is_in_the_store() {
    check("pubcomp-early", release);
}

#[test]
fn a_qos_2_message_is_in_the_store_with_its_id_before_it_leaves() {
    check("qos2-early", delivery);
}
