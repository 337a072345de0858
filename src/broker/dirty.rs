//! Which connections have output for their sockets, and in which order they are written.

use std::collections::VecDeque;

use super::id::ConnId;
use super::state::Broker;

/// Connections with output: answers to their own packets, and deliveries. Taken in turn, so that an answer does not wait behind a delivery to a
/// thousand others, nor these behind the acknowledgements of a thousand publishers. A connection stands in one of them, once.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    answers: VecDeque<ConnId>,
    deliveries: VecDeque<ConnId>,
    /// The last one was an answer.
    answered: bool,
}

impl Dirty {
    fn pop(&mut self) -> Option<ConnId> {
        self.answered = !self.answered;
        if self.is_empty() {
            // A delivery goes first: its receiver wakes up and answers while the publisher's answer is written.
            self.answered = true;
            return None;
        }
        let (first, second) =
            if self.answered { (&mut self.answers, &mut self.deliveries) } else { (&mut self.deliveries, &mut self.answers) };
        first.pop_front().or_else(|| second.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.deliveries.is_empty()
    }
}

impl Broker {
    /// The connection has been answered.
    pub(super) fn mark_answered(&mut self, id: ConnId) {
        if self.becomes_dirty(id) {
            self.dirty.answers.push_back(id);
        }
    }

    /// The connection has got, or still has, output.
    pub(super) fn mark_dirty(&mut self, id: ConnId) {
        if self.becomes_dirty(id) {
            self.dirty.deliveries.push_back(id);
        }
    }

    fn becomes_dirty(&mut self, id: ConnId) -> bool {
        self.conns.get_mut(id).is_some_and(|conn| conn.out.waiting() > 0 && !std::mem::replace(&mut conn.dirty, true))
    }

    /// For a delivery that has just set the connection's `dirty`.
    pub(super) fn mark(&mut self, id: ConnId) {
        self.dirty.deliveries.push_back(id);
    }

    /// The next connection that has output for its socket.
    pub(super) fn next_dirty(&mut self) -> Option<ConnId> {
        while let Some(id) = self.dirty.pop() {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.dirty = false;
                return Some(id);
            }
        }
        None
    }

    pub(super) fn count_dirty(&self) -> usize {
        self.dirty.answers.len() + self.dirty.deliveries.len()
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }
}
