//! MQTT 3.1.1 upwards over rumqttc.
//!
//! rumqttc's event loop reconnects by itself and then, with a clean session, forgets what it was handed (49 of 60 messages in a trial, without
//! an error). So each connection has an event loop of its own, in a task of its own, because a poll that is dropped half way loses what it was
//! writing; at its first error the good acknowledgements that it still holds are taken out and it is thrown away whole. What was not
//! acknowledged is the pump's to send again. No deadline is left to the event loop: the caller has them all, and [`Sink::throw_away`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, EventLoop, MqttOptions, Outgoing, Packet, StateError, TlsConfiguration, Transport,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::sink::{Down, Event, Full, Parcel, Sink, Token, TooLarge};
use super::{Options, secret, tls};
use crate::model::Entry;
use crate::{clock, faults, normalize};

/// Bytes by which a PUBLISH may grow between our broker and the upstream (QoS 0 to 1: the packet id, and the length that counts it). So what our
/// broker could take never is too large to go up.
const GROWTH: usize = 4;
/// Events of one connection that wait for the bridge's loop; then the event loop waits.
const EVENTS_WAITING: usize = 256;
/// The naive client of the fault `keep-eventloop` waits so long before it polls again after an error.
const NAIVE_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Mqtt {
    options: Arc<Options>,
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
    client: Option<AsyncClient>,
    offers: u64,
    /// Handed to rumqttc and not yet reported as written, in order.
    handed: VecDeque<Token>,
    /// By packet id: written and not yet acknowledged.
    written: Vec<Option<Token>>,
}

/// What a connection's task reports.
#[derive(Debug)]
enum Raw {
    Up(AsyncClient),
    Written { packet_id: u16 },
    Acked { packet_id: u16 },
    Alive,
    Down(Down),
}

impl Mqtt {
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options), generation: 0, connection: None, trusted: VecDeque::new(), files: Arc::new(Semaphore::new(1)) }
    }

    fn window(&self) -> u16 {
        self.options.window.max(1)
    }
}

impl Sink for Mqtt {
    const BATCH: usize = 1;

    fn parcel(&self, entry: &Entry) -> Result<Parcel, TooLarge> {
        let payload = normalize::json(&entry.body);
        let size = publish_size(entry.topic.as_bytes().len(), payload.len());
        let max = largest_packet(&self.options);
        if size > max {
            return Err(TooLarge { size, max });
        }
        Ok(Parcel { id: entry.id, topic: entry.topic.clone(), payload, accepted: entry.accepted })
    }

    fn connect(&mut self) {
        let (report, raw) = mpsc::channel(EVENTS_WAITING);
        let (stop, stopped) = oneshot::channel();
        self.generation += 1;
        self.trusted.clear();
        self.connection = Some(Connection {
            raw,
            stop: Some(stop),
            client: None,
            offers: 0,
            handed: VecDeque::new(),
            written: vec![None; usize::from(self.window()) + 1],
        });
        tokio::spawn(connection(self.options.clone(), self.files.clone(), report, stopped));
    }

