//! Packets as mqtt-proto 0.4 reads them.

use mqtt_proto::{QosPid, v3, v5};
use tidegate::mqtt::kind;

use super::canon::Canon;

type Read = Result<Canon, String>;

pub fn read_v3(raw: &[u8]) -> Read {
    let packet = v3::Packet::decode(raw).map_err(|error| format!("{error:?}"))?.ok_or("the packet is too short")?;
    let id_only = |kind: u8, id: mqtt_proto::Pid| {
        let mut canon = Canon::new(kind);
        canon.set("id", id.value()).set("reason", 0);
        canon
    };
    let mut canon;
    match packet {
        v3::Packet::Connect(c) => {
            canon = Canon::new(kind::CONNECT);
            connect(&mut canon, c.clean_session, c.keep_alive, &c.client_id, c.username.as_deref(), c.password.as_deref());
            if let Some(will) = c.last_will {
                canon.text("will topic", &will.topic_name).bytes("will body", &will.message);
                canon.set("will flags", (will.qos as u8, will.retain));
            }
        }
        v3::Packet::Publish(p) => {
            canon = Canon::new(kind::PUBLISH);
            publish(&mut canon, (p.dup, p.qos_pid, p.retain), &p.topic_name, &p.payload);
        }
        v3::Packet::Puback(id) => canon = id_only(kind::PUBACK, id),
        v3::Packet::Pubrec(id) => canon = id_only(kind::PUBREC, id),
        v3::Packet::Pubrel(id) => canon = id_only(kind::PUBREL, id),
        v3::Packet::Pubcomp(id) => canon = id_only(kind::PUBCOMP, id),
        v3::Packet::Subscribe(s) => {
            canon = Canon::new(kind::SUBSCRIBE);
            canon.set("id", s.pid.value());
            canon.list("filters", s.topics.iter().map(|(filter, qos)| (filter.to_string(), *qos as u8, false, false, 0u8)));
        }
        v3::Packet::Unsubscribe(u) => {
            canon = Canon::new(kind::UNSUBSCRIBE);
            canon.set("id", u.pid.value()).list("filters", u.topics.iter().map(|filter| filter.to_string()));
        }
        v3::Packet::Pingreq => canon = Canon::new(kind::PINGREQ),
        v3::Packet::Disconnect => {
            canon = Canon::new(kind::DISCONNECT);
            canon.set("reason", 0);
        }
        v3::Packet::Connack(c) => {
            canon = Canon::new(kind::CONNACK);
            canon.set("present", c.session_present).set("reason", c.code as u8);
        }
        v3::Packet::Suback(s) => {
            canon = Canon::new(kind::SUBACK);
            canon.set("id", s.pid.value());
            let code = |code: &v3::SubscribeReturnCode| match code {
                v3::SubscribeReturnCode::MaxLevel0 => 0u8,
                v3::SubscribeReturnCode::MaxLevel1 => 1,
                v3::SubscribeReturnCode::MaxLevel2 => 2,
                v3::SubscribeReturnCode::Failure => 0x80,
            };
            canon.list("codes", s.topics.iter().map(code));
        }
        v3::Packet::Unsuback(id) => {
            canon = Canon::new(kind::UNSUBACK);
            canon.set("id", id.value());
        }
        v3::Packet::Pingresp => canon = Canon::new(kind::PINGRESP),
    }
    Ok(canon)
}

pub fn read_v5(raw: &[u8]) -> Read {
    let packet = v5::Packet::decode(raw).map_err(|error| format!("{error:?}"))?.ok_or("the packet is too short")?;
    Ok(match packet {
        v5::Packet::Connect(c) => connect_v5(&c),
        v5::Packet::Publish(p) => publish_v5(&p),
        v5::Packet::Puback(a) => ack(kind::PUBACK, a.pid, a.reason_code as u8, a.properties.reason_string.as_deref()),
        v5::Packet::Pubrec(a) => ack(kind::PUBREC, a.pid, a.reason_code as u8, a.properties.reason_string.as_deref()),
        v5::Packet::Pubrel(a) => ack(kind::PUBREL, a.pid, a.reason_code as u8, a.properties.reason_string.as_deref()),
        v5::Packet::Pubcomp(a) => ack(kind::PUBCOMP, a.pid, a.reason_code as u8, a.properties.reason_string.as_deref()),
        v5::Packet::Subscribe(s) => {
            let mut canon = Canon::new(kind::SUBSCRIBE);
            canon.set("id", s.pid.value()).some("identifier", s.properties.subscription_id.map(|id| id.value()));
            let filter = |(filter, o): &(mqtt_proto::TopicFilter, v5::SubscriptionOptions)| {
                (filter.to_string(), o.max_qos as u8, o.no_local, o.retain_as_published, o.retain_handling as u8)
            };
            canon.list("filters", s.topics.iter().map(filter));
            canon
        }
        v5::Packet::Unsubscribe(u) => {
            let mut canon = Canon::new(kind::UNSUBSCRIBE);
            canon.set("id", u.pid.value()).list("filters", u.topics.iter().map(|filter| filter.to_string()));
            canon
        }
        v5::Packet::Pingreq => Canon::new(kind::PINGREQ),
        v5::Packet::Pingresp => Canon::new(kind::PINGRESP),
        v5::Packet::Disconnect(d) => {
            let mut canon = Canon::new(kind::DISCONNECT);
            canon.set("reason", d.reason_code as u8).some("session expiry", d.properties.session_expiry_interval);
            canon.some_text("reason string", d.properties.reason_string.as_deref());
            canon.some_text("reference", d.properties.server_reference.as_deref());
            canon
        }
        v5::Packet::Auth(a) => {
            let mut canon = Canon::new(kind::AUTH);
            canon.set("reason", a.reason_code as u8).some_text("method", a.properties.auth_method.as_deref());
            canon.some_bytes("data", a.properties.auth_data.as_deref());
            canon
        }
        v5::Packet::Connack(c) => connack_v5(&c),
        v5::Packet::Suback(s) => {
            let mut canon = Canon::new(kind::SUBACK);
            canon.set("id", s.pid.value()).list("codes", s.topics.iter().map(|code| *code as u8));
            canon
        }
        v5::Packet::Unsuback(u) => {
            let mut canon = Canon::new(kind::UNSUBACK);
            canon.set("id", u.pid.value()).list("codes", u.topics.iter().map(|code| *code as u8));
            canon
        }
    })
}

