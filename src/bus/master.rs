//! The master of an RTU line: bytes and times in, requests and readings out. Pure.

use std::ops::Range;
use std::time::Duration;

use super::capture::{Capture, Direction};
use super::plan::{Ask, Plan, Reading};
use super::timing::Timing;
use super::{Line, ModbusOptions};
use crate::modbus::rtu::{self, Expected, Found};
use crate::model::status::DeviceStatus;
use crate::model::{Cause, Mono};

/// Bytes that wait to be understood; beyond it the oldest are forgotten. Four of the longest frames.
const BUFFER_MAX: usize = 4 * rtu::FRAME_MAX;
/// A bus that never gets quiet is asked all the same after this, so that its points do not keep their last value for ever.
const DRAIN_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    /// The port was opened.
    Opened,
    /// The port is not there, or was lost. May come again and again.
    Closed,
    Received(&'a [u8]),
    /// The request of the last effects was handed to the port.
    Sent,
    /// Some time has gone by, and all that the port held was handed in as [`Event::Received`] before. Nothing is sent but here.
    Tick,
}

#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To be written at once; then comes [`Event::Sent`].
    pub(super) send: Option<Vec<u8>>,
    pub(super) readings: Vec<Reading>,
}

#[derive(Debug)]
pub(super) struct Master {
    plan: Plan,
    timing: Timing,
    timeout: Duration,
    state: State,
    /// What came since the last request, or since it was understood.
    buffer: Vec<u8>,
    received_at: Mono,
    /// When the last byte of the last request has left, as computed.
    sent_until: Mono,
    capture: Capture,
}

#[derive(Debug)]
enum State {
    /// Not opened yet (`said` false), or lost.
    Closed {
        said: bool,
    },
    /// Nothing is out; there may be something to ask at `wake`.
    Idle {
        wake: Mono,
    },
    Sending(Ask),
    Waiting(Wait),
    /// Whatever comes belongs to nothing, until it is quiet at `until`, or it is `limit`.
    Draining {
        until: Mono,
        limit: Mono,
    },
}

#[derive(Debug)]
struct Wait {
    ask: Ask,
    deadline: Mono,
    /// An exception that may be the answer, or a late one.
    exception: Option<u8>,
    /// Something came that was no whole reply of anybody.
    noise: bool,
    /// What an adapter that hears itself gives back first.
    echo: Option<Vec<u8>>,
}

impl Master {
    pub(super) fn new(line: &Line, options: &ModbusOptions) -> Self {
        Self {
            plan: Plan::new(options),
            timing: Timing::new(line),
            timeout: options.timeout,
            state: State::Closed { said: false },
            buffer: Vec::new(),
            received_at: Mono::ZERO,
            sent_until: Mono::ZERO,
            capture: Capture::default(),
        }
    }

    pub(super) fn apply(&mut self, event: Event<'_>, now: Mono) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Opened => {
                self.plan.opened(now);
                self.drain(now + self.timing.gap, now);
            }
            Event::Closed => self.close(now, &mut effects.readings),
            Event::Received(bytes) => self.receive(bytes, now, &mut effects.readings),
            Event::Sent => self.sent(now),
            Event::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    /// When the next [`Event::Tick`] is due.
    pub(super) fn wake(&self) -> Mono {
        match &self.state {
            State::Closed { .. } | State::Sending(_) => Mono::from_nanos(u64::MAX),
            State::Idle { wake } => *wake,
            State::Waiting(wait) => wait.deadline,
            State::Draining { until, limit } => (*until).min(*limit),
        }
    }

    pub(super) fn status(&self, now: Mono) -> Vec<DeviceStatus> {
        self.plan.status(now)
    }

    pub(super) const fn capture(&self) -> &Capture {
        &self.capture
    }

    fn close(&mut self, now: Mono, out: &mut Vec<Reading>) {
        match std::mem::replace(&mut self.state, State::Closed { said: true }) {
            State::Closed { said: true } => return,
            // An adapter that comes back may still hand out its reply.
            State::Sending(ask) | State::Waiting(Wait { ask, .. }) => self.plan.abandoned(&ask, now),
            State::Closed { said: false } | State::Idle { .. } | State::Draining { .. } => {}
        }
        self.buffer.clear();
        self.plan.closed(out);
    }

    fn receive(&mut self, bytes: &[u8], now: Mono, out: &mut Vec<Reading>) {
        self.capture.push(now, Direction::Received, bytes);
        if now.since(self.received_at) >= self.timing.gap {
            self.forget(0..self.buffer.len());
        }
        self.received_at = now;
        self.buffer.extend_from_slice(bytes);
        self.forget(0..self.buffer.len().saturating_sub(BUFFER_MAX));
        match self.state {
            State::Waiting(_) => self.find(now, out),
            State::Idle { .. } => self.drain(now + self.timing.gap, now),
            State::Draining { limit, .. } => self.state = State::Draining { until: now + self.timing.gap, limit },
            State::Closed { .. } | State::Sending(_) => {}
        }
    }

