//! What to ask next on a Modbus bus, and what its answer means for the points. Pure.
//!
//! - Earliest deadline first; a deadline is one period after a block became due. What is late is not made up for.
//! - `max_failures` failures in a row make a device bad: it is then asked for one block after 1, 2, 4 … 60 s, whatever its periods, so that it
//!   costs at most one timeout a back-off period. Its first reply makes it good again, and all its points are due.
//! - A failed read publishes the block's points as bad; one of a bad device, and the one that makes it so, all points of the device.
//!   So a reader sees by their time that the gateway goes on asking.
//! - An exception makes the points of its block bad, and the device counts as alive.
//! - After a failure the rule of [`Late`]: the next reads to that unit and function expect replies of other lengths, or the unit rests.

use std::time::Duration;

use super::blocks::{Block, Extent, blocks};
use super::late::Late;
use super::{ModbusDevice, ModbusOptions};
use crate::modbus::{Read, UnitId, pdu};
use crate::model::status::{DeviceState, DeviceStatus};
use crate::model::{Cause, Mono, Value};

/// First and longest time between two requests to a bad device.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A block that cannot be asked for a reason that should not exist is looked at again this much later.
const NEVER_BUSY: Duration = Duration::from_secs(1);

/// What became of one point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// Its number on the bus, in the order of the site's file.
    pub(super) point: usize,
    pub(super) value: Result<Value, Cause>,
}

/// A read that is to be sent now. Exactly one of [`Plan::answered`], [`Plan::refused`], [`Plan::failed`] and [`Plan::abandoned`] follows.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) unit: UnitId,
    pub(super) read: Read,
    block: usize,
    /// The point behind the last one that the read covers, in the block.
    end: usize,
    extent: Extent,
}

#[derive(Debug)]
pub(super) struct Plan {
    devices: Vec<Device>,
    blocks: Vec<Block>,
    late: Late,
    points: usize,
}

#[derive(Debug)]
struct Device {
    unit: UnitId,
    max_failures: u32,
    failures: u32,
    /// Bad: when it is asked next, and how long it waited for that.
    backoff: Option<(Mono, Duration)>,
    last_good: Option<Mono>,
    status: DeviceStatus,
}

impl Plan {
    pub(super) fn new(options: &ModbusOptions) -> Self {
        Self {
            devices: options.devices.iter().map(Device::new).collect(),
            blocks: blocks(&options.devices),
            late: Late::new(options.late_window),
            points: options.devices.iter().map(|device| device.points.len()).sum(),
        }
    }

    /// What is to be asked now.
    ///
    /// # Errors
    /// Nothing: when to come again.
    pub(super) fn next(&mut self, now: Mono) -> Result<Ask, Mono> {
        self.late.expire(now);
        loop {
            let mut wake = Mono::from_nanos(u64::MAX);
            let mut best: Option<(Mono, usize)> = None;
            for (index, block) in self.blocks.iter().enumerate() {
                let Some(device) = self.devices.get(block.device) else { continue };
                let due = device.backoff.map_or(block.due, |(at, _)| at);
                let ready = due.max(self.late.rests_until(device.unit));
                let deadline = block.due + block.period;
                if ready > now {
                    wake = wake.min(ready);
                } else if best.is_none_or(|(earliest, _)| deadline < earliest) {
                    best = Some((deadline, index));
                }
            }
            let Some((_, index)) = best else { return Err(wake) };
            if let Some(ask) = self.ask(index) {
                if let Some(device) = self.device_of(&ask) {
                    device.status.exchanges += 1;
                }
                return Ok(ask);
            }
            self.rest(index, now);
        }
    }

    /// The best read of this block whose reply cannot be taken for a late one.
    fn ask(&self, index: usize) -> Option<Ask> {
        let block = self.blocks.get(index)?;
        let unit = self.devices.get(block.device)?.unit;
        let (read, end, extent) = block.reads().find(|(read, ..)| !self.late.confuses(unit, *read))?;
        Some(Ask { unit, read, block: index, end, extent })
    }

