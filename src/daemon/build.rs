//! Makes the channels and starts the parts.

use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot, watch};

use super::policy::Files;
use super::{DRAIN_DEADLINE, Error};
use crate::access::Policy;
use crate::broker::Bound;
use crate::clock;
use crate::config::Site;
use crate::model::status::BrokerStatus;
use crate::model::{BridgeToOutbox, Message, OutboxToBroker, Page, Phase, Query, ToOutbox};
use crate::ops::sources::Sources;
use crate::stats::Heartbeat;
use crate::{bridge, broker, bus, outbox};

/// Readings on their way to the broker; a full channel drops the newest and counts it (at the bus).
const READINGS_MAX: usize = 1_024;
/// Batches on their way from the broker to the outbox; what does not fit stays with the broker.
const PUTS_MAX: usize = 64;
/// Notices on their way back; the outbox joins what does not fit.
const NOTICES_MAX: usize = 64;
/// Messages of all upstreams to the outbox; a full channel makes the upstream's task wait.
const BRIDGE_MAX: usize = 256;
/// Questions that wait for a part; more are not asked.
const QUERIES_MAX: usize = 16;

/// The end of a part.
pub(super) struct Ended {
    pub part: String,
    pub result: Result<(), Error>,
}

/// The parts that run.
pub(super) struct Parts {
    pub sources: Sources,
    pub heartbeats: Vec<Heartbeat>,
    pub phase: watch::Sender<Phase>,
    /// Names of the parts that still run.
    pub running: Vec<String>,
    /// Users and rights, and whom to tell what they say.
    pub files: Files,
    pub policies: mpsc::Sender<Policy>,
    ended: mpsc::Receiver<Ended>,
    bound: oneshot::Receiver<Vec<Bound>>,
    /// Certificates that can be read anew, where a listener has some.
    pub doors: Option<broker::Doors>,
}

impl Parts {
    /// Waits for the next end of a part.
    pub async fn next_ended(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => {
                self.running.retain(|name| *name != ended.part);
                ended
            }
            // Every part holds a sender until it has reported: nobody is left to end.
            None => std::future::pending().await,
        }
    }

    /// Waits until the broker listens, or a part has ended before.
    pub async fn bound(&mut self) -> Result<Vec<Bound>, Error> {
        let mut bound = std::mem::replace(&mut self.bound, oneshot::channel().1);
        tokio::select! {
            biased;
            Ok(addresses) = &mut bound => Ok(addresses),
            ended = self.next_ended() => Err(super::unexpected(ended)),
        }
    }
}

/// Starts every part of `site`. Wants a local runtime, whose thread becomes the main thread of the design.
pub(super) fn start(mut site: Site, beat: Duration, counted: Option<oneshot::Sender<BrokerStatus>>) -> Result<Parts, Error> {
    let files = Files::of(&site.broker);
    site.broker.policy = files.read()?;
    let claim = outbox::claim(&site.outbox.path)?;
    let (phase, _) = watch::channel(Phase::Running);
    let parts_max = site.buses.len() + site.upstreams.len() + 3;
    let (report, ended) = mpsc::channel(parts_max);
    let mut starter = Starter { phase, report, beat, heartbeats: Vec::new(), running: Vec::new() };

    let (inject, readings) = mpsc::channel::<Message>(READINGS_MAX);
    let (to_outbox, from_broker) = mpsc::channel::<ToOutbox>(PUTS_MAX);
    let (to_broker, from_outbox) = mpsc::channel::<OutboxToBroker>(NOTICES_MAX);
    let (to_outbox_from_bridge, from_bridge) = mpsc::channel::<BridgeToOutbox>(BRIDGE_MAX);
    let (bound_tx, bound) = oneshot::channel();
    let (mut doors, mut doors_link) = (None, None);
    if let Some((handle, thread, link)) = broker::doors(&site.broker.listeners, &site.broker.limits) {
        starter.doors(thread)?;
        (doors, doors_link) = (Some(handle), Some(link));
    }
    let (broker_query, query) = mpsc::channel(QUERIES_MAX);
    let (policies, policy) = mpsc::channel(1);
    let (ask, asks) = mpsc::channel(QUERIES_MAX);
    let broker_links = broker::Links {
        inject: readings,
        to_outbox,
        from_outbox,
        query,
        policy,
        asks,
        phase: starter.phase.subscribe(),
        heartbeat: starter.heartbeat("broker"),
        bound: bound_tx,
        doors: doors_link,
        // The bridge and the outbox need the rest.
        drain: DRAIN_DEADLINE / 2,
    };
    let mut pages = Vec::with_capacity(site.upstreams.len());
    let mut upstream_queries = Vec::with_capacity(site.upstreams.len());
    for options in site.upstreams {
        let (to_bridge, from_outbox) = mpsc::channel::<Page>(1);
        pages.push(to_bridge);
        upstream_queries.push(starter.upstream(options, to_outbox_from_bridge.clone(), from_outbox));
    }
    let outbox_query = starter.outbox(site.outbox, claim, from_broker, to_broker, from_bridge, pages);
    starter.broker(site.broker, broker_links, counted)?;
    let mut bus_queries = Vec::with_capacity(site.buses.len());
    for options in site.buses {
        bus_queries.push(starter.bus(options, inject.clone())?);
    }
    let sources = Sources {
        gateway: site.gateway,
        started: clock::mono(),
        broker: broker_query,
        ask,
        buses: bus_queries,
        outbox: outbox_query,
        upstreams: upstream_queries,
    };
    Ok(Parts {
        sources,
        heartbeats: starter.heartbeats,
        phase: starter.phase,
        running: starter.running,
        files,
        policies,
        ended,
        bound,
        doors,
    })
}

