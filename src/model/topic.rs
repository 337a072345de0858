//! Topic names and topic filters (MQTT 3.1.1, 4.7).

use std::fmt;

use bytes::Bytes;

/// Longest topic name or filter in bytes [MQTT-4.7.3-3].
pub const TOPIC_LENGTH_MAX: usize = 65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("a topic has at least one character")]
    Empty,
    #[error("a topic has at most 65535 bytes")]
    TooLong,
    #[error("a topic must not contain a NUL character")]
    Nul,
    #[error("a topic must be valid UTF-8")]
    NotUtf8,
    #[error("a topic name must not contain the wildcards + and #")]
    Wildcard,
    #[error("+ must stand alone between slashes, and # alone as the last level")]
    WildcardPlace,
    #[error("a shared subscription is $share/NAME/FILTER, the name without + and #")]
    Share,
}

/// A valid topic name: UTF-8, 1 to 65,535 bytes, no NUL, no wildcard. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Bytes);

impl Topic {
    /// Checks and takes over the bytes, without a copy.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, TopicError> {
        check_name(&bytes)?;
        Ok(Self(bytes))
    }

    pub fn new(name: &str) -> Result<Self, TopicError> {
        check_name(name.as_bytes())?;
        Ok(Self(Bytes::copy_from_slice(name.as_bytes())))
    }

    pub fn as_str(&self) -> &str {
        // The constructors checked it; an impossible failure yields an empty name rather than a panic.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Whether `name` may be a topic name.
///
/// # Errors
/// Says which rule of 4.7 it breaks.
pub fn check_name(name: &[u8]) -> Result<(), TopicError> {
    let text = check_text(name)?;
    if text.bytes().any(|b| b == b'+' || b == b'#') {
        return Err(TopicError::Wildcard);
    }
    Ok(())
}

fn check_text(text: &[u8]) -> Result<&str, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_LENGTH_MAX {
        return Err(TopicError::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| TopicError::NotUtf8)?;
    if text.as_bytes().contains(&0) {
        return Err(TopicError::Nul);
    }
    Ok(text)
}

/// A valid topic filter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    pub fn new(filter: &str) -> Result<Self, TopicError> {
        check_text(filter.as_bytes())?;
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            let wild = level.contains('+') || level.contains('#');
            let alone = level == "+" || (level == "#" && levels.peek().is_none());
            if wild && !alone {
                return Err(TopicError::WildcardPlace);
            }
        }
        Ok(Self(filter.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `topic` matches (4.7). A leading wildcard matches no topic that begins with `$` [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_as_the_standard_says() {
        for (filter, topic, want) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/", false),
            ("a/b", "a", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("+", "a", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+/b/#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("A", "a", false),
        ] {
            let got = TopicFilter::new(filter).expect("a valid filter").matches(topic);
            assert_eq!(got, want, "{filter} on {topic}");
        }
    }

    #[test]
    fn what_is_no_filter_and_no_name_is_refused() {
        for (filter, want) in [
            ("", TopicError::Empty),
            ("a/#/b", TopicError::WildcardPlace),
            ("a#", TopicError::WildcardPlace),
            ("a/b+", TopicError::WildcardPlace),
            ("++", TopicError::WildcardPlace),
            ("a\0", TopicError::Nul),
        ] {
            assert_eq!(TopicFilter::new(filter), Err(want), "{filter:?}");
        }
        for (name, want) in [("", TopicError::Empty), ("a/+", TopicError::Wildcard), ("#", TopicError::Wildcard), ("\0", TopicError::Nul)] {
            assert_eq!(Topic::new(name), Err(want), "{name:?}");
        }
        assert_eq!(Topic::from_bytes(Bytes::from_static(b"\xff")), Err(TopicError::NotUtf8));
        assert_eq!(Topic::new(&"a".repeat(65_536)), Err(TopicError::TooLong));
    }
}
