//! Loads without messages: connections that come and go, connections that are idle, the first connection after a start.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tidegate::clock;

use crate::client::Outcome;
use crate::latency::Latencies;
use crate::process::Broker;
use crate::wire::{self, Version};

/// Connections before those that are counted, so that what a broker sets up once is not counted.
const IDLE_BEFORE: usize = 50;
/// Below the usual limits of 1,000 connections and 1,024 descriptors.
const IDLE: usize = 900;
/// Time for a broker to give back what it wants to give back.
const SETTLE: Duration = Duration::from_millis(500);
/// Longest time from exec to a CONNACK.
const START_MAX: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_micros(200);

/// `clients` connect, each for itself, are answered, disconnect and see the broker close, over and over. What is delivered is a CONNACK; its latency is from
/// before the TCP connection to the CONNACK.
pub fn connects(broker: &Broker, clients: u32, duration: Duration) -> io::Result<Outcome> {
    let address = broker.address;
    let cpu = broker.cpu()?;
    let begin = clock::mono();
    let end = begin + duration;
    let mut outcome = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn(move || -> io::Result<Vec<u64>> {
                    let mut took = Vec::new();
                    while clock::mono() < end {
                        let before = clock::mono();
                        let socket = wire::connect(address, Version::V311, &format!("client-{client}-{}", took.len()), false)?;
                        took.push(u64::try_from(clock::mono().since(before).as_nanos()).unwrap_or(u64::MAX));
                        wire::disconnect(socket)?;
                    }
                    Ok(took)
                })
            })
            .collect();
        let mut latencies = Latencies::default();
        let mut connected = 0;
        for client in clients {
            let took = client.join().expect("a client does not panic")?;
            connected += took.len() as u64;
            took.into_iter().for_each(|nanos| latencies.add(nanos));
        }
        io::Result::Ok(Outcome { due: connected, delivered: connected, latencies, ..Outcome::default() })
    })?;
    outcome.took = clock::mono().since(begin);
    outcome.cpu = broker.cpu()?.saturating_sub(cpu);
    Ok(outcome)
}

/// Bytes of memory that a connection with one subscription takes.
pub fn idle_bytes(broker: &Broker) -> io::Result<f64> {
    let mut sockets = Vec::new();
    let mut own = 0;
    for n in 0..IDLE_BEFORE + IDLE {
        if n == IDLE_BEFORE {
            clock::block_for(SETTLE);
            own = broker.own_kb()?;
        }
        let mut socket = wire::connect(broker.address, Version::V311, &format!("idle-{n}"), false)?;
        wire::subscribe(&mut socket, Version::V311, &format!("idle/{n}/cmd"), 1)?;
        sockets.push(socket);
    }
    clock::block_for(SETTLE);
    Ok(broker.own_kb()?.saturating_sub(own) as f64 * 1_024.0 / IDLE as f64)
}

/// Time from `start`, which runs a broker, to its first CONNACK.
pub fn first_connack(start: impl FnOnce() -> io::Result<Broker>) -> io::Result<(Duration, Broker)> {
    let begin = clock::mono();
    let broker = start()?;
    loop {
        match first_answer(broker.address) {
            Ok(()) => return Ok((clock::mono().since(begin), broker)),
            Err(e) if clock::mono().since(begin) > START_MAX => return Err(e),
            Err(_) => clock::block_for(START_POLL),
        }
    }
}

fn first_answer(broker: SocketAddr) -> io::Result<()> {
    // Until somebody listens, this fails at once.
    let socket: TcpStream = wire::connect(broker, Version::V311, "first", false)?;
    drop(socket);
    Ok(())
}
