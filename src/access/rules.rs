//! Rules as a tree of their filters: what an access list says of a topic costs as many steps as the topic has levels, however many rules there are.

use crate::model::TopicFilter;

use super::filter::{is_open, levels};

/// What rules say of a topic: one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access(u8);

impl Access {
    pub const NONE: Self = Self(0);
    /// May be published to.
    pub const PUBLISH: Self = Self(1);
    /// Comes to the client, by whatever subscription.
    pub const RECEIVE: Self = Self(2);
    /// Filters that overlap it may be subscribed to.
    pub const OVERLAP: Self = Self(4);
    /// Filters that it covers may be subscribed to.
    pub const SUBSCRIBE: Self = Self(8);
    /// Nothing of it all, whatever other rules say.
    pub const DENY: Self = Self(16);
    /// Mosquitto's `read`.
    pub const READ: Self = Self(Self::RECEIVE.0 | Self::OVERLAP.0);
    /// Mosquitto's `readwrite`.
    pub const READ_WRITE: Self = Self(Self::READ.0 | Self::PUBLISH.0);

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that both have.
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Rules that hold together. Equal where they were written equally.
#[derive(Debug, Default)]
pub struct Rules {
    list: Vec<(TopicFilter, Access)>,
    root: Node,
}

/// One level of filters. Its depth is that of the deepest filter.
#[derive(Debug, Default)]
struct Node {
    /// Sorted.
    children: Vec<(Box<str>, Node)>,
    plus: Option<Box<Node>>,
    /// Of filters that end here.
    here: Access,
    /// Of filters that go on with `#`.
    below: Access,
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Rules {
    pub fn add(&mut self, filter: TopicFilter, access: Access) {
        self.root.add(levels(filter.as_str()), access);
        self.list.push((filter, access));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicFilter, Access)> {
        self.list.iter().map(|(filter, access)| (filter, *access))
    }

    pub const fn len(&self) -> usize {
        self.list.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What all rules say that match the topic.
    pub fn of(&self, topic: &str) -> Access {
        self.root.covering(topic.split('/'), true)
    }

    /// What all rules say of which each covers `filter`.
    pub fn covering(&self, filter: &str) -> Access {
        self.root.covering(levels(filter), true)
    }

    /// What all rules say of which each has a topic in common with `filter`.
    pub fn overlapping(&self, filter: &str) -> Access {
        self.root.overlapping(levels(filter), true)
    }
}

impl Node {
    fn add<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>, access: Access) {
        match levels.next() {
            None => self.here = self.here.and(access),
            Some("#") => self.below = self.below.and(access),
            Some("+") => self.plus.get_or_insert_default().add(levels, access),
            Some(level) => {
                let at = self.find(level).unwrap_or_else(|at| {
                    self.children.insert(at, (level.into(), Self::default()));
                    at
                });
                if let Some((_, child)) = self.children.get_mut(at) {
                    child.add(levels, access);
                }
            }
        }
    }

    fn find(&self, level: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(name, _)| (**name).cmp(level))
    }

    fn child(&self, level: &str) -> Option<&Self> {
        self.find(level).ok().and_then(|at| self.children.get(at)).map(|(_, child)| child)
    }

    /// A topic is a filter without wildcards. `first`: this is the first level, where wildcards do not match `$`. No rule begins with `#`:
    /// [`levels`] has made `+/#` of it.
    fn covering<'a>(&self, levels: impl Iterator<Item = &'a str> + Clone, first: bool) -> Access {
        let mut rest = levels;
        let Some(level) = rest.next() else { return self.here.and(self.below) };
        let plus = self.plus.as_deref().filter(|_| level != "#" && is_open(level, first));
        let child = self.child(level).filter(|_| !matches!(level, "+" | "#"));
        child.into_iter().chain(plus).map(|child| child.covering(rest.clone(), false)).fold(self.below, Access::and)
    }

    fn overlapping<'a>(&self, levels: impl Iterator<Item = &'a str> + Clone, first: bool) -> Access {
        let mut rest = levels;
        let Some(level) = rest.next() else { return self.here.and(self.below) };
        match level {
            "#" => self.all(),
            "+" => {
                let children = self.children.iter().filter(|(name, _)| is_open(name, first)).map(|(_, child)| child);
                let all = children.chain(self.plus.as_deref()).map(|child| child.overlapping(rest.clone(), false));
                all.fold(self.below, Access::and)
            }
            _ => {
                let plus = self.plus.as_deref().filter(|_| is_open(level, first));
                let both = self.child(level).into_iter().chain(plus).map(|child| child.overlapping(rest.clone(), false));
                both.fold(self.below, Access::and)
            }
        }
    }

    /// All that is said from here on.
    fn all(&self) -> Access {
        let children = self.children.iter().map(|(_, child)| child).chain(self.plus.as_deref());
        children.map(Self::all).fold(self.here.and(self.below), Access::and)
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::{all_filters, all_topics};
    use super::super::filter::{covers, overlaps};
    use super::*;

    /// The tree says the same as each filter by itself.
    #[test]
    fn the_tree_says_what_its_filters_say() {
        let (filters, topics) = (all_filters(), all_topics());
        let bits = [Access::PUBLISH, Access::RECEIVE, Access::OVERLAP, Access::SUBSCRIBE, Access::DENY];
        // Four filters at a time, so that beginnings are shared in many ways.
        for (i, _) in filters.iter().enumerate().step_by(3) {
            let mine: Vec<_> = (0..4).map(|n| (&filters[(i * 7 + n * 31) % filters.len()], bits[(i + n) % bits.len()])).collect();
            let mut rules = Rules::default();
            mine.iter().for_each(|(filter, access)| rules.add((*filter).clone(), *access));
            let all = |says: &dyn Fn(&str) -> bool| {
                mine.iter().filter(|(filter, _)| says(filter.as_str())).fold(Access::NONE, |all, (_, access)| all.and(*access))
            };
            for topic in &topics {
                let want = all(&|filter| TopicFilter::new(filter).unwrap().matches(topic));
                assert_eq!(rules.of(topic), want, "{mine:?} on {topic}");
            }
            for filter in &filters {
                let filter = filter.as_str();
                assert_eq!(rules.covering(filter), all(&|rule| covers(rule, filter)), "{mine:?} cover {filter}");
                assert_eq!(rules.overlapping(filter), all(&|rule| overlaps(rule, filter)), "{mine:?} overlap {filter}");
            }
        }
    }
}
