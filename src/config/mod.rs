//! The site's file → each part's options.
//!
//! Job: read TOML, find *every* mistake in one run and show each with its place and what to write instead; else hand out options that need
//! no further check. `file` says which keys there are, `reader` takes them out of the tables, `checked` makes options of them.
//!
//! Invariants: [`parse`] is pure: what matters of the process stands in [`Environment`]. A [`Site`] is valid: names are unique, references
//! resolved, numbers in range, templates filled in. A secret is never in it, only where it is to be had ([`crate::model::Secret`]).
//! An inline secret is not shown in any message either.
//!
//! Failure: a file that cannot be read, is no UTF-8, no TOML, or wrong in any way gives [`Errors`]; a part of the file that is no TOML does not
//! hide mistakes elsewhere. What is odd and may be meant is a warning.

mod checked;
mod error;
mod file;
pub mod import;
mod item;
mod load;
mod reader;
#[cfg(test)]
mod tests;
mod value;
mod wire;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::{bridge, broker, bus, outbox};

pub use error::{Block, Errors, Place, Severity};
pub use load::load;

use error::{Mistake, Report};
use reader::Table;

/// All that a site's file says.
#[derive(Debug, Clone)]
pub struct Site {
    pub gateway: String,
    pub buses: Vec<bus::Options>,
    pub broker: broker::Options,
    pub outbox: outbox::Options,
    /// In the order of the file, as in `broker.upstreams` and `outbox.upstreams`.
    pub upstreams: Vec<bridge::Options>,
    pub warnings: Vec<Block>,
}

impl Site {
    /// `ok: 1 bus, 2 devices, 5 points, 1 upstream`.
    pub fn summary(&self) -> String {
        let (mut devices, mut points) = (0, 0);
        for bus in &self.buses {
            match &bus.protocol {
                bus::Protocol::ModbusRtu(options) => {
                    devices += options.devices.len();
                    points += options.devices.iter().map(|device| device.points.len()).sum::<usize>();
                }
                bus::Protocol::Serial(options) => {
                    devices += options.devices.len();
                    points += options.devices.iter().map(|device| device.points.len()).sum::<usize>();
                }
            }
        }
        let counts = [
            count(self.buses.len(), "bus", "buses"),
            count(devices, "device", "devices"),
            count(points, "point", "points"),
            count(self.upstreams.len(), "upstream", "upstreams"),
        ];
        format!("ok: {}", counts.join(", "))
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// What of the process matters to a site's file.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `$STATE_DIRECTORY`: where the store is unless the file says otherwise.
    pub state_directory: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`: where systemd puts credentials.
    pub credentials_directory: Option<PathBuf>,
    /// Whether a file is there that the site names. Not being there is a warning.
    pub file_exists: fn(&Path) -> bool,
    /// Whether the environment has this variable.
    pub variable_exists: fn(&str) -> bool,
}

impl Environment {
    /// A process of which nothing is known: every file and variable is taken to be there.
    pub fn unknown() -> Self {
        Self { state_directory: None, credentials_directory: None, file_exists: |_| true, variable_exists: |_| true }
    }
}

/// Reads the text of a site's file; `name` is what messages call the file.
///
/// # Errors
/// Every mistake in it.
pub fn parse(text: &str, name: &str, environment: &Environment) -> Result<Site, Errors> {
    // A byte order mark is no part of TOML's grammar that the parser's spans count.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::new(name, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    syntax(&report, &errors);
    let site = checked::site(Table::new(&report, &file::ROOT, 0..0, table.into_inner()), environment);
    let warnings = report.finish()?;
    Ok(Site { warnings, ..site })
}

/// Tells what is no TOML: one mistake a line. An open quote is the cause of what else the parser finds on its line.
fn syntax(report: &Report<'_>, errors: &[toml::de::Error]) {
    let mut errors: Vec<_> = errors.iter().map(|error| (report.span(error.span()), error.message())).collect();
    errors.sort_by_key(|(span, message)| (report.line_number(span), !message.contains("string, expected"), span.start));
    let mut last = (0, "");
    for (span, message) in errors {
        let line = report.line_number(&span);
        // A bracket that is open makes the parser find the same wrong with each line that follows.
        let is_echo = line == last.0 || (line, message) == (last.0 + 1, last.1);
        if line != last.0 {
            last = (line, message);
        }
        if is_echo {
            report.damage(&span);
            continue;
        }
        let (title, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let mistake = if expected == "literal string" {
            let title = if report.source(&span).trim().is_empty() { "there is no value" } else { "a text stands in quotes" };
            Mistake::error(format!("this is no TOML: {title}")).expected("a text in quotes, a number, true or false")
        } else if expected.is_empty() {
            Mistake::error(format!("this is no TOML: {title}"))
        } else {
            Mistake::error(format!("this is no TOML: {title}")).expected(expected)
        };
        report.syntax(&span, mistake);
    }
}
