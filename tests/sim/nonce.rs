//! Ids stay unique over a file that was emptied, restored or cloned: by the nonce of each start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate::clock;
use tidegate::model::{OutboxToBroker, Phase, Start};
use tidegate::outbox::{Links, Options, claim, run};
use tidegate::stats::Heartbeat;
use tokio::sync::{mpsc, watch};

use crate::harness::{alone_in_a_process, has_faults, report};

#[test]
fn two_starts_on_an_emptied_file_have_two_nonces() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let first = start_of(&path);
    std::fs::write(&path, b"").expect("the file can be emptied");
    let second = start_of(&path);
    println!("starts: {first:?} {second:?}");
    assert_eq!(first.epoch, second.epoch, "the file knows nothing of the first start");
    assert_ne!(first.nonce, second.nonce);
}

#[test]
fn two_starts_on_an_emptied_file_look_the_same_without_a_nonce() {
    if !has_faults("simulation: nonces") {
        return;
    }
    for (fault, passes) in [("", true), ("no-nonce", false)] {
        let child = alone_in_a_process("sim::nonce::two_starts_on_an_emptied_file_have_two_nonces", fault);
        let out = String::from_utf8_lossy(&child.stdout).into_owned();
        let starts = out.lines().find_map(|line| line.split("starts: ").nth(1)).unwrap_or("?").to_owned();
        let name = if passes { "nonces".to_owned() } else { format!("CONTROL {fault}") };
        report(&format!("simulation: {name}: {starts}: {}", if child.status.success() { "passed" } else { "failed" }));
        assert_eq!(child.status.success(), passes, "{out}\n{}", String::from_utf8_lossy(&child.stderr));
    }
}

/// One whole life of an outbox on this file, in which nothing happens.
fn start_of(path: &Path) -> Start {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (_to_outbox, from_broker) = mpsc::channel(1);
    let (to_broker, mut notices) = mpsc::channel(1);
    let (_to_outbox, from_bridge) = mpsc::channel(1);
    let (to_bridge, _pages) = mpsc::channel(1);
    let (_queries, query) = mpsc::channel(1);
    let (phase, phases) = watch::channel(Phase::Running);
    let beat = |part| Heartbeat::new(part, Duration::from_secs(1));
    let links = Links {
        from_broker,
        to_broker,
        from_bridge,
        to_bridge: vec![to_bridge],
        query,
        phase: phases,
        heartbeat: beat("outbox"),
        store_heartbeat: beat("store"),
    };
    let options = Options::new(path.to_owned(), vec![Arc::from("cloud")]);
    let claim = claim(path).expect("nobody else holds the file");
    let script = async {
        let started = clock::before(clock::mono() + Duration::from_secs(10), notices.recv()).await;
        let Some(Some(OutboxToBroker::Started(start))) = started else { panic!("{started:?} is no start") };
        phase.send_replace(Phase::StopOutbox);
        start
    };
    let (ended, start) = runtime.block_on(async { tokio::join!(run(options, claim, links), script) });
    ended.expect("it ends well");
    start
}
