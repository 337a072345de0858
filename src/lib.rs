//! Tidegate: an edge gateway. See docs/ARCHITECTURE.md for the map; each folder's `mod.rs` says what it is for.

pub mod access;
pub mod bridge;
pub mod broker;
pub mod bus;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod faults;
pub mod frame;
pub mod modbus;
pub mod model;
pub mod mqtt;
pub mod normalize;
pub mod ops;
pub mod outbox;
pub mod pem;
pub mod stats;
pub mod transport;
pub mod unix_socket;
