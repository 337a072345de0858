//! The tree, its cache and its limits.

use super::*;

fn sub(session: SessionIndex, qos: QoS) -> Sub {
    Sub { session, qos, no_local: false, retain_as_published: false, identifier: None }
}

const FILTERS: [&str; 14] = ["#", "+", "a", "a/#", "a/+", "a/b", "a/+/c", "+/b", "+/+/#", "/", "/+", "$SYS/#", "$SYS/+", "a/b/c/d"];

/// The tree says the same as each filter by itself, before and after removals.
#[test]
fn the_tree_matches_as_the_filters_do() {
    let mut subscriptions = Subscriptions::new(Vec::new());
    let filters = FILTERS.map(|f| TopicFilter::new(f).unwrap());
    for (session, filter) in filters.iter().enumerate() {
        assert!(subscriptions.insert(filter, sub(session, QoS::AtMostOnce)));
        assert!(!subscriptions.insert(filter, sub(session, QoS::AtLeastOnce)));
    }
    for removed in 0..=filters.len() {
        for topic in ["a", "a/b", "a/", "/", "//", "a/x/c", "a/b/c/d", "b", "x/b", "$SYS/x", "$SYS/x/y", "$SYS", "a/b/c"] {
            let want: Vec<usize> = (removed..filters.len()).filter(|i| filters.get(*i).is_some_and(|f| f.matches(topic))).collect();
            let route = subscriptions.route(topic.as_bytes(), |_, _, _| true).unwrap();
            let got: Vec<usize> = route.receivers.iter().map(|s| s.session).collect();
            assert_eq!(got, want, "{topic} without the first {removed}");
        }
        if let Some(filter) = filters.get(removed) {
            assert!(subscriptions.remove(filter, removed));
            assert!(!subscriptions.remove(filter, removed));
        }
    }
    assert!(subscriptions.root.is_empty());
    assert_eq!((subscriptions.nodes, subscriptions.bytes), (0, 0));
}

#[test]
fn all_filters_together_have_a_limit() {
    let limits = Limits::default();
    let (levels_max, nodes_max) = (limits.topic_levels_max, limits.subscription_levels_max);
    for (name, levels, length, nodes_max, limit) in
        [("deep", levels_max, 1, nodes_max, Limit::SubscriptionLevelsMax), ("long", 1, 60_000, 200, Limit::SubscriptionBytes)]
    {
        let mut subscriptions = Subscriptions::new(Vec::new());
        let filter = |i: usize| {
            TopicFilter::new(&format!("{i}{}", format!("/{}", "x".repeat(length)).repeat(levels - 1 + length / 60_000))).unwrap()
        };
        let reached = (0..10_000).find_map(|i| {
            let reached = subscriptions.limit_for(&filter(i), &limits);
            if reached.is_none() {
                subscriptions.insert(&filter(i), sub(i, QoS::AtMostOnce));
            }
            Some((i, reached?))
        });
        let (fitting, reached) = reached.expect("a limit");
        assert_eq!(reached, limit, "{name}");
        assert!(fitting >= 100 && subscriptions.nodes + levels_max >= nodes_max, "{name}: {fitting}, {} nodes", subscriptions.nodes);
        assert!(subscriptions.nodes <= limits.subscription_levels_max && subscriptions.bytes <= limits.subscription_bytes, "{name}");
        subscriptions.remove(&filter(0), 0);
        assert_eq!(subscriptions.limit_for(&filter(0), &limits), None, "{name}");
    }
}

#[test]
fn a_session_gets_a_topic_once_at_its_highest_qos() {
    let mut subscriptions = Subscriptions::new(Vec::new());
    for (filter, qos) in [("#", QoS::AtMostOnce), ("a/+", QoS::AtLeastOnce), ("a/b", QoS::AtMostOnce)] {
        subscriptions.insert(&TopicFilter::new(filter).unwrap(), sub(3, qos));
    }
    let route = subscriptions.route(b"a/b", |_, _, _| true).unwrap();
    let all = Wish { qos: QoS::AtLeastOnce, retain_as_published: false, identifiers: None };
    assert_eq!(*route.receivers, [Receiver { session: 3, all, own: Own::Same }]);
    let route = subscriptions.route(b"a/set", |session, topic, closed| (session, topic, closed) != (3, "a/set", true));
    assert!(route.unwrap().receivers.is_empty(), "it may not have this");
}

#[test]
fn the_cache_stays_within_its_limits() {
    let mut subscriptions = Subscriptions::new(Vec::new());
    let filter = TopicFilter::new("#").unwrap();
    for session in 0..100 {
        subscriptions.insert(&filter, sub(session, QoS::AtMostOnce));
    }
    for i in 0..10_000 {
        subscriptions.route(format!("t/{i}").as_bytes(), |_, _, _| true).unwrap();
        assert!(subscriptions.cache.len() <= CACHE_TOPICS_MAX && subscriptions.cached_receivers <= CACHE_RECEIVERS_MAX);
        assert_eq!(subscriptions.cached_receivers, subscriptions.cache.len() * 100);
    }
}
