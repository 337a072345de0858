//! Who the client of a CONNECT is: by its door, by name and password, or nobody; and what a change of the users does to those who are there.
//!
//! A password is held against its hash by another thread; until it has answered, the CONNECT stays unapplied at the head of its connection's input.

use std::sync::Arc;

use super::apply::Step;
use super::conn::Hold;
use super::end::End;
use super::id::ConnId;
use super::passwords::{Claim, Place, Question, Waiter};
use super::state::Broker;
use crate::access::Policy;
use crate::access::password::{Password, PasswordHash};
use crate::access::users::{NAME_MAX, User, Users};
use crate::model::{Identity, Now};
use crate::mqtt::packet::Connect;

/// Connections that one turn ends because their users are not what they were.
const REVOKED_A_TURN: usize = 128;

impl Broker {
    /// Who this client is. `Step::Done`: it is known, or may be nobody; else the CONNECT has to wait.
    pub(super) fn identify(&mut self, id: ConnId, connect: &Connect<'_>) -> Result<Step, End> {
        let Some(conn) = self.conns.get(id) else { return Ok(Step::Done) };
        let name = connect.user.filter(|name| !name.is_empty());
        let password = connect.password.filter(|password| !password.is_empty());
        if let Some(user) = &conn.user {
            // By its door, or its password was right and the CONNECT has waited for something else since.
            return if name.is_none_or(|name| name == &**user) { Ok(Step::Done) } else { Err(End::Password) };
        }
        let anonymous = self.doors.get(usize::from(conn.listener)).is_some_and(|door| door.anonymous);
        match (name, password, self.users_of(id)) {
            (None, None, _) => {
                if anonymous {
                    Ok(Step::Done)
                } else {
                    Err(End::Anonymous)
                }
            }
            // Nobody is known here, so a name says nothing, and a password without one, as 5.0 has it (3.1.2.9), no more.
            (_, _, None) if anonymous => Ok(Step::Done),
            (Some(name), Some(password), Some(users)) => self.ask_for(id, connect, (name, password), &users),
            _ => Err(End::Password),
        }
    }

    /// Those who are known where this connection came in.
    pub(super) fn users_of(&self, id: ConnId) -> Option<Arc<Users>> {
        let listener = self.conns.get(id)?.listener;
        self.policy.realms.get(usize::from(listener))?.users.clone()
    }

    /// Whether nobody can come in as this user any more: where it came in users are known by their file, and it is not in that.
    pub(super) fn is_gone(&self, identity: &Identity) -> bool {
        let Some(user) = identity.user.as_deref() else { return false };
        let door = self.doors.iter().zip(&self.policy.realms).find(|(door, _)| door.name == identity.listener);
        let known = door.and_then(|(door, realm)| Some((door, realm.users.as_ref()?)));
        known.is_some_and(|(door, users)| users.get(user).is_none() && !door.may_name(user))
    }

    fn ask_for(&mut self, id: ConnId, connect: &Connect<'_>, (name, password): (&str, &[u8]), users: &Users) -> Result<Step, End> {
        let user = users.get(name).cloned();
        let tag = self.passwords.tag(name, password, user.as_deref());
        if let Some(user) = user.clone().filter(|_| self.passwords.was_right(tag, self.now.mono)) {
            self.proven(id, user);
            return Ok(Step::Done);
        }
        let Some(origin) = self.conns.get(id).map(|conn| conn.peer.origin()) else { return Ok(Step::Done) };
        let hash = user.as_ref().map_or_else(|| self.decoy(name, users), |user| user.password.clone());
        let question = Question { hash, password: Password::new(password) };
        let waiter = Waiter { id, version: connect.version };
        match self.passwords.ask(waiter, Claim { tag, name: shown(name).into(), user, question, origin }) {
            Place::Waits => {}
            Place::Instead(others) => self.turn_away(&others, None, End::Logins),
            Place::None => return Err(End::Logins),
        }
        self.news |= self.passwords.has_question();
        Ok(Step::Hold(Hold::Password))
    }

    /// What the password of a name that is nobody's is held against: as costly as what somebody's would be.
    fn decoy(&self, name: &str, users: &Users) -> PasswordHash {
        let seed = self.passwords.seed("decoy", name.as_bytes());
        let alike = users.alike(number(&seed)).map_or_else(PasswordHash::default, |user| user.password.clone());
        alike.decoy(seed.first_chunk().copied().unwrap_or_default())
    }

