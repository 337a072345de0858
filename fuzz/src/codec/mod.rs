//! The codec of `src/mqtt`: its own invariants, and what the codecs of others (rumqttc, mqtt-proto) make of the same packets.
//!
//! The first byte of an input chooses the version and one of three ways. From a client: the rest is a stream of packets, or the choices of which
//! one is [`built`]; each packet is read by us and by the others. From the server: the rest chooses what our encoder writes, which the others must
//! read as what was meant.

mod built;
mod canon;
mod deviations;
mod ours;
mod own;
mod parts;
mod proto;
mod rumqttc;
mod sent;

use canon::Canon;
use parts::{Part, parts};
use tidegate::mqtt::{Error, Frame, Version, kind, split};

/// Largest packet that is read.
const PACKET_MAX: usize = 1 << 20;

/// Codecs of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    Rumqttc,
    Proto,
}

const OTHERS: [Other; 2] = [Other::Rumqttc, Other::Proto];

pub fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let version = match choice % 3 {
        0 => Version::V31,
        1 => Version::V311,
        _ => Version::V5,
    };
    match choice / 3 % 3 {
        0 => stream(rest, version),
        1 => sent::check(rest, version),
        _ => stream(&built::stream(rest, version), version),
    }
}

fn stream(mut rest: &[u8], version: Version) {
    while let Ok(Some(frame)) = split(rest, PACKET_MAX) {
        own::check(&frame, version, rest);
        compare(&frame, version);
        rest = &rest[frame.raw.len()..];
    }
}

/// What others make of a packet.
fn read_by(other: Other, version: Version, raw: &[u8]) -> Option<Result<Canon, String>> {
    Some(match (other, version) {
        (Other::Rumqttc, Version::V31) => return None,
        (Other::Rumqttc, Version::V311) => rumqttc::read_v4(raw),
        (Other::Rumqttc, Version::V5) => rumqttc::read_v5(raw),
        (Other::Proto, Version::V31 | Version::V311) => proto::read_v3(raw),
        (Other::Proto, Version::V5) => proto::read_v5(raw),
    })
}

/// What others make of a client's packet, without what we read over: the server reference of DISCONNECT is a server's.
fn theirs(other: Other, version: Version, frame: &Frame<'_>) -> Option<Result<Canon, String>> {
    let read = read_by(other, version, frame.raw)?;
    Some(read.map(|canon| if frame.kind() == kind::DISCONNECT { canon.without("reference") } else { canon }))
}

/// One packet of a client, as the bytes are and as we and another read it.
pub struct Case<'a> {
    pub other: Other,
    pub version: Version,
    pub frame: &'a Frame<'a>,
    pub ours: &'a Result<Canon, Error>,
    pub theirs: &'a Result<Canon, String>,
    pub parts: &'a [Part<'a>],
}

fn compare(frame: &Frame<'_>, version: Version) {
    if !is_compared(frame, version) {
        return;
    }
    let ours = ours::read(frame, version);
    let theirs = OTHERS.map(|other| (other, theirs(other, version, frame)));
    let parts = parts(frame, version);
    let cases: Vec<_> = theirs
        .iter()
        .filter_map(|(other, theirs)| Some(Case { other: *other, version, frame, ours: &ours, theirs: theirs.as_ref()?, parts: &parts }))
        .collect();
    for case in &cases {
        let same = match (&ours, case.theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        assert!(
            same || deviations::explain(case),
            "{:?} reads a packet of {version:?} differently\nours   {ours:?}\ntheirs {:?}\npacket {:02x?}",
            case.other,
            case.theirs,
            frame.raw
        );
    }
    if ours.is_ok() && cases.iter().all(|case| case.theirs.is_ok()) {
        deviations::check_narrow(&cases);
    }
}

/// Whether it is of a kind that clients send, and in `version`: CONNECT says its version itself, and only we read its bridge bit.
fn is_compared(frame: &Frame<'_>, version: Version) -> bool {
    match frame.kind() {
        kind::CONNECT => says(frame.body, version),
        kind::PUBLISH..=kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PINGREQ | kind::DISCONNECT | kind::AUTH => true,
        _ => false,
    }
}

/// Whether a CONNECT's name and level are those of `version`.
fn says(body: &[u8], version: Version) -> bool {
    match version {
        Version::V31 => body.starts_with(b"\0\x06MQIsdp\x03"),
        Version::V311 => body.starts_with(b"\0\x04MQTT\x04"),
        Version::V5 => body.starts_with(b"\0\x04MQTT\x05"),
    }
}
