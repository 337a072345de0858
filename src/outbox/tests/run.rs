use tokio::sync::{mpsc, oneshot, watch};

use super::*;
use crate::model::{OutboxToBroker, Page, Phase, Put, Query, ToOutbox};
use crate::outbox::{Links, run};
use crate::stats::Heartbeat;

struct Ends {
    to_outbox: mpsc::Sender<ToOutbox>,
    notices: mpsc::Receiver<OutboxToBroker>,
    to_outbox_bridge: mpsc::Sender<BridgeToOutbox>,
    pages: mpsc::Receiver<Page>,
    query: mpsc::Sender<Query<OutboxStatus>>,
    phase: watch::Sender<Phase>,
}

fn links() -> (Links, Ends) {
    let (to_outbox, from_broker) = mpsc::channel(4);
    let (to_broker, notices) = mpsc::channel(4);
    let (to_outbox_bridge, from_bridge) = mpsc::channel(4);
    let (to_bridge, pages) = mpsc::channel(1);
    let (query, queries) = mpsc::channel(1);
    let (phase, phases) = watch::channel(Phase::Running);
    let beat = |part| Heartbeat::new(part, Duration::from_millis(100));
    let links = Links {
        from_broker,
        to_broker,
        from_bridge,
        to_bridge: vec![to_bridge],
        query: queries,
        phase: phases,
        heartbeat: beat("outbox"),
        store_heartbeat: beat("store"),
    };
    (links, Ends { to_outbox, notices, to_outbox_bridge, pages, query, phase })
}

fn entry(start: Start, counter: u64) -> Entry {
    let mut owed = UpstreamSet::EMPTY;
    owed.insert(UpstreamId(0));
    let now = crate::clock::now();
    Entry {
        id: EntryId::new(start.epoch, counter),
        owed,
        awaited: true,
        accepted: now.mono,
        accepted_wall: now.wall,
        ..Entry::new(Topic::new("a").expect("a topic"), Body::raw(Bytes::from_static(b"1")))
    }
}

#[test]
fn the_outbox_runs_from_its_start_to_its_end() {
    let folder = folder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for round in 1..=3 {
        let (links, mut ends) = links();
        let (beats, store_beats) = (links.heartbeat.clone(), links.store_heartbeat.clone());
        let options = options(&store_in(&folder), &["cloud"]);
        let claim = claim(&options.path).expect("nobody else holds the file");
        let outbox = run(options, claim, links);
        let script = async {
            let Some(OutboxToBroker::Started(start)) = ends.notices.recv().await else { panic!("it starts") };
            assert_eq!(start.epoch, round);
            let one = entry(start, 1);
            ends.to_outbox.send(ToOutbox::Put(vec![Put::Entry(one.clone())])).await.expect("it takes");
            assert_eq!(ends.notices.recv().await, Some(OutboxToBroker::Secured(vec![IdRange::one(one.id)])));
            if round == 3 {
                let pull = BridgeToOutbox::Pull { upstream: UpstreamId(0), entries: 10 };
                ends.to_outbox_bridge.send(pull).await.expect("it takes");
                let page = ends.pages.recv().await.expect("a page");
                let epochs: Vec<u32> = page.entries.iter().map(|entry| entry.id.epoch()).collect();
                assert_eq!(epochs, [1, 2, 3]);
            }
            let (reply, status) = oneshot::channel();
            ends.query.send(Query { reply }).await.expect("it takes");
            let status = status.await.expect("an answer");
            assert_eq!((status.entries, status.commits), (u64::from(round), 1));
            ends.phase.send_replace(Phase::StopOutbox);
        };
        let (ended, ()) = runtime.block_on(async { tokio::join!(outbox, script) });
        ended.expect("it ends well");
        assert!(beats.beats() > 0 && store_beats.beats() > 0);
    }
}

/// Nobody waits for these entries, so that only the phases have them written.
#[test]
fn the_drain_commits_at_once_and_the_end_hears_what_was_said_before_it() {
    let hour = Duration::from_secs(3_600);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The outbox takes what is ready in any order: once would show nothing.
    for _ in 0..10 {
        let folder = folder();
        let (links, mut ends) = links();
        let options = Options { flush_interval: hour, ..options(&store_in(&folder), &["cloud"]) };
        let claim = claim(&options.path).expect("nobody else holds the file");
        let outbox = run(options, claim, links);
        let script = async {
            let Some(OutboxToBroker::Started(start)) = ends.notices.recv().await else { panic!("it starts") };
            let reading = |counter| Entry { awaited: false, ..entry(start, counter) };
            ends.to_outbox.send(ToOutbox::Put(vec![Put::Entry(reading(1))])).await.expect("it takes");
            ends.phase.send_replace(Phase::StopBroker);
            let secured = crate::clock::before(crate::clock::mono() + Duration::from_secs(10), ends.notices.recv()).await;
            assert_eq!(secured, Some(Some(OutboxToBroker::Secured(vec![IdRange::one(EntryId::new(start.epoch, 1))]))));
            let pull = BridgeToOutbox::Pull { upstream: UpstreamId(0), entries: 10 };
            ends.to_outbox_bridge.send(pull).await.expect("it takes");
            let page = ends.pages.recv().await.expect("a page");
            let settled = page.entries.iter().map(|entry| Settled { id: entry.id, outcome: Outcome::Acknowledged }).collect();
            ends.to_outbox_bridge.try_send(BridgeToOutbox::Done { upstream: UpstreamId(0), settled }).expect("it has room");
            ends.to_outbox.try_send(ToOutbox::Put(vec![Put::Entry(reading(2))])).expect("it has room");
            ends.phase.send_replace(Phase::StopOutbox);
            start
        };
        let (ended, start) = runtime.block_on(async { tokio::join!(outbox, script) });
        ended.expect("it ends well");
        let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
        rig.link(0, true);
        rig.pull(0, 10);
        let kept: Vec<EntryId> = rig.handed[0].iter().map(|entry| entry.id).collect();
        assert_eq!(kept, [EntryId::new(start.epoch, 2)]);
    }
}
