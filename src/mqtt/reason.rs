//! Codes of answers. 3.1.1 has them in CONNACK and SUBACK only; those of 5.0 join here.

/// CONNACK's return code (3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectReturn {
    Accepted = 0,
    UnacceptableVersion = 1,
    IdentifierRejected = 2,
    ServerUnavailable = 3,
    BadUserOrPassword = 4,
    NotAuthorized = 5,
}

/// SUBACK's code for a filter that was refused (3.9.3); a granted one has its QoS.
pub const SUBSCRIBE_FAILURE: u8 = 0x80;
