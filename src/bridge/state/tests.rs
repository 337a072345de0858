use bytes::Bytes;

use super::*;
use crate::bridge::sink::Token;
use crate::model::status::UpstreamState;
use crate::model::{Topic, UpstreamId};

fn options() -> Options {
    Options {
        upstream: UpstreamId(3),
        gateway: "g".into(),
        name: "cloud".into(),
        host: "::1".into(),
        port: 1883,
        version: None,
        tls: None,
        client_id: "c".into(),
        auth: None,
        window: 2,
        ack_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(30),
        packet_max: 1_000,
    }
}

const TERMS: Terms = Terms { protocol: "MQTT 5.0", window: usize::MAX, packet_max: usize::MAX, keep_alive: Duration::from_secs(30) };

struct Bench {
    state: State,
    now: Mono,
}

impl Bench {
    fn new() -> Self {
        Self { state: State::new(options(), &Tuning { seed: 1, ..Tuning::default() }, Mono::ZERO), now: Mono::ZERO }
    }

    /// Lets so many seconds pass, asking each tenth what is due; the first answer.
    fn within(&mut self, seconds: u64) -> Option<Action> {
        (0..=seconds * 10).find_map(|_| {
            let action = self.state.due(self.now);
            if action.is_none() {
                self.now = self.now + Duration::from_millis(100);
            }
            action
        })
    }

    fn connected() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.within(0), Some(Action::Connect));
        assert_eq!(bench.event(Event::Up(TERMS)), None);
        bench
    }

    fn event(&mut self, event: Event) -> Option<Action> {
        self.state.event(event, self.now)
    }

    fn down(&mut self, cause: &str) {
        assert_eq!(self.event(Event::Down(Down { by_peer: true, cause: cause.to_owned(), ..Down::default() })), None);
    }

    fn offer(&mut self, n: u64) -> Token {
        let topic = Topic::new("t").expect("a topic");
        let parcel = Parcel {
            id: EntryId::new(1, n),
            nonce: 0,
            topic,
            payload: "x".into(),
            properties: Bytes::new(),
            expires: None,
            accepted: self.now,
            size: 1,
        };
        self.state.take(parcel.id, Ok(parcel));
        let token = Token { generation: 1, number: n };
        assert_eq!(self.state.pump.room(1), 1);
        self.state.pump.offered(token, 1, self.now);
        token
    }

    fn messages(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while self.state.has_message() {
            all.push(match self.state.message().expect("it has one") {
                BridgeToOutbox::Link { upstream: UpstreamId(3), up } => format!("up {up}"),
                BridgeToOutbox::Pull { upstream: UpstreamId(3), entries } => format!("pull {entries}"),
                BridgeToOutbox::Done { upstream: UpstreamId(3), settled } => format!("done {}", settled.len()),
                other => panic!("for another upstream: {other:?}"),
            });
        }
        all
    }

    fn seconds(&self) -> u64 {
        self.now.since(Mono::ZERO).as_secs()
    }
}

fn throws(cause: &str) -> Option<Action> {
    Some(Action::ThrowAway(cause.to_owned()))
}

#[test]
fn a_connect_without_an_answer_is_given_up_and_tried_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.within(0), Some(Action::Connect));
    assert_eq!(bench.within(11), throws("no answer within 10 s"));
    assert_eq!(bench.seconds(), 10);
    bench.down("no answer within 10 s");
    assert_eq!(bench.state.status(bench.now).state, UpstreamState::Backoff);
    assert_eq!(bench.within(3), Some(Action::Connect));
    assert_eq!(bench.state.status(bench.now).state, UpstreamState::Connecting);
    assert_eq!(bench.messages(), [""; 0], "the outbox hears nothing of tries");
}

#[test]
fn an_offer_without_an_acknowledgement_ends_the_connection_even_if_there_is_life() {
    let mut bench = Bench::connected();
    bench.offer(1);
    for _ in 0..5 {
        assert_eq!(bench.within(5), None);
        bench.event(Event::Alive);
    }
    assert_eq!(bench.within(6), throws("no acknowledgement within 30 s"));
    assert_eq!(bench.seconds(), 30);
    assert!(!bench.state.is_up(), "nothing more is offered to it");
}

