//! A TCP proxy between the thing under test and its peer: the bad network. It runs on its own thread, its port stays the same and stays
//! ours in every mode, and each call returns only when its effect is there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything.
    Open,
    /// Nobody listens: a connect is refused. Connections that are there stay and pass everything.
    Refusing,
    /// Cuts all connections and refuses new ones.
    Closed,
    /// Accepts and keeps connections and passes nothing either way. What waits goes on its way when the mode changes.
    Silent,
    /// Passes what goes to the target and throws away what comes back.
    SwallowReplies,
}

#[derive(Debug)]
pub struct Proxy {
    port: u16,
    commands: UnboundedSender<(Command, mpsc::Sender<usize>)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Opens a proxy on a free port of 127.0.0.1 before `target`.
    pub fn start(target: SocketAddr) -> Self {
        let (commands, receiver) = unbounded_channel();
        let (ready, port) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, serve(target, ready, receiver));
        });
        Self { port: port.recv().expect("the proxy's thread has started"), commands, thread: Some(thread) }
    }

    /// A proxy before `port` of 127.0.0.1.
    pub fn before(port: u16) -> Self {
        Self::start((Ipv4Addr::LOCALHOST, port).into())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns when the mode is in force: `Closed` when the last connection is cut and a connect is refused.
    pub fn set(&self, mode: Mode) {
        self.send(Command::Mode(mode));
    }

    /// Holds each byte for so long on its way to the target and back. For bytes that arrive from now on.
    pub fn delay(&self, to_target: Duration, back: Duration) {
        self.send(Command::Delay(to_target, back));
    }

    /// Cuts all connections now, with a reset to both sides: what was under way is gone.
    /// Returns how many there were.
    pub fn cut(&self) -> usize {
        self.send(Command::Cut)
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.send(Command::Connections)
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> usize {
        self.send(Command::Accepted)
    }

    fn send(&self, command: Command) -> usize {
        let (reply, answer) = mpsc::channel();
        self.commands.send((command, reply)).expect("the proxy's thread runs");
        answer.recv().expect("the proxy's thread answers")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let (reply, _) = mpsc::channel();
        let _ = self.commands.send((Command::Stop, reply));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Command {
    Mode(Mode),
    Delay(Duration, Duration),
    Cut,
    Connections,
    Accepted,
    Stop,
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    mode: Mode,
    to_target: Duration,
    back: Duration,
}

/// Most bytes that one direction of a connection holds for a delay; then it stops reading.
const HELD_MAX: usize = 4 << 20;

async fn serve(target: SocketAddr, ready: mpsc::Sender<u16>, mut commands: UnboundedReceiver<(Command, mpsc::Sender<usize>)>) {
    // Bound and never listening: it keeps the port ours while nobody listens, and a connect is refused then.
    let placeholder = socket(0).expect("a free port");
    let port = placeholder.local_addr().expect("bound").port();
    let mut listener = Some(listen(port));
    ready.send(port).expect("the starter waits");

    let (setting, watched) = watch::channel(Setting { mode: Mode::Open, to_target: Duration::ZERO, back: Duration::ZERO });
    let mut live = Live::default();
    let mut accepted = 0;
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => {
                let Some((command, reply)) = command else { return };
                let answer = match command {
                    Command::Mode(mode) => {
                        let refuses = matches!(mode, Mode::Refusing | Mode::Closed);
                        listener = if refuses { None } else { Some(listener.unwrap_or_else(|| listen(port))) };
                        setting.send_modify(|s| s.mode = mode);
                        if mode == Mode::Closed { live.cut().await } else { 0 }
                    }
                    Command::Delay(to_target, back) => {
                        setting.send_modify(|s| (s.to_target, s.back) = (to_target, back));
                        0
                    }
                    Command::Cut => live.cut().await,
                    Command::Connections => live.count(),
                    Command::Accepted => accepted,
                    Command::Stop => return,
                };
                let _ = reply.send(answer);
            }
            client = accept(listener.as_ref()) => {
                accepted += 1;
                live.add(client, target, watched.clone());
            }
        }
    }
}

fn socket(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket)
}

fn listen(port: u16) -> TcpListener {
    socket(port).and_then(|s| s.listen(1_024)).expect("the proxy's own port")
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    loop {
        match listener {
            None => std::future::pending().await,
            Some(listener) => {
                if let Ok((stream, _)) = listener.accept().await {
                    return stream;
                }
            }
        }
    }
}

/// The connections that are there: both sockets, once the target has answered, and the task that carries their bytes.
#[derive(Debug, Default)]
struct Live {
    links: Vec<(Sockets, JoinHandle<()>)>,
}

type Sockets = Rc<RefCell<Vec<Rc<TcpStream>>>>;

impl Live {
    fn add(&mut self, client: TcpStream, target: SocketAddr, setting: watch::Receiver<Setting>) {
        self.links.retain(|(_, task)| !task.is_finished());
        let client = Rc::new(client);
        let sockets: Sockets = Rc::new(RefCell::new(vec![client.clone()]));
        let task = spawn_local(carry(client, target, setting, sockets.clone()));
        self.links.push((sockets, task));
    }

    fn count(&self) -> usize {
        self.links.iter().filter(|(_, task)| !task.is_finished()).count()
    }

    async fn cut(&mut self) -> usize {
        let cut = self.count();
        for (sockets, task) in self.links.drain(..) {
            sockets.borrow().iter().for_each(|s| reset(s));
            task.abort();
            let _ = task.await;
        }
        cut
    }
}

/// Makes the socket's close a reset.
fn reset(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}

async fn carry(client: Rc<TcpStream>, target: SocketAddr, setting: watch::Receiver<Setting>, sockets: Sockets) {
    let Ok(server) = TcpStream::connect(target).await else {
        reset(&client);
        sockets.borrow_mut().clear();
        return;
    };
    let server = Rc::new(server);
    sockets.borrow_mut().push(server.clone());
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let up = pipe(&client, &server, true, setting.clone());
    let down = pipe(&server, &client, false, setting);
    if tokio::try_join!(up, down).is_err() {
        reset(&client);
        reset(&server);
    }
    sockets.borrow_mut().clear();
}

async fn pipe(from: &TcpStream, to: &TcpStream, up: bool, mut setting: watch::Receiver<Setting>) -> io::Result<()> {
    let mut held: VecDeque<(Mono, Vec<u8>)> = VecDeque::new();
    let mut held_bytes = 0;
    let mut buffer = vec![0; 64 << 10];
    let mut eof = false;
    loop {
        if eof && held.is_empty() {
            rustix::net::shutdown(to, rustix::net::Shutdown::Write)?;
            return Ok(());
        }
        let now = *setting.borrow_and_update();
        let silent = now.mode == Mode::Silent;
        let due = held.front().map_or(Mono::ZERO, |(due, _)| *due);
        tokio::select! {
            changed = setting.changed() => if changed.is_err() { return Ok(()) },
            readable = from.readable(), if !silent && !eof && held_bytes < HELD_MAX => {
                readable?;
                match from.try_read(&mut buffer) {
                    Ok(0) => eof = true,
                    Ok(_) if !up && now.mode == Mode::SwallowReplies => {}
                    Ok(n) => {
                        held_bytes += n;
                        held.push_back((clock::mono() + if up { now.to_target } else { now.back }, buffer[..n].to_vec()));
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
            () = clock::sleep_until(due), if !silent && !held.is_empty() => {
                if let Some((_, bytes)) = held.pop_front() {
                    held_bytes -= bytes.len();
                    write_all(to, &bytes).await?;
                }
            }
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
