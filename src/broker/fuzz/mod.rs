//! Sequences of events against [`Broker::apply`](super::state::Broker), made of bytes, with everything checked that holds after each step.
//!
//! Job: [`run`] turns any bytes into packets of several clients in three versions, cuts, commits, writes, readings, time and kills. The fuzz
//! target and the tests of this crate call the same function; the simulation of many clients (`tests/simulation`) stands on the same rig.
//!
//! `packets` is what clients send; `peer` a client's end of one connection, which knows what the broker may write; `store` the outbox of the
//! contract in memory; `rig` the broker between them; `invariants` what holds.
//!
//! Failure: a panic is a finding.

mod invariants;
pub(in crate::broker) mod packets;
pub(in crate::broker) mod peer;
pub(in crate::broker) mod rig;
mod script;
pub(in crate::broker) mod store;

use crate::mqtt::Version;

/// Runs the sequence that `input` stands for. Every packet that the broker writes goes to `codec`, with the version of its connection.
///
/// # Panics
/// When something does not hold that always does.
pub fn run(input: &[u8], codec: &mut dyn FnMut(Version, &[u8])) {
    script::Script::new(input, codec).run();
}
