//! Which entries go to the upstream when, and what becomes of them. Sans-I/O.
//!
//! Entries stand in one line, in id order, from the moment the outbox hands them over until they are settled. The front of the line has been
//! offered to the sink on the connection that is up; the window is the distance from the oldest unacknowledged entry to the newest offered
//! one. When the connection goes down everything unacknowledged is offered again, in order, on the next.
//!
//! An upstream that closes the connection on an entry would stop all behind it, so [`Doubt`] finds such an entry out. One that says why it
//! will not have an entry now (5.0's reason codes) stops the line for a pause, by [`Round`]: then what it refused goes again, and after it one
//! entry more, whose passing shows that the fault is the refused ones' own.

mod round;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

pub use round::Refusal;
use round::{Grudge, Round};

use super::sink::{Parcel, Terms, Token, TooLarge};
use crate::model::{EntryId, Mono, Outcome, Settled};

/// Bytes in flight, as [`Parcel::cost`] counts them; one parcel may go alone whatever its size. The rest waits. It is what a slow line has to
/// carry within the ack timeout: 70 kbit/s for 30 s.
pub const IN_FLIGHT_BYTES: usize = 256 << 10;
/// Nothing more is pulled while the line holds so many bytes.
pub const HOLD_BYTES: usize = 1 << 20;
/// After so many closes with the same oldest entry, entries go one at a time.
pub const CLOSES_BEFORE_ALONE: u32 = 3;
/// After so many closes on an entry that was alone in flight, the next entry is tried in its place.
pub const CLOSES_BEFORE_ASIDE: u32 = 3;
/// Only a close so soon after an entry was written is held against it.
pub const CLOSE_AFTER_WRITE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Pump {
    window: usize,
    ack_timeout: Duration,
    /// In id order; the first is never settled.
    line: VecDeque<Slot>,
    /// So many from the front were offered on this connection. Settled ones among them keep their place until those before them are settled.
    offered: usize,
    in_flight: usize,
    in_flight_bytes: usize,
    held_bytes: usize,
    up: bool,
    stopped: bool,
    pull_open: bool,
    /// By the upstream's terms: the window and the largest packet of this connection.
    allowed: (usize, usize),
    doubt: Doubt,
    round: Round,
    settled: Vec<Settled>,
}

/// What speaks against single entries, where the protocol has no code to refuse them by (3.1.1).
#[derive(Debug, Default)]
struct Doubt {
    /// The oldest entry at the last closes, and how many closes in a row.
    oldest: Option<(EntryId, u32)>,
    /// So many more entries go one at a time: all that were in flight at those closes, since any of them may be the one.
    careful: usize,
    /// The entry that was alone in flight at the last closes, and how many.
    alone: Option<(EntryId, u32)>,
    /// The suspect, out of the line while the next entry shows whether the upstream takes anything at all.
    aside: Option<Parcel>,
    /// The upstream closes on whatever it is sent.
    refusing: bool,
}

#[derive(Debug)]
struct Slot {
    parcel: Parcel,
    state: SlotState,
    /// It was refused for now, and not taken since.
    grudge: Option<Grudge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Waiting,
    Offered {
        token: Token,
        at: Mono,
        written: Option<Mono>,
    },
    /// In this round, for now.
    Refused(Token),
    Settled(Token),
}

impl Pump {
    /// A `window` of 0 counts as 1.
    pub fn new(window: usize, ack_timeout: Duration) -> Self {
        Self {
            window: window.max(1),
            ack_timeout,
            line: VecDeque::new(),
            offered: 0,
            in_flight: 0,
            in_flight_bytes: 0,
            held_bytes: 0,
            up: false,
            stopped: false,
            pull_open: false,
            allowed: (usize::MAX, usize::MAX),
            doubt: Doubt::default(),
            round: Round::default(),
            settled: Vec::new(),
        }
    }

    /// How many more entries to ask the outbox for, if any; from then on a pull is open. The line holds at most twice the window, one line's
    /// worth ready behind the one that is in flight.
    pub fn pull(&mut self) -> Option<usize> {
        let wanted = self.wants_pull().then(|| 2 * self.window - self.held())?;
        self.pull_open = true;
        Some(wanted)
    }

    pub fn wants_pull(&self) -> bool {
        self.up && !self.stopped && !self.pull_open && self.held() <= self.window && self.held_bytes < HOLD_BYTES
    }

    /// The outbox has answered the pull. Parcels follow by [`Pump::push`] and [`Pump::reject`].
    pub fn page(&mut self) {
        self.pull_open = false;
    }

    /// The next entry, after all before it.
    pub fn push(&mut self, parcel: Parcel) {
        if parcel.size > self.allowed.1 {
            return self.reject_size(&parcel);
        }
        self.held_bytes += parcel.cost();
        self.line.push_back(Slot { parcel, state: SlotState::Waiting, grudge: None });
        self.consider_suspect();
    }

    /// An entry that can never be sent: settled at once, so that it stops nobody.
    pub fn reject(&mut self, id: EntryId, cause: String) {
        self.settled.push(Settled { id, outcome: Outcome::DeadLetter { code: None, cause } });
    }

