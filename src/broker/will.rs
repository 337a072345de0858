//! Wills: published when their delay is over after the end of a connection (3.1.2.5; 5.0, 3.1.3.2.2).

use super::access;
use super::apply::Work;
use super::state::Broker;
use crate::model::{Body, Message, Now, Origin, StoredWill};

impl Broker {
    /// Publishes wills that wait; true if some are left.
    pub(super) fn publish_wills(&mut self, now: Now) -> bool {
        self.now = now;
        let mut work = Work::turn();
        while !work.is_done()
            && self.takes_readings()
            && let Some(will) = self.wills.pop_front()
        {
            let StoredWill { topic, body, qos, retain, properties, expiry, restricted, .. } = will;
            if !(restricted && access::is_closed(topic.as_str())) && !access::is_reserved(topic.as_str()) {
                let message = Message { properties, expiry, ..Message::new(topic, Body::raw(body), qos, retain, Origin::Client) };
                self.accept(&message, &mut work);
            }
        }
        !self.wills.is_empty() && self.takes_readings()
    }
}
