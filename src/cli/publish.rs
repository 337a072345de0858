//! `tidegate pub`: publishes messages, as mosquitto_pub does. It ends with 0 only when all that it sent at QoS 1 and 2 is acknowledged.

use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Failure;
use super::connection::{self, Peer};
use crate::client::{self, Error, Event, Link, Publication, Session};
use crate::clock;
use crate::model::{Mono, QoS, Topic};
use crate::mqtt::VARINT_MAX;
use crate::mqtt::client::Refused;

/// Lines that are read ahead.
const LINES: usize = 64;

/// Pauses between two tries to connect again, for `-l`.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(id = "what", required = true, multiple = false, args = ["message", "file", "null_message", "stdin_line", "stdin_file"])]
pub struct Arguments {
    #[command(flatten)]
    connection: connection::Arguments,
    /// Topic to publish to
    #[arg(short, long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Payload
    #[arg(short, long, value_name = "PAYLOAD", allow_hyphen_values = true)]
    message: Option<String>,
    /// The content of this file is the payload
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// An empty payload; with -r it removes a retained message
    #[arg(short, long)]
    null_message: bool,
    /// Each line of standard input is a message; goes on over broken connections
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// All of standard input is the payload
    #[arg(short, long)]
    stdin_file: bool,
    /// QoS: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = connection::qos)]
    qos: QoS,
    /// The broker keeps it as the topic's retained message
    #[arg(short, long)]
    retain: bool,
    /// Publish it so many times
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "stdin_line", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Seconds between two of --repeat
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds)]
    repeat_delay: f64,
    /// Most messages at QoS 1 and 2 that wait for their acknowledgement
    #[arg(short = 'M', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    max_inflight: u16,
}

/// The messages that are still to be sent.
enum Source {
    Same { body: Vec<u8>, left: u32, due: Mono, delay: Duration },
    Lines(mpsc::Receiver<Result<Vec<u8>, std::io::Error>>),
    Done,
}

impl Arguments {
    fn source(&self) -> Result<Source, Failure> {
        let body = if self.stdin_line {
            return Ok(Source::Lines(lines()));
        } else if let Some(text) = &self.message {
            text.clone().into_bytes()
        } else if let Some(path) = &self.file {
            client::read_file(path).map_err(|error| Failure { code: error.exit_code(), error: error.into(), quiet: false })?
        } else if self.stdin_file {
            let mut body = Vec::new();
            std::io::stdin().lock().take(VARINT_MAX as u64).read_to_end(&mut body).map_err(Failure::new)?;
            body
        } else {
            Vec::new()
        };
        let delay = Duration::from_secs_f64(self.repeat_delay);
        Ok(Source::Same { body, left: self.repeat, due: clock::mono(), delay })
    }
}

pub fn publish(arguments: &Arguments, properties: &[Vec<String>]) -> Result<ExitCode, Failure> {
    let mut peer = arguments.connection.peer(properties, &["connect", "publish", "disconnect", "will"], arguments.max_inflight)?;
    let topic = arguments.topic.clone().or_else(|| peer.topic.clone()).ok_or_else(|| Failure::wrong("-t TOPIC is missing"))?;
    Topic::new(&topic).map_err(|error| Failure::wrong(format!("-t {topic:?}: {error}")))?;
    let properties = peer.blocks.take("publish");
    let source = arguments.source()?;
    let mut job = Job { topic, properties, qos: arguments.qos, retain: arguments.retain, source, refused: None };
    let runtime = super::runtime()?;
    runtime.block_on(job.run(&mut peer))?;
    Ok(job.refused.map_or(ExitCode::SUCCESS, |refused| ExitCode::from(refused.code())))
}

struct Job {
    topic: String,
    properties: Vec<u8>,
    qos: QoS,
    retain: bool,
    source: Source,
    /// The first refusal; what follows is sent all the same.
    refused: Option<Refused>,
}

impl Job {
    async fn run(&mut self, peer: &mut Peer) -> Result<(), Failure> {
        let mut session = Session::new(peer.options.version, peer.options.window);
        // Lines go on, a single message says at once that it did not arrive.
        let persists = matches!(self.source, Source::Lines(_));
        let mut link = peer.open(&mut session).await.map_err(|error| peer.failure(error))?;
        let mut pause = RETRY.0;
        loop {
            let mut lost = match self.send(peer, &mut link, &mut session, &mut pause).await {
                Ok(()) => break,
                Err(error) => error,
            };
            link = loop {
                if !persists || !lost.may_pass() {
                    return Err(peer.failure(lost));
                }
                peer.complain(&format!("{lost}; trying again"));
                clock::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
                match peer.open(&mut session).await {
                    Ok(link) => break link,
                    Err(error) => lost = error,
                }
            };
        }
        link.leave(&peer.options, &mut session).await;
        Ok(())
    }

    /// Until all is sent and acknowledged.
    async fn send(&mut self, peer: &Peer, link: &mut Link, session: &mut Session, pause: &mut Duration) -> Result<(), Error> {
        loop {
            if matches!(self.source, Source::Done) && session.in_flight() == 0 {
                return link.flush(session).await;
            }
            let wants = session.has_room() && session.is_written();
            tokio::select! {
                event = link.event(session) => {
                    *pause = RETRY.0;
                    self.hear(peer, event?)?;
                }
                body = self.source.next(), if wants && !matches!(self.source, Source::Done) => {
                    if let Some(body) = body? {
                        let Self { topic, properties, qos, retain, .. } = self;
                        let id = session.publish(&Publication { topic, body: &body, qos: *qos, retain: *retain, properties })?;
                        peer.trace(|| format!("sent {} bytes, packet id {id}", body.len()));
                    }
                }
            }
        }
    }

    fn hear(&mut self, peer: &Peer, event: Event) -> Result<(), Error> {
        match event {
            Event::Farewell(farewell) => Err(farewell.into()),
            Event::Published { id, refused: Some(refused), text } => {
                self.refused.get_or_insert(refused);
                let text = text.map(|text| format!(" ({text:?})")).unwrap_or_default();
                peer.complain(&format!("error: the message {id} is refused: {refused}{text}"));
                Ok(())
            }
            Event::Published { id, refused: None, .. } => {
                peer.trace(|| format!("packet id {id} is acknowledged"));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Source {
    /// The next body; `None`: there is none any more. May be dropped at any time.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Done => std::future::pending().await,
            Self::Same { body, left, due, delay } => {
                clock::sleep_until(*due).await;
                *left -= 1;
                *due = *due + *delay;
                if *left > 0 {
                    return Ok(Some(body.clone()));
                }
                let body = std::mem::take(body);
                *self = Self::Done;
                Ok(Some(body))
            }
            Self::Lines(lines) => match lines.recv().await {
                Some(line) => line.map(Some).map_err(|source| Error::File { path: "standard input".into(), source }),
                None => {
                    *self = Self::Done;
                    Ok(None)
                }
            },
        }
    }
}

/// Lines of standard input, without their ends; the thread that reads them ends with the process.
fn lines() -> mpsc::Receiver<Result<Vec<u8>, std::io::Error>> {
    let (sender, receiver) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(VARINT_MAX as u64).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(_) => {
                    line.pop_if(|last| *last == b'\n');
                    Ok(line)
                }
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n| (0.0..=1e9).contains(n)).ok_or_else(|| "a number of seconds".to_owned())
}
