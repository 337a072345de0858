//! Standard output: a table that is drawn in place on a terminal, else a line now and then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::log::LogTail;
use super::pty;
use super::view::{self, Row, View};
use crate::clock;
use crate::model::Mono;
use crate::model::status::Status;
use crate::ops;

const TABLE_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Before the first line: so long until every point has been read.
const FIRST_LINE: Duration = Duration::from_secs(3);
/// Lines of the page beside those of points, upstreams and the log; the cursor's own among them.
const FRAME_LINES: usize = 4;

#[derive(Debug)]
pub struct Screen {
    started: Mono,
    due: Mono,
    terminal: bool,
    /// Lines of the table that stand above the cursor.
    drawn: usize,
    log: LogTail,
}

impl Screen {
    /// Decides where the log goes, too.
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let log = LogTail::default();
        if terminal {
            log.install();
        } else {
            ops::log::init(tracing::Level::WARN);
        }
        let now = clock::mono();
        Self { started: now, due: now, terminal, drawn: 0, log }
    }

    /// When [`Screen::draw`] is wanted.
    pub const fn due(&self) -> Mono {
        self.due
    }

    pub fn hello(&mut self, gateway: u16, upstream: u16, length: Option<Duration>) {
        self.started = clock::mono();
        self.due = if self.terminal { self.started } else { self.started + FIRST_LINE };
        let ends = length.map_or_else(String::new, |length| format!("after {} or ", humantime::format_duration(length)));
        print(&format!(
            "Two Modbus meters and a weather station on simulated serial ports, the gateway that reads them,\n\
             and an upstream broker that gets it all. Look in with an MQTT client:\n\n  \
             mosquitto_sub -h 127.0.0.1 -p {gateway} -t '#' -v    # the gateway\n  \
             mosquitto_sub -h 127.0.0.1 -p {upstream} -t '#' -v    # the upstream\n\n\
             The site's file: tidegate demo --print-config. Ends {ends}with Ctrl-C.\n\n"
        ));
    }

    pub fn draw(&mut self, rows: &[Row], status: &Status, received: u64, end: Option<Mono>, now: Mono) {
        let log = self.log.lines();
        let (up, left) = (now.since(self.started), end.map(|end| end.since(now)));
        let view = View { up, left, rows, status, received, log: &log, now };
        let room = if self.terminal { pty::window() } else { None };
        match room {
            Some((window, columns)) if rows.len() + status.upstreams.len() + log.len() + FRAME_LINES <= window => {
                self.due = now + TABLE_EVERY;
                self.table(&view::page(&view, columns));
            }
            // A table that is higher than its window could not be drawn in place.
            _ => {
                self.due = now + LINE_EVERY;
                print(&format!("{}\n", view::line(&view)));
            }
        }
    }

    pub fn goodbye(&mut self) {
        self.drawn = 0;
        print("\nstopping: what was read goes upstream first\n");
    }

    fn table(&mut self, lines: &[String]) {
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        let body: String = lines.iter().map(|line| format!("\r{line}\x1b[K\n")).collect();
        print(&format!("{up}{body}\x1b[J"));
        self.drawn = lines.len();
    }
}

/// A reader of our output that has gone is no reason to end.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