    /// Looks for the reply in the buffer.
    fn find(&mut self, now: Mono, out: &mut Vec<Reading>) {
        loop {
            let State::Waiting(wait) = &mut self.state else { return };
            if let Some(echo) = &wait.echo
                && self.buffer.len() >= echo.len()
            {
                if self.buffer.starts_with(echo) {
                    self.buffer.drain(..echo.len());
                }
                wait.echo = None;
            }
            let found = Expected::of(wait.ask.unit, wait.ask.read).find(&self.buffer);
            let ask = wait.ask.clone();
            match found {
                None => return,
                Some(Found::Data { data, frame }) => {
                    let data = self.buffer.get(data).unwrap_or_default();
                    self.plan.answered(&ask, data, now, out);
                    return self.answered(frame, now);
                }
                Some(Found::Exception { code, frame }) if self.plan.may_be_late(&ask, now) => {
                    wait.exception = Some(code);
                    self.forget(0..frame.start);
                    self.buffer.drain(..frame.len().min(self.buffer.len()));
                }
                Some(Found::Exception { code, frame }) => {
                    self.plan.refused(&ask, code, false, now, out);
                    return self.answered(frame, now);
                }
            }
        }
    }

    /// The answer stood in `frame` of the buffer.
    fn answered(&mut self, frame: Range<usize>, now: Mono) {
        self.forget(0..frame.start);
        self.buffer.drain(..frame.len().min(self.buffer.len()));
        if self.buffer.is_empty() {
            self.idle(self.quiet_at());
        } else {
            self.drain(now + self.timing.gap, now);
        }
    }

    fn sent(&mut self, now: Mono) {
        let State::Sending(ask) = &self.state else { return };
        let ask = ask.clone();
        let request = rtu::encode_request(ask.unit, ask.read);
        self.capture.push(now, Direction::Sent, &request);
        self.sent_until = now + self.timing.wire(request.len());
        let deadline = self.sent_until + self.timeout;
        self.state = State::Waiting(Wait { ask, deadline, exception: None, noise: false, echo: Some(request) });
    }

    fn tick(&mut self, now: Mono, effects: &mut Effects) {
        match &self.state {
            State::Waiting(wait) if now >= wait.deadline => self.time_out(now, &mut effects.readings),
            State::Draining { until, limit } if now >= *until || now >= *limit => {
                self.forget(0..self.buffer.len());
                self.ask(now, effects);
            }
            State::Idle { wake } if now >= *wake => {
                let quiet_at = self.quiet_at();
                if now >= quiet_at { self.ask(now, effects) } else { self.idle(quiet_at) }
            }
            _ => {}
        }
    }

    fn ask(&mut self, now: Mono, effects: &mut Effects) {
        match self.plan.next(now) {
            Ok(ask) => {
                effects.send = Some(rtu::encode_request(ask.unit, ask.read));
                self.state = State::Sending(ask);
            }
            Err(wake) => self.idle(wake),
        }
    }

    fn time_out(&mut self, now: Mono, out: &mut Vec<Reading>) {
        // What stands in the buffer counts for this request; what completes it later, for none.
        self.note_noise(0..self.buffer.len());
        let State::Waiting(wait) = std::mem::replace(&mut self.state, State::Idle { wake: now }) else { return };
        match wait.exception {
            Some(code) => self.plan.refused(&wait.ask, code, true, now, out),
            None => self.plan.failed(&wait.ask, if wait.noise { Cause::Crc } else { Cause::Timeout }, now, out),
        }
        let quiet_at = if self.buffer.is_empty() { self.quiet_at() } else { self.received_at + self.timing.gap };
        self.drain(quiet_at.max(now), now);
    }

    fn idle(&mut self, wake: Mono) {
        self.state = State::Idle { wake };
    }

    fn drain(&mut self, until: Mono, now: Mono) {
        self.state = State::Draining { until, limit: now + DRAIN_MAX };
    }

    /// The earliest time to send: t3.5 after the last byte on the wire.
    fn quiet_at(&self) -> Mono {
        self.received_at.max(self.sent_until) + self.timing.silence
    }

    /// Drops what turned out to belong to nobody who was asked, and counts it.
    fn forget(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.note_noise(range.clone());
        let ask = if let State::Waiting(wait) = &self.state { Some(&wait.ask) } else { None };
        let frames = self.buffer.get(range.clone()).map(rtu::replies).unwrap_or_default();
        for frame in &frames {
            self.plan.skipped(Some(frame.unit), ask);
        }
        if frames.is_empty() {
            self.plan.skipped(None, ask);
        }
        self.buffer.drain(range.start..range.end.min(self.buffer.len()));
    }

    fn note_noise(&mut self, range: Range<usize>) {
        if let (State::Waiting(wait), Some(bytes)) = (&mut self.state, self.buffer.get(range)) {
            let whole: usize = rtu::replies(bytes).iter().map(|reply| reply.frame.len()).sum();
            wait.noise |= whole < bytes.len();
        }
    }
}

#[cfg(test)]
mod tests;
