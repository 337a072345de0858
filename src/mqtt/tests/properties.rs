//! Each of the 27 properties in each packet.

use super::super::properties::{Place, Properties, Property, UserProperties, decode};
use super::*;

use Place as P;

const PLACES: [Place; 14] = [
    P::Connect,
    P::Connack,
    P::Publish,
    P::Will,
    P::Puback,
    P::Pubrec,
    P::Pubrel,
    P::Pubcomp,
    P::Subscribe,
    P::Suback,
    P::Unsubscribe,
    P::Unsuback,
    P::Disconnect,
    P::Auth,
];

/// Packets with a reason string, and so with more than one property (table 2-4).
const WITH_REASON: &[Place] = &[P::Connack, P::Puback, P::Pubrec, P::Pubrel, P::Pubcomp, P::Suback, P::Unsuback, P::Disconnect, P::Auth];

struct Row {
    property: Property<'static>,
    /// Its value in bytes, without the id.
    bytes: &'static [u8],
    places: &'static [Place],
    /// Values that have its type and are out of its range, or are not of its type, with the reason.
    bad: &'static [(&'static [u8], Reason)],
}

const fn row(property: Property<'static>, bytes: &'static [u8], places: &'static [Place]) -> Row {
    Row { property, bytes, places, bad: &[] }
}

impl Row {
    const fn not(self, bad: &'static [(&'static [u8], Reason)]) -> Self {
        Self { bad, ..self }
    }

    fn encoded(&self) -> Vec<u8> {
        [&[self.property.id()], self.bytes].concat()
    }

    fn may_repeat(&self, place: Place) -> bool {
        matches!((self.property, place), (Property::User(..), _) | (Property::SubscriptionIdentifier(_), P::Publish))
    }
}

const FLAG: &[(&[u8], Reason)] = &[(&[2], Reason::ProtocolError), (&[255], Reason::ProtocolError)];
const TEXT: &[(&[u8], Reason)] = &[
    (&[0, 1, 0xff], Reason::MalformedPacket),
    (&[0, 1, 0], Reason::MalformedPacket),
    (&[0, 2, 0xc0, 0x80], Reason::MalformedPacket),
    (&[0, 3, 0xed, 0xa0, 0x80], Reason::MalformedPacket),
    (&[0, 2, b'x'], Reason::MalformedPacket),
    (&[0xff, 0xff, b'x'], Reason::MalformedPacket),
];

/// Table 2-4, in its order, each with a value.
const TABLE: [Row; 27] = [
    row(Property::PayloadFormat(true), &[1], &[P::Publish, P::Will]).not(FLAG),
    row(Property::MessageExpiry(0x0102_0304), &[1, 2, 3, 4], &[P::Publish, P::Will]),
    row(Property::ContentType("ab"), &[0, 2, b'a', b'b'], &[P::Publish, P::Will]).not(TEXT),
    row(Property::ResponseTopic("r/t"), &[0, 3, b'r', b'/', b't'], &[P::Publish, P::Will]).not(&[
        (&[0, 0], Reason::ProtocolError),
        (&[0, 1, b'#'], Reason::ProtocolError),
        (&[0, 3, b'a', b'/', b'+'], Reason::ProtocolError),
        (&[0, 1, 0xff], Reason::MalformedPacket),
    ]),
    row(Property::CorrelationData(&[0, 255]), &[0, 2, 0, 255], &[P::Publish, P::Will]).not(&[(&[0, 3, 1], Reason::MalformedPacket)]),
    row(Property::SubscriptionIdentifier(300), &[0xac, 0x02], &[P::Publish, P::Subscribe]).not(&[
        (&[0], Reason::ProtocolError),
        (&[0x80, 0x80, 0x80, 0x80, 1], Reason::MalformedPacket),
        (&[0x81, 0x00], Reason::MalformedPacket),
    ]),
    row(Property::SessionExpiry(u32::MAX), &[255, 255, 255, 255], &[P::Connect, P::Connack, P::Disconnect]),
    row(Property::AssignedClientId("id"), &[0, 2, b'i', b'd'], &[P::Connack]).not(TEXT),
    row(Property::ServerKeepAlive(10), &[0, 10], &[P::Connack]),
    row(Property::AuthenticationMethod("m"), &[0, 1, b'm'], &[P::Connect, P::Connack, P::Auth]).not(TEXT),
    row(Property::AuthenticationData(&[7]), &[0, 1, 7], &[P::Connect, P::Connack, P::Auth]).not(&[(&[0, 9, 7], Reason::MalformedPacket)]),
    row(Property::RequestProblemInformation(false), &[0], &[P::Connect]).not(FLAG),
    row(Property::WillDelay(1), &[0, 0, 0, 1], &[P::Will]),
    row(Property::RequestResponseInformation(true), &[1], &[P::Connect]).not(FLAG),
    row(Property::ResponseInformation("x/"), &[0, 2, b'x', b'/'], &[P::Connack]).not(TEXT),
    row(Property::ServerReference("s:1"), &[0, 3, b's', b':', b'1'], &[P::Connack, P::Disconnect]).not(TEXT),
    row(Property::ReasonString("no"), &[0, 2, b'n', b'o'], WITH_REASON).not(TEXT),
    row(Property::ReceiveMaximum(2), &[0, 2], &[P::Connect, P::Connack]).not(&[(&[0, 0], Reason::ProtocolError)]),
    row(Property::TopicAliasMaximum(0), &[0, 0], &[P::Connect, P::Connack]),
    row(Property::TopicAlias(9), &[0, 9], &[P::Publish]).not(&[(&[0, 0], Reason::TopicAliasInvalid)]),
    row(Property::MaximumQos(1), &[1], &[P::Connack]).not(FLAG),
    row(Property::RetainAvailable(false), &[0], &[P::Connack]).not(FLAG),
    row(Property::User("k", "v"), &[0, 1, b'k', 0, 1, b'v'], &PLACES).not(&[
        (&[0, 1, 0xff, 0, 0], Reason::MalformedPacket),
        (&[0, 0, 0, 1, 0xff], Reason::MalformedPacket),
        (&[0, 1, 0, 0, 0], Reason::MalformedPacket),
        (&[0, 1, b'k', 0, 2, b'v'], Reason::MalformedPacket),
    ]),
    row(Property::MaximumPacketSize(1), &[0, 0, 0, 1], &[P::Connect, P::Connack]).not(&[(&[0, 0, 0, 0], Reason::ProtocolError)]),
    row(Property::WildcardsAvailable(false), &[0], &[P::Connack]).not(FLAG),
    row(Property::IdentifiersAvailable(true), &[1], &[P::Connack]).not(FLAG),
    row(Property::SharedAvailable(false), &[0], &[P::Connack]).not(FLAG),
];

