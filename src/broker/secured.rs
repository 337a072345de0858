//! What was secured takes effect: acknowledgements leave, gates open, and what was put off is delivered.
//!
//! One commit may release what many turns have accepted: a thousand messages, each to a thousand receivers. So it takes effect in turns, counter by
//! counter; what is left counts as unsecured until its turn comes, and everything that depends on it waits as before.

use std::collections::VecDeque;

use super::apply::Work;
use super::conn::Hold;
use super::id::{ConnId, SessionIndex};
use super::state::Broker;
use crate::model::IdRange;

/// What a packet that waited for its commit costs of a turn, in deliveries: it is looked for among all that is in flight to its client.
const DELIVERIES_A_GATE: usize = 8;

/// Ranges of counters that the outbox has told and that are still to take effect, oldest first. No more than there are unsecured ids.
#[derive(Debug, Default)]
pub(super) struct Securing(VecDeque<(u64, u64)>);

impl Broker {
    /// The outbox says that these are secured.
    pub(super) fn secured(&mut self, ranges: Vec<IdRange>) {
        let idle = self.securing.0.is_empty();
        self.securing.0.extend(ranges.into_iter().filter_map(|range| self.owed.counters(range)));
        // What came before has its turn first.
        self.news |= !idle || self.settle_secured();
    }

    /// A turn of it; true if more is left.
    pub(super) fn settle_secured(&mut self) -> bool {
        let mut work = Work::turn();
        let mut room = false;
        while !work.is_done()
            && let Some((first, last)) = self.securing.0.pop_front()
        {
            let reach = self.reach(first, last, &mut work);
            if reach < last {
                self.securing.0.push_front((reach + 1, last));
            }
            let mut waiting = Vec::new();
            room |= self.owed.secure(first, reach, &mut waiting);
            for id in waiting {
                self.release_acks(id);
            }
            self.open_gates(first, reach);
            self.deliver_deferred(first, reach);
            self.ended.secured(first, reach);
        }
        if room {
            self.wake_held();
        }
        !self.securing.0.is_empty()
    }

    /// The last counter of `first ..= last` that this turn gets to; at least `first`.
    fn reach(&self, first: u64, last: u64, work: &mut Work) -> u64 {
        let budget = work.deliveries;
        let mut reach = last.min(self.owed.count_on(first, budget)).max(first);
        let mut spent = 1;
        for (counter, ..) in self.gates.range((first, 0, 0)..=(reach, SessionIndex::MAX, u64::MAX)) {
            spent += DELIVERIES_A_GATE;
            if spent >= budget {
                reach = *counter;
                break;
            }
        }
        for (counter, deferred) in self.deferred.range(first..=reach) {
            spent += deferred.route.len() + 1;
            if spent >= budget {
                reach = *counter;
                break;
            }
        }
        let counters = (reach + 1).saturating_sub(self.owed.count_on(first, 1));
        work.spend(spent.max(usize::try_from(counters).unwrap_or(usize::MAX)));
        reach
    }

    fn release_acks(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id).filter(|c| c.end.is_none()) else { return };
        conn.release_answers(&self.owed);
        let committed = matches!(conn.hold, Some(Hold::Commit(counter)) if self.owed.is_secured(counter, counter));
        if conn.hold == Some(Hold::Acks) || committed {
            conn.hold = None;
            conn.seen = self.now.mono;
            self.wakes.push(id);
        }
        self.mark_answered(id);
    }
}