    fn rest(&mut self, index: usize, now: Mono) {
        let Some(block) = self.blocks.get_mut(index) else { return };
        let unit = self.devices.get(block.device).map(|device| device.unit);
        let read = block.whole();
        let rests = unit.zip(read).is_some_and(|(unit, read)| self.late.rest(unit, read.first().table));
        if !rests {
            // With nothing late, the whole block is always free to ask; this only keeps a mistake from spinning.
            block.due = now + NEVER_BUSY;
            if let Some(device) = self.devices.get_mut(block.device) {
                device.backoff = device.backoff.map(|(_, delay)| (now + NEVER_BUSY, delay));
            }
        }
    }

    /// The reply came: `data` is what it carried, of the length that the read asked for.
    pub(super) fn answered(&mut self, ask: &Ask, data: &[u8], now: Mono, out: &mut Vec<Reading>) {
        self.alive(ask, now);
        let Some(block) = self.blocks.get_mut(ask.block) else { return };
        let spans = block.points.get(block.cursor..ask.end).unwrap_or_default();
        let before = out.len();
        out.extend(spans.iter().map(|span| Reading { point: span.point, value: span.value(ask.read, data) }));
        let undecoded = out.iter().skip(before).filter(|reading| reading.value.is_err()).count();
        if ask.end < block.points.len() {
            block.cursor = ask.end;
        } else {
            block.done(now);
        }
        if let Some(device) = self.device_of(ask) {
            device.status.decode_errors += undecoded as u64;
            device.last_good = Some(now);
        }
    }

    /// The device answered with an exception. If it `may_be_late`, the answer to this very read may still come.
    pub(super) fn refused(&mut self, ask: &Ask, code: u8, may_be_late: bool, now: Mono, out: &mut Vec<Reading>) {
        if may_be_late {
            self.late.add(ask.unit, ask.read, now);
        }
        if let Some(device) = self.device_of(ask) {
            device.status.exceptions += 1;
        }
        self.alive(ask, now);
        let Some(block) = self.blocks.get_mut(ask.block) else { return };
        if ask.extent != Extent::Whole && matches!(code, pdu::ILLEGAL_ADDRESS | pdu::ILLEGAL_VALUE) {
            // Not the site's fault: the quantity was ours. Its own one is asked for when nothing late can be taken for its reply.
            match ask.extent {
                Extent::Fewer => block.refuses.fewer = true,
                Extent::More | Extent::Whole => block.refuses.more = true,
            }
            block.cursor = 0;
            self.late.rest(ask.unit, ask.read.first().table);
            return;
        }
        out.extend(block.rest_is(Cause::Exception(code)));
        block.done(now);
    }

    /// No valid reply came in time.
    pub(super) fn failed(&mut self, ask: &Ask, cause: Cause, now: Mono, out: &mut Vec<Reading>) {
        self.late.add(ask.unit, ask.read, now);
        let Some(block) = self.blocks.get_mut(ask.block) else { return };
        let index = block.device;
        let rest: Vec<_> = block.rest_is(cause).collect();
        block.done(now);
        let Some(device) = self.devices.get_mut(index) else { return };
        if device.failed(cause, now) {
            let blocks = self.blocks.iter().filter(|block| block.device == index);
            out.extend(blocks.flat_map(|block| block.points.iter().map(|span| Reading { point: span.point, value: Err(cause) })));
        } else {
            out.extend(rest);
        }
    }

    /// The port was lost under this read.
    pub(super) fn abandoned(&mut self, ask: &Ask, now: Mono) {
        self.late.add(ask.unit, ask.read, now);
    }

    /// Whether an exception to this read may belong to an earlier one.
    pub(super) fn may_be_late(&mut self, ask: &Ask, now: Mono) -> bool {
        self.late.expire(now);
        self.late.confuses_exceptions(ask.unit, ask.read.first().table)
    }

