//! Whole packets of a client, among them the standards' own examples: each is read, and none is read when part of it is missing.

use super::*;

struct Golden {
    name: &'static str,
    version: Version,
    bytes: Vec<u8>,
    /// Shorter contents that are packets, too.
    shorter: &'static [usize],
}

fn golden(name: &'static str, version: Version, bytes: Vec<u8>) -> Golden {
    Golden { name, version, bytes, shorter: &[] }
}

impl Golden {
    fn or(self, shorter: &'static [usize]) -> Self {
        Self { shorter, ..self }
    }
}

/// 3.x.
fn of_3() -> Vec<Golden> {
    let connect = |name: &str, level: u8, flags: u8, payload: &[&str]| {
        packet(0x10, &[&text(name), &[level, flags, 0, 10], &payload.iter().flat_map(|t| text(t)).collect::<Vec<_>>()])
    };
    let mut all = vec![
        // 3.1 lets user name and password be missing.
        golden("3.1, 3.1", V31, connect("MQIsdp", 3, 0xce, &["c", "w", "b", "u", "p"])).or(&[21, 24]),
        golden("figure 3.6", V311, connect("MQTT", 4, 0xce, &["c", "w", "b", "u", "p"])),
        golden("a bridge's", V311, connect("MQTT", 0x84, 0x02, &["bridge"])),
    ];
    for version in [V31, V311] {
        all.extend([
            golden("figure 3.11", version, packet(0x32, &[&text("a/b"), &[0, 10]])),
            golden("figure 3.23", version, packet(0x82, &[&[0, 10], &text("a/b"), &[1], &text("c/d"), &[2]])).or(&[8]),
            golden("figure 3.31", version, packet(0xa2, &[&[0, 10], &text("a/b"), &text("c/d")])).or(&[7]),
            golden("puback", version, vec![0x40, 2, 0, 10]),
            golden("pubrec", version, vec![0x50, 2, 0, 10]),
            golden("pubrel", version, vec![0x62, 2, 0, 10]),
            golden("pubcomp", version, vec![0x70, 2, 0, 10]),
            golden("ping", version, vec![0xc0, 0]),
            golden("disconnect", version, vec![0xe0, 0]),
        ]);
    }
    all
}

fn of_5() -> Vec<Golden> {
    let connect = |flags: u8, rest: &[&[u8]]| packet(0x10, &[&text("MQTT"), &[5, flags, 0, 10], &rest.concat()]);
    let will = [&text("c")[..], &[5, 0x18, 0, 0, 0, 9], &text("w"), &text("b"), &text("u"), &text("p")].concat();
    let user = [0x26, 0, 1, b'k', 0, 1, b'v'];
    let method = [0x15, 0, 1, b'm', 0x16, 0, 1, 7];
    let all_of_publish = [&[1, 1, 2, 0, 0, 0, 9, 3, 0, 1, b'c', 8, 0, 1, b'r', 9, 0, 1, 7, 0x23, 0, 1][..], &user].concat();
    let all_of_connect = [&[0x11, 0, 0, 0, 10, 0x21, 0, 20, 0x27, 0, 0, 1, 0, 0x22, 0, 7, 0x19, 1, 0x17, 0][..], &method, &user].concat();
    let ack = |first: u8, code: u8| packet(first, &[&[0, 10, code], &block(&[&[0x1f, 0, 2, b'n', b'o'][..], &user].concat())]);
    vec![
        golden("figure 3-6", V5, connect(0xce, &[&[5, 0x11, 0, 0, 0, 10], &will])),
        golden("connect with all", V5, connect(0x02, &[&block(&all_of_connect), &text("")])),
        golden("figure 3-9", V5, packet(0x32, &[&text("a/b"), &[0, 10], &[0]])),
        golden("publish with all", V5, packet(0x34, &[&text("a/b"), &[0, 10], &block(&all_of_publish)])),
        golden("puback", V5, ack(0x40, 0x10)).or(&[2, 3]),
        golden("pubrec", V5, ack(0x50, 0x97)).or(&[2, 3]),
        golden("pubrel", V5, ack(0x62, 0x92)).or(&[2, 3]),
        golden("pubcomp", V5, ack(0x70, 0x92)).or(&[2, 3]),
        golden("figure 3-20", V5, packet(0x82, &[&[0, 10], &[0], &text("a/b"), &[1], &text("c/d"), &[2]])).or(&[9]),
        golden(
            "subscribe with all",
            V5,
            packet(0x82, &[&[0, 10], &block(&[&[0x0b, 9][..], &user].concat()), &text("$share/g/f"), &[0x2a]]),
        ),
        golden("figure 3-28", V5, packet(0xa2, &[&[0, 10], &[0], &text("a/b"), &text("c/d")])).or(&[8]),
        golden("unsubscribe with all", V5, packet(0xa2, &[&[0, 10], &block(&user), &text("a/b")])),
        golden("ping", V5, vec![0xc0, 0]),
        golden("disconnect", V5, packet(0xe0, &[&[4], &block(&[&[0x11, 0, 0, 0, 9, 0x1f, 0, 0][..], &user].concat())])).or(&[0, 1]),
        golden("auth", V5, packet(0xf0, &[&[0x18], &block(&[&method[..], &user].concat())])),
    ]
}

