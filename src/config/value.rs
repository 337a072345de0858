//! Durations and sizes as people write them: `"500ms"`, `"1m30s"`, `"2GiB"`.

use std::time::Duration;

/// Units of a duration, and their nanoseconds.
pub(super) const DURATION_UNITS: &[(&str, u64)] =
    &[("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000), ("d", 86_400_000_000_000)];

/// Units of a size, and their bytes.
pub(super) const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// It has a number and no unit.
    NoUnit(String),
    /// This is no unit; the nearest that is one.
    Unit(String, Option<&'static str>),
    /// It is not a number and a unit at all.
    Form,
    TooLarge,
}

/// Numbers, each with its unit, that add up: `1m30s`, `0.5s`.
pub(super) fn duration(text: &str) -> Result<Duration, Bad> {
    let mut nanos = 0_u64;
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    loop {
        let (part, after) = quantity(rest, DURATION_UNITS)?;
        nanos = nanos.checked_add(part).ok_or(Bad::TooLarge)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(Duration::from_nanos(nanos));
        }
    }
}

/// One number with its unit, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Bad> {
    let (bytes, after) = quantity(text.trim(), SIZE_UNITS)?;
    if after.is_empty() { Ok(bytes) } else { Err(Bad::Form) }
}

/// The first number and unit of `text`, multiplied, and what follows them.
fn quantity<'a>(text: &'a str, units: &[(&'static str, u64)]) -> Result<(u64, &'a str), Bad> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let (unit, after) = rest.split_at(rest.find(|c: char| !c.is_alphabetic() && c != 'µ').unwrap_or(rest.len()));
    if number.is_empty() || number == "." {
        return Err(Bad::Form);
    }
    if unit.is_empty() {
        return Err(if after.is_empty() { Bad::NoUnit(number.to_owned()) } else { Bad::Form });
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(Bad::Unit(unit.to_owned(), nearest_unit(unit, units)));
    };
    Ok((multiply(number, *factor)?, after))
}

/// Exact also for `0.1`: whole and fraction are multiplied as integers. A fraction of the smallest part is cut off.
fn multiply(number: &str, factor: u64) -> Result<u64, Bad> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') {
        return Err(Bad::Form);
    }
    let digits = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map_err(|_| Bad::TooLarge) };
    let fraction = fraction.get(..fraction.len().min(12)).unwrap_or_default();
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let total = u128::from(digits(whole)?) * u128::from(factor) + u128::from(digits(fraction)?) * u128::from(factor) / scale;
    u64::try_from(total).map_err(|_| Bad::TooLarge)
}

/// The unit that was meant: the same in another case, a word for it, or what it begins with.
fn nearest_unit(unit: &str, units: &[(&'static str, u64)]) -> Option<&'static str> {
    let word = match unit.to_lowercase().as_str() {
        "µs" | "micros" | "usec" => "us",
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" | "mss" => "ms",
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "k" | "ki" | "kb" => "KiB",
        "m" | "mi" => "MiB",
        "g" | "gi" => "GiB",
        "t" | "ti" => "TiB",
        "byte" | "bytes" => "B",
        _ => "",
    };
    let known = |name: &str| units.iter().map(|(known, _)| *known).find(|known| *known == name);
    known(word).or_else(|| units.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(unit))).or_else(|| {
        let near = |known: &&str| strsim::damerau_levenshtein(known, unit) == 1 && known.len() > 1;
        units.iter().map(|(known, _)| *known).find(near)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let unit = |unit: &str, near| Err(Bad::Unit(unit.into(), near));
        for (text, want) in [
            ("500ms", Ok(Duration::from_millis(500))),
            ("0s", Ok(Duration::ZERO)),
            ("0", Ok(Duration::ZERO)),
            ("1m30s", Ok(Duration::from_secs(90))),
            ("1 m 30 s", Ok(Duration::from_secs(90))),
            ("0.1s", Ok(Duration::from_millis(100))),
            ("1.5h", Ok(Duration::from_secs(5_400))),
            ("1d", Ok(Duration::from_secs(86_400))),
            ("250us", Ok(Duration::from_micros(250))),
            ("500", Err(Bad::NoUnit("500".into()))),
            ("", Err(Bad::Form)),
            ("s", Err(Bad::Form)),
            ("-1s", Err(Bad::Form)),
            ("1.2.3s", Err(Bad::Form)),
            ("1s,", Err(Bad::Form)),
            ("5sec", unit("sec", Some("s"))),
            ("5S", unit("S", Some("s"))),
            ("5 minutes", unit("minutes", Some("m"))),
            ("5mz", unit("mz", Some("ms"))),
            ("5 fortnights", unit("fortnights", None)),
            ("99999999999999999999s", Err(Bad::TooLarge)),
            ("999999999d", Err(Bad::TooLarge)),
        ] {
            assert_eq!(duration(text), want, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, want) in [
            ("2GiB", Ok(2 << 30)),
            ("1.5 MiB", Ok(3 << 19)),
            ("64KiB", Ok(64 << 10)),
            ("512B", Ok(512)),
            ("1MB", Ok(1_000_000)),
            ("1024", Err(Bad::NoUnit("1024".into()))),
            ("1gib", Err(Bad::Unit("gib".into(), Some("GiB")))),
            ("1G", Err(Bad::Unit("G".into(), Some("GiB")))),
            ("1KB", Err(Bad::Unit("KB".into(), Some("KiB")))),
            ("1GiB2", Err(Bad::Form)),
            ("20000000TiB", Err(Bad::TooLarge)),
        ] {
            assert_eq!(size(text), want, "{text:?}");
        }
    }
}
