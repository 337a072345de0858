//! `tidegate clients`: who is connected or has a session, and ending either.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use super::property::hint;
use super::status::{age, bytes};
use super::visible::visible;
use crate::model::admin::{Act, Client, ClientDetail};
use crate::ops::ask::{Request, Response};
use crate::ops::control;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The running gateway's control socket [default: in $RUNTIME_DIRECTORY or /run/tidegate]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List every client that is connected or has a session
    List {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show one client, with its subscriptions
    Show {
        #[arg(value_name = "ID")]
        id: String,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End a client's connection (5.0: 0x98, administrative action); a session that is kept stays, and the client may come back
    Kick {
        #[arg(value_name = "ID")]
        id: String,
    },
    /// End a client's session with all that waits for it, and its connection
    Forget {
        #[arg(value_name = "ID")]
        id: String,
    },
}

pub fn clients(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = arguments.socket.clone().unwrap_or_else(control::default_path);
    let gateway = Gateway { path };
    match &arguments.what {
        What::List { json } => {
            let mut clients = gateway.clients()?;
            clients.sort_by(|a, b| a.id.cmp(&b.id));
            super::answer(&if *json { pretty(&clients)? } else { table(&clients) })?;
        }
        What::Show { id, json } => {
            let detail = gateway.client(id)?;
            super::answer(&if *json { pretty(&detail)? } else { page(&detail) })?;
        }
        What::Kick { id } => match gateway.act(&Request::Kick { id: id.clone() })? {
            Act::Done => super::answer(&format!("{} is disconnected\n", shown(id)))?,
            Act::Away => return Err(Failure::new(format!("{} is not connected: its session waits for it; `forget` ends that", shown(id)))),
            Act::Unknown => return Err(gateway.unknown(id)),
        },
        What::Forget { id } => match gateway.act(&Request::Forget { id: id.clone() })? {
            Act::Done | Act::Away => super::answer(&format!("the session of {} is ended\n", shown(id)))?,
            Act::Unknown => return Err(gateway.unknown(id)),
        },
    }
    Ok(ExitCode::SUCCESS)
}

struct Gateway {
    path: PathBuf,
}

impl Gateway {
    fn ask(&self, request: &Request) -> Result<Response, Failure> {
        control::ask(&self.path, request).map_err(Failure::new)
    }

    /// Page by page: while others come and go, one may be missing.
    fn clients(&self) -> Result<Vec<Client>, Failure> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let Response::Clients(page) = self.ask(&Request::Clients { from })? else { return Err(strange()) };
            all.extend(page.clients);
            match page.next {
                // A gateway that sends us back would keep us for ever.
                Some(next) if next > from => from = next,
                _ => return Ok(all),
            }
        }
    }

    fn client(&self, id: &str) -> Result<ClientDetail, Failure> {
        let mut whole: Option<ClientDetail> = None;
        let mut from = 0;
        loop {
            let Response::Client(part) = self.ask(&Request::Client { id: id.to_owned(), from })? else { return Err(strange()) };
            let Some(part) = *part else { return whole.ok_or_else(|| self.unknown(id)) };
            let next = part.next.filter(|next| *next > from);
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.filters.extend(part.filters),
            }
            match (next, whole.take()) {
                (None, Some(whole)) => return Ok(whole),
                (next, so_far) => {
                    from = next.unwrap_or(0);
                    whole = so_far;
                }
            }
        }
    }

    fn act(&self, request: &Request) -> Result<Act, Failure> {
        let Response::Act(act) = self.ask(request)? else { return Err(strange()) };
        Ok(act)
    }

    /// With the nearest id that there is.
    fn unknown(&self, id: &str) -> Failure {
        let clients = self.clients().unwrap_or_default();
        let near = hint(id, clients.iter().map(|client| client.id.as_str()));
        Failure::new(format!("no client has the id {}{}", shown(id), visible(near.as_bytes(), true)))
    }
}

/// Another version's answer.
pub(super) fn strange() -> Failure {
    Failure::new("the gateway's answer is not understood: it may be of another version")
}

pub(super) fn pretty<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(value).map_err(Failure::new)? + "\n")
}

/// A client id is what a stranger has written.
fn shown(id: &str) -> String {
    format!("\"{}\"", visible(id.as_bytes(), false))
}

fn table(clients: &[Client]) -> String {
    let head = ["CLIENT", "USER", "ADDRESS", "LISTENER", "MQTT", "SINCE", "SUBS", "QUEUED", "IN FLIGHT"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for client in clients {
        let connection = client.connection.as_ref();
        let of = |text: Option<&String>| text.map_or("-".to_owned(), |text| visible(text.as_bytes(), false));
        rows.push(vec![
            visible(client.id.as_bytes(), false),
            of(client.user.as_ref()),
            connection.map_or("away".to_owned(), |c| visible(c.address.as_bytes(), false)),
            of(connection.map(|c| &c.listener)),
            of(connection.map(|c| &c.protocol)),
            connection.map_or("-".to_owned(), |c| age(c.since_ms)),
            client.subscriptions.to_string(),
            client.queued.to_string(),
            client.in_flight.to_string(),
        ]);
    }
    columns(&rows)
}

/// As wide as their widest, two blanks between.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

fn page(detail: &ClientDetail) -> String {
    let client = &detail.client;
    let mut out = String::new();
    let mut line = |what: &str, text: &str| {
        let _ = writeln!(out, "{what:<14} {text}");
    };
    line("client", &visible(client.id.as_bytes(), false));
    line("user", &client.user.as_ref().map_or("-".to_owned(), |user| visible(user.as_bytes(), false)));
    match &client.connection {
        None => line("connection", "away"),
        Some(connection) => {
            line(
                "connection",
                &format!("{} by {}", visible(connection.address.as_bytes(), false), visible(connection.listener.as_bytes(), false)),
            );
            line("protocol", &format!("MQTT {}", connection.protocol));
            line("since", &age(connection.since_ms));
            line("keep-alive", &connection.keep_alive_s.map_or("none".to_owned(), |seconds| format!("{seconds} s")));
            line("unread", &bytes(connection.unread_bytes as u64));
            if let Some(will) = &connection.will {
                line("will", &visible(will.as_bytes(), false));
            }
        }
    }
    let expiry = match client.expiry_s {
        Some(0) => "ends with its connection".to_owned(),
        Some(seconds) => format!("kept for {}", age(u64::from(seconds) * 1_000)),
        None => "kept until it is taken back".to_owned(),
    };
    line("session", &format!("{expiry}{}", client.ends_in_ms.map(|ms| format!(", ends in {}", age(ms))).unwrap_or_default()));
    line("queued", &format!("{}, {}", client.queued, bytes(client.queued_bytes as u64)));
    line("in flight", &client.in_flight.to_string());
    line("subscriptions", &client.subscriptions.to_string());
    for (filter, qos) in &detail.filters {
        line("", &format!("{} at QoS {qos}", visible(filter.as_bytes(), false)));
    }
    out
}
