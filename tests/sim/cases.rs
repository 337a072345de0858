//! Cases of the contract by name (the table of outbox.md), each step by step.

use tidegate::model::{BridgeToOutbox, EntryId, Outcome, Settled, UpstreamId};
use tidegate::outbox::job::Trouble;

use super::gateway::{DEAD, Gateway, LIVE, MS, disks};

/// Upstream has it twice then, under two ids: the publisher cannot know.
#[test]
fn acked_by_upstream_and_never_stored_a_kill_before_the_puback_makes_it_come_twice() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let first = gateway.publish(LIVE);
        assert_eq!(gateway.got[1], [first]);
        gateway.pass(MS * 5);
        gateway.ack(first);
        assert!(gateway.is_secured(first) && gateway.job.is_none(), "secured without a commit");
        // The PUBACK has not left.
        let mut gateway = gateway.kill();
        gateway.settle();
        assert_eq!(gateway.got[1], [], "it was not stored");
        let again = gateway.publish(LIVE);
        assert_eq!(gateway.got[1], [again]);
        assert_ne!(first, again);
    }
}

#[test]
fn six_owed_to_the_dead_and_seven_acked_by_the_live_one_a_failed_commit_secures_seven_only() {
    for trouble in [Trouble::Full, Trouble::Broken] {
        for disk in disks() {
            let mut gateway = Gateway::start(disk);
            let six = gateway.publish(DEAD);
            let seven = gateway.publish(LIVE);
            assert!(gateway.commits());
            gateway.ack(seven);
            gateway.store(Some(trouble));
            assert!(gateway.is_secured(seven) && !gateway.is_secured(six), "{trouble:?}");
            let eight = gateway.publish(LIVE);
            gateway.ack(eight);
            assert!(gateway.is_secured(eight), "what the live upstream acknowledges needs no disk");
            gateway.pass(MS * 60_000);
            // No space may come back; a device that failed is not asked again.
            assert_eq!(gateway.commits(), trouble == Trouble::Full);
            assert!(!gateway.is_secured(six));
            if gateway.commits() {
                gateway.store(None);
                assert!(gateway.is_secured(six));
            }
        }
    }
}

#[test]
fn upstream_away_and_a_kill_after_the_puback_the_row_was_first() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        gateway.bridge(BridgeToOutbox::Link { upstream: UpstreamId(LIVE), up: false });
        let id = gateway.publish(LIVE);
        assert!(gateway.commits() && !gateway.is_secured(id), "the commit has not returned");
        gateway.store(None);
        assert!(gateway.is_secured(id));
        let mut gateway = gateway.kill();
        gateway.settle();
        assert_eq!(gateway.got[1], [id]);
    }
}

#[test]
fn a_commit_that_fails_acknowledges_nothing_and_a_kill_then_loses_nothing_acknowledged() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let ids: Vec<EntryId> = (0..20).map(|_| gateway.publish(DEAD)).collect();
        for _ in 0..5 {
            assert!(gateway.commits());
            gateway.store(Some(Trouble::Full));
            assert!(!ids.iter().any(|id| gateway.is_secured(*id)));
            gateway.pass(MS * 31_000);
        }
        let mut gateway = gateway.kill();
        gateway.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(DEAD), entries: 100 });
        gateway.settle();
        assert_eq!(gateway.got[0], [], "nothing of the failed commits is there, and nobody was told that it is");
    }
}

#[test]
fn refused_for_ever_and_never_stored_it_is_settled_by_the_commit_of_its_dead_letter_only() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let id = gateway.publish(LIVE);
        let outcome = Outcome::DeadLetter { code: Some(0x90), cause: "topic name invalid".into() };
        gateway.bridge(BridgeToOutbox::Done { upstream: UpstreamId(LIVE), settled: vec![Settled { id, outcome }] });
        assert!(gateway.commits() && !gateway.is_secured(id));
        gateway.store(None);
        assert!(gateway.is_secured(id));
        assert_eq!(gateway.ledger.status(gateway.now).dead_letters, 1);
        let mut gateway = gateway.kill();
        gateway.settle();
        assert_eq!(gateway.got[1], [], "it is not sent again");
    }
}
