//! Passwords that wait to be held against their hashes, one after another, and those that were right lately.
//!
//! A hash costs some tens of milliseconds of a thread, of which there is one. So who asks for many must not keep others waiting: addresses take
//! turns, and where all places are taken the newest of the address that has most of them goes. Equal questions are asked once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foldhash::HashMap;
use ring::hmac;

use super::door::Origin;
use super::id::ConnId;
use crate::access::password::{Password, PasswordHash};
use crate::access::users::User;
use crate::model::Mono;
use crate::mqtt::Version;

/// How long a password that was right need not be hashed again.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Most passwords that are remembered, at about 60 bytes each; the oldest goes for one more. As many as a users file may have.
const REMEMBERED_MAX: usize = crate::access::users::USERS_MAX;

/// Stands for a user, a password and the user's line of the users file, and says nothing of them without this process's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; 16]);

/// A connection whose CONNECT waits, and the version in which it is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) id: ConnId,
    pub(super) version: Version,
}

/// One question for the thread that hashes: whether this is the password.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) hash: PasswordHash,
    pub(super) password: Password,
}

/// Who says to be this user with this password.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) tag: Tag,
    /// What it says, for the log.
    pub(super) name: Box<str>,
    /// `None`: there is no such user. It costs as much.
    pub(super) user: Option<Arc<User>>,
    pub(super) question: Question,
    pub(super) origin: Origin,
}

#[derive(Debug)]
struct Job {
    claim: Claim,
    waiters: Vec<Waiter>,
    /// Its place in the order: that of the last one of its address, and one more.
    turn: u64,
}

/// What became of one that asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Waits,
    /// It waits, and this one's waiters do no more.
    Instead(Vec<Waiter>),
    /// There is no place.
    None,
}

/// The answer to a question.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) name: Box<str>,
    /// `None`: the password is wrong.
    pub(super) user: Option<Arc<User>>,
    pub(super) waiters: Vec<Waiter>,
}

pub(super) struct Passwords {
    key: hmac::Key,
    nonces: u64,
    max: usize,
    waiting: Vec<Job>,
    running: Option<Running>,
    turn: u64,
    right: HashMap<Tag, Mono>,
    /// In the order in which they are forgotten.
    order: VecDeque<(Mono, Tag)>,
}

#[derive(Debug)]
struct Running {
    tag: Tag,
    name: Box<str>,
    origin: Origin,
    turn: u64,
    user: Option<Arc<User>>,
    waiters: Vec<Waiter>,
}

impl Passwords {
    /// `key`: random, and of this process alone. At most `max` wait.
    pub(super) fn new(key: &[u8; 32], max: usize) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            nonces: 0,
            max,
            waiting: Vec::new(),
            running: None,
            turn: 0,
            right: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// Never the same twice, and unguessable; 24 characters of base64.
    pub(super) fn nonce(&mut self) -> String {
        self.nonces += 1;
        let bytes = self.seed("nonce", &self.nonces.to_be_bytes());
        STANDARD.encode(bytes.first_chunk::<18>().copied().unwrap_or_default())
    }

    /// A number that is always the same for these bytes and cannot be guessed.
    pub(super) fn seed(&self, what: &str, bytes: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(bytes);
        <[u8; 32]>::try_from(context.sign().as_ref()).unwrap_or_default()
    }

