//! Who gets a topic: a tree of filters, and before it a cache of the topics that are in use.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};

use super::destination;
use super::id::SessionIndex;
use super::limit::Limit;
use super::limits::Limits;
use super::shared::{GroupId, Groups, Joined, Left};
use crate::access::rights::is_closed;
use crate::model::{QoS, SubscribeOptions, Subscription, Topic, TopicError, TopicFilter, UpstreamSet};
use crate::mqtt::packet::Shared;

/// Most topics in the cache; it is emptied when full.
const CACHE_TOPICS_MAX: usize = 4_096;

/// Most receivers of all cached topics together; as for [`CACHE_TOPICS_MAX`].
const CACHE_RECEIVERS_MAX: usize = 65_536;

/// Longer topics are looked up each time.
const CACHE_TOPIC_LENGTH_MAX: usize = 512;

/// One subscription as the tree holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sub {
    pub(super) session: SessionIndex,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<u32>,
}

impl Sub {
    pub(super) const fn new(session: SessionIndex, subscription: &Subscription) -> Self {
        let SubscribeOptions { qos, no_local, retain_as_published, .. } = subscription.options;
        Self { session, qos, no_local, retain_as_published, identifier: subscription.identifier }
    }
}

/// One receiver of a topic, by all of its subscriptions that match: one copy, at the highest QoS, with all identifiers (5.0, 3.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receiver {
    pub(super) session: SessionIndex,
    pub(super) all: Wish,
    /// Of what it has published itself.
    pub(super) own: Own,
}

/// How a message is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Option<Arc<[u32]>>,
}

/// What a receiver gets of its own messages, by those of its subscriptions that do not say "no local".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own {
    Same,
    Nothing,
    Other(Box<Wish>),
}

impl Receiver {
    /// `own`: for a message of its own.
    pub(super) fn wish(&self, own: bool) -> Option<&Wish> {
        match &self.own {
            Own::Nothing if own => None,
            Own::Other(wish) if own => Some(wish),
            _ => Some(&self.all),
        }
    }
}

/// All that a topic's name decides.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) topic: Topic,
    pub(super) upstreams: UpstreamSet,
    /// Closed to anonymous clients where a site has no lists.
    pub(super) closed: bool,
    /// Each session once [MQTT-3.3.5-1].
    pub(super) receivers: Box<[Receiver]>,
    /// Groups of shared subscriptions that match.
    pub(super) shared: Box<[GroupId]>,
    generation: u64,
    /// Whether who published to it last may, by the number of its rights.
    asked: Cell<(u64, bool)>,
}

impl Route {
    /// What `ask` says of these rights, or has said the last time.
    pub(super) fn remembered(&self, rights: u64, ask: impl FnOnce() -> bool) -> bool {
        let (known, answer) = self.asked.get();
        if known == rights {
            return answer;
        }
        let answer = ask();
        self.asked.set((rights, answer));
        answer
    }

    /// Receivers, a group counted as one.
    pub(super) const fn len(&self) -> usize {
        self.receivers.len() + self.shared.len()
    }
}

#[derive(Debug)]
pub(super) struct Subscriptions {
    root: Node,
    /// Of shared subscriptions, with groups in place of sessions.
    shared: Node,
    /// Nodes below both roots.
    nodes: usize,
    /// Of the filters of all subscriptions.
    bytes: usize,
    /// Raised by each change of the tree: routes of earlier generations are not used.
    generation: u64,
    cache: HashMap<Bytes, Rc<Route>>,
    cached_receivers: usize,
    upstreams: Vec<Vec<TopicFilter>>,
    pub(super) groups: Groups,
    /// Subscriptions of single sessions.
    count: usize,
    /// Nodes and subscriptions that were looked at since it was last asked.
    looked_at: usize,
}

/// One level of filters. Depth, and with it recursion, is bounded by `topic_levels_max`, which is at most 256.
#[derive(Debug, Default)]
struct Node {
    /// Sorted. Most nodes have one child, and a tree's smallest allocation has room for eleven.
    children: Vec<(Box<str>, Box<Node>)>,
    plus: Option<Box<Node>>,
    /// Filters that end here.
    here: Vec<Sub>,
    /// Filters that go on with `#`.
    below: Vec<Sub>,
}

impl Subscriptions {
    pub(super) fn new(upstreams: Vec<Vec<TopicFilter>>) -> Self {
        Self {
            root: Node::default(),
            shared: Node::default(),
            nodes: 0,
            bytes: 0,
            generation: 0,
            cache: HashMap::new(),
            cached_receivers: 0,
            upstreams,
            groups: Groups::default(),
            count: 0,
            looked_at: 0,
        }
    }

    /// Subscriptions, those of groups counted a member.
    pub(super) const fn len(&self) -> usize {
        self.count + self.groups.members()
    }

