//! What may stand before and around MQTT on a connection: the PROXY header, HTTP's upgrade, WebSocket frames. Sans-I/O, no clock.
//!
//! Job: [`proxy`] says from whom a connection comes when a reverse proxy hands it over; [`upgrade`] answers the GET that opens a WebSocket;
//! [`certificate`] reads a name; [`websocket`] takes the frames off what a client sends and puts them around what it is sent.
//!
//! Invariants: nothing is allocated by a claimed length; what a peer can make a reader hold is bounded by a constant or an option; the same bytes
//! give the same result however the reads cut them; a reader never panics, whatever the bytes. MQTT itself is not known here: packets may span
//! frames and frames packets [MQTT-6.0.0-2].
//!
//! Failure: an error ends the connection. Each says why, for the log, without a byte of what the peer sent.

pub mod certificate;
pub mod proxy;
pub mod upgrade;
pub mod websocket;
