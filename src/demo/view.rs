//! What the demo shows: a page for a terminal, a line for a log. Text in, text out.

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::Mono;
use crate::model::status::{Status, StoreState, UpstreamState};

/// A point, and what was last heard of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub device: String,
    pub point: String,
    pub topic: String,
    pub heard: Option<Heard>,
}

/// A reading as an MQTT client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Value and unit, or the cause of a failure.
    pub text: String,
    pub good: bool,
    pub at: Mono,
}

/// Everything that a page needs.
#[derive(Debug)]
pub struct View<'a> {
    pub up: Duration,
    /// Until the demo ends by itself.
    pub left: Option<Duration>,
    pub rows: &'a [Row],
    pub status: &'a Status,
    /// PUBLISH packets that the upstream has received.
    pub received: u64,
    /// The last lines of the log.
    pub log: &'a [String],
    pub now: Mono,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The page's lines, with colours, none wider than `columns`.
pub fn page(view: &View<'_>, columns: usize) -> Vec<String> {
    let ends = view.left.map_or_else(String::new, |left| format!(", ends in {} s", left.as_secs_f64().ceil()));
    let mut lines = vec![fit(&[(BOLD, format!("up {} s{ends}; Ctrl-C ends it", view.up.as_secs()))], columns)];
    let mut last = "";
    for row in view.rows {
        // A device's name stands once, before its first point.
        let device = if row.device == last { "" } else { &row.device };
        last = &row.device;
        let (colour, text, age) = match &row.heard {
            None => (DIM, "-".to_owned(), String::new()),
            Some(heard) => (if heard.good { GREEN } else { RED }, heard.text.clone(), seconds(view.now.since(heard.at))),
        };
        let label = format!("  {device:<12} {:<12}", row.point);
        lines.push(fit(
            &[("", label), (colour, format!("{text:>16}")), (DIM, format!("{age:>10} ago"))][..if age.is_empty() { 2 } else { 3 }],
            columns,
        ));
    }
    let status = view.status;
    lines.push(fit(&[("", format!("  outbox       {}", outbox(status)))], columns));
    for upstream in &status.upstreams {
        let colour = if upstream.state == UpstreamState::Connected { GREEN } else { RED };
        let counts = format!(", {} acknowledged, {} in flight", upstream.acknowledged, upstream.in_flight);
        let name = format!("  upstream     {} ", upstream.name);
        lines.push(fit(&[("", name), (colour, state(upstream.state).to_owned()), ("", counts)], columns));
    }
    lines.push(fit(&[("", format!("  published    {}, received upstream {}", status.broker.owed, view.received))], columns));
    lines.extend(view.log.iter().map(|line| fit(&[(DIM, format!("  {line}"))], columns)));
    lines
}

/// The same in one line, without values.
pub fn line(view: &View<'_>) -> String {
    let good = view.rows.iter().filter(|row| row.heard.as_ref().is_some_and(|heard| heard.good)).count();
    let mut line = format!(
        "{:>4} s  {good} of {} points good, published {}, received upstream {}, outbox {}",
        view.up.as_secs(),
        view.rows.len(),
        view.status.broker.owed,
        view.received,
        outbox(view.status)
    );
    for upstream in &view.status.upstreams {
        // Writing to a String cannot fail.
        let _ = write!(line, ", {} {}", upstream.name, state(upstream.state));
    }
    line
}

fn outbox(status: &Status) -> String {
    let outbox = &status.outbox;
    let store = match outbox.store {
        StoreState::Good => "",
        StoreState::Full => ", disk full",
        StoreState::Diskless => ", no disk",
    };
    format!("{} waiting, {} rows on disk in {} commits{store}", outbox.entries, outbox.rows, outbox.commits)
}

const fn state(state: UpstreamState) -> &'static str {
    match state {
        UpstreamState::Connecting => "connecting",
        UpstreamState::Connected => "connected",
        UpstreamState::Backoff => "away",
        UpstreamState::Refusing => "refusing",
    }
}

fn seconds(age: Duration) -> String {
    format!("{:.1} s", age.as_secs_f64())
}

/// Coloured pieces as one line, cut after `columns` characters. Control characters, which a reading's text may have, become spaces.
fn fit(pieces: &[(&str, String)], columns: usize) -> String {
    let mut line = String::new();
    let mut room = columns;
    for (colour, text) in pieces {
        let shown: String = text.chars().take(room).map(|c| if c.is_control() { ' ' } else { c }).collect();
        room -= shown.chars().count();
        if colour.is_empty() {
            line.push_str(&shown);
        } else {
            let _ = write!(line, "{colour}{shown}{PLAIN}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{BrokerStatus, OutboxStatus, UpstreamStatus};

    fn status() -> Status {
        Status {
            version: String::new(),
            gateway: "demo".to_owned(),
            uptime_ms: 0,
            ok: true,
            silent: Vec::new(),
            broker: BrokerStatus { owed: 57, ..BrokerStatus::default() },
            buses: Vec::new(),
            outbox: OutboxStatus { entries: 2, rows: 9, commits: 3, ..OutboxStatus::default() },
            upstreams: vec![UpstreamStatus {
                name: "cloud".to_owned(),
                state: UpstreamState::Backoff,
                acknowledged: 55,
                ..UpstreamStatus::default()
            }],
        }
    }

    fn rows() -> Vec<Row> {
        let row = |device: &str, point: &str, heard| Row { device: device.into(), point: point.into(), topic: String::new(), heard };
        let heard = |text: &str, good, ms| Some(Heard { text: text.into(), good, at: Mono::from_millis(ms) });
        vec![
            row("meter", "voltage", heard("230.1 V", true, 11_500)),
            row("meter", "current", heard("timeout", false, 10_000)),
            row("station", "wind", None),
            row("station", "text", heard("a\x1b[2J\n", true, 12_000)),
        ]
    }

    fn plain(columns: usize) -> Vec<String> {
        let (status, rows, log) = (status(), rows(), ["WARN something".to_owned()]);
        let (up, left, now) = (Duration::from_secs(12), Some(Duration::from_secs(18)), Mono::from_millis(12_000));
        let view = View { up, left, rows: &rows, status: &status, received: 55, log: &log, now };
        let lines = page(&view, columns).into_iter();
        lines.map(|line| [BOLD, DIM, GREEN, RED, PLAIN].iter().fold(line, |line, colour| line.replace(colour, ""))).collect()
    }

    #[test]
    fn a_page_shows_every_point_and_the_way_upstream() {
        assert_eq!(
            plain(100),
            [
                "up 12 s, ends in 18 s; Ctrl-C ends it",
                "  meter        voltage              230.1 V     0.5 s ago",
                "               current              timeout     2.0 s ago",
                "  station      wind                       -",
                "               text                  a [2J      0.0 s ago",
                "  outbox       2 waiting, 9 rows on disk in 3 commits",
                "  upstream     cloud away, 55 acknowledged, 0 in flight",
                "  published    57, received upstream 55",
                "  WARN something",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [0, 1, 20, 40] {
            assert!(plain(columns).iter().all(|line| line.chars().count() <= columns), "{columns}");
        }
    }

    #[test]
    fn a_line_sums_it_up() {
        let (status, rows) = (status(), rows());
        let view = View { up: Duration::from_secs(5), left: None, rows: &rows, status: &status, received: 55, log: &[], now: Mono::ZERO };
        assert_eq!(
            line(&view),
            "   5 s  2 of 4 points good, published 57, received upstream 55, outbox 2 waiting, 9 rows on disk in 3 commits, cloud away"
        );
    }
}
