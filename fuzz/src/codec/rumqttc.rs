//! Packets as rumqttc 0.25 reads them.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use tidegate::mqtt::kind;

use super::canon::Canon;

type Read = Result<Canon, String>;

pub fn read_v4(raw: &[u8]) -> Read {
    let packet = v4::Packet::read(&mut BytesMut::from(raw), 1 << 20).map_err(|error| format!("{error:?}"))?;
    let mut canon;
    match packet {
        v4::Packet::Connect(c) => {
            canon = Canon::new(kind::CONNECT);
            let login = c.login.as_ref().map(|login| (login.username.as_str(), login.password.as_str()));
            connect(&mut canon, (c.clean_session, c.keep_alive), &c.client_id, login);
            if let Some(will) = c.last_will {
                canon.text("will topic", &will.topic).bytes("will body", &will.message);
                canon.set("will flags", (will.qos as u8, will.retain));
            }
        }
        v4::Packet::Publish(p) => {
            canon = Canon::new(kind::PUBLISH);
            canon.set("flags", (p.dup, p.qos as u8, p.retain)).set("id", p.pkid);
            canon.bytes("topic", p.topic.as_bytes()).bytes("body", &p.payload);
        }
        v4::Packet::PubAck(a) => canon = ack(kind::PUBACK, a.pkid, 0, None),
        v4::Packet::PubRec(a) => canon = ack(kind::PUBREC, a.pkid, 0, None),
        v4::Packet::PubRel(a) => canon = ack(kind::PUBREL, a.pkid, 0, None),
        v4::Packet::PubComp(a) => canon = ack(kind::PUBCOMP, a.pkid, 0, None),
        v4::Packet::Subscribe(s) => {
            canon = Canon::new(kind::SUBSCRIBE);
            canon.set("id", s.pkid).list("filters", s.filters.iter().map(|f| (f.path.clone(), f.qos as u8, false, false, 0u8)));
        }
        v4::Packet::Unsubscribe(u) => {
            canon = Canon::new(kind::UNSUBSCRIBE);
            canon.set("id", u.pkid).list("filters", u.topics);
        }
        v4::Packet::PingReq => canon = Canon::new(kind::PINGREQ),
        v4::Packet::PingResp => canon = Canon::new(kind::PINGRESP),
        v4::Packet::Disconnect => {
            canon = Canon::new(kind::DISCONNECT);
            canon.set("reason", 0);
        }
        v4::Packet::ConnAck(c) => {
            canon = Canon::new(kind::CONNACK);
            canon.set("present", c.session_present).set("reason", c.code as u8);
        }
        v4::Packet::SubAck(s) => {
            canon = Canon::new(kind::SUBACK);
            let code = |code: &v4::SubscribeReasonCode| match code {
                v4::SubscribeReasonCode::Success(qos) => *qos as u8,
                v4::SubscribeReasonCode::Failure => 0x80,
            };
            canon.set("id", s.pkid).list("codes", s.return_codes.iter().map(code));
        }
        v4::Packet::UnsubAck(u) => {
            canon = Canon::new(kind::UNSUBACK);
            canon.set("id", u.pkid);
        }
    }
    Ok(canon)
}

