//! SCRAM-SHA-256 as a way to prove who one is by AUTH packets (5.0, 4.12). What it costs is the client's: here it is a handful of hashes.

use std::rc::Rc;
use std::sync::Arc;

use ring::hmac;

use super::auth::{Exchange, Mechanism, Progress, Start};
use crate::access::scram::{Challenge, First, NAME, ScramKeys};
use crate::access::users::Users;

#[derive(Debug)]
pub(super) struct Scram {
    /// Makes up the salts of users that there are not.
    decoys: Rc<hmac::Key>,
}

impl Scram {
    /// `key`: random, and of this process alone.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { decoys: Rc::new(hmac::Key::new(hmac::HMAC_SHA256, key)) }
    }
}

impl Mechanism for Scram {
    fn name(&self) -> &str {
        NAME
    }

    fn is_offered(&self, users: Option<&Users>) -> bool {
        users.is_some_and(|users| users.iter().any(|user| user.scram.is_some()))
    }

    fn begin(&self, start: Start) -> Box<dyn Exchange> {
        let Start { users, nonce } = start;
        Box::new(Login { users: users.unwrap_or_default(), decoys: Rc::clone(&self.decoys), state: State::Begun { nonce, asked: false } })
    }
}

#[derive(Debug)]
struct Login {
    users: Arc<Users>,
    decoys: Rc<hmac::Key>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `asked`: the client said nothing with CONNECT, and was asked to.
    Begun {
        nonce: String,
        asked: bool,
    },
    Challenged(Box<Challenge>),
    Over,
}

impl Exchange for Login {
    fn next(&mut self, data: Option<&[u8]>) -> Progress {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, data) {
            // The client has to begin (RFC 4422, 5.1).
            (State::Begun { nonce, asked: false }, None) => {
                self.state = State::Begun { nonce, asked: true };
                Progress::Challenge(Vec::new())
            }
            (State::Begun { nonce, .. }, Some(data)) => match First::parse(data) {
                Ok(first) => {
                    let keys = self.keys_of(first.user());
                    let (said, challenge) = first.challenge(keys, &nonce);
                    self.state = State::Challenged(Box::new(challenge));
                    Progress::Challenge(said)
                }
                Err(error) => Progress::Refused { name: None, why: error.to_string() },
            },
            (State::Challenged(challenge), Some(data)) => {
                let name = Arc::clone(challenge.user());
                match (challenge.answer(data), self.users.get(&name)) {
                    (Ok(said), Some(user)) => Progress::Accepted { user: Some(Arc::clone(user)), data: Some(said) },
                    (Ok(_), None) => Progress::Refused { name: Some(name), why: "there is no such user".to_owned() },
                    (Err(error), _) => Progress::Refused { name: Some(name), why: error.to_string() },
                }
            }
            _ => Progress::Refused { name: None, why: "the exchange is over, or nothing was said".to_owned() },
        }
    }
}

impl Login {
    /// Of nobody's name they look like somebody's, and are always the same. They are made up for every name, so that each takes as long.
    fn keys_of(&self, name: &str) -> ScramKeys {
        let tag = hmac::sign(&self.decoys, name.as_bytes());
        let seed = <[u8; 32]>::try_from(tag.as_ref()).unwrap_or_default();
        let alike = seed.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let decoy = self.users.alike_in_scram(alike).cloned().unwrap_or_default().decoy(&seed);
        self.users.get(name).and_then(|user| user.scram.clone()).unwrap_or(decoy)
    }
}