/// A client's packet that is good but for what `properties` make of it; `None`: only a server sends it.
fn carry(place: Place, properties: &[u8]) -> Option<Vec<u8>> {
    let properties = block(properties);
    let connect = |flags: u8, rest: &[&[u8]]| packet(0x10, &[&text("MQTT"), &[5, flags, 0, 10], &rest.concat()]);
    let ack = |first: u8| packet(first, &[&[0, 7, 0], &properties]);
    Some(match place {
        P::Connect => connect(0x02, &[&properties, &text("c")]),
        P::Will => connect(0x06, &[&[0], &text("c"), &properties, &text("t"), &text("body")]),
        P::Publish => packet(0x32, &[&text("t"), &[0, 7], &properties, b"body"]),
        P::Puback => ack(0x40),
        P::Pubrec => ack(0x50),
        P::Pubrel => ack(0x62),
        P::Pubcomp => ack(0x70),
        P::Subscribe => packet(0x82, &[&[0, 7], &properties, &text("f"), &[1]]),
        P::Unsubscribe => packet(0xa2, &[&[0, 7], &properties, &text("f")]),
        P::Disconnect => packet(0xe0, &[&[0], &properties]),
        P::Auth => packet(0xf0, &[&[0x18], &properties]),
        P::Connack | P::Suback | P::Unsuback => return None,
    })
}

/// Reads a block where it stands: in a client's packet, and alone.
fn check_block(name: &str, place: Place, properties: &[u8], want: Result<(), Reason>) {
    if let Some(bytes) = carry(place, properties) {
        check(&format!("{name} in {place:?}"), V5, &bytes, want);
    }
    // What a client alone must not say is not a rule of the block.
    if want != PROTOCOL || place != P::Publish {
        let got = read_alone(place, properties);
        assert_eq!(got.map_err(|error| error.reason()), want, "{name} in {place:?}, alone: {got:?}, {properties:02x?}");
    }
}

fn read_alone(place: Place, properties: &[u8]) -> Result<(), Error> {
    let mut reader = Properties::new(properties, place);
    while reader.next()?.is_some() {}
    Ok(())
}

/// What must be there with the property: data wants a method, and AUTH has one always.
fn company(row: &Row, place: Place) -> &'static [u8] {
    let is_method = matches!(row.property, Property::AuthenticationMethod(_));
    let is_data = matches!(row.property, Property::AuthenticationData(_));
    if !is_method && (place == P::Auth || (place == P::Connect && is_data)) { &[0x15, 0, 1, b'm'] } else { &[] }
}

