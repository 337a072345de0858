//! Tables of the file → options. One file a part; names, templates and paths, which all need, are here.

mod broker;
mod bus;
mod device;
mod limits;
mod listener;
mod modbus;
mod point;
mod secret;
mod serial;
mod store;
mod upstream;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{Mistake, Report, Span};
use super::item::Item;
use super::reader::{At, Table, nearest};
use super::{Environment, Site};
use crate::outbox;

/// Longest name in bytes: three of them are a short topic.
const NAME_MAX: usize = 64;
/// Longest path in bytes (Linux's PATH_MAX).
const PATH_MAX: usize = 4_096;

/// The whole file. With mistakes in it the result is a filler that nobody sees.
pub(super) fn site(mut root: Table<'_>, environment: &Environment) -> Site {
    let report = root.report;
    let mut gateway_topic = None;
    let mut gateway = None;
    if let Some(mut table) = root.table("gateway") {
        gateway = table.take("id").and_then(name);
        gateway_topic = table.text("topic");
        table.finish();
    }
    let gateway = gateway.map(|id| id.value).unwrap_or_default();
    let store = root.table("store");
    let trust = root.table("clock").map_or_else(outbox::ClockTrust::default, store::trust);
    let broker_table = root.table("broker");
    let mut limits = broker::limits();
    let mut outbox = store::outbox(report, store, environment, &mut limits);
    let mut broker = broker::broker(broker_table, limits, environment);
    let upstreams = upstream::upstreams(root.tables("upstream"), &gateway, broker.limits.packet_max, environment);
    outbox.trust = trust;
    outbox.upstreams = upstreams.iter().map(|upstream| upstream.options.name.clone()).collect();
    broker.names.clone_from(&outbox.upstreams);
    broker.upstreams = upstreams.iter().map(|upstream| upstream.topics.clone()).collect();
    let buses = bus::buses(root.tables("bus"));
    let buses = device::devices(root.tables("device"), buses, &gateway, gateway_topic.as_ref(), report);
    root.finish();
    Site {
        gateway,
        buses,
        broker,
        outbox,
        upstreams: upstreams.into_iter().map(|upstream| upstream.options).collect(),
        warnings: Vec::new(),
    }
}

/// Names that were given, to tell the second of two.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, Span>);

impl Names {
    /// Whether the name is new; otherwise a mistake is told. `what` as "two buses are called".
    fn add(&mut self, report: &Report<'_>, what: &str, name: &At<String>) -> bool {
        if let Some(first) = self.0.get(&name.value) {
            let line = report.line_number(first);
            let mistake = Mistake::error(format!("{what} `{}`", name.value));
            report.add(&name.span, mistake.note(format_args!("the first is on line {line}")));
            return false;
        }
        self.0.insert(name.value.clone(), name.span.clone());
        true
    }
}

/// A name that can stand as one level of a topic, in a client id and in a log.
fn name(item: Item<'_>) -> Option<At<String>> {
    let text = item.as_str();
    let trouble = match text {
        None => None,
        Some("") => return item.wrong("this name is empty"),
        Some(text) if text.len() > NAME_MAX => Some(format!("is longer than {NAME_MAX} bytes")),
        Some(text) if text.starts_with('$') => Some("begins with `$`: such topics never go up".to_owned()),
        Some(text) if text.trim() != text => Some("begins or ends with a space".to_owned()),
        Some(text) => {
            let bad = text.chars().find(|c| matches!(c, '/' | '+' | '#' | '{' | '}') || c.is_control());
            bad.map(|c| format!("contains {c:?}"))
        }
    };
    match trouble {
        None => item.text(),
        Some(trouble) => item.wrong(format!("the name `{}` {trouble}", text.unwrap_or_default())),
    }
}

/// A path that means the same wherever the gateway is started.
fn path(item: Item<'_>) -> Option<PathBuf> {
    let text = item.as_str();
    match text {
        None => {}
        Some(text) if text.contains("-----BEGIN") => return item.wrong("this is the key or certificate itself, not the path of its file"),
        Some("") => return item.wrong("this path is empty"),
        Some(text) if text.len() >= PATH_MAX || text.contains('\0') => return item.wrong("this is no path"),
        Some(text) if !text.starts_with('/') => return item.wrong(format!("`{text}` is no absolute path")),
        Some(_) => {}
    }
    item.text().map(|text| text.value.into())
}

/// Fills the variables of a template in: pairs of name and value. A mistake is told and gives `None`.
fn fill(report: &Report<'_>, template: &At<String>, variables: &[(&str, &str)]) -> Option<String> {
    let mut out = String::new();
    let mut rest = template.value.as_str();
    while let Some(open) = rest.find(['{', '}']) {
        out.push_str(&rest[..open]);
        let after = &rest[open..];
        let close = after.find('}').filter(|_| after.starts_with('{'));
        let Some(close) = close else {
            let mistake = Mistake::error(format!("the template `{}` has a brace without its other", template.value));
            report.add(&template.span, mistake.expected(variables_list(variables)));
            return None;
        };
        let variable = &after[1..close];
        let Some((_, value)) = variables.iter().find(|(name, _)| *name == variable) else {
            let near = nearest(variable, variables.iter().map(|(name, _)| *name));
            let mistake = Mistake::error(format!("`{{{variable}}}` is no variable of this template"));
            let near = near.map(|near| format!("{{{near}}}"));
            report.add(&template.span, mistake.expected(variables_list(variables)).near(near.as_deref()));
            return None;
        };
        out.push_str(value);
        rest = &after[close + 1..];
    }
    out.push_str(rest);
    Some(out)
}

fn variables_list(variables: &[(&str, &str)]) -> String {
    let names: Vec<String> = variables.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    format!("the variables {}", names.join(", "))
}
