//! A framed serial port: sensors that send lines by themselves. [`Lines`] is the state, without I/O; [`run`] is its task.
//!
//! Nothing is ever asked, so silence is no fault: a point keeps its last value until a frame or the loss of the port changes it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc::error::TrySendError;

use super::{Links, Options, SerialDevice, SerialOptions, serial};
use crate::clock;
use crate::faults::{self, PartFault};
use crate::frame::Framer;
use crate::frame::decode::{Decoder, Field};
use crate::model::status::{BusStatus, DeviceState, DeviceStatus};
use crate::model::{Cause, Message, Mono, Now, Phase, Query, Value};
use crate::normalize::Normalizer;

/// A port that is away is tried this often. A sensor that is plugged in again is heard within two of these.
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// Frames in a row without one readable value after which a device is bad.
const FAILURES_MAX: u32 = 3;
/// Bytes a read; at 115,200 baud a third of a second.
const READ_SIZE: usize = 4_096;
/// Bytes of a frame that a log line shows.
const SHOWN_MAX: usize = 80;

/// Runs the port until [`Phase::StopBuses`].
pub(super) async fn run(options: &Options, framed: &SerialOptions, mut links: Links) {
    let mut lines = Lines::new(&options.name, &options.port.to_string_lossy(), framed);
    let mut port = None;
    let mut retry = clock::mono();
    let mut buffer = vec![0; READ_SIZE];
    loop {
        links.heartbeat.beat();
        match faults::part(links.heartbeat.part()) {
            Some(PartFault::Hang) => std::future::pending().await,
            Some(PartFault::End) => return,
            None => {}
        }
        if port.is_none() && clock::mono() >= retry {
            match serial::open(&options.port, &options.line) {
                Ok(opened) => {
                    port = Some(opened);
                    lines.opened();
                }
                Err(error) => send(&mut lines, &links, |lines, out| lines.lost(&error.to_string(), clock::now(), out)),
            }
            retry = clock::mono() + REOPEN_EVERY;
        }
        let wake = clock::mono() + links.heartbeat.every();
        let wake = if port.is_none() { wake.min(retry) } else { wake };
        match next(&mut links, port.as_mut(), &mut buffer, wake).await {
            Event::Stop => return,
            // Who asked may have gone.
            Event::Query(query) => drop(query.reply.send(lines.status(clock::mono()))),
            Event::Read(Ok(read @ 1..)) => {
                let bytes = buffer.get(..read).unwrap_or_default();
                send(&mut lines, &links, |lines, out| lines.read(bytes, clock::now(), out));
            }
            Event::Read(ended) => {
                port = None;
                let error = ended.map_or_else(|error| error.to_string(), |_| "the port was hung up".to_owned());
                send(&mut lines, &links, |lines, out| lines.lost(&error, clock::now(), out));
            }
            Event::Woke => {}
        }
    }
}

enum Event {
    Stop,
    Query(Query<BusStatus>),
    /// As of `read`; 0 bytes are the end of a port.
    Read(std::io::Result<usize>),
    Woke,
}

