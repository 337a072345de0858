//! What the bridge needs of an upstream, whatever its protocol. MQTT is one; Kafka will be another.

use std::time::Duration;

use bytes::Bytes;

use crate::model::{Entry, EntryId, Mono, Topic};

/// Names one accepted [`Sink::offer`]. Rises with each, over all connections of the sink, so that an acknowledgement of a connection that is
/// gone names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Which connection of this run, from 1.
    pub generation: u32,
    /// Which offer on it, from 0.
    pub number: u64,
}

/// An entry in the form in which this upstream gets it. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    pub id: EntryId,
    /// Of the start that gave the id; 0 where that is no longer known.
    pub nonce: u32,
    pub topic: Topic,
    pub payload: Bytes,
    /// As the entry's.
    pub properties: Bytes,
    pub expires: Option<Mono>,
    pub accepted: Mono,
    /// Bytes of its packet on the wire, where [`Terms::packet_max`] bounds it.
    pub size: usize,
}

impl Parcel {
    /// Bytes that it counts for, against the bounds of memory and of what is in flight.
    pub fn cost(&self) -> usize {
        Entry::OVERHEAD + self.topic.as_bytes().len() + self.properties.len() + self.payload.len()
    }
}

/// This upstream can never take the entry; it would stop everything behind it for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its packet of {size} bytes is larger than the {max} bytes that an upstream may be sent")]
pub struct TooLarge {
    pub size: usize,
    pub max: usize,
}

/// The sink has no room, or no connection. Offer it again after its next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The upstream has let us in.
    Up(Terms),
    /// The offer left for the network. Comes before its acknowledgement.
    Written(Token),
    /// The upstream has taken over all entries of the offer.
    Acked(Token),
    /// The upstream refused the offer. MQTT 3.1.1 knows no such answer.
    Refused(Token, Refused),
    /// Traffic that says only that the connection lives.
    Alive,
    /// The connection is over: the last event of its generation.
    Down(Down),
}

/// What an upstream allows on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The protocol that is spoken, as the status shows it.
    pub protocol: &'static str,
    /// Unacknowledged entries in flight, at least 1. Beside it the site's own window holds.
    pub window: usize,
    /// Largest packet in bytes; a larger one would end the connection.
    pub packet_max: usize,
    /// Pings go out so often; zero: never.
    pub keep_alive: Duration,
}

/// A refusal of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A reason code of MQTT 5.0 (2.4), an error.
    pub code: u8,
    /// The code in words, with what the upstream added. Bounded and printable.
    pub why: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Down {
    /// The upstream closed it, as a broker does that will not have what it was sent. Not: a refused or failed connect, our own deadline,
    /// a network that is gone, a farewell with a cause that lies in no entry.
    pub by_peer: bool,
    /// For a person. Printable.
    pub cause: String,
    pub retry: Retry,
    /// The upstream is there and cannot be used as it is: somebody has to change something, here or there.
    pub unusable: bool,
}

/// When to connect again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retry {
    /// By the back-off.
    #[default]
    Usual,
    /// The upstream asked for peace: by the longest wait of the back-off.
    Slow,
    /// In another way, at once. A sink says so at most once between two other ends.
    AtOnce,
}

/// One upstream's connections, one at a time. It keeps nothing across them and never connects by itself.
pub trait Sink {
    /// Most entries of one offer. They share one token, so one acknowledgement.
    const BATCH: usize;

    /// The entry as it would be sent. `nonce` is that of the start that gave its id.
    ///
    /// # Errors
    /// It can never be sent.
    fn parcel(&self, entry: &Entry, nonce: u32) -> Result<Parcel, TooLarge>;

    /// Begins a new connection, and throws away the one before, events and all. [`Event::Up`] or [`Event::Down`] follows; how long to wait
    /// for it is the caller's business.
    fn connect(&mut self);

    /// Hands over up to [`Sink::BATCH`] parcels.
    ///
    /// # Errors
    /// Nothing of it was taken.
    fn offer<'a>(&mut self, batch: impl Iterator<Item = &'a Parcel>) -> Result<Token, Full>;

    /// Appends at least one event to `into`, waiting for it as long as need be. Nothing is lost when it is dropped half way.
    fn events(&mut self, into: &mut Vec<Event>) -> impl Future<Output = ()>;

    /// Ends the connection without waiting for anything. Acknowledgements that had already arrived, then [`Event::Down`] with `cause`, follow.
    fn throw_away(&mut self, cause: String);

    /// Ends the connection by the protocol's farewell. [`Event::Down`] follows, if the upstream still listens.
    fn farewell(&mut self);
}