    /// The client has proven in an exchange of its own that it is this user. It must not be somebody else already: by its door, or by the proof
    /// with which it came in.
    pub(super) fn log_in(&mut self, id: ConnId, user: Arc<User>) -> Result<(), End> {
        let is_other = self.conns.get(id).and_then(|conn| conn.user.as_ref()).is_some_and(|known| *known != user.name);
        // The users may have changed since the exchange began.
        let is_same = self.users_of(id).is_some_and(|users| users.get(&user.name).is_some_and(|now| **now == *user));
        if is_other || !is_same {
            self.note_failed_login(id, "", &user.name, End::NotAuthorized);
            return Err(End::NotAuthorized);
        }
        self.proven(id, user);
        Ok(())
    }

    /// Whether CONNECT names nobody else than the one who was found to be there.
    pub(super) fn names_itself(&self, id: ConnId, connect: &Connect<'_>) -> bool {
        let known = self.conns.get(id).and_then(|conn| conn.user.as_deref());
        connect.user.is_none_or(|name| name.is_empty() || known.is_none_or(|known| known == name))
    }

    /// The client has proven that it is this user.
    fn proven(&mut self, id: ConnId, user: Arc<User>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.user = Some(Arc::clone(&user.name));
            conn.login = Some(user);
        }
    }

    /// The next password that is to be held against its hash, if none is being.
    pub(super) fn next_question(&mut self) -> Option<Question> {
        self.passwords.next()
    }

    /// The last question has been answered.
    pub(super) fn password_judged(&mut self, right: bool, now: Now) {
        self.now = now;
        let verdict = self.passwords.answered(right, now.mono);
        self.news |= self.passwords.has_question();
        match verdict.user {
            Some(user) => {
                for waiter in &verdict.waiters {
                    self.proven(waiter.id, Arc::clone(&user));
                }
                self.wake_waiters(&verdict.waiters);
            }
            None => self.turn_away(&verdict.waiters, Some(&verdict.name), End::Password),
        }
    }

    fn wake_waiters(&mut self, waiters: &[Waiter]) {
        for waiter in waiters {
            if let Some(conn) = self.conns.get_mut(waiter.id).filter(|conn| conn.hold == Some(Hold::Password)) {
                conn.hold = None;
                self.wakes.push(waiter.id);
            }
        }
    }

    /// Their CONNECT is refused as it stands.
    fn turn_away(&mut self, waiters: &[Waiter], name: Option<&str>, end: End) {
        for waiter in waiters {
            if let Some(name) = name {
                self.note_failed_login(waiter.id, "", name, end);
            }
            let end = self.refuse_for(waiter.id, waiter.version, end);
            self.end(waiter.id, end);
        }
    }

    /// Counts it, and says it once a minute of each address.
    pub(super) fn note_failed_login(&mut self, id: ConnId, client: &str, name: &str, end: End) {
        // Said where it is reached.
        if end == End::Logins {
            return;
        }
        self.counters.logins_refused += 1;
        self.say_refused(id, client, Some(name), end);
    }

    /// What the site's files say from now on. Who waits for an answer asks again; who is not what it was any more is ended, in turns.
    pub(super) fn take_policy(&mut self, policy: Policy, now: Now) {
        self.now = now;
        self.change_rights(&policy);
        self.policy = policy;
        let waiters = self.passwords.void();
        self.wake_waiters(&waiters);
        self.revoking = self.conns.iter().filter(|(_, conn)| conn.login.is_some()).map(|(id, _)| id).collect();
        self.news = true;
    }

    /// Ends connections of users who are gone or have another password; a turn of it. True if there is more.
    pub(super) fn revoke(&mut self) -> bool {
        let mut ended = 0;
        while ended < REVOKED_A_TURN {
            let Some(id) = self.revoking.pop() else { return false };
            let login = self.conns.get(id).and_then(|conn| conn.login.clone());
            let Some(login) = login else { continue };
            let is_same = self.users_of(id).is_some_and(|users| users.get(&login.name).is_some_and(|user| **user == *login));
            if !is_same {
                ended += 1;
                self.end(id, End::UserChanged);
            }
        }
        true
    }
}

/// As much of a name as there may be of a user's.
fn shown(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_MAX)).unwrap_or_default()
}

fn number(seed: &[u8; 32]) -> u64 {
    seed.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
