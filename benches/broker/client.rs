//! The load: publishers and receivers on raw sockets, the same for every broker.
//!
//! Publishers never run ahead of the slowest receiver by more than a window, so that no broker has a reason to drop: what is lost is lost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tidegate::clock;
use tidegate::model::Mono;

use crate::latency::Latencies;
use crate::process::Broker;
use crate::wire::{self, Version};

/// Each publisher goes round so many topics of its own, as a device with its points does: no broker lives off the last lookup.
const TOPICS: u32 = 8;
/// Longest silence before what has not come counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often receivers look whether the publishers have ended.
const LOOK: Duration = Duration::from_millis(5);
const READ_BUFFER: usize = 256 << 10;

/// Groups that know nothing of each other: each has its publishers, and subscribers that get all that these publish.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub version: Version,
    pub groups: u32,
    /// In a group.
    pub publishers: u32,
    /// In a group.
    pub subscribers: u32,
    pub qos: u8,
    /// Bytes of a message's body.
    pub body: usize,
    /// The subscribers' sessions outlive their connections.
    pub durable: bool,
    /// Broker and load share one CPU. On a virtual machine it costs more to wake a second, idle one than all the rest of a message, and how often
    /// that happens is the scheduler's choice.
    pub one_cpu: bool,
    pub feed: Feed,
}

#[derive(Debug, Clone, Copy)]
pub enum Feed {
    /// As fast as it goes: publishers hand `batch` messages at once to their sockets. The messages of a group that its slowest receiver does not
    /// have yet are at most `window`.
    Flat { batch: u32, window: u64 },
    /// So many messages a second, one at a time, evenly spaced by the clock, the publishers in turn.
    Paced { per_second: u32 },
}

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Deliveries that were due.
    pub due: u64,
    pub delivered: u64,
    /// Deliveries that came after a later one of the same publisher, or twice.
    pub disordered: u64,
    pub latencies: Latencies,
    /// From the first message to the last delivery.
    pub took: Duration,
    /// CPU time of the broker meanwhile.
    pub cpu: Duration,
}

impl Outcome {
    /// This and then `other`.
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.delivered += other.delivered;
        self.disordered += other.disordered;
        self.latencies.merge(&other.latencies);
        self.took += other.took;
        self.cpu += other.cpu;
    }
}

/// What lies between the publishers and the receivers of a group.
#[derive(Debug, Default)]
struct Gate {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    sent: u64,
    /// Messages that every receiver has. At the end of a run nobody waits any more.
    all_have: u64,
    /// Publishers that have ended.
    ended: u32,
}

impl Gate {
    /// Waits until `n` more may be sent, and takes them.
    fn take(&self, n: u64, window: u64) {
        let counts = self.counts.lock().expect("no holder panics");
        let full = |counts: &mut Counts| counts.sent + n > counts.all_have.saturating_add(window);
        self.changed.wait_while(counts, full).expect("no holder panics").sent += n;
    }

    fn all_have(&self, n: u64) {
        self.counts.lock().expect("no holder panics").all_have = n;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.counts.lock().expect("no holder panics").ended += 1;
    }

    fn counts(&self) -> Counts {
        *self.counts.lock().expect("no holder panics")
    }
}

/// Connects everybody to `broker`, runs the load for `duration` once all are subscribed, and returns when all has come or nothing comes any more.
pub fn run(broker: &Broker, load: Load, duration: Duration) -> io::Result<Outcome> {
    let mut receivers = Vec::new();
    for group in 0..load.groups {
        for n in 0..load.subscribers {
            receivers.push(Receiver::subscribe(broker.address, load, group, n)?);
        }
    }
    let publishers: Vec<_> =
        (0..load.groups * load.publishers).map(|n| Publisher::connect(broker.address, load, n)).collect::<io::Result<_>>()?;
    let gates: Vec<Gate> = (0..load.groups).map(|_| Gate::default()).collect();
    let cpu = broker.cpu()?;
    let begin = clock::mono();
    let end = begin + duration;
    std::thread::scope(|scope| {
        let threads: Vec<_> = match load.feed {
            Feed::Flat { batch, window } => {
                let one = |mut publisher: Publisher| {
                    let gate = &gates[publisher.group(load)];
                    scope.spawn(move || publisher.flat(gate, batch, window, end).map(|()| vec![publisher]))
                };
                publishers.into_iter().map(one).collect()
            }
            Feed::Paced { per_second } => {
                let gates = &gates;
                vec![scope.spawn(move || pace(publishers, load, gates, per_second, end))]
            }
        };
        let received = receive(&mut receivers, load, &gates);
        gates.iter().for_each(|gate| gate.all_have(u64::MAX));
        let mut publishers = Vec::new();
        for thread in threads {
            publishers.extend(thread.join().expect("a publisher does not panic")?);
        }
        let mut outcome = received?;
        outcome.took = outcome.took.saturating_sub(Duration::from_nanos(begin.as_nanos()));
        outcome.cpu = broker.cpu()?.saturating_sub(cpu);
        outcome.due = gates.iter().map(|gate| gate.counts().sent).sum::<u64>() * u64::from(load.subscribers);
        let sockets = publishers.into_iter().map(|p| p.socket).chain(receivers.into_iter().map(|r| r.socket));
        sockets.map(wire::disconnect).collect::<io::Result<Vec<()>>>()?;
        Ok(outcome)
    })
}

