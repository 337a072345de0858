//! A trouble that comes in spells: said once when one begins, and with its count when it is over.

use std::time::Duration;

use crate::model::Mono;

/// So long without it, and it is over.
const OVER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Spell {
    count: u64,
    last: Option<Mono>,
}

impl Spell {
    /// Once more. True: it begins.
    pub(super) const fn note(&mut self, now: Mono) -> bool {
        self.count += 1;
        self.last.replace(now).is_none()
    }

    /// How often it was, once it is over.
    pub(super) fn over(&mut self, now: Mono) -> Option<u64> {
        self.last.take_if(|last| now.since(*last) >= OVER)?;
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_said_when_it_begins_and_when_it_is_over() {
        let at = Mono::from_millis;
        let mut spell = Spell::default();
        assert_eq!(spell.over(at(1_000)), None);
        assert_eq!([2_000, 3_000, 9_000].map(|ms| spell.note(at(ms))), [true, false, false]);
        assert_eq!(spell.over(at(18_999)), None);
        assert_eq!(spell.over(at(19_000)), Some(3));
        assert_eq!(spell.over(at(20_000)), None);
        assert!(spell.note(at(21_000)));
        assert_eq!(spell.over(at(31_000)), Some(1));
    }
}
