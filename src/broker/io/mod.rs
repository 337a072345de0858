//! What moves the broker's bytes: the only part of it that knows sockets and tasks. All decisions are those of the state above this folder; nothing
//! there calls anything here.
//!
//! `listener` accepts, `connection` reads and applies, `flusher` writes, `task` joins the broker to the other parts of the gateway; `shell` is what
//! these share, `socket` one connection's stream.

pub(super) mod connection;
pub(super) mod flusher;
pub(super) mod listener;
pub(super) mod shell;
pub(super) mod socket;
pub(super) mod task;
