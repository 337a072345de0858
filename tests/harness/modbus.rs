//! pymodbus as slaves on pty buses, and our buses before them, in this process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value as Json;
use tidegate::bus::{self, Line, Links, ModbusDevice, ModbusOptions, ModbusPoint, Options, Parity, Protocol};
use tidegate::clock;
use tidegate::modbus::{ByteOrder, RegisterAddress, ValueType};
use tidegate::model::status::BusStatus;
use tidegate::model::{Message, Phase, Query, Topic};
use tidegate::normalize::PointOptions;
use tidegate::stats::Heartbeat;
use tokio::sync::{mpsc, oneshot, watch};

use super::python;

/// More readings than one look of a test leaves waiting.
const ROOM: usize = 65_536;

/// A process with pymodbus in it; see `tests/peers/modbus_slave.py` for what it is told and what it answers.
pub struct Slaves {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub ports: Vec<PathBuf>,
}

impl Slaves {
    pub fn start(config: &Json) -> Self {
        let mut child = python::peer("modbus_slave.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("pymodbus starts");
        let mut input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        writeln!(input, "{config}").expect("pymodbus listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("pymodbus answers");
        let ports = serde_json::from_str(&line).unwrap_or_else(|error| panic!("no ports in {line:?}: {error}"));
        Self { child, input: Some(input), output, ports }
    }

    /// Ends it; what its relays did to the lines.
    pub fn stop(mut self) -> Json {
        drop(self.input.take());
        let mut line = String::new();
        self.output.read_line(&mut line).expect("pymodbus answers");
        serde_json::from_str(&line).expect("pymodbus says what it did")
    }
}

impl Drop for Slaves {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bus that runs on a thread of its own. Its points' topics are their names.
pub struct Bus {
    pub messages: mpsc::Receiver<Message>,
    query: mpsc::Sender<Query<BusStatus>>,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<()>>,
}

impl Bus {
    pub fn start(port: PathBuf, modbus: ModbusOptions) -> Self {
        Self::start_with_room(port, modbus, ROOM)
    }

    /// `room`: readings that may wait for the test.
    pub fn start_with_room(port: PathBuf, modbus: ModbusOptions, room: usize) -> Self {
        let line = Line { baud: 115_200, data_bits: 8, parity: Parity::Even, stop_bits: 1 };
        let options = Options { name: "meters".into(), port, line, protocol: Protocol::ModbusRtu(modbus) };
        let (to_broker, messages) = mpsc::channel(room);
        let (query, queries) = mpsc::channel(1);
        let (phase, phases) = watch::channel(Phase::Running);
        let heartbeat = Heartbeat::new("bus:meters", Duration::from_secs(1));
        let links = Links { to_broker, query: queries, phase: phases, heartbeat };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(bus::run(options, links));
        });
        Self { messages, query, phase, thread: Some(thread) }
    }

    pub fn status(&self) -> BusStatus {
        let (reply, mut answer) = oneshot::channel();
        self.query.blocking_send(Query { reply }).expect("the bus runs");
        super::wait_for("the bus's status", Duration::from_secs(5), || answer.try_recv().ok())
    }

    /// The messages that wait.
    pub fn waiting(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.phase.send(Phase::StopBuses);
        let ended = self.thread.take().is_some_and(|thread| {
            let deadline = clock::mono() + Duration::from_secs(5);
            while !thread.is_finished() && clock::mono() < deadline {
                clock::block_for(Duration::from_millis(5));
            }
            thread.is_finished() && thread.join().is_ok()
        });
        assert!(ended || std::thread::panicking(), "the bus ends when it is told to");
    }
}

pub fn point(name: &str, register: RegisterAddress, value_type: ValueType, order: ByteOrder, poll: Duration) -> ModbusPoint {
    let publish = PointOptions {
        topic: Topic::new(name).expect("a topic"),
        unit: None,
        scale: 1.0,
        offset: 0.0,
        decimals: None,
        deadband: None,
        max_silence: None,
    };
    ModbusPoint { name: name.into(), register, value_type, order, poll, publish }
}

pub fn device(unit: u8, max_failures: u32, points: Vec<ModbusPoint>) -> ModbusDevice {
    let unit_id = tidegate::modbus::UnitId::new(unit).expect("a unit");
    ModbusDevice { name: format!("device-{unit}").into(), unit_id, max_failures, points }
}
