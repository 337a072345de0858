use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn limits() -> Limits {
    Limits {
        ack_wait: MS(500),
        ack_delay: MS(200),
        flush_interval: MS(1_000),
        commit_rows: 256,
        commit_bytes: 256 << 10,
        commits_per_second: 6.0,
        progress_rows: 4_096,
    }
}

const fn owed_to(upstreams: u32) -> Claims {
    Claims { upstreams, sessions: false, commit: false }
}

const fn only(upstreams: &[Receiver]) -> Receivers<'_> {
    Receivers { upstreams, sessions: None }
}

const AWAY: Receiver = Receiver { connected: false, p95: None, stored: None, oldest: None };
const UNKNOWN: Receiver = Receiver { connected: true, ..AWAY };
const FAST: Receiver = Receiver { p95: Some(MS_10), ..UNKNOWN };
const MS_10: Duration = Duration::from_millis(10);

/// Entries as (accepted in ms, receivers owed as bits, awaited, bytes); ids from 1.
fn waiting(entries: &[(u64, u32, bool, usize)]) -> Waiting {
    let mut waiting = Waiting::default();
    for (n, &(accepted, owed, awaited, cost)) in entries.iter().enumerate() {
        let id = EntryId::new(1, n as u64 + 1);
        waiting.insert(id, owed_to(owed), awaited, Mono::from_millis(accepted), cost);
    }
    waiting
}

/// When the first commit starts, in ms from 0, and how many rows it has; `None` if none does within a minute.
fn first_commit(rule: &mut Rule, waiting: &Waiting, receivers: Receivers<'_>, besides: &Besides) -> Option<(u64, usize)> {
    let mut now = Mono::ZERO;
    loop {
        match rule.decide(waiting, receivers, besides, now) {
            Decision::Commit => {
                let rows = rule.due(waiting, receivers, besides.drain, now, 4_096, 4 << 20).ids.len();
                return Some((now.as_nanos() / 1_000_000, rows));
            }
            Decision::Wait(Some(at)) if at < Mono::from_millis(60_000) => {
                assert!(at > now, "it waits for what is over: {at:?}");
                now = at;
            }
            Decision::Wait(_) => return None,
        }
    }
}

#[test]
fn a_commit_starts_at_the_first_of_its_triggers() {
    let stored = |id| Receiver { stored: Some(EntryId::new(1, id)), ..FAST };
    let slow = Receiver { p95: Some(MS(501)), ..UNKNOWN };
    let middling = Receiver { p95: Some(MS(120)), ..UNKNOWN };
    let old = Receiver { oldest: Some(Mono::ZERO), ..UNKNOWN };
    let awaited = [(0, 1, true, 100)];
    let quiet = [(0, 1, false, 100)];
    let row = |what, entries: &[_], receivers: &[Receiver], expected| (what, waiting(entries), receivers.to_vec(), expected);
    let many = |n, owed, awaited, cost| vec![(0, owed, awaited, cost); n];
    for (what, waiting, receivers, expected) in [
        row("awaited, away, with a token", &awaited, &[AWAY], Some((0, 1))),
        row("nobody waits, away", &quiet, &[AWAY], Some((1_000, 1))),
        row("nothing is known of the receiver: ack_wait", &awaited, &[UNKNOWN], Some((500, 1))),
        row("twice its p95, at least 100 ms", &awaited, &[FAST], Some((100, 1))),
        row("twice its p95", &awaited, &[middling], Some((240, 1))),
        row("too slow to wait for", &awaited, &[slow], Some((0, 1))),
        row("its oldest is 5 s old", &[(5_000, 1, true, 100)], &[old], Some((5_000, 1))),
        row("one prompt, one away", &[(0, 3, true, 100)], &[FAST, AWAY], Some((0, 1))),
        row("the slowest counts", &[(0, 3, true, 100)], &[FAST, middling], Some((240, 1))),
        row("something stored stands before it", &awaited, &[stored(0)], Some((0, 1))),
        row("it stands before what is stored", &awaited, &[stored(7)], Some((100, 1))),
        row("rows, away", &many(256, 1, false, 10), &[AWAY], Some((0, 256))),
        row("one row too few", &many(255, 1, false, 10), &[AWAY], Some((1_000, 255))),
        row("bytes, away", &many(2, 1, false, 128 << 10), &[AWAY], Some((0, 2))),
        row("any number of rows, all prompt", &many(1_000, 1, false, 10), &[FAST], Some((100, 1_000))),
        row("only what is due goes", &[(0, 1, true, 9), (0, 2, true, 9), (0, 1, true, 9)], &[FAST, AWAY], Some((0, 1))),
        row("what is not owed needs nothing", &[], &[AWAY], None),
    ] {
        let mut rule = Rule::new(limits(), Mono::ZERO);
        assert_eq!(first_commit(&mut rule, &waiting, only(&receivers), &Besides::default()), expected, "{what}");
    }
}