#[test]
fn an_acknowledgement_that_was_under_way_still_counts_when_the_connection_is_thrown_away() {
    let mut bench = Bench::connected();
    let token = bench.offer(1);
    assert_eq!(bench.messages(), ["up true", "pull 3"]);
    assert_eq!(bench.within(31), throws("no acknowledgement within 30 s"));
    bench.event(Event::Acked(token));
    bench.down("thrown away");
    assert_eq!(bench.messages(), ["up false", "done 1"]);
    assert_eq!(bench.state.status(bench.now).acknowledged, 1);
}

/// The log says that it is away once, not at each connection that is given up.
#[test]
fn a_connection_that_is_thrown_away_before_it_proved_good_does_not_bring_the_upstream_back() {
    let mut bench = Bench::connected();
    for _ in 0..3 {
        assert_eq!(bench.within(100), throws("no sign of life"));
        bench.down("thrown away");
        assert!(bench.state.away.is_some());
        assert_eq!(bench.within(60), Some(Action::Connect));
        bench.event(Event::Up(TERMS));
        assert!(bench.state.away.is_some(), "it is not back yet");
    }
}

#[test]
fn silence_ends_a_connection_and_any_sign_of_life_delays_that() {
    let mut bench = Bench::connected();
    assert_eq!(bench.within(60), None);
    bench.event(Event::Alive);
    assert_eq!(bench.within(60), None);
    assert_eq!(bench.within(60), throws("no sign of life"));
    assert!((130..=132).contains(&bench.seconds()), "two keep-alives and the connect timeout after the last");
}

#[test]
fn a_connection_that_does_not_end_when_thrown_away_is_not_waited_for() {
    let mut bench = Bench::new();
    assert_eq!(bench.within(0), Some(Action::Connect));
    assert!(matches!(bench.within(11), Some(Action::ThrowAway(_))));
    assert_eq!(bench.within(5), Some(Action::Connect));
}

#[test]
fn the_outbox_hears_of_the_connection_then_of_what_is_settled_then_of_the_wish_for_more() {
    let mut bench = Bench::connected();
    assert_eq!(bench.messages(), ["up true", "pull 4"]);
    assert_eq!(bench.messages(), [""; 0], "each once");
    bench.state.pump.page();
    let token = bench.offer(1);
    bench.event(Event::Acked(token));
    bench.state.take(EntryId::new(1, 2), Err(TooLarge { size: 2_000, max: 1_000 }));
    assert_eq!(bench.messages(), ["done 2", "pull 4"]);
    bench.down("closed");
    assert_eq!(bench.messages(), ["up false"], "and no wish while it is away");
    assert_eq!(bench.within(3), Some(Action::Connect));
    bench.event(Event::Up(TERMS));
    bench.down("closed");
    assert_eq!(bench.messages(), [""; 0], "up and down again before the outbox had room for the news");
    assert_eq!(bench.state.status(bench.now).dead_letters, 1);
}

#[test]
fn the_wait_grows_until_a_connection_proves_good() {
    let mut bench = Bench::new();
    let wait = |bench: &mut Bench, proof: bool| {
        assert_eq!(bench.within(0), Some(Action::Connect));
        bench.event(Event::Up(TERMS));
        if proof {
            let token = bench.offer(bench.seconds() + 1);
            bench.event(Event::Acked(token));
        }
        bench.down("closed");
        let before = bench.now;
        let wake = bench.state.wake_at().expect("it will try again");
        bench.now = wake;
        wake.since(before).as_secs_f64()
    };
    for (proof, low, high) in [
        (false, 1., 2.),
        (false, 2., 4.),
        (false, 4., 8.),
        (false, 7.5, 15.),
        (false, 7.5, 15.),
        (true, 1., 2.),
        (true, 1., 2.),
        (false, 2., 4.),
    ] {
        let seconds = wait(&mut bench, proof);
        assert!(low <= seconds && seconds <= high, "{seconds} s is not within {low}..{high}");
    }
}

