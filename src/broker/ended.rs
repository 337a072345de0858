//! Sessions whose end is on its way to the store: until that is committed nobody is told that there is none, since a restart would bring it back.

use std::rc::Rc;

use foldhash::HashMap;

use super::conn::Hold;
use super::end::End;
use super::id::ConnId;
use super::state::Broker;

/// By client: the counter of the row that ends its last session. As many as there are such rows on their way.
#[derive(Debug, Default)]
pub(super) struct Ended(HashMap<Rc<str>, u64>);

impl Ended {
    pub(super) fn note(&mut self, client: &Rc<str>, counter: u64) {
        self.0.insert(Rc::clone(client), counter);
    }

    /// What `first ..= last` stand for is secured.
    pub(super) fn secured(&mut self, first: u64, last: u64) {
        if !self.0.is_empty() {
            self.0.retain(|_, counter| !(first..=last).contains(counter));
            if self.0.is_empty() {
                self.0 = HashMap::default();
            }
        }
    }
}

impl Broker {
    /// The counter that the CONNECT of a client without a session has to wait for, if there is one. Another connection that waits for it is over:
    /// the client has given it up.
    pub(super) fn wait_for_end(&mut self, id: ConnId, client: &str) -> Option<u64> {
        let counter = *self.ended.0.get(client)?;
        let other = self.owed.wake_instead(counter, id).filter(|other| *other != id);
        if let Some(other) = other.filter(|other| self.hold_of(*other) == Some(Hold::Commit(counter))) {
            self.end(other, End::TakenOver);
        }
        Some(counter)
    }
}
