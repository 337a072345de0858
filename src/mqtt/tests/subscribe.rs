//! SUBSCRIBE and UNSUBSCRIBE in all versions.

use super::super::packet::{FILTERS_MAX, Shared};
use super::*;
use crate::model::{QoS, RetainHandling, SubscribeOptions, TopicError, TopicFilter};

#[test]
fn a_subscribe_is_read_or_refused() {
    let f = text("f");
    // 5.0 has an empty block of properties before the filters.
    let p = |first: u8, version: Version, rest: &[&[u8]]| {
        let none: &[u8] = if version.is_5() { &[0] } else { &[] };
        packet(first, &[&[0, 7], none, &rest.concat()])
    };
    type Row<'a> = (&'a str, u8, &'a [&'a [u8]], [Result<(), Reason>; 3]);
    let same = |want| [want, want, want];
    let ends_in_3 = [Err(Reason::TopicFilterInvalid), Err(Reason::TopicFilterInvalid), OK];
    let empty_ends_in_3 = [Err(Reason::TopicNameInvalid), Err(Reason::TopicNameInvalid), OK];
    let rows: &[Row<'_>] = &[
        ("QoS 0", 0x82, &[&f, &[0]], same(OK)),
        ("QoS 2", 0x82, &[&f, &[2]], same(OK)),
        ("two", 0x82, &[&f, &[1], &f, &[0]], same(OK)),
        ("QoS 3", 0x82, &[&f, &[3]], [MALFORMED, MALFORMED, PROTOCOL]),
        ("no local", 0x82, &[&f, &[0x05]], [MALFORMED, MALFORMED, OK]),
        ("retain as published", 0x82, &[&f, &[0x08]], [MALFORMED, MALFORMED, OK]),
        ("retain handling 1", 0x82, &[&f, &[0x10]], [MALFORMED, MALFORMED, OK]),
        ("retain handling 2", 0x82, &[&f, &[0x20]], [MALFORMED, MALFORMED, OK]),
        ("retain handling 3", 0x82, &[&f, &[0x30]], [MALFORMED, MALFORMED, PROTOCOL]),
        ("reserved bit 6", 0x82, &[&f, &[0x40]], same(MALFORMED)),
        ("reserved bit 7", 0x82, &[&f, &[0x80]], same(MALFORMED)),
        ("no filter", 0x82, &[], same(PROTOCOL)),
        ("no options", 0x82, &[&f], same(MALFORMED)),
        ("half a filter", 0x82, &[&[0, 9, b'f']], same(MALFORMED)),
        ("a filter that is not UTF-8", 0x82, &[&[0, 1, 0xff, 0]], same(MALFORMED)),
        ("a filter with NUL", 0x82, &[&[0, 1, 0, 0]], same(MALFORMED)),
        ("a filter that is none", 0x82, &[&text("a/#/b"), &[0]], ends_in_3),
        ("an empty filter", 0x82, &[&text(""), &[0]], empty_ends_in_3),
        ("flags", 0x80, &[&f, &[0]], [OK, MALFORMED, MALFORMED]),
        ("a shared one", 0x82, &[&text("$share/g/f"), &[1]], same(OK)),
        ("a shared one that is none", 0x82, &[&text("$share/g"), &[1]], same(OK)),
        ("a shared one without its own", 0x82, &[&text("$share/g/f"), &[0x05]], [MALFORMED, MALFORMED, PROTOCOL]),
        ("unsubscribe", 0xa2, &[&f], same(OK)),
        ("unsubscribe two", 0xa2, &[&f, &f], same(OK)),
        ("unsubscribe nothing", 0xa2, &[], same(PROTOCOL)),
        ("unsubscribe with flags", 0xa0, &[&f], [OK, MALFORMED, MALFORMED]),
        ("unsubscribe half a filter", 0xa2, &[&[0]], same(MALFORMED)),
        ("unsubscribe what is no filter", 0xa2, &[&text("a+")], ends_in_3),
        ("unsubscribe NUL", 0xa2, &[&[0, 1, 0]], same(MALFORMED)),
    ];
    for (name, first, rest, want) in rows {
        for (version, want) in [V31, V311, V5].into_iter().zip(want) {
            check(name, version, &p(*first, version, rest), *want);
            let mut no_id = p(*first, version, rest);
            no_id[3] = 0;
            if *want == OK {
                check(&format!("{name}, id 0"), version, &no_id, PROTOCOL);
            }
        }
    }
}

