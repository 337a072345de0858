//! Where the codecs of others differ from the standard, clause by clause. What is not explained by one of these is a finding.
//!
//! A rule must not be so wide that a fault of ours could hide in it. What both of the others do has to be seen in the packet itself, by [`parts`],
//! which knows nothing of what we make of it. What only one of them does needs no more than our word in 3.1.1 and 5.0, where the same packet is
//! held against the other, too. [`check_narrow`] holds the rules to that.
//!
//! [`parts`]: super::parts

use tidegate::mqtt::packet::FILTERS_MAX;
use tidegate::mqtt::{Version, kind};

use super::parts::{Part, Role, integer};
use super::{Case, Other};

/// Something that `who` does otherwise than the standard.
pub struct Deviation {
    who: &'static [Other],
    /// For who reads this; the clause in brackets.
    #[allow(dead_code, reason = "it is the list's text")]
    what: &'static str,
    /// True: they read what we refuse. False: they refuse what we read.
    they_read: bool,
    /// The refusal's text contains one of these.
    texts: &'static [&'static str],
    when: fn(&Case<'_>) -> bool,
}

impl Deviation {
    fn explains(&self, case: &Case<'_>) -> bool {
        let refusal = match (case.ours, case.theirs) {
            (Err(error), Ok(_)) if self.they_read => error.to_string(),
            (Ok(_), Err(text)) if !self.they_read => text.clone(),
            _ => return false,
        };
        self.who.contains(&case.other) && self.texts.iter().any(|part| refusal.contains(part)) && (self.when)(case)
    }
}

/// Whether a difference is one of the others' making.
pub fn explain(case: &Case<'_>) -> bool {
    KNOWN.iter().any(|known| known.explains(case))
}

/// `cases` are one packet that we and all of these others read: whatever we might wrongly refuse it for, one of them would show it.
pub fn check_narrow(cases: &[Case<'_>]) {
    let hidden = |case: &Case<'_>| -> Vec<&str> {
        let rules = KNOWN.iter().filter(|known| known.they_read && known.who.contains(&case.other) && (known.when)(case));
        rules.flat_map(|known| known.texts).copied().collect()
    };
    let mut hidden_by_all = hidden(&cases[0]);
    for case in &cases[1..] {
        let here = hidden(case);
        hidden_by_all.retain(|text| here.contains(text));
    }
    assert!(hidden_by_all.is_empty(), "refusals for {hidden_by_all:?} would not be found in {:02x?}", cases[0].frame.raw);
}

const BOTH: &[Other] = &[Other::Rumqttc, Other::Proto];
const RUMQTTC: &[Other] = &[Other::Rumqttc];
const PROTO: &[Other] = &[Other::Proto];

