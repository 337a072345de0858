//! The last retained message of each topic, in memory, and what the store has of it.
//!
//! What a client sets at QoS 1 or 2 is in the store before it is acknowledged. Readings and QoS 0 are not promised: they are written at an orderly
//! end and once an hour, so after a kill a topic may come back with a reading of up to an hour ago; it never comes back with a promised value
//! that has been replaced.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::limit::Limit;
use super::limits::Limits;
use crate::model::{BodyKind, Mono, QoS, RetainedMessage, StateChange, Topic, TopicFilter};

/// Between two flushes of what is not promised: each writes what has changed, and cards wear out.
const FLUSH_EVERY: Duration = Duration::from_secs(3_600);

/// Topics that one slice of a walk over all of them looks at.
const WALK: usize = 1_024;

/// What the store has of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    None,
    /// This message, because its publisher was promised so.
    Promised,
    /// This message.
    Same,
    /// An older one that was no promise.
    Older,
    /// None, and it never gets one.
    Never,
}

impl Row {
    const fn is_stored(self) -> bool {
        matches!(self, Self::Promised | Self::Same | Self::Older)
    }
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: RetainedMessage,
    /// Rises with each message that is kept.
    pub(super) serial: u64,
    row: Row,
}

/// What became of a message that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The limit for which it is not kept.
    pub(super) beyond: Option<Limit>,
    /// What the store has of the topic must not come back.
    pub(super) forget: bool,
}

/// Ordered, so that a replay can go on where it stopped and a filter's literal beginning narrows the search.
#[derive(Debug)]
pub(super) struct RetainedStore {
    topics: BTreeMap<Topic, Kept>,
    /// Most topics and bytes, without our own words.
    topics_max: usize,
    bytes_max: usize,
    /// Of the next message.
    serial: u64,
    bytes: usize,
    /// Messages that are never stored: our own words.
    own: usize,
    own_bytes: usize,
    /// Messages that were not kept for want of room.
    pub(super) refused: u64,
    /// Messages that expire.
    expiring: usize,
    /// Where the walks over all topics are: that for expired messages, and that for those which the store does not have.
    expired_to: Option<Topic>,
    flushed_to: Option<Topic>,
    flushing: bool,
    /// When the next flush begins by itself.
    flush_due: Option<Mono>,
}

