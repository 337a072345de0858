//! Readings → messages: scale, offset, deadband, topic; and samples → the text that is published. Pure.
//!
//! Job: [`Normalizer`] holds what the site's file says of each point of one bus and the last value published of each, and decides whether a reading
//! is published. [`json`] is the one place that says what a body looks like to a client or an upstream.
//!
//! Invariants: a failed reading is always published, and so is the first good one after it; without a deadband every good one is.
//! A published number is finite. Integers that are neither scaled nor shifted are never rounded.
//!
//! Failure: a number that scale and offset carry out of range, or a text where a number is wanted, becomes a failed reading with the cause `decode`.

mod json;

use std::sync::Arc;
use std::time::Duration;

use crate::frame::decode::number;
use crate::model::{Cause, Message, Mono, Now, Origin, QoS, Sample, Topic, Value};

pub use json::json;

/// What the site's file says of a point's values. The topic template is already filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct PointOptions {
    pub topic: Topic,
    pub unit: Option<Arc<str>>,
    /// `value × scale + offset`. Truths are not touched.
    pub scale: f64,
    pub offset: f64,
    /// Digits after the point in the published text.
    pub decimals: Option<u8>,
    /// A value that differs from the last published one by less than this is not published. Truths differ or are the same.
    pub deadband: Option<f64>,
    /// With a deadband: published at least this often all the same, as far as readings come.
    pub max_silence: Option<Duration>,
}

/// The points of one bus, numbered in the order in which they were given.
#[derive(Debug)]
pub struct Normalizer {
    points: Vec<Point>,
}

#[derive(Debug)]
struct Point {
    options: PointOptions,
    /// The last good value that was published, and when; `None` at the start and after a failed one.
    last: Option<(Value, Mono)>,
}

impl Normalizer {
    pub fn new(points: impl IntoIterator<Item = PointOptions>) -> Self {
        Self { points: points.into_iter().map(|options| Point { options, last: None }).collect() }
    }

    /// The message for this reading of the point numbered `point`, retained and at QoS 1;
    /// `None` if its deadband holds it back (or there is no such point).
    pub fn apply(&mut self, point: usize, value: Result<Value, Cause>, now: Now) -> Option<Message> {
        let Point { options, last } = self.points.get_mut(point)?;
        let value = value.and_then(|value| options.normalized(value));
        match &value {
            Ok(good) => {
                if let (Some(deadband), Some((before, at))) = (options.deadband, &*last)
                    && within(before, good, deadband)
                    && options.max_silence.is_none_or(|silence| now.mono.since(*at) < silence)
                {
                    return None;
                }
                *last = Some((good.clone(), now.mono));
            }
            Err(_) => *last = None,
        }
        let sample = Sample { value, unit: options.unit.as_deref().map(Into::into), decimals: options.decimals, at: now.wall };
        Some(Message::new(options.topic.clone(), sample.to_body(), QoS::AtLeastOnce, true, Origin::Bus))
    }

    /// The last message of this point was dropped on its way: nobody has seen its value, so the next one is published.
    pub fn forget(&mut self, point: usize) {
        if let Some(point) = self.points.get_mut(point) {
            point.last = None;
        }
    }
}

impl PointOptions {
    /// A text where the options speak of a number is read as one, or is none: a sensor that says `ERR` for a temperature has failed.
    fn normalized(&self, value: Value) -> Result<Value, Cause> {
        let value = match value {
            Value::Text(text) if self.is_number() => number(&text).ok_or(Cause::Decode)?,
            value => value,
        };
        let number = match value {
            Value::F64(n) if self.is_plain() => n,
            Value::F64(n) => fifteen_digits(n * self.scale + self.offset),
            Value::I64(n) if !self.is_plain() => fifteen_digits(n as f64 * self.scale + self.offset),
            Value::U64(n) if !self.is_plain() => fifteen_digits(n as f64 * self.scale + self.offset),
            untouched => return Ok(untouched),
        };
        if number.is_finite() { Ok(Value::F64(number)) } else { Err(Cause::Decode) }
    }

    fn is_plain(&self) -> bool {
        self.scale == 1.0 && self.offset == 0.0
    }

