//! To whom a message is owed (outbox.md 2).

use crate::model::{TopicFilter, UpstreamId, UpstreamSet};

/// One receiver of the promise behind an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Upstream(UpstreamId),
    /// Sessions that outlive their connection and match at QoS 1 or 2.
    Sessions,
    /// The retained store, when a client sets RETAIN at QoS 1 or 2.
    Retained,
}

impl Destination {
    /// Whether a message owed to it is settled only by way of the outbox. The one place that says so: sessions and retained messages are
    /// settled when they stand in memory, so neither survives a restart yet.
    pub(super) const fn is_durable(self) -> bool {
        match self {
            Self::Upstream(_) => true,
            Self::Sessions | Self::Retained => false,
        }
    }
}

/// All destinations of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Destinations {
    pub(super) upstreams: UpstreamSet,
    pub(super) sessions: bool,
    pub(super) retained: bool,
}

impl Destinations {
    fn iter(self) -> impl Iterator<Item = Destination> {
        let sessions = self.sessions.then_some(Destination::Sessions);
        let retained = self.retained.then_some(Destination::Retained);
        self.upstreams.iter().map(Destination::Upstream).chain(sessions).chain(retained)
    }

    /// Whether the message needs an id and the outbox.
    pub(super) fn need_outbox(self) -> bool {
        self.iter().any(Destination::is_durable)
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

/// Whether the last level is `set`.
pub(super) fn ends_in_set(topic: &str) -> bool {
    topic.rsplit('/').next() == Some("set")
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
