//! PUBACK, PUBREC, PUBREL and PUBCOMP in all versions.

use super::*;

#[test]
fn an_acknowledgement_is_as_long_as_its_version_allows() {
    for (first, error) in [(0x40, 0x87), (0x50, 0x87), (0x62, 0x92), (0x70, 0x92)] {
        let p = |rest: &[u8]| packet(first, &[rest]);
        let reason_string = [&[0, 1, error, 5, 0x1f, 0, 2][..], b"no"].concat();
        for (name, bytes, v3, v5) in [
            ("an id", p(&[0, 1]), OK, OK),
            ("id 0", p(&[0, 0]), PROTOCOL, PROTOCOL),
            ("half an id", p(&[0]), MALFORMED, MALFORMED),
            ("nothing", p(&[]), MALFORMED, MALFORMED),
            ("a code", p(&[0, 1, error]), MALFORMED, OK),
            ("success", p(&[0, 1, 0]), MALFORMED, OK),
            ("a code of no packet", p(&[0, 1, 0x05]), MALFORMED, PROTOCOL),
            ("a code of SUBACK", p(&[0, 1, 0x8f]), MALFORMED, PROTOCOL),
            ("a code and no properties", p(&[0, 1, error, 0]), MALFORMED, OK),
            ("a reason string", p(&reason_string), MALFORMED, OK),
            ("bytes behind", p(&[0, 1, 0, 0, 0]), MALFORMED, MALFORMED),
            ("properties longer than the packet", p(&[0, 1, 0, 1]), MALFORMED, MALFORMED),
        ] {
            let name = format!("{name}, {first:#04x}");
            check(&name, V31, &bytes, v3);
            check(&name, V311, &bytes, v3);
            check(&name, V5, &bytes, v5);
        }
        let wrong_flags = packet(first ^ 0x02, &[&[0, 1]]);
        for (version, want) in [(V31, OK), (V311, MALFORMED), (V5, MALFORMED)] {
            check("flags", version, &wrong_flags, want);
        }
        let bytes = p(&reason_string);
        let ack = Ack::parse(&frame(&bytes), V5).expect("an acknowledgement");
        assert_eq!((ack.id, ack.reason as u8, ack.reason_string), (1, error, Some("no")));
        let bytes = p(&[1, 2]);
        let ack = Ack::parse(&frame(&bytes), V5).expect("an acknowledgement");
        assert_eq!((ack.id, ack.reason, ack.reason_string), (0x0102, Reason::Success, None));
    }
}
