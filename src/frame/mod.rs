//! Framed serial: bytes → frames → fields. Sans-I/O.

pub mod decode;

/// Where a frame ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    /// Not empty; not part of the frame.
    pub delimiter: Vec<u8>,
    /// Longest frame in bytes, without its delimiter. What is longer is skipped up to the next delimiter and counted.
    pub max_length: usize,
}
