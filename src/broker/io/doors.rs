//! The doors' thread: what comes before MQTT, PROXY header, TLS and the opening of a WebSocket. Slow and hostile strangers wait here and not on the
//! broker's thread, bounded in all and for each address; who has come through moves over.
//!
//! Certificates are read here, too, at the start and again when told: [`Doors`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, spawn_local, yield_now};

use super::super::crowd::Crowd;
use super::super::door::{Arrival, Peer};
use super::super::limit::Limit;
use super::super::limits::Limits;
use super::super::{Error, Listener};
use super::listener::{self, Pause};
use super::pipe::{Packed, Pipe};
use super::threshold::{self, Trouble};
use super::tls::{Secured, TlsError};
use super::web::Frames;
use crate::clock;
use crate::faults::{self, PartFault};
use crate::model::{Mono, Phase};
use crate::stats::Heartbeat;
use crate::transport::upgrade::{Refusal, Rules};

/// News for the broker that it has not taken; at it handshakes that are done wait, within their deadline.
const NEWS_MAX: usize = 64;
/// Commands that wait.
const COMMANDS_MAX: usize = 4;
/// Handshakes that failed, named in the log in a minute; the others are counted.
const FAILURES_SAID: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);
/// Of all handshakes those of one address may be a quarter.
const SHARE_OF_ADDRESS: usize = 4;

/// The listeners' certificates, keys, authorities and revocation lists, as the rest of the gateway sees them.
#[derive(Debug, Clone)]
pub struct Doors {
    commands: mpsc::Sender<Command>,
}

/// Files that were read anew, all of them good. Without [`Renewal::take_effect`] nothing changes.
#[derive(Debug)]
pub struct Renewal {
    secured: Vec<(u16, Secured)>,
    commands: mpsc::Sender<Command>,
}

/// A listener's file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: {source}")]
pub struct DoorError {
    pub listener: Arc<str>,
    #[source]
    pub source: Box<TlsError>,
}

impl Doors {
    /// Reads all files again, on the doors' thread. Nothing has changed when it returns.
    ///
    /// # Errors
    /// Each listener whose files cannot be used.
    pub async fn read(&self) -> Result<Renewal, Vec<DoorError>> {
        let (reply, answer) = oneshot::channel();
        // A thread that has ended has nothing to renew.
        let _ = self.commands.send(Command::Read(reply)).await;
        let secured = answer.await.unwrap_or_else(|_| Ok(Vec::new()))?;
        Ok(Renewal { secured, commands: self.commands.clone() })
    }
}

impl Renewal {
    /// New handshakes go by what was read; clients that are connected by a certificate which is no longer accepted are disconnected.
    pub async fn take_effect(self) {
        let _ = self.commands.send(Command::Use(self.secured)).await;
    }
}

/// By index of the listener.
type Read = Result<Vec<(u16, Secured)>, Vec<DoorError>>;

#[derive(Debug)]
enum Command {
    Read(oneshot::Sender<Read>),
    Use(Vec<(u16, Secured)>),
}

/// What the broker hears.
#[derive(Debug)]
pub(in crate::broker) enum News {
    Arrived(Guest),
    Reached { limit: Limit, peer: Peer, times: u64 },
    Renewed(Vec<(u16, Secured)>),
}

/// Somebody who has come through.
#[derive(Debug)]
pub(in crate::broker) struct Guest {
    pub(in crate::broker) pipe: Packed,
    pub(in crate::broker) web: Option<Box<Frames>>,
    pub(in crate::broker) arrival: Arrival,
    /// When it was accepted.
    pub(in crate::broker) since: Mono,
}

/// The broker's end.
#[derive(Debug)]
pub struct DoorsLink {
    /// The files have been read.
    pub(in crate::broker) ready: oneshot::Receiver<()>,
    pub(in crate::broker) sockets: oneshot::Sender<Vec<(u16, std::net::TcpListener)>>,
    pub(in crate::broker) news: mpsc::Receiver<News>,
}

/// What runs on the doors' thread.
#[derive(Debug)]
pub struct DoorsThread {
    listeners: Vec<(u16, Listener)>,
    limits: Limits,
    ready: oneshot::Sender<()>,
    sockets: oneshot::Receiver<Vec<(u16, std::net::TcpListener)>>,
    news: mpsc::Sender<News>,
    commands: mpsc::Receiver<Command>,
}

/// The doors of these listeners, if they need any.
pub fn open(listeners: &[Listener], limits: &Limits) -> Option<(Doors, DoorsThread, DoorsLink)> {
    let listeners: Vec<_> = (0..).zip(listeners).filter(|(_, listener)| listener.has_threshold()).map(|(i, l)| (i, l.clone())).collect();
    if listeners.is_empty() {
        return None;
    }
    let (tell_ready, ready) = oneshot::channel();
    let (give_sockets, sockets) = oneshot::channel();
    let (tell_news, news) = mpsc::channel(NEWS_MAX);
    let (command, commands) = mpsc::channel(COMMANDS_MAX);
    let thread = DoorsThread { listeners, limits: limits.clone(), ready: tell_ready, sockets, news: tell_news, commands };
    Some((Doors { commands: command }, thread, DoorsLink { ready, sockets: give_sockets, news }))
}

