//! The last retained message of each topic, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::model::{RetainedMessage, Topic, TopicFilter};

/// Topics with a retained message; what a further topic would retain is not kept, counted and said once.
const TOPICS_MAX: usize = 65_536;

/// Bytes of all retained topics and bodies; as for [`TOPICS_MAX`].
const BYTES_MAX: usize = 16 << 20;

/// Ordered, so that a replay can go on where it stopped and a filter's literal beginning narrows the search.
#[derive(Debug, Default)]
pub(super) struct RetainedStore {
    topics: BTreeMap<Topic, RetainedMessage>,
    bytes: usize,
    /// Messages that were not kept for want of room.
    pub(super) refused: u64,
}

impl RetainedStore {
    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Keeps the message in place of the topic's last one.
    pub(super) fn set(&mut self, message: RetainedMessage) {
        let size = size(&message);
        let topic = message.topic.clone();
        if let Some(old) = self.topics.get_mut(&topic) {
            let before = self::size(old);
            let bytes = self.bytes - before + size;
            if bytes <= BYTES_MAX || size <= before {
                self.bytes = bytes;
                *old = message;
                return;
            }
            // The old value must not stay as if it were the latest.
            self.clear(&topic);
        } else if self.bytes + size <= BYTES_MAX && self.topics.len() < TOPICS_MAX {
            self.bytes += size;
            self.topics.insert(topic, message);
            return;
        }
        self.refused += 1;
        if self.refused == 1 {
            tracing::warn!(topic = ?topic.as_str(), "no room for retained messages of further topics: they are not kept");
        }
    }

    /// As it was before the restart.
    pub(super) fn restore(&mut self, message: RetainedMessage) {
        self.set(message);
    }

    /// A retained message without a body removes the topic's [MQTT-3.3.1-10].
    pub(super) fn clear(&mut self, topic: &Topic) {
        if let Some(old) = self.topics.remove(topic) {
            self.bytes -= size(&old);
        }
    }

    /// The first topic after `after` that `filter` may match: the next candidates in order, each to be asked. `None` at the end.
    pub(super) fn next(&self, filter: &TopicFilter, after: Option<&Topic>) -> Option<&RetainedMessage> {
        let prefix = literal(filter.as_str());
        let found = match after {
            Some(after) => self.topics.range((Bound::Excluded(after), Bound::Unbounded)).next(),
            // A topic is never empty, so a filter that begins with a wildcard starts at the first one.
            None => match Topic::new(prefix) {
                Ok(from) => self.topics.range((Bound::Included(&from), Bound::Unbounded)).next(),
                Err(_) => self.topics.iter().next(),
            },
        };
        let exact = prefix.len() == filter.as_str().len();
        let found = found.map(|(_, message)| message);
        found.filter(|m| if exact { m.topic.as_str() == prefix } else { m.topic.as_str().starts_with(prefix) })
    }
}

/// Bytes that a message counts for.
fn size(message: &RetainedMessage) -> usize {
    message.topic.as_bytes().len() + message.properties.len() + message.body.bytes.len()
}

/// What every matching topic begins with: `a/b` for `a/b/#`, because `a/b` itself matches, too.
fn literal(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    let prefix = filter.get(..end).unwrap_or_default();
    if filter.get(end..) == Some("#") { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Body, QoS};

    fn message(topic: &str, body: Body) -> RetainedMessage {
        let (topic, properties) = (Topic::new(topic).unwrap(), bytes::Bytes::new());
        RetainedMessage { topic, body, qos: QoS::AtLeastOnce, properties, expires: None }
    }

    fn matching(store: &RetainedStore, filter: &str) -> Vec<String> {
        let filter = TopicFilter::new(filter).unwrap();
        let mut found = Vec::new();
        let mut after = None;
        while let Some(RetainedMessage { topic, .. }) = store.next(&filter, after.as_ref()) {
            if filter.matches(topic.as_str()) {
                found.push(topic.to_string());
            }
            after = Some(topic.clone());
        }
        found
    }

    #[test]
    fn a_filter_finds_what_it_matches_and_nothing_else() {
        let mut store = RetainedStore::default();
        for topic in ["$SYS/x", "/", "/a", "a", "a/b", "a/b/c", "a/c", "ab", "b/c"] {
            store.set(message(topic, Body::raw("1".into())));
        }
        for (filter, want) in [
            ("#", &["/", "/a", "a", "a/b", "a/b/c", "a/c", "ab", "b/c"][..]),
            ("a", &["a"]),
            ("a/#", &["a", "a/b", "a/b/c", "a/c"]),
            ("a/+", &["a/b", "a/c"]),
            ("+/c", &["a/c", "b/c"]),
            ("+", &["a", "ab"]),
            ("/#", &["/", "/a"]),
            ("$SYS/#", &["$SYS/x"]),
            ("x/#", &[]),
        ] {
            assert_eq!(matching(&store, filter), want, "{filter}");
        }
        store.clear(&Topic::new("a/b").unwrap());
        assert_eq!(matching(&store, "a/b"), [""; 0]);
        assert_eq!(store.len(), 8);
    }

    #[test]
    fn retained_messages_have_a_limit() {
        let mut store = RetainedStore::default();
        let body = Body::raw(vec![0; 1 << 20].into());
        for i in 0..20 {
            store.set(message(&format!("t/{i}"), body.clone()));
        }
        assert_eq!((store.len(), store.refused), (15, 5));
        store.clear(&Topic::new("t/0").unwrap());
        store.set(message("t/19", body));
        assert_eq!((store.len(), store.refused), (15, 5));
    }
}
