use std::io;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

use super::super::whole_id;
use super::*;
use crate::model::{EntryId, Topic};
use crate::mqtt::Forwarded;

fn parcel(properties: &[Property<'_>], expires: Option<Mono>) -> Parcel {
    let mut block = Vec::new();
    properties.iter().for_each(|property| property.write(&mut block));
    Parcel {
        id: EntryId::new(3, 17),
        nonce: 0xabc,
        topic: Topic::new("a/b").expect("a topic"),
        payload: Bytes::from_static(b"21.5"),
        properties: Forwarded::from(&block[..]).to_bytes(),
        expires,
        accepted: Mono::ZERO,
        size: 0,
    }
}

const ALL: &[Property<'_>] = &[
    Property::PayloadFormat(true),
    Property::ContentType("text/plain"),
    Property::ResponseTopic("r/x"),
    Property::CorrelationData(b"\x00\xff"),
    Property::User("tidegate-id", "forged"),
    Property::User("a", "2"),
    Property::User("a", "1"),
];

#[test]
fn the_publishers_properties_go_up_in_order_and_our_id_is_the_last() {
    let id = whole_id("site7", EntryId::new(3, 17), 0xabc);
    let got = properties(&parcel(ALL, None), id, Mono::ZERO);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let user_properties = vec![pair("tidegate-id", "forged"), pair("a", "2"), pair("a", "1"), pair("tidegate-id", "site7/3-00000abc-17")];
    let want = PublishProperties {
        payload_format_indicator: Some(1),
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("r/x".to_owned()),
        correlation_data: Some(Bytes::from_static(b"\x00\xff")),
        user_properties,
        ..PublishProperties::default()
    };
    assert_eq!(got, want);
}

#[test]
fn the_expiry_counts_down_and_a_begun_second_is_a_whole_one() {
    for (expires, now, want) in [(None, 0, None), (Some(10_000), 0, Some(10)), (Some(10_000), 1, Some(10)), (Some(10_000), 9_999, Some(1))]
    {
        let got = properties(&parcel(&[], expires.map(Mono::from_millis)), String::new(), Mono::from_millis(now));
        assert_eq!(got.message_expiry_interval, want, "{expires:?} at {now}");
    }
}

#[test]
fn the_size_of_a_packet_is_what_the_library_will_count() {
    let id = whole_id("site7", EntryId::new(1, 1 << 39), u32::MAX);
    for (forwarded, expires) in [(&[][..], None), (ALL, None), (ALL, Some(Mono::from_millis(5)))] {
        let parcel = parcel(forwarded, expires);
        for payload in [0, 1, 10, 60, 120, 16_300, 16_383, 2_097_000, 2_097_152] {
            let mut publish = Publish::new("a/b", QoS::AtLeastOnce, vec![0; payload], Some(properties(&parcel, id.clone(), Mono::ZERO)));
            publish.pkid = 1;
            let properties = properties_size(parcel.properties.len(), expires.is_some(), &id);
            assert_eq!(size::publish_5(3, properties, payload), publish.size(), "{payload}, {expires:?}");
        }
    }
}

#[test]
fn the_terms_of_a_connack_are_kept_to_or_refused() {
    let ours = Duration::from_secs(30);
    let no_properties = ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let none = || no_properties.clone();
    let of = |window, packet_max, seconds| Ok((window, packet_max, Duration::from_secs(seconds)));
    for (properties, want) in [
        (None, of(100, usize::MAX, 30)),
        (Some(none()), of(100, usize::MAX, 30)),
        (Some(ConnAckProperties { receive_max: Some(1), ..none() }), of(1, usize::MAX, 30)),
        (Some(ConnAckProperties { receive_max: Some(u16::MAX), ..none() }), of(100, usize::MAX, 30)),
        (Some(ConnAckProperties { receive_max: Some(0), ..none() }), Err("receive maximum 0")),
        (Some(ConnAckProperties { max_packet_size: Some(1_000), ..none() }), of(100, 1_000, 30)),
        (Some(ConnAckProperties { max_packet_size: Some(0), ..none() }), Err("maximum packet size 0")),
        (Some(ConnAckProperties { server_keep_alive: Some(7), ..none() }), of(100, usize::MAX, 7)),
        (Some(ConnAckProperties { server_keep_alive: Some(0), ..none() }), of(100, usize::MAX, 30)),
        (Some(ConnAckProperties { max_qos: Some(1), ..none() }), of(100, usize::MAX, 30)),
        (Some(ConnAckProperties { max_qos: Some(0), ..none() }), Err("takes QoS 0 only")),
        (Some(ConnAckProperties { retain_available: Some(0), ..none() }), of(100, usize::MAX, 30)),
    ] {
        match (terms(properties.as_ref(), 100, ours), want) {
            (Ok(terms), Ok(want)) => assert_eq!((terms.window, terms.packet_max, terms.keep_alive), want, "{properties:?}"),
            (Err(down), Err(words)) => assert!(down.cause.contains(words) && !down.by_peer, "{properties:?}: {down:?}"),
            (got, want) => panic!("{properties:?}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn each_end_has_its_words_and_says_whether_the_version_is_the_cause() {
    let in_packet = |error| ConnectionError::MqttState(StateError::Deserialization(error));
    let io = |kind: io::ErrorKind| in_packet(PacketError::Io(kind.into()));
    for (error, words, ending) in [
        (ConnectionError::MqttState(StateError::ConnectionAborted), "closed the connection", Ending::Unanswered),
        (io(io::ErrorKind::ConnectionReset), "closed the connection", Ending::Unanswered),
        (io(io::ErrorKind::TimedOut), "timed out", Ending::Other),
        (ConnectionError::Io(io::ErrorKind::ConnectionRefused.into()), "refused", Ending::Other),
        (ConnectionError::ConnectionRefused(ConnectReturnCode::UnsupportedProtocolVersion), "3.1.1", Ending::NotSpoken),
        (in_packet(PacketError::InvalidConnectReturnCode(1)), "3.1.1", Ending::NotSpoken),
        (in_packet(PacketError::InvalidConnectReturnCode(5)), "5", Ending::Other),
        (ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized), "not authorized (0x87)", Ending::Other),
        (ConnectionError::MqttState(StateError::AwaitPingResp), "no answer to a ping", Ending::Other),
        (ConnectionError::MqttState(StateError::Unsolicited(7)), "unsolicited ack", Ending::Other),
    ] {
        for let_in in [false, true] {
            let (client, event_loop) = AsyncClient::new(MqttOptions::new("c", "h", 1), 1);
            let v5 = V5 { client, event_loop, window: 1, keep_alive: Duration::ZERO, let_in };
            let Raw::Down(down, got) = v5.describe(&error) else { panic!("{error:?}") };
            let by_word = matches!(error, ConnectionError::ConnectionRefused(_));
            assert!(got == if let_in && !by_word { Ending::Other } else { ending }, "{error:?}: {got:?}");
            assert!(down.cause.contains(words) || let_in, "{error:?}: {down:?}");
        }
    }
}
