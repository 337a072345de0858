//! What the upstream refuses for now, with a reason code that may get better (5.0, 3.4.2.1).
//!
//! The first such answer stops the line. When all that is in flight has its answer, and the caller's pause is over, a round begins: what was
//! refused goes again, in order, and one entry behind it. An entry that is refused in three rounds in which another passed is given up: the
//! fault is its own. Where nothing passes, nothing is given up, and the line holds for as long as that lasts.

use super::super::sink::{Refused, Token};
use super::{Pump, SlotState};
use crate::model::{EntryId, Outcome, Settled};

/// An entry is given up after so many rounds in which it was refused and another passed.
pub const REFUSALS_BEFORE_DEAD: u32 = 3;
/// After so many rounds in a row in which it took nothing, the upstream counts as refusing whatever it is sent.
const BARREN_ROUNDS: u32 = 3;

/// Ends when all that was offered in it is answered.
#[derive(Debug, Default)]
pub struct Round {
    /// Slots with a grudge.
    pub grudges: usize,
    /// Something was refused in it.
    held: bool,
    /// Something was acknowledged in it, so the upstream does take entries.
    pub passed: bool,
    /// Only up to here is offered in it; `None`: there is no round, everything goes.
    pub upto: Option<EntryId>,
    /// Rounds in a row without [`Round::passed`].
    barren: u32,
}

/// Against an entry that was refused for now, and not taken since.
#[derive(Debug)]
pub struct Grudge {
    refused: Refused,
    /// Rounds in which it was refused and another entry passed.
    counted: u32,
}

/// What a refusal means for the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The entry is settled, or was before; the others go on.
    Settled,
    /// The upstream will not have it now: the line stops here until [`Pump::next_round`], after a pause.
    Hold,
}

impl Pump {
    /// The upstream has refused the offer.
    pub fn refused(&mut self, token: Token, refused: &Refused) -> Refusal {
        // Topic name invalid, packet too large, payload format invalid: the entry itself is wrong, so it never gets better.
        if matches!(refused.code, 0x90 | 0x95 | 0x99) {
            self.settle(token, &dead_letter("the upstream refused it", refused));
            return Refusal::Settled;
        }
        let mut count = 0;
        for index in self.range(token) {
            let Some(slot) = self.line.get_mut(index) else { continue };
            if !matches!(slot.state, SlotState::Offered { .. }) {
                continue;
            }
            slot.state = SlotState::Refused(token);
            let before = slot.grudge.take().map(|grudge| grudge.counted);
            slot.grudge = Some(Grudge { refused: refused.clone(), counted: before.unwrap_or(0) });
            self.round.grudges += usize::from(before.is_none());
            self.in_flight_bytes -= slot.parcel.cost();
            self.in_flight -= 1;
            count += 1;
        }
        if count == 0 {
            return Refusal::Settled;
        }
        if self.round.upto.is_none() {
            // What passed before the first refusal says nothing about now.
            self.round.passed = false;
            self.round.upto = self.offered.checked_sub(1).and_then(|last| self.line.get(last)).map(|slot| slot.parcel.id);
        }
        self.round.held = true;
        Refusal::Hold
    }

    /// All that was offered in a round with a refusal is answered: [`Pump::next_round`] may come.
    pub fn round_over(&self) -> bool {
        self.round.held && self.in_flight == 0 && self.room(1) == 0
    }

    /// After the pause. Whether anything passed in the round that ends.
    pub fn next_round(&mut self) -> bool {
        let passed = self.round.passed;
        self.round.barren = if passed { 0 } else { self.round.barren.saturating_add(1) };
        self.doubt.refusing |= self.round.barren >= BARREN_ROUNDS;
        let what = format!("the upstream refused it {REFUSALS_BEFORE_DEAD} times and took others");
        let Self { line, settled, held_bytes, round, .. } = self;
        line.retain_mut(|slot| {
            let (SlotState::Refused(_), Some(grudge)) = (slot.state, &mut slot.grudge) else { return true };
            grudge.counted += u32::from(passed);
            let keep = grudge.counted < REFUSALS_BEFORE_DEAD;
            if !keep {
                settled.push(Settled { id: slot.parcel.id, outcome: dead_letter(&what, &grudge.refused) });
                *held_bytes -= slot.parcel.cost();
                round.grudges -= 1;
            }
            keep
        });
        self.offer_anew();
        self.begin_round();
        passed
    }

    /// Something was refused for now, and neither taken nor given up since.
    pub fn has_grudges(&self) -> bool {
        self.round.grudges > 0
    }

    /// Nothing is in flight. What was refused goes first, with one more behind it.
    pub(super) fn begin_round(&mut self) {
        let last = self.line.iter().rposition(|slot| slot.grudge.is_some());
        let witness = last.and_then(|last| self.line.get(last + 1).or(self.line.get(last)));
        self.round.upto = witness.map(|slot| slot.parcel.id);
        (self.round.held, self.round.passed) = (false, false);
    }

    /// One grudge less; without any the line is free.
    pub(super) fn forgive(&mut self) {
        self.round.grudges -= 1;
        if self.round.grudges == 0 {
            self.round = Round::default();
        }
    }
}

fn dead_letter(what: &str, refused: &Refused) -> Outcome {
    Outcome::DeadLetter { code: Some(refused.code), cause: format!("{what}: {}", refused.why) }
}
