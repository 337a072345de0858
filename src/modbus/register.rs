//! Registers and coils as values, in every byte order.

/// The four tables of a Modbus device (Application Protocol 1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Function code 1; single bits.
    Coil,
    /// Function code 2; single bits.
    Discrete,
    /// Function code 3; 16-bit words.
    Holding,
    /// Function code 4; 16-bit words.
    Input,
}

/// A table and a zero-based address in it: `"input:0"` in the site's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterAddress {
    pub table: Table,
    pub address: u16,
}

/// The type of a point's registers. `Bool` is the only one for coils and discrete inputs; on a word it means "not zero".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// How a value's bytes lie in its registers, named by what comes first on the wire, A being the most significant byte.
/// The scheme over 8 bytes: `Abcd` ABCDEFGH, `Badc` BADCFEHG, `Cdab` GHEFCDAB, `Dcba` HGFEDCBA.
/// Over 2 bytes `Abcd` and `Cdab` are AB, `Badc` and `Dcba` are BA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ByteOrder {
    #[default]
    Abcd,
    Badc,
    Cdab,
    Dcba,
}
