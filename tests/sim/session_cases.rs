//! Cases of the contract that concern sessions, step by step, on both disks.

use tidegate::model::{
    BridgeToOutbox, DoneHow, DueState, EntryId, QoS, Restored, RetainedMessage, SessionId, StateChange, SubscribeOptions, Subscription,
    TopicFilter, UpstreamId,
};
use tidegate::outbox::job::Trouble;

use super::gateway::{DEAD, Gateway, LIVE, MS, disks, due, due_exactly_once};

const fn message(item: &Restored) -> Option<&RetainedMessage> {
    if let Restored::Retained(message) = item { Some(message) } else { None }
}

impl Gateway {
    /// What each session was still owed at the start.
    fn was_owed(&self) -> Vec<(EntryId, SessionId, DueState)> {
        let entries = self.restored.iter().flatten().filter_map(|item| if let Restored::Entry(entry) = item { Some(entry) } else { None });
        entries.flat_map(|entry| entry.due.iter().map(|due| (entry.id, due.session, due.state))).collect()
    }

    fn packet_ids(&self) -> Vec<u16> {
        let id = |item: &Restored| if let Restored::Received { packet_id, .. } = item { Some(*packet_id) } else { None };
        self.restored.iter().flatten().filter_map(id).collect()
    }

    fn filters(&self) -> Vec<String> {
        let filter = |item: &Restored| match item {
            Restored::Subscription { subscription, .. } => Some(subscription.filter.as_str().to_owned()),
            _ => None,
        };
        self.restored.iter().flatten().filter_map(filter).collect()
    }

    fn sessions(&self) -> Vec<SessionId> {
        let id = |item: &Restored| if let Restored::Session(session) = item { Some(session.id) } else { None };
        self.restored.iter().flatten().filter_map(id).collect()
    }

    fn retained(&self) -> Vec<&RetainedMessage> {
        self.restored.iter().flatten().filter_map(message).collect()
    }

    /// Until nothing is left that time alone would bring.
    fn rest(&mut self) {
        for _ in 0..20 {
            self.pass(MS * 1_000);
            self.settle();
        }
    }
}

fn subscription(filter: &str) -> Subscription {
    Subscription { filter: TopicFilter::new(filter).expect("a filter"), options: SubscribeOptions::at(QoS::AtLeastOnce), identifier: None }
}

#[test]
fn owed_to_an_offline_session_only_and_a_kill_after_the_puback_the_row_was_first() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let session = gateway.session("away");
        let id = gateway.entry(|entry| entry.due.push(due(session, false)));
        assert!(gateway.commits() && !gateway.is_secured(id), "the commit has not returned");
        gateway.store(None);
        assert!(gateway.is_secured(id));
        let gateway = gateway.kill();
        assert_eq!(gateway.was_owed(), [(id, session, DueState::Queued)]);
    }
}

#[test]
fn acked_by_prompt_sessions_before_the_batch_closes_it_never_touches_the_disk() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let (one, two) = (gateway.session("one"), gateway.session("two"));
        gateway.rest();
        for _ in 0..100 {
            let id = gateway.entry(|entry| entry.due.extend([due(one, true), due(two, true)]));
            gateway.pass(MS * 5);
            gateway.done(one, id, DoneHow::Acknowledged);
            assert!(!gateway.is_secured(id), "the other has not answered");
            gateway.pass(MS * 5);
            gateway.done(two, id, DoneHow::Acknowledged);
            assert!(gateway.is_secured(id));
        }
        gateway.pass(MS * 20_000);
        assert!(gateway.job.is_none() && gateway.disk.rows() == (0, 0), "no commit was asked for");
    }
}

#[test]
fn a_prompt_session_that_does_not_answer_has_its_row_in_time() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let session = gateway.session("silent");
        let id = gateway.entry(|entry| entry.due.push(due(session, true)));
        gateway.pass(MS * 499);
        assert!(!gateway.commits(), "nothing is known of it: it has ack_wait");
        gateway.pass(MS * 2);
        assert!(gateway.commits());
        gateway.store(None);
        assert!(gateway.is_secured(id));
        gateway.done(session, id, DoneHow::Acknowledged);
        gateway.rest();
        assert_eq!(gateway.disk.rows(), (0, 0), "its acknowledgement takes the row away");
        assert_eq!(gateway.kill().was_owed(), []);
    }
}

#[test]
fn owed_to_a_dead_upstream_and_a_session_it_stays_until_both_are_done() {
    for session_first in [true, false] {
        for disk in disks() {
            let mut gateway = Gateway::start(disk);
            let session = gateway.session("away");
            let id = gateway.entry(|entry| {
                entry.owed.insert(UpstreamId(DEAD));
                entry.due.push(due(session, false));
            });
            gateway.settle();
            assert!(gateway.is_secured(id));
            let upstream = |gateway: &mut Gateway| {
                gateway.bridge(BridgeToOutbox::Link { upstream: UpstreamId(DEAD), up: true });
                gateway.bridge(BridgeToOutbox::Pull { upstream: UpstreamId(DEAD), entries: 10 });
                gateway.settle();
                assert_eq!(gateway.got[0], [id]);
                gateway.ack_of(DEAD, id);
            };
            if session_first {
                gateway.done(session, id, DoneHow::Acknowledged);
            } else {
                upstream(&mut gateway);
            }
            gateway.rest();
            assert_eq!(gateway.disk.rows(), (1, usize::from(!session_first)));
            if session_first {
                upstream(&mut gateway);
            } else {
                gateway.done(session, id, DoneHow::Acknowledged);
            }
            gateway.rest();
            assert_eq!(gateway.disk.rows(), (0, 0));
        }
    }
}

