//! A connection that speaks MQTT 5.0.
//!
//! What rumqttc leaves to its user: a receive maximum of 0 would stall it, a keep-alive of 0 make it ping without a pause, a packet larger than
//! the upstream takes break its connection; an error in a PUBACK is only logged by it. It swallows a packet that ends before the length of its
//! properties, as a DISCONNECT of one byte may: then nothing but the close is seen.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Packet, PubAckReason, PublishProperties,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};

use super::connection::{Loop, Papers, Raw};
use super::dialect::Ending;
use super::verdict::{broken, chain, closed, dismissed, lost, not_let_in, refused};
use super::{ANSWER_MAX, Client, size};
use crate::bridge::Options;
use crate::bridge::sink::{Down, Parcel, Retry, Terms};
use crate::model::Mono;
use crate::mqtt::properties::{Property, decode};
use crate::mqtt::reason::Reason;

/// The user property by which a receiver drops duplicates.
pub const ID: &str = "tidegate-id";
/// Bytes of a user property beside its name and value, of a message expiry interval in all (5.0, 2.2.2, 3.3.2.3.3).
const USER_PROPERTY: usize = 1 + 2 + 2;
const EXPIRY: usize = 1 + 4;
/// rumqttc panics on a shorter one of ours.
const KEEP_ALIVE_MIN: u16 = 5;

struct V5 {
    client: AsyncClient,
    event_loop: EventLoop,
    window: u16,
    keep_alive: Duration,
    let_in: bool,
}