#[test]
fn more_filters_than_are_applied_in_one_go_are_refused() {
    let filters = |count: usize, each: &[u8]| each.repeat(count);
    for version in [V311, V5] {
        let none: &[u8] = if version.is_5() { &[0] } else { &[] };
        for (first, each) in [(0x82, &[0, 1, b'f', 0][..]), (0xa2, &[0, 1, b'f'])] {
            check("as many", version, &packet(first, &[&[0, 1], none, &filters(FILTERS_MAX, each)]), OK);
            let more = packet(first, &[&[0, 1], none, &filters(FILTERS_MAX + 1, each)]);
            check("more", version, &more, Err(Reason::QuotaExceeded));
        }
    }
}

#[test]
fn the_parts_of_a_subscribe_are_told() {
    let options = |byte: u8| {
        let bytes = packet(0x82, &[&[0, 1], &[2, 0x0b, 9], &text("f"), &[byte]]);
        let got = Subscribe::parse(&frame(&bytes), V5).expect("a SUBSCRIBE");
        assert_eq!((got.id, got.identifier), (1, Some(9)));
        got.filters[0].1
    };
    let at = SubscribeOptions::at(QoS::AtLeastOnce);
    assert_eq!(options(0x01), at);
    assert_eq!(options(0x05), SubscribeOptions { no_local: true, ..at });
    assert_eq!(options(0x09), SubscribeOptions { retain_as_published: true, ..at });
    assert_eq!(options(0x11), SubscribeOptions { retain_handling: RetainHandling::SendIfNew, ..at });
    assert_eq!(options(0x21), SubscribeOptions { retain_handling: RetainHandling::DoNotSend, ..at });
    // A filter that is none is handed over in its place, so that it gets a code of its own.
    let bytes = packet(0x82, &[&[0, 1], &[0], &text("a"), &[0], &text("a/#/b"), &[1], &text("$share/g"), &[2]]);
    let got = Subscribe::parse(&frame(&bytes), V5).expect("a SUBSCRIBE");
    assert_eq!(got.identifier, None);
    let filters: Vec<_> = got.filters.into_iter().map(|(filter, options)| (filter, options.qos as u8)).collect();
    assert_eq!(filters, [(TopicFilter::new("a"), 0), (Err(TopicError::WildcardPlace), 1), (Err(TopicError::Share), 2)]);
    let bytes = packet(0xa2, &[&[0, 1], &[0], &text("a/#/b"), &text("b")]);
    let got = Unsubscribe::parse(&frame(&bytes), V5).expect("an UNSUBSCRIBE");
    assert_eq!((got.id, got.filters), (1, vec![Err(TopicError::WildcardPlace), TopicFilter::new("b")]));
}

#[test]
fn a_shared_filter_is_taken_apart() {
    let shared = |group, filter| Ok(Some(Shared { group, filter }));
    for (filter, want) in [
        ("a/b", Ok(None)),
        ("$shared/g/f", Ok(None)),
        ("$SHARE/g/f", Ok(None)),
        ("x/$share/g/f", Ok(None)),
        ("$share/g/f", shared("g", "f")),
        ("$share/g/a/b", shared("g", "a/b")),
        ("$share/g/#", shared("g", "#")),
        ("$share/g/$SYS/#", shared("g", "$SYS/#")),
        ("$share/g//", shared("g", "/")),
        ("$share", Err(TopicError::Share)),
        ("$share/", Err(TopicError::Share)),
        ("$share//f", Err(TopicError::Share)),
        ("$share/g", Err(TopicError::Share)),
        ("$share/g/", Err(TopicError::Share)),
        ("$share/g+/f", Err(TopicError::Share)),
        ("$share/#/f", Err(TopicError::Share)),
    ] {
        assert_eq!(Shared::parse(filter), want, "{filter}");
    }
}