#[test]
fn pubcomp_waits_for_the_removal_so_that_a_reused_id_is_not_taken_for_a_resend() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let session = gateway.session("publisher");
        let received = gateway.change(StateChange::Received { session, packet_id: 7 });
        gateway.settle();
        assert!(gateway.is_secured(received));
        let released = gateway.change(StateChange::Released { session, packet_id: 7 });
        assert!(gateway.commits() && !gateway.is_secured(released), "no PUBCOMP yet");
        let mut gateway = gateway.kill();
        assert_eq!(gateway.packet_ids(), [7], "PUBREL comes again");
        let released = gateway.change(StateChange::Released { session, packet_id: 7 });
        gateway.settle();
        assert!(gateway.is_secured(released));
        assert_eq!(gateway.kill().packet_ids(), Vec::<u16>::new());
    }
}

#[test]
fn suback_waits_for_its_row_and_a_resumed_session_has_it() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let session = gateway.session("subscriber");
        let id = gateway.change(StateChange::Subscribed { session, subscription: subscription("a/#") });
        assert!(gateway.commits() && !gateway.is_secured(id));
        gateway.store(Some(Trouble::Full));
        assert!(!gateway.is_secured(id), "the commit failed");
        gateway.pass(MS * 31_000);
        gateway.settle();
        assert!(gateway.is_secured(id));
        assert_eq!(gateway.kill().filters(), ["a/#"]);
    }
}

#[test]
fn an_outgoing_publish_at_qos_2_waits_for_its_packet_id_and_pubrel_for_its_state() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let session = gateway.session("subscriber");
        let id = gateway.entry(|entry| entry.due.push(due_exactly_once(session, DueState::Sent(3))));
        assert!(!gateway.is_secured(id));
        gateway.settle();
        assert!(gateway.is_secured(id));
        let released = gateway.change(StateChange::Due { entry: id, due: due_exactly_once(session, DueState::Released(3)) });
        assert!(gateway.commits() && !gateway.is_secured(released));
        let before = gateway.kill();
        assert_eq!(before.was_owed(), [(id, session, DueState::Sent(3))]);
        let mut gateway = before;
        gateway.change(StateChange::Due { entry: id, due: due_exactly_once(session, DueState::Released(3)) });
        gateway.settle();
        let mut gateway = gateway.kill();
        assert_eq!(gateway.was_owed(), [(id, session, DueState::Released(3))]);
        gateway.done(session, id, DoneHow::Acknowledged);
        gateway.rest();
        assert_eq!(gateway.kill().was_owed(), []);
    }
}

/// It waited for a prompt session; another state of what it is owed must not come to the disk without it.
#[test]
fn a_change_of_what_is_due_takes_an_entry_that_still_waits_along() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let (one, two) = (gateway.session("one"), gateway.session("two"));
        let id = gateway.entry(|entry| entry.due.push(due(one, true)));
        assert!(!gateway.commits());
        let moved = gateway.change(StateChange::Due { entry: id, due: due_exactly_once(two, DueState::Sent(1)) });
        gateway.settle();
        assert!(gateway.is_secured(moved) && gateway.is_secured(id));
        let owed = [(id, one, DueState::Queued), (id, two, DueState::Sent(1))];
        assert_eq!(gateway.kill().was_owed(), owed);
    }
}

#[test]
fn a_session_that_ends_settles_what_waits_for_it_when_its_end_is_committed() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let (ends, stays) = (gateway.session("ends"), gateway.session("stays"));
        gateway.change(StateChange::Subscribed { session: ends, subscription: subscription("a") });
        gateway.settle();
        let stored = gateway.entry(|entry| entry.due.push(due(ends, false)));
        gateway.settle();
        let waits = gateway.entry(|entry| entry.due.push(due(ends, true)));
        let both = gateway.entry(|entry| entry.due.extend([due(ends, true), due(stays, true)]));
        let end = gateway.change(StateChange::SessionEnded(ends));
        assert!(gateway.commits() && !gateway.is_secured(end) && !gateway.is_secured(waits), "the session could come back");
        gateway.settle();
        assert!([stored, waits, both, end].iter().all(|id| gateway.is_secured(*id)));
        gateway.rest();
        assert_eq!(gateway.disk.rows(), (1, 1));
        let gateway = gateway.kill();
        assert_eq!((gateway.sessions(), gateway.filters()), (vec![stays], vec![]));
        assert_eq!(gateway.was_owed(), [(both, stays, DueState::Queued)]);
    }
}