impl RetainedStore {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            topics: BTreeMap::new(),
            topics_max: limits.retained_max,
            bytes_max: limits.retained_bytes,
            serial: 0,
            bytes: 0,
            own: 0,
            own_bytes: 0,
            refused: 0,
            expiring: 0,
            expired_to: None,
            flushed_to: None,
            flushing: false,
            flush_due: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Without our own words.
    pub(super) fn foreign(&self) -> usize {
        self.topics.len() - self.own
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is kept from now on has this serial or a higher one.
    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Keeps the message in place of the topic's last one. `promised`: the store gets it by the entry of its message.
    pub(super) fn set(&mut self, message: RetainedMessage, promised: bool) -> Outcome {
        let before = self.topics.get(&message.topic).map_or(Row::None, |kept| kept.row);
        let row = match before {
            _ if promised => Row::Promised,
            Row::None | Row::Never | Row::Promised => Row::None,
            Row::Same | Row::Older => Row::Older,
        };
        let beyond = self.limit_for(&message.topic, size(&message));
        if beyond.is_some() {
            // The old value goes, too: it must not stay as if it were the latest.
            self.remove(&message.topic);
            self.refused += 1;
            return Outcome { beyond, forget: before.is_stored() };
        }
        self.insert(message, row);
        Outcome { beyond, forget: before == Row::Promised && !promised }
    }

    /// The limit that a message of `size` bytes for `topic` would be beyond.
    pub(super) fn limit_for(&self, topic: &Topic, bytes: usize) -> Option<Limit> {
        let old = self.topics.get(topic).filter(|kept| kept.row != Row::Never);
        if old.is_none() && self.foreign() >= self.topics_max {
            return Some(Limit::RetainedMax);
        }
        let before = old.map_or(0, |kept| size(&kept.message));
        (bytes > before && self.bytes - self.own_bytes - before + bytes > self.bytes_max).then_some(Limit::RetainedBytes)
    }

    /// As [`RetainedStore::set`], for what is never stored: our own words, which always have room.
    pub(super) fn set_unstored(&mut self, message: RetainedMessage) {
        self.insert(message, Row::Never);
    }

    /// What the store had at the start, whatever room there is: rows that are older than what was in memory may have been larger.
    pub(super) fn restore(&mut self, message: RetainedMessage) {
        let promised = message.body.kind == BodyKind::Raw && message.qos != QoS::AtMostOnce;
        self.insert(message, if promised { Row::Promised } else { Row::Same });
    }

    fn insert(&mut self, message: RetainedMessage, row: Row) {
        self.remove(&message.topic);
        self.bytes += size(&message);
        self.expiring += usize::from(message.expires.is_some());
        if row == Row::Never {
            self.own += 1;
            self.own_bytes += size(&message);
        }
        self.topics.insert(message.topic.clone(), Kept { message, serial: self.serial, row });
        self.serial += 1;
    }

    /// A retained message without a body removes the topic's [MQTT-3.3.1-10]. True if the store has a row of it.
    pub(super) fn clear(&mut self, topic: &Topic) -> bool {
        self.remove(topic).is_some_and(|kept| kept.row.is_stored())
    }

    fn remove(&mut self, topic: &Topic) -> Option<Kept> {
        let old = self.topics.remove(topic)?;
        self.bytes -= size(&old.message);
        self.expiring -= usize::from(old.message.expires.is_some());
        if old.row == Row::Never {
            self.own -= 1;
            self.own_bytes -= size(&old.message);
        }
        Some(old)
    }

    /// A slice of the walk for expired messages, which are removed: the topics of those that the store has.
    pub(super) fn expire(&mut self, now: Mono) -> Vec<Topic> {
        if self.expiring == 0 {
            self.expired_to = None;
            return Vec::new();
        }
        let walk = after(&self.topics, self.expired_to.as_ref()).take(WALK);
        let (mut expired, mut last, mut seen) = (Vec::new(), None, 0);
        for (topic, kept) in walk {
            (last, seen) = (Some(topic), seen + 1);
            if is_expired(&kept.message, now) {
                expired.push(topic.clone());
            }
        }
        self.expired_to = last.filter(|_| seen == WALK).cloned();
        expired.retain(|topic| self.clear(topic));
        expired
    }

    /// From the first topic on.
    pub(super) fn begin_flush(&mut self) {
        self.flushed_to = None;
        self.flushing = true;
    }

    /// Once an hour.
    pub(super) fn begin_flush_when_due(&mut self, now: Mono) {
        let due = *self.flush_due.get_or_insert(now + FLUSH_EVERY);
        if due <= now {
            self.flush_due = Some(now + FLUSH_EVERY);
            self.begin_flush();
        }
    }

    pub(super) const fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// The next `max` changes that bring the store up to date, and whether more may follow. They count as written.
    pub(super) fn take_dirty(&mut self, max: usize, now: Mono) -> (Vec<StateChange>, bool) {
        let from = self.flushed_to.take();
        let (mut changes, mut last, mut more) = (Vec::new(), None, false);
        let lower = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        for (seen, (topic, kept)) in self.topics.range_mut::<Topic, _>((lower, Bound::Unbounded)).enumerate() {
            if changes.len() >= max || seen >= WALK {
                more = true;
                break;
            }
            last = Some(topic);
            if matches!(kept.row, Row::None | Row::Older) && !is_expired(&kept.message, now) {
                kept.row = Row::Same;
                changes.push(StateChange::Retained(kept.message.clone()));
            }
        }
        self.flushed_to = last.filter(|_| more).cloned();
        self.flushing = more;
        (changes, more)
    }

    /// The first topic after `after` that `filter` may match: the next candidates in order, each to be asked. `None` at the end.
    pub(super) fn next(&self, filter: &TopicFilter, after: Option<&Topic>) -> Option<&Kept> {
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
        let (topic, kept) = found?;
        let may_match = if exact { topic.as_str() == prefix } else { topic.as_str().starts_with(prefix) };
        may_match.then_some(kept)
    }
}

fn after<'a>(topics: &'a BTreeMap<Topic, Kept>, last: Option<&Topic>) -> impl Iterator<Item = (&'a Topic, &'a Kept)> + use<'a> {
    let lower = last.cloned().map_or(Bound::Unbounded, Bound::Excluded);
    topics.range::<Topic, _>((lower, Bound::Unbounded))
}

