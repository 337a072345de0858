//! The life of one upstream: when to connect, when to give a connection up, what to tell the outbox, what to say in the log. Sans-I/O.

use std::time::Duration;

use super::backoff::Backoff;
use super::pump::{Pump, Refusal};
use super::sink::{Down, Event, Parcel, Refused, Retry, Terms, Token, TooLarge};
use super::{Options, Tuning};
use crate::model::status::{UpstreamState, UpstreamStatus};
use crate::model::{BridgeToOutbox, EntryId, Mono, Outcome};

#[derive(Debug)]
pub struct State {
    options: Options,
    pub pump: Pump,
    backoff: Backoff,
    /// Between rounds of what the upstream refuses for now.
    pauses: Backoff,
    /// The next round begins then, if the last one is over.
    round_at: Option<Mono>,
    link: Link,
    /// Of the connection that is up, or was last.
    terms: Option<Terms>,
    /// The upstream is there and cannot be used as it is.
    unusable: bool,
    /// What the outbox was last told.
    reported_up: bool,
    /// The log has said that the upstream is away; since when it is.
    away: Option<Mono>,
    /// The last connection ended before it proved good. The next has to do so before the log says that the upstream is back, or it would say so
    /// at each try on an upstream that closes on what it is sent.
    doubted: bool,
    acknowledged: u64,
    connects: u64,
    dead_letters: u64,
    expired: u64,
    last_error: Option<String>,
    said_refusing: bool,
    /// The log has said that the upstream refuses something for now.
    said_grudge: bool,
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Waiting {
        until: Mono,
    },
    Connecting {
        give_up: Mono,
    },
    /// `proved`: an entry was acknowledged. `heard`: the last sign of life.
    Up {
        since: Mono,
        heard: Mono,
        proved: bool,
    },
    /// Thrown away; its last events are on their way. If they do not come, they are not waited for.
    Ending {
        give_up: Mono,
    },
}

/// How long the last events of a connection that was thrown away may take. They only save duplicates.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// What the task is to do to the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Connect,
    ThrowAway(String),
}

impl State {
    pub fn new(options: Options, tuning: &Tuning, now: Mono) -> Self {
        Self {
            pump: Pump::new(usize::from(options.window), options.ack_timeout),
            backoff: Backoff::new(tuning.backoff_min, tuning.backoff_max, tuning.seed),
            pauses: Backoff::new(tuning.backoff_min, tuning.backoff_max, !tuning.seed),
            round_at: None,
            terms: None,
            unusable: false,
            link: Link::Waiting { until: now },
            reported_up: false,
            away: None,
            doubted: false,
            acknowledged: 0,
            connects: 0,
            dead_letters: 0,
            expired: 0,
            last_error: None,
            said_refusing: false,
            said_grudge: false,
            stopping: false,
            options,
        }
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Mono) -> Option<Action> {
        if now < self.wake_at()? {
            return None;
        }
        match self.link {
            Link::Waiting { .. } => {
                self.link = Link::Connecting { give_up: now + self.options.connect_timeout };
                Some(Action::Connect)
            }
            Link::Connecting { .. } => self.throw_away(now, format!("no answer within {}", seconds(self.options.connect_timeout))),
            Link::Up { .. } if self.pump.deadline().is_some_and(|deadline| deadline <= now) => {
                self.throw_away(now, format!("no acknowledgement within {}", seconds(self.options.ack_timeout)))
            }
            Link::Up { .. } if self.next_round_at().is_some_and(|at| at <= now) => {
                self.next_round();
                None
            }
            Link::Up { .. } => self.throw_away(now, "no sign of life".to_owned()),
            Link::Ending { .. } => {
                self.down(Down { cause: "thrown away".to_owned(), ..Down::default() }, now);
                None
            }
        }
    }

    /// When [`State::due`] is to be asked again, unless an event comes before.
    pub fn wake_at(&self) -> Option<Mono> {
        match self.link {
            Link::Waiting { until } => Some(until),
            Link::Connecting { give_up } => Some(give_up),
            Link::Up { heard, .. } => {
                let silence = self.silence().map(|silence| heard + silence);
                self.pump.deadline().into_iter().chain(silence).chain(self.next_round_at()).min()
            }
            Link::Ending { give_up } => Some(give_up),
        }
    }

