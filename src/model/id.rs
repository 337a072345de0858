//! Ids of what is owed, and of whom it is owed to.

use std::fmt;

/// One start of the store (outbox.md 1): the epoch rises at every start of a file, the nonce tells apart files that share a past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Start {
    /// 1 ..= [`EntryId::EPOCH_MAX`].
    pub epoch: u32,
    pub nonce: u32,
}

/// Id of a message that has a destination: epoch (23 bits) · counter (40 bits) in one positive `i64`.
/// Rising, never used twice in a file, not dense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(i64);

impl EntryId {
    pub const COUNTER_BITS: u32 = 40;
    pub const EPOCH_MAX: u32 = (1 << 23) - 1;
    pub const COUNTER_MAX: u64 = (1 << Self::COUNTER_BITS) - 1;
    /// Before every real id.
    pub const ZERO: Self = Self(0);

    /// The id with this epoch and counter; both are masked to their width.
    pub const fn new(epoch: u32, counter: u64) -> Self {
        let epoch = (epoch & Self::EPOCH_MAX) as i64;
        Self(epoch << Self::COUNTER_BITS | (counter & Self::COUNTER_MAX) as i64)
    }

    /// As stored in SQLite. Negative numbers are no ids and become [`EntryId::ZERO`].
    pub const fn from_i64(raw: i64) -> Self {
        Self(if raw < 0 { 0 } else { raw })
    }

    pub const fn as_i64(self) -> i64 {
        self.0
    }

    pub const fn epoch(self) -> u32 {
        (self.0 >> Self::COUNTER_BITS) as u32
    }

    pub const fn counter(self) -> u64 {
        self.0 as u64 & Self::COUNTER_MAX
    }

    /// The next id of the same epoch.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.counter())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ids `first ..= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub first: EntryId,
    pub last: EntryId,
}

impl IdRange {
    pub const fn one(id: EntryId) -> Self {
        Self { first: id, last: id }
    }

    pub fn contains(&self, id: EntryId) -> bool {
        self.first <= id && id <= self.last
    }
}

/// An upstream by its place in the site's file, from 0. Valid for one run only: on disk an upstream is its name (outbox.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub u8);

/// A set of at most [`UpstreamSet::MAX`] upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UpstreamSet(u32);

impl UpstreamSet {
    /// Most upstreams that a site's file may name.
    pub const MAX: usize = 32;
    pub const EMPTY: Self = Self(0);

    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `upstream.0` must be below [`UpstreamSet::MAX`]: the configuration sees to it.
    pub const fn contains(self, upstream: UpstreamId) -> bool {
        self.0 >> upstream.0 & 1 == 1
    }

    pub const fn insert(&mut self, upstream: UpstreamId) {
        self.0 |= 1 << upstream.0;
    }

    pub const fn remove(&mut self, upstream: UpstreamId) {
        self.0 &= !(1 << upstream.0);
    }

    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = UpstreamId> {
        (0..Self::MAX as u8).map(UpstreamId).filter(move |u| self.contains(*u))
    }
}