    fn is_number(&self) -> bool {
        self.unit.is_some() || self.decimals.is_some() || self.deadband.is_some() || !self.is_plain()
    }
}

/// Rounds to 15 significant decimal digits, as many as a double always keeps: 2301 × 0.1 is 230.1, not 230.10000000000002.
fn fifteen_digits(number: f64) -> f64 {
    if !number.is_finite() {
        return number;
    }
    format!("{number:.14e}").parse().unwrap_or(number)
}

/// Whether the values differ by less than `deadband`. What doubles lose by being binary is not taken for a difference:
/// 20.2 is 0.1 away from 20.1.
fn within(a: &Value, b: &Value, deadband: f64) -> bool {
    let distance = match (integer(a), integer(b)) {
        _ if a == b => 0.0,
        (Some(a), Some(b)) => a.abs_diff(b) as f64,
        _ => match (double(a), double(b)) {
            (Some(a), Some(b)) => (a - b).abs() + 2.0 * f64::EPSILON * a.abs().max(b.abs()),
            _ => f64::INFINITY,
        },
    };
    distance < deadband
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I64(n) => Some((*n).into()),
        Value::U64(n) => Some((*n).into()),
        _ => None,
    }
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::F64(n) => Some(*n),
        other => integer(other).map(|n| n as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Wall;

    fn point(scale: f64, offset: f64, deadband: Option<f64>, max_silence: Option<u64>) -> PointOptions {
        PointOptions {
            topic: Topic::new("plant-7/meter/v").unwrap(),
            unit: None,
            scale,
            offset,
            decimals: None,
            deadband,
            max_silence: max_silence.map(Duration::from_secs),
        }
    }

    fn at(second: u64) -> Now {
        Now { mono: Mono::from_millis(second * 1_000), wall: Wall(second as i64 * 1_000) }
    }

    #[test]
    fn scale_and_offset_are_applied_to_numbers() {
        use Value::{Bool, F64, I64, Text, U64};
        for (value, scale, offset, want) in [
            (U64(2_301), 0.1, 0.0, Ok(F64(230.1))),
            (I64(-5), 0.001, 0.0, Ok(F64(-0.005))),
            (I64(300), 0.1, -40.0, Ok(F64(-10.0))),
            (F64(0.1), 3.0, 0.0, Ok(F64(0.3))),
            (F64(98.6), 1.0, 1.0, Ok(F64(99.6))),
            (U64(u64::MAX), 1.0, 0.0, Ok(U64(u64::MAX))),
            (I64(i64::MIN), 1.0, 0.0, Ok(I64(i64::MIN))),
            (U64(7), 1.0, 0.5, Ok(F64(7.5))),
            (Bool(true), 0.1, 1.0, Ok(Bool(true))),
            (Text("on".into()), 1.0, 0.0, Ok(Text("on".into()))),
            (Text("21.5".into()), 1.0, 0.0, Ok(Text("21.5".into()))),
            (Text("21.5".into()), 2.0, 0.0, Ok(F64(43.0))),
            (Text("on".into()), 0.1, 1.0, Err(Cause::Decode)),
            (F64(f64::NAN), 1.0, 0.0, Err(Cause::Decode)),
            (F64(f64::NEG_INFINITY), 1.0, 0.0, Err(Cause::Decode)),
            (F64(1e300), 1e300, 0.0, Err(Cause::Decode)),
        ] {
            let message = Normalizer::new([point(scale, offset, None, None)]).apply(0, Ok(value.clone()), at(5)).unwrap();
            let sample = Sample::from_body(&message.body).unwrap();
            assert_eq!(sample, Sample { value: want, unit: None, decimals: None, at: Wall(5_000) }, "{value:?} × {scale} + {offset}");
        }
    }

    #[test]
    fn a_message_is_retained_at_qos_1_and_from_a_bus() {
        let message = Normalizer::new([point(1.0, 0.0, None, None)]).apply(0, Ok(Value::I64(1)), at(0)).unwrap();
        assert_eq!(
            (message.topic.as_str(), message.qos, message.retain, message.origin),
            ("plant-7/meter/v", QoS::AtLeastOnce, true, Origin::Bus)
        );
    }

    /// Readings as (second, value) and, after each, whether it is published.
    fn check(deadband: Option<f64>, max_silence: Option<u64>, rows: &[(u64, Result<Value, Cause>, bool)]) {
        let mut normalizer = Normalizer::new([point(1.0, 0.0, deadband, max_silence)]);
        for (i, (second, value, want)) in rows.iter().enumerate() {
            assert_eq!(normalizer.apply(0, value.clone(), at(*second)).is_some(), *want, "row {i}: {value:?} at {second} s");
        }
    }

    #[test]
    fn without_a_deadband_every_reading_is_published() {
        let same = || Ok(Value::F64(1.0));
        check(None, Some(1), &[(0, same(), true), (0, same(), true), (1, same(), true)]);
        check(Some(0.0), None, &[(0, same(), true), (0, same(), true)]);
    }

    #[test]
    fn a_deadband_holds_back_what_differs_little_from_the_last_published() {
        let f = |n| Ok(Value::F64(n));
        check(Some(0.5), None, &[(0, f(20.0), true), (1, f(20.4), false), (2, f(20.49), false), (3, f(20.5), true), (4, f(20.1), false)]);
        check(Some(0.1), None, &[(0, f(20.0), true), (1, f(20.1), true), (2, f(20.2), true), (3, f(20.3), true), (4, f(20.21), false)]);
        let big = 1 << 60;
        check(Some(2.0), None, &[(0, Ok(Value::U64(big)), true), (1, Ok(Value::U64(big + 1)), false), (2, Ok(Value::U64(big + 2)), true)]);
        check(Some(2.0), None, &[(0, Ok(Value::I64(1)), true), (1, f(2.5), false), (2, f(3.5), true)]);
    }

    #[test]
    fn with_a_deadband_truths_are_published_on_change() {
        let (on, off) = (|| Ok(Value::Bool(true)), || Ok(Value::Bool(false)));
        check(Some(1.0), None, &[(0, on(), true), (1, on(), false), (2, off(), true), (3, Ok(Value::I64(0)), true)]);
    }

    #[test]
    fn a_text_is_a_failed_reading_where_the_site_wants_a_number() {
        let plain = || point(1.0, 0.0, None, None);
        for (options, want) in [
            (plain(), Ok(Value::Text("ERR".into()))),
            (PointOptions { unit: Some("°C".into()), ..plain() }, Err(Cause::Decode)),
            (PointOptions { decimals: Some(1), ..plain() }, Err(Cause::Decode)),
            (PointOptions { deadband: Some(1.0), ..plain() }, Err(Cause::Decode)),
            (PointOptions { offset: 1.0, ..plain() }, Err(Cause::Decode)),
        ] {
            let message = Normalizer::new([options.clone()]).apply(0, Ok(Value::Text("ERR".into())), at(0)).unwrap();
            assert_eq!(Sample::from_body(&message.body).unwrap().value, want, "{options:?}");
        }
    }

    #[test]
    fn max_silence_ends_a_deadband() {
        let same = || Ok(Value::F64(1.0));
        check(Some(0.5), Some(10), &[(0, same(), true), (9, same(), false), (10, same(), true), (19, same(), false), (20, same(), true)]);
    }

    #[test]
    fn a_failed_reading_and_the_next_good_one_are_always_published() {
        let same = || Ok(Value::F64(1.0));
        check(
            Some(0.5),
            None,
            &[
                (0, same(), true),
                (1, Err(Cause::Timeout), true),
                (2, Err(Cause::Timeout), true),
                (3, same(), true),
                (4, same(), false),
                (5, Ok(Value::F64(f64::NAN)), true),
                (6, same(), true),
            ],
        );
    }

    #[test]
    fn points_are_kept_apart() {
        let mut normalizer = Normalizer::new([point(1.0, 0.0, Some(1.0), None), point(1.0, 0.0, Some(1.0), None)]);
        assert!(normalizer.apply(0, Ok(Value::I64(1)), at(0)).is_some());
        assert!(normalizer.apply(1, Ok(Value::I64(1)), at(0)).is_some());
        assert!(normalizer.apply(0, Ok(Value::I64(1)), at(0)).is_none());
        assert!(normalizer.apply(2, Ok(Value::I64(1)), at(0)).is_none(), "no such point");
    }
}