#[derive(Debug)]
struct Publisher {
    socket: TcpStream,
    load: Load,
    number: u32,
    topics: Vec<String>,
    output: Vec<u8>,
    sent: u32,
    /// PUBACKs, or PUBCOMPs, that have come.
    acked: u32,
    /// The beginning of a packet that is not complete.
    rest: Vec<u8>,
}

impl Publisher {
    fn connect(broker: SocketAddr, load: Load, number: u32) -> io::Result<Self> {
        let socket = wire::connect(broker, load.version, &format!("publisher-{number}"), false)?;
        socket.set_read_timeout(Some(SILENCE_MAX))?;
        let topics = (0..TOPICS).map(|point| format!("bench/line-{number}/value-{point}")).collect();
        Ok(Self { socket, load, number, topics, output: Vec::new(), sent: 0, acked: 0, rest: Vec::new() })
    }

    const fn group(&self, load: Load) -> usize {
        (self.number / load.publishers) as usize
    }

    fn flat(&mut self, gate: &Gate, batch: u32, window: u64, end: Mono) -> io::Result<()> {
        let result = loop {
            if clock::mono() >= end {
                break self.wait_for_acks(0);
            }
            gate.take(batch.into(), window);
            if let Err(e) = self.send(batch).and_then(|()| self.wait_for_acks(batch)) {
                break Err(e);
            }
        };
        gate.end();
        result
    }

    fn send(&mut self, messages: u32) -> io::Result<()> {
        self.output.clear();
        let sent_nanos = clock::mono().as_nanos();
        for number in self.sent..self.sent + messages {
            let message = wire::Message {
                topic: &self.topics[(number % TOPICS) as usize],
                qos: self.load.qos,
                publisher: self.number,
                number,
                sent_nanos,
                body: self.load.body,
            };
            wire::put_publish(&mut self.output, self.load.version, message);
        }
        self.sent += messages;
        send(&mut self.socket, &self.output)
    }

    /// Until at most `open` messages are unacknowledged.
    fn wait_for_acks(&mut self, open: u32) -> io::Result<()> {
        while self.load.qos > 0 && self.sent - self.acked > open {
            self.read_acks()?;
        }
        Ok(())
    }

    fn read_acks(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        match self.socket.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => self.rest.extend_from_slice(&buffer[..n]),
        }
        self.output.clear();
        let mut at = 0;
        while let Some((first, body, end)) = wire::next_packet(&self.rest[at..]) {
            let body = &self.rest[at + body..at + end];
            if body.get(2).is_some_and(|code| *code >= 0x80) {
                return Err(io::Error::other(format!("refused: {first:#x} {body:?}")));
            }
            match first {
                wire::PUBACK | wire::PUBCOMP => self.acked += 1,
                wire::PUBREC => self.output.extend([wire::PUBREL, 2, body[0], body[1]]),
                _ => {}
            }
            at += end;
        }
        self.rest.drain(..at);
        send(&mut self.socket, &self.output)
    }
}

/// One thread for all publishers: a message at each tick, whatever has been answered: a broker that answers late gets no pause for it. What has
/// come of the acknowledgements is read when that publisher's turn comes again.
fn pace(mut publishers: Vec<Publisher>, load: Load, gates: &[Gate], per_second: u32, end: Mono) -> io::Result<Vec<Publisher>> {
    let period = Duration::from_secs(1) / per_second;
    let mut due = clock::mono();
    let mut result = publishers.iter().try_for_each(|publisher| publisher.socket.set_nonblocking(true));
    for turn in (0..publishers.len()).cycle() {
        due = due + period;
        if due >= end || result.is_err() {
            break;
        }
        clock::block_for(due.since(clock::mono()));
        let publisher = &mut publishers[turn];
        gates[publisher.group(load)].take(1, u64::MAX);
        result = publisher.send(1).and_then(|()| match publisher.read_acks() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            read => read,
        });
    }
    for publisher in &mut publishers {
        result = result.and_then(|()| publisher.socket.set_nonblocking(false)).and_then(|()| publisher.wait_for_acks(0));
        gates[publisher.group(load)].end();
    }
    result.map(|()| publishers)
}

