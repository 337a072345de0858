//! Mistakes in a site's file as blocks that a person can act on: place, the offending line, what was expected, what to write instead.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;

/// A place in the file, in bytes.
pub type Span = Range<usize>;

/// Blocks that [`Errors`] prints; the rest is only counted.
const BLOCKS_MAX: usize = 100;
/// Characters of an offending line that are shown; a longer one is cut around the place.
const SHOWN_MAX: usize = 160;

/// Everything that is wrong with a site's file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    file: String,
    blocks: Vec<Block>,
}

impl Errors {
    /// The file cannot be read at all.
    pub fn unreadable(file: &str, cause: &dyn fmt::Display) -> Self {
        let block = Block { severity: Severity::Error, title: format!("cannot read {file}: {cause}"), place: None, notes: Vec::new() };
        Self { file: file.to_owned(), blocks: vec![block] }
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, block) in self.blocks.iter().take(BLOCKS_MAX).enumerate() {
            write!(f, "{}{block}", if i == 0 { "" } else { "\n\n" })?;
        }
        let hidden = self.blocks.len().saturating_sub(BLOCKS_MAX);
        if hidden > 0 {
            write!(f, "\n\n… and {hidden} more")?;
        }
        match self.blocks.as_slice() {
            [Block { place: None, .. }] => Ok(()),
            [_] => write!(f, "\n\n1 mistake in {}", self.file),
            many => write!(f, "\n\n{} mistakes in {}", many.len(), self.file),
        }
    }
}

impl std::error::Error for Errors {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake, or one thing that the site should know. Shows as several lines, without a newline at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub severity: Severity,
    pub title: String,
    pub place: Option<Place>,
    /// Each begins with "expected:", "help:" or "note:", and may have several lines.
    pub notes: Vec<String>,
}

/// Where in the file, and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line as it is shown: secrets and control characters are masked.
    shown: String,
    /// Characters of `shown` before the caret, and under it.
    caret: (usize, usize),
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}: {}", self.title)?;
        let mut gutter = 1;
        if let Some(Place { file, line, column, shown, caret: (before, under) }) = &self.place {
            let number = line.to_string();
            gutter = number.len();
            write!(f, "\n{:gutter$}--> {file}:{line}:{column}", "")?;
            write!(f, "\n{:gutter$} |\n{number} | {shown}\n{:gutter$} | {:before$}{:^<under$}", "", "", "", "")?;
        }
        for note in &self.notes {
            let mut lines = note.lines();
            write!(f, "\n{:gutter$} = {}", "", lines.next().unwrap_or_default())?;
            for line in lines {
                write!(f, "\n{:gutter$}   {line}", "")?;
            }
        }
        Ok(())
    }
}

/// A mistake before its place has been looked up.
#[derive(Debug)]
pub(super) struct Mistake {
    severity: Severity,
    title: String,
    notes: Vec<String>,
}

impl Mistake {
    pub(super) fn error(title: impl Into<String>) -> Self {
        Self { severity: Severity::Error, title: title.into(), notes: Vec::new() }
    }

    pub(super) fn warning(title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(title) }
    }

    pub(super) fn expected(mut self, what: impl fmt::Display) -> Self {
        self.notes.push(format!("expected: {what}"));
        self
    }

    pub(super) fn help(mut self, what: impl fmt::Display) -> Self {
        self.notes.push(format!("help: {what}"));
        self
    }

    pub(super) fn note(mut self, what: impl fmt::Display) -> Self {
        self.notes.push(format!("note: {what}"));
        self
    }

    /// "did you mean …", if there is a name that is near.
    pub(super) fn near(self, near: Option<&str>) -> Self {
        match near {
            Some(name) => self.help(format_args!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// Gathers the mistakes of one file.
#[derive(Debug)]
pub(super) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    mistakes: RefCell<Vec<(Span, Mistake)>>,
    /// Secrets that stand in the file: never shown.
    masks: RefCell<Vec<Span>>,
    /// Lines (from 0) that are not TOML: what is said of them besides would be noise.
    damaged: RefCell<BTreeSet<usize>>,
    /// Where each line begins.
    line_starts: Vec<usize>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { file, text, mistakes: RefCell::default(), masks: RefCell::default(), damaged: RefCell::default(), line_starts }
    }

    pub(super) fn add(&self, span: &Span, mistake: Mistake) {
        if !self.damaged.borrow().contains(&self.line(span.start)) {
            self.mistakes.borrow_mut().push((span.clone(), mistake));
        }
    }

    /// For what is missing: where part of the file is not TOML, it may be there all the same, so nothing is said.
    pub(super) fn missing(&self, span: &Span, mistake: Mistake) {
        if !self.is_damaged() {
            self.add(span, mistake);
        }
    }

    /// The first mistake on a line that is not TOML; others there would be its echoes.
    pub(super) fn syntax(&self, span: &Span, mistake: Mistake) {
        self.add(span, mistake);
        self.damage(span);
    }

    /// These lines are not TOML.
    pub(super) fn damage(&self, span: &Span) {
        let lines = self.line(span.start)..=self.line(span.end);
        self.damaged.borrow_mut().extend(lines);
    }

    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged.borrow().is_empty()
    }

    pub(super) fn mask(&self, secret: &Span) {
        self.masks.borrow_mut().push(secret.clone());
    }

    /// The number of the line, from 1, for "first given on line 12".
    pub(super) fn line_number(&self, span: &Span) -> usize {
        self.line(span.start) + 1
    }

    /// A span of the parser's, or the end of the file.
    pub(super) fn span(&self, span: Option<Span>) -> Span {
        span.unwrap_or(self.text.len()..self.text.len())
    }

    /// The text of the file at `span`; empty where there is none.
    pub(super) fn source(&self, span: &Span) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The warnings, or all errors.
    pub(super) fn finish(self) -> Result<Vec<Block>, Errors> {
        let mut mistakes = self.mistakes.take();
        mistakes.sort_by_key(|(span, _)| (span.start, span.end));
        // One topic's mistake is found again for each point that takes it.
        let mut told = HashSet::new();
        mistakes.retain(|(span, mistake)| told.insert((span.clone(), mistake.title.clone())));
        let (errors, warnings): (Vec<_>, Vec<_>) = mistakes
            .into_iter()
            .map(|(span, Mistake { severity, title, notes })| {
                let (title, notes) = (printable(&title), notes.iter().map(|note| printable(note)).collect());
                Block { severity, title, place: Some(self.place(&span)), notes }
            })
            .partition(|block| block.severity == Severity::Error);
        if errors.is_empty() { Ok(warnings) } else { Err(Errors { file: self.file.to_owned(), blocks: errors }) }
    }

    /// From 0.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn place(&self, span: &Span) -> Place {
        let start = floor(self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |i| start + i);
        let line = &self.text[line_start..line_end];
        let before = self.text[line_start..start].chars().count();
        let under = self.text[start..floor(self.text, span.end).clamp(start, line_end)].trim_end().chars().count().max(1);
        let masks = self.masks.borrow();
        let masked = masked_value(line).map(|hidden| line_start + hidden.start..line_start + hidden.end);
        let shown: Vec<char> = line
            .char_indices()
            .map(|(i, c)| {
                let at = line_start + i;
                let hidden = masks.iter().chain(&masked).any(|mask| mask.contains(&at));
                match c {
                    _ if hidden => '*',
                    '\t' => ' ',
                    c if c.is_control() => '\u{fffd}',
                    c => c,
                }
            })
            .collect();
        let end = line.trim_end().chars().count().max(before);
        let cut = if end > SHOWN_MAX { before.saturating_sub(SHOWN_MAX / 2) } else { 0 };
        let shown: String = shown.iter().take(end).skip(cut).take(SHOWN_MAX).collect();
        let under = under.min(SHOWN_MAX.saturating_sub(before - cut).max(1));
        Place { file: self.file.to_owned(), line: self.line(start) + 1, column: before + 1, shown, caret: (before - cut, under) }
    }
}

