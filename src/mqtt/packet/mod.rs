//! Packets that a client sends, read and checked: every rule that one packet alone can break.

mod ack;
mod connect;
mod leave;
mod publish;
mod subscribe;

pub use ack::Ack;
pub use connect::{Connect, ConnectError, ConnectProperties, Will};
pub use leave::{Auth, Disconnect};
pub use publish::Publish;
pub use subscribe::{Filter, Shared, Subscribe, Unsubscribe};

use super::primitive::Reader;
use super::reason::Carrier;
use super::{Error, Frame, Reason, Version};

/// Most filters of one SUBSCRIBE or UNSUBSCRIBE: a packet is applied in one go, and half a million filters fit into one of 2 MiB.
/// The connection of one with more is closed.
pub const FILTERS_MAX: usize = 1_024;

/// PINGREQ, and DISCONNECT of 3.x: nothing but the header (3.12, 3.14).
///
/// # Errors
/// Flags or content.
pub fn empty(frame: &Frame<'_>, version: Version) -> Result<(), Error> {
    expect_flags(frame, version, 0)?;
    Reader::new(frame.body).finish()
}

/// The flags of a header are fixed but for PUBLISH; in 3.1 they are disregarded.
const fn expect_flags(frame: &Frame<'_>, version: Version, want: u8) -> Result<(), Error> {
    if frame.flags() == want || matches!(version, Version::V31) {
        Ok(())
    } else {
        Err(Error::Malformed("reserved flags of the fixed header [MQTT-2.2.2-2]"))
    }
}

/// A reason code that may come in `carrier`.
fn reason(code: u8, carrier: Carrier) -> Result<Reason, Error> {
    match Reason::from_u8(code) {
        Some(reason) if reason.may_be_in(carrier) => Ok(reason),
        _ => Err(Error::Protocol("a reason code that is not of this packet [2.4]")),
    }
}
