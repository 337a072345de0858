//! PINGREQ, DISCONNECT and AUTH in all versions.

use super::*;

#[test]
fn a_client_leaves_pings_and_authenticates_as_its_version_says() {
    let method = [0x15, 0, 1, b'm'];
    let auth = |code: u8, properties: &[u8]| packet(0xf0, &[&[code], &block(properties)]);
    for (name, bytes, want) in [
        ("a ping", packet(0xc0, &[]), [OK, OK, OK]),
        ("a ping with content", packet(0xc0, &[&[0]]), [MALFORMED, MALFORMED, MALFORMED]),
        ("a ping with flags", packet(0xc1, &[]), [OK, MALFORMED, MALFORMED]),
        ("a disconnect", packet(0xe0, &[]), [OK, OK, OK]),
        ("a disconnect with flags", packet(0xe1, &[]), [OK, MALFORMED, MALFORMED]),
        ("a disconnect with a code", packet(0xe0, &[&[0]]), [MALFORMED, MALFORMED, OK]),
        ("a disconnect with the will", packet(0xe0, &[&[4, 0]]), [MALFORMED, MALFORMED, OK]),
        ("a disconnect with a code of the server", packet(0xe0, &[&[0x8e, 0]]), [MALFORMED, MALFORMED, PROTOCOL]),
        ("a disconnect with an expiry", packet(0xe0, &[&[0, 5, 0x11, 0, 0, 0, 9]]), [MALFORMED, MALFORMED, OK]),
        ("a disconnect with bytes behind", packet(0xe0, &[&[0, 0, 0]]), [MALFORMED, MALFORMED, MALFORMED]),
        ("auth, continued", auth(0x18, &method), [PROTOCOL, PROTOCOL, OK]),
        ("auth, again", auth(0x19, &method), [PROTOCOL, PROTOCOL, OK]),
        ("auth, success", auth(0, &method), [PROTOCOL, PROTOCOL, PROTOCOL]),
        ("auth, empty: success", packet(0xf0, &[]), [PROTOCOL, PROTOCOL, PROTOCOL]),
        ("auth without a method", auth(0x18, &[]), [PROTOCOL, PROTOCOL, PROTOCOL]),
        ("auth without properties", packet(0xf0, &[&[0x18]]), [PROTOCOL, PROTOCOL, MALFORMED]),
        ("auth with flags", packet(0xf1, &[&[0x18], &block(&method)]), [PROTOCOL, PROTOCOL, MALFORMED]),
        ("auth with bytes behind", packet(0xf0, &[&[0x18], &block(&method), &[0]]), [PROTOCOL, PROTOCOL, MALFORMED]),
    ] {
        for (version, want) in [V31, V311, V5].into_iter().zip(want) {
            check(name, version, &bytes, want);
        }
    }
}

#[test]
fn the_parts_of_a_disconnect_and_of_auth_are_told() {
    let properties = [0x11, 0, 0, 1, 0, 0x1f, 0, 3, b'b', b'y', b'e'];
    let bytes = packet(0xe0, &[&[4], &block(&properties)]);
    let got = Disconnect::parse(&frame(&bytes), V5);
    let want = Disconnect { reason: Reason::DisconnectWithWill, session_expiry: Some(256), reason_string: Some("bye") };
    assert_eq!(got, Ok(want));
    let bytes = packet(0xf0, &[&[0x18], &block(&[0x16, 0, 1, 7, 0x15, 0, 1, b'm'])]);
    let got = Auth::parse(&frame(&bytes), V5);
    assert_eq!(got, Ok(Auth { reason: Reason::ContinueAuthentication, method: "m", data: Some(&[7]) }));
}