    pub(super) fn tag(&self, name: &str, password: &[u8], user: Option<&User>) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"password\0");
        for part in [name.as_bytes(), password, user.map(User::line).unwrap_or_default().as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        Tag(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Whether this was right lately.
    pub(super) fn was_right(&mut self, tag: Tag, now: Mono) -> bool {
        while let Some((until, tag)) = self.order.front().copied().filter(|(until, _)| *until <= now || self.order.len() > REMEMBERED_MAX) {
            self.order.pop_front();
            if self.right.get(&tag) == Some(&until) {
                self.right.remove(&tag);
            }
        }
        self.right.contains_key(&tag)
    }

    /// `waiter` has to wait for the answer to this.
    pub(super) fn ask(&mut self, waiter: Waiter, claim: Claim) -> Place {
        if let Some(running) = self.running.as_mut().filter(|running| running.tag == claim.tag) {
            running.waiters.push(waiter);
            return Place::Waits;
        }
        if let Some(job) = self.waiting.iter_mut().find(|job| job.claim.tag == claim.tag) {
            job.waiters.push(waiter);
            return Place::Waits;
        }
        let mut place = Place::Waits;
        if self.waiting.len() >= self.max {
            match self.give_way(claim.origin) {
                Some(job) => place = Place::Instead(job.waiters),
                None => return Place::None,
            }
        }
        let last = |of: Option<u64>| of.map_or(self.turn, |turn| self.turn.max(turn + 1));
        let running = self.running.as_ref().filter(|running| running.origin == claim.origin).map(|running| running.turn);
        let turn = last(self.waiting.iter().filter(|job| job.claim.origin == claim.origin).map(|job| job.turn).max().or(running));
        self.waiting.push(Job { claim, waiters: vec![waiter], turn });
        place
    }

    /// The newest job of the address that has most, if one of `origin` in its place makes it fairer.
    fn give_way(&mut self, origin: Origin) -> Option<Job> {
        let count = |of: Origin| self.waiting.iter().filter(|job| job.claim.origin == of).count();
        let (most, at) = self.waiting.iter().enumerate().map(|(at, job)| (count(job.claim.origin), at)).max()?;
        (most > count(origin) + 1).then(|| self.waiting.remove(at))
    }

    /// The next question, if none is being answered.
    pub(super) fn next(&mut self) -> Option<Question> {
        if self.running.is_some() {
            return None;
        }
        // The first of those whose turn is the earliest.
        let (at, _) = self.waiting.iter().enumerate().min_by_key(|(at, job)| (job.turn, *at))?;
        let Job { claim, waiters, turn } = self.waiting.remove(at);
        self.turn = turn;
        self.running = Some(Running { tag: claim.tag, name: claim.name, origin: claim.origin, turn, user: claim.user, waiters });
        Some(claim.question)
    }

    /// The question that was handed out last is answered.
    pub(super) fn answered(&mut self, right: bool, now: Mono) -> Verdict {
        let Some(running) = self.running.take() else { return Verdict { name: "".into(), user: None, waiters: Vec::new() } };
        let user = running.user.filter(|_| right);
        if user.is_some() {
            self.right.insert(running.tag, now + REMEMBERED);
            self.order.push_back((now + REMEMBERED, running.tag));
        }
        Verdict { name: running.name, user, waiters: running.waiters }
    }

    /// The connection is gone; so is its question, where nobody else asks it.
    pub(super) fn leave(&mut self, id: ConnId) {
        if let Some(running) = &mut self.running {
            running.waiters.retain(|waiter| waiter.id != id);
        }
        for job in &mut self.waiting {
            job.waiters.retain(|waiter| waiter.id != id);
        }
        self.waiting.retain(|job| !job.waiters.is_empty());
    }

    /// Other users hold from now on: all who wait have to ask again.
    pub(super) fn void(&mut self) -> Vec<Waiter> {
        let mut waiters: Vec<Waiter> = self.waiting.drain(..).flat_map(|job| job.waiters).collect();
        if let Some(running) = &mut self.running {
            // Its answer is nobody's.
            running.user = None;
            running.tag = Tag([0; 16]);
            waiters.append(&mut running.waiters);
        }
        waiters
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn has_waiter(&self, id: ConnId) -> bool {
        let waiting = self.waiting.iter().flat_map(|job| &job.waiters);
        waiting.chain(self.running.iter().flat_map(|running| &running.waiters)).any(|waiter| waiter.id == id)
    }

    pub(super) const fn has_question(&self) -> bool {
        self.running.is_none() && !self.waiting.is_empty()
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("waiting", &self.waiting.len()).field("right", &self.right.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn passwords(max: usize) -> Passwords {
        Passwords::new(&[7; 32], max)
    }

    fn waiter(n: u32) -> Waiter {
        Waiter { id: ConnId { index: n, generation: 0 }, version: Version::V5 }
    }

    fn origin(last: u8) -> Origin {
        Origin::Ip(IpAddr::from([192, 0, 2, last]))
    }

    fn somebody() -> Arc<User> {
        Arc::new(User { name: "anna".into(), password: PasswordHash::default(), scram: None })
    }

    fn claim(passwords: &Passwords, password: &str, address: u8) -> Claim {
        let user = somebody();
        let tag = passwords.tag("anna", password.as_bytes(), Some(&user));
        let question = Question { hash: user.password.clone(), password: Password::new(password.as_bytes()) };
        Claim { tag, name: "anna".into(), user: Some(user), question, origin: origin(address) }
    }

    fn ask(passwords: &mut Passwords, n: u32, password: &str, address: u8) -> Place {
        let claim = claim(passwords, password, address);
        passwords.ask(waiter(n), claim)
    }

    /// The passwords in the order in which they are hashed, none of them right; `more` is asked after each.
    fn order(passwords: &mut Passwords, mut more: impl FnMut(&mut Passwords, usize)) -> String {
        let mut said = String::new();
        while let Some(question) = passwords.next() {
            said.push_str(std::str::from_utf8(question.password.as_bytes()).expect("text"));
            more(passwords, said.len());
            passwords.answered(false, Mono::default());
        }
        said
    }

    #[test]
    fn addresses_take_turns() {
        let mut all = passwords(32);
        for (n, (password, address)) in [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 1), ("f", 2), ("g", 3)].into_iter().enumerate() {
            assert_eq!(ask(&mut all, n as u32, password, address), Place::Waits);
        }
        assert_eq!(order(&mut all, |_, _| {}), "adgbfce");
        // One that comes later waits for one hash, and for one of each address that was there.
        for (n, password) in ["a", "b", "c", "d"].into_iter().enumerate() {
            ask(&mut all, n as u32, password, 1);
        }
        let late = |all: &mut Passwords, done| {
            if done == 2 {
                ask(all, 9, "x", 2);
                ask(all, 9, "y", 2);
            }
        };
        assert_eq!(order(&mut all, late), "abxcyd");
    }

    #[test]
    fn where_all_places_are_taken_the_newest_of_the_address_with_most_goes() {
        let mut all = passwords(3);
        for n in 0..3 {
            assert_eq!(ask(&mut all, n, ["a", "b", "c"][n as usize], 1), Place::Waits);
        }
        assert_eq!(ask(&mut all, 3, "d", 1), Place::None);
        assert_eq!(ask(&mut all, 4, "e", 2), Place::Instead(vec![waiter(2)]));
        assert_eq!(ask(&mut all, 5, "f", 2), Place::None, "one each would be two and one the other way round");
        assert_eq!(ask(&mut all, 6, "g", 3), Place::Instead(vec![waiter(1)]));
        assert_eq!(ask(&mut all, 7, "h", 4), Place::None);
        assert_eq!(order(&mut all, |_, _| {}), "aeg");
    }

    #[test]
    fn equal_questions_are_asked_once() {
        let mut all = passwords(1);
        let running = ask(&mut all, 0, "a", 1);
        all.next().expect("a question");
        assert_eq!(
            (running, ask(&mut all, 1, "a", 2), ask(&mut all, 2, "b", 2), ask(&mut all, 3, "b", 1)),
            (Place::Waits, Place::Waits, Place::Waits, Place::Waits)
        );
        let verdict = all.answered(true, Mono::default());
        assert_eq!((verdict.user, verdict.waiters), (Some(somebody()), vec![waiter(0), waiter(1)]));
        all.next().expect("a question");
        let verdict = all.answered(false, Mono::default());
        assert_eq!((verdict.user, verdict.waiters), (None, vec![waiter(2), waiter(3)]));
        assert!(all.next().is_none());
    }

    #[test]
    fn who_has_gone_is_not_hashed_for() {
        let mut all = passwords(32);
        for (n, password) in ["a", "b", "b", "c"].into_iter().enumerate() {
            ask(&mut all, n as u32, password, 1);
        }
        all.next().expect("a question");
        for gone in [0, 1, 3] {
            all.leave(waiter(gone).id);
        }
        assert_eq!(all.answered(false, Mono::default()).waiters, []);
        assert_eq!(order(&mut all, |_, _| {}), "b");
    }

    #[test]
    fn what_was_right_is_remembered_for_an_hour_and_no_longer() {
        let mut all = passwords(32);
        let at = |s: u64| Mono::from_millis(s * 1_000);
        let tag = claim(&all, "a", 1).tag;
        assert!(!all.was_right(tag, at(0)));
        for right in [false, true] {
            ask(&mut all, 0, "a", 1);
            all.next().expect("a question");
            all.answered(right, at(10));
            assert_eq!(all.was_right(tag, at(10)), right);
        }
        assert!(!all.was_right(claim(&all, "b", 1).tag, at(10)));
        assert!(all.was_right(tag, at(3_609)) && !all.was_right(tag, at(3_610)));
        assert!(all.right.is_empty() && all.order.is_empty());
        for n in 0..REMEMBERED_MAX + 10 {
            ask(&mut all, 0, &n.to_string(), 1);
            all.next().expect("a question");
            all.answered(true, at(20));
        }
        assert!(!all.was_right(claim(&all, "9", 1).tag, at(20)) && all.was_right(claim(&all, "10", 1).tag, at(20)));
        assert_eq!(all.right.len(), REMEMBERED_MAX);
    }

    #[test]
    fn a_tag_is_of_all_its_parts_and_of_this_process() {
        let (one, other) = (passwords(1), Passwords::new(&[8; 32], 1));
        let (anna, bert) = (somebody(), User { name: "bert".into(), password: PasswordHash::default(), scram: None });
        let tags = [
            one.tag("anna", b"x", Some(&anna)),
            one.tag("anna", b"y", Some(&anna)),
            one.tag("anna", b"x", Some(&bert)),
            one.tag("anna", b"x", None),
            one.tag("annax", b"", None),
            one.tag("ann", b"ax", None),
            other.tag("anna", b"x", Some(&anna)),
        ];
        for (n, tag) in tags.iter().enumerate() {
            assert!(tags.iter().skip(n + 1).all(|other| other != tag), "{n}");
        }
    }

    #[test]
    fn after_a_reload_all_ask_again_and_no_old_answer_counts() {
        let mut all = passwords(32);
        for (n, password) in ["a", "b"].into_iter().enumerate() {
            ask(&mut all, n as u32, password, 1);
        }
        let tag = claim(&all, "a", 1).tag;
        all.next().expect("a question");
        assert_eq!(all.void(), [waiter(1), waiter(0)]);
        ask(&mut all, 0, "a", 1);
        assert!(all.next().is_none(), "one at a time");
        let verdict = all.answered(true, Mono::default());
        assert_eq!((verdict.user, verdict.waiters), (None, vec![]));
        assert!(!all.was_right(tag, Mono::default()));
        assert_eq!(order(&mut all, |_, _| {}), "a");
    }
}
