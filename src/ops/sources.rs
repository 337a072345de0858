//! Gathers what every part says of itself.

use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::model::admin::Ask;
use crate::model::status::{BrokerStatus, BusStatus, OutboxStatus, Status, StoreState, UpstreamState, UpstreamStatus};
use crate::model::status::{DeviceState, DeviceStatus};
use crate::model::{Mono, Query};

/// A way to ask each part. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sources {
    pub gateway: String,
    pub started: Mono,
    pub broker: mpsc::Sender<Query<BrokerStatus>>,
    /// What people want of the broker.
    pub ask: mpsc::Sender<Ask>,
    /// With the name of each.
    pub buses: Vec<(String, mpsc::Sender<Query<BusStatus>>)>,
    pub outbox: mpsc::Sender<Query<OutboxStatus>>,
    pub upstreams: Vec<(String, mpsc::Sender<Query<UpstreamStatus>>)>,
}

impl Sources {
    /// Asks every part; one that has not answered by `deadline` is named in [`Status::silent`] and makes the whole not ok.
    pub async fn collect(&self, deadline: Mono) -> Status {
        // All are asked before any is waited for: one that hangs must not use up the others' time.
        let broker = ask(&self.broker);
        let buses: Vec<_> = self.buses.iter().map(|(name, bus)| (name, ask(bus))).collect();
        let outbox = ask(&self.outbox);
        let upstreams: Vec<_> = self.upstreams.iter().map(|(name, upstream)| (name, ask(upstream))).collect();

        let mut silent = Vec::new();
        let mut or_silent = |part: &str| silent.push(part.to_owned());
        let broker = answer(broker, deadline).await.unwrap_or_else(|| {
            or_silent("broker");
            BrokerStatus::default()
        });
        let outbox = answer(outbox, deadline).await.unwrap_or_else(|| {
            or_silent("outbox");
            OutboxStatus::default()
        });
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gateway: self.gateway.clone(),
            uptime_ms: u64::try_from(clock::mono().since(self.started).as_millis()).unwrap_or(u64::MAX),
            ok: false,
            silent: Vec::new(),
            broker,
            buses: Vec::with_capacity(buses.len()),
            outbox,
            upstreams: Vec::with_capacity(upstreams.len()),
        };
        for (name, bus) in buses {
            status.buses.push(answer(bus, deadline).await.unwrap_or_else(|| {
                or_silent(&format!("bus:{name}"));
                BusStatus { name: name.clone(), ..BusStatus::default() }
            }));
        }
        for (name, upstream) in upstreams {
            status.upstreams.push(answer(upstream, deadline).await.unwrap_or_else(|| {
                or_silent(&format!("bridge:{name}"));
                UpstreamStatus { name: name.clone(), ..UpstreamStatus::default() }
            }));
        }
        status.silent = silent;
        status.ok = is_ok(&status);
        status
    }
}

/// A part whose queue of questions is full has not answered the last ones either.
fn ask<T>(part: &mpsc::Sender<Query<T>>) -> Option<oneshot::Receiver<T>> {
    let (reply, answer) = oneshot::channel();
    part.try_send(Query { reply }).ok()?;
    Some(answer)
}

async fn answer<T>(asked: Option<oneshot::Receiver<T>>, deadline: Mono) -> Option<T> {
    clock::before(deadline, asked?).await?.ok()
}

/// Nothing that wants a person: every part answers, every port open, no device bad, the store good and without alarms, every upstream connected,
/// and nothing dropped since the start: a loss stays until somebody has seen it and restarts.
fn is_ok(status: &Status) -> bool {
    let device_ok = |d: &DeviceStatus| d.state != DeviceState::Bad;
    status.silent.is_empty()
        && status.broker.dropped_overflow == 0
        && status.buses.iter().all(|bus| bus.open && bus.dropped == 0 && bus.devices.iter().all(device_ok))
        && status.outbox.store == StoreState::Good
        && status.outbox.alarms.is_empty()
        && status.upstreams.iter().all(|upstream| upstream.state == UpstreamState::Connected)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut Status);

    #[test]
    fn anything_bad_makes_the_whole_not_ok() {
        let good = || Status {
            version: String::new(),
            gateway: String::new(),
            uptime_ms: 0,
            ok: true,
            silent: Vec::new(),
            broker: BrokerStatus::default(),
            buses: vec![BusStatus { open: true, devices: vec![DeviceStatus::default()], ..BusStatus::default() }],
            outbox: OutboxStatus::default(),
            upstreams: vec![UpstreamStatus { state: UpstreamState::Connected, ..UpstreamStatus::default() }],
        };
        assert!(is_ok(&good()));
        let spoil: &[(&str, Spoil)] = &[
            ("silent part", |s| s.silent.push("broker".to_owned())),
            ("readings dropped at a bus", |s| s.buses[0].dropped = 1),
            ("readings dropped at the broker", |s| s.broker.dropped_overflow = 1),
            ("port closed", |s| s.buses[0].open = false),
            ("device bad", |s| s.buses[0].devices[0].state = DeviceState::Bad),
            ("store full", |s| s.outbox.store = StoreState::Full),
            ("no disk", |s| s.outbox.store = StoreState::Diskless),
            ("alarm", |s| s.outbox.alarms.push("x".to_owned())),
            ("upstream away", |s| s.upstreams[0].state = UpstreamState::Backoff),
        ];
        for (what, spoil) in spoil {
            let mut status = good();
            spoil(&mut status);
            assert!(!is_ok(&status), "{what}");
        }
    }

    #[tokio::test]
    async fn a_part_that_does_not_answer_is_named() {
        fn deaf<T>() -> mpsc::Sender<Query<T>> {
            mpsc::channel(1).0
        }
        let sources = Sources {
            gateway: "plant-7".to_owned(),
            started: clock::mono(),
            broker: deaf(),
            ask: mpsc::channel(1).0,
            buses: vec![("meters".to_owned(), deaf())],
            outbox: deaf(),
            upstreams: vec![("cloud".to_owned(), deaf())],
        };
        let status = sources.collect(clock::mono()).await;
        assert_eq!((status.ok, status.silent.join(" ").as_str()), (false, "broker outbox bus:meters bridge:cloud"));
    }
}
