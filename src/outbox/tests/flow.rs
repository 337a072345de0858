use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_is_owed_to_one_who_is_away_is_committed_before_it_is_secured_and_outlives_a_kill() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    let id = rig.put(1, &[0], true);
    assert!(rig.is_secured(id), "the first has a token");
    assert_eq!(rig.status().commits, 1);
    rig.put(300, &[0], false);
    drop(rig);
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    assert_eq!(rig.start.epoch, 2);
    assert_eq!(rig.status().entries, 301);
    rig.link(0, true);
    assert_eq!(rig.drain(0), (1..=301).collect::<Vec<_>>());
    assert_eq!(rig.status().entries, 0);
    rig.after(MS * 6_000);
    drop(rig);
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    rig.link(0, true);
    assert_eq!(rig.drain(0), Vec::<u64>::new());
}

#[test]
fn a_page_names_the_starts_of_its_entries() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    let first = rig.start;
    rig.put(1, &[0], true);
    drop(rig);
    drop(Rig::open(&store_in(&folder), &["cloud"]));
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    rig.put(1, &[0], true);
    rig.link(0, true);
    rig.pull(0, 2);
    assert_eq!(rig.starts.iter().map(|start| start.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((rig.starts[0], rig.starts[2]), (first, rig.start));
}

#[test]
fn what_has_expired_is_owed_to_nobody_and_secures_its_publisher() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud", "away"]);
    rig.link(0, true);
    let (first, both) = (rig.put(1, &[0], true), rig.put(1, &[0, 1], false));
    rig.pull(0, 2);
    let settled = [first, both].map(|id| Settled { id, outcome: Outcome::Expired }).to_vec();
    rig.bridge(BridgeToOutbox::Done { upstream: UpstreamId(0), settled });
    assert!(rig.is_secured(first) && !rig.is_secured(both));
    assert_eq!(rig.status().queues.iter().map(|queue| queue.entries).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_receiver_that_answers_in_time_leaves_the_disk_untouched() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["cloud"]);
    rig.link(0, true);
    rig.jobs.clear();
    for _ in 0..1_000 {
        let id = rig.put(1, &[0], true);
        rig.pull(0, 100);
        rig.after(MS * 10);
        assert!(!rig.is_secured(id));
        rig.ack(0, &[id]);
        assert!(rig.is_secured(id));
    }
    rig.after(MS * 20_000);
    assert_eq!(rig.jobs, Vec::<&str>::new());
    assert!(rig.ledger.status(rig.now).queues.iter().all(|queue| queue.entries == 0));
}

#[test]
fn six_waits_for_the_dead_upstream_while_seven_is_done() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["dead", "live"]);
    rig.link(1, true);
    rig.pull(1, 10);
    // A reading waits for its flush.
    let six = rig.put(1, &[0], false);
    let seven = rig.put(1, &[1], true);
    rig.ack(1, &[seven]);
    assert!(rig.is_secured(seven) && !rig.is_secured(six));
    rig.after(MS * 1_001);
    assert!(rig.is_secured(six));
}

/// 2 is on disk, 1 and 3 are in memory only: all are read as one.
#[test]
fn what_waits_in_memory_around_a_stored_entry_keeps_its_place() {
    for page in [1, 2, 100] {
        let folder = folder();
        let mut rig = Rig::open(&store_in(&folder), &["cloud", "away"]);
        rig.link(0, true);
        rig.put(1, &[0], false);
        rig.put(1, &[0, 1], true);
        rig.put(1, &[0], false);
        assert_eq!((rig.status().commits, rig.status().rows), (1, 1), "the second only");
        rig.link(0, false);
        rig.link(0, true);
        assert_eq!(rig.drain_by(0, page), [1, 2, 3], "{page} at a time");
    }
}
