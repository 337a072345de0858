//! MQTT 5.0 and 3.1.1 upwards over rumqttc.
//!
//! rumqttc's event loop reconnects by itself and then, with a clean session, forgets what it was handed (49 of 60 messages in a trial, without
//! an error). So each connection has an event loop of its own, in a task of its own, because a poll that is dropped half way loses what it was
//! writing; at its first error the good acknowledgements that it still holds are taken out and it is thrown away whole. What was not
//! acknowledged is the pump's to send again. No deadline is left to the event loop: the caller has them all, and [`Sink::throw_away`].
//!
//! Packet ids cycle from 1 to the window, so the pump's rule, that the window is the distance from the oldest unacknowledged entry, keeps them
//! from meeting. Whoever subscribes on such a connection, which takes ids of the same cycle, has to leave slack for it.

mod connection;
mod dialect;
mod size;
mod v311;
mod v5;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;

use rumqttc::QoS;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::connection::Raw;
use self::dialect::{Dialect, Ending, Notice};
use super::Options;
use super::sink::{Down, Event, Full, Parcel, Retry, Sink, Token, TooLarge};
use crate::model::{Entry, EntryId};
use crate::{clock, faults, normalize};

/// Events of one connection that wait for the bridge's loop; then the event loop waits.
const EVENTS_WAITING: usize = 256;

#[derive(Debug)]
pub struct Mqtt {
    options: Arc<Options>,
    dialect: Dialect,
    generation: u32,
    connection: Option<Connection>,
    /// The fault `keep-eventloop`: what rumqttc has taken counts as delivered.
    trusted: VecDeque<Event>,
    /// One at a time reads the files for a connect: a disk that hangs holds one thread, not one more at each try.
    files: Arc<Semaphore>,
}

/// One connection, as the bridge's loop sees it. Dropping it ends its task.
#[derive(Debug)]
struct Connection {
    raw: mpsc::Receiver<Raw>,
    stop: Option<oneshot::Sender<String>>,
    /// There while the upstream has let us in.
    client: Option<Client>,
    offers: u64,
    /// Handed to rumqttc and not yet reported as written, in order.
    handed: VecDeque<Token>,
    /// By packet id: written and not yet acknowledged.
    written: Vec<Option<Token>>,
}

