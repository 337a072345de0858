//! To whom a message is owed (outbox.md 2).

use crate::access::rights::ends_in_set;
use crate::model::{TopicFilter, UpstreamId, UpstreamSet};

/// All destinations of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Destinations {
    pub(super) upstreams: UpstreamSet,
    /// Sessions that outlive their connection and match at QoS 1 or 2.
    pub(super) sessions: bool,
    /// The retained store, when a client sets RETAIN at QoS 1 or 2.
    pub(super) retained: bool,
    /// The packet id of a QoS 2 publisher whose session outlives its connection.
    pub(super) packet_id: bool,
}

impl Destinations {
    /// Whether the message needs an id and the outbox.
    pub(super) const fn need_outbox(self) -> bool {
        !self.upstreams.is_empty() || self.sessions || self.retained || self.packet_id
    }
}

/// The upstreams that want `topic`. `$` topics never go up; a topic whose last level is `set` is a command and goes up only by a filter
/// whose last level says `set`, too.
pub(super) fn wanting(upstreams: &[Vec<TopicFilter>], topic: &str) -> UpstreamSet {
    let mut wanting = UpstreamSet::EMPTY;
    if topic.starts_with('$') {
        return wanting;
    }
    let command = ends_in_set(topic);
    let wants = |filter: &TopicFilter| (!command || ends_in_set(filter.as_str())) && filter.matches(topic);
    for (filters, upstream) in upstreams.iter().zip(0..UpstreamSet::MAX as u8) {
        if filters.iter().any(wants) {
            wanting.insert(UpstreamId(upstream));
        }
    }
    wanting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_get_what_their_filters_say_and_commands_only_by_name() {
        let filters = |list: &[&str]| list.iter().map(|f| TopicFilter::new(f).unwrap()).collect::<Vec<_>>();
        let upstreams = [filters(&["#"]), filters(&["a/+"]), filters(&["b/#", "a/+/set"]), filters(&[])];
        for (topic, want) in [
            ("a/b", 0b011),
            ("b", 0b101),
            ("a/b/c", 0b001),
            ("a/b/set", 0b100),
            ("a/set", 0),
            ("b/set", 0),
            ("set", 0),
            ("a/reset", 0b011),
            ("$SYS/x", 0),
            ("$a", 0),
        ] {
            assert_eq!(wanting(&upstreams, topic).bits(), want, "{topic}");
        }
    }
}