    /// The next parcels that may be offered now, at most `max`. What was taken is reported by [`Pump::offered`].
    pub fn to_offer(&self, max: usize) -> impl Iterator<Item = &Parcel> {
        let count = self.room(max);
        self.line.iter().skip(self.offered).take(count).map(|slot| &slot.parcel)
    }

    /// How many parcels [`Pump::to_offer`] gives.
    pub fn room(&self, max: usize) -> usize {
        if !self.up || self.stopped {
            return 0;
        }
        // What was refused at the front is not in flight: the window begins behind it.
        let answered = |slot: &&Slot| matches!(slot.state, SlotState::Refused(_) | SlotState::Settled(_));
        let base = self.line.iter().take_while(answered).count();
        let end = self.line.len().min(base.saturating_add(self.window_now()));
        let mut bytes = self.in_flight_bytes;
        let fits = |slot: &&Slot| {
            if self.round.upto.is_some_and(|upto| slot.parcel.id > upto) {
                return false;
            }
            let alone = bytes == 0;
            bytes += slot.parcel.cost();
            alone || bytes <= IN_FLIGHT_BYTES
        };
        self.line.iter().take(end).skip(self.offered).take(max).take_while(fits).count()
    }

    /// The sink has taken the first `count` of [`Pump::to_offer`].
    pub fn offered(&mut self, token: Token, count: usize, now: Mono) {
        for slot in self.line.iter_mut().skip(self.offered).take(count) {
            slot.state = SlotState::Offered { token, at: now, written: None };
            self.in_flight_bytes += slot.parcel.cost();
        }
        self.offered += count;
        self.in_flight += count;
    }

    /// A connection is up and nothing was offered on it. What is larger than `terms` allow is a dead letter.
    pub fn up(&mut self, terms: Terms) {
        self.up = true;
        self.allowed = (terms.window.max(1), terms.packet_max);
        for at in (0..self.line.len()).rev() {
            if self.line.get(at).is_some_and(|slot| slot.parcel.size > self.allowed.1)
                && let Some(parcel) = self.take_out(at)
            {
                self.reject_size(&parcel);
            }
        }
        self.begin_round();
        self.consider_suspect();
    }

    /// Settles what has expired among the next `max` entries to be offered.
    pub fn drop_expired(&mut self, max: usize, now: Mono) {
        for at in (self.offered..self.line.len().min(self.offered.saturating_add(max))).rev() {
            let expired = self.line.get(at).and_then(|slot| slot.parcel.expires).is_some_and(|expires| expires <= now);
            if expired && let Some(parcel) = self.take_out(at) {
                self.settled.push(Settled { id: parcel.id, outcome: Outcome::Expired });
            }
        }
    }

    pub fn written(&mut self, token: Token, now: Mono) {
        for index in self.range(token) {
            if let Some(Slot { state: SlotState::Offered { written, .. }, .. }) = self.line.get_mut(index) {
                *written = Some(now);
            }
        }
    }

    /// The upstream has acknowledged the offer. Returns how many entries that settles: none if the token is not of this connection.
    pub fn acked(&mut self, token: Token) -> usize {
        let count = self.settle(token, &Outcome::Acknowledged);
        if count > 0 {
            self.round.passed = true;
            self.doubt.refusing = false;
            self.doubt.careful = self.doubt.careful.saturating_sub(count);
            if let Some(suspect) = self.doubt.aside.take() {
                self.held_bytes -= suspect.cost();
                self.doubt.careful = self.doubt.careful.saturating_sub(1);
                let cause =
                    format!("the upstream closed the connection {CLOSES_BEFORE_ASIDE} times on this entry alone, and took the next one");
                self.reject(suspect.id, cause);
            }
        }
        count
    }

    /// The connection is gone; `by_peer`: the upstream closed it.
    pub fn down(&mut self, by_peer: bool, now: Mono) {
        let guilty = self.up && by_peer && self.count_close(now);
        self.offer_anew();
        self.up = false;
        if guilty {
            self.alone_again();
        }
    }

    /// Offers and pulls nothing any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// When the oldest offer has waited too long, if there is one. It runs from the offer, so it covers the hand-over to a network that takes
    /// nothing, too.
    pub fn deadline(&self) -> Option<Mono> {
        self.line.iter().take(self.offered).find_map(|slot| match slot.state {
            SlotState::Offered { at, .. } => Some(at + self.ack_timeout),
            _ => None,
        })
    }

    /// What became of entries since the last call.
    pub fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    pub fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When the oldest entry that is not settled was accepted.
    pub fn oldest(&self) -> Option<Mono> {
        self.doubt.aside.as_ref().or(self.line.front().map(|slot| &slot.parcel)).map(|parcel| parcel.accepted)
    }

    /// The upstream closes the connection on whatever it is sent.
    pub fn refusing(&self) -> bool {
        self.doubt.refusing
    }

    fn held(&self) -> usize {
        self.line.len() + usize::from(self.doubt.aside.is_some())
    }

