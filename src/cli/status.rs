//! `tidegate status`: what the running gateway says of itself, for people and for scripts.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::model::status::{BrokerStatus, BusStatus, DeviceState, OutboxStatus, Status, StoreState, UpstreamState, UpstreamStatus};
use crate::ops::control;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// The running gateway's control socket [default: in $RUNTIME_DIRECTORY or /run/tidegate]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Prints what the gateway says of itself. Exit code 0: all good; 1: something is bad, or no gateway answers.
pub fn status(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = arguments.socket.clone().unwrap_or_else(control::default_path);
    let status = control::ask_status(&path).map_err(Failure::new)?;
    super::answer(&if arguments.json { serde_json::to_string_pretty(&status).map_err(Failure::new)? + "\n" } else { text(&status) })?;
    Ok(ExitCode::from(u8::from(!status.ok)))
}

/// The status as a short page; every line that wants a person begins with `!`.
fn text(status: &Status) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{} · tidegate {} · up {}", status.gateway, status.version, age(status.uptime_ms));
    if answers(&mut page, status, "broker", "broker") {
        broker_lines(&mut page, &status.broker);
    }
    for bus in &status.buses {
        if answers(&mut page, status, &format!("bus:{}", bus.name), &format!("bus {}", bus.name)) {
            bus_lines(&mut page, bus);
        }
    }
    if answers(&mut page, status, "outbox", "outbox") {
        outbox_lines(&mut page, &status.outbox);
    }
    for upstream in &status.upstreams {
        if answers(&mut page, status, &format!("bridge:{}", upstream.name), &format!("upstream {}", upstream.name)) {
            upstream_lines(&mut page, upstream);
        }
    }
    page
}

/// Whether `part` has answered. If not, this is all that there is to say of it.
fn answers(page: &mut String, status: &Status, part: &str, what: &str) -> bool {
    let silent = status.silent.iter().any(|name| name == part);
    if silent {
        line(page, false, what, "does not answer");
    }
    !silent
}

fn broker_lines(page: &mut String, broker: &BrokerStatus) {
    let BrokerStatus { clients, received, delivered, dropped_overflow: dropped, .. } = broker;
    let listeners = broker.listeners.join(" ");
    line(page, true, "broker", &format!("{listeners} · {clients} clients, {received} received, {delivered} delivered"));
    if *dropped > 0 {
        line(page, false, "", &format!("{dropped} readings or QoS 0 messages dropped since the start: there was no room to keep them"));
    }
}

fn line(page: &mut String, good: bool, what: &str, text: &str) {
    let _ = writeln!(page, "{} {what:<24} {text}", if good { ' ' } else { '!' });
}

fn bus_lines(page: &mut String, bus: &BusStatus) {
    let state = if bus.open { "open" } else { "closed" };
    let error = bus.last_error.as_deref().filter(|_| !bus.open).map(|e| format!(": {e}")).unwrap_or_default();
    line(page, bus.open, &format!("bus {}", bus.name), &format!("{} {state}{error}", bus.port));
    if bus.dropped > 0 {
        line(page, false, "", &format!("{} readings dropped since the start, on their way to the broker", bus.dropped));
    }
    for device in &bus.devices {
        let state = match device.state {
            DeviceState::Unknown => "nothing heard yet",
            DeviceState::Good => "good",
            DeviceState::Bad => "bad",
        };
        let last = device.last_good_age_ms.map(|ms| format!(", last good {} ago", age(ms))).unwrap_or_default();
        let errors = [
            ("timeouts", device.timeouts),
            ("checksum errors", device.crc_errors),
            ("exceptions", device.exceptions),
            ("decode errors", device.decode_errors),
        ];
        let errors: String = errors.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!(", {n} {kind}")).collect();
        let good = device.state != DeviceState::Bad;
        line(page, good, &format!("  device {}", device.name), &format!("{state}{last}, {} exchanges{errors}", device.exchanges));
    }
}