async fn next(links: &mut Links, port: Option<&mut (impl AsyncRead + Unpin)>, buffer: &mut [u8], wake: Mono) -> Event {
    let read = async {
        match port {
            Some(port) => port.read(buffer).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // An error is the end of who would say it.
        _ = links.phase.wait_for(|phase| *phase >= Phase::StopBuses) => Event::Stop,
        Some(query) = links.query.recv() => Event::Query(query),
        read = read => Event::Read(read),
        () = clock::sleep_until(wake) => Event::Woke,
    }
}

/// Hands the messages of one event to the broker. What it has no room for is dropped and counted: this port must not wait, and the next reading is
/// newer.
fn send(lines: &mut Lines, links: &Links, event: impl FnOnce(&mut Lines, &mut Vec<(usize, Message)>)) {
    let mut messages = Vec::new();
    event(lines, &mut messages);
    for (point, message) in messages {
        match links.to_broker.try_send(message) {
            Ok(()) => lines.taken(),
            Err(TrySendError::Full(_)) => lines.dropped(point),
            // The broker has ended; the drain will end this bus, too.
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

/// What a framed port has heard. Bytes and times in, messages with their point's number out.
#[derive(Debug)]
struct Lines {
    bus: Arc<str>,
    port: String,
    open: bool,
    last_error: Option<String>,
    framer: Framer,
    normalizer: Normalizer,
    devices: Vec<Device>,
    dropped: u64,
    /// The last message was dropped; said once.
    dropping: bool,
    /// Points whose reading "closed" was dropped. No other comes while the port is away, so it is handed over again until it is taken.
    unsaid: Vec<usize>,
    /// Since the port was opened, a frame was read by a device, or one that nobody reads was shown.
    first_seen: bool,
}

#[derive(Debug)]
struct Device {
    name: Arc<str>,
    decoder: Decoder,
    fields: Vec<Field>,
    /// Its points' numbers.
    points: Range<usize>,
    failures: u32,
    last_good: Option<Mono>,
    status: DeviceStatus,
}

impl Lines {
    fn new(bus: &Arc<str>, port: &str, options: &SerialOptions) -> Self {
        let mut next = 0;
        let devices = options.devices.iter().map(|device| {
            let points = next..next + device.points.len();
            next = points.end;
            Device::new(device, points)
        });
        Self {
            bus: bus.clone(),
            port: port.to_owned(),
            open: false,
            last_error: None,
            framer: Framer::new(options.framing.clone()),
            devices: devices.collect(),
            normalizer: Normalizer::new(options.devices.iter().flat_map(|d| d.points.iter().map(|p| p.publish.clone()))),
            dropped: 0,
            dropping: false,
            unsaid: Vec::new(),
            first_seen: false,
        }
    }

    fn opened(&mut self) {
        tracing::info!(bus = %self.bus, port = %self.port, "the port is open");
        self.framer.reset();
        self.unsaid.clear();
        self.first_seen = false;
        self.open = true;
        self.last_error = None;
    }

    /// The port was lost or cannot be opened: all its points are bad, which is said and published once.
    fn lost(&mut self, error: &str, now: Now, out: &mut Vec<(usize, Message)>) {
        if !self.open && self.last_error.is_some() {
            self.last_error = Some(error.to_owned());
            for point in std::mem::take(&mut self.unsaid) {
                out.extend(self.normalizer.apply(point, Err(Cause::Closed), now).map(|message| (point, message)));
            }
            return;
        }
        tracing::warn!(bus = %self.bus, port = %self.port, error, "the port is away; trying again until it is back");
        self.open = false;
        self.last_error = Some(error.to_owned());
        for device in &mut self.devices {
            device.status.state = DeviceState::Bad;
            for point in device.points.clone() {
                out.extend(self.normalizer.apply(point, Err(Cause::Closed), now).map(|message| (point, message)));
            }
        }
    }

    fn read(&mut self, bytes: &[u8], now: Now, out: &mut Vec<(usize, Message)>) {
        let Self { bus, framer, normalizer, devices, first_seen, .. } = self;
        let overlong = framer.overlong();
        framer.feed(bytes, |frame| {
            let mut taken = false;
            for device in devices.iter_mut() {
                let Some(values) = device.frame(frame, now.mono) else { continue };
                taken = true;
                for (point, value) in device.points.clone().zip(values) {
                    out.extend(normalizer.apply(point, value, now).map(|message| (point, message)));
                }
            }
            if !taken && !*first_seen {
                tracing::warn!(bus = %bus, frame = %shown(frame), "no device on this bus reads this frame; compare it with their patterns");
            }
            *first_seen = true;
        });
        let overlong = framer.overlong() - overlong;
        for device in devices {
            device.status.skipped += overlong;
        }
    }

    fn taken(&mut self) {
        if self.dropping {
            tracing::info!(bus = %self.bus, dropped = self.dropped, "the broker takes readings again");
            self.dropping = false;
        }
    }

    fn dropped(&mut self, point: usize) {
        if !self.dropping {
            tracing::warn!(bus = %self.bus, "the broker has no room for readings; dropping the newest");
            self.dropping = true;
        }
        self.dropped += 1;
        self.normalizer.forget(point);
        if !self.open {
            self.unsaid.push(point);
        }
    }

    fn status(&self, now: Mono) -> BusStatus {
        BusStatus {
            name: self.bus.to_string(),
            port: self.port.clone(),
            open: self.open,
            last_error: self.last_error.clone(),
            dropped: self.dropped,
            devices: self.devices.iter().map(|device| device.status(now)).collect(),
        }
    }
}

impl Device {
    fn new(options: &SerialDevice, points: Range<usize>) -> Self {
        Self {
            name: options.name.clone(),
            decoder: options.decoder.clone(),
            fields: options.points.iter().map(|point| point.field.clone()).collect(),
            points,
            failures: 0,
            last_good: None,
            status: DeviceStatus { name: options.name.to_string(), ..DeviceStatus::default() },
        }
    }

    /// The points' values, if the frame is this device's.
    fn frame(&mut self, frame: &[u8], now: Mono) -> Option<Vec<Result<Value, Cause>>> {
        let Some(values) = self.decoder.decode(frame, &self.fields) else {
            self.status.skipped += 1;
            return None;
        };
        self.status.exchanges += 1;
        if values.iter().any(Result::is_err) {
            self.status.decode_errors += 1;
        }
        if values.iter().any(Result::is_ok) {
            if self.status.state == DeviceState::Bad && self.failures > 0 {
                tracing::info!(device = %self.name, "the device's frames can be read again");
            }
            self.status.state = DeviceState::Good;
            self.failures = 0;
            self.last_good = Some(now);
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures == FAILURES_MAX {
                tracing::warn!(device = %self.name, frame = %shown(frame), "{FAILURES_MAX} frames in a row without a readable value");
                self.status.state = DeviceState::Bad;
            }
        }
        Some(values)
    }

    fn status(&self, now: Mono) -> DeviceStatus {
        let age = self.last_good.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
        DeviceStatus { last_good_age_ms: age, ..self.status.clone() }
    }
}

/// The beginning of a frame, with everything that is no printable ASCII escaped: a log is read in a terminal.
fn shown(frame: &[u8]) -> String {
    let mut text = frame.get(..SHOWN_MAX).unwrap_or(frame).escape_ascii().to_string();
    if frame.len() > SHOWN_MAX {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::SerialPoint;
    use crate::frame::Framing;
    use crate::model::{Topic, Wall};
    use crate::normalize::{PointOptions, json};

    fn device(name: &str, pattern: &str, groups: &[&str]) -> SerialDevice {
        let point = |group: &&str| SerialPoint {
            name: (*group).into(),
            field: Field::Group((*group).into()),
            publish: PointOptions {
                topic: Topic::new(&format!("{name}/{group}")).unwrap(),
                unit: None,
                scale: 1.0,
                offset: 0.0,
                decimals: Some(1),
                deadband: Some(0.5),
                max_silence: None,
            },
        };
        SerialDevice {
            name: name.into(),
            decoder: Decoder::Regex(regex::Regex::new(pattern).unwrap()),
            points: groups.iter().map(point).collect(),
        }
    }

    fn lines() -> Lines {
        let devices = vec![device("air", r"^T=(?<t>\S*) H=(?<h>\S*)$", &["t", "h"]), device("wind", r"^W=(?<w>\S*)$", &["w"])];
        Lines::new(
            &"weather".into(),
            "/dev/ttyS1",
            &SerialOptions { framing: Framing { delimiter: b"\n".to_vec(), max_length: 20 }, devices },
        )
    }

    fn now(second: u64) -> Now {
        Now { mono: Mono::from_millis(second * 1_000), wall: Wall(0) }
    }

    /// What an event published: topic and what stands before the unit-less sample's time.
    fn published(event: impl FnOnce(&mut Vec<(usize, Message)>)) -> Vec<String> {
        let mut out = Vec::new();
        event(&mut out);
        out.iter()
            .map(|(_, m)| {
                format!("{} {}", m.topic, String::from_utf8_lossy(&json(&m.body)).replace(r#","t":"1970-01-01T00:00:00.000Z""#, ""))
            })
            .collect()
    }

    fn read(lines: &mut Lines, bytes: &str, second: u64) -> Vec<String> {
        published(|out| lines.read(bytes.as_bytes(), now(second), out))
    }

    #[test]
    fn each_device_reads_its_own_frames() {
        let mut lines = lines();
        lines.opened();
        assert_eq!(read(&mut lines, "=9 H=9\nT=21.5 H=4", 1), [""; 0], "the first frame's beginning was not seen");
        assert_eq!(
            read(&mut lines, "0\nW=3\nnoise\n", 2),
            [r#"air/t {"v":21.5,"q":"good"}"#, r#"air/h {"v":40.0,"q":"good"}"#, r#"wind/w {"v":3.0,"q":"good"}"#]
        );
        assert_eq!(read(&mut lines, "T=22 H=40.2\n", 3), [r#"air/t {"v":22.0,"q":"good"}"#], "the other is within its deadband");
        assert_eq!(
            read(&mut lines, "T=x H=\n", 4),
            [r#"air/t {"v":null,"q":"bad","cause":"decode"}"#, r#"air/h {"v":null,"q":"bad","cause":"decode"}"#]
        );
        assert_eq!(read(&mut lines, "a line that is much too long\nW=9\n", 5), [r#"wind/w {"v":9.0,"q":"good"}"#]);
        let status = lines.status(now(6).mono);
        let counts: Vec<_> =
            status.devices.iter().map(|d| (d.name.as_str(), d.exchanges, d.decode_errors, d.skipped, d.last_good_age_ms)).collect();
        assert_eq!(counts, [("air", 3, 1, 4, Some(2_000)), ("wind", 2, 0, 5, Some(1_000))]);
    }

    #[test]
    fn a_lost_port_is_published_once_and_half_a_frame_forgotten() {
        let mut lines = lines();
        let closed = |point: &str| format!(r#"{point} {{"v":null,"q":"bad","cause":"closed"}}"#);
        let all = ["air/t", "air/h", "wind/w"].map(closed);
        assert_eq!(published(|out| lines.lost("no such file", now(0), out)), all, "a port that was never there");
        assert_eq!(published(|out| lines.lost("still none", now(1), out)), [""; 0]);
        lines.dropped(1);
        assert_eq!(published(|out| lines.lost("still none", now(1), out)), [closed("air/h")], "the broker had no room for it");
        assert_eq!(published(|out| lines.lost("still none", now(1), out)), [""; 0]);
        assert_eq!(lines.status(now(1).mono).last_error.as_deref(), Some("still none"));
        lines.opened();
        assert_eq!(read(&mut lines, "\nW=3\nW=4", 2), [r#"wind/w {"v":3.0,"q":"good"}"#]);
        assert!(lines.status(now(1).mono).open);
        assert_eq!(published(|out| lines.lost("input/output error", now(3), out)), all);
        assert!(!lines.status(now(1).mono).open);
        lines.opened();
        assert_eq!(read(&mut lines, "2\nW=3\n", 4), [r#"wind/w {"v":3.0,"q":"good"}"#], "the same value again, after a failed one");
    }

    #[test]
    fn a_device_is_bad_after_frames_in_a_row_without_a_value() {
        let mut lines = lines();
        let state = |lines: &Lines| lines.status(Mono::ZERO).devices[0].state;
        lines.opened();
        assert_eq!(state(&lines), DeviceState::Unknown);
        for (frame, want) in [
            ("\nT= H=\n", DeviceState::Unknown),
            ("T= H=\n", DeviceState::Unknown),
            ("T= H=1\n", DeviceState::Good),
            ("T= H=\nT= H=\n", DeviceState::Good),
            ("T= H=\n", DeviceState::Bad),
            ("T=1 H=\n", DeviceState::Good),
        ] {
            read(&mut lines, frame, 0);
            assert_eq!(state(&lines), want, "after {frame:?}");
        }
    }

    #[test]
    fn a_dropped_reading_does_not_count_as_published() {
        let mut lines = lines();
        lines.opened();
        assert_eq!(read(&mut lines, "\nW=3\n", 0).len(), 1);
        assert_eq!(read(&mut lines, "W=3\n", 1).len(), 0);
        lines.dropped(2);
        assert_eq!(read(&mut lines, "W=3\n", 2).len(), 1);
        assert_eq!(lines.status(Mono::ZERO).dropped, 1);
    }

    #[test]
    fn what_a_log_shows_of_a_frame_is_short_and_printable() {
        assert_eq!(shown(b"T=\x1b[2J\xff"), r"T=\x1b[2J\xff");
        assert_eq!(shown(&[b'a'; 100]).len(), SHOWN_MAX + 4);
    }
}
