//! What the operating system and the operator see: logs, systemd's notifications, the control socket.
//!
//! Invariants: `WATCHDOG=1` leaves only while every part makes progress; a question on the control socket never waits longer than
//! [`control::ANSWER_TIMEOUT`] for a part, and a part that does not answer is shown as such, not left out.
//!
//! Failure: no journal → the console; no control socket → one warning, the gateway runs without it; no systemd → nothing is notified.

pub mod ask;
pub mod control;
pub mod log;
pub mod sources;
pub mod systemd;
