//! Topic aliases (5.0, 3.3.2.3.4): numbers that stand for topics on one connection, each direction by itself.

use foldhash::{HashMap, HashMapExt};

use crate::model::Topic;

/// Longest topic that always has room beside `topic_aliases_bytes`: ten of each of a thousand clients are no more than others may have together.
pub(super) const TOPIC_SHORT: usize = 256;

/// Most aliases that are used towards a client, however many it offers.
const ALIASES_OUT_MAX: u16 = 64;

/// Shorter topics are written out: an alias saves too little.
const TOPIC_LENGTH_MIN: usize = 24;

/// What a client has told us.
#[derive(Debug, Default)]
pub(super) struct AliasesIn(Option<Box<HashMap<u16, Topic>>>);

impl AliasesIn {
    pub(super) fn get(&self, alias: u16) -> Option<&Topic> {
        self.0.as_ref()?.get(&alias)
    }

    /// Bytes of the topics.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |aliases| aliases.values().map(|topic| topic.as_bytes().len()).sum())
    }

    pub(super) fn set(&mut self, alias: u16, topic: Topic) {
        self.0.get_or_insert_with(|| Box::new(HashMap::new())).insert(alias, topic);
    }
}

/// What we have told a client. `None`: it takes none.
#[derive(Debug, Default)]
pub(super) struct AliasesOut(Option<Box<Table>>);

#[derive(Debug)]
struct Table {
    max: u16,
    topics: HashMap<Topic, u16>,
}

impl AliasesOut {
    /// `maximum`: the client's Topic Alias Maximum.
    pub(super) fn new(maximum: u16) -> Self {
        let max = maximum.min(ALIASES_OUT_MAX);
        Self((max > 0).then(|| Box::new(Table { max, topics: HashMap::new() })))
    }

    /// Bytes by which an alias may lengthen a packet.
    pub(super) const fn cost(&self) -> usize {
        if self.0.is_some() { 3 } else { 0 }
    }

    /// The alias that goes out with this topic, if any, and whether the client knows it: the topic is then left out.
    pub(super) fn alias(&mut self, topic: &Topic) -> (Option<u16>, bool) {
        let Some(table) = &mut self.0 else { return (None, false) };
        if topic.as_bytes().len() < TOPIC_LENGTH_MIN {
            return (None, false);
        }
        if let Some(alias) = table.topics.get(topic) {
            return (Some(*alias), true);
        }
        let next = u16::try_from(table.topics.len()).unwrap_or(u16::MAX).saturating_add(1);
        if next > table.max {
            return (None, false);
        }
        table.topics.insert(topic.clone(), next);
        (Some(next), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_topics_get_as_many_aliases_as_the_client_takes() {
        let topic = |n: u32| Topic::new(&format!("a/rather/long/topic/name/{n}")).unwrap();
        let mut aliases = AliasesOut::new(2);
        for (n, want) in [(0, (Some(1), false)), (0, (Some(1), true)), (1, (Some(2), false)), (2, (None, false)), (1, (Some(2), true))] {
            assert_eq!(aliases.alias(&topic(n)), want, "{n}");
        }
        assert_eq!(aliases.alias(&Topic::new("short").unwrap()), (None, false));
        assert_eq!(AliasesOut::new(0).alias(&topic(0)), (None, false));
    }
}
