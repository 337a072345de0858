//! The vocabulary that every part speaks: topics, messages, ids, times, and the messages that cross between parts.
//!
//! Job: types only. Nothing here does I/O, reads a clock or starts a task.
//!
//! Invariants: a [`Topic`] and a [`TopicFilter`] are valid by construction; an [`EntryId`] is never used twice in a store.
//!
//! Failure: constructors return errors; nothing panics on bytes from outside.

mod body;
mod id;
mod life;
mod link;
mod message;
mod secret;
mod session;
mod time;
mod topic;

pub mod admin;
pub mod status;

pub use body::{Body, BodyKind, Cause, Sample, Value};
pub use id::{EntryId, IdRange, Start, UpstreamId, UpstreamSet};
pub use life::Phase;
pub use link::{BridgeToOutbox, Entry, OutboxToBroker, Outcome, Page, Put, Query, Settled, ToOutbox};
pub use message::{Message, Origin, QoS};
pub use secret::{Secret, SecretError};
pub use session::{
    Change, DoneHow, Due, DueDone, DueState, Identity, Publisher, Restored, RetainHandling, RetainedMessage, SessionId, StateChange,
    StoredSession, StoredWill, SubscribeOptions, Subscription,
};
pub use time::{Mono, Now, Wall};
pub use topic::{Topic, TopicError, TopicFilter, check_name};
