//! A client's packet cut into its parts by the tables of the standards, without a judgement on any of them: so it can be seen which clause a
//! packet breaks without asking the codec that refused it.

use tidegate::mqtt::{Frame, Version, kind};

/// What a part is. Strings, binary data and properties are without what tells their length and which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The packet id.
    Id,
    /// Of CONNECT, one byte.
    Flags,
    ClientId,
    /// Of PUBLISH or a will.
    Topic,
    /// Of PUBLISH or a will.
    Body,
    User,
    Password,
    Filter,
    /// What follows a filter, one byte.
    Options,
    /// The reason code, one byte.
    Code,
    /// The length of properties, a variable byte integer.
    Length,
    /// The value of a property with this number; a user property is two.
    Property(u8),
    /// Protocol name, level, keep-alive.
    Fixed,
    /// The packet ends before the part that should follow; what is left is not enough for it.
    Missing,
    /// What stands after the last part.
    Rest,
}

impl Role {
    pub const fn is_text(self) -> bool {
        matches!(
            self,
            Self::ClientId
                | Self::Topic
                | Self::User
                | Self::Filter
                | Self::Property(0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f | 0x26)
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    pub role: Role,
    pub bytes: &'a [u8],
}

/// The parts of a packet in order.
pub fn parts<'a>(frame: &Frame<'a>, version: Version) -> Vec<Part<'a>> {
    let mut cutter = Cutter { rest: frame.body, parts: Vec::new() };
    let is_whole = cutter.packet(frame, version).is_some();
    let role = if is_whole { Role::Rest } else { Role::Missing };
    if !is_whole || !cutter.rest.is_empty() {
        cutter.parts.push(Part { role, bytes: cutter.rest });
    }
    cutter.parts
}

struct Cutter<'a> {
    rest: &'a [u8],
    parts: Vec<Part<'a>>,
}

impl<'a> Cutter<'a> {
    fn packet(&mut self, frame: &Frame<'_>, version: Version) -> Option<()> {
        let is_5 = version.is_5();
        match frame.kind() {
            kind::CONNECT => self.connect(is_5)?,
            kind::PUBLISH => {
                self.binary(Role::Topic)?;
                if frame.flags() & 6 != 0 {
                    self.take(Role::Id, 2)?;
                }
                if is_5 {
                    self.properties()?;
                }
                self.take(Role::Body, self.rest.len())?;
            }
            kind::SUBSCRIBE | kind::UNSUBSCRIBE => {
                self.take(Role::Id, 2)?;
                if is_5 {
                    self.properties()?;
                }
                while !self.rest.is_empty() {
                    self.binary(Role::Filter)?;
                    if frame.kind() == kind::SUBSCRIBE {
                        self.take(Role::Options, 1)?;
                    }
                }
            }
            kind::PUBACK..=kind::PUBCOMP => {
                self.take(Role::Id, 2)?;
                self.code(is_5)?;
            }
            kind::DISCONNECT | kind::AUTH => self.code(is_5)?,
            _ => {}
        }
        Some(())
    }

    fn connect(&mut self, is_5: bool) -> Option<()> {
        self.binary(Role::Fixed)?;
        self.take(Role::Fixed, 1)?;
        let flags = self.take(Role::Flags, 1)?[0];
        self.take(Role::Fixed, 2)?;
        if is_5 {
            self.properties()?;
        }
        self.binary(Role::ClientId)?;
        if flags & 0x04 != 0 {
            if is_5 {
                self.properties()?;
            }
            self.binary(Role::Topic)?;
            self.binary(Role::Body)?;
        }
        if flags & 0x80 != 0 {
            self.binary(Role::User)?;
        }
        if flags & 0x40 != 0 {
            self.binary(Role::Password)?;
        }
        Some(())
    }

    /// Reason code and properties, each of which may be left out.
    fn code(&mut self, is_5: bool) -> Option<()> {
        if is_5 && !self.rest.is_empty() {
            self.take(Role::Code, 1)?;
            if !self.rest.is_empty() {
                self.properties()?;
            }
        }
        Some(())
    }

    fn properties(&mut self) -> Option<()> {
        let length = self.integer(Role::Length)?;
        let (block, rest) = self.rest.split_at_checked(length)?;
        self.rest = block;
        while let Some((id, value)) = self.rest.split_first() {
            self.rest = value;
            let role = Role::Property(*id);
            match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => self.take(role, 1)?,
                0x13 | 0x21..=0x23 => self.take(role, 2)?,
                0x02 | 0x11 | 0x18 | 0x27 => self.take(role, 4)?,
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => self.binary(role)?,
                0x26 => {
                    self.binary(role)?;
                    self.binary(role)?
                }
                0x0b => {
                    self.integer(role)?;
                    &[]
                }
                _ => return None,
            };
        }
        self.rest = rest;
        Some(())
    }

    fn take(&mut self, role: Role, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        self.parts.push(Part { role, bytes });
        Some(bytes)
    }

    /// With two bytes of length before it.
    fn binary(&mut self, role: Role) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if rest.len() < length {
            return None;
        }
        self.rest = rest;
        self.take(role, length)
    }

    fn integer(&mut self, role: Role) -> Option<usize> {
        let length = self.rest.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
        Some(integer(self.take(role, length)?))
    }
}

/// The value of a variable byte integer.
pub fn integer(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f))
}
