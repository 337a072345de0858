//! A connection that speaks MQTT 3.1.1.

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, StateError, TlsConfiguration,
    Transport,
};

use super::connection::{Loop, Papers, Raw};
use super::verdict::{broken, chain, closed, lost};
use super::{ANSWER_MAX, Client, largest_packet, size};
use crate::bridge::Options;
use crate::bridge::sink::{Down, Terms};

struct V311 {
    client: AsyncClient,
    event_loop: EventLoop,
    terms: Terms,
}

/// Of `options` and what they name; nothing is connected yet.
pub fn open(options: &Options, papers: Papers) -> impl Loop {
    let mut mqtt = MqttOptions::new(options.client_id.as_str(), options.host.as_str(), options.port);
    let max = largest_packet(options);
    let keep_alive = size::whole_seconds(options.keep_alive, 0);
    mqtt.set_clean_session(true).set_inflight(options.window.max(1)).set_max_packet_size(ANSWER_MAX, max).set_keep_alive(keep_alive);
    if let Some(auth) = &options.auth {
        mqtt.set_credentials(auth.user.as_str(), papers.password.unwrap_or_default());
    }
    if let Some(config) = papers.tls {
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    let (client, mut event_loop) = AsyncClient::new(mqtt, super::capacity(options));
    let mut network = event_loop.network_options();
    network.set_tcp_nodelay(true);
    // It bounds a flush, too.
    network.set_connection_timeout(super::never_in_time(options));
    event_loop.set_network_options(network);
    let terms = Terms { protocol: "MQTT 3.1.1", window: usize::from(options.window), packet_max: usize::MAX, keep_alive };
    V311 { client, event_loop, terms }
}

impl Loop for V311 {
    async fn poll(&mut self) -> Result<Option<Raw>, Raw> {
        match self.event_loop.poll().await {
            Ok(event) => Ok(self.translate(&event)),
            Err(error) => Err(Raw::down(describe(&error))),
        }
    }

    fn rest(&mut self) -> Vec<Raw> {
        let events = std::mem::take(&mut self.event_loop.state.events);
        let kept = |raw: &Raw| matches!(raw, Raw::Acked { .. } | Raw::Written { .. });
        events.iter().filter_map(|event| self.translate(event)).filter(kept).collect()
    }
}

impl V311 {
    fn translate(&self, event: &Event) -> Option<Raw> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => Some(Raw::Up(Client::V311(self.client.clone()), self.terms)),
            Event::Incoming(Packet::PubAck(ack)) => Some(Raw::Acked { packet_id: ack.pkid }),
            Event::Incoming(Packet::PingResp | Packet::Publish(_)) | Event::Outgoing(Outgoing::PingReq) => Some(Raw::Alive),
            Event::Outgoing(Outgoing::Publish(packet_id)) => Some(Raw::Written { packet_id: *packet_id }),
            Event::Outgoing(Outgoing::Disconnect) => Some(Raw::down(super::ended())),
            // We only publish at QoS 1, so nothing else is an answer to anything.
            Event::Incoming(packet) => Some(Raw::down(broken(format_args!("it sent {}", super::kind(packet))))),
            Event::Outgoing(_) => None,
        }
    }
}

fn describe(error: &ConnectionError) -> Down {
    let cause = match error {
        ConnectionError::Io(e) | ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(PacketError::Io(e))) => {
            return lost(e);
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => return closed(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "no answer to a ping".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the upstream lets us not in: {}", refusal(*code)),
        error => chain(error),
    };
    Down { cause, ..Down::default() }
}

/// MQTT 3.1.1, table 3.1.
fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "accepted",
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1 (code 1)",
        ConnectReturnCode::BadClientId => "it does not allow this client id (code 2)",
        ConnectReturnCode::ServiceUnavailable => "its MQTT service is not available (code 3)",
        ConnectReturnCode::BadUserNamePassword => "user name or password is wrong (code 4)",
        ConnectReturnCode::NotAuthorized => "not authorized; user name, password or client id (code 5)",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rumqttc::{Publish, QoS};

    use super::super::size::{GROWTH, publish_311};
    use super::*;

    #[test]
    fn the_size_of_a_packet_is_what_the_library_will_count() {
        for payload in [0, 1, 122, 123, 124, 16_378, 16_379, 16_380, 2_097_146, 2_097_147, 2_097_148] {
            let mut publish = Publish::new("t", QoS::AtLeastOnce, vec![0; payload]);
            publish.pkid = 1;
            assert_eq!(publish_311(1, payload), publish.size(), "{payload}");
        }
    }

    #[test]
    fn what_our_broker_took_at_qos_0_is_never_too_large_to_go_up() {
        for packet_max in [100, 127, 128, 129, 130, 131, 16_383, 16_384, 16_385, 16_387, 16_388, 2 << 20, (2 << 20) + 4, (2 << 20) + 5] {
            // The largest PUBLISH at QoS 0 with a topic of one byte that is no larger than `packet_max`.
            let size_at_qos_0 = |payload| Publish::new("t", QoS::AtMostOnce, vec![0; payload]).size();
            let payload = (packet_max - 9..packet_max).rev().find(|p| size_at_qos_0(*p) <= packet_max).expect("one fits");
            assert!(publish_311(1, payload) <= packet_max + GROWTH, "{packet_max}");
        }
    }

    #[test]
    fn each_end_has_its_words() {
        let in_packet = |kind| ConnectionError::MqttState(StateError::Deserialization(PacketError::Io(io::Error::from(kind))));
        for (error, by_peer, words) in [
            (ConnectionError::MqttState(StateError::ConnectionAborted), true, "closed the connection"),
            (in_packet(io::ErrorKind::ConnectionReset), true, "closed the connection"),
            (ConnectionError::Io(io::ErrorKind::ConnectionRefused.into()), false, "refused"),
            (ConnectionError::MqttState(StateError::AwaitPingResp), false, "no answer to a ping"),
            (ConnectionError::MqttState(StateError::Unsolicited(7)), false, "unsolicited ack"),
            (ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword), false, "user name or password is wrong"),
        ] {
            let down = describe(&error);
            assert!(down.by_peer == by_peer && down.cause.contains(words), "{error:?}: {down:?}");
        }
    }
}