    /// The limit that one more subscription to `filter` might be beyond.
    pub(super) fn limit_for(&self, filter: &TopicFilter, limits: &Limits) -> Option<Limit> {
        let name = filter.as_str();
        if self.nodes + name.split('/').count() > limits.subscription_levels_max {
            return Some(Limit::SubscriptionLevelsMax);
        }
        if self.bytes + name.len() > limits.subscription_bytes {
            return Some(Limit::SubscriptionBytes);
        }
        shared_filter(filter).and_then(|_| self.groups.limit_for(filter, limits))
    }

    #[cfg(any(test, feature = "fuzz"))]
    /// All that the tree holds: filters with their sessions.
    pub(super) fn all(&self) -> Vec<(String, SessionIndex)> {
        let mut all = Vec::new();
        self.root.all("", &mut all);
        self.groups.all(&mut all);
        all
    }

    /// Adds or replaces a subscription [MQTT-3.8.4-3]. True if it is new.
    pub(super) fn insert(&mut self, filter: &TopicFilter, sub: Sub) -> bool {
        self.generation += 1;
        if let Some(within) = shared_filter(filter) {
            let joined = self.groups.join(filter, sub);
            if let Joined::Founded(group) = joined {
                let group = Sub { session: group as SessionIndex, ..sub };
                self.shared.subs_mut(within, &mut self.nodes).push(group);
            }
            let new = joined != Joined::Replaced;
            self.bytes += if new { filter.as_str().len() } else { 0 };
            return new;
        }
        let subs = self.root.subs_mut(filter.as_str(), &mut self.nodes);
        if let Some(old) = subs.iter_mut().find(|s| s.session == sub.session) {
            *old = sub;
            return false;
        }
        // Most filters have one subscriber.
        subs.reserve_exact(usize::from(subs.is_empty()));
        subs.push(sub);
        self.count += 1;
        self.bytes += filter.as_str().len();
        true
    }

    /// True if there was one.
    pub(super) fn remove(&mut self, filter: &TopicFilter, session: SessionIndex) -> bool {
        self.generation += 1;
        let removed = match shared_filter(filter) {
            Some(within) => {
                let left = self.groups.leave(filter, session);
                if let Left::Dissolved(group) = left {
                    self.shared.remove(Some(within), group as SessionIndex, &mut self.nodes);
                }
                left != Left::No
            }
            None => {
                let removed = self.root.remove(Some(filter.as_str()), session, &mut self.nodes);
                self.count -= usize::from(removed);
                removed
            }
        };
        if removed {
            self.bytes -= filter.as_str().len();
        }
        removed
    }

    /// Rights have changed: who may receive a topic is asked again.
    pub(super) const fn rights_changed(&mut self) {
        self.generation += 1;
    }

    /// Where `name` goes. `may`: whether a session may receive a topic; the third says whether that is closed, as [`Route::closed`].
    ///
    /// # Errors
    /// `name` is no topic name.
    pub(super) fn route(&mut self, name: &[u8], may: impl Fn(SessionIndex, &str, bool) -> bool) -> Result<Rc<Route>, TopicError> {
        let topic = match self.cache.get(name) {
            Some(route) if route.generation == self.generation => return Ok(Rc::clone(route)),
            Some(route) => route.topic.clone(),
            None => Topic::from_bytes(Bytes::copy_from_slice(name))?,
        };
        let route = Rc::new(self.find(topic, may));
        if name.len() <= CACHE_TOPIC_LENGTH_MAX {
            self.keep(&route);
        }
        Ok(route)
    }

    /// What routes have cost since it was last asked. A new topic may lead to most of the tree, where filters with `+` cross at each level.
    pub(super) fn take_looked_at(&mut self) -> usize {
        std::mem::take(&mut self.looked_at)
    }

    fn find(&mut self, topic: Topic, may: impl Fn(SessionIndex, &str, bool) -> bool) -> Route {
        let name = topic.as_str();
        let closed = is_closed(name);
        let mut receivers = Vec::new();
        let mut looked_at = self.root.collect(Some(name), !name.starts_with('$'), &mut receivers) + receivers.len();
        receivers.sort_unstable_by_key(|sub| sub.session);
        let each = receivers.chunk_by(|a, b| a.session == b.session);
        let receivers = each.filter(|subs| subs.first().is_some_and(|sub| may(sub.session, name, closed))).filter_map(merge).collect();
        let mut groups = Vec::new();
        if !self.shared.is_empty() {
            looked_at += self.shared.collect(Some(name), !name.starts_with('$'), &mut groups) + groups.len();
        }
        self.looked_at += looked_at;
        let shared = groups.iter().filter_map(|sub| GroupId::try_from(sub.session).ok()).collect();
        let upstreams = destination::wanting(&self.upstreams, name);
        Route { upstreams, closed, receivers, shared, generation: self.generation, asked: Cell::new((u64::MAX, false)), topic }
    }

    fn keep(&mut self, route: &Rc<Route>) {
        if self.cache.len() >= CACHE_TOPICS_MAX || self.cached_receivers + route.len() > CACHE_RECEIVERS_MAX {
            self.cache.clear();
            self.cached_receivers = 0;
        }
        if let Some(old) = self.cache.insert(route.topic.as_bytes().clone(), Rc::clone(route)) {
            self.cached_receivers -= old.len();
        }
        self.cached_receivers += route.len();
    }
}