struct Starter {
    phase: watch::Sender<Phase>,
    report: mpsc::Sender<Ended>,
    beat: Duration,
    heartbeats: Vec<Heartbeat>,
    running: Vec<String>,
}

/// Makes a part's runtime on the part's own thread.
type MakeRuntime = fn() -> std::io::Result<LocalRuntime>;

fn plain_runtime() -> std::io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default())
}

impl Starter {
    fn heartbeat(&mut self, part: &str) -> Heartbeat {
        let heartbeat = Heartbeat::new(part, self.beat);
        self.heartbeats.push(heartbeat.clone());
        heartbeat
    }

    /// A thread with a runtime of its own that runs `part` to its end and reports it.
    fn thread<F>(&mut self, name: &str, runtime: MakeRuntime, part: impl FnOnce() -> F + Send + 'static) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let report = self.report.clone();
        let ended = name.to_owned();
        self.running.push(name.to_owned());
        let body = move || {
            let result = runtime().map_err(Error::Runtime).and_then(|runtime| {
                let result = runtime.block_on(part());
                runtime.shutdown_background();
                result
            });
            // One place is kept for each part, so this never fails for want of room.
            let _ = report.try_send(Ended { part: ended, result });
        };
        // The kernel shows the first 15 bytes.
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(Error::Runtime)?;
        Ok(())
    }

    /// A task of the main thread that runs `part` to its end and reports it.
    fn task(&mut self, name: String, part: impl Future<Output = Result<(), Error>> + 'static) {
        let report = self.report.clone();
        self.running.push(name.clone());
        tokio::task::spawn_local(async move {
            let result = part.await;
            let _ = report.try_send(Ended { part: name, result });
        });
    }

    fn broker(
        &mut self,
        options: broker::Options,
        links: broker::Links,
        counted: Option<oneshot::Sender<BrokerStatus>>,
    ) -> Result<(), Error> {
        self.thread("broker", broker::runtime, move || async move {
            let status = broker::run(options, links).await?;
            if let Some(counted) = counted {
                // Who wanted to know may have gone.
                let _ = counted.send(status);
            }
            Ok(())
        })
    }

    fn doors(&mut self, doors: broker::DoorsThread) -> Result<(), Error> {
        let (phase, heartbeat) = (self.phase.subscribe(), self.heartbeat("doors"));
        self.thread("doors", plain_runtime, move || async move { Ok(doors.run(phase, heartbeat).await?) })
    }

    fn bus(&mut self, options: bus::Options, to_broker: mpsc::Sender<Message>) -> Result<(String, BusQuery), Error> {
        let (ask, query) = mpsc::channel(QUERIES_MAX);
        let name = options.name.to_string();
        let part = format!("bus:{name}");
        let links = bus::Links { to_broker, query, phase: self.phase.subscribe(), heartbeat: self.heartbeat(&part) };
        self.thread(&part, plain_runtime, move || async move {
            bus::run(options, links).await;
            Ok(())
        })?;
        Ok((name, ask))
    }

    fn outbox(
        &mut self,
        options: outbox::Options,
        claim: outbox::Claim,
        from_broker: mpsc::Receiver<ToOutbox>,
        to_broker: mpsc::Sender<OutboxToBroker>,
        from_bridge: mpsc::Receiver<BridgeToOutbox>,
        to_bridge: Vec<mpsc::Sender<Page>>,
    ) -> mpsc::Sender<Query<crate::model::status::OutboxStatus>> {
        let (ask, query) = mpsc::channel(QUERIES_MAX);
        let links = outbox::Links {
            from_broker,
            to_broker,
            from_bridge,
            to_bridge,
            query,
            phase: self.phase.subscribe(),
            heartbeat: self.heartbeat("outbox"),
            store_heartbeat: self.heartbeat("store"),
        };
        self.task("outbox".to_owned(), async move { Ok(outbox::run(options, claim, links).await?) });
        ask
    }

    fn upstream(
        &mut self,
        options: bridge::Options,
        to_outbox: mpsc::Sender<BridgeToOutbox>,
        pages: mpsc::Receiver<Page>,
    ) -> (String, UpstreamQuery) {
        let (ask, query) = mpsc::channel(QUERIES_MAX);
        let name = options.name.to_string();
        let part = format!("bridge:{name}");
        let links = bridge::Links { to_outbox, pages, query, phase: self.phase.subscribe(), heartbeat: self.heartbeat(&part) };
        self.task(part, async move {
            bridge::run(options, links).await;
            Ok(())
        });
        (name, ask)
    }
}

type BusQuery = mpsc::Sender<Query<crate::model::status::BusStatus>>;
type UpstreamQuery = mpsc::Sender<Query<crate::model::status::UpstreamStatus>>;
