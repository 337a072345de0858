//! Shared subscriptions (5.0, 4.8.2): the members of a group get a message in turn.

use super::deliver::Delivery;
use super::id::SessionIndex;
use super::letter::Letter;
use super::state::Broker;
use super::subscriptions::Route;

/// A group's place in the table.
pub(super) type GroupId = u32;

impl Broker {
    /// Whether the message may go to a member that outlives its connection.
    pub(super) fn groups_need_store(&self, _route: &Route) -> bool {
        false
    }

    /// The session ends: what it was sent by a group and has not acknowledged goes to another member.
    pub(super) fn leave_groups(&mut self, _index: SessionIndex) {}

    /// One member of each group gets the message.
    pub(super) fn deliver_shared(&mut self, _route: &Route, _letter: &mut Letter<'_>, _delivery: &mut Delivery) {}
}
