//! What is to be written to one connection: small packets in one buffer, large bodies shared; and the count of memory that all of it holds.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use bytes::Bytes;

use crate::model::{Mono, Topic};
use crate::mqtt::Version;
use crate::mqtt::encode::{self, Extra};

/// Bodies up to this size are copied to each receiver; larger ones are shared. Copying 1 MiB to 1,000 receivers takes 1 GB.
pub(super) const COPY_MAX: usize = 1_024;

/// What a shared message costs each of its receivers.
pub(super) const RECEIVER_OVERHEAD: usize = 64;

/// A buffer that has grown beyond this is given back once it is empty.
const KEEP_MAX: usize = 64 << 10;

/// Most slices of one vectored write.
pub(super) const SLICES: usize = 32;

/// Most bytes of one write: the kernel may take megabytes at once, and hold the thread for as long, for a peer that reads none of them.
const WRITE_MAX: usize = 256 << 10;

/// Bytes that outputs and queues hold together, against `output_max`. One counter, shared.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: Cell<usize>,
    packets: Cell<u64>,
}

impl Budget {
    pub(super) fn used(&self) -> usize {
        self.0.bytes.get()
    }

    pub(super) fn add(&self, bytes: usize) {
        self.0.bytes.set(self.0.bytes.get() + bytes);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.0.bytes.set(self.0.bytes.get().saturating_sub(bytes));
    }

    /// Packets that were put into any output so far.
    pub(super) fn packets(&self) -> u64 {
        self.0.packets.get()
    }

    fn count_packet(&self) {
        self.0.packets.set(self.0.packets.get() + 1);
    }
}

/// A message that several receivers hold: counted once, until the last of them lets go of it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) topic: Topic,
    pub(super) body: Bytes,
    /// Encoded, to go on to receivers of 5.0.
    pub(super) properties: Bytes,
    pub(super) expires: Option<Mono>,
    budget: Budget,
}

impl Stored {
    pub(super) fn new(topic: Topic, body: Bytes, properties: Bytes, expires: Option<Mono>, budget: &Budget) -> Rc<Self> {
        let stored = Self { topic, body, properties, expires, budget: budget.clone() };
        budget.add(stored.len());
        Rc::new(stored)
    }

    pub(super) fn len(&self) -> usize {
        self.topic.as_bytes().len() + self.properties.len() + self.body.len()
    }

    pub(super) fn is_expired(&self, now: Mono) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.budget.sub(self.len());
    }
}

/// How a message goes out to one receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) version: Version,
    /// First byte: QoS, RETAIN, DUP.
    pub(super) first: u8,
    /// `None` at QoS 0.
    pub(super) id: Option<u16>,
    pub(super) extra: Extra<'a>,
    /// The receiver knows the topic by the alias in `extra`.
    pub(super) topic_known: bool,
}

impl Envelope<'_> {
    /// Bytes of the whole packet.
    pub(super) fn packet_len(&self, topic: usize, properties: usize, body: usize) -> usize {
        let topic = if self.topic_known { 0 } else { topic };
        encode::publish_len(self.version, topic, self.id.is_some(), properties, &self.extra, body)
    }

    /// Everything before the body.
    pub(super) fn head(&self, out: &mut Vec<u8>, topic: &[u8], properties: &[u8], body: usize) {
        let topic = if self.topic_known { &[] } else { topic };
        if self.version.is_5() {
            encode::publish_head_v5(out, self.first, topic, self.id, properties, self.extra, body);
        } else {
            encode::publish_head(out, self.first, topic, self.id, body);
        }
    }
}

/// Output of one connection, in order.
#[derive(Debug)]
pub(super) struct Out {
    bytes: Vec<u8>,
    /// Bytes before it are written.
    head: usize,
    splices: VecDeque<Splice>,
    waiting: usize,
    budget: Budget,
}

/// A shared body that is written when `head` has come to `at`.
#[derive(Debug)]
struct Splice {
    at: usize,
    written: usize,
    stored: Rc<Stored>,
}

impl Out {
    pub(super) fn new(budget: &Budget) -> Self {
        Self { bytes: Vec::new(), head: 0, splices: VecDeque::new(), waiting: 0, budget: budget.clone() }
    }

