//! `-D COMMAND NAME VALUE`: properties of 5.0, as mosquitto_sub and mosquitto_pub take them.

use std::collections::BTreeMap;

use crate::mqtt::properties::Property;

/// What `-D` has named, encoded, a block a packet.
#[derive(Debug, Default)]
pub(super) struct Blocks(BTreeMap<&'static str, Vec<u8>>);

impl Blocks {
    /// `words`: the values of each `-D`, three or four.
    pub(super) fn parse(words: &[Vec<String>], commands: &[&'static str]) -> Result<Self, String> {
        let mut this = Self::default();
        for words in words {
            this.add(words, commands).map_err(|error| format!("-D {}: {error}", words.join(" ")))?;
        }
        Ok(this)
    }

    fn add(&mut self, words: &[String], commands: &[&'static str]) -> Result<(), String> {
        let [command, name, values @ ..] = words else { return Err("it takes COMMAND NAME VALUE".to_owned()) };
        let known = || KNOWN.iter().map(|(command, _)| *command).filter(|command| commands.contains(command));
        let command = known().find(|known| known.eq_ignore_ascii_case(command)).ok_or_else(|| {
            format!(
                "{command:?} is no packet that takes properties{}; there are: {}",
                hint(command, known()),
                known().collect::<Vec<_>>().join(", ")
            )
        })?;
        let names = KNOWN.iter().find(|(known, _)| *known == command).map_or(&[][..], |(_, names)| *names);
        if !names.contains(&name.as_str()) {
            let near = hint(name, names.iter().copied());
            return Err(format!("{command} has no property {name:?}{near}; there are: {}", names.join(", ")));
        }
        let property = match (name.as_str(), values) {
            ("user-property", [key, value]) => Property::User(text(key)?, text(value)?),
            ("user-property", _) => return Err("user-property takes a name and a value".to_owned()),
            (name, [value]) => one(name, value)?,
            _ => return Err(format!("{name} takes one value")),
        };
        let mut encoded = Vec::new();
        property.write(&mut encoded);
        let block = self.0.entry(command).or_default();
        let again = |id: &u8| *id == property.id() && !matches!(property, Property::User(..));
        if first_bytes(block).iter().any(again) {
            return Err(format!("{name} is given twice"));
        }
        block.extend_from_slice(&encoded);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one that an option of its own stands for.
    pub(super) fn push(&mut self, command: &'static str, property: &Property<'_>) {
        property.write(self.0.entry(command).or_default());
    }

    pub(super) fn take(&mut self, command: &'static str) -> Vec<u8> {
        self.0.remove(command).unwrap_or_default()
    }
}

const MESSAGE: &[&str] =
    &["content-type", "correlation-data", "message-expiry-interval", "payload-format-indicator", "response-topic", "user-property"];

/// Packets, and the properties of each that may be given.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "connect",
        &[
            "maximum-packet-size",
            "receive-maximum",
            "request-problem-information",
            "request-response-information",
            "session-expiry-interval",
            "user-property",
        ],
    ),
    ("publish", MESSAGE),
    ("subscribe", &["subscription-identifier", "user-property"]),
    ("disconnect", &["session-expiry-interval", "user-property"]),
    (
        "will",
        &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "user-property",
            "will-delay-interval",
        ],
    ),
];

fn one<'a>(name: &str, value: &'a str) -> Result<Property<'a>, String> {
    Ok(match name {
        "content-type" => Property::ContentType(text(value)?),
        "correlation-data" => Property::CorrelationData(text(value)?.as_bytes()),
        "response-topic" => {
            crate::model::Topic::new(value).map_err(|error| format!("{value:?}: {error}"))?;
            Property::ResponseTopic(value)
        }
        "message-expiry-interval" => Property::MessageExpiry(number(value, 0, u32::MAX)?),
        "session-expiry-interval" => Property::SessionExpiry(number(value, 0, u32::MAX)?),
        "will-delay-interval" => Property::WillDelay(number(value, 0, u32::MAX)?),
        "maximum-packet-size" => Property::MaximumPacketSize(number(value, 1, u32::MAX)?),
        "subscription-identifier" => Property::SubscriptionIdentifier(number(value, 1, 268_435_455)?),
        "receive-maximum" => Property::ReceiveMaximum(u16::try_from(number(value, 1, u16::MAX.into())?).unwrap_or(u16::MAX)),
        "payload-format-indicator" => Property::PayloadFormat(number(value, 0, 1)? == 1),
        "request-problem-information" => Property::RequestProblemInformation(number(value, 0, 1)? == 1),
        "request-response-information" => Property::RequestResponseInformation(number(value, 0, 1)? == 1),
        _ => return Err(format!("no property {name:?}")),
    })
}

fn number(value: &str, min: u32, max: u32) -> Result<u32, String> {
    value.parse().ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("{value:?} is no number from {min} to {max}"))
}

fn text(value: &str) -> Result<&str, String> {
    match value.len() {
        0..=65_535 if !value.contains('\0') => Ok(value),
        _ => Err("it is longer than 65535 bytes or has a NUL".to_owned()),
    }
}

/// The ids of the properties in a block that was encoded here.
fn first_bytes(block: &[u8]) -> Vec<u8> {
    crate::mqtt::properties::ids(block)
}

/// `; did you mean X?`
pub(super) fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    nearest
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .map(|(_, name)| format!(", did you mean {name}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_taken_or_its_mistake_is_named() {
        let check = |words: &[&[&str]]| {
            let words: Vec<Vec<String>> = words.iter().map(|w| w.iter().map(ToString::to_string).collect()).collect();
            Blocks::parse(&words, &["connect", "publish", "will", "subscribe", "disconnect"])
        };
        let taken: &[(&[&str], &str, &[u8])] = &[
            (&["publish", "user-property", "k", "v"], "publish", b"\x26\0\x01k\0\x01v"),
            (&["PUBLISH", "message-expiry-interval", "7"], "publish", b"\x02\0\0\0\x07"),
            (&["publish", "response-topic", "a/b"], "publish", b"\x08\0\x03a/b"),
            (&["publish", "correlation-data", "x"], "publish", b"\x09\0\x01x"),
            (&["publish", "payload-format-indicator", "1"], "publish", b"\x01\x01"),
            (&["will", "will-delay-interval", "1"], "will", b"\x18\0\0\0\x01"),
            (&["subscribe", "subscription-identifier", "9"], "subscribe", b"\x0b\x09"),
            (&["connect", "receive-maximum", "9"], "connect", b"\x21\0\x09"),
        ];
        for (words, command, want) in taken {
            assert_eq!(check(&[words]).expect("it is taken").take(command), *want, "{words:?}");
        }
        let refused: &[(&[&[&str]], &str)] = &[
            (&[&["publsh", "content-type", "x"]], "did you mean publish?"),
            (&[&["publish", "content-typ", "x"]], "did you mean content-type?"),
            (&[&["publish", "will-delay-interval", "1"]], "publish has no property"),
            (&[&["publish", "user-property", "k"]], "takes a name and a value"),
            (&[&["publish", "content-type", "a", "b"]], "takes one value"),
            (&[&["publish", "message-expiry-interval", "-1"]], "no number from 0"),
            (&[&["publish", "response-topic", "a/#"]], "wildcards"),
            (&[&["publish", "content-type", "a"], &["publish", "content-type", "b"]], "given twice"),
        ];
        for (words, want) in refused {
            let error = check(words).expect_err("it is refused");
            assert!(error.contains(want), "{words:?}: {error}");
        }
    }
}