/// Until all has come. `took` is the time of the last delivery.
fn receive(receivers: &mut [Receiver], load: Load, gates: &[Gate]) -> io::Result<Outcome> {
    let mut buffer = vec![0; READ_BUFFER];
    let look = Timespec::try_from(LOOK).expect("some milliseconds fit");
    let mut latencies = Latencies::default();
    let mut last = clock::mono();
    for receiver in receivers.iter_mut() {
        receiver.socket.set_nonblocking(true)?;
        receiver.next = vec![0; (load.groups * load.publishers) as usize];
    }
    loop {
        let mut waiting: Vec<PollFd<'_>> = receivers.iter().map(|receiver| PollFd::new(&receiver.socket, PollFlags::IN)).collect();
        if poll(&mut waiting, Some(&look))? == 0 {
            let counts: Vec<Counts> = gates.iter().map(Gate::counts).collect();
            let all = receivers.iter().all(|r| r.delivered >= counts[r.group].sent) && counts.iter().all(|c| c.ended == load.publishers);
            if all || clock::mono().since(last) > SILENCE_MAX {
                break;
            }
            continue;
        }
        let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        last = clock::mono();
        for (receiver, _) in receivers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            receiver.take(&mut buffer, &mut latencies)?;
        }
        for (group, members) in receivers.chunks(load.subscribers as usize).enumerate() {
            gates[group].all_have(members.iter().map(|receiver| receiver.delivered).min().unwrap_or(0));
        }
    }
    let sum = |of: fn(&Receiver) -> u64| receivers.iter().map(of).sum();
    let (delivered, disordered) = (sum(|r| r.delivered), sum(|r| r.disordered));
    Ok(Outcome { delivered, disordered, latencies, took: Duration::from_nanos(last.as_nanos()), ..Outcome::default() })
}

/// A subscriber.
#[derive(Debug)]
struct Receiver {
    socket: TcpStream,
    version: Version,
    group: usize,
    /// The beginning of a packet that is not complete.
    rest: Vec<u8>,
    acks: Vec<u8>,
    delivered: u64,
    disordered: u64,
    /// The next message expected of each publisher.
    next: Vec<u32>,
}

impl Receiver {
    fn subscribe(broker: SocketAddr, load: Load, group: u32, number: u32) -> io::Result<Self> {
        let mut socket = wire::connect(broker, load.version, &format!("receiver-{group}-{number}"), load.durable)?;
        let filter = if load.groups > 1 { format!("bench/line-{group}/+") } else { "bench/+/+".into() };
        wire::subscribe(&mut socket, load.version, &filter, load.qos)?;
        let (rest, acks, next) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { socket, version: load.version, group: group as usize, rest, acks, delivered: 0, disordered: 0, next })
    }

    /// Reads once and acknowledges what has come.
    fn take(&mut self, buffer: &mut [u8], latencies: &mut Latencies) -> io::Result<()> {
        let before = self.rest.len();
        buffer[..before].copy_from_slice(&self.rest);
        let n = match self.socket.read(&mut buffer[before..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = clock::mono().as_nanos();
        let bytes = &buffer[..before + n];
        let mut at = 0;
        self.acks.clear();
        while let Some((first, body, end)) = wire::next_packet(&bytes[at..]) {
            let body = &bytes[at + body..at + end];
            match first & 0xF0 {
                wire::PUBLISH => self.delivery(first, body, now, latencies)?,
                0x60 => self.acks.extend([wire::PUBCOMP, 2, body[0], body[1]]),
                _ => {}
            }
            at += end;
        }
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[at..]);
        send(&mut self.socket, &self.acks)
    }

    fn delivery(&mut self, first: u8, body: &[u8], now: u64, latencies: &mut Latencies) -> io::Result<()> {
        let delivery = wire::delivery(self.version, first, body).ok_or(io::ErrorKind::InvalidData)?;
        if let Some(id) = delivery.id {
            let answer = if first & 0x06 == 0x04 { wire::PUBREC } else { wire::PUBACK };
            self.acks.extend([answer, 2, id[0], id[1]]);
        }
        let next = self.next.get_mut(delivery.publisher as usize).ok_or(io::ErrorKind::InvalidData)?;
        self.disordered += u64::from(delivery.number < *next);
        *next = (*next).max(delivery.number + 1);
        self.delivered += 1;
        latencies.add(now.saturating_sub(delivery.sent_nanos));
        Ok(())
    }
}

/// For sockets that may not block for reading; what is written is small beside the kernel's buffers, so waiting for room is rare.
fn send(socket: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&*socket, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