/// What stands in the file is not to steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The largest character boundary of `text` that is not above `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// What looks like an inline password on a line that may not even be TOML, without its quotes.
fn masked_value(line: &str) -> Option<Span> {
    let after = line.find("password")? + "password".len();
    let equals = line[after..].find(|c: char| c != ' ' && c != '\t').filter(|i| line[after + i..].starts_with('='))?;
    let value = after + equals + 1;
    let open = value + line[value..].find(|c: char| c != ' ' && c != '\t')?;
    let quote = line[open..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let start = open + 1;
    let end = line[start..].find(quote).map_or(line.len(), |i| start + i);
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, span: Span, want: &str) {
        let report = Report::new("site.toml", text);
        report.add(&span, Mistake::error("no").expected("yes").help("one\ntwo"));
        assert_eq!(report.finish().expect_err("a mistake").blocks()[0].to_string(), want);
    }

    #[test]
    fn a_block_shows_the_line_and_a_caret_under_the_place() {
        check(
            "a = 1\nbcd = 2\n",
            6..9,
            "error: no\n --> site.toml:2:1\n  |\n2 | bcd = 2\n  | ^^^\n  = expected: yes\n  = help: one\n    two",
        );
        check(
            "ä = \"é\"\r\n",
            5..9,
            "error: no\n --> site.toml:1:5\n  |\n1 | ä = \"é\"\n  |     ^^^\n  = expected: yes\n  = help: one\n    two",
        );
    }

    #[test]
    fn a_place_at_or_beyond_the_end_is_shown_without_a_panic() {
        for (text, span) in [("", 0..0), ("a", 1..1), ("a", 7..9), ("é", 1..2), ("a\n", 2..2), ("a = '''\nb\n'''", 4..13)] {
            let report = Report::new("f", text);
            report.add(&span, Mistake::error("no"));
            assert!(report.finish().expect_err("a mistake").to_string().contains("-->"), "{text:?}");
        }
    }

    #[test]
    fn secrets_and_control_characters_are_not_shown() {
        let text = "password = \"hunter2\"";
        let report = Report::new("f", text);
        report.add(&(0..8), Mistake::error("no"));
        let shown = report.finish().expect_err("a mistake").to_string();
        assert!(shown.contains("password = \"*******\""), "{shown}");
        let report = Report::new("f", "x = \"\x1b[2J\" # y");
        report.mask(&(9..10));
        report.add(&(0..1), Mistake::error("no"));
        let shown = report.finish().expect_err("a mistake").to_string();
        assert!(!shown.contains('\x1b') && shown.contains("x = \"\u{fffd}[2J* # y"), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}bad{}", "x".repeat(1_000), "y".repeat(1_000));
        let report = Report::new("f", &text);
        report.add(&(1_000..1_003), Mistake::error("no"));
        let errors = report.finish().expect_err("a mistake");
        let place = errors.blocks()[0].place.as_ref().expect("a place");
        assert_eq!((place.column, place.shown.len(), place.caret), (1_001, SHOWN_MAX, (80, 3)));
        assert_eq!(&place.shown[80..83], "bad");
    }
}
