//! What all points have, whatever the protocol of their bus: name, topic, unit, scale and the rest of how a value is published.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::error::{Mistake, Report, Span};
use super::super::item::Item;
use super::super::reader::{At, Table};
use super::{Names, fill, name};
use crate::model::Topic;
use crate::normalize::PointOptions;

/// Longest unit in bytes (model::Sample).
const UNIT_MAX: usize = 254;

/// What is unique over all devices.
#[derive(Debug)]
pub(super) struct All<'a> {
    pub(super) gateway: &'a str,
    pub(super) names: Names,
    /// Topic → whose it is, and where.
    pub(super) topics: BTreeMap<String, (String, Span)>,
    /// Bus and unit id → the device.
    pub(super) units: BTreeMap<(String, i64), String>,
}

/// What a device gives its points.
#[derive(Debug)]
pub(super) struct Own<'a> {
    pub(super) device: &'a str,
    pub(super) topic: Option<&'a At<String>>,
    pub(super) names: Names,
}

/// The keys that points of every protocol have; the last to be read of a point.
pub(super) fn common(mut table: Table<'_>, own: &mut Own<'_>, all: &mut All<'_>) -> Option<(Arc<str>, PointOptions)> {
    let report = table.report;
    let name = table.take("name").and_then(name);
    let is_new = name.as_ref().is_none_or(|name| own.names.add(report, "two points of one device are called", name));
    let topic = table.take_given("topic").and_then(Item::text);
    let topic = topic.as_ref().or(own.topic);
    let topic = match (&name, topic) {
        (Some(name), Some(template)) if is_new => self::topic(report, template, &name.value, own.device, all, &name.span),
        _ => None,
    };
    let unit = table.text("unit").filter(|unit| {
        let fits = unit.value.len() <= UNIT_MAX;
        if !fits {
            report.add(&unit.span, Mistake::error(format!("`unit` is longer than {UNIT_MAX} bytes")));
        }
        fits
    });
    let scale = table.number("scale");
    if let Some(scale) = scale.as_ref().filter(|scale| scale.value == 0.0) {
        report.add(&scale.span, Mistake::error("a `scale` of 0 makes every value the same"));
    }
    let offset = table.number("offset");
    let decimals = table.whole("decimals");
    let deadband = table.number("deadband");
    if let Some(deadband) = deadband.as_ref().filter(|deadband| deadband.value < 0.0) {
        report.add(&deadband.span, Mistake::error("a `deadband` is a distance: not below 0"));
    }
    let silence = table.take("max_silence");
    if let (Some(silence), None) = (&silence, &deadband) {
        let mistake = Mistake::warning("`max_silence` does nothing without a `deadband`: every reading is published anyway");
        report.add(&silence.key_span, mistake);
    }
    let max_silence = silence.and_then(Item::duration);
    table.finish();
    let (name, topic) = (name.filter(|_| is_new)?, topic?);
    Some((
        Arc::from(name.value),
        PointOptions {
            topic,
            unit: unit.map(|unit| Arc::from(unit.value)),
            scale: scale?.value,
            offset: offset?.value,
            decimals,
            deadband: deadband.map(|deadband| deadband.value),
            max_silence,
        },
    ))
}

fn topic(report: &Report<'_>, template: &At<String>, point: &str, device: &str, all: &mut All<'_>, at: &Span) -> Option<Topic> {
    let filled = fill(report, template, &[("gateway", all.gateway), ("device", device), ("point", point)])?;
    // A name that is wrong or missing has been told already, and would leave holes here.
    if all.gateway.is_empty() || device.is_empty() {
        return None;
    }
    // A template of the device or gateway serves many points: what is wrong with this one's topic is shown at this one's name.
    let own = template.value.contains("{point}");
    let place = if own { at } else { &template.span };
    let topic = match Topic::new(&filled) {
        Ok(topic) => topic,
        Err(error) => {
            report.add(&template.span, Mistake::error(format!("`{filled}` is no topic: {error}")));
            return None;
        }
    };
    if filled.starts_with('$') {
        report.add(&template.span, Mistake::error(format!("the topic `{filled}` begins with `$`: such topics never go up")));
    }
    if filled.ends_with("/set") {
        let mistake = Mistake::warning(format!("the topic `{filled}` ends in /set, as commands do: other machines' clients do not get it"));
        report.add(place, mistake);
    }
    let whose = format!("{device}/{point}");
    if let Some((other, first)) = all.topics.get(&filled) {
        let line = report.line_number(first);
        let mistake = Mistake::error(format!("the points {other} and {whose} have the same topic `{filled}`"));
        let mistake = mistake.note(format_args!("the first is on line {line}"));
        report.add(at, mistake.help("use {device} and {point} in the template"));
        return None;
    }
    all.topics.insert(filled, (whose, at.clone()));
    Some(topic)
}
