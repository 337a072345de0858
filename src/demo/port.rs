//! Whether a port is to be had.

use std::net::{Ipv4Addr, TcpListener};

/// Whether something could listen on `port` of the loopback a moment ago.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
