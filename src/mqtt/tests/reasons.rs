//! Reason codes: which packets may carry them, and what 3.x has of them.

use super::super::reason::{Carrier, ConnectReturn};
use super::*;

const CONNACK: u8 = 1;
const RECEIVED: u8 = 2;
const RELEASED: u8 = 4;
const SUBACK: u8 = 8;
const UNSUBACK: u8 = 16;
const DISCONNECT: u8 = 32;
const AUTH: u8 = 64;
/// Where both ends may send it, the client may, too (3.14.2.1, 3.15.2.1).
const CLIENT: u8 = 128;

/// Table 2-6, with the column "Sent by" of tables 3-10 and 3-11.
const TABLE: [(u8, u8); 43] = [
    (0x00, CONNACK | RECEIVED | RELEASED | SUBACK | UNSUBACK | DISCONNECT | AUTH),
    (0x01, SUBACK),
    (0x02, SUBACK),
    (0x04, CLIENT),
    (0x10, RECEIVED),
    (0x11, UNSUBACK),
    (0x18, AUTH | CLIENT),
    (0x19, CLIENT),
    (0x80, CONNACK | RECEIVED | SUBACK | UNSUBACK | DISCONNECT | CLIENT),
    (0x81, CONNACK | DISCONNECT | CLIENT),
    (0x82, CONNACK | DISCONNECT | CLIENT),
    (0x83, CONNACK | RECEIVED | SUBACK | UNSUBACK | DISCONNECT | CLIENT),
    (0x84, CONNACK),
    (0x85, CONNACK),
    (0x86, CONNACK),
    (0x87, CONNACK | RECEIVED | SUBACK | UNSUBACK | DISCONNECT),
    (0x88, CONNACK),
    (0x89, CONNACK | DISCONNECT),
    (0x8a, CONNACK),
    (0x8b, DISCONNECT),
    // Table 2-6 has it in DISCONNECT, too; table 3-10, which [MQTT-3.14.2-1] means, has not.
    (0x8c, CONNACK),
    (0x8d, DISCONNECT),
    (0x8e, DISCONNECT),
    (0x8f, SUBACK | UNSUBACK | DISCONNECT),
    (0x90, CONNACK | RECEIVED | DISCONNECT | CLIENT),
    (0x91, RECEIVED | SUBACK | UNSUBACK),
    (0x92, RELEASED),
    (0x93, DISCONNECT | CLIENT),
    (0x94, DISCONNECT | CLIENT),
    (0x95, CONNACK | DISCONNECT | CLIENT),
    (0x96, DISCONNECT | CLIENT),
    (0x97, CONNACK | RECEIVED | SUBACK | DISCONNECT | CLIENT),
    (0x98, DISCONNECT | CLIENT),
    (0x99, CONNACK | RECEIVED | DISCONNECT | CLIENT),
    (0x9a, CONNACK | DISCONNECT),
    (0x9b, CONNACK | DISCONNECT),
    (0x9c, CONNACK | DISCONNECT),
    (0x9d, CONNACK | DISCONNECT),
    (0x9e, SUBACK | DISCONNECT),
    (0x9f, CONNACK | DISCONNECT),
    (0xa0, DISCONNECT),
    (0xa1, SUBACK | DISCONNECT),
    (0xa2, SUBACK | DISCONNECT),
];

/// The bits that let `carrier` have a code.
fn bits(carrier: Carrier, code: u8) -> u8 {
    match carrier {
        Carrier::Connack => CONNACK,
        Carrier::Received => RECEIVED,
        Carrier::Released => RELEASED,
        Carrier::Suback => SUBACK,
        Carrier::Unsuback => UNSUBACK,
        Carrier::ServerDisconnect => DISCONNECT,
        Carrier::ServerAuth => AUTH,
        Carrier::ClientDisconnect if matches!(code, 0x18 | 0x19) => 0,
        // A normal disconnection is the client's in table 3-10; a server may say it, too, in table 2-6.
        Carrier::ClientDisconnect if code == 0 => DISCONNECT,
        Carrier::ClientDisconnect => CLIENT,
        Carrier::ClientAuth if matches!(code, 0x18 | 0x19) => CLIENT,
        Carrier::ClientAuth => 0,
    }
}

const CARRIERS: [Carrier; 9] = [
    Carrier::Connack,
    Carrier::Received,
    Carrier::Released,
    Carrier::Suback,
    Carrier::Unsuback,
    Carrier::ServerDisconnect,
    Carrier::ClientDisconnect,
    Carrier::ServerAuth,
    Carrier::ClientAuth,
];

#[test]
fn each_packet_carries_the_codes_that_the_standard_gives_it() {
    for code in 0..=255u8 {
        let row = TABLE.iter().find(|(c, _)| *c == code);
        assert_eq!(Reason::from_u8(code).map(|reason| reason as u8), row.map(|(c, _)| *c), "{code:#04x}");
        let (Some(reason), Some((_, may))) = (Reason::from_u8(code), row) else { continue };
        assert_eq!(reason.is_error(), code >= 0x80);
        for carrier in CARRIERS {
            assert_eq!(reason.may_be_in(carrier), may & bits(carrier, code) != 0, "{reason} in {carrier:?}");
        }
    }
    assert!(Reason::ALL.iter().map(|reason| *reason as u8).eq(TABLE.iter().map(|(code, _)| *code)));
}

/// A client's packet with the code is read where the table says, and refused elsewhere.
#[test]
fn a_code_that_is_not_of_its_packet_is_refused() {
    let auth = block(&[0x15, 0, 1, b'm']);
    for code in 0..=255u8 {
        for (first, carrier, head, tail) in [
            (0x40, Carrier::Received, &[0, 7][..], &[][..]),
            (0x50, Carrier::Received, &[0, 7], &[0]),
            (0x62, Carrier::Released, &[0, 7], &[]),
            (0x70, Carrier::Released, &[0, 7], &[0]),
            (0xe0, Carrier::ClientDisconnect, &[], &[]),
            (0xf0, Carrier::ClientAuth, &[], &auth),
        ] {
            let good = Reason::from_u8(code).is_some_and(|reason| reason.may_be_in(carrier));
            let bytes = packet(first, &[head, &[code], tail]);
            check(&format!("code {code:#04x} in {first:#04x}"), V5, &bytes, if good { OK } else { PROTOCOL });
        }
    }
}

#[test]
fn a_3x_client_is_told_of_a_refused_connect_by_a_return_code() {
    for reason in Reason::ALL.iter().filter(|reason| reason.may_be_in(Carrier::Connack)) {
        let want = match *reason as u8 {
            0x00 => ConnectReturn::Accepted,
            0x84 => ConnectReturn::UnacceptableVersion,
            0x85 => ConnectReturn::IdentifierRejected,
            0x86 => ConnectReturn::BadUserOrPassword,
            0x87 | 0x8a | 0x8c => ConnectReturn::NotAuthorized,
            _ => ConnectReturn::ServerUnavailable,
        };
        assert_eq!(reason.connect_return(), want, "{reason}");
    }
}
