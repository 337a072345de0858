//! How two topic filters stand to each other, by what they match (3.1.1 and 5.0, 4.7).

/// What a filter asks for, level by level. `#` alone is taken as `+/#`, which matches the same: every topic has a first level.
pub(super) fn levels(filter: &str) -> impl Iterator<Item = &str> + Clone {
    let whole = if filter == "#" { "+/#" } else { filter };
    whole.split('/')
}

/// Whether `+` matches this level, of a topic or a filter. As the first one it matches none that begins with `$` [MQTT-4.7.2-1].
pub(super) fn is_open(level: &str, first: bool) -> bool {
    !first || !level.starts_with('$')
}

/// Whether every topic that `narrow` matches is matched by `wide`, too. What [`Rules`](super::rules::Rules) say of many filters at once.
#[cfg(test)]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (levels(wide), levels(narrow));
    let mut first = true;
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" && is_open(level, first) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
        first = false;
    }
}

/// Whether there is a topic that both match; as for [`covers`].
#[cfg(test)]
pub fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (levels(one), levels(other));
    let mut first = true;
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(level)) | (Some(level), Some("+")) if is_open(level, first) => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
        first = false;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::TopicFilter;

    #[test]
    fn filters_stand_to_each_other_as_the_table_says() {
        // Wide, narrow, whether the first covers the second, whether they overlap.
        for (wide, narrow, covered, overlapping) in [
            ("a", "a", true, true),
            ("a", "b", false, false),
            ("a", "a/b", false, false),
            ("a", "a/#", false, true),
            ("a/#", "a", true, true),
            ("a/#", "a/b/c", true, true),
            ("a/#", "a/#", true, true),
            ("a/#", "a/+", true, true),
            ("a/#", "a/+/#", true, true),
            ("a/+/#", "a/#", false, true),
            ("a/+", "a/b", true, true),
            ("a/+", "a/#", false, true),
            ("a/+", "a", false, false),
            ("a/+", "+/b", false, true),
            ("+/b", "a/+", false, true),
            ("+/b", "a/c", false, false),
            ("#", "#", true, true),
            ("#", "+/#", true, true),
            ("+/#", "#", true, true),
            ("+", "#", false, true),
            ("#", "/", true, true),
            ("+", "/", false, false),
            ("+/+", "/", true, true),
            ("/#", "/", true, true),
            ("#", "$SYS/x", false, false),
            ("+/x", "$SYS/x", false, false),
            ("+/#", "$SYS/#", false, false),
            ("$SYS/#", "$SYS/+", true, true),
            ("$SYS/+", "$SYS/#", false, true),
            ("$SYS/#", "#", false, false),
            ("a/#", "a/$b", true, true),
            ("a/+", "a/$b", true, true),
        ] {
            assert_eq!((covers(wide, narrow), overlaps(wide, narrow)), (covered, overlapping), "{wide} and {narrow}");
            assert_eq!(overlaps(narrow, wide), overlapping, "{narrow} and {wide}");
        }
    }

    /// All filters of up to three of these levels.
    pub(in crate::access) fn all_filters() -> Vec<TopicFilter> {
        sequences(&["a", "b", "", "$x", "+", "#"], 3).iter().filter_map(|text| TopicFilter::new(text).ok()).collect()
    }

    /// All topics of up to four levels: one level more than filters have, and one name more. An empty one is no topic, but matched by `+` and `/#`.
    pub(in crate::access) fn all_topics() -> Vec<String> {
        sequences(&["a", "b", "c", "", "$x"], 4)
    }

    fn sequences(names: &[&str], depth: usize) -> Vec<String> {
        let mut all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut last = all.clone();
        for _ in 1..depth {
            last = last.iter().flat_map(|front| names.iter().map(move |name| format!("{front}/{name}"))).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    #[test]
    fn filters_stand_to_each_other_as_the_topics_say_that_they_match() {
        let (filters, topics) = (all_filters(), all_topics());
        // By filter, one bit a topic.
        let matched: Vec<Vec<bool>> = filters.iter().map(|filter| topics.iter().map(|topic| filter.matches(topic)).collect()).collect();
        for (wide, by_wide) in filters.iter().zip(&matched) {
            for (narrow, by_narrow) in filters.iter().zip(&matched) {
                let covered = by_narrow.iter().zip(by_wide).all(|(narrow, wide)| *wide || !narrow);
                let overlapping = by_narrow.iter().zip(by_wide).any(|(narrow, wide)| *wide && *narrow);
                assert_eq!(covers(wide.as_str(), narrow.as_str()), covered, "{wide} covers {narrow}");
                assert_eq!(overlaps(wide.as_str(), narrow.as_str()), overlapping, "{wide} overlaps {narrow}");
            }
        }
    }
}