    /// Bytes that are to be written.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.waiting += bytes.len();
        self.budget.add(bytes.len());
        self.budget.count_packet();
    }

    /// A PUBLISH that was encoded before, with its first byte replaced and, where `id` says, its packet id.
    /// `bytes` is the whole packet, or the part before `shared`'s body.
    pub(super) fn push_publish(&mut self, bytes: &[u8], first: u8, id: Option<(usize, u16)>, shared: Option<&Rc<Stored>>) {
        let start = self.bytes.len();
        self.push(bytes);
        if let Some(byte) = self.bytes.get_mut(start) {
            *byte = first;
        }
        if let Some((at, id)) = id
            && let Some(place) = self.bytes.get_mut(start + at..start + at + 2)
        {
            place.copy_from_slice(&id.to_be_bytes());
        }
        if let Some(stored) = shared {
            self.share(stored);
        }
    }

    /// A PUBLISH encoded from a stored message.
    pub(super) fn push_stored(&mut self, stored: &Rc<Stored>, envelope: &Envelope<'_>) {
        let start = self.bytes.len();
        let body = &stored.body;
        envelope.head(&mut self.bytes, stored.topic.as_bytes(), &stored.properties, body.len());
        if body.len() <= COPY_MAX {
            self.bytes.extend_from_slice(body);
        }
        let length = self.bytes.len() - start;
        self.waiting += length;
        self.budget.add(length);
        self.budget.count_packet();
        if body.len() > COPY_MAX {
            self.share(stored);
        }
    }

    #[cfg(any(test, feature = "fuzz"))]
    /// What waits, without the first `skip` bytes.
    pub(super) fn tail(&self, skip: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.waiting);
        let mut at = self.head;
        for splice in &self.splices {
            all.extend_from_slice(self.bytes.get(at..splice.at).unwrap_or_default());
            all.extend_from_slice(splice.stored.body.get(splice.written..).unwrap_or_default());
            at = splice.at;
        }
        all.extend_from_slice(self.bytes.get(at..).unwrap_or_default());
        all.split_off(skip.min(all.len()))
    }

    #[cfg(any(test, feature = "fuzz"))]
    /// Bytes that it holds by itself; shared messages go to `shared`.
    pub(super) fn held(&self, shared: &mut impl FnMut(&Rc<Stored>)) -> usize {
        self.splices.iter().for_each(|splice| shared(&splice.stored));
        self.bytes.len() - self.head + self.splices.len() * RECEIVER_OVERHEAD
    }

    fn share(&mut self, stored: &Rc<Stored>) {
        self.waiting += stored.body.len();
        self.budget.add(RECEIVER_OVERHEAD);
        self.splices.push_back(Splice { at: self.bytes.len(), written: 0, stored: Rc::clone(stored) });
    }

    /// What is to be written next, as slices; the number of those that are set.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut count, mut left) = (0, WRITE_MAX);
        let mut at = self.head;
        let mut put = |bytes: &'a [u8]| match slices.get_mut(count).filter(|_| left > 0) {
            _ if bytes.is_empty() => true,
            Some(slice) => {
                let part = bytes.get(..left).unwrap_or(bytes);
                *slice = IoSlice::new(part);
                count += 1;
                left -= part.len();
                part.len() == bytes.len()
            }
            None => false,
        };
        for splice in &self.splices {
            let own = self.bytes.get(at..splice.at).unwrap_or_default();
            let shared = splice.stored.body.get(splice.written..).unwrap_or_default();
            if !put(own) || !put(shared) {
                return count;
            }
            at = splice.at;
        }
        put(self.bytes.get(at..).unwrap_or_default());
        count
    }

    /// `n` bytes of what [`Out::slices`] showed are written.
    pub(super) fn advance(&mut self, mut n: usize) {
        n = n.min(self.waiting);
        self.waiting -= n;
        while n > 0 {
            let end = self.splices.front().map_or(self.bytes.len(), |s| s.at);
            let own = n.min(end - self.head);
            self.head += own;
            self.budget.sub(own);
            n -= own;
            let Some(splice) = self.splices.front_mut().filter(|s| s.at == self.head) else { continue };
            let shared = n.min(splice.stored.body.len() - splice.written);
            splice.written += shared;
            n -= shared;
            if splice.written == splice.stored.body.len() {
                self.splices.pop_front();
                self.budget.sub(RECEIVER_OVERHEAD);
            }
        }
        self.tidy();
    }

    /// Gives back what is written: all of it when nothing waits, else once it is the larger half, so that each byte moves at most once.
    fn tidy(&mut self) {
        if self.waiting == 0 {
            self.head = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEEP_MAX {
                self.bytes = Vec::new();
            }
        } else if self.head > KEEP_MAX && self.head > self.bytes.len() / 2 {
            self.bytes.drain(..self.head);
            self.bytes.shrink_to(KEEP_MAX.max(self.bytes.len() * 2));
            for splice in &mut self.splices {
                splice.at -= self.head;
            }
            self.head = 0;
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.budget.sub(self.bytes.len() - self.head + self.splices.len() * RECEIVER_OVERHEAD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the steps in which it is written, the bytes come out in order and the budget comes back to nothing.
    #[test]
    fn output_comes_out_in_order_in_steps_of_any_size() {
        for step in [1, 2, 7, 100, 1_000, 5_000, 1_000_000] {
            let budget = Budget::default();
            let mut out = Out::new(&budget);
            let mut want = Vec::new();
            for i in 0..40u8 {
                let body = vec![i; if i % 3 == 0 { 3_000 } else { 50 }];
                let stored = Stored::new(Topic::new("a/b").unwrap(), body.clone().into(), Bytes::new(), None, &budget);
                let extra = Extra::default();
                out.push_stored(&stored, &Envelope { version: Version::V311, first: 0x32, id: Some(7), extra, topic_known: false });
                encode::publish_head(&mut want, 0x32, b"a/b", Some(7), body.len());
                want.extend_from_slice(&body);
            }
            assert_eq!(out.waiting(), want.len());
            let mut got = Vec::new();
            while out.waiting() > 0 {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = out.slices(&mut slices);
                let seen: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).take(step).collect();
                got.extend_from_slice(&seen);
                out.advance(seen.len());
            }
            assert!(got == want, "step {step}");
            assert_eq!(budget.used(), 0);
        }
    }
}
