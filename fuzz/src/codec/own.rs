//! What holds of the codec whatever the bytes, without another to compare it with. The gateway's own tests replay the corpus with it, too.

use crate::mqtt::encode::{self, Extra};
use crate::mqtt::packet::{Ack, Auth, Connect, Disconnect, Publish, Shared, Subscribe, Unsubscribe};
use crate::mqtt::properties::decode;
use crate::mqtt::{Forwarded, Frame, Version, kind, packet, split};

use super::PACKET_MAX;

/// `frame` was cut from the front of `stream`.
pub fn check(frame: &Frame<'_>, version: Version, stream: &[u8]) {
    assert!(stream.starts_with(frame.raw) && frame.raw.ends_with(frame.body));
    assert_eq!(frame.raw.first(), Some(&frame.first));
    for end in 0..frame.raw.len().min(8) {
        assert!(matches!(split(&frame.raw[..end], PACKET_MAX), Ok(None)), "a packet without its end is one that is not complete");
    }
    check_packet(frame, version);
}

fn check_packet(frame: &Frame<'_>, version: Version) {
    match frame.kind() {
        kind::CONNECT => check_connect(frame),
        kind::PUBLISH => check_publish(frame, version),
        kind::PUBACK..=kind::PUBCOMP => {
            if let Ok(ack) = Ack::parse(frame, version) {
                assert!(ack.id != 0);
                assert!(version.is_5() || frame.body.len() == 2);
                if frame.flags() == if frame.kind() == kind::PUBREL { 2 } else { 0 } {
                    let success = [frame.first, 2, frame.body[0], frame.body[1]];
                    let mut out = Vec::new();
                    encode::ack(&mut out, version, success, ack.reason, ack.reason_string);
                    let again = split(&out, PACKET_MAX).unwrap().unwrap();
                    assert_eq!(Ack::parse(&again, version), Ok(ack));
                }
            }
        }
        kind::SUBSCRIBE => {
            if let Ok(subscribe) = Subscribe::parse(frame, version) {
                assert!((1..=packet::FILTERS_MAX).contains(&subscribe.filters.len()) && subscribe.id != 0);
                for (filter, options) in subscribe.filters {
                    let shared = filter.as_ref().is_ok_and(|f| Shared::parse(f.as_str()).expect("it was checked").is_some());
                    assert!(!(shared && options.no_local));
                }
            }
        }
        kind::UNSUBSCRIBE => {
            if let Ok(unsubscribe) = Unsubscribe::parse(frame, version) {
                assert!((1..=packet::FILTERS_MAX).contains(&unsubscribe.filters.len()) && unsubscribe.id != 0);
            }
        }
        kind::DISCONNECT => {
            if let Ok(disconnect) = Disconnect::parse(frame, version) {
                assert!(version.is_5() || frame.body.is_empty() && disconnect.session_expiry.is_none());
            }
        }
        kind::AUTH => assert!(version.is_5() || Auth::parse(frame, version).is_err()),
        _ => drop(packet::empty(frame, version)),
    }
}

fn check_connect(frame: &Frame<'_>) {
    match Connect::parse(frame) {
        Ok(connect) => {
            assert!(connect.properties.receive_maximum != 0);
            assert!(!connect.client_id.is_empty() || connect.version.is_5() || (connect.version == Version::V311 && connect.clean));
            assert!(connect.password.is_none() || connect.user.is_some() || connect.version.is_5());
            for (name, value) in connect.properties.user_properties.iter() {
                assert!(!name.contains('\0') && !value.contains('\0'));
            }
            if let Some(will) = connect.will {
                check_forwarded(will.properties);
            }
        }
        Err(refused) => {
            let answered = refused.answer.map(|(_, reason)| reason);
            assert!(answered.is_none_or(|reason| reason == refused.error.reason() && reason.is_error()));
        }
    }
}

fn check_publish(frame: &Frame<'_>, version: Version) {
    let Ok(publish) = Publish::parse(frame, version) else { return };
    let id = (publish.id != 0).then_some(publish.id);
    assert_eq!(id.is_some(), publish.qos as u8 > 0);
    if id.is_some() {
        assert_eq!(frame.raw[publish.id_at..publish.id_at + 2], publish.id.to_be_bytes());
    }
    check_forwarded(publish.properties);
    // What the broker writes of it is the same packet to a reader, and the same bytes where it may be copied.
    let mut out = Vec::new();
    if version.is_5() {
        let extra = Extra { expiry: publish.expiry, alias: publish.alias, identifiers: &[] };
        let length = publish.body.len();
        let at = encode::publish_head_v5(&mut out, frame.first, publish.topic, id, publish.properties, extra, length);
        assert!(id.is_none() || out[at..at + 2] == publish.id.to_be_bytes());
    } else {
        encode::publish_head(&mut out, frame.first, publish.topic, id, publish.body.len());
    }
    out.extend_from_slice(publish.body);
    let again = split(&out, PACKET_MAX).unwrap().unwrap();
    assert_eq!(again.raw.len(), out.len());
    let read = Publish::parse(&again, version).expect("what was written can be read");
    let parts = |p: &Publish<'_>| (p.topic.to_vec(), p.id, p.alias, p.expiry, p.properties.to_bytes(), p.body.to_vec());
    assert_eq!(parts(&read), parts(&publish));
    if publish.is_plain(frame) {
        assert_eq!(out, frame.raw);
    }
}

/// The values of forwarded properties, written again, are the same bytes.
fn check_forwarded(forwarded: Forwarded<'_>) {
    let bytes = forwarded.to_bytes();
    assert_eq!(bytes.len(), forwarded.len());
    let mut copy = Vec::new();
    forwarded.copy_to(&mut copy);
    assert_eq!(copy, bytes);
    let mut again = Vec::new();
    decode(&bytes).for_each(|property| property.write(&mut again));
    assert_eq!(again, bytes);
}