type Texts = &'static [&'static str];
type When = fn(&Case<'_>) -> bool;

const fn they_read(who: &'static [Other], what: &'static str, texts: Texts, when: When) -> Deviation {
    Deviation { who, what, they_read: true, texts, when }
}

const fn they_refuse(who: &'static [Other], what: &'static str, texts: Texts, when: When) -> Deviation {
    Deviation { who, what, they_read: false, texts, when }
}

/// Of one codec alone: the other is asked, too.
const ALONE: When = |case| case.version != Version::V31;

impl<'a> Case<'a> {
    fn any(&self, role: Role, holds: impl Fn(&[u8]) -> bool) -> bool {
        self.parts.iter().any(|part| part.role == role && holds(part.bytes))
    }

    fn has(&self, role: Role) -> bool {
        self.any(role, |_| true)
    }

    fn is(&self, kind: u8) -> bool {
        self.frame.kind() == kind
    }

    /// Flags of CONNECT, those in `mask`.
    fn flags(&self, mask: u8) -> Option<u8> {
        self.parts.iter().find(|part| part.role == Role::Flags).map(|part| part.bytes[0] & mask)
    }

    fn filters(&self) -> impl Iterator<Item = (&'a [u8], Option<u8>)> {
        let after = self.parts.iter().skip(1).map(Some).chain([None]);
        self.parts.iter().zip(after).filter(|(part, _)| part.role == Role::Filter).map(|(part, after)| {
            let options = after.filter(|after| after.role == Role::Options);
            (part.bytes, options.map(|options| options.bytes[0]))
        })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A variable byte integer in more bytes than it needs.
fn is_padded(part: &Part<'_>) -> bool {
    matches!(part.role, Role::Length | Role::Property(0x0b)) && part.bytes.len() > 1 && part.bytes.ends_with(&[0])
}

/// `$share` without a name or a filter, or with a wildcard in the name.
fn is_badly_shared(filter: &[u8]) -> bool {
    let mut levels = filter.splitn(3, |byte| *byte == b'/');
    let (share, name, rest) = (levels.next(), levels.next().unwrap_or_default(), levels.next().unwrap_or_default());
    share == Some(b"$share") && (name.is_empty() || rest.is_empty() || name.contains(&b'+') || name.contains(&b'#'))
}

/// A code of DISCONNECT or AUTH that only a server sends (tables of 3.14.2.1 and 3.15.2.1).
fn is_servers(kind: u8, code: u8) -> bool {
    match kind {
        kind::DISCONNECT => matches!(code, 0x87 | 0x89 | 0x8b | 0x8d..=0x8f | 0x9a..=0xa2),
        kind::AUTH => code == 0,
        _ => false,
    }
}

/// Flags of a header that are reserved (table 2.2), in a packet other than PUBLISH.
fn has_bad_header(case: &Case<'_>) -> bool {
    let want = if matches!(case.frame.kind(), kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE) { 2 } else { 0 };
    !case.is(kind::PUBLISH) && case.frame.flags() != want
}

const KNOWN: &[Deviation] = &[
    // Both.
    they_read(BOTH, "strings with NUL are read [MQTT-1.5.4-2]", &["a string with NUL", "must not contain a NUL"], |case| {
        case.parts.iter().any(|part| part.role.is_text() && part.bytes.contains(&0))
    }),
    they_read(BOTH, "bytes after the content are not seen", &["bytes after the end of the packet's content"], |case| case.has(Role::Rest)),
    they_read(BOTH, "DUP at QoS 0 is read [MQTT-3.3.1-2]", &["DUP at QoS 0"], |case| {
        case.is(kind::PUBLISH) && case.frame.flags() & 0x0e == 0x08
    }),
    they_read(BOTH, "receive maximum 0 is read [3.1.2.11.3]", &["receive maximum 0"], |case| case.any(Role::Property(0x21), is_zero)),
    they_read(BOTH, "maximum packet size 0 is read [3.1.2.11.4]", &["maximum packet size 0"], |case| {
        case.any(Role::Property(0x27), is_zero)
    }),
    they_read(BOTH, "topic alias 0 is read [MQTT-3.3.2-8]", &["topic alias 0"], |case| case.any(Role::Property(0x23), is_zero)),
    they_read(BOTH, "subscription identifier 0 is read [3.8.2.1.2]", &["subscription identifier 0"], |case| {
        case.any(Role::Property(0x0b), |value| integer(value) == 0)
    }),
    they_read(BOTH, "a client's subscription identifier is read [MQTT-3.3.4-6]", &["a subscription identifier from a client"], |case| {
        case.is(kind::PUBLISH) && case.has(Role::Property(0x0b))
    }),
    they_read(BOTH, "authentication data is read without a method [3.1.2.11.10]", &["authentication data without a method"], |case| {
        case.has(Role::Property(0x16)) && !case.has(Role::Property(0x15))
    }),
    they_read(BOTH, "an integer in more bytes than it needs is read [MQTT-1.5.5-1]", &["an integer in more bytes than it needs"], |case| {
        case.parts.iter().any(is_padded)
    }),
    they_read(BOTH, "neither topic nor alias is read [3.3.2.1]", &["neither a topic nor an alias"], |case| {
        case.any(Role::Topic, <[u8]>::is_empty) && !case.has(Role::Property(0x23))
    }),
    they_read(BOTH, "an empty topic or filter is read [MQTT-4.7.3-1]", &["a topic has at least one"], |case| {
        let may_be_empty = case.is(kind::PUBLISH) && case.version.is_5();
        case.any(Role::Filter, <[u8]>::is_empty) || (!may_be_empty && case.any(Role::Topic, <[u8]>::is_empty))
    }),
    they_read(BOTH, "an empty client id without a clean session is read [MQTT-3.1.3-8]", &["an empty one wants a clean session"], |case| {
        case.version == Version::V311 && case.any(Role::ClientId, <[u8]>::is_empty) && case.flags(0x02) == Some(0)
    }),
    they_read(BOTH, "a password without a user is read in 3.x [MQTT-3.1.2-22]", &["a password without a user name"], |case| {
        !case.version.is_5() && case.flags(0xc0) == Some(0x40)
    }),
    they_read(BOTH, "a server's code is read from a client [3.14.2.1]", &["a reason code that is not of this packet"], |case| {
        case.any(Role::Code, |code| is_servers(case.frame.kind(), code[0]))
    }),
    they_read(BOTH, "$share without a group or a filter is read [4.8.2]", &["a shared subscription is $share"], |case| {
        case.filters().any(|(filter, _)| is_badly_shared(filter))
    }),
    they_read(BOTH, "no local on a shared subscription is read [MQTT-3.8.3-4]", &["no local on a shared subscription"], |case| {
        case.filters().any(|(filter, options)| filter.starts_with(b"$share/") && options.is_some_and(|o| o & 4 != 0))
    }),
    they_read(
        BOTH,
        "a response topic that is empty or a filter is read [MQTT-3.3.2-14]",
        &["a response topic that is no topic name"],
        |case| case.any(Role::Property(0x08), |topic| topic.is_empty() || topic.contains(&b'+') || topic.contains(&b'#')),
    ),
    they_read(BOTH, "more filters than our own limit are read", &["filters in one packet"], |case| case.filters().count() > FILTERS_MAX),
    // mqtt-proto.
    they_read(PROTO, "an empty client id of 3.1 is read [3.1, 3.1]", &["the client id is not acceptable: it is empty"], |case| {
        case.version == Version::V31 && case.any(Role::ClientId, <[u8]>::is_empty)
    }),
    they_read(PROTO, "+ with text after it in the last level is read [MQTT-4.7.1-3]", &["must stand alone"], |case| {
        case.filters().any(|(filter, _)| filter.rsplit(|b| *b == b'/').next().is_some_and(|last| last.len() > 1 && last[0] == b'+'))
    }),
    they_read(PROTO, "will retain without a will is read [MQTT-3.1.2-15]", &["will QoS or will retain without a will"], |case| {
        case.version != Version::V31 && case.flags(0x24) == Some(0x20)
    }),
    they_read(PROTO, "AUTH without a code is read from a client [3.15.2.1]", &["a reason code that is not of this packet"], |case| {
        case.is(kind::AUTH) && case.frame.body.is_empty()
    }),
    they_read(PROTO, "AUTH without a method is read [3.15.2.2.2]", &["AUTH without a method"], |case| {
        case.is(kind::AUTH) && !case.has(Role::Property(0x15))
    }),
    they_refuse(PROTO, "flags of headers are to be disregarded in 3.1 [3.1, 2.1]", &["InvalidHeader"], |case| {
        case.version == Version::V31 && has_bad_header(case)
    }),
    they_refuse(
        PROTO,
        "the reserved flag, and those of a will that is none, are to be disregarded in 3.1 [3.1, 3.1]",
        &["InvalidConnectFlags"],
        |case| {
            case.version == Version::V31 && (case.flags(0x01) == Some(1) || (case.flags(0x04) == Some(0) && case.flags(0x18) != Some(0)))
        },
    ),
    they_refuse(PROTO, "user and password of 3.1 may be missing [3.1, 3.1]", &["too short"], |case| {
        let last = case.parts.last().is_some_and(|part| part.role == Role::Missing && part.bytes.is_empty());
        let is_else_whole = case.has(Role::ClientId) && (case.flags(0x04) == Some(0) || case.has(Role::Body));
        case.version == Version::V31 && case.is(kind::CONNECT) && last && is_else_whole
    }),
    they_refuse(PROTO, "a payload is checked to be text, which a receiver may do [3.3.2.3.2]", &["InvalidPayloadFormat"], |case| {
        case.any(Role::Property(0x01), |value| value == [1]) && case.any(Role::Body, |body| std::str::from_utf8(body).is_err())
    }),
    // rumqttc.
    they_read(
        RUMQTTC,
        "topics and filters are not checked [4.7.1]",
        &["must not contain the wildcards", "must stand alone", "valid UTF-8"],
        ALONE,
    ),
    they_read(RUMQTTC, "flags of the header are not checked [MQTT-2.2.2-2]", &["reserved flags of the fixed header"], ALONE),
    they_read(RUMQTTC, "packet id 0 is read but in PUBLISH [MQTT-2.3.1-1]", &["packet id 0"], ALONE),
    they_read(RUMQTTC, "CONNECT's reserved flag is not checked [MQTT-3.1.2-3]", &["CONNECT's reserved flag"], ALONE),
    they_read(RUMQTTC, "a property may be repeated [2.2.2.2]", &["a property that came before"], ALONE),
    they_read(RUMQTTC, "flags among the properties may be above 1 [3.3.2.3.2]", &["a property that is neither 0 nor 1"], ALONE),
    they_read(RUMQTTC, "reserved bits of options are not checked [MQTT-3.8.3-5]", &["reserved bits of the subscription options"], ALONE),
    they_read(RUMQTTC, "reserved bits of a requested QoS are not checked [MQTT-3-8.3-4]", &["a requested QoS that is none"], ALONE),
    they_read(RUMQTTC, "UNSUBSCRIBE without a filter is read [MQTT-3.10.3-2]", &["no filter"], |case| case.is(kind::UNSUBSCRIBE)),
    they_read(RUMQTTC, "the last property may reach beyond their length [2.2.2.1]", &["shorter than its content"], |case| {
        case.version == Version::V5
    }),
    they_read(
        RUMQTTC,
        "after a subscription identifier the last byte of properties is not read [2.2.2.1]",
        &["a property that is not of this packet"],
        |case| case.is(kind::SUBSCRIBE) && case.has(Role::Property(0x0b)),
    ),
    they_read(RUMQTTC, "a will's topic is bytes [MQTT-3.1.3-11]", &["a string that is not UTF-8"], |case| {
        case.version == Version::V5 && case.is(kind::CONNECT)
    }),
    they_refuse(RUMQTTC, "a password is text [3.1.3.5]", &["TopicNotUtf8"], |case| {
        case.any(Role::Password, |password| std::str::from_utf8(password).is_err())
    }),
    they_refuse(RUMQTTC, "AUTH is not read [3.15]", &["InvalidPacketType(15)"], |case| case.is(kind::AUTH)),
    they_refuse(RUMQTTC, "DISCONNECT without a code is not read [3.14.2.1]", &["PayloadRequired", "InsufficientBytes"], |case| {
        case.is(kind::DISCONNECT) && case.frame.body.len() < 2
    }),
];
