//! What the clients of a restricted listener may not do: give commands (`.../set`) or touch `$` topics. Anonymous plaintext beyond loopback
//! may look at values and publish its own, no more. Real users and rights join here.
//!
//! As Mosquitto does it in 3.1.1, which has no code for it: a publish that is not allowed is acknowledged and dropped, a subscription that
//! asks for a closed topic by name gets 0x80, and one by wildcard is granted but never sees a closed topic.

use super::destination::ends_in_set;

/// Whether `topic` (or a filter that names it) is closed to clients of restricted listeners.
pub(super) fn is_closed(topic: &str) -> bool {
    topic.starts_with('$') || ends_in_set(topic)
}

/// Whether no client may publish to `topic`: what the broker itself says, and names that only filters have.
pub(super) fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$') && matches!(topic.split('/').next(), Some("$SYS" | "$share" | "$event"))
}

/// The bridge of which a reserved topic tells the state. Another broker's says it itself, by a retained message and a will, unless it is told
/// otherwise (Mosquitto's `notifications`), so that one topic is open to clients as it is in Mosquitto.
pub(super) fn bridge_of(topic: &str) -> Option<&str> {
    let name = topic.strip_prefix("$SYS/broker/connection/")?.strip_suffix("/state")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_dollar_topics_are_closed() {
        for (topic, want) in [
            ("a/b", false),
            ("a/set", true),
            ("set", true),
            ("a/set/x", false),
            ("a/reset", false),
            ("a/set/", false),
            ("$SYS/x", true),
            ("$share/g/x", true),
            ("a/$x", false),
            ("#", false),
            ("+/set", true),
            ("a/+", false),
        ] {
            assert_eq!(is_closed(topic), want, "{topic}");
        }
    }
}
