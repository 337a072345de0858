//! `docs/configuration.md` shows what `file` says: its tables are made from there.

use std::fmt::Write as _;
use std::path::Path;

use toml::de::DeValue;

use super::super::file::{Key, Presence, SECTIONS, Section};
use super::compare;

/// Stands before each table, with the section's title.
const MARK: &str = "<!-- keys of ";

#[test]
fn the_documentation_lists_every_key_as_the_reader_takes_it() {
    compare(Path::new("docs/configuration.md"), |text| {
        let mut out = String::new();
        let mut lines = text.lines().peekable();
        let mut seen = Vec::new();
        while let Some(line) = lines.next() {
            let _ = writeln!(out, "{line}");
            let Some(title) = line.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(" -->")) else { continue };
            let section = SECTIONS.iter().find(|section| section.title == title).unwrap_or_else(|| panic!("{title} is no section"));
            seen.push(title);
            out.push_str(&table(section));
            while lines.next_if(|line| line.starts_with('|')).is_some() {}
        }
        for section in SECTIONS {
            assert!(seen.contains(&section.title), "docs/configuration.md has no table for {}", section.title);
        }
        out
    });
}

#[test]
fn every_default_is_toml() {
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        if let Presence::Is(text) = key.default {
            assert!(DeValue::parse(text).is_ok(), "{}: {text}", key.name);
        }
    }
}

fn table(section: &Section) -> String {
    let mut out = "| Key | Type | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for key in section.keys {
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", key.name, cell(&key.kind.describe()), cell(&default(key)), cell(key.meaning));
    }
    out
}

fn default(key: &Key) -> String {
    match key.default {
        Presence::Required(_) => "–, must be given".to_owned(),
        Presence::None(_) => "–".to_owned(),
        Presence::Is(text) => format!("`{text}`"),
        Presence::Depends(words, _) => words.to_owned(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