#[test]
fn a_full_session_queue_drops_with_a_loss_record_in_the_commit_that_removes_the_row() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let session = gateway.session("away");
        let ids: Vec<EntryId> = (0..3).map(|_| gateway.entry(|entry| entry.due.push(due(session, false)))).collect();
        gateway.settle();
        gateway.rest();
        gateway.done(session, ids[0], DoneHow::Overflow);
        let never_stored = gateway.entry(|entry| entry.due.push(due(session, true)));
        gateway.done(session, never_stored, DoneHow::Overflow);
        assert!(!gateway.is_secured(never_stored), "after a kill nothing would tell that it was lost");
        assert_eq!(gateway.ledger.status(gateway.now).lost, 2);
        assert!(gateway.ledger.status(gateway.now).alarms.iter().any(|alarm| alarm.starts_with("2 messages were dropped")));
        // Killed before the commit: neither is dropped nor counted.
        let mut gateway = gateway.kill();
        assert_eq!((gateway.was_owed().len(), gateway.ledger.status(gateway.now).lost), (3, 0));
        gateway.done(session, ids[0], DoneHow::Overflow);
        gateway.rest();
        let gateway = gateway.kill();
        assert_eq!(gateway.was_owed().iter().map(|(id, _, _)| *id).collect::<Vec<_>>(), ids[1..]);
        assert_eq!(gateway.ledger.status(gateway.now).lost, 1, "the count lasts");
    }
}

/// Its publisher hears of it when the loss would be told after a kill, too.
#[test]
fn a_message_that_is_dropped_before_it_has_a_row_is_secured_with_its_loss_record() {
    for writing in [false, true] {
        for trouble in [None, Some(Trouble::Full), Some(Trouble::Broken)] {
            for disk in disks() {
                let mut gateway = Gateway::start(disk);
                let session = gateway.session("away");
                gateway.rest();
                let id = gateway.entry(|entry| {
                    entry.due.push(due(session, !writing));
                    entry.owed.insert(UpstreamId(LIVE));
                });
                gateway.ack(id);
                assert_eq!(gateway.commits(), writing);
                gateway.done(session, id, DoneHow::Overflow);
                assert!(gateway.commits() && !gateway.is_secured(id), "no record yet");
                gateway.store(trouble);
                if trouble != Some(Trouble::Broken) {
                    gateway.rest();
                    gateway.rest();
                }
                assert!(gateway.is_secured(id));
                let lost = u64::from(trouble != Some(Trouble::Broken));
                let gateway = gateway.kill();
                assert_eq!((gateway.was_owed(), gateway.ledger.status(gateway.now).lost), (vec![], lost));
            }
        }
    }
}

#[test]
fn a_failed_commit_secures_no_change_and_a_lost_disk_secures_all_but_messages() {
    for trouble in [Trouble::Full, Trouble::Broken] {
        for disk in disks() {
            let mut gateway = Gateway::start(disk);
            let session = gateway.session("one");
            let subscribed = gateway.change(StateChange::Subscribed { session, subscription: subscription("a") });
            let received = gateway.change(StateChange::Received { session, packet_id: 1 });
            let owed = gateway.entry(|entry| entry.due.push(due(session, false)));
            gateway.store(Some(trouble));
            let diskless = trouble == Trouble::Broken;
            assert_eq!((gateway.is_secured(subscribed), gateway.is_secured(received), gateway.is_secured(owed)), (diskless, false, false));
            gateway.done(session, owed, DoneHow::Acknowledged);
            assert!(gateway.is_secured(owed), "its receiver has it");
            let ended = gateway.change(StateChange::SessionEnded(session));
            assert_eq!((gateway.is_secured(ended), gateway.is_secured(received)), (diskless, diskless));
            gateway.pass(MS * 31_000);
            gateway.settle();
            assert!(gateway.is_secured(ended) && gateway.is_secured(received));
        }
    }
}

#[test]
fn a_retained_message_is_replaced_and_removed_in_the_order_of_ids() {
    for disk in disks() {
        let mut gateway = Gateway::start(disk);
        let first = gateway.entry(|entry| entry.retained = true);
        let topic = || tidegate::model::Topic::new("case").expect("a topic");
        assert!(gateway.commits() && !gateway.is_secured(first));
        gateway.settle();
        assert_eq!(gateway.disk.rows(), (0, 0), "the message itself is owed to nobody");
        let gone = gateway.change(StateChange::RetainedGone(topic()));
        let again = gateway.entry(|entry| {
            entry.retained = true;
            entry.owed.insert(UpstreamId(LIVE));
        });
        gateway.ack(again);
        assert!(!gateway.is_secured(again), "what is retained waits for its commit");
        gateway.settle();
        assert!(gateway.is_secured(gone) && gateway.is_secured(again));
        let mut gateway = gateway.kill();
        assert_eq!(gateway.retained().len(), 1);
        gateway.entry(|entry| {
            entry.retained = true;
            entry.body.bytes = bytes::Bytes::new();
        });
        gateway.settle();
        assert_eq!(gateway.kill().retained(), Vec::<&RetainedMessage>::new());
    }
}
