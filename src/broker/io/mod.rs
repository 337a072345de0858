//! What moves the broker's bytes: the only part of it that knows sockets and tasks. All decisions are those of the state above this folder; nothing
//! there calls anything here.
//!
//! `listener` accepts, `doors` is a thread of its own for what comes before MQTT (`threshold`, `tls`); `pipe` and `web` are TLS and WebSocket
//! behind the same calls as a plain socket; `recheck` looks at certificates again after their files were read anew. `connection` reads and applies, `flusher` writes, `task` joins the broker to the other parts of the gateway; `shell` is what
//! these share, `socket` one connection's stream.

pub(super) mod again;
pub(super) mod connection;
pub(super) mod doors;
pub(super) mod flusher;
mod hash;
pub(super) mod listener;
pub(super) mod pipe;
mod recheck;
pub(super) mod shell;
pub(super) mod socket;
pub(super) mod task;
mod threshold;
pub(super) mod tls;
pub(super) mod web;