/// The way into an event loop.
#[derive(Debug)]
enum Client {
    V311(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

impl Mqtt {
    pub fn new(options: Options) -> Self {
        Self {
            dialect: Dialect::new(options.version),
            options: Arc::new(options),
            generation: 0,
            connection: None,
            trusted: VecDeque::new(),
            files: Arc::new(Semaphore::new(1)),
        }
    }

    /// What the bridge's loop hears of it.
    fn hear(&mut self, raw: Raw) -> Option<Event> {
        let connection = self.connection.as_mut()?;
        match raw {
            Raw::Up(client, terms) => {
                connection.client = connection.stop.is_some().then_some(client);
                say(self.dialect.up(), &self.options);
                Some(Event::Up(terms))
            }
            Raw::Written { packet_id } => {
                let token = connection.handed.pop_front()?;
                if let Some(place) = connection.written.get_mut(usize::from(packet_id)) {
                    *place = Some(token);
                }
                Some(Event::Written(token))
            }
            // An answer that nobody waits for is no good one; rumqttc ends the connection for it.
            Raw::Acked { packet_id } => connection.answered(packet_id).map(Event::Acked),
            Raw::Refused { packet_id, refused } => connection.answered(packet_id).map(|token| Event::Refused(token, refused)),
            Raw::Alive => Some(Event::Alive),
            Raw::Down(mut down, ending) => {
                connection.client = None;
                if ending == Ending::Unanswered && self.dialect.is_fixed() {
                    down.cause = format!("{} and did not answer; if it speaks no MQTT 5.0: set version = \"3.1.1\"", down.cause);
                }
                if self.dialect.down(ending) {
                    down.retry = Retry::AtOnce;
                }
                Some(Event::Down(down))
            }
        }
    }
}

impl Connection {
    fn answered(&mut self, packet_id: u16) -> Option<Token> {
        self.written.get_mut(usize::from(packet_id))?.take()
    }
}

impl Sink for Mqtt {
    const BATCH: usize = 1;

    fn parcel(&self, entry: &Entry, nonce: u32) -> Result<Parcel, TooLarge> {
        let payload = normalize::json(&entry.body);
        let topic = entry.topic.as_bytes().len();
        // What our broker can take: without properties, since it counted those of the publisher, too, and ours are no matter of its limit.
        let (size, max) = (size::publish_311(topic, payload.len()), largest_packet(&self.options));
        if size > max {
            return Err(TooLarge { size, max });
        }
        let id = whole_id(&self.options.gateway, entry.id, nonce);
        let properties = v5::properties_size(entry.properties.len(), entry.expires.is_some(), &id);
        Ok(Parcel {
            id: entry.id,
            nonce,
            topic: entry.topic.clone(),
            size: size::publish_5(topic, properties, payload.len()),
            payload,
            properties: entry.properties.clone(),
            expires: entry.expires,
            accepted: entry.accepted,
        })
    }

    fn connect(&mut self) {
        let (report, raw) = mpsc::channel(EVENTS_WAITING);
        let (stop, stopped) = oneshot::channel();
        let version = self.dialect.version();
        self.generation += 1;
        self.trusted.clear();
        self.connection = Some(Connection {
            raw,
            stop: Some(stop),
            client: None,
            offers: 0,
            handed: VecDeque::new(),
            written: vec![None; usize::from(self.options.window.max(1)) + 1],
        });
        tokio::spawn(connection::run(version, self.options.clone(), self.files.clone(), report, stopped));
    }

    fn offer<'a>(&mut self, batch: impl Iterator<Item = &'a Parcel>) -> Result<Token, Full> {
        let connection = self.connection.as_mut().ok_or(Full)?;
        let client = connection.client.as_ref().ok_or(Full)?;
        let token = Token { generation: self.generation, number: connection.offers };
        for parcel in batch.take(Self::BATCH) {
            client.publish(parcel, &self.options.gateway)?;
            connection.handed.push_back(token);
        }
        connection.offers += 1;
        if faults::active("keep-eventloop") {
            self.trusted.push_back(Event::Acked(token));
        }
        Ok(token)
    }

    async fn events(&mut self, into: &mut Vec<Event>) {
        into.extend(self.trusted.drain(..));
        if !into.is_empty() {
            return;
        }
        let before = into.len();
        while into.len() == before {
            let Some(connection) = self.connection.as_mut() else {
                return std::future::pending().await;
            };
            match connection.raw.recv().await {
                Some(raw) => {
                    into.extend(self.hear(raw));
                    while let Some(raw) = self.connection.as_mut().and_then(|connection| connection.raw.try_recv().ok()) {
                        into.extend(self.hear(raw));
                    }
                }
                // The task ends by `Raw::Down`; this is only reached after it.
                None => self.connection = None,
            }
        }
    }

    fn throw_away(&mut self, cause: String) {
        if let Some(connection) = &mut self.connection {
            connection.client = None;
            if let Some(stop) = connection.stop.take() {
                // An error means that the task has ended by itself, and said why.
                let _ = stop.send(cause);
            }
        }
    }

    fn farewell(&mut self) {
        let sent = self.connection.as_ref().and_then(|c| c.client.as_ref()).is_some_and(Client::farewell);
        if !sent {
            self.throw_away("ended".to_owned());
        }
    }
}

impl Client {
    /// It has room, because its capacity is the window and the pump keeps to that; and a topic has no wildcard, the other cause of an error.
    fn publish(&self, parcel: &Parcel, gateway: &str) -> Result<(), Full> {
        let (topic, payload) = (parcel.topic.as_str(), parcel.payload.clone());
        match self {
            Self::V311(client) => client.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| Full),
            Self::V5(client) => {
                let id = whole_id(gateway, parcel.id, parcel.nonce);
                let properties = v5::properties(parcel, id, clock::mono());
                client.try_publish_with_properties(topic, QoS5::AtLeastOnce, false, payload, properties).map_err(|_| Full)
            }
        }
    }

    /// Whether it was taken.
    fn farewell(&self) -> bool {
        match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

/// The id of outbox.md 1, whole: `GATEWAY/EPOCH-NONCE-COUNTER`.
fn whole_id(gateway: &str, id: EntryId, nonce: u32) -> String {
    format!("{gateway}/{}-{nonce:08x}-{}", id.epoch(), id.counter())
}

fn say(notice: Option<Notice>, options: &Options) {
    match notice {
        Some(Notice::Fallback) => tracing::warn!(
            upstream = %options.name,
            "upstream speaks no MQTT 5.0: going on with 3.1.1, without ids, properties and reason codes; `version = \"3.1.1\"` spares it the question"
        ),
        Some(Notice::Upgraded) => tracing::info!(upstream = %options.name, "upstream speaks MQTT 5.0 now"),
        None => {}
    }
}

/// Of an event loop: one place more than the window, for the farewell.
fn capacity(options: &Options) -> usize {
    usize::from(options.window.max(1)) + 1
}

/// Seconds for the library's own timeout: our deadlines are shorter, so it never fires; it only must not cut a slow line short.
fn never_in_time(options: &Options) -> u64 {
    (options.connect_timeout + options.ack_timeout).as_secs() + 60
}

/// Largest packet that the upstream may send, in bytes: answers are all that it has to say to us. The library makes some twenty times as much of a
/// packet full of user properties, and reads ten packets before it gives us the first.
const ANSWER_MAX: usize = 16 << 10;

/// Of those that we send.
fn largest_packet(options: &Options) -> usize {
    options.packet_max.saturating_add(size::GROWTH)
}

/// The end after our own farewell.
fn ended() -> Down {
    Down { cause: "ended".to_owned(), ..Down::default() }
}

/// The packet's name, without what it holds.
fn kind(packet: &impl std::fmt::Debug) -> String {
    format!("{packet:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}
