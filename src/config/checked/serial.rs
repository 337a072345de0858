//! Devices on a serial bus: how a frame is decoded, and where a point's value stands in it.

use regex::Regex;

use super::super::error::Mistake;
use super::super::item::Item;
use super::super::reader::{Table, nearest};
use super::point::{All, Own, common};
use crate::bus::SerialPoint;
use crate::frame::decode::{Decoder, Field};

/// Largest compiled pattern in bytes.
const PATTERN_MAX: usize = 1 << 20;

/// A decoder, and the names of its fields where they are known.
pub(super) type Decoded = (Decoder, Vec<String>);

pub(super) fn decoder(table: &mut Table<'_>) -> Option<Decoded> {
    let decode = table.choice("decode")?.value;
    if decode != "regex" {
        table.refuse("pattern", format_args!("is for `decode = \"regex\"`, this device is decoded as {decode}"), "");
    }
    if decode != "csv" {
        table.refuse("separator", format_args!("is for `decode = \"csv\"`, this device is decoded as {decode}"), "");
    }
    match decode {
        "regex" => pattern(table.take("pattern")?),
        "csv" => {
            let separator = table.text("separator")?;
            match separator.value.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Some((Decoder::Csv { separator: *byte }, Vec::new())),
                _ => {
                    let mistake = Mistake::error("`separator` is one ASCII character, no quote and no line end");
                    table.report.add(&separator.span, mistake.expected("as separator = \";\""));
                    None
                }
            }
        }
        _ => Some((Decoder::Json, Vec::new())),
    }
}

fn pattern(item: Item<'_>) -> Option<Decoded> {
    let Some(text) = item.as_str().map(str::to_owned) else { return item.wrong_type() };
    let regex = match regex::RegexBuilder::new(&text).size_limit(PATTERN_MAX).build() {
        Ok(regex) => regex,
        Err(error) => return bad_pattern(&item, &error),
    };
    let groups = groups(&regex);
    if groups.is_empty() {
        return item.wrong_with("this pattern has no named group, so there is no field", "name a group: (?<temp>[-\\d.]+)");
    }
    Some((Decoder::Regex(regex), groups))
}

fn groups(regex: &Regex) -> Vec<String> {
    regex.capture_names().flatten().map(str::to_owned).collect()
}

/// The library shows the pattern with a caret below it, and then the reason: the caret is moved into the file.
fn bad_pattern<T>(item: &Item<'_>, error: &regex::Error) -> Option<T> {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let caret = text.lines().find(|line| line.trim_start().starts_with('^')).and_then(|line| line.find('^'));
    let inside = caret.and_then(|caret| caret.checked_sub(4)).filter(|_| matches!(error, regex::Error::Syntax(_)));
    item.wrong_inside(format!("this is no regular expression: {reason}"), inside)
}

pub(super) fn point(mut table: Table<'_>, decoded: Option<&Decoded>, own: &mut Own<'_>, all: &mut All<'_>) -> Option<SerialPoint> {
    for key in ["register", "type", "order", "poll"] {
        table.refuse(key, "is for points of a Modbus device", "a point of a serial device has a `field`");
    }
    let field = match decoded {
        Some(_) => field(&mut table, decoded),
        None => {
            let _ = table.take_given("field");
            None
        }
    };
    let (name, publish) = common(table, own, all)?;
    Some(SerialPoint { name, field: field?, publish })
}

/// `decoded` tells what a field is called.
pub(super) fn field(table: &mut Table<'_>, decoded: Option<&Decoded>) -> Option<Field> {
    let item = table.take("field")?;
    let text = item.as_str().map(str::to_owned);
    let span = item.span.clone();
    let (decoder, groups) = decoded?;
    let wrong = |title: String, expected: &str, help: &str| {
        let mistake = Mistake::error(title).expected(expected);
        table.report.add(&span, if help.is_empty() { mistake } else { mistake.help(help) });
        None
    };
    match (decoder, text) {
        (Decoder::Regex(_), Some(name)) if groups.contains(&name) => Some(Field::Group(name)),
        (Decoder::Regex(_), name) => {
            let name = name.unwrap_or_else(|| item.source().to_owned());
            let help = nearest(&name, groups.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let expected = format!("a group of the pattern: {}", groups.join(", "));
            wrong(format!("the pattern has no group `{name}`"), &expected, &help.unwrap_or_default())
        }
        (Decoder::Csv { .. }, text) => {
            let text = text.unwrap_or_else(|| item.source().to_owned());
            match text.parse::<u16>() {
                Ok(column) => Some(Field::Column(column.into())),
                Err(_) => wrong(format!("`{text}` is no column"), "the number of a column, from 0, as field = 2", ""),
            }
        }
        (Decoder::Json, Some(pointer)) => {
            let escaped = pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
            if escaped && (pointer.is_empty() || pointer.starts_with('/')) {
                return Some(Field::Pointer(pointer));
            }
            let help =
                format!("write \"/{}\"", pointer.trim_start_matches("$.").trim_start_matches('/').replace('~', "~0").replace('.', "/"));
            wrong(format!("`{pointer}` is no JSON pointer"), JSON_POINTER, &help)
        }
        (Decoder::Json, None) => wrong("`field` is no text".to_owned(), JSON_POINTER, ""),
    }
}

const JSON_POINTER: &str = "a JSON pointer (RFC 6901), as field = \"/sensors/0/temp\"";
