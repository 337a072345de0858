//! What people ask of the running gateway by its control socket, beside its status: one request a line of JSON, one line of JSON back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::sources::Sources;
use crate::clock;
use crate::model::admin::{Act, Ask, ClearedPage, ClientDetail, ClientsPage, RetainedPage};
use crate::model::{Mono, Topic, TopicFilter};

/// Before a question that was thrown away is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Clients { from: usize },
    Client { id: String, from: usize },
    Kick { id: String },
    Forget { id: String },
    Retained { filter: String, after: Option<String> },
    Clear { filter: String, after: Option<String> },
}

impl Request {
    /// Whether its answer says that something is written.
    pub const fn waits_for_store(&self) -> bool {
        matches!(self, Self::Forget { .. } | Self::Clear { .. })
    }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    Clients(ClientsPage),
    /// `None`: no client has this id.
    Client(Box<Option<ClientDetail>>),
    Act(Act),
    Retained(RetainedPage),
    Cleared(ClearedPage),
    Error(String),
}

/// The answer of the broker, or why there is none by `deadline`.
pub(super) async fn respond(request: Request, sources: &Sources, deadline: Mono) -> Response {
    let response = match request {
        Request::Clients { from } => asked(sources, deadline, |reply| Ask::Clients { from, reply }).await.map(Response::Clients),
        Request::Client { id, from } => {
            let client = asked(sources, deadline, |reply| Ask::Client { id: id.clone(), from, reply }).await;
            client.map(|client| Response::Client(Box::new(client)))
        }
        Request::Kick { id } => asked(sources, deadline, |reply| Ask::Kick { id: id.clone(), reply }).await.map(Response::Act),
        Request::Forget { id } => asked(sources, deadline, |reply| Ask::Forget { id: id.clone(), reply }).await.map(Response::Act),
        Request::Retained { filter, after } => match place(&filter, after) {
            Err(error) => return Response::Error(error),
            Ok((filter, after)) => {
                let ask = |reply| Ask::Retained { filter: filter.clone(), after: after.clone(), reply };
                asked(sources, deadline, ask).await.map(Response::Retained)
            }
        },
        Request::Clear { filter, after } => match place(&filter, after) {
            Err(error) => return Response::Error(error),
            Ok((filter, after)) => {
                let ask = |reply| Ask::Clear { filter: filter.clone(), after: after.clone(), reply };
                asked(sources, deadline, ask).await.map(Response::Cleared)
            }
        },
    };
    response.unwrap_or_else(|| Response::Error("the broker did not answer in time: it is starting, or the store does not write".to_owned()))
}

/// A broker that does not know yet what the store holds throws a question away: it is asked again.
async fn asked<T>(sources: &Sources, deadline: Mono, ask: impl Fn(oneshot::Sender<T>) -> Ask) -> Option<T> {
    loop {
        let (reply, answer) = oneshot::channel();
        // A full queue of questions has not answered the last ones either.
        sources.ask.try_send(ask(reply)).ok()?;
        if let Ok(answer) = clock::before(deadline, answer).await? {
            return Some(answer);
        }
        clock::sleep(AGAIN).await;
        if clock::mono() >= deadline {
            return None;
        }
    }
}

fn place(filter: &str, after: Option<String>) -> Result<(TopicFilter, Option<Topic>), String> {
    let filter = TopicFilter::new(filter).map_err(|error| error.to_string())?;
    let after = after.map(|topic| Topic::new(&topic)).transpose().map_err(|error| error.to_string())?;
    Ok((filter, after))
}
