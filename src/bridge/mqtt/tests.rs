use rumqttc::{Publish, QoS};

use super::*;

#[test]
fn the_size_of_a_packet_is_what_the_library_will_count() {
    for payload in [0, 1, 122, 123, 124, 16_378, 16_379, 16_380, 2_097_146, 2_097_147, 2_097_148] {
        let mut publish = Publish::new("t", QoS::AtLeastOnce, vec![0; payload]);
        publish.pkid = 1;
        assert_eq!(publish_size(1, payload), publish.size(), "{payload}");
    }
}

#[test]
fn what_our_broker_took_at_qos_0_is_never_too_large_to_go_up() {
    for packet_max in [100, 127, 128, 129, 130, 131, 16_383, 16_384, 16_385, 16_387, 16_388, 2 << 20, (2 << 20) + 4, (2 << 20) + 5] {
        // The largest PUBLISH at QoS 0 with a topic of one byte that is no larger than `packet_max`.
        let size_at_qos_0 = |payload| Publish::new("t", QoS::AtMostOnce, vec![0; payload]).size();
        let payload = (packet_max - 9..packet_max).rev().find(|p| size_at_qos_0(*p) <= packet_max).expect("one fits");
        assert!(publish_size(1, payload) <= packet_max + GROWTH, "{packet_max}");
    }
}

#[test]
fn only_an_end_that_the_upstream_made_is_its_doing() {
    let io_error = |kind| ConnectionError::Io(io::Error::from(kind));
    let in_packet = |kind| ConnectionError::MqttState(StateError::Deserialization(PacketError::Io(io::Error::from(kind))));
    for (error, by_peer, words) in [
        (ConnectionError::MqttState(StateError::ConnectionAborted), true, "closed the connection"),
        (in_packet(io::ErrorKind::ConnectionReset), true, "closed the connection"),
        (in_packet(io::ErrorKind::BrokenPipe), true, "closed the connection"),
        (io_error(io::ErrorKind::UnexpectedEof), true, "closed the connection"),
        (io_error(io::ErrorKind::ConnectionRefused), false, "refused"),
        (io_error(io::ErrorKind::HostUnreachable), false, "unreachable"),
        (in_packet(io::ErrorKind::TimedOut), false, "timed out"),
        (ConnectionError::MqttState(StateError::AwaitPingResp), false, "no answer to a ping"),
        (ConnectionError::MqttState(StateError::Unsolicited(7)), false, "unsolicited ack"),
        (ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword), false, "user name or password is wrong"),
    ] {
        let down = describe(&error);
        assert!(down.by_peer == by_peer && down.cause.contains(words), "{error:?}: {down:?}");
    }
}

#[test]
fn a_keep_alive_is_whole_seconds_that_the_protocol_can_say() {
    for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_500, 2), (30_000, 30), (1_000_000_000, 65_535)] {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), Duration::from_secs(seconds), "{millis} ms");
    }
}
