//! Takes keys out of a table of the file, with their types and defaults as `file.rs` says; what is left at the end is unknown.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Mistake, Report, Span};
use super::file::{Key, Presence, SECTIONS, Section};
use super::item::Item;

/// A value and where it stands. A default stands at `0..0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// One table of the file, and the mistakes that are found in it.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) report: &'a Report<'a>,
    section: &'static Section,
    /// Its header.
    pub(super) span: Span,
    left: DeTable<'a>,
    /// Required keys that are absent, and what to say unless an unknown key turns out to be meant for one.
    missing: Vec<(&'static str, Mistake)>,
}

impl<'a> Table<'a> {
    pub(super) fn new(report: &'a Report<'a>, section: &'static Section, span: Span, table: DeTable<'a>) -> Self {
        Self { report, section, span, left: table, missing: Vec::new() }
    }

    /// The value of the key, or its default. A required key that is absent is a mistake.
    pub(super) fn take(&mut self, name: &str) -> Option<Item<'a>> {
        let key = self.key(name)?;
        if let Some((written, value)) = self.left.remove_entry(name) {
            return Some(Item { report: self.report, key, key_span: written.span(), span: value.span(), value: value.into_inner() });
        }
        match key.default {
            Presence::Is(text) => {
                let value = DeValue::parse(text).ok()?.into_inner();
                Some(Item { report: self.report, key, key_span: 0..0, span: 0..0, value })
            }
            Presence::Required(example) => {
                self.miss(key, example);
                None
            }
            Presence::None(_) | Presence::Depends(..) => None,
        }
    }

    /// The value of the key if the file gives it: neither a default nor a mistake otherwise.
    pub(super) fn take_given(&mut self, name: &str) -> Option<Item<'a>> {
        if self.has(name) { self.take(name) } else { None }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The key must not be here, though the table knows it.
    pub(super) fn refuse(&mut self, name: &str, why: impl std::fmt::Display, help: &str) {
        if let Some((written, _)) = self.left.remove_entry(name) {
            let mut mistake = Mistake::error(format!("`{name}` {why}"));
            if !help.is_empty() {
                mistake = mistake.help(help);
            }
            self.report.add(&written.span(), mistake);
        }
    }

    pub(super) fn table(&mut self, name: &str) -> Option<Table<'a>> {
        self.take(name)?.table()
    }

    pub(super) fn tables(&mut self, name: &str) -> Vec<Table<'a>> {
        self.take(name).map(Item::tables).unwrap_or_default()
    }

    pub(super) fn text(&mut self, name: &str) -> Option<At<String>> {
        self.take(name)?.text()
    }

    pub(super) fn bool(&mut self, name: &str) -> Option<bool> {
        self.take(name)?.bool()
    }

    /// Within the key's limits, so it fits the type that they were chosen for.
    pub(super) fn whole<T: TryFrom<i64>>(&mut self, name: &str) -> Option<T> {
        T::try_from(self.take(name)?.whole()?.value).ok()
    }

    pub(super) fn number(&mut self, name: &str) -> Option<At<f64>> {
        self.take(name)?.number()
    }

    pub(super) fn duration(&mut self, name: &str) -> Option<Duration> {
        self.take(name)?.duration()
    }

    pub(super) fn size<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        T::try_from(self.take(name)?.size()?).ok()
    }

    pub(super) fn choice(&mut self, name: &str) -> Option<At<&'static str>> {
        self.take(name)?.choice()
    }

    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<At<String>>> {
        self.take(name)?.texts()
    }

    /// Whatever was not taken is unknown.
    pub(super) fn finish(self) {
        let mut missing = self.missing;
        for (written, value) in &self.left {
            let name = written.get_ref().to_lowercase();
            if ["pass", "secret", "token", "psk", "pw"].iter().any(|word| name.contains(word)) {
                self.report.mask(&value.span());
            }
            let meant = unknown(self.report, self.section, written);
            missing.retain(|(name, _)| Some(*name) != meant);
        }
        for (_, mistake) in missing {
            self.report.missing(&self.span, mistake);
        }
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let key = self.section.keys.iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "{name} is no key of {}", self.section.title);
        key
    }

    fn miss(&mut self, key: &'static Key, example: &str) {
        let (title, name) = (self.section.title, key.name);
        let line = if example.starts_with('[') { example.to_owned() } else { format!("{name} = {example}") };
        let mistake = Mistake::error(format!("{title} has no `{name}`")).expected(format_args!("as {line}"));
        self.missing.push((name, mistake.note(format_args!("`{name}`: {}", key.meaning))));
    }
}

/// Tells of a key that the table does not know; the key that was probably meant.
fn unknown(report: &Report<'_>, section: &Section, written: &Spanned<std::borrow::Cow<'_, str>>) -> Option<&'static str> {
    let (name, title) = (written.get_ref().as_ref(), section.title);
    if section.later.contains(&name) {
        let mistake = Mistake::error(format!("`{name}` in {title} is not supported yet in this version"));
        report.add(&written.span(), mistake.help("take it out; a later version brings it"));
        return None;
    }
    let known: Vec<&'static str> = section.keys.iter().map(|key| key.name).collect();
    let near = nearest(name, known.iter().copied())
        .or_else(|| section.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, key)| *key));
    let mut mistake =
        Mistake::error(format!("unknown key `{name}` in {title}")).expected(format_args!("one of {}", known.join(", "))).near(near);
    if near.is_none()
        && let Some(home) = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name))
    {
        mistake = mistake.help(format_args!("`{name}` is a key of {}", home.title));
    }
    report.add(&written.span(), mistake);
    near
}

/// The name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let lower = name.to_lowercase().replace('-', "_");
    known
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= (lower.chars().count().max(candidate.chars().count()) / 3).max(1))
        .filter(|(distance, candidate)| *distance < candidate.chars().count().min(lower.chars().count()).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
