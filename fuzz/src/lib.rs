//! What the fuzz targets check, as plain functions of bytes: `targets/` gives them to libFuzzer, `tests/` replays the corpus with them.
//!
//! Job: one module a target, with one function `check(&[u8])` that panics on a finding.
//!
//! The parts of the gateway are compiled from its sources instead of being linked: a target then needs only what its parts need (no SQLite,
//! no configuration), and the coverage that guides it is theirs.

// The checks name the gateway's parts as its own tests do, which replay the corpus, too.
extern crate self as tidegate;

#[path = "../../src/access/mod.rs"]
pub mod access;
#[path = "../../src/broker/mod.rs"]
pub mod broker;
#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/faults.rs"]
pub mod faults;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/mqtt/mod.rs"]
pub mod mqtt;
// Of it the broker needs how a reading is written.
#[path = "../../src/normalize/json.rs"]
pub mod normalize;
#[path = "../../src/pem.rs"]
pub mod pem;
#[path = "../../src/stats.rs"]
pub mod stats;
#[path = "../../src/transport/mod.rs"]
pub mod transport;
#[path = "../../src/unix_socket.rs"]
pub mod unix_socket;

pub mod acl;
pub mod apply;
pub mod codec;
pub mod proxy;
pub mod upgrade;
pub mod users;
pub mod websocket;
