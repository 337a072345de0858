//! The other side of the wire: packets that a client sends, written, and those that a server sends, read. For our own tools; the broker has no
//! use for them.
//!
//! What a server may say is checked as strictly as what a client may: it is a stranger, too.

mod receive;
mod send;

pub use receive::{Answer, Connack, Delivery, Farewell, Refused};
pub use send::{Connect, PINGREQ, Will, acknowledge, connect, disconnect, publish, subscribe, unsubscribe};

#[cfg(test)]
mod tests;
