//! The codec of `src/mqtt`: its own invariants, and what the codecs of others make of the same packet.

mod own;

/// The first byte chooses the version, the rest is a packet.
pub fn check(input: &[u8]) {
    own::check(input);
}
