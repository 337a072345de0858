//! What a session was promised outlives kill -9: its messages, its subscriptions, its packet ids; and retained messages.

mod clients;
mod placed;

use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;

use crate::harness::gateway::Site;
use crate::harness::random::Random;
use crate::harness::words::{Words, id_of, message_of};
use crate::harness::{alone, full, report};
use clients::{Kind, Publisher, Subscriber, judge};

const SOON: Duration = Duration::from_secs(40);
/// Between two looks at all sockets.
const MOMENT: Duration = Duration::from_millis(1);
/// Filters of the client whose subscriptions change.
const FILTERS: u32 = 12;

/// Everybody who talks to the gateway.
struct Town {
    port: u16,
    random: Random,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Changes its subscriptions all the time.
    changer: Changer,
    /// Sets a retained message again and again.
    keeper: Keeper,
}

impl Town {
    fn new(port: u16, random: Random) -> Self {
        let kind = |version, qos| Kind { version, qos };
        let publishers = [kind(4, 1), kind(5, 2), kind(4, 2), kind(5, 1)];
        let subscribers = [kind(4, 1), kind(5, 2), kind(5, 1), kind(4, 2)];
        Self {
            port,
            random,
            publishers: publishers.into_iter().zip(1..).map(|(kind, name)| Publisher::new(name, kind)).collect(),
            subscribers: subscribers.into_iter().zip(1..).map(|(kind, n)| Subscriber::new(&format!("s{n}"), kind, "s/#")).collect(),
            changer: Changer::default(),
            keeper: Keeper::default(),
        }
    }

    /// Everybody goes on until `done`.
    fn go(&mut self, what: &str, within: Duration, mut done: impl FnMut(&Self) -> bool) {
        let deadline = clock::mono() + within;
        while !done(self) {
            assert!(clock::mono() < deadline, "waited {within:?} in vain for: {what}");
            self.tick();
            clock::block_for(MOMENT);
        }
    }

    fn tick(&mut self) {
        let (port, random) = (self.port, &mut self.random);
        if self.subscribers.iter().all(|s| s.subscribed) {
            self.publishers.iter_mut().for_each(|p| p.tick(port));
        }
        self.subscribers.iter_mut().for_each(|s| s.tick(port, random));
        self.changer.tick(port, random);
        self.keeper.tick(port);
    }

    fn acked(&self) -> usize {
        self.publishers.iter().map(|p| p.acked.len()).sum()
    }
}

/// A client whose subscriptions change; what was acknowledged last of each filter.
#[derive(Default)]
struct Changer {
    link: Option<Words>,
    known: bool,
    /// By filter: SUBACK came last (`true`), UNSUBACK did, or an answer is due.
    state: Vec<Option<bool>>,
    asked: Option<(u16, usize, bool)>,
    next_id: u16,
}

const CHANGER: &str = "connect 4 id=changer clean=0";

impl Changer {
    fn tick(&mut self, port: u16, random: &mut Random) {
        self.state.resize(FILTERS as usize, Some(false));
        let Some(link) = &mut self.link else {
            self.asked = None;
            self.link = Words::open(port, 4);
            self.link.iter_mut().for_each(|link| link.send(CHANGER));
            return;
        };
        for packet in link.packets() {
            match (packet[0].as_str(), self.asked) {
                ("connack", _) => {
                    assert!(!self.known || packet.len() == 3, "the session of the changer is gone");
                    self.next_id = 0;
                    self.asked = Some((0, 0, false));
                }
                ("suback" | "unsuback", Some((id, filter, on))) => {
                    assert_eq!(id_of(&packet), id);
                    self.known = true;
                    self.state[filter] = Some(on);
                }
                _ => panic!("the changer heard {packet:?}"),
            }
            self.next_id += 1;
            let filter = random.between(0, u64::from(FILTERS) - 1) as usize;
            let on = random.between(0, 1) == 1;
            // Until the answer comes nothing is promised.
            self.state[filter] = None;
            self.asked = Some((self.next_id, filter, on));
            link.send(&if on {
                format!("subscribe #{} c/{filter}=1", self.next_id)
            } else {
                format!("unsubscribe #{} c/{filter}", self.next_id)
            });
        }
        if link.is_over() {
            self.link = None;
        }
    }

    /// After a restart: what was acknowledged is so. Returns how many filters were asked for.
    fn check(&mut self, port: u16) -> usize {
        self.link = None;
        self.asked = None;
        if !self.known {
            return 0;
        }
        let mut own = Words::open(port, 4).expect("the gateway listens");
        own.send(CHANGER);
        let greeted = own.next("CONNACK of the changer");
        assert_eq!(greeted.join(" "), "connack 0 present");
        let mut prober = Words::open(port, 4).expect("the gateway listens");
        prober.send("connect 4 id=prober");
        prober.next("CONNACK of the prober");
        for filter in 0..FILTERS {
            prober.send(&format!("publish q0 c/{filter} \"{filter}\""));
        }
        // The same connection's messages keep their order; this one comes back by a subscription that is made now.
        own.send("subscribe #60000 c/end=0");
        while own.next("SUBACK of the end")[0] != "suback" {}
        for filter in 0..FILTERS {
            prober.send(&format!("publish q0 c/{filter} \"{filter}\""));
        }
        prober.send("publish q0 c/end \"end\"");
        let mut came = vec![false; FILTERS as usize];
        loop {
            let packet = own.next("the last probe");
            match message_of(&packet).1.as_str() {
                "end" => break,
                n => came[n.parse::<usize>().expect("a number")] = true,
            }
        }
        for (filter, state) in self.state.iter().enumerate() {
            assert!(state.is_none_or(|on| on == came[filter]), "c/{filter}: acknowledged {state:?}, found {}", came[filter]);
        }
        self.state.iter().flatten().count()
    }
}

