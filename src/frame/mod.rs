//! Framed serial: bytes → frames → fields. Sans-I/O.
//!
//! Job: [`Framer`] cuts what a port yields into frames, wherever the reads happen to end; [`decode::Decoder`] finds the points' values in a frame.
//!
//! Invariants: a frame is never put together from two, and never yielded without its beginning; memory is bounded by [`Framing::max_length`].
//!
//! Failure: what is not a frame is skipped and counted; a field that is absent or unreadable is `Cause::Decode`. No bytes make this panic.

mod delimited;

pub mod decode;

pub use delimited::Framer;

/// Where a frame ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    /// Not empty; not part of the frame.
    pub delimiter: Vec<u8>,
    /// Longest frame in bytes, without its delimiter. What is longer is skipped up to the next delimiter and counted.
    pub max_length: usize,
}