fn all() -> Vec<Golden> {
    let mut all = of_3();
    all.extend(of_5());
    all
}

#[test]
fn a_whole_packet_is_read() {
    for golden in all() {
        check(golden.name, golden.version, &golden.bytes, OK);
    }
}

#[test]
fn a_packet_that_is_not_all_there_yet_is_waited_for() {
    for golden in all() {
        for end in 0..golden.bytes.len() {
            assert_eq!(split(&golden.bytes[..end], 1 << 20), Ok(None), "{} to {end}", golden.name);
        }
        let more = [&golden.bytes[..], &[0xff, 0xff]].concat();
        let got = split(&more, 1 << 20).expect("a packet").expect("a whole packet");
        assert_eq!(got.raw, golden.bytes, "{}", golden.name);
    }
}

/// The end of the content is cut off and the remaining length says so.
#[test]
fn a_packet_without_the_end_of_its_content_is_refused() {
    for golden in all() {
        let body = frame(&golden.bytes).body;
        for end in 0..body.len() {
            let short = packet(golden.bytes[0], &[&body[..end]]);
            let got = read(&short, golden.version);
            let good = golden.shorter.contains(&end);
            assert_eq!(got.is_ok(), good, "{} of {:?} to {end}: {got:?}", golden.name, golden.version);
        }
        let long = packet(golden.bytes[0], &[body, &[0xff]]);
        // What follows in a PUBLISH is its body.
        let good = golden.bytes[0] >> 4 == kind::PUBLISH;
        assert_eq!(read(&long, golden.version).is_ok(), good, "{} of {:?} with a byte more", golden.name, golden.version);
    }
}

/// Whatever single byte is changed, in whatever version it is read: an answer and no panic.
#[test]
fn a_packet_with_a_byte_changed_is_answered() {
    let mut refused = 0;
    for golden in all() {
        for at in 0..golden.bytes.len() {
            for byte in [0, 1, 2, 0x26, 0x7f, 0x80, 0xc0, 0xed, 0xff, golden.bytes[at] ^ 1, golden.bytes[at].wrapping_add(1)] {
                let mut bytes = golden.bytes.clone();
                bytes[at] = byte;
                for version in [V31, V311, V5] {
                    match split(&bytes, 1 << 20) {
                        Ok(Some(frame)) => refused += usize::from(read(frame.raw, version).is_err()),
                        other => refused += usize::from(other.is_err()),
                    }
                }
            }
        }
    }
    assert!(refused > 1_000);
}
