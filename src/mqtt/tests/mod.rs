//! The codec against tables of bytes: the standards' own examples, and what each of their rules allows and forbids.

mod acks;
mod connect;
mod corpus;
mod encoded;
mod golden;
mod leave;
mod properties;
mod publish;
mod reasons;
mod subscribe;

use super::packet::{Ack, Auth, Connect, Disconnect, Publish, Subscribe, Unsubscribe, empty};
use super::primitive::put_varint;
use super::{Error, Frame, Reason, Version, kind, split};

const V31: Version = Version::V31;
const V311: Version = Version::V311;
const V5: Version = Version::V5;

/// A packet of `first` and `content`.
fn packet(first: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut bytes = vec![first];
    put_varint(&mut bytes, content.len());
    bytes.extend(content);
    bytes
}

/// A string with its length.
fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// A block of properties with its length.
fn block(properties: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, properties.len());
    bytes.extend_from_slice(properties);
    bytes
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    let frame = split(bytes, 1 << 20).expect("a packet").expect("a whole packet");
    assert_eq!(frame.raw.len(), bytes.len(), "one packet");
    frame
}

/// Reads whatever packet of a client it is, for the error alone.
fn read(bytes: &[u8], version: Version) -> Result<(), Error> {
    read_frame(&frame(bytes), version)
}

fn read_frame(frame: &Frame<'_>, version: Version) -> Result<(), Error> {
    match frame.kind() {
        kind::CONNECT => Connect::parse(frame).map(drop).map_err(|refused| refused.error),
        kind::PUBLISH => Publish::parse(frame, version).map(drop),
        kind::PUBACK..=kind::PUBCOMP => Ack::parse(frame, version).map(drop),
        kind::SUBSCRIBE => Subscribe::parse(frame, version).map(drop),
        kind::UNSUBSCRIBE => Unsubscribe::parse(frame, version).map(drop),
        kind::DISCONNECT => Disconnect::parse(frame, version).map(drop),
        kind::AUTH => Auth::parse(frame, version).map(drop),
        _ => empty(frame, version),
    }
}

/// `bytes` is read, or refused with the reason.
fn check(name: &str, version: Version, bytes: &[u8], want: Result<(), Reason>) {
    let got = read(bytes, version);
    assert_eq!(got.map_err(|error| error.reason()), want, "{name} in {version:?}: {got:?}, {bytes:02x?}");
}

const OK: Result<(), Reason> = Ok(());
const MALFORMED: Result<(), Reason> = Err(Reason::MalformedPacket);
const PROTOCOL: Result<(), Reason> = Err(Reason::ProtocolError);
