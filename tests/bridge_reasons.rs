//! Reason codes of an upstream of MQTT 5.0: what each says of an entry, and of the connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate::model::Outcome;
use tidegate::model::status::UpstreamState;
use tidegate::mqtt::reason::Reason;

use crate::harness::bridge::{Rig, impatient, options};
use crate::harness::fake_upstream::{Answer, FakeUpstream};
use crate::harness::wait_until;

const LONG: Duration = Duration::from_secs(30);

fn rig(upstream: &FakeUpstream) -> Rig {
    Rig::start(options(upstream.port()), impatient())
}

fn text(code: u8) -> String {
    Reason::from_u8(code).expect("a code of the standard").to_string()
}

/// How often this payload came.
fn times(upstream: &FakeUpstream, payload: &str) -> usize {
    upstream.publishes().iter().filter(|publish| publish.text() == payload).count()
}

fn all_but(number: u64, acked: &[String]) {
    let mut numbers: Vec<u64> = acked.iter().map(|text| text.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq((1..=20).filter(|n| *n != number)), "{numbers:?}, each once");
}

#[test]
fn an_entry_that_can_never_be_taken_is_a_dead_letter_at_once() {
    for code in [0x90, 0x99] {
        let upstream = FakeUpstream::start(move |payload| if payload == b"3" { Answer::Code(code) } else { Answer::Ack });
        let rig = rig(&upstream);
        rig.put_numbers(1, 20);
        rig.wait_settled(20, LONG);
        let [(3, cause)] = &rig.dead()[..] else { panic!("{code:#x}: {:?}", rig.dead()) };
        assert!(cause.contains(&text(code)), "{cause}");
        assert_eq!((times(&upstream, "3"), rig.status().connects), (1, 1), "{code:#x}");
        all_but(3, &upstream.acked());
    }
}

#[test]
fn an_entry_that_is_refused_for_now_is_given_up_after_three_times_while_others_pass() {
    for code in [0x80, 0x83, 0x87, 0x91, 0x97] {
        let upstream = FakeUpstream::start(move |payload| if payload == b"3" { Answer::Code(code) } else { Answer::Ack });
        let rig = rig(&upstream);
        rig.put_numbers(1, 20);
        rig.wait_settled(19, LONG);
        // The last round wants a witness.
        rig.put("numbers", "21");
        rig.put("numbers", "22");
        rig.wait_settled(22, LONG);
        let [(3, cause)] = &rig.dead()[..] else { panic!("{code:#x}: {:?}", rig.dead()) };
        assert!(cause.contains("refused it 3 times") && cause.contains(&text(code)), "{cause}");
        let dead = rig.settled().into_iter().find(|settled| settled.id.counter() == 3).map(|settled| settled.outcome);
        assert!(matches!(dead, Some(Outcome::DeadLetter { code: Some(c), .. }) if c == code), "{dead:?}");
        // More often, if it was refused while nothing else was there to pass.
        assert!(times(&upstream, "3") >= 3, "{code:#x}");
        assert_eq!(rig.status().connects, 1, "{code:#x}: the connection is kept");
    }
}

#[test]
fn an_upstream_that_refuses_everything_for_a_while_loses_nothing_and_keeps_the_order() {
    let refusals = AtomicUsize::new(0);
    let upstream =
        FakeUpstream::start(move |_| if refusals.fetch_add(1, Ordering::Relaxed) < 100 { Answer::Code(0x97) } else { Answer::Ack });
    let rig = rig(&upstream);
    rig.put_numbers(1, 20);
    let status = rig.wait_status("refusing", LONG, |status| status.state == UpstreamState::Refusing);
    assert!(status.last_error.is_some_and(|error| error.contains("quota exceeded (0x97)")));
    rig.wait_settled(20, LONG);
    assert!(upstream.acked().iter().map(|text| text.parse::<u64>().expect("a number")).eq(1..=20));
    assert_eq!((rig.dead(), rig.status().connects), (vec![], 1));
    assert_eq!(rig.status().state, UpstreamState::Connected);
}

#[test]
fn an_entry_alone_is_never_given_up_by_refusals() {
    let upstream = FakeUpstream::start(|_| Answer::Code(0x87));
    let rig = rig(&upstream);
    rig.put_numbers(1, 1);
    wait_until("many tries", LONG, || upstream.publishes().len() > 10);
    assert_eq!((rig.settled(), upstream.connects()), (vec![], 1));
}

#[test]
fn no_matching_subscribers_is_an_acknowledgement() {
    let upstream = FakeUpstream::start(|_| Answer::Code(0x10));
    let rig = rig(&upstream);
    rig.put_numbers(1, 20);
    rig.wait_settled(20, LONG);
    assert!(rig.dead().is_empty() && upstream.publishes().len() == 20);
}

/// 0x95 is no code of a PUBACK, 0x42 none at all.
#[test]
fn a_code_that_a_puback_cannot_have_settles_nothing_and_stops_nobody_for_ever() {
    for code in [0x95, 0x42] {
        let upstream = FakeUpstream::start(move |payload| if payload == b"3" { Answer::Code(code) } else { Answer::Ack });
        let rig = rig(&upstream);
        rig.put_numbers(1, 20);
        rig.wait_settled(20, LONG);
        assert_eq!(rig.dead().into_iter().map(|(n, _)| n).collect::<Vec<_>>(), [3], "{code:#x}");
    }
}

#[test]
fn the_reason_of_a_farewell_is_shown_and_what_was_in_flight_goes_again() {
    // With a reason string, and with a server reference as well.
    let (string, reference) = (&[0x1f, 0, 4, b's', b'o', b'o', b'n'][..], &[0x1c, 0, 3, b'b', b'.', b'x'][..]);
    for (code, properties, words) in [
        (0x89, string, "server busy (0x89), \"soon\""),
        (0x8b, string, "server shutting down (0x8b), \"soon\""),
        (0x8d, &[][..], "keep alive timeout (0x8d)"),
        (0x97, string, "quota exceeded (0x97), \"soon\""),
        (0x9c, reference, "another server \"b.x\", and `url`"),
        (0x9d, reference, "another server \"b.x\", and `url`"),
    ] {
        let (farewells, properties) = (AtomicUsize::new(0), properties.to_vec());
        let upstream = FakeUpstream::start(move |payload| {
            let farewell = payload == b"3" && farewells.fetch_add(1, Ordering::Relaxed) < 5;
            if farewell { Answer::Dismiss(code, properties.clone()) } else { Answer::Ack }
        });
        let rig = rig(&upstream);
        rig.put_numbers(1, 20);
        rig.wait_settled(20, LONG);
        let status = rig.status();
        assert!(status.last_error.as_ref().is_some_and(|error| error.contains(words)), "{words}: {status:?}");
        // It is not the entry's fault, however often it happens there.
        assert_eq!((rig.dead(), status.connects), (vec![], 6), "{code:#x}");
    }
}

#[test]
fn an_entry_on_which_the_upstream_says_too_large_and_goes_is_found_out() {
    let upstream = FakeUpstream::start(|payload| if payload == b"3" { Answer::Dismiss(0x95, vec![]) } else { Answer::Ack });
    let rig = rig(&upstream);
    rig.put_numbers(1, 20);
    rig.wait_settled(20, LONG);
    assert_eq!(rig.dead().into_iter().map(|(n, _)| n).collect::<Vec<_>>(), [3]);
    assert!(rig.status().last_error.is_some_and(|error| error.contains("packet too large (0x95)")));
}
