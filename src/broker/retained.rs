//! The last retained message of each topic, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::model::{Body, QoS, Topic, TopicFilter};

/// Topics with a retained message; what a further topic would retain is not kept, counted and said once.
const TOPICS_MAX: usize = 65_536;

/// Bytes of all retained topics and bodies; as for [`TOPICS_MAX`].
const BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Clone)]
pub(super) struct Retained {
    pub(super) body: Body,
    pub(super) qos: QoS,
}

/// Ordered, so that a replay can go on where it stopped and a filter's literal beginning narrows the search.
#[derive(Debug, Default)]
pub(super) struct RetainedStore {
    topics: BTreeMap<Topic, Retained>,
    bytes: usize,
    /// Messages that were not kept for want of room.
    pub(super) refused: u64,
}

impl RetainedStore {
    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Keeps the message in place of the topic's last one.
    pub(super) fn set(&mut self, topic: &Topic, body: Body, qos: QoS) {
        let size = body.bytes.len();
        if let Some(old) = self.topics.get_mut(topic) {
            let bytes = self.bytes - old.body.bytes.len() + size;
            if bytes <= BYTES_MAX || size <= old.body.bytes.len() {
                self.bytes = bytes;
                *old = Retained { body, qos };
                return;
            }
            // The old value must not stay as if it were the latest.
            self.clear(topic);
        } else {
            let bytes = self.bytes + topic.as_bytes().len() + size;
            if bytes <= BYTES_MAX && self.topics.len() < TOPICS_MAX {
                self.bytes = bytes;
                self.topics.insert(topic.clone(), Retained { body, qos });
                return;
            }
        }
        self.refused += 1;
        if self.refused == 1 {
            tracing::warn!(topic = ?topic.as_str(), "no room for retained messages of further topics: they are not kept");
        }
    }

    /// A retained message without a body removes the topic's [MQTT-3.3.1-10].
    pub(super) fn clear(&mut self, topic: &Topic) {
        if let Some(old) = self.topics.remove(topic) {
            self.bytes -= topic.as_bytes().len() + old.body.bytes.len();
        }
    }

    /// The first topic after `after` that `filter` may match: the next candidates in order, each to be asked. `None` at the end.
    pub(super) fn next(&self, filter: &TopicFilter, after: Option<&Topic>) -> Option<(&Topic, &Retained)> {
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
        found.filter(|(topic, _)| if exact { topic.as_str() == prefix } else { topic.as_str().starts_with(prefix) })
    }
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

    fn matching(store: &RetainedStore, filter: &str) -> Vec<String> {
        let filter = TopicFilter::new(filter).unwrap();
        let mut found = Vec::new();
        let mut after = None;
        while let Some((topic, _)) = store.next(&filter, after.as_ref()) {
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
            store.set(&Topic::new(topic).unwrap(), Body::raw("1".into()), QoS::AtLeastOnce);
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
            store.set(&Topic::new(&format!("t/{i}")).unwrap(), body.clone(), QoS::AtMostOnce);
        }
        assert_eq!((store.len(), store.refused), (15, 5));
        store.clear(&Topic::new("t/0").unwrap());
        store.set(&Topic::new("t/19").unwrap(), body, QoS::AtMostOnce);
        assert_eq!((store.len(), store.refused), (15, 5));
    }
}
