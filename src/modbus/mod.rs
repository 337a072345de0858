//! Modbus: requests, replies and registers as bytes and back (Modbus Application Protocol 1.1b3, Modbus over Serial Line 1.02). Sans-I/O.
//!
//! Job: [`pdu`] knows the reads and their replies, [`rtu`] wraps them for a serial line and finds them again among foreign bytes, [`register`] turns
//! registers into values. Both sides are here: a master's for the buses, a slave's for simulated devices.
//!
//! Invariants: a [`Read`] is within the limits of the standard and of the address space by construction; a reply is only ever found where unit,
//! function, length and checksum are all as expected.
//!
//! Failure: what cannot be read is `None` or an exception code. No bytes make this panic.

pub mod pdu;
pub mod register;
pub mod rtu;

pub use pdu::{Read, Reply};
pub use register::{ByteOrder, RegisterAddress, Table, ValueType};

/// A slave's address on the line: 1 to 247 (Serial Line 1.02, 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(u8);

impl UnitId {
    /// `None` for 0 (broadcast, nobody answers it) and for 248 to 255 (reserved).
    pub const fn new(unit: u8) -> Option<Self> {
        match unit {
            1..=247 => Some(Self(unit)),
            _ => None,
        }
    }

    pub const fn as_u8(self) -> u8 {
        self.0
    }
}