fn outbox_lines(page: &mut String, outbox: &OutboxStatus) {
    let state = match outbox.store {
        StoreState::Good => "good",
        StoreState::Full => "disk full: commits are tried again",
        StoreState::Diskless => "without a disk: what waits is in memory only",
    };
    let oldest = outbox.oldest_age_ms.map(|ms| format!(", oldest {}", age(ms))).unwrap_or_default();
    let used = format!("{} of {}", bytes(outbox.bytes), bytes(outbox.max_bytes));
    line(page, outbox.store == StoreState::Good, "outbox", &format!("{state} · {} entries{oldest}, {used}", outbox.entries));
    if outbox.dead_letters > 0 {
        line(page, true, "", &format!("{} dead letters", outbox.dead_letters));
    }
    if outbox.lost > 0 {
        line(page, true, "", &format!("{} messages lost to sessions, ever: their queue was full, or a row was damaged", outbox.lost));
    }
    for alarm in &outbox.alarms {
        line(page, false, "", alarm);
    }
}

fn upstream_lines(page: &mut String, upstream: &UpstreamStatus) {
    let state = match upstream.state {
        UpstreamState::Connecting => "connecting",
        UpstreamState::Connected => "connected",
        UpstreamState::Backoff => "away, trying again",
        UpstreamState::Refusing => "refuses everything",
    };
    let good = upstream.state == UpstreamState::Connected;
    let oldest = upstream.oldest_unacknowledged_age_ms.map(|ms| format!(", oldest unacknowledged {}", age(ms))).unwrap_or_default();
    let error = upstream.last_error.as_deref().filter(|_| !good).map(|e| format!(": {e}")).unwrap_or_default();
    line(page, good, &format!("upstream {}", upstream.name), &format!("{} {state}{error}", upstream.url));
    line(page, true, "", &format!("{} acknowledged, {} in flight{oldest}", upstream.acknowledged, upstream.in_flight));
}

/// `1.2 s`, `3 min`, `5 h`, `2 d`.
pub(super) fn age(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..=3_599_999 => format!("{} min", ms / 60_000),
        3_600_000..=172_799_999 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_begins_with_an_exclamation_mark() {
        let status = Status {
            version: "1".into(),
            gateway: "plant-7".into(),
            uptime_ms: 61_000,
            ok: false,
            silent: vec!["broker".into(), "bridge:spare".into()],
            broker: BrokerStatus::default(),
            buses: vec![BusStatus {
                name: "meters".into(),
                port: "/dev/ttyS0".into(),
                last_error: Some("No such file".into()),
                ..BusStatus::default()
            }],
            outbox: OutboxStatus { store: StoreState::Full, ..OutboxStatus::default() },
            upstreams: vec![
                UpstreamStatus { name: "cloud".into(), state: UpstreamState::Connected, ..UpstreamStatus::default() },
                UpstreamStatus { name: "spare".into(), ..UpstreamStatus::default() },
            ],
        };
        let page = text(&status);
        let bad: Vec<_> = page.lines().filter(|l| l.starts_with('!')).collect();
        let wants = [
            "! broker                   does not answer",
            "! bus meters               /dev/ttyS0 closed: No such file",
            "! outbox                   disk full",
            "! upstream spare           does not answer",
        ];
        assert!(bad.len() == wants.len() && bad.iter().zip(wants).all(|(line, want)| line.starts_with(want)), "{page}");
        assert!(page.starts_with("plant-7 · tidegate 1 · up 1 min\n"), "{page}");
    }

    #[test]
    fn ages_and_sizes_read_well() {
        for (ms, want) in [(5, "5 ms"), (1_250, "1.2 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 d")] {
            assert_eq!(age(ms), want);
        }
        for (n, want) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5120.0 GiB")] {
            assert_eq!(bytes(n), want);
        }
    }
}
