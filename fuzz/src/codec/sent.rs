//! Packets that our encoder writes, read by others.

use tidegate::model::QoS;
use tidegate::mqtt::encode::{self, ConnackProperties, Extra};
use tidegate::mqtt::properties::Property;
use tidegate::mqtt::reason::Carrier;
use tidegate::mqtt::{Reason, Version, kind, split};

use super::built::Choices;
use super::canon::Canon;
use super::parts::{Role, integer, parts};
use super::{OTHERS, Other, PACKET_MAX, read_by};

impl<'a> Choices<'a> {
    fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn id(&mut self) -> u16 {
        self.u16().max(1)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.u8();
        self.take(usize::from(length))
    }

    /// Without NUL.
    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).replace('\0', "")
    }

    fn topic(&mut self) -> String {
        let topic = self.text().replace(['+', '#'], "");
        if topic.is_empty() { "t".to_owned() } else { topic }
    }

    fn some<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(value(self)) } else { None }
    }

    fn reason(&mut self, carrier: Carrier) -> Reason {
        let may: Vec<Reason> = Reason::ALL.iter().copied().filter(|reason| reason.may_be_in(carrier)).collect();
        may[usize::from(self.u8()) % may.len()]
    }
}

pub fn check(input: &[u8], version: Version) {
    let mut choices = Choices(input);
    let mut out = Vec::new();
    let mut identifiers = Vec::new();
    let meant = match choices.u8() % 8 {
        0 => connack(&mut choices, version, &mut out),
        1 => ack(&mut choices, version, &mut out),
        2 => codes(&mut choices, version, &mut out, kind::SUBACK),
        3 => codes(&mut choices, version, &mut out, kind::UNSUBACK),
        4 if version.is_5() => disconnect(&mut choices, &mut out),
        5 if version.is_5() => auth(&mut choices, &mut out),
        6 => {
            out.extend_from_slice(&encode::PINGRESP);
            Canon::new(kind::PINGRESP)
        }
        _ => publish(&mut choices, version, &mut out, &mut identifiers),
    };
    let frame = split(&out, PACKET_MAX).expect("a packet").expect("a whole packet");
    assert!(frame.raw.len() == out.len() && frame.is_minimal());
    let parts = parts(&frame, version);
    assert!(frame.kind() != kind::PUBLISH || !parts.iter().any(|part| part.role == Role::Missing));
    let written = parts.iter().filter(|part| part.role == Role::Property(0x0b)).map(|part| integer(part.bytes));
    assert!(written.eq(identifiers.iter().map(|n| *n as usize)), "{out:02x?}");
    for other in OTHERS {
        // Neither reads what 3.3.2.3.8 allows of subscription identifiers: mqtt-proto takes one, rumqttc counts a byte too many for each and takes
        // the third for the body. rumqttc reads no AUTH.
        let cannot = match other {
            Other::Rumqttc => frame.kind() == kind::AUTH || identifiers.len() > 2,
            Other::Proto => identifiers.len() > 1,
        };
        if let Some(theirs) = read_by(other, version, &out).filter(|_| !cannot) {
            assert_eq!(theirs.as_ref(), Ok(&meant), "{other:?} reads what was sent in {version:?} differently: {out:02x?}");
        }
    }
}

