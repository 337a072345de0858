//! Connections by number.

/// A connection: its place in the table, and a generation that tells it from those that had the place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A session's place in the table. Whoever keeps one is told when the session ends: routes by their generation, connections by being closed.
pub(super) type SessionIndex = usize;
