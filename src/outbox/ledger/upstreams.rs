//! What upstreams are owed: handed over in pages, settled by their acknowledgements or refused for good.

use super::*;

impl Ledger {
    pub(super) fn link(&mut self, upstream: UpstreamId, up: bool) {
        let Some(queue) = self.queues.get_mut(usize::from(upstream.0)) else { return };
        queue.connected = up;
        if !up && self.disk.is_usable() {
            // What is kept in memory for it only because it was about to take it.
            let ids: Vec<EntryId> = queue.ready.intersection(&queue.stored).copied().collect();
            for id in ids {
                self.leave_to_disk(usize::from(upstream.0), id);
            }
        }
    }

    /// A page for this upstream, if it asked for one and what comes next is in memory.
    pub(super) fn serve(&mut self, upstream: usize, now: Mono) -> Option<Page> {
        loop {
            let queue = self.queues.get(upstream)?;
            let most = queue.pull?;
            if queue.is_behind() {
                return None;
            }
            let mut entries: Vec<Entry> = Vec::new();
            let mut bytes = 0;
            for held in queue.ready.iter().filter_map(|id| self.held.get(id)).take(most) {
                bytes += held.entry.cost();
                if bytes > PAGE_BYTES && !entries.is_empty() {
                    break;
                }
                entries.push(held.entry.clone());
            }
            // All of a page may have expired.
            let more = !entries.is_empty();
            let page = self.hand_over(upstream, entries, now);
            if page.is_some() || !more {
                return page;
            }
        }
    }

    /// The bridge gets these; they are in id order and behind all that it got before. Those that have expired are done instead.
    pub(super) fn hand_over(&mut self, upstream: usize, entries: Vec<Entry>, now: Mono) -> Option<Page> {
        let queue = self.queues.get_mut(upstream).filter(|_| !entries.is_empty())?;
        for entry in &entries {
            queue.ready.remove(&entry.id);
            queue.handed = queue.handed.max(entry.id);
            let flight = Flight { accepted: entry.accepted, accepted_wall: entry.accepted_wall, cost: entry.cost() };
            queue.in_flight.insert(entry.id, flight);
            queue.disk_oldest = queue.disk_oldest.max(entry.accepted_wall);
        }
        for entry in &entries {
            self.forget_stored(entry.id);
        }
        let (expired, entries): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.expires.is_some_and(|expires| expires <= now));
        for entry in expired {
            self.expired += 1;
            self.settle(upstream, entry.id, now);
        }
        let queue = self.queues.get_mut(upstream).filter(|_| !entries.is_empty())?;
        queue.pull = None;
        Some(Page { entries, starts: self.starts.clone() })
    }

    pub(super) fn done(&mut self, upstream: UpstreamId, settled: Vec<Settled>, now: Now) {
        let upstream = usize::from(upstream.0);
        let mut took: Vec<Duration> = Vec::new();
        for Settled { id, outcome } in settled {
            let Some(queue) = self.queues.get(upstream) else { return };
            // Not handed over, or settled before: nothing of ours.
            let Some(flight) = queue.in_flight.get(&id).filter(|_| !queue.refused.contains(&id)) else { continue };
            match outcome {
                Outcome::Acknowledged => {
                    took.push(now.mono.since(flight.accepted));
                    self.settle(upstream, id, now.mono);
                }
                Outcome::Expired => {
                    self.expired += 1;
                    self.settle(upstream, id, now.mono);
                }
                Outcome::DeadLetter { code, cause } => self.refuse(upstream, id, code, cause, now),
            }
        }
        if let Some(queue) = self.queues.get_mut(upstream).filter(|_| !took.is_empty()) {
            queue.note_acks(&took);
        }
    }

    /// The entry is done in this queue: acknowledged, or its dead letter is committed.
    pub(super) fn settle(&mut self, upstream: usize, id: EntryId, now: Mono) {
        let Some(queue) = self.queues.get_mut(upstream) else { return };
        let Some(flight) = queue.in_flight.remove(&id) else { return };
        queue.undone -= 1;
        queue.refused.remove(&id);
        if queue.stored.remove(&id) {
            queue.note_progress(id, flight.cost, now);
        } else {
            queue.memory_bytes = queue.memory_bytes.saturating_sub(flight.cost);
        }
        if let Some(held) = self.held.get_mut(&id) {
            held.refused.remove(UpstreamId(upstream as u8));
            held.owed.remove(UpstreamId(upstream as u8));
            self.check(id);
        }
        self.forget_stored(id);
    }

    fn refuse(&mut self, upstream: usize, id: EntryId, code: Option<u8>, cause: String, now: Now) {
        let Some(queue) = self.queues.get_mut(upstream) else { return };
        queue.refused.insert(id);
        let (bit, name) = (queue.bit, queue.name.clone());
        let held = self.held.get_mut(&id);
        let awaited = held.as_ref().is_some_and(|held| held.entry.awaited) && self.unsecured.contains(&id);
        let entry = held.map(|held| {
            held.owed.remove(UpstreamId(upstream as u8));
            held.refused.insert(UpstreamId(upstream as u8));
            held.entry.clone()
        });
        self.wait_again(id);
        tracing::warn!(upstream = %name, entry = %id, code, %cause, "the upstream refuses a message for good; it becomes a dead letter");
        let letter = DeadLetter { id, bit, upstream: name, entry, code, cause, at: now.wall };
        self.refusals.push(Refusal { upstream, letter, since: now.mono, awaited });
    }

    /// Takes a stored entry out of a queue's memory.
    pub(super) fn leave_to_disk(&mut self, upstream: usize, id: EntryId) {
        let (Some(queue), Some(held)) = (self.queues.get_mut(upstream), self.held.get(&id)) else { return };
        queue.leave_to_disk(id, held.entry.accepted_wall);
        self.forget_stored(id);
    }

    /// Frees a stored entry that no queue is about to take.
    pub(super) fn forget_stored(&mut self, id: EntryId) {
        let Some(held) = self.held.get(&id).filter(|held| held.place == Place::Stored) else { return };
        let needed = held.owed.iter().any(|u| self.queues.get(usize::from(u.0)).is_some_and(|queue| queue.ready.contains(&id)));
        if !needed && held.dropped == 0 {
            self.cached_bytes = self.cached_bytes.saturating_sub(held.entry.cost());
            self.held.remove(&id);
        }
    }
}