fn connect(canon: &mut Canon, clean: bool, keep_alive: u16, client: &str, user: Option<&str>, password: Option<&[u8]>) {
    canon.set("clean", clean).set("keep alive", keep_alive).text("client", client);
    canon.some_text("user", user.filter(|user| !user.is_empty()));
    canon.some_bytes("password", password.filter(|password| !password.is_empty()));
}

fn connect_v5(c: &v5::Connect) -> Canon {
    let mut canon = Canon::new(kind::CONNECT);
    connect(&mut canon, c.clean_start, c.keep_alive, &c.client_id, c.username.as_deref(), c.password.as_deref());
    let p = &c.properties;
    canon.some("session expiry", p.session_expiry_interval.filter(|n| *n != 0));
    canon.some("receive maximum", p.receive_max.filter(|n| *n != u16::MAX));
    canon.some("maximum packet size", p.max_packet_size);
    canon.some("alias maximum", p.topic_alias_max.filter(|n| *n != 0));
    canon.some("response information", p.request_response_info.filter(|yes| *yes));
    canon.some("problem information", p.request_problem_info.filter(|yes| !*yes));
    canon.list("user properties", p.user_properties.iter().map(|user| (&*user.name, &*user.value)));
    canon.some_text("method", p.auth_method.as_deref()).some_bytes("data", p.auth_data.as_deref());
    if let Some(will) = &c.last_will {
        let p = &will.properties;
        canon.text("will topic", &will.topic_name).bytes("will body", &will.payload);
        canon.set("will flags", (will.qos as u8, will.retain));
        canon.some("will delay", p.delay_interval.filter(|n| *n != 0)).some("expiry", p.message_expiry_interval);
        canon.some("format", p.payload_is_utf8).some_text("content type", p.content_type.as_deref());
        canon.some_text("response topic", p.response_topic.as_deref()).some_bytes("correlation", p.correlation_data.as_deref());
        canon.list("will user properties", p.user_properties.iter().map(|user| (&*user.name, &*user.value)));
    }
    canon
}

fn publish(canon: &mut Canon, (dup, qos, retain): (bool, QosPid, bool), topic: &str, body: &[u8]) {
    let (qos, id) = match qos {
        QosPid::Level0 => (0u8, 0),
        QosPid::Level1(id) => (1, id.value()),
        QosPid::Level2(id) => (2, id.value()),
    };
    canon.set("flags", (dup, qos, retain)).set("id", id).bytes("topic", topic.as_bytes()).bytes("body", body);
}

fn publish_v5(p: &v5::Publish) -> Canon {
    let mut canon = Canon::new(kind::PUBLISH);
    publish(&mut canon, (p.dup, p.qos_pid, p.retain), &p.topic_name, &p.payload);
    let p = &p.properties;
    canon.some("alias", p.topic_alias).some("expiry", p.message_expiry_interval);
    canon.some("format", p.payload_is_utf8).some_text("content type", p.content_type.as_deref());
    canon.some_text("response topic", p.response_topic.as_deref()).some_bytes("correlation", p.correlation_data.as_deref());
    canon.list("identifiers", p.subscription_id.map(|id| id.value()));
    canon.list("user properties", p.user_properties.iter().map(|user| (&*user.name, &*user.value)));
    canon
}

fn ack(kind: u8, id: mqtt_proto::Pid, reason: u8, text: Option<&str>) -> Canon {
    let mut canon = Canon::new(kind);
    canon.set("id", id.value()).set("reason", reason).some_text("reason string", text);
    canon
}

fn connack_v5(c: &v5::Connack) -> Canon {
    let mut canon = Canon::new(kind::CONNACK);
    let p = &c.properties;
    canon.set("present", c.session_present).set("reason", c.reason_code as u8);
    canon.some("session expiry", p.session_expiry_interval).some("receive maximum", p.receive_max);
    canon.some("maximum qos", p.max_qos.map(|qos| qos as u8)).some("retain", p.retain_available);
    canon.some("maximum packet size", p.max_packet_size).some_text("assigned", p.assigned_client_id.as_deref());
    canon.some("alias maximum", p.topic_alias_max).some_text("reason string", p.reason_string.as_deref());
    canon.some("wildcards", p.wildcard_subscription_available).some("identifiers", p.subscription_id_available);
    canon.some("shared", p.shared_subscription_available).some("server keep alive", p.server_keep_alive);
    canon.some_text("response information", p.response_info.as_deref()).some_text("reference", p.server_reference.as_deref());
    canon.some_text("method", p.auth_method.as_deref()).some_bytes("data", p.auth_data.as_deref());
    canon
}