pub fn read_v5(raw: &[u8]) -> Read {
    let packet = v5::Packet::read(&mut BytesMut::from(raw), None).map_err(|error| format!("{error:?}"))?;
    let mut canon;
    match packet {
        v5::Packet::Connect(c, will, login) => return Ok(connect_v5(&c, will.as_ref(), login.as_ref())),
        v5::Packet::Publish(p) => return Ok(publish_v5(p)),
        v5::Packet::PubAck(a) => canon = ack(kind::PUBACK, a.pkid, code(a.reason), a.properties.and_then(|p| p.reason_string)),
        v5::Packet::PubRec(a) => canon = ack(kind::PUBREC, a.pkid, code(a.reason), a.properties.and_then(|p| p.reason_string)),
        v5::Packet::PubRel(a) => canon = ack(kind::PUBREL, a.pkid, code(a.reason), a.properties.and_then(|p| p.reason_string)),
        v5::Packet::PubComp(a) => canon = ack(kind::PUBCOMP, a.pkid, code(a.reason), a.properties.and_then(|p| p.reason_string)),
        v5::Packet::Subscribe(s) => {
            canon = Canon::new(kind::SUBSCRIBE);
            canon.set("id", s.pkid).some("identifier", s.properties.and_then(|p| p.id));
            let rule = |rule: &v5::RetainForwardRule| match rule {
                v5::RetainForwardRule::OnEverySubscribe => 0u8,
                v5::RetainForwardRule::OnNewSubscribe => 1,
                v5::RetainForwardRule::Never => 2,
            };
            let filter = |f: &v5::Filter| (f.path.clone(), f.qos as u8, f.nolocal, f.preserve_retain, rule(&f.retain_forward_rule));
            canon.list("filters", s.filters.iter().map(filter));
        }
        v5::Packet::Unsubscribe(u) => {
            canon = Canon::new(kind::UNSUBSCRIBE);
            canon.set("id", u.pkid).list("filters", u.filters);
        }
        v5::Packet::PingReq(_) => canon = Canon::new(kind::PINGREQ),
        v5::Packet::PingResp(_) => canon = Canon::new(kind::PINGRESP),
        v5::Packet::Disconnect(d) => {
            canon = Canon::new(kind::DISCONNECT);
            canon.set("reason", d.reason_code as u8);
            if let Some(p) = d.properties {
                canon.some("session expiry", p.session_expiry_interval).some_text("reason string", p.reason_string.as_deref());
                canon.some_text("reference", p.server_reference.as_deref());
            }
        }
        v5::Packet::Auth(_) => return Err("AUTH is never read".to_owned()),
        v5::Packet::ConnAck(c) => return Ok(connack_v5(c)),
        v5::Packet::SubAck(s) => {
            canon = Canon::new(kind::SUBACK);
            let code = |c: &v5::SubscribeReasonCode| match c {
                v5::SubscribeReasonCode::Success(qos) => *qos as u8,
                other => code(other),
            };
            canon.set("id", s.pkid).list("codes", s.return_codes.iter().map(code));
        }
        v5::Packet::UnsubAck(u) => {
            canon = Canon::new(kind::UNSUBACK);
            canon.set("id", u.pkid).list("codes", u.reasons.iter().map(code));
        }
    }
    Ok(canon)
}

fn ack(kind: u8, id: u16, reason: u8, text: Option<String>) -> Canon {
    let mut canon = Canon::new(kind);
    canon.set("id", id).set("reason", reason).some_text("reason string", text.as_deref());
    canon
}

fn connect(canon: &mut Canon, (clean, keep_alive): (bool, u16), client: &str, login: Option<(&str, &str)>) {
    canon.set("clean", clean).set("keep alive", keep_alive).text("client", client);
    canon.some_text("user", login.map(|(user, _)| user).filter(|user| !user.is_empty()));
    canon.some_bytes("password", login.map(|(_, password)| password.as_bytes()).filter(|password| !password.is_empty()));
}

fn connect_v5(c: &v5::Connect, will: Option<&v5::LastWill>, login: Option<&v5::Login>) -> Canon {
    let mut canon = Canon::new(kind::CONNECT);
    let login = login.map(|login| (login.username.as_str(), login.password.as_str()));
    connect(&mut canon, (c.clean_start, c.keep_alive), &c.client_id, login);
    if let Some(p) = &c.properties {
        canon.some("session expiry", p.session_expiry_interval.filter(|n| *n != 0));
        canon.some("receive maximum", p.receive_maximum.filter(|n| *n != u16::MAX));
        canon.some("maximum packet size", p.max_packet_size);
        canon.some("alias maximum", p.topic_alias_max.filter(|n| *n != 0));
        canon.some("response information", p.request_response_info.filter(|n| *n != 0).map(|n| n == 1));
        canon.some("problem information", p.request_problem_info.filter(|n| *n != 1).map(|n| n != 0));
        canon.list("user properties", p.user_properties.iter().map(|(name, value)| (name, value)));
        canon.some_text("method", p.authentication_method.as_deref()).some_bytes("data", p.authentication_data.as_deref());
    }
    if let Some(will) = will {
        canon.text("will topic", &String::from_utf8_lossy(&will.topic)).bytes("will body", &will.message);
        canon.set("will flags", (will.qos as u8, will.retain));
        if let Some(p) = &will.properties {
            canon.some("will delay", p.delay_interval.filter(|n| *n != 0)).some("expiry", p.message_expiry_interval);
            canon.some("format", p.payload_format_indicator.map(|n| n == 1)).some_text("content type", p.content_type.as_deref());
            canon.some_text("response topic", p.response_topic.as_deref()).some_bytes("correlation", p.correlation_data.as_deref());
            canon.list("will user properties", p.user_properties.iter().map(|(name, value)| (name, value)));
        }
    }
    canon
}

