//! Our broker alone, on a thread of its own in this process; the test holds the other ends of its links: it plays the buses, and where it wants
//! to, the outbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::gateway::ALL_RIGHTS;
use tidegate::access::Policy;
use tidegate::access::acl::Acl;
use tidegate::broker::{self, At, Links, Listener, Options};
use tidegate::model::status::BrokerStatus;
use tidegate::model::{IdRange, Message, OutboxToBroker, Phase, Put, Query, Start, ToOutbox, TopicFilter};
use tidegate::stats::Heartbeat;
use tokio::sync::{mpsc, oneshot, watch};

const START_WITHIN: Duration = Duration::from_secs(10);

/// Longest drain.
pub const DRAIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct LocalBroker {
    pub ports: Vec<u16>,
    pub inject: mpsc::Sender<Message>,
    pub to_outbox: mpsc::Receiver<ToOutbox>,
    pub from_outbox: mpsc::Sender<OutboxToBroker>,
    query: mpsc::Sender<Query<BrokerStatus>>,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<()>>,
}

/// One listener on loopback, and one upstream for each list of filters.
pub fn options(upstreams: &[&[&str]]) -> Options {
    let filters = |list: &&[&str]| list.iter().map(|f| TopicFilter::new(f).expect("a filter")).collect();
    let upstreams = upstreams.iter().map(filters).collect();
    let acl = Acl::parse(ALL_RIGHTS.as_bytes()).expect("an access list");
    let policy = Policy { acl: Some(Arc::new(acl)), ..Policy::default() };
    Options { listeners: vec![listener()], policy, upstreams, ..Options::default() }
}

/// On loopback.
pub fn listener() -> Listener {
    Listener::plain("test".into(), At::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
}

impl LocalBroker {
    /// With an outbox that starts at once and whose disk takes no time.
    pub fn start(options: Options) -> Self {
        let mut broker = Self::by_hand(options);
        let (_, nothing) = mpsc::channel(1);
        let puts = std::mem::replace(&mut broker.to_outbox, nothing);
        let notices = broker.from_outbox.clone();
        thread::spawn(move || keep(puts, &notices));
        broker
    }

    /// The test plays the outbox: until it says `Started`, no client is let in.
    pub fn by_hand(options: Options) -> Self {
        let (inject, from_buses) = mpsc::channel(1_024);
        let (puts, to_outbox) = mpsc::channel(64);
        let (from_outbox, events) = mpsc::channel(64);
        let (query, queries) = mpsc::channel(4);
        let (_, policy) = mpsc::channel(1);
        let (phase, phases) = watch::channel(Phase::Running);
        let (bound, told) = oneshot::channel();
        let heartbeat = Heartbeat::new("broker", Duration::from_secs(1));
        let links = Links {
            inject: from_buses,
            to_outbox: puts,
            from_outbox: events,
            query: queries,
            policy,
            asks: mpsc::channel(1).1,
            phase: phases,
            heartbeat,
            bound,
            doors: None,
            drain: DRAIN,
        };
        let run = move || {
            let runtime = broker::runtime().expect("a runtime");
            runtime.block_on(broker::run(options, links)).expect("the broker runs");
        };
        let thread = thread::Builder::new().name("broker".into()).spawn(run).expect("a thread");
        let (said, hear) = std_mpsc::channel();
        thread::spawn(move || {
            let _ = said.send(told.blocking_recv());
        });
        let bound = hear.recv_timeout(START_WITHIN).ok().and_then(Result::ok).expect("the broker listens");
        let ports = bound.iter().filter_map(|bound| bound.address).map(|address| address.port()).collect();
        Self { ports, inject, to_outbox, from_outbox, query, phase, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        *self.ports.first().expect("a listener")
    }

    pub fn status(&self) -> BrokerStatus {
        let (reply, answer) = oneshot::channel();
        self.query.blocking_send(Query { reply }).expect("the broker runs");
        answer.blocking_recv().expect("the broker answers")
    }

    /// Begins the drain.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::StopBroker);
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn keep(mut puts: mpsc::Receiver<ToOutbox>, notices: &mpsc::Sender<OutboxToBroker>) {
    let mut told = notices.blocking_send(OutboxToBroker::Started(Start { epoch: 1, nonce: 0 }));
    while told.is_ok()
        && let Some(ToOutbox::Put(puts)) = puts.blocking_recv()
    {
        let written = puts.iter().filter_map(Put::id).map(IdRange::one).collect();
        told = notices.blocking_send(OutboxToBroker::Secured(written));
    }
}

impl Drop for LocalBroker {
    fn drop(&mut self) {
        self.stop();
        // It drains within a bounded time; a panic there has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