/// Of `options` and what they name; nothing is connected yet.
pub fn open(options: &Options, papers: Papers) -> impl Loop {
    let mut mqtt = MqttOptions::new(options.client_id.as_str(), options.host.as_str(), options.port);
    let window = options.window.max(1);
    let keep_alive = size::whole_seconds(options.keep_alive, KEEP_ALIVE_MIN);
    let mut properties = ConnectProperties::new();
    // The library takes it for the limit of what it reads, too.
    properties.max_packet_size = Some(ANSWER_MAX as u32);
    mqtt.set_clean_start(true)
        .set_outgoing_inflight_upper_limit(window)
        .set_connect_properties(properties)
        .set_connection_timeout(super::never_in_time(options))
        .set_keep_alive(keep_alive);
    if let Some(auth) = &options.auth {
        mqtt.set_credentials(auth.user.as_str(), papers.password.unwrap_or_default());
    }
    if let Some(config) = papers.tls {
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    let mut network = mqtt.network_options();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    let (client, event_loop) = AsyncClient::new(mqtt, super::capacity(options));
    V5 { client, event_loop, window, keep_alive, let_in: false }
}

impl Loop for V5 {
    async fn poll(&mut self) -> Result<Option<Raw>, Raw> {
        match self.event_loop.poll().await {
            Ok(event) => Ok(self.translate(&event)),
            Err(error) => {
                let down = self.describe(&error);
                self.let_in = false;
                Err(down)
            }
        }
    }

    fn rest(&mut self) -> Vec<Raw> {
        let events = std::mem::take(&mut self.event_loop.state.events);
        let kept = |raw: &Raw| matches!(raw, Raw::Acked { .. } | Raw::Refused { .. } | Raw::Written { .. });
        events.iter().filter_map(|event| self.translate(event)).filter(kept).collect()
    }
}

impl V5 {
    fn translate(&mut self, event: &Event) -> Option<Raw> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) if self.let_in => Some(Raw::down(broken("it sent a second CONNACK"))),
            Event::Incoming(Packet::ConnAck(ack)) => Some(self.connack(ack.properties.as_ref())),
            Event::Incoming(Packet::PubAck(ack)) => {
                let text = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
                Some(match reason_of_puback(ack.reason) {
                    Reason::Success | Reason::NoMatchingSubscribers => Raw::Acked { packet_id: ack.pkid },
                    reason => Raw::Refused { packet_id: ack.pkid, refused: refused(reason, text) },
                })
            }
            // An alias that we have not allowed would make the library keep its topic.
            Event::Incoming(Packet::Publish(publish)) if publish.properties.as_ref().is_some_and(|p| p.topic_alias.is_some()) => {
                Some(Raw::down(broken("it sent a topic alias")))
            }
            Event::Incoming(Packet::PingResp(_) | Packet::Publish(_)) | Event::Outgoing(Outgoing::PingReq) => Some(Raw::Alive),
            Event::Outgoing(Outgoing::Publish(packet_id)) => Some(Raw::Written { packet_id: *packet_id }),
            Event::Outgoing(Outgoing::Disconnect) => Some(Raw::down(super::ended())),
            // The library's error follows.
            Event::Incoming(Packet::Disconnect(_)) | Event::Outgoing(_) => None,
            // We only publish at QoS 1, so nothing else is an answer to anything.
            Event::Incoming(packet) => Some(Raw::down(broken(format_args!("it sent {}", super::kind(packet))))),
        }
    }

    /// The upstream has let us in: by its terms, if they are such that we can live with them.
    fn connack(&mut self, properties: Option<&ConnAckProperties>) -> Raw {
        self.let_in = true;
        match terms(properties, self.window, self.keep_alive) {
            Ok(terms) => {
                if properties.and_then(|properties| properties.server_keep_alive) == Some(0) {
                    self.event_loop.options.set_keep_alive(self.keep_alive);
                }
                Raw::Up(Client::V5(self.client.clone()), terms)
            }
            Err(down) => Raw::down(down),
        }
    }

    fn describe(&self, error: &ConnectionError) -> Raw {
        let unanswered = if self.let_in { Ending::Other } else { Ending::Unanswered };
        match error {
            ConnectionError::Io(e) | ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(PacketError::Io(e))) => {
                let down = lost(e);
                // A connect that failed has sent no CONNECT.
                let ending = if down.by_peer { unanswered } else { Ending::Other };
                Raw::Down(down, ending)
            }
            ConnectionError::MqttState(StateError::ConnectionAborted) => Raw::Down(closed(), unanswered),
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                let reference = server_reference(&self.event_loop.state.events);
                Raw::down(dismissed(reason_of_disconnect(*reason_code), reason_string.as_deref(), reference))
            }
            ConnectionError::ConnectionRefused(code) => refusal(*code),
            // 3.1.1's return code for a version that is not spoken, in the form of 5.0.
            ConnectionError::MqttState(StateError::Deserialization(PacketError::InvalidConnectReturnCode(1))) if !self.let_in => {
                refusal(ConnectReturnCode::UnsupportedProtocolVersion)
            }
            // A PUBACK or DISCONNECT of a code that it cannot have: whatever entry that is for, it must not come again and again.
            ConnectionError::MqttState(StateError::Deserialization(PacketError::InvalidConnectReturnCode(code))) if self.let_in => {
                Raw::down(Down { by_peer: true, ..broken(format_args!("it answered {code:#04x}")) })
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) => {
                Raw::down(Down { cause: "no answer to a ping".to_owned(), ..Down::default() })
            }
            error => Raw::down(Down { cause: chain(error), ..Down::default() }),
        }
    }
}

fn refusal(code: ConnectReturnCode) -> Raw {
    let reason = reason_of_connack(code);
    let ending = if reason == Reason::UnsupportedVersion { Ending::NotSpoken } else { Ending::Other };
    Raw::Down(not_let_in(reason), ending)
}

/// What the upstream allows (5.0, 3.2.2.3).
fn terms(properties: Option<&ConnAckProperties>, window: u16, keep_alive: Duration) -> Result<Terms, Down> {
    let mut terms = Terms { protocol: "MQTT 5.0", window: usize::from(window), packet_max: usize::MAX, keep_alive };
    let Some(properties) = properties else { return Ok(terms) };
    if properties.max_qos == Some(0) {
        let cause = "the upstream takes QoS 0 only (its maximum QoS), where nothing is acknowledged; its queue holds".to_owned();
        return Err(Down { cause, retry: Retry::Slow, unusable: true, ..Down::default() });
    }
    match properties.receive_max {
        Some(0) => return Err(broken("receive maximum 0")),
        Some(max) => terms.window = usize::from(max.min(window)),
        None => {}
    }
    match properties.max_packet_size {
        Some(0) => return Err(broken("maximum packet size 0")),
        Some(max) => terms.packet_max = usize::try_from(max).unwrap_or(usize::MAX),
        None => {}
    }
    if let Some(seconds) = properties.server_keep_alive.filter(|seconds| *seconds > 0) {
        terms.keep_alive = Duration::from_secs(seconds.into());
    }
    Ok(terms)
}