fn publish_v5(p: v5::Publish) -> Canon {
    let mut canon = Canon::new(kind::PUBLISH);
    canon.set("flags", (p.dup, p.qos as u8, p.retain)).set("id", p.pkid).bytes("topic", &p.topic).bytes("body", &p.payload);
    if let Some(p) = p.properties {
        canon.some("alias", p.topic_alias).some("expiry", p.message_expiry_interval);
        canon.some("format", p.payload_format_indicator.map(|n| n == 1)).some_text("content type", p.content_type.as_deref());
        canon.some_text("response topic", p.response_topic.as_deref()).some_bytes("correlation", p.correlation_data.as_deref());
        canon.list("identifiers", p.subscription_identifiers);
        canon.list("user properties", p.user_properties.iter().map(|(name, value)| (name, value)));
    }
    canon
}

fn connack_v5(c: v5::ConnAck) -> Canon {
    let mut canon = Canon::new(kind::CONNACK);
    canon.set("present", c.session_present).set("reason", code(c.code));
    let Some(p) = c.properties else { return canon };
    let flag = |flag: Option<u8>| flag.map(|n| n == 1);
    canon.some("session expiry", p.session_expiry_interval).some("receive maximum", p.receive_max);
    canon.some("maximum qos", p.max_qos).some("retain", flag(p.retain_available));
    canon.some("maximum packet size", p.max_packet_size).some_text("assigned", p.assigned_client_identifier.as_deref());
    canon.some("alias maximum", p.topic_alias_max).some_text("reason string", p.reason_string.as_deref());
    canon.some("wildcards", flag(p.wildcard_subscription_available)).some("identifiers", flag(p.subscription_identifiers_available));
    canon.some("shared", flag(p.shared_subscription_available)).some("server keep alive", p.server_keep_alive);
    canon.some_text("response information", p.response_information.as_deref()).some_text("reference", p.server_reference.as_deref());
    let data: Option<&Bytes> = p.authentication_data.as_ref();
    canon.some_text("method", p.authentication_method.as_deref()).some_bytes("data", data.map(|bytes| &bytes[..]));
    canon
}

/// The number of a reason that rumqttc has only the name of.
fn code(reason: impl Debug) -> u8 {
    match format!("{reason:?}").as_str() {
        "Success" => 0,
        "NoMatchingSubscribers" => 0x10,
        "NoSubscriptionExisted" => 0x11,
        "UnspecifiedError" | "Unspecified" => 0x80,
        "MalformedPacket" => 0x81,
        "ProtocolError" => 0x82,
        "ImplementationSpecificError" | "ImplementationSpecific" => 0x83,
        "UnsupportedProtocolVersion" => 0x84,
        "ClientIdentifierNotValid" => 0x85,
        "BadUserNamePassword" => 0x86,
        "NotAuthorized" => 0x87,
        "ServerUnavailable" => 0x88,
        "ServerBusy" => 0x89,
        "Banned" => 0x8a,
        "BadAuthenticationMethod" => 0x8c,
        "TopicFilterInvalid" => 0x8f,
        "TopicNameInvalid" => 0x90,
        "PacketIdentifierInUse" | "PkidInUse" => 0x91,
        "PacketIdentifierNotFound" => 0x92,
        "PacketTooLarge" => 0x95,
        "QuotaExceeded" => 0x97,
        "PayloadFormatInvalid" => 0x99,
        "RetainNotSupported" => 0x9a,
        "QoSNotSupported" => 0x9b,
        "UseAnotherServer" => 0x9c,
        "ServerMoved" => 0x9d,
        "SharedSubscriptionsNotSupported" => 0x9e,
        "ConnectionRateExceeded" => 0x9f,
        "SubscriptionIdNotSupported" => 0xa1,
        "WildcardSubscriptionsNotSupported" => 0xa2,
        other => panic!("rumqttc says {other}"),
    }
}