    pub fn event(&mut self, event: Event, now: Mono) -> Option<Action> {
        if let Link::Up { heard, .. } = &mut self.link {
            *heard = now;
        }
        match event {
            Event::Up(terms) => self.up(terms, now),
            Event::Written(token) => self.pump.written(token, now),
            Event::Acked(token) => {
                let count = self.pump.acked(token);
                if count > 0 {
                    self.acknowledged += count as u64;
                    self.proved(now);
                }
            }
            Event::Refused(token, refused) => self.refused(token, &refused, now),
            Event::Alive => self.alive(now),
            Event::Down(down) => self.down(down, now),
        }
        None
    }

    /// One entry of a page, as the sink would send it.
    pub fn take(&mut self, id: EntryId, parcel: Result<Parcel, TooLarge>) {
        match parcel {
            Ok(parcel) => self.pump.push(parcel),
            Err(too_large) => self.pump.reject(id, too_large.to_string()),
        }
    }

    /// Whether [`State::message`] has one.
    pub fn has_message(&self) -> bool {
        self.is_up() != self.reported_up || self.pump.has_settled() || (self.is_up() && self.pump.wants_pull())
    }

    /// The next message for the outbox: the connection's state first, then what is settled, then the wish for more.
    pub fn message(&mut self) -> Option<BridgeToOutbox> {
        let upstream = self.options.upstream;
        let up = self.is_up();
        if up != self.reported_up {
            self.reported_up = up;
            return Some(BridgeToOutbox::Link { upstream, up });
        }
        let settled = self.pump.take_settled();
        if settled.is_empty() {
            return up.then(|| self.pump.pull()).flatten().map(|entries| BridgeToOutbox::Pull { upstream, entries });
        }
        let expired = settled.iter().filter(|s| s.outcome == Outcome::Expired).count() as u64;
        if expired > 0 && self.expired == 0 {
            tracing::warn!(upstream = %self.options.name, "messages expire before they can be sent, as their publishers asked; the status counts them");
        }
        self.expired += expired;
        let dead = settled.iter().filter_map(|s| match &s.outcome {
            Outcome::DeadLetter { cause, .. } => Some((s.id, cause)),
            Outcome::Acknowledged | Outcome::Expired => None,
        });
        if let Some((id, cause)) = dead.clone().next() {
            let count = dead.count() as u64;
            self.dead_letters += count;
            tracing::warn!(upstream = %self.options.name, count, first = %id, cause = %cause, "set aside as dead letters");
        }
        Some(BridgeToOutbox::Done { upstream, settled })
    }

    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// The drain begins: nothing new is offered or pulled, and the end of the connection is no trouble.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.pump.stop();
    }

    /// The end: whatever the connection is, it is used no more.
    pub fn gone(&mut self) {
        if !matches!(self.link, Link::Waiting { .. }) {
            self.link = Link::Waiting { until: Mono::from_nanos(u64::MAX) };
        }
    }

    pub fn status(&self, now: Mono) -> UpstreamStatus {
        UpstreamStatus {
            name: self.options.name.to_string(),
            url: self.options.url(),
            state: match self.link {
                _ if self.unusable || self.pump.refusing() => UpstreamState::Refusing,
                Link::Waiting { .. } | Link::Ending { .. } => UpstreamState::Backoff,
                Link::Connecting { .. } => UpstreamState::Connecting,
                Link::Up { .. } => UpstreamState::Connected,
            },
            in_flight: self.pump.in_flight() as u64,
            oldest_unacknowledged_age_ms: self.pump.oldest().map(|at| now.since(at).as_millis() as u64),
            acknowledged: self.acknowledged,
            connects: self.connects,
            dead_letters: self.dead_letters,
            expired: self.expired,
            protocol: self.terms.map(|terms| terms.protocol.to_owned()),
            last_error: self.last_error.clone(),
        }
    }

    fn throw_away(&mut self, now: Mono, cause: String) -> Option<Action> {
        if matches!(self.link, Link::Connecting { .. } | Link::Up { .. }) {
            self.doubt();
            // Nothing may be offered to what is being thrown away; its last acknowledgements still count.
            self.link = Link::Ending { give_up: now + ENDING_MAX };
            return Some(Action::ThrowAway(cause));
        }
        None
    }

    fn up(&mut self, terms: Terms, now: Mono) {
        if self.is_up() {
            return;
        }
        self.link = Link::Up { since: now, heard: now, proved: false };
        self.connects += 1;
        self.terms = Some(terms);
        self.unusable = false;
        self.round_at = None;
        self.pump.up(terms);
        if self.connects == 1 && self.away.is_none() {
            tracing::info!(upstream = %self.options.name, url = %self.options.url(), protocol = terms.protocol, "upstream connected");
        } else if !self.doubted {
            self.back(now);
        }
    }

    fn alive(&mut self, now: Mono) {
        if let Link::Up { since, .. } = self.link
            && now.since(since) >= self.backoff.longest()
            && !self.pump.refusing()
        {
            // It has stood for long, with nothing to send: that is proof enough.
            self.proved(now);
        }
    }

    fn proved(&mut self, now: Mono) {
        if let Link::Up { proved, .. } = &mut self.link
            && !*proved
        {
            *proved = true;
            self.backoff.reset();
            self.back(now);
        }
        if self.said_refusing && !self.pump.refusing() {
            self.said_refusing = false;
            tracing::info!(upstream = %self.options.name, "upstream takes messages again");
        }
        self.grudges_over();
    }

    fn refused(&mut self, token: Token, refused: &Refused, now: Mono) {
        if self.pump.refused(token, refused) == Refusal::Settled {
            return self.grudges_over();
        }
        if self.round_at.is_none() {
            self.round_at = Some(now + self.pauses.next());
        }
        if !self.said_grudge {
            self.said_grudge = true;
            tracing::warn!(upstream = %self.options.name, reason = %refused.why, "upstream refuses an entry for now; tried again, and what is behind it waits");
        }
        self.last_error = Some(format!("the upstream refuses an entry for now: {}", refused.why));
    }

    fn next_round_at(&self) -> Option<Mono> {
        self.round_at.filter(|_| self.pump.round_over())
    }

    fn next_round(&mut self) {
        self.round_at = None;
        if self.pump.next_round() {
            self.pauses.reset();
        }
        if self.pump.refusing() {
            let cause = self.last_error.clone().unwrap_or_default();
            self.say_refusing(&cause);
        }
        self.grudges_over();
    }

    fn grudges_over(&mut self) {
        if self.said_grudge && !self.pump.has_grudges() {
            self.said_grudge = false;
            self.round_at = None;
            self.pauses.reset();
            tracing::info!(upstream = %self.options.name, "nothing is left that the upstream had refused");
        }
    }

    fn say_refusing(&mut self, cause: &str) {
        if !self.said_refusing {
            self.said_refusing = true;
            tracing::error!(upstream = %self.options.name, %cause, "upstream refuses everything that it is sent; its queue holds, tried again and again");
        }
    }

    fn back(&mut self, now: Mono) {
        if let Some(since) = self.away.take() {
            tracing::info!(upstream = %self.options.name, away_s = now.since(since).as_secs(), "upstream back");
        }
    }

    fn down(&mut self, down: Down, now: Mono) {
        self.doubt();
        self.pump.down(down.by_peer, now);
        self.round_at = None;
        let wait = match down.retry {
            Retry::Usual => self.backoff.next(),
            Retry::Slow => self.backoff.longest_next(),
            Retry::AtOnce => Duration::ZERO,
        };
        self.link = Link::Waiting { until: now + wait };
        if down.retry == Retry::AtOnce {
            return;
        }
        self.unusable = down.unusable;
        if self.pump.refusing() || self.unusable {
            self.say_refusing(&down.cause);
        }
        if self.away.is_none() && !self.stopping {
            self.away = Some(now);
            tracing::warn!(upstream = %self.options.name, cause = %down.cause, "upstream away; tried again until it is back");
        }
        self.last_error = Some(down.cause);
    }

    /// The connection ends; whether it has proved good.
    fn doubt(&mut self) {
        if let Link::Up { proved, .. } = self.link {
            self.doubted = !proved;
        }
    }

    /// Longest time without any sign of life: pings go out each `keep_alive`, so their traffic is missing twice.
    fn silence(&self) -> Option<Duration> {
        let keep_alive = self.terms.map_or(self.options.keep_alive, |terms| terms.keep_alive);
        (!keep_alive.is_zero()).then(|| keep_alive * 2 + self.options.connect_timeout)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
