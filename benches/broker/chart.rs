//! The rows as an SVG: CPU time a delivery on a scale of powers of ten, and below it what is no message, each on its own scale.

use std::fmt::Write;

use crate::process::Kind;
use crate::report::{Row, short};
use crate::scenario::What;

const WIDTH: f64 = 860.0;
/// Where bars begin: names stand left of it.
const LEFT: f64 = 270.0;
/// Where the longest bar ends: its figure stands right of it.
const RIGHT: f64 = 780.0;
const TOP: f64 = 96.0;
const BAR: f64 = 12.0;
const GAP: f64 = 12.0;
/// Ends of the scale, in µs.
const DECADES: [f64; 5] = [0.01, 0.1, 1.0, 10.0, 100.0];

/// Colours that can be told apart, also by those who see no red or no green, on white and on black.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.small{font-size:11px;fill:#59636e}.title{font-size:16px;font-weight:600}\
.grid{stroke:#d1d9e0}.Tidegate{fill:#0a7d5a}.Mosquitto{fill:#d98200}.rumqttd{fill:#7d78c8}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.grid{stroke:#3d444d}.Tidegate{fill:#2fbf8f}.Mosquitto{fill:#e8a33d}\
.rumqttd{fill:#a29ee0}}";

/// `notes`: what was compared, and where.
pub fn draw(rows: &[Row], notes: &[String]) -> String {
    let (loads, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| matches!(row.scenario.what, What::Load(_)));
    let mut body = String::new();
    let mut y = TOP;
    let grid_end = y + loads.iter().map(|row| height(row)).sum::<f64>();
    for decade in DECADES {
        let x = logarithmic(decade);
        put(&mut body, format_args!("<line class='grid' x1='{x:.1}' x2='{x:.1}' y1='{:.1}' y2='{grid_end:.1}'/>", y - 4.0));
        put(&mut body, format_args!("<text class='small' text-anchor='middle' x='{x:.1}' y='{:.1}'>{} µs</text>", y - 8.0, short(decade)));
    }
    for row in loads {
        y = draw_row(&mut body, row, y, logarithmic);
    }
    if !others.is_empty() {
        y += 30.0;
        put(&mut body, format_args!("<text class='small' x='{LEFT}' y='{:.1}'>each row on a scale of its own</text>", y - 8.0));
    }
    for row in others {
        let most = row.results.iter().filter_map(|(_, r)| r.as_ref().ok()).map(|s| s.figure).fold(f64::MIN_POSITIVE, f64::max);
        y = draw_row(&mut body, row, y, |figure| LEFT + figure / most * (RIGHT - LEFT));
    }
    for note in notes {
        y += 16.0;
        put(&mut body, format_args!("<text class='small' x='16' y='{y:.1}'>{}</text>", escape(note)));
    }
    let end = y + 16.0;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {end:.0}' role='img'>\n<title>Brokers compared</title>\n<style>{STYLE}</style>\n{}{body}</svg>\n",
        head()
    )
}

fn head() -> String {
    let mut head = String::new();
    put(&mut head, format_args!("<text class='title' x='16' y='28'>CPU time a delivered message, shorter is better</text>"));
    let mut x = 16.0;
    for kind in Kind::ALL {
        put(&mut head, format_args!("<rect class='{0}' x='{x}' y='42' width='12' height='12'/>", kind.name()));
        put(&mut head, format_args!("<text x='{}' y='52.5'>{}</text>", x + 18.0, kind.name()));
        x += 110.0;
    }
    head
}

/// Draws a row whose top is at `y`; returns its end.
fn draw_row(body: &mut String, row: &Row, y: f64, scale: impl Fn(f64) -> f64) -> f64 {
    let unit = row.scenario.what.unit();
    let middle = y + (height(row) - GAP) / 2.0 + 4.5;
    let hint = if matches!(row.scenario.what, What::Connects(_)) { ", longer is better" } else { "" };
    put(body, format_args!("<text text-anchor='end' x='{}' y='{middle:.1}'>{}{hint}</text>", LEFT - 10.0, escape(row.scenario.name)));
    for (n, (kind, result)) in row.results.iter().enumerate() {
        let top = y + n as f64 * BAR;
        let (width, text) = match result {
            Ok(sample) => ((scale(sample.figure) - LEFT).max(1.0), format!("{} {unit}", short(sample.figure))),
            Err(why) => (0.0, why.clone()),
        };
        let name = kind.name();
        put(body, format_args!("<rect class='{name}' x='{LEFT}' y='{:.1}' width='{width:.1}' height='{}'/>", top + 1.0, BAR - 2.0));
        put(body, format_args!("<text class='small' x='{:.1}' y='{:.1}'>{}</text>", LEFT + width + 6.0, top + 10.0, escape(&text)));
    }
    y + height(row)
}

fn height(row: &Row) -> f64 {
    row.results.len() as f64 * BAR + GAP
}

fn logarithmic(us: f64) -> f64 {
    let [first, .., last] = DECADES;
    LEFT + ((us / first).log10() / (last / first).log10()).clamp(0.0, 1.0) * (RIGHT - LEFT)
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
