//! Strangers who wait: bounded in all and for each address, so that nobody is kept out by somebody else's.
//!
//! A limit alone would let whoever fills it first shut the door. So the one that makes it too many is let in, and the one goes that has waited longest
//! of the address that has most: it takes an attacker with as many addresses as there are places to push out one honest client, which comes with its
//! CONNECT in hand and leaves this list at once.

use std::collections::VecDeque;

use foldhash::HashMap;

use super::door::Origin;

#[derive(Debug)]
pub(super) struct Crowd<I> {
    max: usize,
    per_origin: usize,
    /// Who has waited longest stands first.
    waiting: VecDeque<(I, Origin)>,
    counts: HashMap<Origin, usize>,
}

impl<I: Copy + PartialEq> Crowd<I> {
    /// At most `max` wait, and at most `per_origin` of one address.
    pub(super) fn new(max: usize, per_origin: usize) -> Self {
        Self { max, per_origin, waiting: VecDeque::new(), counts: HashMap::default() }
    }

    /// One more waits; who is to go for it. That may be itself where no other may be there.
    pub(super) fn enter(&mut self, id: I, origin: Origin) -> Option<I> {
        self.waiting.push_back((id, origin));
        let count = self.counts.entry(origin).or_default();
        *count += 1;
        if *count > self.per_origin {
            let at = self.waiting.iter().position(|(_, other)| *other == origin)?;
            return self.remove(at);
        }
        if self.waiting.len() > self.max { self.remove_one() } else { None }
    }

    /// It waits no more, if it did.
    pub(super) fn leave(&mut self, id: I) {
        // Whoever knows what it wants came lately.
        if let Some(at) = self.waiting.iter().rposition(|(other, _)| *other == id) {
            self.remove(at);
        }
    }

    /// The one that has waited longest of the address that has most.
    pub(super) fn remove_one(&mut self) -> Option<I> {
        let most = self.counts.values().copied().max()?;
        let at = self.waiting.iter().position(|(_, origin)| self.counts.get(origin) == Some(&most))?;
        self.remove(at)
    }

    fn remove(&mut self, at: usize) -> Option<I> {
        let (id, origin) = self.waiting.remove(at)?;
        if let Some(count) = self.counts.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&origin);
            }
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::Ip(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn the_longest_waiting_of_the_address_that_has_most_goes_first() {
        let mut crowd = Crowd::new(4, 10);
        // An honest one, then one address with three.
        assert_eq!(crowd.enter(0, origin(1)), None);
        assert_eq!([1, 2, 3].map(|id| crowd.enter(id, origin(2))), [None; 3]);
        assert_eq!(crowd.enter(4, origin(2)), Some(1));
        assert_eq!(crowd.enter(5, origin(3)), Some(2));
        assert_eq!(crowd.enter(6, origin(1)), Some(0), "two of each: the one that came first");
        crowd.leave(3);
        assert_eq!(crowd.enter(7, origin(4)), None);
        assert_eq!(crowd.counts.values().sum::<usize>(), crowd.waiting.len());
    }

    #[test]
    fn an_address_pushes_its_own_out() {
        let mut crowd = Crowd::new(100, 2);
        assert_eq!([0, 1].map(|id| crowd.enter(id, origin(1))), [None; 2]);
        assert_eq!(crowd.enter(2, origin(2)), None);
        assert_eq!(crowd.enter(3, origin(1)), Some(0));
        crowd.leave(1);
        crowd.leave(1);
        assert_eq!(crowd.enter(4, origin(1)), None);
    }

    #[test]
    fn who_has_left_leaves_nothing_behind() {
        let mut crowd = Crowd::new(8, 8);
        for id in 0..1_000_u32 {
            crowd.enter(id, origin(u8::try_from(id % 250).unwrap_or_default()));
            crowd.leave(id);
        }
        assert!(crowd.waiting.is_empty() && crowd.counts.is_empty());
        let mut none = Crowd::new(0, 8);
        assert_eq!(none.enter(1, origin(1)), Some(1), "nobody may wait");
    }
}
