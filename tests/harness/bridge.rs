//! The bridge alone, in this process, with the test in the outbox's place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tidegate::bridge::{self, Links, Options, Tuning};
use tidegate::clock;
use tidegate::model::status::UpstreamStatus;
use tidegate::model::{Body, BridgeToOutbox, Entry, EntryId, Outcome, Page, Phase, Query, Settled, Start, Topic, UpstreamId, UpstreamSet};
use tidegate::stats::Heartbeat;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::wait_until;

/// Of the one start that the rig plays.
pub const NONCE: u32 = 0x0bad_cafe;

/// The options of a site that has set nothing, for an upstream at `port` of this machine.
pub fn options(port: u16) -> Options {
    Options {
        upstream: UpstreamId(0),
        gateway: "site7".into(),
        name: "cloud".into(),
        host: "127.0.0.1".into(),
        port,
        version: None,
        tls: None,
        client_id: format!("tidegate-test-{port}"),
        auth: None,
        window: 100,
        ack_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(30),
        packet_max: 2 << 20,
    }
}

/// A back-off that does not make a test wait.
pub fn impatient() -> Tuning {
    Tuning { backoff_min: Duration::from_millis(10), backoff_max: Duration::from_millis(100), seed: 1 }
}

#[derive(Debug)]
pub struct Rig {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    query: mpsc::Sender<Query<UpstreamStatus>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What is owed, in id order; handed over as it is pulled.
    entries: Mutex<Vec<Entry>>,
    more: Notify,
    settled: Mutex<Vec<Settled>>,
    links: Mutex<Vec<bool>>,
    pulled: AtomicUsize,
}

impl Rig {
    pub fn start(options: Options, tuning: Tuning) -> Self {
        let shared = Arc::new(Shared::default());
        let (phase, phases) = watch::channel(Phase::Running);
        let (query, queries) = mpsc::channel(1);
        let (to_outbox, from_bridge) = mpsc::channel(4);
        let (to_bridge, pages) = mpsc::channel(1);
        let outbox = shared.clone();
        let links =
            Links { to_outbox, pages, query: queries, phase: phases, heartbeat: Heartbeat::new("bridge:cloud", Duration::from_secs(1)) };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let outbox = tokio::spawn(play_outbox(outbox, from_bridge, to_bridge));
                bridge::run_tuned(options, tuning, links).await;
                outbox.await.expect("the test's outbox does not panic");
            });
            runtime.shutdown_background();
        });
        Self { shared, phase, query, thread: Some(thread) }
    }

    /// Owes the upstream one message more; its id's counter is its place, from 1.
    pub fn put(&self, topic: &str, payload: impl Into<Bytes>) {
        self.put_with(topic, payload, Bytes::new(), None);
    }

    /// With properties of 5.0, encoded, and a message expiry interval.
    pub fn put_with(&self, topic: &str, payload: impl Into<Bytes>, properties: Bytes, expiry: Option<Duration>) {
        let mut entries = lock(&self.shared.entries);
        let now = clock::now();
        let mut owed = UpstreamSet::EMPTY;
        owed.insert(UpstreamId(0));
        let id = EntryId::new(1, entries.len() as u64 + 1);
        let (topic, body) = (Topic::new(topic).expect("a topic"), Body::raw(payload.into()));
        let (accepted, accepted_wall) = (now.mono, now.wall);
        let expires = expiry.map(|expiry| accepted + expiry);
        entries.push(Entry {
            id,
            owed,
            retain: true,
            awaited: true,
            accepted,
            accepted_wall,
            properties,
            expires,
            ..Entry::new(topic, body)
        });
        drop(entries);
        self.shared.more.notify_one();
    }

    /// Messages `first..=last` with their number as text.
    pub fn put_numbers(&self, first: usize, last: usize) {
        (first..=last).for_each(|n| self.put("numbers", n.to_string()));
    }

    /// Waits until so many are settled, one way or the other.
    pub fn wait_settled(&self, count: usize, within: Duration) {
        wait_until(&format!("{count} settled"), within, || self.settled().len() >= count);
    }

    /// In the order in which the bridge said so.
    pub fn settled(&self) -> Vec<Settled> {
        lock(&self.shared.settled).clone()
    }

    /// The causes of dead letters, by the message's number.
    pub fn dead(&self) -> Vec<(u64, String)> {
        let dead = |s: Settled| match s.outcome {
            Outcome::DeadLetter { cause, .. } => Some((s.id.counter(), cause)),
            Outcome::Acknowledged | Outcome::Expired => None,
        };
        self.settled().into_iter().filter_map(dead).collect()
    }

    /// What the outbox was told of the connection, in order.
    pub fn links(&self) -> Vec<bool> {
        lock(&self.shared.links).clone()
    }

    pub fn status(&self) -> UpstreamStatus {
        let (reply, answer) = oneshot::channel();
        self.query.blocking_send(Query { reply }).expect("the bridge runs");
        answer.blocking_recv().expect("the bridge answers")
    }

    /// Waits until the status is such.
    pub fn wait_status(&self, what: &str, within: Duration, is: impl Fn(&UpstreamStatus) -> bool) -> UpstreamStatus {
        let mut last = None;
        super::wait_for(&format!("a status: {what}"), within, || {
            last = Some(self.status());
            last.clone().filter(|status| is(status))
        })
    }

    /// Drains the bridge and waits for its end.
    pub fn stop(&mut self) {
        let _ = self.phase.send(Phase::StopBridge);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the bridge does not panic");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if thread::panicking() {
            if self.thread.is_some() {
                eprintln!("the bridge: {:?}", self.status());
            }
            return;
        }
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers each pull by one page, as soon as there is an entry; checks that the bridge keeps to the rules of the link.
async fn play_outbox(shared: Arc<Shared>, mut from_bridge: mpsc::Receiver<BridgeToOutbox>, to_bridge: mpsc::Sender<Page>) {
    let mut wanted = None;
    loop {
        if let Some(count) = wanted
            && let Some(page) = next_page(&shared, count)
        {
            wanted = None;
            to_bridge.try_send(page).expect("one page at a time fits");
        }
        let message = tokio::select! {
            message = from_bridge.recv() => message,
            () = shared.more.notified(), if wanted.is_some() => continue,
        };
        match message {
            None => return,
            Some(BridgeToOutbox::Link { up, .. }) => {
                let mut links = lock(&shared.links);
                assert_ne!(links.last(), Some(&up), "the same news twice");
                links.push(up);
            }
            Some(BridgeToOutbox::Pull { entries, .. }) => {
                assert!(entries > 0 && wanted.is_none(), "one pull at a time, for something");
                wanted = Some(entries);
            }
            Some(BridgeToOutbox::Done { settled, .. }) => {
                let mut all = lock(&shared.settled);
                for one in settled {
                    assert!(one.id.counter() as usize <= shared.pulled.load(Ordering::Relaxed), "settled, but never handed over");
                    assert!(!all.iter().any(|s| s.id == one.id), "{} settled twice", one.id);
                    all.push(one);
                }
            }
        }
    }
}

fn next_page(shared: &Shared, count: usize) -> Option<Page> {
    let entries = lock(&shared.entries);
    let from = shared.pulled.load(Ordering::Relaxed);
    let page: Vec<_> = entries.iter().skip(from).take(count).cloned().collect();
    shared.pulled.fetch_add(page.len(), Ordering::Relaxed);
    (!page.is_empty()).then_some(Page { entries: page, starts: Arc::new([Start { epoch: 1, nonce: NONCE }]) })
}
