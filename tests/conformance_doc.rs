//! `docs/mqtt-conformance.md` holds what it promises: every number of the standards, and a test that exists for each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A statement's number: section and place in it.
type Number = (String, usize);

#[derive(Debug, Default)]
struct Standard {
    /// Number and what it is shown by.
    rows: Vec<(Number, String)>,
    clients_only: Vec<Number>,
    /// What the standard's own list has.
    all: BTreeSet<Number>,
}

#[test]
fn every_statement_has_a_row() {
    for (name, standard) in standards() {
        let mut seen = BTreeSet::new();
        for number in standard.rows.iter().map(|(number, _)| number).chain(&standard.clients_only) {
            assert!(seen.insert(number.clone()), "{name}: {number:?} stands there twice");
        }
        let missing: Vec<_> = standard.all.difference(&seen).collect();
        let invented: Vec<_> = seen.difference(&standard.all).collect();
        assert!(missing.is_empty() && invented.is_empty(), "{name}: missing {missing:?}, invented {invented:?}");
    }
}

/// The counts of the two appendices.
#[test]
fn no_number_of_the_standards_is_left_out_of_the_lists() {
    let counts: BTreeMap<_, _> = standards().into_iter().map(|(name, standard)| (name, standard.all.len())).collect();
    assert_eq!(counts, BTreeMap::from([("MQTT 3.1.1".to_owned(), 141), ("MQTT 5.0".to_owned(), 251)]));
}

#[test]
fn the_page_counts_its_rows_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mqtt-conformance.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    for (name, standard) in standards() {
        let inapplicable = standard.rows.iter().filter(|(_, shown)| shown.starts_with("does not apply: ")).count();
        let (all, shown, clients) = (standard.all.len(), standard.rows.len() - inapplicable, standard.clients_only.len());
        let said = format!("{all} statements: {shown} shown by tests, {inapplicable} that do not apply, {clients} that bind clients only.");
        assert!(text.contains(&said), "{name}: {said}");
    }
}

#[test]
fn every_test_that_is_named_exists_and_runs() {
    let mut wrong = Vec::new();
    for (name, standard) in standards() {
        for (number, shown) in &standard.rows {
            let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
            if tests.is_empty() && !shown.starts_with("does not apply: ") {
                wrong.push(format!("{name}, {number:?}: neither a test nor why none"));
            }
            wrong.extend(tests.iter().filter(|test| !exists(test)).map(|test| format!("{name}, {number:?}: there is no test {test}")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `file::function` in `tests/`, or with a path in `src/`: a test, and not one that is ignored.
fn exists(test: &str) -> bool {
    let Some((file, function)) = test.split_once("::") else { return false };
    let folder = if file.starts_with("src/") { "" } else { "tests" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(file).with_extension("rs");
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    let Some(at) = text.find(&format!("\nfn {function}()")) else { return false };
    text[..at].ends_with("#[test]")
}

fn standards() -> Vec<(String, Standard)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mqtt-conformance.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    let sections = text.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (name, body) = section.split_once('\n').expect("a heading");
            (name.to_owned(), standard(body))
        })
        .collect()
}

fn standard(body: &str) -> Standard {
    let mut standard = Standard::default();
    for line in body.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [number, _, shown] = cells.as_slice()
            && let Some(number) = number_of(number)
        {
            standard.rows.push((number, (*shown).to_owned()));
        }
    }
    let (_, rest) = body.split_once("Bind clients only:").expect("what binds clients only");
    let (clients, lists) = rest.split_once("```").expect("the lists");
    standard.clients_only = clients.split([',', '\n', ' ']).filter_map(|word| number_of(word.trim_end_matches('.'))).collect();
    let lists = lists.split("```").next().unwrap_or_default();
    for entry in lists.split(';').filter(|entry| !entry.trim().is_empty()) {
        let (section, range) = entry.trim().split_once(": ").expect("section: range");
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let range = first.parse::<usize>().expect("a number")..=last.parse().expect("a number");
        standard.all.extend(range.map(|n| (section.to_owned(), n)));
    }
    standard
}

fn number_of(word: &str) -> Option<Number> {
    let (section, n) = word.split_once('-')?;
    let is_section = section.split('.').all(|part| part.parse::<u8>().is_ok());
    if is_section { n.parse().ok().map(|n| (section.to_owned(), n)) } else { None }
}
