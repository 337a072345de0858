mod rounds;

use std::collections::BTreeMap;

use super::super::sink::Refused;
use super::*;
use crate::model::Topic;

const WINDOW: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(30);

fn id(n: u64) -> EntryId {
    EntryId::new(1, n)
}

fn parcel(n: u64, bytes: usize) -> Parcel {
    Parcel {
        id: id(n),
        nonce: 0,
        topic: Topic::new("t").expect("a topic"),
        payload: vec![0; bytes].into(),
        properties: Bytes::new(),
        expires: None,
        accepted: Mono::from_millis(n),
        size: bytes,
    }
}

/// An upstream that sets no limits.
const TERMS: Terms = Terms { protocol: "MQTT 5.0", window: usize::MAX, packet_max: usize::MAX, keep_alive: Duration::ZERO };

fn refusal(code: u8) -> Refused {
    Refused { code, why: format!("{code:#04x}") }
}

fn next_to_offer(pump: &Pump) -> Option<u64> {
    pump.to_offer(1).next().map(|p| p.id.counter())
}

/// What happens to a pump, one word each.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// These entries come from the outbox.
    Push(u64, u64),
    Up,
    /// With this window and largest packet.
    UpBy(usize, usize),
    /// Takes what may be offered, which must be these, and writes it.
    Offers(&'static [u64]),
    /// As `Offers`, and nothing of it reaches the network.
    OffersUnwritten(&'static [u64]),
    Ack(u64),
    /// With this code, which holds the line.
    Refuse(u64, u8),
    /// All that was offered is answered, and the pause is over; whether anything passed.
    NextRound(bool),
    /// The upstream closes, so many seconds after the last step.
    Closed(u64),
    /// The connection is lost otherwise.
    Lost,
    /// Settled since the last such step: acknowledged, dead.
    Settled(&'static [u64], &'static [u64]),
    Refusing(bool),
}

struct Bench {
    pump: Pump,
    now: Mono,
    generation: u32,
    number: u64,
    tokens: BTreeMap<u64, Token>,
}

impl Bench {
    fn step(&mut self, step: Step, at: &str) {
        match step {
            Step::Push(first, last) => {
                self.pump.page();
                (first..=last).for_each(|n| self.pump.push(parcel(n, 10)));
            }
            Step::Up => self.up(TERMS),
            Step::UpBy(window, packet_max) => self.up(Terms { window, packet_max, ..TERMS }),
            Step::Offers(want) => self.offer(want, true, at),
            Step::OffersUnwritten(want) => self.offer(want, false, at),
            Step::Ack(n) => assert_eq!(self.pump.acked(self.tokens[&n]), 1, "{at}"),
            Step::Refuse(n, code) => assert_eq!(self.pump.refused(self.tokens[&n], &refusal(code)), Refusal::Hold, "{at}"),
            Step::NextRound(passed) => {
                assert!(self.pump.round_over(), "{at}");
                self.tokens.clear();
                assert_eq!(self.pump.next_round(), passed, "{at}");
            }
            Step::Closed(seconds) => {
                self.now = self.now + Duration::from_secs(seconds);
                self.pump.down(true, self.now);
            }
            Step::Lost => self.pump.down(false, self.now),
            Step::Settled(acknowledged, dead) => {
                let settled = self.pump.take_settled();
                let (acks, deads): (Vec<_>, Vec<_>) = settled.iter().partition(|s| s.outcome == Outcome::Acknowledged);
                let numbers = |of: Vec<&Settled>| of.iter().map(|s| s.id.counter()).collect::<Vec<_>>();
                assert_eq!((numbers(acks), numbers(deads)), (acknowledged.to_vec(), dead.to_vec()), "{at}");
            }
            Step::Refusing(want) => assert_eq!(self.pump.refusing(), want, "{at}"),
        }
    }

    fn up(&mut self, terms: Terms) {
        self.generation += 1;
        self.number = 0;
        self.tokens.clear();
        self.pump.up(terms);
    }

    fn offer(&mut self, want: &[u64], write: bool, at: &str) {
        let mut got = Vec::new();
        while let Some(n) = next_to_offer(&self.pump) {
            let token = Token { generation: self.generation, number: self.number };
            self.number += 1;
            self.pump.offered(token, 1, self.now);
            if write {
                self.pump.written(token, self.now);
            }
            got.push((n, token));
        }
        assert_eq!(got.iter().map(|(n, _)| *n).collect::<Vec<_>>(), want, "{at}");
        self.tokens.extend(got);
    }
}

fn check(name: &str, steps: &[Step]) {
    let mut bench =
        Bench { pump: Pump::new(WINDOW, TIMEOUT), now: Mono::from_millis(1_000), generation: 0, number: 0, tokens: BTreeMap::new() };
    for (index, step) in steps.iter().enumerate() {
        bench.step(*step, &format!("{name}, step {index} {step:?}"));
    }
}

#[test]
fn the_window_is_the_distance_from_the_oldest_unacknowledged() {
    use Step::*;
    check(
        "in order",
        &[Push(1, 9), Up, Offers(&[1, 2, 3, 4]), Ack(1), Offers(&[5]), Ack(2), Ack(3), Offers(&[6, 7]), Settled(&[1, 2, 3], &[])],
    );
    check(
        "out of order",
        &[Push(1, 9), Up, Offers(&[1, 2, 3, 4]), Ack(3), Ack(2), Offers(&[]), Settled(&[3, 2], &[]), Ack(1), Offers(&[5, 6, 7])],
    );
    check("nothing while down", &[Push(1, 9), Offers(&[]), Up, Offers(&[1, 2, 3, 4]), Lost, Offers(&[])]);
}

#[test]
fn what_was_not_acknowledged_is_offered_again_in_order_and_nothing_else() {
    use Step::*;
    check("lost", &[Push(1, 6), Up, Offers(&[1, 2, 3, 4]), Ack(2), Lost, Up, Offers(&[1, 3, 4, 5]), Settled(&[2], &[])]);
    check("closed", &[Push(1, 6), Up, Offers(&[1, 2, 3, 4]), Ack(1), Ack(4), Closed(0), Up, Offers(&[2, 3, 5, 6])]);
}

#[test]
fn an_entry_on_which_the_upstream_closes_becomes_a_dead_letter_once_the_next_passes() {
    use Step::*;
    let three_closes = [Push(1, 6), Up, Offers(&[1, 2, 3, 4]), Closed(1), Up, Offers(&[1, 2, 3, 4]), Closed(1), Up, Offers(&[1, 2, 3, 4])];
    let alone = [Closed(1), Up, Offers(&[1]), Closed(1), Up, Offers(&[1]), Closed(1), Up, Offers(&[1]), Closed(1)];
    let suspected = [&three_closes[..], &alone[..]].concat();
    let passes = [Settled(&[], &[]), Up, Offers(&[2]), Ack(2), Settled(&[2], &[1]), Refusing(false), Offers(&[3])];
    check("the next passes", &[&suspected[..], &passes[..]].concat());
    let closes =
        [Up, Offers(&[2]), Closed(1), Settled(&[], &[]), Refusing(true), Up, Offers(&[1]), Ack(1), Settled(&[1], &[]), Refusing(false)];
    check("the next is closed on, too", &[&suspected[..], &closes[..]].concat());
    let unknown = [Up, Offers(&[2]), Lost, Up, Offers(&[2]), Closed(6), Up, Offers(&[2]), Settled(&[], &[]), Ack(2), Settled(&[2], &[1])];
    check("the next is not heard of, and tried again", &[&suspected[..], &unknown[..]].concat());
}

#[test]
fn after_a_dead_letter_the_window_opens_only_when_all_suspects_have_passed() {
    use Step::*;
    let closes =
        [Push(1, 9), Up, Offers(&[1, 2, 3, 4]), Closed(1), Up, Offers(&[1, 2, 3, 4]), Closed(1), Up, Offers(&[1, 2, 3, 4]), Closed(1)];
    let one_by_one = [Up, Offers(&[1]), Ack(1), Offers(&[2]), Ack(2), Offers(&[3]), Ack(3), Offers(&[4]), Ack(4), Offers(&[5, 6, 7, 8])];
    check("all pass", &[&closes[..], &one_by_one[..]].concat());
}

#[test]
fn only_a_close_on_an_entry_that_was_just_written_alone_counts_against_it() {
    use Step::*;
    for (name, end) in [("too late", Closed(6)), ("lost", Lost)] {
        let again = [Up, Offers(&[1]), end];
        let steps = [&[Push(1, 1)][..], &again.repeat(9)[..], &[Push(2, 2), Up][..]].concat();
        // Closes with the same oldest entry, at whatever time, make the pump careful; never do they set the entry aside.
        let offers = if matches!(end, Lost) { Offers(&[1, 2]) } else { Offers(&[1]) };
        check(name, &[&steps[..], &[offers, Settled(&[], &[]), Refusing(false)][..]].concat());
    }
    let unwritten = [Up, OffersUnwritten(&[1]), Closed(0)].repeat(9);
    check("unwritten", &[&[Push(1, 1)][..], &unwritten[..], &[Push(2, 2), Up, Offers(&[1, 2])][..]].concat());
}

#[test]
fn an_entry_alone_in_a_queue_is_never_a_dead_letter_by_closes() {
    use Step::*;
    let again = [Up, Offers(&[1]), Closed(0), Settled(&[], &[])].repeat(20);
    check("alone", &[&[Push(1, 1)][..], &again[..], &[Refusing(true)][..]].concat());
    let second = [Push(2, 2), Up, Offers(&[2]), Ack(2), Settled(&[2], &[1])];
    check("until there is another", &[&[Push(1, 1)][..], &again[..], &second[..]].concat());
    let while_in_flight = [Up, Offers(&[1]), Push(2, 2), Offers(&[]), Ack(1), Settled(&[1], &[]), Refusing(false)];
    check("another comes while it is in flight", &[&[Push(1, 1)][..], &again[..], &while_in_flight[..]].concat());
}

#[test]
fn a_page_is_pulled_when_there_is_room_and_one_at_a_time() {
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    assert_eq!(pump.pull(), None, "while down");
    pump.up(TERMS);
    assert_eq!(pump.pull(), Some(8));
    assert_eq!(pump.pull(), None, "one is open");
    pump.page();
    (1..=3).for_each(|n| pump.push(parcel(n, 10)));
    assert_eq!(pump.pull(), Some(5));
    pump.page();
    (4..=5).for_each(|n| pump.push(parcel(n, 10)));
    assert_eq!(pump.pull(), None, "more than a window is held");
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    pump.up(TERMS);
    pump.push(parcel(1, HOLD_BYTES));
    assert_eq!(pump.pull(), None, "enough bytes are held");
    pump.stop();
    assert_eq!(pump.room(1), 0, "stopped");
}

#[test]
fn bytes_in_flight_are_bounded_and_a_large_one_goes_alone() {
    let mut pump = Pump::new(100, TIMEOUT);
    pump.up(TERMS);
    for (n, bytes) in [(1, 2 << 20), (2, 100 << 10), (3, 100 << 10), (4, 100 << 10), (5, 10)] {
        pump.push(parcel(n, bytes));
    }
    let token = |number| Token { generation: 1, number };
    for (number, want, then) in [(0, 1, 0), (1, 2, 0)] {
        assert_eq!(pump.room(100), want);
        pump.offered(token(number), want, Mono::ZERO);
        assert_eq!(pump.room(100), then);
        assert_eq!(pump.acked(token(number)), want, "an acknowledgement covers the whole offer");
    }
    assert_eq!(pump.room(100), 2);
}

#[test]
fn the_deadline_runs_from_the_oldest_offer() {
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    pump.up(TERMS);
    pump.push(parcel(1, 1));
    pump.push(parcel(2, 1));
    assert_eq!(pump.deadline(), None);
    let token = |number| Token { generation: 1, number };
    pump.offered(token(0), 1, Mono::from_millis(10));
    pump.offered(token(1), 1, Mono::from_millis(20));
    assert_eq!(pump.deadline(), Some(Mono::from_millis(30_010)));
    assert_eq!(pump.acked(token(0)), 1);
    assert_eq!(pump.deadline(), Some(Mono::from_millis(30_020)));
    pump.down(false, Mono::from_millis(30));
    assert_eq!(pump.deadline(), None);
    assert_eq!(pump.acked(token(1)), 0, "a late acknowledgement of a connection that is gone settles nothing");
}

#[test]
fn an_acknowledgement_of_the_last_connection_is_not_taken_for_one_of_this() {
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    let token = |generation| Token { generation, number: 0 };
    pump.up(TERMS);
    pump.push(parcel(1, 1));
    pump.offered(token(1), 1, Mono::ZERO);
    pump.down(false, Mono::from_millis(10));
    pump.up(TERMS);
    // Packet ids begin anew with each connection, so the old and the new offer have the same number.
    pump.offered(token(2), 1, Mono::from_millis(20));
    assert_eq!(pump.acked(token(1)), 0, "late, and of the old connection");
    assert_eq!((pump.in_flight(), pump.take_settled().len()), (1, 0));
    assert_eq!(pump.acked(token(2)), 1);
    assert_eq!(pump.take_settled().len(), 1);
}

/// A seeded world around a pump: an outbox that hands over ids, an upstream that acknowledges in any order, closes, is lost.
struct World {
    pump: Pump,
    now: Mono,
    random: u64,
    next: u64,
    last: u64,
    generation: u32,
    number: u64,
    flying: BTreeMap<Token, u64>,
    /// On these the upstream always closes.
    poison: fn(u64) -> bool,
    first_offered: Vec<u64>,
    settled: BTreeMap<u64, Outcome>,
    closes_alone: BTreeMap<u64, u32>,
    longest_distance: usize,
}

impl World {
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn turn(&mut self) {
        if let Some(wanted) = self.pump.pull() {
            self.pump.page();
            let wanted = 1 + self.below(wanted as u64);
            let end = (self.next + wanted).min(self.last + 1);
            (self.next..end).for_each(|n| self.pump.push(parcel(n, 10)));
            self.next = end;
        }
        match self.below(20) {
            0..=9 => self.offer(),
            10..=16 => self.ack(),
            17 => self.close(true),
            18 => self.close(false),
            _ => self.now = self.now + Duration::from_millis(500),
        }
        for settled in self.pump.take_settled() {
            let n = settled.id.counter();
            if matches!(settled.outcome, Outcome::DeadLetter { .. }) {
                assert!(self.closes_alone.get(&n).is_some_and(|c| *c >= CLOSES_BEFORE_ASIDE), "{n} was condemned without proof");
            }
            assert_eq!(self.settled.insert(n, settled.outcome), None, "{n} was settled twice");
        }
    }

    fn offer(&mut self) {
        while let Some(n) = next_to_offer(&self.pump) {
            let token = Token { generation: self.generation, number: self.number };
            self.number += 1;
            self.pump.offered(token, 1, self.now);
            self.pump.written(token, self.now);
            self.flying.insert(token, n);
            if !self.first_offered.contains(&n) {
                self.first_offered.push(n);
            }
            let oldest = self.flying.keys().next().map_or(token.number, |t| t.number);
            self.longest_distance = self.longest_distance.max((token.number - oldest) as usize + 1);
            if (self.poison)(n) {
                return self.close(true);
            }
        }
    }

    fn ack(&mut self) {
        let ready: Vec<_> = self.flying.iter().filter(|(_, n)| !(self.poison)(**n)).map(|(t, _)| *t).collect();
        if !ready.is_empty() {
            let token = ready[self.below(ready.len() as u64) as usize];
            self.flying.remove(&token);
            assert_eq!(self.pump.acked(token), 1);
        }
    }

    fn close(&mut self, by_peer: bool) {
        if let (true, 1, Some(n)) = (by_peer, self.flying.len(), self.flying.values().next()) {
            *self.closes_alone.entry(*n).or_default() += 1;
        }
        self.flying.clear();
        self.pump.down(by_peer, self.now);
        self.generation += 1;
        self.number = 0;
        self.pump.up(TERMS);
    }
}

fn simulate(seed: u64, last: u64, poison: fn(u64) -> bool) -> World {
    let mut world = World {
        pump: Pump::new(WINDOW, TIMEOUT),
        now: Mono::ZERO,
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        next: 1,
        last,
        generation: 1,
        number: 0,
        flying: BTreeMap::new(),
        poison,
        first_offered: Vec::new(),
        settled: BTreeMap::new(),
        closes_alone: BTreeMap::new(),
        longest_distance: 0,
    };
    world.pump.up(TERMS);
    for _ in 0..20_000 {
        world.turn();
        if world.settled.len() as u64 == last {
            break;
        }
    }
    world
}

#[test]
fn in_any_weather_each_entry_settles_once_and_first_goes_in_order() {
    for seed in 1..=300 {
        let world = simulate(seed, 60, |_| false);
        assert_eq!(world.settled.len(), 60, "seed {seed}");
        assert!(world.first_offered.is_sorted(), "seed {seed}: {:?}", world.first_offered);
        assert!(world.longest_distance <= WINDOW, "seed {seed}");
    }
}

#[test]
fn an_upstream_that_closes_on_some_entries_gets_all_others() {
    for seed in 1..=300 {
        let world = simulate(seed, 40, |n| n % 13 == 5);
        assert_eq!(world.settled.len(), 40, "seed {seed}");
        let dead: Vec<_> = world.settled.iter().filter(|(_, o)| **o != Outcome::Acknowledged).map(|(n, _)| *n).collect();
        assert!([5, 18, 31].iter().all(|n| dead.contains(n)), "seed {seed}: {dead:?}");
        assert!(world.first_offered.is_sorted(), "seed {seed}: {:?}", world.first_offered);
    }
}

#[test]
fn an_upstream_that_closes_on_everything_condemns_nothing() {
    for seed in 1..=50 {
        for last in [1, 2, 3, 40] {
            let world = simulate(seed, last, |_| true);
            assert!(world.settled.is_empty(), "seed {seed}: {:?}", world.settled);
        }
    }
}
