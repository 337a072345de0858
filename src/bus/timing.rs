//! Times on the wire of a serial line, and what a schedule costs. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::blocks::{Block, blocks};
use super::{Line, Options, Parity, Protocol};
use crate::modbus::{RegisterAddress, rtu};

/// What a USB adapter may hold bytes back, unless told otherwise (FTDI's default), and 5 ms for this machine to be late.
const ADAPTER_LATENCY: Duration = Duration::from_millis(16 + 5);
/// Above this rate t3.5 is fixed (Modbus over Serial Line 1.02, 2.5.1.1).
const FIXED_ABOVE_BAUD: u32 = 19_200;
const FIXED_SILENCE: Duration = Duration::from_micros(1_750);

/// How long things take on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    character: Duration,
    /// t3.5: what must be silent before a frame is sent.
    pub(super) silence: Duration,
    /// A silence after which what comes belongs to nothing that came before, whatever an adapter holds back.
    pub(super) gap: Duration,
}

impl Timing {
    pub(super) fn new(line: &Line) -> Self {
        let bits = 1 + u64::from(line.data_bits) + u64::from(line.parity != Parity::None) + u64::from(line.stop_bits);
        let character = Duration::from_nanos(bits * 1_000_000_000 / u64::from(line.baud.max(1)));
        let silence = if line.baud > FIXED_ABOVE_BAUD { FIXED_SILENCE } else { character * 7 / 2 };
        Self { character, silence, gap: silence.max(ADAPTER_LATENCY) }
    }

    pub(super) fn wire(&self, bytes: usize) -> Duration {
        self.character * u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What a bus's schedule asks of its wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Seconds a second that the wire is busy when every device answers at once; above 1 the periods cannot be kept.
    pub busy_per_second: f64,
    pub lines: Vec<LoadLine>,
}

/// One read of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadLine {
    pub device: Arc<str>,
    pub first: RegisterAddress,
    pub quantity: u16,
    pub period: Duration,
    /// The request, the reply, and the silence before each.
    pub busy: Duration,
    /// The reply alone: a `timeout` below this can never be kept.
    pub reply: Duration,
}

/// The arithmetic of a Modbus bus; nothing for a framed serial port, whose sensors send when they like.
pub fn wire_load(options: &Options) -> Load {
    let Protocol::ModbusRtu(modbus) = &options.protocol else { return Load { busy_per_second: 0.0, lines: Vec::new() } };
    let timing = Timing::new(&options.line);
    let line = |block: Block| {
        let read = block.whole()?;
        let reply = timing.wire(rtu::reply_length(read));
        Some(LoadLine {
            device: modbus.devices.get(block.device)?.name.clone(),
            first: read.first(),
            quantity: read.quantity(),
            period: block.period,
            busy: timing.wire(rtu::REQUEST_LENGTH) + reply + timing.silence * 2,
            reply,
        })
    };
    let lines: Vec<_> = blocks(&modbus.devices).into_iter().filter_map(line).collect();
    let busy_per_second = lines.iter().map(|line| line.busy.as_secs_f64() / line.period.as_secs_f64().max(f64::MIN_POSITIVE)).sum();
    Load { busy_per_second, lines }
}
