//! `tidegate sub`: subscribes and prints messages, as mosquitto_sub does.
//!
//! A message is acknowledged after it was written to standard output: what was not written comes again to a session that is kept.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::connection::{self, Peer};
use super::show::Format;
use crate::client::{Error, Event, Message, Publication, Session};
use crate::clock;
use crate::model::{Mono, QoS, RetainHandling, SubscribeOptions, TopicFilter};
use crate::mqtt::client::{Answer, Refused};

/// As `mosquitto_sub -W`.
const TIMED_OUT: u8 = 27;

/// Pauses between two tries to connect again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// QoS 1 and 2 messages on their way to us at a time; more wait in the broker.
const WINDOW: u16 = 20;

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    #[command(flatten)]
    connection: connection::Arguments,
    /// Topic filter to subscribe to; may be repeated
    #[arg(short, long, value_name = "FILTER", value_parser = filter)]
    topic: Vec<String>,
    /// Do not print messages of these topics; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER", value_parser = filter)]
    filter_out: Vec<String>,
    /// Unsubscribe; may be repeated
    #[arg(short = 'U', long, value_name = "FILTER", value_parser = filter)]
    unsubscribe: Vec<String>,
    /// QoS: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = connection::qos)]
    qos: QoS,
    /// Print the topic before the payload
    #[arg(short, long)]
    verbose: bool,
    /// Print by a format: %t topic, %p payload, %q QoS, %r retained, %l length, %m packet id, %x %X hexadecimal, %j %J JSON, %I %U time, and %A %C
    /// %D %E %F %P %R %S for the properties of 5.0
    #[arg(short = 'F', long, value_name = "FORMAT")]
    format: Option<String>,
    /// No new line after a message
    #[arg(short = 'N', long)]
    no_new_line: bool,
    /// Print control characters to a terminal as they are: a hostile payload can then steer it
    #[arg(long)]
    raw: bool,
    /// End after so many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds, with exit code 27
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    /// End when the subscriptions are granted
    #[arg(short = 'E', long)]
    exit_after_subscribe: bool,
    /// Do not print retained messages
    #[arg(short = 'R', long, conflicts_with = "retained_only")]
    no_retained: bool,
    /// Print retained messages only, and end at the first other one
    #[arg(long)]
    retained_only: bool,
    /// Remove the retained messages that come from the broker
    #[arg(long)]
    remove_retained: bool,
    /// The retained flag says whether the message was published with it (5.0)
    #[arg(long)]
    retain_as_published: bool,
}

pub fn subscribe(arguments: &Arguments, properties: &[Vec<String>]) -> Result<ExitCode, Failure> {
    let mut peer = arguments.connection.peer(properties, &["connect", "subscribe", "disconnect", "will"], WINDOW)?;
    let mut filters = arguments.topic.clone();
    if filters.is_empty() {
        let of_url = peer.topic.as_deref().map(filter).transpose().map_err(|error| Failure::wrong(format!("-L: {error}")))?;
        filters.extend(of_url);
    }
    if filters.is_empty() && arguments.unsubscribe.is_empty() {
        return Err(Failure::wrong("-t FILTER is missing"));
    }
    let terminal = io::stdout().is_terminal() && !arguments.raw;
    let format = match &arguments.format {
        Some(text) => {
            Format::parse(text, terminal, !arguments.no_new_line).map_err(|error| Failure::wrong(format!("-F {text:?}: {error}")))?
        }
        None => Format::plain(arguments.verbose, terminal, !arguments.no_new_line),
    };
    // They were checked when they were taken.
    let hidden = arguments.filter_out.iter().filter_map(|text| TopicFilter::new(text).ok()).collect();
    let mut job = Job {
        arguments,
        filters,
        hidden,
        properties: peer.blocks.take("subscribe"),
        format,
        out: Vec::new(),
        left: arguments.count,
        granted: 0,
        until: arguments.timeout.map(|seconds| clock::mono() + Duration::from_secs(seconds.into())),
    };
    super::runtime()?.block_on(job.run(&mut peer))
}

struct Job<'a> {
    arguments: &'a Arguments,
    filters: Vec<String>,
    hidden: Vec<TopicFilter>,
    properties: Vec<u8>,
    format: Format,
    /// Printed and not yet written.
    out: Vec<u8>,
    left: Option<u64>,
    /// Answers to SUBSCRIBE and UNSUBSCRIBE on this connection.
    granted: u8,
    until: Option<Mono>,
}

/// Why a connection is given up.
enum Over {
    /// All was done, or somebody has asked for the end.
    Done,
    TimedOut,
    /// Every subscription was refused.
    Denied(Refused),
    Failed(Error),
    /// Standard output takes no more.
    Output(io::Error),
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Job<'_> {
    async fn run(&mut self, peer: &mut Peer) -> Result<ExitCode, Failure> {
        let mut session = Session::new(peer.options.version, peer.options.window);
        let mut pause = RETRY.0;
        let mut was_connected = false;
        loop {
            let error = match self.connection(peer, &mut session, &mut was_connected).await {
                Over::Done => return Ok(ExitCode::SUCCESS),
                Over::TimedOut => return Ok(ExitCode::from(TIMED_OUT)),
                Over::Denied(refused) => return Ok(ExitCode::from(refused.code())),
                Over::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                Over::Output(error) => return Err(Failure::new(error)),
                Over::Failed(error) => error,
            };
            if !was_connected || !error.may_pass() {
                return Err(peer.failure(error));
            }
            peer.complain(&format!("{error}; trying again"));
            let at = clock::mono() + pause;
            clock::sleep_until(self.until.map_or(at, |until| until.min(at))).await;
            pause = if std::mem::take(&mut self.granted) > 0 { RETRY.0 } else { (pause * 2).min(RETRY.1) };
            if self.until.is_some_and(|until| clock::mono() >= until) {
                return Ok(ExitCode::from(TIMED_OUT));
            }
        }
    }

