//! What a packet says, in a form that does not depend on whose codec read it.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// The parts of a packet by name, as text. A part that has the value that holds without it is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Canon(BTreeMap<&'static str, String>);

impl Canon {
    pub fn new(kind: u8) -> Self {
        let mut this = Self::default();
        this.set("kind", kind);
        this
    }

    pub fn set(&mut self, name: &'static str, value: impl Debug) -> &mut Self {
        self.0.insert(name, format!("{value:?}"));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    pub fn text(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.set(name, value)
    }

    pub fn bytes(&mut self, name: &'static str, value: &[u8]) -> &mut Self {
        self.set(name, value.escape_ascii().to_string())
    }

    pub fn some(&mut self, name: &'static str, value: Option<impl Debug>) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    pub fn some_text(&mut self, name: &'static str, value: Option<&str>) -> &mut Self {
        self.some(name, value)
    }

    pub fn some_bytes(&mut self, name: &'static str, value: Option<&[u8]>) -> &mut Self {
        self.some(name, value.map(|bytes| bytes.escape_ascii().to_string()))
    }

    /// One that is repeated, in order.
    pub fn list(&mut self, name: &'static str, values: impl IntoIterator<Item = impl Debug>) -> &mut Self {
        let values: Vec<String> = values.into_iter().map(|value| format!("{value:?}")).collect();
        if !values.is_empty() {
            self.0.insert(name, values.join(" "));
        }
        self
    }
}
