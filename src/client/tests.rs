//! The session by bytes: what the server says, and what must be said then.

use super::session::{Event, Publication, Session};
use crate::model::QoS;
use crate::mqtt::Version;
use crate::mqtt::client::Connack;
use crate::mqtt::encode::{self, ConnackProperties};
use crate::mqtt::{Reason, split};

fn connack(present: bool, properties: &ConnackProperties<'_>) -> Connack {
    let mut packet = Vec::new();
    encode::connack(&mut packet, Version::V5, present, Reason::Success, properties);
    Connack::parse(&split(&packet, 1_000).unwrap().unwrap(), Version::V5).unwrap()
}

fn connected() -> Session {
    let mut session = Session::new(Version::V5, 2);
    session.resume(&connack(false, &ConnackProperties::default()), 2);
    session
}

fn said(session: &mut Session) -> Vec<u8> {
    std::mem::take(&mut session.output)
}

fn heard(session: &mut Session, bytes: &[u8]) -> Option<Event> {
    session.input(bytes);
    session.next().expect("good MQTT")
}

fn send(session: &mut Session, qos: QoS) -> u16 {
    session.publish(&Publication { topic: "t", body: b"x", qos, retain: false, properties: &[] }).expect("it fits")
}

#[test]
fn what_is_unacknowledged_goes_again_on_the_next_connection() {
    let mut session = connected();
    let (first, second) = (send(&mut session, QoS::AtLeastOnce), send(&mut session, QoS::ExactlyOnce));
    assert!(!session.has_room() && (first, second) == (1, 2));
    let before = said(&mut session);
    assert_eq!(heard(&mut session, &encode::pubrec(2)), None);
    assert_eq!(said(&mut session), encode::pubrel(2));
    // The server has kept the session: as a duplicate, and the second from where it was.
    session.resume(&connack(true, &ConnackProperties::default()), 2);
    let again = said(&mut session);
    assert_eq!((again[0], &again[1..9], &again[9..]), (before[0] | 8, &before[1..9], &encode::pubrel(2)[..]));
    // It has not: both from the start.
    session.resume(&connack(false, &ConnackProperties::default()), 2);
    assert_eq!(said(&mut session), before);
    assert_eq!(heard(&mut session, &encode::puback(1)), Some(Event::Published { id: 1, refused: None, text: None }));
    assert_eq!(heard(&mut session, &encode::puback(1)), None, "once");
    heard(&mut session, &encode::pubrec(2));
    assert!(matches!(heard(&mut session, &encode::pubcomp(2)), Some(Event::Published { id: 2, .. })));
    assert_eq!(session.in_flight(), 0);
}

#[test]
fn a_message_at_qos_2_is_told_once() {
    let mut session = connected();
    let publish = [0x34, 7, 0, 1, b't', 0, 9, 0, b'x'];
    let Some(Event::Message(message)) = heard(&mut session, &publish) else { panic!("a message") };
    assert_eq!(said(&mut session), b"", "nothing is acknowledged before it was dealt with");
    assert_eq!(heard(&mut session, &publish), None, "again, before it was dealt with");
    session.acknowledge(&message);
    assert_eq!(said(&mut session), encode::pubrec(9));
    assert_eq!(heard(&mut session, &publish), None, "again, after");
    assert_eq!(said(&mut session), encode::pubrec(9));
    assert_eq!(heard(&mut session, &encode::pubrel(9)), None);
    assert_eq!(said(&mut session), encode::pubcomp(9));
    assert!(matches!(heard(&mut session, &publish), Some(Event::Message(_))), "another one");
}

#[test]
fn the_servers_limits_hold() {
    let mut session = connected();
    let limits = ConnackProperties { receive_maximum: Some(1), maximum_packet_size: Some(20), ..ConnackProperties::default() };
    session.resume(&connack(false, &limits), 9);
    send(&mut session, QoS::AtLeastOnce);
    assert!(!session.has_room());
    let large = Publication { topic: "t", body: &[0; 20], qos: QoS::AtMostOnce, retain: false, properties: &[] };
    assert!(session.publish(&large).is_err());
}

#[test]
fn what_no_server_may_say_is_an_error() {
    for bytes in
        [&[0xc0, 0][..], &[0x10, 0], &[0x30, 0x80, 0x80, 0x80, 0x80], &[0x32, 5, 0, 1, b't', 0, 0], &[0x30, 4, 0, 1, b'#', 0], &[0xf0, 0]]
    {
        let mut session = connected();
        session.input(bytes);
        assert!(session.next().is_err(), "{bytes:02x?}");
    }
}
