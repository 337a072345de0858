//! The mirror of the site's file: every table and key, its type, limits, default and meaning, in one place.
//! The reader takes types and defaults from here, mistakes name what stands here, and `docs/configuration.md` shows it.

mod field;
mod limits;
mod listener;
mod site;
mod upstream;

pub use field::{BUS, DEVICE, FRAME, POINT};
pub use limits::LIMITS;
pub use listener::LISTENER;
pub use site::{ACCESS, BROKER, CLOCK, GATEWAY, ROOT, STORE};
pub use upstream::{AUTH, SECRET, TLS, UPSTREAM};

/// One table of the file.
#[derive(Debug)]
pub struct Section {
    /// As it is written: `[store]`, `[[bus]]`, `frame = { … }`.
    pub title: &'static str,
    pub keys: &'static [Key],
    /// Keys that the file will know in a later version.
    pub later: &'static [&'static str],
    /// What other programs or people call a key, and its name here.
    pub aliases: &'static [(&'static str, &'static str)],
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Presence,
    pub meaning: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    /// A text of a form that these words describe.
    Form(&'static str),
    /// An absolute path.
    Path,
    /// A name that can stand as one level of a topic.
    Name,
    /// A text with `{gateway}`, `{device}` and `{point}`.
    Template,
    Bool,
    /// A whole number from the first to the second.
    Whole(i64, i64),
    Number,
    /// From the first to the second, as the file would say it.
    Duration(&'static str, &'static str),
    /// As for durations.
    Size(&'static str, &'static str),
    Choice(&'static Choices),
    Texts,
    /// A whole number, or a text.
    WholeOrText,
    Secret,
    /// A table whose keys are the site's own and whose values are texts.
    Map,
    Table(&'static Section),
    Tables(&'static Section),
}

/// The texts that a key may have.
#[derive(Debug)]
pub struct Choices {
    pub known: &'static [&'static str],
    /// What a later version will know.
    pub later: &'static [&'static str],
    /// What others call it, and its name here.
    pub aliases: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Clone, Copy)]
pub enum Presence {
    /// The key must be there; an example of a value.
    Required(&'static str),
    /// Nothing happens where it is not there; an example of a value.
    None(&'static str),
    /// As the file would say it.
    Is(&'static str),
    /// It depends on something else: in words, and an example.
    Depends(&'static str, &'static str),
}

const fn key(name: &'static str, kind: Kind, default: Presence, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// Nothing happens without it, and a value would not fit in one line.
const ABSENT: Presence = Presence::None("");

/// Every table, in the order of the documentation.
pub const SECTIONS: &[&Section] = &[
    &ROOT, &GATEWAY, &STORE, &CLOCK, &BROKER, &LISTENER, &ACCESS, &LIMITS, &BUS, &FRAME, &DEVICE, &POINT, &UPSTREAM, &AUTH, &SECRET, &TLS,
];

impl Key {
    /// What may stand here, with an example.
    pub(super) fn expected(&self) -> String {
        let kind = self.kind.describe();
        let (example, otherwise) = match self.default {
            Presence::Depends(otherwise, example) => (example, otherwise),
            Presence::Required(example) | Presence::None(example) | Presence::Is(example) => (example, ""),
        };
        let otherwise = if otherwise.is_empty() { String::new() } else { format!("; without it: {otherwise}") };
        match self.kind {
            Kind::Choice(_) | Kind::Bool => format!("{kind}{otherwise}"),
            _ if example.is_empty() || example.starts_with('[') && !matches!(self.kind, Kind::Texts) => kind,
            _ => format!("{kind}, as {} = {example}{otherwise}", self.name),
        }
    }
}

impl Kind {
    /// The type in words, with its limits: for mistakes and for the documentation.
    pub fn describe(&self) -> String {
        match self {
            Self::Whole(least, most) => format!("a whole number, {least} to {most}"),
            Self::Duration(least, most) => format!("a duration, \"{least}\" to \"{most}\""),
            Self::Size(least, most) => format!("a size, \"{least}\" to \"{most}\""),
            Self::Choice(Choices { known: [only], .. }) => format!("\"{only}\""),
            Self::Choice(choices) => format!("one of {}", choices.known.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(", ")),
            Self::Secret => "`{ file = … }`, `{ env = … }` or `{ credential = … }`".to_owned(),
            Self::Table(section) | Self::Tables(section) if section.title.starts_with('[') => format!("a table, {}", section.title),
            Self::Name => "a name of at most 64 bytes, without / + # { }, not beginning with $".to_owned(),
            Self::Form(words) => (*words).to_owned(),
            other => other.article().to_owned(),
        }
    }

    /// The type in two words.
    pub(super) fn article(&self) -> &'static str {
        match self {
            Self::Text | Self::Form(_) => "a text",
            Self::Path => "an absolute path",
            Self::Name => "a name",
            Self::Template => "a template",
            Self::Bool => "true or false",
            Self::Whole(..) => "a whole number",
            Self::Number => "a number",
            Self::Duration(..) => "a duration",
            Self::Size(..) => "a size",
            Self::Choice(_) => "a text",
            Self::Texts => "a list of texts",
            Self::WholeOrText => "a whole number or a text",
            Self::Secret => "a place of a secret",
            Self::Map => "a table of texts",
            Self::Table(_) => "a table",
            Self::Tables(_) => "a list of tables",
        }
    }

    pub(super) const fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Form(_) | Self::Path | Self::Name | Self::Template)
    }
}