    fn offer<'a>(&mut self, batch: impl Iterator<Item = &'a Parcel>) -> Result<Token, Full> {
        let connection = self.connection.as_mut().ok_or(Full)?;
        let client = connection.client.as_ref().ok_or(Full)?;
        let token = Token { generation: self.generation, number: connection.offers };
        for parcel in batch.take(Self::BATCH) {
            // It has room, because its capacity is the window and the pump keeps to that; and a topic has no wildcard, the other cause of an error.
            client.try_publish(parcel.topic.as_str(), rumqttc::QoS::AtLeastOnce, false, parcel.payload.clone()).map_err(|_| Full)?;
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
                    into.extend(connection.take(raw));
                    while let Ok(raw) = connection.raw.try_recv() {
                        into.extend(connection.take(raw));
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
        let sent = self.connection.as_ref().and_then(|c| c.client.as_ref()).is_some_and(|client| client.try_disconnect().is_ok());
        if !sent {
            self.throw_away("ended".to_owned());
        }
    }
}

impl Connection {
    fn take(&mut self, raw: Raw) -> Option<Event> {
        match raw {
            Raw::Up(client) => {
                self.client = self.stop.is_some().then_some(client);
                Some(Event::Up)
            }
            Raw::Written { packet_id } => {
                let token = self.handed.pop_front()?;
                if let Some(place) = self.written.get_mut(usize::from(packet_id)) {
                    *place = Some(token);
                }
                Some(Event::Written(token))
            }
            // An acknowledgement that nobody waits for is no good one; rumqttc ends the connection for it.
            Raw::Acked { packet_id } => self.written.get_mut(usize::from(packet_id))?.take().map(Event::Acked),
            Raw::Alive => Some(Event::Alive),
            Raw::Down(down) => {
                self.client = None;
                Some(Event::Down(down))
            }
        }
    }
}

/// The life of one connection: from the files to the last acknowledgement.
async fn connection(options: Arc<Options>, files: Arc<Semaphore>, report: mpsc::Sender<Raw>, mut stopped: oneshot::Receiver<String>) {
    let prepared = tokio::select! {
        biased;
        cause = &mut stopped => Err(cause.unwrap_or_default()),
        prepared = prepare(options.clone(), files) => prepared,
    };
    let mqtt_options = match prepared {
        Ok(mqtt_options) => mqtt_options,
        Err(cause) => return drop(report.send(Raw::Down(Down { by_peer: false, cause })).await),
    };
    // One place more than the window, for the farewell.
    let (client, mut event_loop) = AsyncClient::new(mqtt_options, usize::from(options.window.max(1)) + 1);
    let mut network = event_loop.network_options();
    network.set_tcp_nodelay(true);
    // It bounds a flush, too. Our own deadlines are shorter, so it never fires; it only must not cut a slow line short.
    network.set_connection_timeout((options.connect_timeout + options.ack_timeout).as_secs() + 60);
    event_loop.set_network_options(network);

    let down = loop {
        let polled = tokio::select! {
            biased;
            cause = &mut stopped => break Down { by_peer: false, cause: cause.unwrap_or_default() },
            polled = event_loop.poll() => polled,
        };
        match polled {
            Ok(event) => match translate(&event, &client) {
                Ok(None) => {}
                Ok(Some(raw)) => {
                    if report.send(raw).await.is_err() {
                        return;
                    }
                }
                Err(down) => break down,
            },
            Err(_) if faults::active("keep-eventloop") => clock::sleep(NAIVE_PAUSE).await,
            Err(error) => break describe(&error),
        }
    };
    for raw in last_acks(&mut event_loop, &client) {
        if report.send(raw).await.is_err() {
            return;
        }
    }
    drop(event_loop);
    let _ = report.send(Raw::Down(down)).await;
}

/// Reads the password and the certificates, and makes rumqttc's options of ours.
async fn prepare(options: Arc<Options>, files: Arc<Semaphore>) -> Result<MqttOptions, String> {
    let Ok(permit) = files.acquire_owned().await else {
        return Err("ended".to_owned());
    };
    let read = spawn_blocking(move || read_and_build(&options, permit)).await;
    read.map_err(|e| e.to_string())?
}

fn read_and_build(options: &Options, _permit: OwnedSemaphorePermit) -> Result<MqttOptions, String> {
    let mut mqtt = MqttOptions::new(options.client_id.as_str(), options.host.as_str(), options.port);
    let max = largest_packet(options);
    mqtt.set_clean_session(true)
        .set_inflight(options.window.max(1))
        .set_max_packet_size(max, max)
        .set_keep_alive(whole_seconds(options.keep_alive));
    if let Some(auth) = &options.auth {
        let password = auth.password.as_ref().map(secret::read).transpose().map_err(|e| chain(&e))?;
        mqtt.set_credentials(auth.user.as_str(), password.unwrap_or_default());
    }
    if let Some(tls) = &options.tls {
        let config = tls::client_config(tls).map_err(|e| e.to_string())?;
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    Ok(mqtt)
}

/// `Err`: the upstream breaks the protocol, or the farewell is out.
fn translate(event: &rumqttc::Event, client: &AsyncClient) -> Result<Option<Raw>, Down> {
    match event {
        rumqttc::Event::Incoming(Packet::ConnAck(_)) => Ok(Some(Raw::Up(client.clone()))),
        rumqttc::Event::Incoming(Packet::PubAck(ack)) => Ok(Some(Raw::Acked { packet_id: ack.pkid })),
        rumqttc::Event::Incoming(Packet::PingResp | Packet::Publish(_)) | rumqttc::Event::Outgoing(Outgoing::PingReq) => {
            Ok(Some(Raw::Alive))
        }
        rumqttc::Event::Outgoing(Outgoing::Publish(packet_id)) => Ok(Some(Raw::Written { packet_id: *packet_id })),
        rumqttc::Event::Outgoing(Outgoing::Disconnect) => Err(Down { by_peer: false, cause: "ended".to_owned() }),
        // We only publish at QoS 1, so nothing else is an answer to anything.
        rumqttc::Event::Incoming(packet) => Err(Down { by_peer: false, cause: format!("the upstream sent what it must not: {packet:?}") }),
        rumqttc::Event::Outgoing(_) => Ok(None),
    }
}

/// The acknowledgements, and what they need to be told apart, that came in before the error.
fn last_acks(event_loop: &mut EventLoop, client: &AsyncClient) -> Vec<Raw> {
    let kept = |raw: &Raw| matches!(raw, Raw::Acked { .. } | Raw::Written { .. });
    event_loop.state.events.drain(..).filter_map(|event| translate(&event, client).ok().flatten()).filter(kept).collect()
}

fn describe(error: &ConnectionError) -> Down {
    let io_error = match error {
        ConnectionError::Io(e) | ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(PacketError::Io(e))) => Some(e),
        _ => None,
    };
    let closed = matches!(error, ConnectionError::MqttState(StateError::ConnectionAborted)) || io_error.is_some_and(is_close);
    let cause = match (error, io_error) {
        (ConnectionError::ConnectionRefused(code), _) => format!("the upstream lets us not in: {}", refusal(*code)),
        (ConnectionError::MqttState(StateError::AwaitPingResp), _) => "no answer to a ping".to_owned(),
        (ConnectionError::MqttState(StateError::ConnectionAborted), _) => "the upstream closed the connection".to_owned(),
        (_, Some(e)) if is_close(e) => format!("the upstream closed the connection: {e}"),
        (_, Some(e)) => e.to_string(),
        (e, None) => chain(e),
    };
    Down { by_peer: closed, cause }
}

/// Whether the other side ended the connection, as against a network that failed.
fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

/// MQTT 3.1.1, table 3.1.
fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "accepted",
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1 (code 1)",
        ConnectReturnCode::BadClientId => "it does not allow this client id (code 2)",
        ConnectReturnCode::ServiceUnavailable => "its MQTT service is not available (code 3)",
        ConnectReturnCode::BadUserNamePassword => "user name or password is wrong (code 4)",
        ConnectReturnCode::NotAuthorized => "not authorized; user name, password or client id (code 5)",
    }
}

/// The error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn largest_packet(options: &Options) -> usize {
    options.packet_max.saturating_add(GROWTH)
}

/// Size of a QoS 1 PUBLISH on the wire: type, remaining length, topic with its length, packet id, payload (3.1.1, 3.3).
fn publish_size(topic: usize, payload: usize) -> usize {
    let remaining = 2 + topic + 2 + payload;
    let length_bytes = match remaining {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    };
    1 + length_bytes + remaining
}

/// rumqttc panics on a keep-alive below a second; the protocol counts it in 16 bits.
fn whole_seconds(keep_alive: Duration) -> Duration {
    let seconds = keep_alive.as_secs_f64().ceil().min(f64::from(u16::MAX));
    Duration::from_secs(seconds as u64)
}

#[cfg(test)]
mod tests;