/// A client that sets a retained message, and knows the last one that was acknowledged.
#[derive(Default)]
struct Keeper {
    link: Option<Words>,
    sent: u64,
    acked: u64,
}

impl Keeper {
    fn tick(&mut self, port: u16) {
        let Some(link) = &mut self.link else {
            self.link = Words::open(port, 4);
            self.link.iter_mut().for_each(|link| link.send("connect 4 id=keeper"));
            return;
        };
        for packet in link.packets() {
            if packet[0] == "puback" {
                self.acked = self.sent;
            }
            self.sent += 1;
            link.send(&format!("publish q1 retain #{} kept \"{}\"", self.sent % 60_000 + 1, self.sent));
        }
        if link.is_over() {
            self.link = None;
        }
    }

    /// After a restart the last message that was acknowledged is there, or a later one.
    fn check(&mut self, port: u16) {
        self.link = None;
        if self.acked == 0 {
            return;
        }
        let mut fresh = Words::open(port, 4).expect("the gateway listens");
        fresh.send("connect 4 id=fresh");
        fresh.next("CONNACK");
        fresh.send("subscribe #1 kept=1");
        let packet = loop {
            let packet = fresh.next("the retained message");
            if packet[0] == "publish" {
                break packet;
            }
        };
        let n: u64 = message_of(&packet).1.parse().expect("a number");
        assert!(self.acked <= n && n <= self.sent, "{n} is retained, {} was acknowledged, {} sent", self.acked, self.sent);
    }
}

#[test]
fn what_sessions_were_promised_outlives_kills() {
    let _alone = alone();
    let random = Random::of("kill_sessions");
    let kills = if full() { 200 } else { 10 };
    let site = Site::new("");
    let mut gateway = site.start();
    let mut town = Town::new(site.port, random);
    let mut filters = 0;
    for kill in 0..kills {
        let before = town.acked();
        town.go("acknowledgements", SOON, |town| town.acked() >= before + 20 && town.subscribers.iter().all(|s| s.subscribed));
        town.subscribers.iter_mut().for_each(|s| s.stays = false);
        let until: Mono = clock::mono() + Duration::from_millis(town.random.between(0, 700));
        town.go("the moment of the kill", SOON, |_| clock::mono() >= until);
        gateway.kill();
        // What had left the gateway before its end still counts.
        for _ in 0..3 {
            town.tick();
        }
        if kill % 4 == 3 {
            let starting = site.launch().start_unready();
            clock::block_for(Duration::from_millis(town.random.between(0, 150)));
            starting.kill();
        }
        gateway = site.start();
        filters += town.changer.check(site.port);
        town.keeper.check(site.port);
    }
    town.publishers.iter_mut().for_each(|p| p.finishing = true);
    town.subscribers.iter_mut().for_each(|s| s.stays = true);
    town.go("the publishers' last acknowledgements", SOON, |town| town.publishers.iter().all(Publisher::is_done));
    let arrived = |town: &Town| town.subscribers.iter().all(|s| judge(&s.got, &town.publishers).lost.is_empty());
    let deadline = clock::mono() + SOON;
    // Whether all came is judged below; looking at all of it is not for each tick.
    while !arrived(&town) && clock::mono() < deadline {
        let until = clock::mono() + Duration::from_millis(300);
        town.go("a moment", SOON, |_| clock::mono() >= until);
    }
    verdict(&town, kills, filters);
    drop(gateway);
}

fn verdict(town: &Town, kills: usize, filters: usize) {
    let (mut messages, mut twice_at_1) = (0, 0);
    for subscriber in &town.subscribers {
        let judged = judge(&subscriber.got, &town.publishers);
        let name = &subscriber.name;
        messages += judged.messages;
        assert!(judged.lost.is_empty(), "{name} never got {} that were acknowledged, the first {:?}", judged.lost.len(), judged.lost[0]);
        assert!(judged.out_of_order.is_empty(), "{name} got out of order: {:?}", judged.out_of_order);
        // Exactly once where both ends are at QoS 2: publishers 2 and 3.
        let twice = judged.twice.iter().filter(|(p, _)| matches!(p, 2 | 3)).collect::<Vec<_>>();
        assert!(subscriber.kind.qos < 2 || twice.is_empty(), "{name} got {} twice, the first {:?}", twice.len(), twice[0]);
        twice_at_1 += judged.twice.len();
    }
    report(&format!(
        "kill_sessions: {kills} kills, {} messages acknowledged, {messages} delivered to 4 sessions, {twice_at_1} of them twice at QoS 1, none at QoS 2, \
         lost: 0; {filters} acknowledged subscriptions found again",
        town.acked()
    ));
}
