//! Ports and the devices on them: asks what is due, reads what comes, publishes readings. One thread a port.

mod lines;
mod serial;

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
        Protocol::ModbusRtu(_) => {}
        Protocol::Serial(framed) => lines::run(&options, framed, links).await,
    }
}
