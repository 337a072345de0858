//! MQTT's packets as bytes and back. Sans-I/O.
