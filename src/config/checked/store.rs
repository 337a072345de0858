//! `[store]` → the outbox's options, and the two of its keys that the broker keeps.

use std::path::PathBuf;
use std::time::Duration;

use super::super::Environment;
use super::super::error::{Mistake, Report};
use super::super::reader::Table;
use super::path;
use crate::{broker, outbox};

const PATH: &str = "/var/lib/tidegate/store.db";
const COMMITS_PER_SECOND_MAX: f64 = 1_000.0;

/// The upstreams are filled in by the caller.
pub(super) fn outbox(
    report: &Report<'_>,
    store: Option<Table<'_>>,
    environment: &Environment,
    limits: &mut broker::Limits,
) -> outbox::Options {
    let default_path = environment.state_directory.as_ref().map_or_else(|| PathBuf::from(PATH), |folder| folder.join("store.db"));
    let mut options = outbox::Options::new(default_path, Vec::new());
    let Some(mut table) = store else { return options };
    if let Some(path) = table.take("path").and_then(path) {
        options.path = path;
    }
    set(&mut options.max_bytes, table.size("max_bytes"));
    set(&mut options.ack_wait, table.duration("ack_wait"));
    set(&mut options.ack_delay, table.duration("ack_delay"));
    set(&mut options.flush_interval, table.duration("flush_interval"));
    set(&mut options.commit_rows, table.whole("commit_rows"));
    set(&mut options.commit_bytes, table.size("commit_bytes"));
    set(&mut options.progress_rows, table.whole("progress_rows"));
    let wal = table.take("wal_max_bytes");
    let wal_span = wal.as_ref().map(|item| item.span.clone()).unwrap_or_default();
    match wal {
        Some(item) => set(&mut options.wal_max_bytes, item.size()),
        None => options.wal_max_bytes = options.wal_max_bytes.min(options.max_bytes / 4),
    }
    set(&mut limits.unsecured_max, table.size("unsecured_max"));
    set(&mut limits.refuse_close, table.duration("refuse_close"));
    if let Some(rate) = table.number("commits_per_second") {
        if rate.value > 0.0 && rate.value <= COMMITS_PER_SECOND_MAX {
            options.commits_per_second = rate.value;
        } else {
            let mistake = Mistake::error("`commits_per_second` is out of range");
            report.add(&rate.span, mistake.expected(format_args!("a number above 0, at most {COMMITS_PER_SECOND_MAX}")));
        }
    }
    if options.wal_max_bytes >= options.max_bytes {
        report.add(&wal_span, Mistake::error("`wal_max_bytes` is not less than `max_bytes`, of which the log is a part"));
    }
    if options.flush_interval > Duration::from_secs(60) {
        let mistake = Mistake::warning("`flush_interval` is longer than a minute");
        report.add(&table.span, mistake.note("at a power cut, readings of so long a time are lost"));
    }
    table.finish();
    options
}

/// `[clock]`.
pub(super) fn trust(mut table: Table<'_>) -> outbox::ClockTrust {
    let trust = table.choice("trust").map(|trust| trust.value);
    table.finish();
    match trust {
        Some("always") => outbox::ClockTrust::Always,
        Some("never") => outbox::ClockTrust::Never,
        _ => outbox::ClockTrust::Auto,
    }
}

pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
