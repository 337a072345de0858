//! What waits for one client: it is away, its window is full or it reads slowly.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::limit::Limit;
use super::output::{Budget, RECEIVER_OVERHEAD, Stored};
use super::shared::GroupId;
use crate::faults;
use crate::model::{EntryId, QoS};

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Rc<Stored>,
    /// Of the delivery.
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// What the store is to be told of; [`EntryId::ZERO`]: nothing.
    pub(super) entry: EntryId,
    pub(super) identifiers: Option<Arc<[u32]>>,
    pub(super) group: Option<GroupId>,
    /// Counter of what has to be secured before it leaves; 0: nothing.
    pub(super) gate: u64,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.message.len() + RECEIVER_OVERHEAD
    }
}

/// The limits of one queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Of all outputs and queues together.
    pub(super) output: usize,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    pub(super) fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Half full: those who feed it are slowed while its client is connected.
    pub(super) fn is_half_full(&self, limits: QueueLimits) -> bool {
        self.waiting.len() > limits.messages / 2 || self.bytes > limits.bytes / 2
    }

    /// Adds a message; the oldest go to `dropped` where there is no room. A single message always has, unless others hold all room together:
    /// then it goes to `dropped` itself. The limit for which one had to go.
    pub(super) fn push(&mut self, waiting: Waiting, limits: QueueLimits, budget: &Budget, dropped: &mut Vec<EntryId>) -> Option<Limit> {
        let cost = waiting.cost();
        let mut reached = None;
        while !self.waiting.is_empty()
            && let Some(limit) = self.limit_for(cost, limits, budget)
        {
            reached = Some(limit);
            dropped.extend(self.pop(budget).map(|old| old.entry));
        }
        if reached.is_none() && budget.used() > limits.output && self.waiting.is_empty() {
            dropped.push(waiting.entry);
            return Some(Limit::OutputMax);
        }
        if faults::active("drop-queued") && self.waiting.len() % 4 == 3 {
            return reached;
        }
        self.restore(waiting, budget);
        reached
    }

    /// The limit that one more message of this cost would be beyond.
    fn limit_for(&self, cost: usize, limits: QueueLimits, budget: &Budget) -> Option<Limit> {
        if self.waiting.len() >= limits.messages {
            Some(Limit::SessionQueue)
        } else if self.bytes + cost > limits.bytes {
            Some(Limit::SessionQueueBytes)
        } else {
            (budget.used() + cost > limits.output).then_some(Limit::OutputMax)
        }
    }

    /// One that was there before the restart, and had room then.
    pub(super) fn restore(&mut self, waiting: Waiting, budget: &Budget) {
        self.bytes += waiting.cost();
        budget.add(RECEIVER_OVERHEAD);
        self.waiting.push_back(waiting);
    }

    pub(super) fn pop(&mut self, budget: &Budget) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.forget(&waiting, budget);
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        Some(waiting)
    }

    fn forget(&mut self, waiting: &Waiting, budget: &Budget) {
        self.bytes -= waiting.cost();
        budget.sub(RECEIVER_OVERHEAD);
    }

    /// Takes out what `keep` does not want.
    pub(super) fn take_unless(&mut self, budget: &Budget, keep: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (kept, taken): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(keep);
        self.waiting = kept.into();
        for waiting in &taken {
            self.forget(waiting, budget);
        }
        taken
    }

    pub(super) fn clear(&mut self, budget: &Budget) {
        self.take_unless(budget, |_| false);
    }
}
