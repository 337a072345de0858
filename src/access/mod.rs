//! Who a client is, and what it may do.
//!
//! Job: the files in which a site says so, as values; whether a password or a proof is right; whether a rule covers a topic. The broker asks,
//! and acts on the answer.
//!
//! `users`, `password` and `scram` say who somebody is. `acl` reads the access list, `rights` says what one client may do by it: `rules` is what both
//! hold filters in, and `filter` how two of them stand to each other.
//!
//! Invariants:
//! - Pure, but for `file`, which reads and writes the files: time, random bytes and texts are handed in. A test replays any answer.
//! - No secret is shown: what holds one has a `Debug` that says nothing of it, and no error repeats it. Secrets are compared in constant time.
//! - A file is taken whole or not at all.
//!
//! Failure: a file's mistake is an error with its line. What a client sends is never more than a wrong password.

pub mod acl;
pub mod file;
mod filter;
pub mod password;
pub mod rights;
mod rules;
pub mod scram;
pub mod users;

use std::sync::Arc;

use acl::Acl;
use users::Users;

/// What the files of a site say.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Of each listener, in their order. One that has none here knows nobody.
    pub realms: Vec<Realm>,
    /// Of what comes by no listener.
    pub acl: Option<Arc<Acl>>,
}

/// What a listener's files say. What is shared by listeners stands in memory once.
#[derive(Debug, Clone, Default)]
pub struct Realm {
    /// `None`: nobody comes in by name and password.
    pub users: Option<Arc<Users>>,
    /// `None`: the rights that are built in.
    pub acl: Option<Arc<Acl>>,
}
