//! One message on its way to its receivers, in the forms that they want it, each made once and only when somebody wants it.

use std::rc::Rc;

use bytes::Bytes;

use super::output::{Budget, COPY_MAX, Out, Stored};
use crate::model::{Body, BodyKind, QoS, Topic};
use crate::mqtt::encode;
use crate::normalize;

/// First bytes of PUBLISH by QoS, without DUP and RETAIN: a receiver gets neither of the sender's [MQTT-3.3.1-3] [MQTT-3.3.1-9].
const FIRST: [u8; 2] = [0x30, 0x32];

/// Buffers for encoded forms, kept from one message to the next. Boxed, so that a message that takes them and gives them back moves one pointer.
#[derive(Debug, Default)]
pub(super) struct Scratch(Option<Box<[Vec<u8>; 2]>>);

#[derive(Debug)]
pub(super) enum Source<'a> {
    /// A client's body, and its packet as it came where receivers may get it so.
    Packet { raw: Option<&'a [u8]>, body: &'a [u8] },
    /// A reading, or a will.
    Body(&'a Body),
}

#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub(super) topic: &'a Topic,
    pub(super) qos: QoS,
    source: Source<'a>,
    /// A reading's body as text.
    text: Option<Bytes>,
    stored: Option<Rc<Stored>>,
    forms: Scratch,
}

impl<'a> Letter<'a> {
    pub(super) const fn new(topic: &'a Topic, qos: QoS, source: Source<'a>, scratch: Scratch) -> Self {
        Self { topic, qos, source, text: None, stored: None, forms: scratch }
    }

    pub(super) fn into_scratch(mut self) -> Scratch {
        for form in self.forms.0.iter_mut().flat_map(|forms| forms.iter_mut()) {
            form.clear();
        }
        self.forms
    }

    /// Appends the message for one receiver at `qos` 0, or at 1 with a packet id.
    pub(super) fn push_to(&mut self, out: &mut Out, id: Option<u16>, budget: &Budget) {
        let q = usize::from(id.is_some());
        let first = FIRST.get(q).copied().unwrap_or_default();
        let topic_length = self.topic.as_bytes().len();
        if let Source::Packet { raw: Some(raw), body } = self.source
            && self.qos as usize == q
            && body.len() <= COPY_MAX
        {
            let id_at = raw.len() - body.len() - 2;
            out.push_publish(raw, first, id.map(|id| (id_at, id)), None);
            return;
        }
        let shared = self.prepare(q, first, budget);
        let Some(form) = self.forms.0.as_ref().and_then(|forms| forms.get(q)) else { return };
        debug_assert!(form.len() >= topic_length + 4);
        let id_at = self.id_at(form);
        out.push_publish(form, first, id.map(|id| (id_at, id)), shared.as_ref());
    }

    /// Encodes form `q`; the stored message where its body is shared.
    fn prepare(&mut self, q: usize, first: u8, budget: &Budget) -> Option<Rc<Stored>> {
        let length = self.body().len();
        let shared = (length > COPY_MAX).then(|| self.stored(budget));
        if self.forms.0.get_or_insert_default().get(q).is_some_and(Vec::is_empty) {
            let mut form = std::mem::take(self.forms.0.as_mut()?.get_mut(q)?);
            encode::publish_head(&mut form, first, self.topic.as_bytes(), (q == 1).then_some(0), length);
            if shared.is_none() {
                form.extend_from_slice(self.body());
            }
            *self.forms.0.as_mut()?.get_mut(q)? = form;
        }
        shared
    }

    /// Where the packet id stands in an encoded form: before the body, or last where the body is shared.
    fn id_at(&self, form: &[u8]) -> usize {
        let length = self.text_or_body_len();
        form.len() - if length > COPY_MAX { 2 } else { length + 2 }
    }

    fn text_or_body_len(&self) -> usize {
        match (&self.source, &self.text) {
            (Source::Packet { body, .. }, _) => body.len(),
            (Source::Body(_), Some(text)) => text.len(),
            (Source::Body(body), None) => body.bytes.len(),
        }
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
        Rc::clone(self.stored.insert(Stored::new(self.topic.clone(), body, budget)))
    }

    /// The body as the outbox and the retained store hold it: a reading stays a reading.
    pub(super) fn kept_body(&mut self, budget: &Budget) -> Body {
        match self.source {
            Source::Packet { .. } => Body::raw(self.stored(budget).body.clone()),
            Source::Body(body) => body.clone(),
        }
    }

    /// Whether each receiver gets a copy of the body.
    pub(super) fn is_small(&self) -> bool {
        self.text_or_body_len() <= COPY_MAX
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
