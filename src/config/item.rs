//! The value of one key, as the type that `file.rs` says it has; a value that is not of it is a mistake.

use std::time::Duration;

use toml::de::DeValue;

use super::error::{Mistake, Report, Span};
use super::file::{Key, Kind, Section};
use super::reader::{At, Table, nearest};
use super::value::{self, Bad};

/// The value of one key.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) key: &'static Key,
    /// Where the key itself stands; `0..0` for what is a part of a value.
    pub(super) key_span: Span,
    pub(super) span: Span,
    pub(super) value: DeValue<'a>,
}

impl<'a> Item<'a> {
    pub(super) fn as_str(&self) -> Option<&str> {
        self.value.as_str()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn table(self) -> Option<Table<'a>> {
        let Kind::Table(section) = self.key.kind else { return None };
        match self.value {
            DeValue::Table(table) => Some(Table::new(self.report, section, header(&self.key_span, &self.span), table)),
            _ => self.wrong_type(),
        }
    }

    /// The table under this key, read as `section`: for keys that take other forms, too.
    pub(super) fn table_as(self, section: &'static Section) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Table::new(self.report, section, header(&self.key_span, &self.span), table)),
            _ => self.wrong_type(),
        }
    }

    pub(super) fn tables(self) -> Vec<Table<'a>> {
        let Kind::Tables(section) = self.key.kind else { return Vec::new() };
        let DeValue::Array(array) = self.value else {
            let _: Option<()> = self.wrong_type();
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in array {
            let span = element.span();
            match element.into_inner() {
                DeValue::Table(table) => tables.push(Table::new(self.report, section, span, table)),
                other => {
                    let _: Option<()> = Item { report: self.report, key: self.key, key_span: 0..0, span, value: other }.wrong_type();
                }
            }
        }
        tables
    }

    pub(super) fn text(self) -> Option<At<String>> {
        match self.value {
            DeValue::String(text) => Some(At { value: text.into_owned(), span: self.span }),
            _ => self.wrong_type(),
        }
    }

    pub(super) fn bool(self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(value),
            _ => self.wrong_type(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.value.is_integer()
    }

    pub(super) fn whole(self) -> Option<At<i64>> {
        let DeValue::Integer(digits) = &self.value else { return self.wrong_type() };
        // Digits beyond an i64 are out of every range here.
        let number = i64::from_str_radix(digits.as_str(), digits.radix());
        if let Kind::Whole(least, most) = self.key.kind
            && !number.as_ref().is_ok_and(|n| (least..=most).contains(n))
        {
            return self.out_of_range();
        }
        number.ok().map(|value| At { value, span: self.span.clone() }).or_else(|| self.out_of_range())
    }

    pub(super) fn number(self) -> Option<At<f64>> {
        let number = match &self.value {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|n| n as f64),
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            _ => return self.wrong_type(),
        };
        match number.filter(|n| n.is_finite()) {
            Some(value) => Some(At { value, span: self.span }),
            None => self.out_of_range(),
        }
    }

    pub(super) fn duration(self) -> Option<Duration> {
        let DeValue::String(text) = &self.value else { return self.wrong_type() };
        let value = match value::duration(text) {
            Ok(value) => value,
            Err(bad) => return self.bad_quantity("duration", &bad),
        };
        if let Kind::Duration(least, most) = self.key.kind
            && (value::duration(least).is_ok_and(|least| value < least) || value::duration(most).is_ok_and(|most| value > most))
        {
            return self.out_of_range();
        }
        Some(value)
    }

    /// A whole number is bytes, too.
    pub(super) fn size(self) -> Option<u64> {
        let bytes = match &self.value {
            DeValue::Integer(digits) => match u64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(bytes) => bytes,
                Err(_) => return self.out_of_range(),
            },
            DeValue::String(text) => match value::size(text) {
                Ok(bytes) => bytes,
                Err(bad) => return self.bad_quantity("size", &bad),
            },
            _ => return self.wrong_type(),
        };
        if let Kind::Size(least, most) = self.key.kind
            && (value::size(least).is_ok_and(|least| bytes < least) || value::size(most).is_ok_and(|most| bytes > most))
        {
            return self.out_of_range();
        }
        Some(bytes)
    }

    pub(super) fn choice(self) -> Option<At<&'static str>> {
        let Kind::Choice(choices) = self.key.kind else { return None };
        let DeValue::String(text) = &self.value else { return self.wrong_type() };
        if let Some(choice) = choices.known.iter().find(|choice| *choice == text) {
            return Some(At { value: choice, span: self.span });
        }
        let name = self.key.name;
        let meant = choices.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(text)).map(|(_, choice)| *choice);
        let later = choices.later.iter().find(|later| *later == text || Some(**later) == meant);
        let mistake = match later {
            Some(later) => Mistake::error(format!("`{name} = \"{later}\"` is not supported yet: it comes in a later version")),
            None => Mistake::error(format!("`{name}` cannot be `{text}`")),
        };
        let near = meant.or_else(|| nearest(text, choices.known.iter().copied()));
        self.report.add(&self.span, mistake.expected(self.expected()).near(near.filter(|_| later.is_none())));
        None
    }

    pub(super) fn texts(self) -> Option<Vec<At<String>>> {
        let DeValue::Array(array) = self.value else { return self.wrong_type() };
        let mut texts = Vec::new();
        for element in array {
            let item = Item { report: self.report, key: self.key, key_span: 0..0, span: element.span(), value: element.into_inner() };
            texts.extend(item.text());
        }
        Some(texts)
    }

    /// Keys of the site's own, with their texts.
    pub(super) fn map(self) -> Option<Vec<(At<String>, At<String>)>> {
        let DeValue::Table(table) = self.value else { return self.wrong_type() };
        let mut pairs = Vec::new();
        for (name, element) in table {
            let item = Item { report: self.report, key: self.key, key_span: 0..0, span: element.span(), value: element.into_inner() };
            let name = At { span: name.span(), value: name.into_inner().into_owned() };
            pairs.extend(item.text().map(|text| (name, text)));
        }
        Some(pairs)
    }

    /// The value is not of the key's type.
    pub(super) fn wrong_type<T>(self) -> Option<T> {
        let name = self.key.name;
        let mut mistake =
            Mistake::error(format!("`{name}` is {}, not {}", found(&self.value), self.key.kind.article())).expected(self.expected());
        let written = self.report.source(&self.span);
        mistake = match (self.key.kind, &self.value) {
            (Kind::Duration(..), DeValue::Integer(n)) => {
                let n = n.as_str();
                mistake.help(format_args!("write the unit, in quotes: {name} = \"{n}s\" or \"{n}ms\""))
            }
            (Kind::Whole(..) | Kind::Number, DeValue::String(text)) if text.trim().parse::<f64>().is_ok() => {
                mistake.help(format_args!("without quotes: {name} = {}", text.trim()))
            }
            (Kind::Bool, DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
                mistake.help(format_args!("without quotes: {name} = {text}"))
            }
            (Kind::Texts, DeValue::String(_)) => mistake.help(format_args!("in brackets: {name} = [{written}]")),
            (Kind::Tables(section), DeValue::Table(table)) if table.contains_key("point") && !table.contains_key("name") => {
                mistake.help(format_args!("a [[device.point]] stands below the {} that it belongs to", section.title))
            }
            (Kind::Tables(section), DeValue::Table(_)) if section.title.starts_with("[[") => {
                mistake.help(format_args!("write {} in double brackets: there may be several", section.title))
            }
            (Kind::Table(section), DeValue::Array(_)) if section.title.starts_with('[') => {
                mistake.help(format_args!("write {} in single brackets: there is one only", section.title))
            }
            (kind, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) if kind.is_text() => {
                mistake.help(format_args!("in quotes: {name} = \"{written}\""))
            }
            _ => mistake,
        };
        self.report.add(&self.span, mistake);
        None
    }

    /// The value is of the right type, and this is wrong with it.
    pub(super) fn wrong<T>(&self, title: impl Into<String>) -> Option<T> {
        self.report.add(&self.span, Mistake::error(title).expected(self.expected()));
        None
    }

    /// As [`Item::wrong`], with what to write instead.
    pub(super) fn wrong_with<T>(&self, title: impl Into<String>, help: &str) -> Option<T> {
        self.report.add(&self.span, Mistake::error(title).expected(self.expected()).help(help));
        None
    }

    /// As [`Item::wrong`], at a character inside the text where that can be found: single quotes have no escapes that would move it.
    pub(super) fn wrong_inside<T>(&self, title: impl Into<String>, character: Option<usize>) -> Option<T> {
        let source = self.source();
        let is_literal = source.starts_with('\'') && !source.starts_with("'''");
        let offset = character.filter(|_| is_literal).and_then(|n| source.char_indices().nth(n + 1)).map(|(offset, _)| offset);
        let span = offset.map_or(self.span.clone(), |offset| self.span.start + offset..self.span.start + offset + 1);
        self.report.add(&span, Mistake::error(title));
        None
    }

    /// A URL that holds user and password.
    pub(super) fn secret_in_url<T>(&self, scheme: &str, userinfo: &str, host: &str) -> Option<T> {
        self.report.mask(&self.span);
        let user = userinfo.split(':').next().unwrap_or_default();
        let mistake = Mistake::error("user and password do not belong in a URL: this file is copied, shown and kept in backups");
        let lines = format!("url = \"{scheme}://{host}\"\nauth = {{ user = \"{user}\", password = {{ file = \"/etc/tidegate/NAME\" }} }}");
        self.report.add(
            &self.span,
            mistake.help(format_args!("write\n{lines}\nor instead of `file`: {{ env = \"NAME\" }}, {{ credential = \"NAME\" }}")),
        );
        None
    }

    /// The value as it stands in the file.
    pub(super) fn source(&self) -> &'a str {
        self.report.source(&self.span)
    }

    fn out_of_range<T>(&self) -> Option<T> {
        self.wrong(format!("`{}` is out of range: {}", self.key.name, self.report.source(&self.span)))
    }

    fn bad_quantity<T>(&self, what: &str, bad: &Bad) -> Option<T> {
        let name = self.key.name;
        let (title, help) = match bad {
            Bad::NoUnit(number) if what == "size" => (format!("`{name}` has no unit"), Some(format!("as \"{number}MiB\""))),
            Bad::NoUnit(number) => (format!("`{name}` has no unit"), Some(format!("as \"{number}s\" or \"{number}ms\""))),
            Bad::Unit(unit, near) => (format!("`{unit}` is no unit of a {what}"), near.map(|near| format!("did you mean `{near}`?"))),
            Bad::Form => (format!("`{name}` is no {what}"), None),
            Bad::TooLarge => (format!("`{name}` is too large"), None),
        };
        let mut mistake = Mistake::error(title).expected(self.expected());
        if let Some(help) = help {
            mistake = mistake.help(help);
        }
        self.report.add(&self.span, mistake);
        None
    }

    fn expected(&self) -> String {
        self.key.expected()
    }
}

/// What a value is, in words.
fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Where a table begins: an inline one is best shown at its key.
fn header(key: &Span, table: &Span) -> Span {
    if key.start < table.start { key.clone() } else { table.clone() }
}