#[test]
fn prompt_sessions_are_waited_for_as_one_receiver_and_what_only_a_commit_settles_is_not() {
    let sessions = Claims { sessions: true, ..owed_to(0) };
    for (what, claims, upstreams, p95, expected) in [
        ("nothing is known of them", sessions, AWAY, None, 500),
        ("at least 100 ms", sessions, AWAY, Some(10), 100),
        ("twice their p95", sessions, AWAY, Some(120), 240),
        ("too slow to wait for", sessions, AWAY, Some(501), 0),
        ("the upstream is slower", Claims { sessions: true, ..owed_to(1) }, Receiver { p95: Some(MS(150)), ..UNKNOWN }, Some(120), 300),
        ("the upstream is away", Claims { sessions: true, ..owed_to(1) }, AWAY, Some(10), 0),
        ("only a commit settles it", Claims { commit: true, ..sessions }, AWAY, Some(10), 0),
    ] {
        let mut waiting = Waiting::default();
        waiting.insert(EntryId::new(1, 1), claims, true, Mono::ZERO, 100);
        let receivers = Receivers { upstreams: &[upstreams], sessions: p95.map(MS) };
        let mut rule = Rule::new(limits(), Mono::ZERO);
        assert_eq!(first_commit(&mut rule, &waiting, receivers, &Besides::default()), Some((expected, 1)), "{what}");
    }
}

#[test]
fn without_a_token_a_promise_waits_for_the_next_and_at_most_ack_delay() {
    for (per_second, expected) in [(6.0, 166), (2.0, 200), (0.0, 200)] {
        let mut rule = Rule::new(Limits { commits_per_second: per_second, ..limits() }, Mono::ZERO);
        let waiting = waiting(&[(0, 1, true, 100)]);
        let burst = (0..30).filter(|_| rule.decide(&waiting, only(&[AWAY]), &Besides::default(), Mono::ZERO) == Decision::Commit).count();
        assert_eq!(burst, 20, "the burst");
        assert_eq!(first_commit(&mut rule, &waiting, only(&[AWAY]), &Besides::default()).map(|(at, _)| at), Some(expected), "{per_second}");
    }
}

#[test]
fn an_ack_moves_the_deadline_on_to_the_oldest_that_still_waits() {
    let mut rule = Rule::new(limits(), Mono::ZERO);
    let mut all = Waiting::default();
    let owed = owed_to(1);
    for n in 0..1_000 {
        let now = Mono::from_millis(n * 10);
        all.insert(EntryId::new(1, n + 1), owed, true, now, 100);
        // Each is acknowledged after 50 ms; there are always some that wait.
        if n >= 5 {
            all.remove(EntryId::new(1, n - 4), owed, true);
        }
        assert!(matches!(rule.decide(&all, only(&[FAST]), &Besides::default(), now), Decision::Wait(Some(_))), "at {now:?}");
    }
    assert!(!all.is_empty());
}

#[test]
fn progress_dead_letters_and_the_drain_have_their_own_triggers() {
    let besides = Besides::default;
    let since = Some(Mono::ZERO);
    for (what, besides, entries, expected) in [
        ("progress alone", Besides { progress: 1, progress_since: since, ..besides() }, 0, Some(5_000)),
        ("much progress", Besides { progress: 4_096, progress_since: since, ..besides() }, 0, Some(0)),
        ("a dead letter that a publisher waits for", Besides { others: 1, awaited: since, ..besides() }, 0, Some(0)),
        ("a dead letter", Besides { others: 1, quiet: since, ..besides() }, 0, Some(1_000)),
        ("the drain, all prompt", Besides { drain: true, ..besides() }, 3, Some(0)),
        ("the drain with nothing", Besides { drain: true, ..besides() }, 0, None),
    ] {
        let mut rule = Rule::new(limits(), Mono::ZERO);
        let waiting = waiting(&vec![(0, 1, false, 10); entries]);
        assert_eq!(first_commit(&mut rule, &waiting, only(&[FAST]), &besides).map(|(at, _)| at), expected, "{what}");
    }
}

#[test]
fn the_p95_is_that_of_the_last_256_and_unknown_below_16() {
    let mut latency = Latency::default();
    latency.push(&[MS(9_000); 15]);
    assert_eq!(latency.p95(), None);
    latency.push(&[MS(9_000)]);
    assert_eq!(latency.p95(), Some(MS(9_000)));
    latency.push(&[MS(10); 240]);
    assert_eq!(latency.p95(), Some(MS(9_000)), "16 of 256 are more than 5 %");
    latency.push(&[MS(10); 4]);
    assert_eq!(latency.p95(), Some(MS(10)), "the oldest are gone");
    latency.push(&[MS(20); 1_000]);
    assert_eq!(latency.p95(), Some(MS(20)));
}