impl DoorsThread {
    /// Until [`Phase::StopBroker`]. Wants a local runtime on a thread of its own.
    ///
    /// # Errors
    /// A listener's file that cannot be used.
    pub async fn run(self, mut phase: watch::Receiver<Phase>, heartbeat: Heartbeat) -> Result<(), Error> {
        let mut doors = Vec::with_capacity(self.listeners.len());
        for (index, listener) in self.listeners {
            let secured = listener.tls.as_ref().map(Secured::read).transpose();
            let secured =
                secured.map_err(|source| Error::Door(DoorError { listener: Arc::clone(&listener.name), source: Box::new(source) }))?;
            let rules = listener.web.as_ref().map(|web| Rules {
                path: web.path.clone(),
                hosts: web.hosts.clone(),
                origins: web.origins.clone(),
                header_bytes_max: self.limits.websocket_header_max,
            });
            doors.push(Rc::new(Door { index, listener, secured: RefCell::new(secured), renewals: Cell::new(0), rules }));
        }
        // Without the broker there is nothing to do but to wait for the end.
        let _ = self.ready.send(());
        let max = self.limits.handshakes_max;
        let hall = Rc::new(Hall {
            crowd: RefCell::new(Crowd::new(max, max.div_ceil(SHARE_OF_ADDRESS))),
            handshakes: RefCell::default(),
            next: Cell::new(0),
            missed: RefCell::default(),
            said: Cell::new((clock::mono(), 0)),
            news: self.news,
            timeout: self.limits.connect_timeout,
        });
        let mut accepting = Vec::new();
        let (mut sockets, mut waiting) = (self.sockets, true);
        let mut commands = self.commands;
        loop {
            heartbeat.beat();
            match faults::part(heartbeat.part()) {
                Some(PartFault::Hang) => std::future::pending().await,
                Some(PartFault::End) => return Ok(()),
                None => {}
            }
            tokio::select! {
                given = &mut sockets, if waiting => {
                    waiting = false;
                    for (index, socket) in given.unwrap_or_default() {
                        let Some(door) = doors.iter().find(|door| door.index == index) else { continue };
                        let socket = listener::unpack(socket).map_err(|source| Error::Listen { at: door.listener.at.clone(), source })?;
                        accepting.push(spawn_local(accept(socket, Rc::clone(door), Rc::clone(&hall))));
                    }
                }
                Some(command) = commands.recv() => obey(command, &doors, &hall).await,
                changed = phase.changed() => if changed.is_err() || *phase.borrow() >= Phase::StopBroker { break },
                () = clock::sleep_until(clock::mono() + heartbeat.every()) => {}
            }
        }
        for task in accepting {
            task.abort();
        }
        Ok(())
    }
}

async fn obey(command: Command, doors: &[Rc<Door>], hall: &Hall) {
    match command {
        Command::Read(reply) => {
            let (mut read, mut errors) = (Vec::new(), Vec::new());
            for door in doors {
                match door.listener.tls.as_ref().map(Secured::read) {
                    None => {}
                    Some(Ok(secured)) => read.push((door.index, secured)),
                    Some(Err(source)) => errors.push(DoorError { listener: Arc::clone(&door.listener.name), source: Box::new(source) }),
                }
            }
            // Whoever asked may have gone.
            let _ = reply.send(if errors.is_empty() { Ok(read) } else { Err(errors) });
        }
        Command::Use(renewed) => {
            for (index, secured) in &renewed {
                if let Some(door) = doors.iter().find(|door| door.index == *index) {
                    door.secured.replace(Some(secured.clone()));
                    door.renewals.set(door.renewals.get() + 1);
                }
            }
            // A broker that has ended has no clients.
            let _ = hall.news.send(News::Renewed(renewed)).await;
        }
    }
}

/// One listener.
#[derive(Debug)]
pub(super) struct Door {
    index: u16,
    pub(super) listener: Listener,
    pub(super) secured: RefCell<Option<Secured>>,
    /// How often that was replaced.
    renewals: Cell<u64>,
    pub(super) rules: Option<Rules>,
}

/// Where strangers wait.
#[derive(Debug)]
pub(super) struct Hall {
    crowd: RefCell<Crowd<u64>>,
    handshakes: RefCell<HashMap<u64, (AbortHandle, Peer)>>,
    next: Cell<u64>,
    /// How often limits were reached and the broker has not heard.
    missed: RefCell<HashMap<Limit, u64>>,
    /// Failures said in the minute that began then.
    said: Cell<(Mono, u32)>,
    news: mpsc::Sender<News>,
    timeout: Duration,
}