/// What a shared subscription's filter asks for; `None`: it is not of one.
fn shared_filter(filter: &TopicFilter) -> Option<&str> {
    Shared::parse(filter.as_str()).ok().flatten().map(|shared| shared.filter)
}

/// All subscriptions of one session that match, as one.
fn merge(subs: &[Sub]) -> Option<Receiver> {
    let session = subs.first()?.session;
    let [all, own] = [true, false].map(|all| {
        let subs = || subs.iter().filter(move |sub| all || !sub.no_local);
        let identifiers: Arc<[u32]> = subs().filter_map(|sub| sub.identifier).collect();
        subs().map(|sub| sub.qos).max().map(|qos| Wish {
            qos,
            retain_as_published: subs().any(|sub| sub.retain_as_published),
            identifiers: (!identifiers.is_empty()).then_some(identifiers),
        })
    });
    let own = if own == all { Own::Same } else { own.map_or(Own::Nothing, |own| Own::Other(Box::new(own))) };
    Some(Receiver { session, all: all?, own })
}

impl Node {
    #[cfg(any(test, feature = "fuzz"))]
    fn all(&self, path: &str, all: &mut Vec<(String, SessionIndex)>) {
        let under = |level: &str| if path.is_empty() { level.to_owned() } else { format!("{}/{level}", path.trim_start_matches('\0')) };
        all.extend(self.here.iter().map(|sub| (path.trim_start_matches('\0').to_owned(), sub.session)));
        all.extend(self.below.iter().map(|sub| (under("#"), sub.session)));
        // A first level that is empty is told from no level.
        let mark = |path: String| if path.starts_with('\0') { path } else { format!("\0{path}") };
        self.children.iter().for_each(|(level, node)| node.all(&mark(under(level)), all));
        self.plus.iter().for_each(|node| node.all(&mark(under("+")), all));
    }

    /// Where the subscriptions to `filter` stand; `nodes` is raised by those that had to be made.
    fn subs_mut(&mut self, filter: &str, nodes: &mut usize) -> &mut Vec<Sub> {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => return &mut node.below,
                "+" => node.plus.get_or_insert_with(|| {
                    *nodes += 1;
                    Box::default()
                }),
                _ => node.child_mut(level, nodes),
            };
        }
        &mut node.here
    }

    /// Where the child for `level` stands, or would stand.
    fn find(&self, level: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(name, _)| (**name).cmp(level))
    }

    fn child_mut(&mut self, level: &str, nodes: &mut usize) -> &mut Self {
        let at = self.find(level).unwrap_or_else(|at| {
            *nodes += 1;
            self.children.reserve_exact(usize::from(self.children.is_empty()));
            self.children.insert(at, (level.into(), Box::default()));
            at
        });
        &mut self.children[at].1
    }

    /// `None`: the filter ends here. Branches that became empty are cut off, and `nodes` is lowered by them.
    fn remove(&mut self, filter: Option<&str>, session: SessionIndex, nodes: &mut usize) -> bool {
        let Some(filter) = filter else { return take(&mut self.here, session) };
        let (level, rest) = next_level(filter);
        match level {
            "#" => take(&mut self.below, session),
            "+" => {
                let Some(child) = &mut self.plus else { return false };
                let removed = child.remove(rest, session, nodes);
                if child.is_empty() {
                    self.plus = None;
                    *nodes -= 1;
                }
                removed
            }
            _ => {
                let Ok(at) = self.find(level) else { return false };
                let Some((_, child)) = self.children.get_mut(at) else { return false };
                let removed = child.remove(rest, session, nodes);
                if child.is_empty() {
                    self.children.remove(at);
                    if self.children.is_empty() {
                        self.children = Vec::new();
                    }
                    *nodes -= 1;
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.below.is_empty()
    }

    /// Gathers the subscriptions that match what is left of the topic; `None`: nothing is left. `wild`: wildcards count on this level
    /// [MQTT-4.7.2-1]. Says how many nodes it has seen.
    fn collect(&self, topic: Option<&str>, wild: bool, into: &mut Vec<Sub>) -> usize {
        if wild {
            into.extend_from_slice(&self.below);
        }
        let Some(topic) = topic else {
            into.extend_from_slice(&self.here);
            return 1;
        };
        let ((level, rest), mut seen) = (next_level(topic), 1);
        if let Some((_, child)) = self.find(level).ok().and_then(|at| self.children.get(at)) {
            seen += child.collect(rest, true, into);
        }
        if let Some(child) = self.plus.as_ref().filter(|_| wild) {
            seen += child.collect(rest, true, into);
        }
        seen
    }
}

fn next_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}

fn take(subs: &mut Vec<Sub>, session: SessionIndex) -> bool {
    let found = subs.iter().position(|s| s.session == session);
    if let Some(i) = found {
        subs.swap_remove(i);
    }
    found.is_some()
}

#[cfg(test)]
mod tests;
