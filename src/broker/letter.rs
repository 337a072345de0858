//! One message on its way to its receivers, in the forms that they want it, each made once and only when somebody wants it.

use std::rc::Rc;

use bytes::Bytes;

use super::output::{Budget, COPY_MAX, Envelope, Out, Stored};
use crate::model::{Body, BodyKind, Mono, QoS, Topic};
use crate::mqtt::Version;
use crate::normalize;

/// Forms by version (3.x, 5.0) and by whether there is a packet id.
const FORMS: usize = 4;

/// Buffers for encoded forms and properties, kept from one message to the next. Boxed, so that a message that takes them and gives them back
/// moves one pointer.
#[derive(Debug, Default)]
pub(super) struct Scratch(Option<Box<[Vec<u8>; FORMS]>>);

/// A packet as its publisher sent it, where receivers of the same version and QoS may get it so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) version: Version,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug)]
pub(super) enum Source<'a> {
    Packet {
        raw: Option<Raw<'a>>,
        body: &'a [u8],
    },
    /// A reading, or a will.
    Body(&'a Body),
}

#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub(super) topic: &'a Topic,
    pub(super) qos: QoS,
    /// As published.
    pub(super) retain: bool,
    /// Encoded, to go on to receivers of 5.0.
    pub(super) properties: &'a [u8],
    pub(super) expires: Option<Mono>,
    source: Source<'a>,
    /// A reading's body as text.
    text: Option<Bytes>,
    stored: Option<Rc<Stored>>,
    forms: Scratch,
}

impl<'a> Letter<'a> {
    pub(super) const fn new(topic: &'a Topic, qos: QoS, retain: bool, source: Source<'a>, scratch: Scratch) -> Self {
        Self { topic, qos, retain, properties: &[], expires: None, source, text: None, stored: None, forms: scratch }
    }

    pub(super) const fn with(mut self, properties: &'a [u8], expires: Option<Mono>) -> Self {
        self.properties = properties;
        self.expires = expires;
        self
    }

    /// A message that was kept.
    pub(super) fn of_stored(stored: &'a Rc<Stored>, qos: QoS, retain: bool, scratch: Scratch) -> Self {
        let source = Source::Packet { raw: None, body: &stored.body };
        let letter = Self::new(&stored.topic, qos, retain, source, scratch).with(&stored.properties, stored.expires);
        Self { stored: Some(Rc::clone(stored)), ..letter }
    }

    pub(super) fn into_scratch(mut self) -> Scratch {
        for form in self.forms.0.iter_mut().flat_map(|forms| forms.iter_mut()) {
            form.clear();
        }
        self.forms
    }

    /// Bytes of the packet that a receiver would get.
    pub(super) fn packet_len(&mut self, envelope: &Envelope<'_>) -> usize {
        let body = self.body().len();
        envelope.packet_len(self.topic.as_bytes().len(), self.properties.len(), body)
    }

    /// Appends the message for one receiver.
    pub(super) fn push_to(&mut self, out: &mut Out, envelope: &Envelope<'_>, budget: &Budget) {
        let plain = envelope.extra.is_empty() && !envelope.topic_known;
        if let Source::Packet { raw: Some(raw), body } = self.source
            && plain
            && raw.version.is_5() == envelope.version.is_5()
            && (self.qos != QoS::AtMostOnce) == envelope.id.is_some()
            && body.len() <= COPY_MAX
        {
            let id = envelope.id.map(|id| (self.id_at(raw.bytes), id));
            return out.push_publish(raw.bytes, envelope.first, id, None);
        }
        if plain {
            return self.push_form(out, envelope, budget);
        }
        let stored = self.stored(budget);
        out.push_stored(&stored, envelope);
    }

    /// Where the packet id stands: behind the fixed header and the topic.
    fn id_at(&self, packet: &[u8]) -> usize {
        let length = packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        1 + length + 2 + self.topic.as_bytes().len()
    }

    /// A form that several receivers can share, made once.
    fn push_form(&mut self, out: &mut Out, envelope: &Envelope<'_>, budget: &Budget) {
        let at = usize::from(envelope.version.is_5()) * 2 + usize::from(envelope.id.is_some());
        let length = self.body().len();
        let shared = (length > COPY_MAX).then(|| self.stored(budget));
        let mut forms = std::mem::take(&mut self.forms.0).unwrap_or_default();
        if let Some(form) = forms.get_mut(at) {
            if form.is_empty() {
                envelope.head(form, self.topic.as_bytes(), self.properties, length);
                if shared.is_none() {
                    form.extend_from_slice(self.body());
                }
            }
            let id = envelope.id.map(|id| (self.id_at(form), id));
            out.push_publish(form, envelope.first, id, shared.as_ref());
        }
        self.forms.0 = Some(forms);
    }

    /// The body as receivers get it.
    fn body(&mut self) -> &[u8] {
        match self.source {
            Source::Packet { body, .. } => body,
            Source::Body(body) => self.text.get_or_insert_with(|| text(body)),
        }
    }

    /// The message as queues and shared outputs hold it.
    pub(super) fn stored(&mut self, budget: &Budget) -> Rc<Stored> {
        if let Some(stored) = &self.stored {
            return Rc::clone(stored);
        }
        let body = match self.source {
            Source::Packet { body, .. } => Bytes::copy_from_slice(body),
            Source::Body(body) => self.text.get_or_insert_with(|| text(body)).clone(),
        };
        let properties = Bytes::copy_from_slice(self.properties);
        Rc::clone(self.stored.insert(Stored::new(self.topic.clone(), body, properties, self.expires, budget)))
    }

    /// The body as the outbox and the retained store hold it: a reading stays a reading.
    pub(super) fn kept_body(&mut self, budget: &Budget) -> Body {
        match self.source {
            Source::Packet { .. } => Body::raw(self.stored(budget).body.clone()),
            Source::Body(body) => body.clone(),
        }
    }

    /// Bytes that it takes where it is kept.
    pub(super) fn kept_len(&mut self) -> usize {
        self.topic.as_bytes().len() + self.properties.len() + self.body().len()
    }

    /// Bytes of the body as receivers get it.
    pub(super) fn body_len(&mut self) -> usize {
        self.body().len()
    }

    /// Whether each receiver gets a copy of the body.
    pub(super) fn is_small(&mut self) -> bool {
        self.body().len() <= COPY_MAX
    }

    /// Whether a retained message is cleared by it.
    pub(super) fn is_empty(&self) -> bool {
        match self.source {
            Source::Packet { body, .. } => body.is_empty(),
            Source::Body(body) => body.bytes.is_empty(),
        }
    }
}

/// What clients read of a body.
pub(super) fn text(body: &Body) -> Bytes {
    match body.kind {
        BodyKind::Raw => body.bytes.clone(),
        BodyKind::Sample1 => normalize::json(body),
    }
}