pub(super) fn is_expired(message: &RetainedMessage, now: Mono) -> bool {
    message.expires.is_some_and(|at| at <= now)
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
    use crate::model::{Body, Publisher, QoS};

    fn message(topic: &str, body: Body) -> RetainedMessage {
        let (topic, properties) = (Topic::new(topic).unwrap(), bytes::Bytes::new());
        RetainedMessage { topic, body, qos: QoS::AtLeastOnce, properties, expires: None, source: Publisher::Gateway }
    }

    fn matching(store: &RetainedStore, filter: &str) -> Vec<String> {
        let filter = TopicFilter::new(filter).unwrap();
        let mut found = Vec::new();
        let mut after = None;
        while let Some(Kept { message: RetainedMessage { topic, .. }, .. }) = store.next(&filter, after.as_ref()) {
            if filter.matches(topic.as_str()) {
                found.push(topic.to_string());
            }
            after = Some(topic.clone());
        }
        found
    }

    #[test]
    fn a_filter_finds_what_it_matches_and_nothing_else() {
        let mut store = RetainedStore::new(&Limits::default());
        for topic in ["$SYS/x", "/", "/a", "a", "a/b", "a/b/c", "a/c", "ab", "b/c"] {
            store.set(message(topic, Body::raw("1".into())), false);
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
        let mut store = RetainedStore::new(&Limits::default());
        let body = Body::raw(vec![0; 1 << 20].into());
        for i in 0..20 {
            store.set(message(&format!("t/{i}"), body.clone()), false);
        }
        assert_eq!((store.len(), store.refused), (15, 5));
        store.clear(&Topic::new("t/0").unwrap());
        store.set(message("t/19", body.clone()), false);
        assert_eq!((store.len(), store.refused), (15, 5));
        store.restore(message("of before", body.clone()));
        assert_eq!((store.len(), store.refused), (16, 5), "it was promised once");
        store.set(message("t/20", body), false);
        assert_eq!((store.len(), store.refused), (16, 6));
    }

    /// A row of the store is told to go where it would come back as if it were the latest, and only there.
    #[test]
    fn what_was_promised_never_comes_back_after_it_was_replaced() {
        let at = |body: &'static str| message("a", Body::raw(body.into()));
        let kept = |forget| Outcome { beyond: None, forget };
        let mut store = RetainedStore::new(&Limits::default());
        assert_eq!(store.set(at("1"), true), kept(false), "by its entry");
        assert_eq!(store.set(at("2"), false), kept(true), "QoS 0 after QoS 1");
        assert_eq!(store.set(at("3"), false), kept(false), "it has gone already");
        assert_eq!(store.take_dirty(9, Mono::ZERO), (vec![StateChange::Retained(at("3"))], false));
        assert_eq!(store.take_dirty(9, Mono::ZERO), (vec![], false));
        assert_eq!(store.set(at("4"), false), kept(false), "an hour's reading may be old");
        assert_eq!(store.set(at("5"), true), kept(false), "its entry replaces the row");
        assert!(store.clear(&Topic::new("a").unwrap()));
        assert!(!store.clear(&Topic::new("a").unwrap()));
        let large = message("a", Body::raw(vec![0; Limits::default().retained_bytes].into()));
        assert_eq!(store.set(at("6"), true), kept(false));
        assert_eq!(
            store.set(large, true),
            Outcome { beyond: Some(Limit::RetainedBytes), forget: true },
            "not kept: the old value goes everywhere"
        );
    }

    #[test]
    fn what_is_dirty_is_taken_in_slices_and_what_expires_is_found() {
        let mut store = RetainedStore::new(&Limits::default());
        let topics = 5_000;
        for i in 0..topics {
            let expires = (i % 2 == 0).then_some(Mono::from_millis(10));
            store.set(RetainedMessage { expires, ..message(&format!("t/{i:04}"), Body::raw("1".into())) }, i % 4 == 0);
        }
        store.begin_flush();
        let mut written = 0;
        loop {
            let (changes, more) = store.take_dirty(100, Mono::ZERO);
            assert!(changes.len() <= 100);
            written += changes.len();
            if !more {
                break;
            }
        }
        assert_eq!(written, topics / 4 * 3);
        assert_eq!(store.expire(Mono::from_millis(9)).len(), 0);
        let gone: usize = (0..20).map(|_| store.expire(Mono::from_millis(10)).len()).sum();
        assert_eq!((gone, store.len(), store.expiring), (topics / 2, topics / 2, 0));
    }
}