#[test]
fn a_refusal_for_now_keeps_the_connection_and_is_tried_again_after_a_pause() {
    let mut bench = Bench::connected();
    let refused = |token| Event::Refused(token, Refused { code: 0x97, why: "quota exceeded (0x97)".to_owned() });
    let token = bench.offer(1);
    assert_eq!(bench.event(refused(token)), None);
    let (mut before, mut number) = (bench.now, token.number);
    for (low, high) in [(1., 2.), (2., 4.), (4., 8.), (7.5, 15.), (7.5, 15.)] {
        assert_eq!((bench.state.pump.room(1), bench.state.pump.take_settled()), (0, vec![]));
        bench.now = bench.state.wake_at().expect("a round to come");
        let pause = bench.now.since(before).as_secs_f64();
        assert!(low <= pause && pause <= high, "{pause} s is not within {low}..{high}");
        assert_eq!(bench.state.due(bench.now), None);
        assert_eq!(bench.state.pump.room(1), 1);
        (before, number) = (bench.now, number + 1);
        let token = Token { generation: 1, number };
        bench.state.pump.offered(token, 1, bench.now);
        assert_eq!(bench.event(refused(token)), None);
    }
    let status = bench.state.status(bench.now);
    assert_eq!((status.state, status.connects), (UpstreamState::Refusing, 1), "nothing passes");
    assert!(status.last_error.is_some_and(|error| error.contains("quota exceeded (0x97)")));
    assert_eq!(bench.within(20), None);
    let token = Token { generation: 1, number: number + 1 };
    bench.state.pump.offered(token, 1, bench.now);
    bench.event(Event::Acked(token));
    assert_eq!(bench.state.status(bench.now).state, UpstreamState::Connected);
}

#[test]
fn how_a_connection_ends_says_when_the_next_one_is_tried() {
    for (retry, low, high) in [(Retry::Usual, 1., 2.), (Retry::Slow, 7.5, 15.), (Retry::AtOnce, 0., 0.)] {
        let mut bench = Bench::connected();
        bench.event(Event::Down(Down { retry, cause: "gone".to_owned(), ..Down::default() }));
        let wait = bench.state.wake_at().expect("it will try again").since(bench.now).as_secs_f64();
        assert!(low <= wait && wait <= high, "{retry:?}: {wait} s is not within {low}..{high}");
    }
}

#[test]
fn an_upstream_that_cannot_be_used_as_it_is_refuses_until_it_lets_us_in() {
    let mut bench = Bench::new();
    assert_eq!(bench.within(0), Some(Action::Connect));
    bench.event(Event::Down(Down { unusable: true, cause: "QoS 0 only".to_owned(), ..Down::default() }));
    assert_eq!(bench.state.status(bench.now).state, UpstreamState::Refusing);
    assert_eq!(bench.within(15), Some(Action::Connect));
    bench.event(Event::Up(TERMS));
    let status = bench.state.status(bench.now);
    assert_eq!((status.state, status.protocol.as_deref()), (UpstreamState::Connected, Some("MQTT 5.0")));
}

#[test]
fn the_upstreams_keep_alive_says_how_long_silence_may_last() {
    let mut bench = Bench::new();
    assert_eq!(bench.within(0), Some(Action::Connect));
    bench.event(Event::Up(Terms { keep_alive: Duration::from_secs(100), ..TERMS }));
    assert_eq!(bench.within(205), None);
    assert_eq!(bench.within(10), throws("no sign of life"));
}

#[test]
fn the_status_tells_the_age_of_what_is_owed_and_the_last_error() {
    let mut bench = Bench::connected();
    bench.offer(1);
    assert_eq!(bench.within(5), None);
    let status = bench.state.status(bench.now);
    assert_eq!((status.url.as_str(), status.state, status.in_flight), ("mqtt://[::1]:1883", UpstreamState::Connected, 1));
    assert!(status.oldest_unacknowledged_age_ms.is_some_and(|age| age >= 5_000), "{status:?}");
    bench.down("gone");
    let status = bench.state.status(bench.now);
    assert_eq!((status.state, status.in_flight, status.last_error.as_deref()), (UpstreamState::Backoff, 0, Some("gone")));
}
