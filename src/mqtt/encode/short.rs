//! Acknowledgements without an allocation.

use super::super::reason::Reason;
use super::super::{Version, kind};

/// A packet of at most five bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; 5],
    len: u8,
}

impl Short {
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP by its kind. 3.x has no room for a reason; in 5.0 success needs none (3.4.2.1).
pub const fn acknowledgement(kind: u8, version: Version, id: u16, reason: Reason) -> Short {
    let first = kind << 4 | if kind == kind::PUBREL { 2 } else { 0 };
    let [high, low] = id.to_be_bytes();
    if version.is_5() && !matches!(reason, Reason::Success) {
        Short { bytes: [first, 3, high, low, reason as u8], len: 5 }
    } else {
        Short { bytes: [first, 2, high, low, 0], len: 4 }
    }
}
