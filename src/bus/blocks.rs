//! Which points are read together. Pure.

use std::time::Duration;

use super::ModbusDevice;
use crate::modbus::{ByteOrder, Read, RegisterAddress, Table, ValueType, pdu, register};
use crate::model::{Cause, Mono, Value};

/// Points without a gap between them, in one table and with one period, that fit into one read. Not empty.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) device: usize,
    pub(super) period: Duration,
    pub(super) points: Vec<Span>,
    table: Table,
    /// When it is to be asked next.
    pub(super) due: Mono,
    /// The points before this one have been read in this turn already, because the block is being read in parts.
    pub(super) cursor: usize,
    /// The device has refused to read a part of the block, or more than it.
    pub(super) refuses: Refuses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Refuses {
    pub(super) fewer: bool,
    pub(super) more: bool,
}

/// Where a point lies.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// Its number on the bus.
    pub(super) point: usize,
    first: u16,
    /// Behind its last register; up to 65,536.
    end: u32,
    value_type: ValueType,
    order: ByteOrder,
}

/// Whether a read is the block as it stands in the site's file, or altered to tell it from one that has had no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Fewer,
    More,
}

impl Block {
    /// The read of all its points. `None` only for a block that [`blocks`] does not make.
    pub(super) fn whole(&self) -> Option<Read> {
        self.part(0, self.points.len())
    }

    /// The reads by which points can be had from the cursor on, best first, each with the point behind its last one: as many as possible, then fewer,
    /// down to one point; then a few registers more than needed, behind the block or, where the table ends, before it.
    pub(super) fn reads(&self) -> impl Iterator<Item = (Read, usize, Extent)> {
        let all = self.points.len();
        let parts = (self.cursor + 1..=all).rev().filter_map(move |end| {
            let extent = if self.cursor == 0 && end == all { Extent::Whole } else { Extent::Fewer };
            let refused = extent == Extent::Fewer && self.refuses.fewer;
            (!refused).then_some((self.part(self.cursor, end)?, end, extent))
        });
        let rest = self.part(self.cursor, all).filter(|_| !self.refuses.more);
        let more = rest.into_iter().flat_map(move |rest| {
            let RegisterAddress { table, address } = rest.first();
            (1..pdu::quantity_max(table)).filter_map(move |extra| {
                let quantity = rest.quantity().checked_add(extra)?;
                let before = || Read::new(RegisterAddress { table, address: address.checked_sub(extra)? }, quantity);
                Some((Read::new(rest.first(), quantity).or_else(before)?, all, Extent::More))
            })
        });
        parts.chain(more)
    }

    fn part(&self, from: usize, to: usize) -> Option<Read> {
        let spans = self.points.get(from..to)?;
        let address = spans.first()?.first;
        let end = spans.iter().map(|span| span.end).max()?;
        Read::new(RegisterAddress { table: self.table, address }, u16::try_from(end - u32::from(address)).ok()?)
    }
}

impl Span {
    /// The point's value in the data of a read that covers it.
    pub(super) fn value(&self, read: Read, data: &[u8]) -> Result<Value, Cause> {
        let RegisterAddress { table, address } = read.first();
        let offset = usize::from(self.first.checked_sub(address).ok_or(Cause::Decode)?);
        if table.is_bits() {
            let value = register::bit(data, offset).filter(|_| self.value_type == ValueType::Bool);
            return value.map(Value::Bool).ok_or(Cause::Decode);
        }
        let words = data.chunks_exact(2).skip(offset).take(self.value_type.registers().into());
        let words: Vec<u16> = words.filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?))).collect();
        register::decode(&words, self.value_type, self.order).ok_or(Cause::Decode)
    }
}

/// The blocks of these devices, in the order of devices. Points are numbered in the order in which they stand.
/// A point that reaches beyond address 65,535 is in none; the configuration allows no such point.
pub(super) fn blocks(devices: &[ModbusDevice]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut next = 0;
    for (device, options) in devices.iter().enumerate() {
        let numbered = options.points.iter().zip(next..);
        next += options.points.len();
        let mut points: Vec<_> = numbered.collect();
        points.sort_by_key(|(point, number)| (point.register.table, point.poll, point.register.address, *number));
        for (point, number) in points {
            let RegisterAddress { table, address } = point.register;
            let end = u32::from(address) + u32::from(point.value_type.registers());
            if end > 1 << 16 {
                continue;
            }
            let span = Span { point: number, first: address, end, value_type: point.value_type, order: point.order };
            match blocks.last_mut() {
                Some(block) if block.device == device && block.table == table && block.period == point.poll && block.takes(&span) => {
                    block.points.push(span);
                }
                _ => blocks.push(Block {
                    device,
                    period: point.poll,
                    table,
                    points: vec![span],
                    due: Mono::ZERO,
                    cursor: 0,
                    refuses: Refuses::default(),
                }),
            }
        }
    }
    blocks
}

impl Block {
    /// Whether there is no gap before it, and room for it. This is where a gap could be filled.
    fn takes(&self, span: &Span) -> bool {
        let first = self.points.first().map_or(0, |span| span.first);
        let end = self.points.iter().map(|span| span.end).max().unwrap_or(0);
        u32::from(span.first) <= end && end.max(span.end) - u32::from(first) <= u32::from(pdu::quantity_max(self.table))
    }
}
