//! A frame's fields: by regular expression, CSV column or JSON pointer.

/// How a device's frames are read.
#[derive(Debug, Clone)]
pub enum Decoder {
    /// Fields are the named groups.
    Regex(regex::Regex),
    /// Fields are columns, from 0.
    Csv { separator: u8 },
    /// Fields are JSON pointers (RFC 6901).
    Json,
}

/// Where a point's value stands in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Group(String),
    Column(usize),
    Pointer(String),
}