#[test]
fn every_property_is_read_where_it_may_be_and_refused_elsewhere() {
    for row in &TABLE {
        for place in PLACES {
            let name = format!("{:?}", row.property);
            let with = [company(row, place), &row.encoded()].concat();
            let want = match row.property {
                _ if !row.places.contains(&place) => MALFORMED,
                Property::SubscriptionIdentifier(_) if place == P::Publish => PROTOCOL,
                _ => OK,
            };
            check_block(&name, place, &with, want);
            if want == MALFORMED {
                continue;
            }
            let twice = [&with[..], &row.encoded()].concat();
            check_block(&format!("{name} twice"), place, &twice, if row.may_repeat(place) { want } else { PROTOCOL });
            for cut in 1..row.encoded().len() {
                check_block(&format!("{name} less {cut} bytes"), place, &with[..with.len() - cut], MALFORMED);
            }
            for (bytes, reason) in row.bad {
                let bad = [company(row, place), &[row.property.id()], bytes].concat();
                check_block(&format!("{name} of {bytes:02x?}"), place, &bad, Err(*reason));
            }
        }
    }
}

/// In every packet that may carry them.
#[test]
fn more_user_properties_than_may_be_are_refused_and_as_many_are_not() {
    let user: &[u8] = &[0x26, 0, 1, b'k', 0, 1, b'v'];
    let mut packets = 0;
    for place in PLACES {
        for (count, want) in [(3, Ok(())), (4, Err(Error::TooManyUserProperties))] {
            let method: &[u8] = if place == P::Auth { &[0x15, 0, 1, b'm'] } else { &[] };
            let Some(packet) = carry(place, &[method, &user.repeat(count)].concat()) else { continue };
            let frame = frame(&packet).with_user_properties(3);
            assert_eq!(read_frame(&frame, V5), want, "{count} in {place:?}");
            packets += 1;
        }
    }
    assert_eq!(packets, 2 * 11, "what a client sends");
}

#[test]
fn a_property_that_is_none_is_refused() {
    for id in 0..=255u8 {
        if TABLE.iter().all(|row| row.property.id() != id) {
            for place in PLACES {
                check_block(&format!("property {id:#04x}"), place, &[id, 0, 0, 0, 0], MALFORMED);
            }
        }
    }
    check_block("an id of two bytes", P::Publish, &[0x81, 0x00, 1], MALFORMED);
}

#[test]
fn a_property_comes_back_from_its_bytes() {
    for row in &TABLE {
        let mut written = Vec::new();
        row.property.write(&mut written);
        assert_eq!(written, row.encoded(), "{:?}", row.property);
        let place = row.places[0];
        assert_eq!(Properties::new(&written, place).next(), Ok(Some(row.property)));
    }
}

#[test]
fn the_length_of_properties_is_theirs() {
    let user: &[u8] = &[0x26, 0, 1, b'k', 0, 1, b'v'];
    for place in PLACES {
        let Some(good) = carry(place, user) else { continue };
        let at = good.windows(8).position(|w| w == [&[7], user].concat()).expect("the block");
        let with = |length: &[u8]| {
            let (head, tail) = good.split_at(at);
            let mut content = [&head[2..], length, &tail[1..]].concat();
            content.insert(0, good[0]);
            packet(content[0], &[&content[1..]])
        };
        for (length, want) in [
            (&[6][..], MALFORMED),
            (&[0x87, 0x00], MALFORMED),
            (&[0xff, 0xff, 0xff, 0x7f], MALFORMED),
            (&[0x80, 0x80, 0x80, 0x80, 0x01], MALFORMED),
        ] {
            check(&format!("{place:?}, length {length:02x?}"), V5, &with(length), want);
        }
    }
}

#[test]
fn what_goes_on_is_decoded_in_order_and_until_it_is_damaged() {
    let forwarded: Vec<_> = TABLE.iter().filter(|row| matches!(row.property.id(), 1 | 3 | 8 | 9 | 0x26)).collect();
    let bytes: Vec<u8> = forwarded.iter().flat_map(|row| row.encoded()).collect();
    let want: Vec<_> = forwarded.iter().map(|row| row.property).collect();
    assert_eq!(decode(&bytes).collect::<Vec<_>>(), want);
    assert_eq!(decode(&bytes[..bytes.len() - 1]).collect::<Vec<_>>(), want[..want.len() - 1]);
    assert_eq!(decode(&[]).count(), 0);
}

#[test]
fn user_properties_are_told_in_order_with_repetition() {
    let block =
        [&[0x21, 0, 5][..], &[0x26], &text("a"), &text("1"), &[0x26], &text("a"), &text("1"), &[0x26], &text(""), &text("")].concat();
    let user = UserProperties::new(&block, P::Connect);
    assert_eq!(user.iter().collect::<Vec<_>>(), [("a", "1"), ("a", "1"), ("", "")]);
}