/// Accepts for as long as the thread lives.
async fn accept(socket: TcpListener, door: Rc<Door>, hall: Rc<Hall>) {
    let mut pause = Pause::default();
    loop {
        let Some((stream, address)) = pause.after(socket.accept().await).await else { continue };
        let peer = Peer::from(address);
        if !door.listener.proxy_from.is_empty() && !door.listener.proxy_from.iter().any(|proxy| proxy.contains(address.ip())) {
            hall.say_failure(&door, peer, &Trouble::NoProxy);
            continue;
        }
        hall.next.set(hall.next.get() + 1);
        let id = hall.next.get();
        let task = spawn_local(shake_hands(stream, peer, id, Rc::clone(&door), Rc::clone(&hall)));
        hall.handshakes.borrow_mut().insert(id, (task.abort_handle(), peer));
        hall.enter(id, peer);
        // Whoever has something to say is heard before the next one comes.
        yield_now().await;
    }
}

async fn shake_hands(stream: TcpStream, peer: Peer, id: u64, door: Rc<Door>, hall: Rc<Hall>) {
    let since = clock::mono();
    let mut pipe = Pipe::new(stream);
    let mut peer = peer;
    let renewals = door.renewals.get();
    let timeout = door.listener.own.connect_timeout.unwrap_or(hall.timeout);
    let passed = clock::before(since + timeout, threshold::pass(&mut pipe, &mut peer, id, &door, &hall)).await;
    match passed {
        // What was renewed while it shook hands holds for it, too; what is renewed from here on, the broker looks at.
        Some(Ok(_)) if door.renewals.get() != renewals && !is_still_good(&pipe, &door) => hall.say_failure(&door, peer, &Trouble::Revoked),
        Some(Ok(passed)) => {
            let arrival = Arrival { listener: door.index, peer, user: passed.user };
            match pipe.pack(passed.early) {
                // A broker that has ended lets nobody in.
                Ok(pipe) => drop(hall.news.send(News::Arrived(Guest { pipe, web: passed.web, arrival, since })).await),
                Err(error) => hall.say_failure(&door, peer, &Trouble::Io(error)),
            }
        }
        Some(Err(Trouble::Upgrade(Refusal::TooLarge))) => hall.tell(Limit::WebsocketHeaderMax, peer),
        Some(Err(trouble)) => hall.say_failure(&door, peer, &trouble),
        None => hall.tell(Limit::ConnectTimeout, peer),
    }
    hall.leave(id);
}

/// Whether the client would be let in by what holds now.
fn is_still_good(pipe: &Pipe, door: &Door) -> bool {
    let secured = door.secured.borrow();
    let Some((secured, tls)) = secured.as_ref().zip(pipe.tls()) else { return true };
    secured.still_accepts(tls.peer_certificates(), clock::wall())
}

impl Hall {
    fn enter(&self, id: u64, peer: Peer) {
        let out = self.crowd.borrow_mut().enter(id, peer.origin());
        let Some((task, peer)) = out.and_then(|out| self.handshakes.borrow_mut().remove(&out)) else { return };
        task.abort();
        self.tell(Limit::HandshakesMax, peer);
    }

    /// A proxy has said who it is.
    pub(super) fn is_of(&self, id: u64, peer: Peer) {
        self.crowd.borrow_mut().leave(id);
        if let Some((_, known)) = self.handshakes.borrow_mut().get_mut(&id) {
            *known = peer;
        }
        self.enter(id, peer);
    }

    fn leave(&self, id: u64) {
        self.crowd.borrow_mut().leave(id);
        self.handshakes.borrow_mut().remove(&id);
    }

    fn tell(&self, limit: Limit, peer: Peer) {
        let times = self.missed.borrow_mut().remove(&limit).unwrap_or_default() + 1;
        if self.news.try_send(News::Reached { limit, peer, times }).is_err() {
            self.missed.borrow_mut().insert(limit, times);
        }
    }

    fn say_failure(&self, door: &Door, peer: Peer, trouble: &Trouble) {
        let (began, said) = self.said.get();
        let now = clock::mono();
        let (began, said) = if now.since(began) >= MINUTE { (now, 0) } else { (began, said) };
        self.said.set((began, said.saturating_add(1)));
        let listener = &*door.listener.name;
        match said {
            ..FAILURES_SAID => tracing::info!(%peer, listener, "connection refused at the door: {trouble}"),
            FAILURES_SAID => tracing::info!("more connections are refused at the door than are named in a minute"),
            _ => tracing::debug!(%peer, listener, "connection refused at the door: {trouble}"),
        }
    }
}
