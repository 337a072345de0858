//! Which version of MQTT to try. Sans-I/O.
//!
//! Where the site's file says nothing, 5.0 is tried first, and an upstream that does not know it gets 3.1.1 at once, so that no site stays silent
//! for an old broker. A broker of 5.0 says by 0x84 that it will not speak it; one of 3.1.1 answers in its own form and closes (3.1.1, 3.1.4),
//! which is all that the library shows of it. A close may have other causes, so it counts only where 3.1.1 is let in right after it, and until
//! that has happened twice in a row each new connection asks again.

use crate::bridge::Version;

/// So often in a row 5.0 was closed on and 3.1.1 let in; then 5.0 is not tried again before the next start.
const PROOFS: u32 = 2;

#[derive(Debug)]
pub struct Dialect {
    fixed: Option<Version>,
    stage: Stage,
    proofs: u32,
    /// The log has said that 3.1.1 is spoken for want of 5.0.
    said: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Five,
    /// 3.1.1, to see whether the version is what the upstream closed on.
    Probe,
    /// 3.1.1 was let in.
    Proved,
    /// 3.1.1 until the next start.
    Old,
}

/// How a connection ended, as far as it bears on the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The upstream said that it does not speak this version.
    NotSpoken,
    /// The upstream closed after CONNECT, without an answer that this version can read.
    Unanswered,
    /// Anything else.
    Other,
}

/// What there is to say, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// 3.1.1 is spoken, because the upstream does not know 5.0.
    Fallback,
    /// After that: it knows 5.0 now.
    Upgraded,
}

impl Dialect {
    /// `fixed`: what the site's file says.
    pub const fn new(fixed: Option<Version>) -> Self {
        Self { fixed, stage: Stage::Five, proofs: 0, said: false }
    }

    /// Of the next connection.
    pub fn version(&self) -> Version {
        self.fixed.unwrap_or(match self.stage {
            Stage::Five => Version::V5,
            Stage::Probe | Stage::Proved | Stage::Old => Version::V311,
        })
    }

    /// The site's file says which version, so nothing else is tried.
    pub const fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The upstream has let us in.
    pub fn up(&mut self) -> Option<Notice> {
        if self.fixed.is_some() {
            return None;
        }
        let five = self.version() == Version::V5;
        if five {
            self.proofs = 0;
        } else if self.stage == Stage::Probe {
            self.proofs += 1;
            self.stage = if self.proofs >= PROOFS { Stage::Old } else { Stage::Proved };
        }
        let notice = match (five, self.said) {
            (false, false) => Some(Notice::Fallback),
            (true, true) => Some(Notice::Upgraded),
            _ => None,
        };
        self.said = !five;
        notice
    }

    /// A connection, or the try of one, has ended. Whether the other version is to be tried at once.
    pub fn down(&mut self, ending: Ending) -> bool {
        if self.fixed.is_some() {
            return false;
        }
        let (next, at_once) = match (self.stage, ending) {
            (Stage::Five, Ending::NotSpoken) => (Stage::Old, true),
            (Stage::Five, Ending::Unanswered) => (Stage::Probe, true),
            (Stage::Old, _) => (Stage::Old, false),
            (Stage::Five | Stage::Probe | Stage::Proved, _) => (Stage::Five, false),
        };
        self.stage = next;
        at_once
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step: the version that is tried, how that ends (`None`: let in, and the connection is lost later), what is said, whether another
    /// try follows at once.
    type Step = (Version, Option<Ending>, Option<Notice>, bool);

    fn check(name: &str, fixed: Option<Version>, steps: &[Step]) {
        let mut dialect = Dialect::new(fixed);
        for (index, (version, ending, notice, at_once)) in steps.iter().enumerate() {
            let at = format!("{name}, step {index}");
            assert_eq!(dialect.version(), *version, "{at}");
            let said = if ending.is_none() { dialect.up() } else { None };
            assert_eq!(said, *notice, "{at}");
            assert_eq!(dialect.down(ending.unwrap_or(Ending::Other)), *at_once, "{at}");
        }
    }

    const NOT_SPOKEN: Option<Ending> = Some(Ending::NotSpoken);
    const UNANSWERED: Option<Ending> = Some(Ending::Unanswered);
    const OTHER: Option<Ending> = Some(Ending::Other);

    #[test]
    fn an_upstream_that_says_that_it_does_not_speak_5_gets_3_1_1_until_the_next_start() {
        use Version::{V5, V311};
        let fallback = Some(Notice::Fallback);
        check(
            "by its word",
            None,
            &[(V5, NOT_SPOKEN, None, true), (V311, OTHER, None, false), (V311, None, fallback, false), (V311, None, None, false)],
        );
    }

    #[test]
    fn an_upstream_that_closes_on_5_and_takes_3_1_1_is_believed_the_second_time() {
        use Version::{V5, V311};
        let fallback = Some(Notice::Fallback);
        check(
            "twice",
            None,
            &[
                (V5, UNANSWERED, None, true),
                (V311, None, fallback, false),
                (V5, UNANSWERED, None, true),
                (V311, None, None, false),
                (V311, None, None, false),
                (V311, UNANSWERED, None, false),
                (V311, OTHER, None, false),
            ],
        );
        check(
            "a chance close",
            None,
            &[
                (V5, UNANSWERED, None, true),
                (V311, None, fallback, false),
                (V5, None, Some(Notice::Upgraded), false),
                (V5, UNANSWERED, None, true),
                (V311, None, fallback, false),
                (V5, OTHER, None, false),
            ],
        );
        check(
            "one that closes on everybody",
            None,
            &[(V5, UNANSWERED, None, true), (V311, UNANSWERED, None, false), (V5, UNANSWERED, None, true), (V311, OTHER, None, false)],
        );
    }

    #[test]
    fn a_version_that_the_file_names_is_kept() {
        for version in [Version::V5, Version::V311] {
            for ending in [NOT_SPOKEN, UNANSWERED, OTHER, None] {
                check("fixed", Some(version), &[(version, ending, None, false), (version, None, None, false)]);
            }
        }
    }
}
