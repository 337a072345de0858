//! A client's session: what it subscribed to, what is in flight to it, what waits for it.

use std::collections::VecDeque;
use std::rc::Rc;

use super::id::ConnId;
use super::output::{Budget, Out, RECEIVER_OVERHEAD, Stored};
use crate::model::{QoS, TopicFilter};

/// First byte of a PUBLISH at QoS 1, without DUP and RETAIN.
pub(super) const PUBLISH_QOS1: u8 = 0x32;

const DUP: u8 = 8;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Rc<str>,
    /// Ends with its connection.
    pub(super) clean: bool,
    pub(super) conn: Option<ConnId>,
    /// The connection, or the last one, came by a restricted listener.
    pub(super) restricted: bool,
    /// Each once, with the QoS that was granted.
    pub(super) filters: Vec<(TopicFilter, QoS)>,
    pub(super) inflight: Inflight,
    pub(super) queue: Queue,
}

/// QoS 1 messages on their way to the client, in the order in which they were first sent.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    last_id: u16,
    sent: VecDeque<Sent>,
    /// Of the messages that are kept to be sent again.
    bytes: usize,
}

/// What may be in flight to one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) messages: u16,
    /// Of what is kept to be sent again; a single message always fits.
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Sent {
    packet_id: u16,
    first: u8,
    /// `None` where the session ends with its connection: it is never sent again.
    message: Option<Rc<Stored>>,
}

impl Inflight {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// A packet id for one more message, `None` while the window is full. Ids go round; the oldest in flight is the first that would be met.
    pub(super) fn take_id(&mut self, window: Window) -> Option<u16> {
        if self.sent.len() >= usize::from(window.messages) || self.bytes >= window.bytes.max(1) {
            return None;
        }
        let id = self.last_id.checked_add(1).unwrap_or(1);
        if self.sent.front().is_some_and(|oldest| oldest.packet_id == id) {
            return None;
        }
        self.last_id = id;
        Some(id)
    }

    /// The message with the id that was just taken is sent.
    pub(super) fn push(&mut self, packet_id: u16, first: u8, message: Option<Rc<Stored>>, budget: &Budget) {
        if let Some(message) = &message {
            budget.add(RECEIVER_OVERHEAD);
            self.bytes += message.len();
        }
        self.sent.push_back(Sent { packet_id, first, message });
    }

    #[cfg(test)]
    pub(super) fn newest(&self) -> Option<u16> {
        self.sent.back().map(|s| s.packet_id)
    }

    /// The client has it. False if it was not in flight: a late answer of an earlier connection, which means nothing.
    pub(super) fn acknowledge(&mut self, packet_id: u16, budget: &Budget) -> bool {
        let Some(at) = self.sent.iter().position(|s| s.packet_id == packet_id) else { return false };
        if let Some(message) = self.sent.remove(at).and_then(|sent| sent.message) {
            budget.sub(RECEIVER_OVERHEAD);
            self.bytes -= message.len();
        }
        if self.sent.is_empty() && self.sent.capacity() > 64 {
            self.sent = VecDeque::new();
        }
        true
    }

    /// Sends all again, in order, marked as duplicates [MQTT-4.4.0-1] [MQTT-4.6.0-1].
    pub(super) fn resend(&self, out: &mut Out) {
        for sent in &self.sent {
            if let Some(message) = &sent.message {
                out.push_stored(message, sent.first | DUP, Some(sent.packet_id));
            }
        }
    }

    /// Drops what `keep` does not want: rights may have changed since it was sent.
    pub(super) fn retain(&mut self, budget: &Budget, keep: impl Fn(&Stored) -> bool) {
        let before = self.sent.len();
        self.sent.retain(|sent| sent.message.as_ref().is_none_or(|m| keep(m)));
        self.bytes = self.sent.iter().filter_map(|sent| sent.message.as_ref()).map(|m| m.len()).sum();
        budget.sub((before - self.sent.len()) * RECEIVER_OVERHEAD);
    }

    fn clear(&mut self, budget: &Budget) {
        budget.sub(self.sent.iter().filter(|s| s.message.is_some()).count() * RECEIVER_OVERHEAD);
        self.sent.clear();
        self.bytes = 0;
    }
}

/// QoS 1 messages that wait: the client is away, its window is full or it reads slowly.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    message: Rc<Stored>,
    first: u8,
}

/// The limits of one queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Of all outputs and queues together.
    pub(super) output: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Half full: those who feed it are slowed while its client is connected.
    pub(super) fn is_half_full(&self, limits: QueueLimits) -> bool {
        self.waiting.len() > limits.messages / 2 || self.bytes > limits.bytes / 2
    }

    /// Adds a message; the oldest go where there is no room. A single message always has. Returns how many were dropped.
    pub(super) fn push(&mut self, message: Rc<Stored>, first: u8, limits: QueueLimits, budget: &Budget) -> u64 {
        let cost = message.len() + RECEIVER_OVERHEAD;
        let mut dropped = 0;
        while !self.waiting.is_empty()
            && (self.waiting.len() >= limits.messages || self.bytes + cost > limits.bytes || budget.used() + cost > limits.output)
        {
            self.pop(budget);
            dropped += 1;
        }
        // What others hold leaves no room: this queue has nothing to give for it.
        if dropped == 0 && budget.used() > limits.output && self.waiting.is_empty() {
            return 1;
        }
        self.bytes += cost;
        budget.add(RECEIVER_OVERHEAD);
        self.waiting.push_back(Waiting { message, first });
        dropped
    }

    fn pop(&mut self, budget: &Budget) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.message.len() + RECEIVER_OVERHEAD;
        budget.sub(RECEIVER_OVERHEAD);
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        Some(waiting)
    }

    pub(super) fn retain(&mut self, budget: &Budget, keep: impl Fn(&Stored) -> bool) {
        let before = self.waiting.len();
        self.waiting.retain(|w| keep(&w.message));
        self.bytes = self.waiting.iter().map(|w| w.message.len() + RECEIVER_OVERHEAD).sum();
        budget.sub((before - self.waiting.len()) * RECEIVER_OVERHEAD);
    }
}

impl Session {
    pub(super) fn new(client: Rc<str>, clean: bool) -> Self {
        let (inflight, queue) = (Inflight::default(), Queue::default());
        Self { client, clean, conn: None, restricted: false, filters: Vec::new(), inflight, queue }
    }

    /// Moves what waits to `out` while the window and `out` have room; how many.
    pub(super) fn pump(&mut self, out: &mut Out, window: Window, out_max: usize, budget: &Budget) -> u64 {
        let mut moved = 0;
        while self.queue.len() > 0 && out.waiting() <= out_max {
            let Some(id) = self.inflight.take_id(window) else { break };
            let Some(Waiting { message, first }) = self.queue.pop(budget) else { break };
            out.push_stored(&message, first, Some(id));
            self.inflight.push(id, first, (!self.clean).then_some(message), budget);
            moved += 1;
        }
        moved
    }

    /// Gives back what the session holds of the budget, before it is dropped.
    pub(super) fn clear(&mut self, budget: &Budget) {
        self.inflight.clear(budget);
        while self.queue.pop(budget).is_some() {}
    }
}