    /// One connection, to its end.
    async fn connection(&mut self, peer: &mut Peer, session: &mut Session, was_connected: &mut bool) -> Over {
        let (Ok(mut stop), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            return Over::Output(io::Error::other("no signals can be heard"));
        };
        let until = self.until;
        let mut link = tokio::select! {
            opened = peer.open(session) => match opened {
                Ok(link) => link,
                Err(error) => return error.into(),
            },
            () = timeout(until) => return Over::TimedOut,
            _ = stop.recv() => return Over::Done,
            _ = interrupt.recv() => return Over::Done,
        };
        *was_connected = true;
        self.ask(session);
        let over = loop {
            let event = tokio::select! {
                event = link.event(session) => event,
                () = timeout(until) => break Over::TimedOut,
                _ = stop.recv() => break Over::Done,
                _ = interrupt.recv() => break Over::Done,
            };
            let over = match event {
                Ok(event) => self.hear(peer, session, event),
                Err(error) => Some(error.into()),
            };
            // What is printed is written before its acknowledgement is.
            if (over.is_some() || !session.has_more())
                && let Err(error) = self.write()
            {
                break Over::Output(error);
            }
            if let Some(over) = over {
                break over;
            }
        };
        if !matches!(over, Over::Failed(_)) {
            link.leave(&peer.options, session).await;
        }
        over
    }

    fn ask(&self, session: &mut Session) {
        let options = SubscribeOptions {
            retain_as_published: self.arguments.retain_as_published,
            retain_handling: if self.arguments.no_retained { RetainHandling::DoNotSend } else { RetainHandling::Send },
            ..SubscribeOptions::at(self.arguments.qos)
        };
        if !self.filters.is_empty() {
            session.subscribe(self.filters.iter().map(String::as_str), options, &self.properties);
        }
        if !self.arguments.unsubscribe.is_empty() {
            session.unsubscribe(self.arguments.unsubscribe.iter().map(String::as_str));
        }
    }

    fn hear(&mut self, peer: &Peer, session: &mut Session, event: Event) -> Option<Over> {
        match event {
            Event::Message(message) => self.message(peer, session, &message),
            Event::Subscribed(answer) => self.granted(peer, &answer),
            Event::Unsubscribed(_) => self.answered(),
            Event::Farewell(farewell) => Some(Over::Failed(farewell.into())),
            Event::Connected(_) | Event::Published { .. } | Event::Pong | Event::Written => None,
        }
    }

    fn granted(&mut self, peer: &Peer, answer: &Answer) -> Option<Over> {
        let text = answer.reason_string.as_ref().map(|text| format!(" ({text:?})")).unwrap_or_default();
        for (filter, code) in self.filters.iter().zip(&answer.codes) {
            match code {
                Ok(qos) => peer.trace(|| format!("{filter:?} is granted at QoS {qos}")),
                Err(refused) => peer.complain(&format!("error: the subscription to {filter:?} is refused: {refused}{text}")),
            }
        }
        match answer.refused().filter(|_| answer.codes.iter().all(Result::is_err)) {
            Some(refused) => Some(Over::Denied(refused)),
            None => self.answered(),
        }
    }

    fn answered(&mut self) -> Option<Over> {
        self.granted += 1;
        let asked = u8::from(!self.filters.is_empty()) + u8::from(!self.arguments.unsubscribe.is_empty());
        (self.arguments.exit_after_subscribe && self.granted >= asked).then_some(Over::Done)
    }

    fn message(&mut self, peer: &Peer, session: &mut Session, message: &Message) -> Option<Over> {
        if self.arguments.retained_only && !message.retain {
            // It stays unacknowledged: somebody else may want it.
            return Some(Over::Done);
        }
        let hidden = self.hidden.iter().any(|filter| filter.matches(&message.topic));
        if !hidden && self.arguments.remove_retained && message.retain && !message.body.is_empty() {
            let empty = Publication { topic: &message.topic, body: b"", qos: QoS::AtMostOnce, retain: true, properties: &[] };
            if let Err(error) = session.publish(&empty) {
                return Some(error.into());
            }
        }
        let stale = self.arguments.no_retained && message.retain;
        let printed = !hidden && !stale;
        if printed && self.format.write(message, clock::wall(), &mut self.out).is_err() {
            peer.complain(&format!("error: the payload on topic {:?} is no JSON", message.topic));
        }
        session.acknowledge(message);
        if printed && let Some(left) = &mut self.left {
            *left -= 1;
            return (*left == 0).then_some(Over::Done);
        }
        None
    }

    fn write(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&std::mem::take(&mut self.out))?;
        stdout.flush()
    }
}

async fn timeout(until: Option<Mono>) {
    match until {
        Some(until) => clock::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn filter(text: &str) -> Result<String, String> {
    TopicFilter::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