fn connack(choices: &mut Choices<'_>, version: Version, out: &mut Vec<u8>) -> Canon {
    let (present, reason) = (choices.flag(), choices.reason(Carrier::Connack));
    let [assigned, why, response, reference, method] = std::array::from_fn(|_| choices.some(Choices::text));
    let data = choices.some(|c| c.bytes().to_vec());
    let p = ConnackProperties {
        session_expiry: choices.some(Choices::u32),
        receive_maximum: choices.some(|c| c.id().min(u16::MAX - 1)),
        maximum_qos: choices.some(|c| if c.flag() { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
        no_retain: choices.flag(),
        maximum_packet_size: choices.some(|c| c.u32().max(1)),
        assigned_client_id: assigned.as_deref(),
        topic_alias_maximum: choices.u16(),
        reason_string: why.as_deref(),
        no_wildcards: choices.flag(),
        no_identifiers: choices.flag(),
        no_shared: choices.flag(),
        server_keep_alive: choices.some(Choices::u16),
        response_information: response.as_deref(),
        server_reference: reference.as_deref(),
        authentication: method.as_deref().map(|method| (method, data.as_deref())),
    };
    encode::connack(out, version, present, reason, &p);
    let mut canon = Canon::new(kind::CONNACK);
    canon.set("present", present && reason == Reason::Success);
    if !version.is_5() {
        canon.set("reason", reason.connect_return() as u8);
        return canon;
    }
    canon.set("reason", reason as u8).some("session expiry", p.session_expiry).some("receive maximum", p.receive_maximum);
    canon.some("maximum qos", p.maximum_qos.map(|qos| qos as u8)).some("retain", p.no_retain.then_some(false));
    canon.some("maximum packet size", p.maximum_packet_size).some_text("assigned", p.assigned_client_id);
    canon.some("alias maximum", Some(p.topic_alias_maximum).filter(|n| *n != 0)).some_text("reason string", p.reason_string);
    canon.some("wildcards", p.no_wildcards.then_some(false)).some("identifiers", p.no_identifiers.then_some(false));
    canon.some("shared", p.no_shared.then_some(false)).some("server keep alive", p.server_keep_alive);
    canon.some_text("response information", p.response_information).some_text("reference", p.server_reference);
    if let Some((method, data)) = p.authentication {
        canon.text("method", method).some_bytes("data", data);
    }
    canon
}

fn ack(choices: &mut Choices<'_>, version: Version, out: &mut Vec<u8>) -> Canon {
    let id = choices.id();
    let (kind, success, carrier) = match choices.u8() % 4 {
        0 => (kind::PUBACK, encode::puback(id), Carrier::Received),
        1 => (kind::PUBREC, encode::pubrec(id), Carrier::Received),
        2 => (kind::PUBREL, encode::pubrel(id), Carrier::Released),
        _ => (kind::PUBCOMP, encode::pubcomp(id), Carrier::Released),
    };
    let (reason, text) = (choices.reason(carrier), choices.some(Choices::text));
    encode::ack(out, version, success, reason, text.as_deref());
    if text.is_none() {
        assert_eq!(encode::acknowledgement(kind, version, id, reason).as_bytes(), out);
    }
    let mut canon = Canon::new(kind);
    canon.set("id", id).set("reason", if version.is_5() { reason as u8 } else { 0 });
    canon.some_text("reason string", text.as_deref().filter(|_| version.is_5()));
    canon
}

fn codes(choices: &mut Choices<'_>, version: Version, out: &mut Vec<u8>, kind: u8) -> Canon {
    let id = choices.id();
    let is_sub = kind == kind::SUBACK;
    let carrier = if is_sub { Carrier::Suback } else { Carrier::Unsuback };
    let codes: Vec<Reason> = (0..=choices.u8()).map(|_| choices.reason(carrier)).collect();
    if is_sub {
        encode::suback(out, version, id, &codes);
    } else {
        encode::unsuback(out, version, id, &codes);
    }
    let mut canon = Canon::new(kind);
    canon.set("id", id);
    if version.is_5() {
        canon.list("codes", codes.iter().map(|code| *code as u8));
    } else if is_sub {
        canon.list("codes", codes.iter().map(|code| (*code as u8).min(0x80)));
    }
    canon
}

fn disconnect(choices: &mut Choices<'_>, out: &mut Vec<u8>) -> Canon {
    let reason = choices.reason(Carrier::ServerDisconnect);
    let [text, reference] = std::array::from_fn(|_| choices.some(Choices::text));
    encode::disconnect(out, reason, text.as_deref(), reference.as_deref());
    let mut canon = Canon::new(kind::DISCONNECT);
    canon.set("reason", reason as u8).some_text("reason string", text.as_deref());
    canon.some_text("reference", reference.as_deref());
    canon
}

fn auth(choices: &mut Choices<'_>, out: &mut Vec<u8>) -> Canon {
    let (reason, method, data) = (choices.reason(Carrier::ServerAuth), choices.text(), choices.some(|c| c.bytes().to_vec()));
    encode::auth(out, reason, &method, data.as_deref());
    let mut canon = Canon::new(kind::AUTH);
    canon.set("reason", reason as u8).text("method", &method).some_bytes("data", data.as_deref());
    canon
}

fn publish(choices: &mut Choices<'_>, version: Version, out: &mut Vec<u8>, identifiers: &mut Vec<u32>) -> Canon {
    let qos = choices.u8() % 3;
    let (dup, retain) = (choices.flag() && qos > 0, choices.flag());
    let id = (qos > 0).then(|| choices.id());
    let topic = choices.topic();
    let first = 0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(retain);
    let mut canon = Canon::new(kind::PUBLISH);
    canon.set("flags", (dup, qos, retain)).set("id", id.unwrap_or(0)).bytes("topic", topic.as_bytes());
    if !version.is_5() {
        let body = choices.bytes();
        encode::publish_head(out, first, topic.as_bytes(), id, body.len());
        out.extend_from_slice(body);
        assert_eq!(encode::publish_len(version, topic.len(), id.is_some(), 0, &Extra::default(), body.len()), out.len());
        canon.bytes("body", body);
        return canon;
    }
    let [expiry, alias] = [choices.some(Choices::u32), choices.some(|c| u32::from(c.id()))];
    identifiers.extend((0..choices.u8() % 4).map(|_| (choices.u32() & 0x0fff_ffff).max(1)));
    let [content_type, name, value] = std::array::from_fn(|_| choices.text());
    let (response, correlation) = (choices.topic(), choices.bytes());
    let (mask, body) = (choices.u8(), choices.bytes());
    let is_text = std::str::from_utf8(body).is_ok();
    let all = [
        Property::ContentType(&content_type),
        Property::ResponseTopic(&response),
        Property::CorrelationData(correlation),
        Property::User(&name, &value),
        Property::PayloadFormat(is_text),
    ];
    let mut forwarded = Vec::new();
    all.iter().enumerate().filter(|(i, _)| mask >> i & 1 != 0).for_each(|(_, property)| property.write(&mut forwarded));
    let alias = alias.and_then(|alias| u16::try_from(alias).ok());
    let extra = Extra { expiry, alias, identifiers };
    encode::publish_head_v5(out, first, topic.as_bytes(), id, &forwarded[..], extra, body.len());
    out.extend_from_slice(body);
    assert_eq!(encode::publish_len(version, topic.len(), id.is_some(), forwarded.len(), &extra, body.len()), out.len());
    canon.bytes("body", body).some("expiry", expiry).some("alias", alias).list("identifiers", identifiers.iter());
    canon
        .some_text("content type", (mask & 1 != 0).then_some(&content_type))
        .some_text("response topic", (mask & 2 != 0).then_some(&response));
    canon.some_bytes("correlation", (mask & 4 != 0).then_some(correlation));
    canon.list("user properties", (mask & 8 != 0).then_some((&name, &value)));
    canon.some("format", (mask & 16 != 0).then_some(is_text));
    canon
}
