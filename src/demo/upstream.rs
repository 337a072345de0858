//! The embedded upstream: a second instance of our broker, on its own thread and port.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::Error;
use crate::broker::{self, Links, Listener, Options};
use crate::clock;
use crate::model::status::BrokerStatus;
use crate::model::{IdRange, OutboxToBroker, Phase, Put, Query, Start, ToOutbox};
use crate::stats::Heartbeat;

/// For an answer, a start and an end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A broker that owes nothing to anybody above it. It ends when told by [`Upstream::end`].
#[derive(Debug)]
pub struct Upstream {
    /// On the loopback.
    pub port: u16,
    query: mpsc::Sender<Query<BrokerStatus>>,
    phase: watch::Sender<Phase>,
    thread: JoinHandle<Result<BrokerStatus, Error>>,
    /// The other end of a link that leads nowhere here.
    _nowhere: Nowhere,
}

#[derive(Debug)]
struct Nowhere {
    _inject: mpsc::Sender<crate::model::Message>,
}

impl Upstream {
    /// Starts it on a free port.
    pub async fn start() -> Result<Self, Error> {
        let (inject, injected) = mpsc::channel(1);
        let (to_outbox, puts) = mpsc::channel(1);
        let (notices, from_outbox) = mpsc::channel(1);
        let (query, queries) = mpsc::channel(4);
        let (phase, phases) = watch::channel(Phase::Running);
        let (bound, listening) = oneshot::channel();
        // What an outbox would say first.
        let _ = notices.try_send(OutboxToBroker::Started(Start { epoch: 1, nonce: 0 }));
        let listener = Listener::plain("upstream".into(), broker::At::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        let options = Options { listeners: vec![listener], ..Options::default() };
        let (_, policy) = mpsc::channel(1);
        let heartbeat = Heartbeat::new("upstream", PATIENCE);
        let links = Links {
            inject: injected,
            to_outbox,
            from_outbox,
            query: queries,
            policy,
            asks: mpsc::channel(1).1,
            phase: phases,
            heartbeat,
            bound,
            doors: None,
            drain: PATIENCE,
        };
        let thread = std::thread::Builder::new().name("demo:upstream".to_owned()).spawn(move || {
            let runtime = broker::runtime().map_err(Error::Runtime)?;
            let run = async move {
                tokio::task::spawn_local(keep(puts, notices));
                broker::run(options, links).await
            };
            runtime.block_on(run).map_err(Error::Upstream)
        });
        let thread = thread.map_err(Error::Runtime)?;
        let nowhere = Nowhere { _inject: inject };
        match clock::before(clock::mono() + PATIENCE, listening).await {
            Some(Ok(bound)) => {
                let port = bound.first().and_then(|bound| bound.address).ok_or(Error::Silent("the upstream"))?.port();
                Ok(Self { port, query, phase, thread, _nowhere: nowhere })
            }
            // It has ended before it listened.
            Some(Err(_)) => Err(joined(thread).err().unwrap_or(Error::Silent("the upstream"))),
            None => Err(Error::Silent("the upstream")),
        }
    }

    /// PUBLISH packets that it has received so far; `None` if it does not answer.
    pub async fn received(&self) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        self.query.try_send(Query { reply }).ok()?;
        let status = clock::before(clock::mono() + PATIENCE, answer).await?.ok()?;
        Some(status.received)
    }

    /// Stops it; the PUBLISH packets that it has received in all.
    pub fn end(self) -> Result<u64, Error> {
        // It may have ended.
        let _ = self.phase.send(Phase::StopBroker);
        joined(self.thread).map(|status| status.received)
    }
}

/// In the place of an outbox: nothing has to outlive a demonstration, so whatever would be written counts as written.
async fn keep(mut puts: mpsc::Receiver<ToOutbox>, notices: mpsc::Sender<OutboxToBroker>) {
    while let Some(ToOutbox::Put(puts)) = puts.recv().await {
        let written = puts.iter().filter_map(Put::id).map(IdRange::one).collect();
        if notices.send(OutboxToBroker::Secured(written)).await.is_err() {
            return;
        }
    }
}

/// A panic anywhere ends the process, so a thread always has a result.
pub fn joined<T>(thread: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or(Err(Error::Silent("a thread")))
}