    /// The port is open: everything is due, and nobody is bad until shown.
    pub(super) fn opened(&mut self, now: Mono) {
        for device in &mut self.devices {
            device.failures = 0;
            device.backoff = None;
        }
        for block in &mut self.blocks {
            block.due = now;
            block.cursor = 0;
        }
    }

    /// The port is not there: all points are bad.
    pub(super) fn closed(&mut self, out: &mut Vec<Reading>) {
        for device in &mut self.devices {
            device.status.state = DeviceState::Bad;
        }
        out.extend((0..self.points).map(|point| Reading { point, value: Err(Cause::Closed) }));
    }

    /// A frame of `unit`, or bytes while `ask` was out, belonged to no request.
    pub(super) fn skipped(&mut self, unit: Option<UnitId>, ask: Option<&Ask>) {
        let of_unit = unit.and_then(|unit| self.devices.iter().position(|device| device.unit == unit));
        let of_ask = || self.blocks.get(ask?.block).map(|block| block.device);
        let device = of_unit.or_else(of_ask).and_then(|index| self.devices.get_mut(index));
        if let Some(device) = device {
            device.status.skipped += 1;
        }
    }

    pub(super) fn status(&self, now: Mono) -> Vec<DeviceStatus> {
        let age = |at: Mono| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        self.devices.iter().map(|d| DeviceStatus { last_good_age_ms: d.last_good.map(age), ..d.status.clone() }).collect()
    }

    fn device_of(&mut self, ask: &Ask) -> Option<&mut Device> {
        let index = self.blocks.get(ask.block)?.device;
        self.devices.get_mut(index)
    }

    fn alive(&mut self, ask: &Ask, now: Mono) {
        let Some(index) = self.blocks.get(ask.block).map(|block| block.device) else { return };
        let Some(device) = self.devices.get_mut(index) else { return };
        if device.alive() {
            self.blocks.iter_mut().filter(|block| block.device == index).for_each(|block| block.due = block.due.min(now));
        }
    }
}

impl Block {
    /// Its turn is over.
    fn done(&mut self, now: Mono) {
        self.cursor = 0;
        self.due = (self.due + self.period).max(now);
    }

    /// The points that this turn has not read yet.
    fn rest_is(&self, cause: Cause) -> impl Iterator<Item = Reading> {
        let spans = self.points.get(self.cursor..).unwrap_or_default();
        spans.iter().map(move |span| Reading { point: span.point, value: Err(cause) })
    }
}

impl Device {
    fn new(options: &ModbusDevice) -> Self {
        Self {
            unit: options.unit_id,
            max_failures: options.max_failures.max(1),
            failures: 0,
            backoff: None,
            last_good: None,
            status: DeviceStatus { name: options.name.to_string(), ..DeviceStatus::default() },
        }
    }

    /// Whether it was bad until now.
    fn alive(&mut self) -> bool {
        self.failures = 0;
        self.status.state = DeviceState::Good;
        let was_bad = self.backoff.take().is_some();
        if was_bad {
            tracing::info!(device = %self.status.name, "the device answers again");
        }
        was_bad
    }

    /// Whether it is bad now.
    fn failed(&mut self, cause: Cause, now: Mono) -> bool {
        match cause {
            Cause::Timeout => self.status.timeouts += 1,
            _ => self.status.crc_errors += 1,
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.max_failures {
            return false;
        }
        let (first, longest) = BACKOFF;
        let delay = match self.backoff {
            Some((_, delay)) => (delay * 2).min(longest),
            None => {
                tracing::warn!(device = %self.status.name, failures = self.failures, ?cause, "the device does not answer; asking less often");
                first
            }
        };
        self.status.state = DeviceState::Bad;
        self.backoff = Some((now + delay, delay));
        true
    }
}

#[cfg(test)]
mod tests;