/// The bytes of all properties of the entry's PUBLISH.
pub fn properties_size(forwarded: usize, expires: bool, id: &str) -> usize {
    forwarded + if expires { EXPIRY } else { 0 } + USER_PROPERTY + ID.len() + id.len()
}

/// The properties of the parcel's PUBLISH. Ours is the last user property, whatever the publisher has named its own.
pub fn properties(parcel: &Parcel, id: String, now: Mono) -> PublishProperties {
    let mut all = PublishProperties::default();
    for property in decode(&parcel.properties) {
        match property {
            Property::PayloadFormat(text) => all.payload_format_indicator = Some(u8::from(text)),
            Property::ContentType(text) => all.content_type = Some(text.to_owned()),
            Property::ResponseTopic(topic) => all.response_topic = Some(topic.to_owned()),
            Property::CorrelationData(data) => all.correlation_data = Some(parcel.properties.slice_ref(data)),
            Property::User(name, value) => all.user_properties.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    all.message_expiry_interval = parcel.expires.map(|expires| {
        let left = expires.since(now);
        u32::try_from(left.as_secs() + u64::from(left.subsec_nanos() > 0)).unwrap_or(u32::MAX)
    });
    all.user_properties.push((ID.to_owned(), id));
    all
}

/// Of the DISCONNECT, which the library's error leaves out.
fn server_reference(events: &VecDeque<Event>) -> Option<&str> {
    events.iter().rev().find_map(|event| match event {
        Event::Incoming(Packet::Disconnect(disconnect)) => disconnect.properties.as_ref()?.server_reference.as_deref(),
        _ => None,
    })
}

fn reason_of_puback(reason: PubAckReason) -> Reason {
    match reason {
        PubAckReason::Success => Reason::Success,
        PubAckReason::NoMatchingSubscribers => Reason::NoMatchingSubscribers,
        PubAckReason::UnspecifiedError => Reason::Unspecified,
        PubAckReason::ImplementationSpecificError => Reason::ImplementationSpecific,
        PubAckReason::NotAuthorized => Reason::NotAuthorized,
        PubAckReason::TopicNameInvalid => Reason::TopicNameInvalid,
        PubAckReason::PacketIdentifierInUse => Reason::PacketIdInUse,
        PubAckReason::QuotaExceeded => Reason::QuotaExceeded,
        PubAckReason::PayloadFormatInvalid => Reason::PayloadFormatInvalid,
    }
}

fn reason_of_disconnect(code: DisconnectReasonCode) -> Reason {
    Reason::from_u8(code as u8).unwrap_or(Reason::Unspecified)
}

fn reason_of_connack(code: ConnectReturnCode) -> Reason {
    use ConnectReturnCode as C;
    match code {
        C::Success => Reason::Success,
        C::UnspecifiedError => Reason::Unspecified,
        C::MalformedPacket => Reason::MalformedPacket,
        C::ProtocolError => Reason::ProtocolError,
        C::ImplementationSpecificError => Reason::ImplementationSpecific,
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => Reason::UnsupportedVersion,
        C::BadClientId | C::ClientIdentifierNotValid => Reason::ClientIdNotValid,
        C::BadUserNamePassword => Reason::BadUserOrPassword,
        C::NotAuthorized => Reason::NotAuthorized,
        C::ServiceUnavailable | C::ServerUnavailable => Reason::ServerUnavailable,
        C::ServerBusy => Reason::ServerBusy,
        C::Banned => Reason::Banned,
        C::BadAuthenticationMethod => Reason::BadAuthenticationMethod,
        C::TopicNameInvalid => Reason::TopicNameInvalid,
        C::PacketTooLarge => Reason::PacketTooLarge,
        C::QuotaExceeded => Reason::QuotaExceeded,
        C::PayloadFormatInvalid => Reason::PayloadFormatInvalid,
        C::RetainNotSupported => Reason::RetainNotSupported,
        C::QoSNotSupported => Reason::QosNotSupported,
        C::UseAnotherServer => Reason::UseAnotherServer,
        C::ServerMoved => Reason::ServerMoved,
        C::ConnectionRateExceeded => Reason::ConnectionRateExceeded,
    }
}

#[cfg(test)]
mod tests;