    fn window_now(&self) -> usize {
        // In a round, its own limit is narrow enough.
        let careful = self.round.upto.is_none() && (self.doubt.careful > 0 || self.doubt.aside.is_some());
        if careful { 1 } else { self.window.min(self.allowed.0) }
    }

    /// The places of the offer `token` in the line. Tokens rise along the offered part.
    fn range(&self, token: Token) -> std::ops::Range<usize> {
        let before = |limit: &dyn Fn(Token) -> bool| {
            self.line.partition_point(|slot| match slot.state {
                SlotState::Offered { token, .. } | SlotState::Refused(token) | SlotState::Settled(token) => limit(token),
                SlotState::Waiting => false,
            })
        };
        before(&|t| t < token)..before(&|t| t <= token)
    }

    fn settle(&mut self, token: Token, outcome: &Outcome) -> usize {
        let mut count = 0;
        for index in self.range(token) {
            let Some(slot) = self.line.get_mut(index) else { continue };
            if !matches!(slot.state, SlotState::Offered { .. }) {
                continue;
            }
            let cost = slot.parcel.cost();
            self.in_flight_bytes -= cost;
            self.held_bytes -= cost;
            self.in_flight -= 1;
            slot.state = SlotState::Settled(token);
            let forgiven = slot.grudge.take().is_some();
            // It may keep its place for long; its bytes need not.
            slot.parcel.payload = Bytes::new();
            self.settled.push(Settled { id: slot.parcel.id, outcome: outcome.clone() });
            count += 1;
            if forgiven {
                self.forgive();
            }
        }
        while matches!(self.line.front(), Some(Slot { state: SlotState::Settled(_), .. })) {
            self.line.pop_front();
            self.offered -= 1;
        }
        count
    }

    /// Takes a slot that is not in flight out of the line. One that was offered is for the caller to count.
    fn take_out(&mut self, at: usize) -> Option<Parcel> {
        let slot = self.line.remove(at)?;
        self.held_bytes -= slot.parcel.cost();
        if slot.grudge.is_some() {
            self.forgive();
        }
        Some(slot.parcel)
    }

    fn reject_size(&mut self, parcel: &Parcel) {
        let cause = TooLarge { size: parcel.size, max: self.allowed.1 }.to_string();
        self.settled.push(Settled { id: parcel.id, outcome: Outcome::DeadLetter { code: Some(0x95), cause } });
    }

    /// All that is unsettled waits again.
    fn offer_anew(&mut self) {
        self.line.retain(|slot| !matches!(slot.state, SlotState::Settled(_)));
        self.line.iter_mut().for_each(|slot| slot.state = SlotState::Waiting);
        (self.offered, self.in_flight, self.in_flight_bytes) = (0, 0, 0);
    }

    /// Counts a close by the upstream. Whether it is held against the entry that was alone in flight.
    fn count_close(&mut self, now: Mono) -> bool {
        let Some(Slot { parcel, state: SlotState::Offered { written: Some(written), .. }, .. }) = self.line.front() else {
            return false;
        };
        if count_up(&mut self.doubt.oldest, parcel.id) >= CLOSES_BEFORE_ALONE {
            self.doubt.careful = self.doubt.careful.max(self.in_flight);
        }
        self.in_flight == 1 && now.since(*written) <= CLOSE_AFTER_WRITE
    }

    /// The upstream closed on the front entry, which was alone in flight.
    fn alone_again(&mut self) {
        if let Some(suspect) = self.doubt.aside.take() {
            // It closes on the next one, too: nothing is known against the suspect any more.
            self.line.push_front(Slot { parcel: suspect, state: SlotState::Waiting, grudge: None });
            self.doubt.alone = None;
            self.doubt.refusing = true;
            return;
        }
        let Some(front) = self.line.front() else { return };
        if count_up(&mut self.doubt.alone, front.parcel.id) >= CLOSES_BEFORE_ASIDE && self.line.len() == 1 {
            self.doubt.refusing = true;
        }
    }

    /// Takes the suspect out of the line, if there is another entry to try instead.
    fn consider_suspect(&mut self) {
        let Some((id, closes)) = self.doubt.alone else { return };
        let suspected = closes >= CLOSES_BEFORE_ASIDE && self.line.front().is_some_and(|slot| slot.parcel.id == id);
        if suspected && self.up && self.offered == 0 && self.doubt.aside.is_none() && self.line.len() > 1 {
            let slot = self.line.pop_front();
            if slot.as_ref().is_some_and(|slot| slot.grudge.is_some()) {
                self.forgive();
            }
            self.doubt.aside = slot.map(|slot| slot.parcel);
        }
    }
}

/// One more for `id`; another id begins anew.
fn count_up(count: &mut Option<(EntryId, u32)>, id: EntryId) -> u32 {
    let before = count.filter(|(counted, _)| *counted == id).map_or(0, |(_, n)| n);
    *count = Some((id, before.saturating_add(1)));
    before.saturating_add(1)
}

#[cfg(test)]
mod tests;
