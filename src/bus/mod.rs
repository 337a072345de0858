//! Ports and the devices on them: asks what is due, reads what comes, publishes readings. One thread a port.
//!
//! Job: `task` owns a Modbus port and does what `master` says, which is the protocol as a state machine over bytes and times; `plan` decides what is
//! asked next and what an answer means, `late` which replies may still come, `blocks` what is read together. `lines` owns a framed serial port.
//!
//! Invariants of a Modbus bus:
//! - A value is only ever taken from the reply to the request that asked for it. A late reply has nothing that tells it from a fresh one but its
//!   length, so for `late_window` after a failure each read to that unit and function expects a length that no unanswered read of it has: fewer
//!   points, or a few registers more than needed. Where no length is left, or the device refuses it, the unit rests until the window is over, and
//!   the others are asked. An exception has one length for all, so with an unanswered read about it does not end the wait for the reply.
//! - t3.5 is kept before each request, from the computed end of the last byte on the wire. Anything that waits in the port is read before a request
//!   is sent, and makes it wait until the bus is quiet.
//! - A reply ends by its length and checksum. A silence never ends or refuses one: it only forgets a beginning that nothing followed.
//! - A device that does not answer costs at most one timeout a back-off period.
//!
//! Failure: no reply, a damaged one, an exception and a lost port become failed readings with their cause. A port that is lost is opened again within
//! 2 s of its return. A bus on which the noise never ends is asked all the same, once a second. When the broker takes no more readings the newest
//! is dropped and counted; the bus never waits.

mod blocks;
mod capture;
mod late;
mod lines;
mod master;
mod plan;
mod serial;
mod task;
mod timing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::frame::{Framing, decode};
use crate::modbus::{ByteOrder, RegisterAddress, UnitId, ValueType};
use crate::model::status::BusStatus;
use crate::model::{Message, Phase, Query};
use crate::normalize::PointOptions;
use crate::stats::Heartbeat;

pub use timing::{Load, LoadLine, wire_load};

/// One `[[bus]]` and the devices on it.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: Arc<str>,
    pub port: PathBuf,
    pub line: Line,
    pub protocol: Protocol,
}

/// Settings of the serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub baud: u32,
    /// 5 to 8.
    pub data_bits: u8,
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    None,
    Even,
    Odd,
}

#[derive(Debug, Clone)]
pub enum Protocol {
    ModbusRtu(ModbusOptions),
    Serial(SerialOptions),
}

#[derive(Debug, Clone)]
pub struct ModbusOptions {
    /// From the end of a request on the wire to the end of its reply.
    pub timeout: Duration,
    /// How long after a timeout a late reply may still come.
    pub late_window: Duration,
    pub devices: Vec<ModbusDevice>,
}

#[derive(Debug, Clone)]
pub struct ModbusDevice {
    pub name: Arc<str>,
    pub unit_id: UnitId,
    /// Failures in a row after which the device is bad.
    pub max_failures: u32,
    pub points: Vec<ModbusPoint>,
}

#[derive(Debug, Clone)]
pub struct ModbusPoint {
    pub name: Arc<str>,
    pub register: RegisterAddress,
    pub value_type: ValueType,
    pub order: ByteOrder,
    /// The device's period, or the point's own.
    pub poll: Duration,
    pub publish: PointOptions,
}

#[derive(Debug, Clone)]
pub struct SerialOptions {
    pub framing: Framing,
    /// Every device sees every frame; one whose pattern does not match takes no notice of it.
    pub devices: Vec<SerialDevice>,
}

#[derive(Debug, Clone)]
pub struct SerialDevice {
    pub name: Arc<str>,
    pub decoder: decode::Decoder,
    pub points: Vec<SerialPoint>,
}

#[derive(Debug, Clone)]
pub struct SerialPoint {
    pub name: Arc<str>,
    pub field: decode::Field,
    pub publish: PointOptions,
}

/// How a bus is joined to the rest.
#[derive(Debug)]
pub struct Links {
    pub to_broker: mpsc::Sender<Message>,
    pub query: mpsc::Receiver<Query<BusStatus>>,
    /// Ends at [`Phase::StopBuses`].
    pub phase: watch::Receiver<Phase>,
    pub heartbeat: Heartbeat,
}

/// Runs the bus until [`Phase::StopBuses`]. A port that is absent or fails is no error: it is opened again, for ever.
pub async fn run(options: Options, links: Links) {
    match &options.protocol {
        Protocol::ModbusRtu(modbus) => task::run(&options, modbus, links).await,
        Protocol::Serial(framed) => lines::run(&options, framed, links).await,
    }
}
