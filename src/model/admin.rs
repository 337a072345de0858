//! What people ask of the broker while it runs, and what it answers: the shapes of `tidegate clients` and `tidegate retained`, with `--json`, too.
//!
//! Every question is one slice of work; whoever asks for much asks again from where the last answer ended.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Topic, TopicFilter};

/// ops → broker. Whoever asked may be gone when the answer comes.
#[derive(Debug)]
pub enum Ask {
    /// Sessions from place `from` on; 0: from the first.
    Clients { from: usize, reply: oneshot::Sender<ClientsPage> },
    /// One session, with its subscriptions from the `from`th on.
    Client { id: String, from: usize, reply: oneshot::Sender<Option<ClientDetail>> },
    /// Ends the connection of this client; its session, if it is kept, stays.
    Kick { id: String, reply: oneshot::Sender<Act> },
    /// Ends the session of this client and its connection. Answered when the store knows it.
    Forget { id: String, reply: oneshot::Sender<Act> },
    /// Retained messages behind `after`.
    Retained { filter: TopicFilter, after: Option<Topic>, reply: oneshot::Sender<RetainedPage> },
    /// Removes retained messages behind `after`. Answered when the store knows it.
    Clear { filter: TopicFilter, after: Option<Topic>, reply: oneshot::Sender<ClearedPage> },
}

/// What became of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Done,
    /// No client has this id.
    Unknown,
    /// Its session is there, and no connection.
    Away,
}

/// At most [`ClientsPage::ROWS`] sessions. One that begins or ends between two questions may be missing or not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientsPage {
    pub clients: Vec<Client>,
    /// Where the next question goes on; `None`: that was all.
    pub next: Option<usize>,
}

impl ClientsPage {
    pub const ROWS: usize = 256;
}

/// A session, and its connection if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Client {
    pub id: String,
    pub user: Option<String>,
    /// `None`: the client is away.
    pub connection: Option<Connection>,
    /// Seconds that the session outlives its connection; 0: it ends with it; `None`: it never ends by itself.
    pub expiry_s: Option<u32>,
    /// Of a client that is away: when its session ends.
    pub ends_in_ms: Option<u64>,
    pub subscriptions: usize,
    /// Messages that wait, and what they take.
    pub queued: usize,
    pub queued_bytes: usize,
    /// QoS 1 and 2 messages that the client has not acknowledged.
    pub in_flight: usize,
    /// The store has the session, too.
    pub stored: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connection {
    pub address: String,
    /// The listener's name.
    pub listener: String,
    /// `5.0`, `3.1.1`, `3.1`.
    pub protocol: String,
    pub since_ms: u64,
    /// `None`: none.
    pub keep_alive_s: Option<u32>,
    /// Bytes that it has not read yet.
    pub unread_bytes: usize,
    /// Topic of its will.
    pub will: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientDetail {
    #[serde(flatten)]
    pub client: Client,
    /// At most [`ClientsPage::ROWS`], with the QoS that was granted.
    pub filters: Vec<(String, u8)>,
    pub next: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RetainedPage {
    pub messages: Vec<Retained>,
    /// The last topic that was looked at; `None`: that was all.
    pub next: Option<String>,
}

impl RetainedPage {
    pub const ROWS: usize = 256;
    /// Topics that one question looks at.
    pub const LOOKS: usize = 2_048;
    /// Bytes of a payload that are shown.
    pub const PREVIEW: usize = 64;
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retained {
    pub topic: String,
    pub qos: u8,
    pub bytes: usize,
    pub expires_in_ms: Option<u64>,
    /// The payload's beginning; what is no UTF-8 is replaced.
    pub preview: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClearedPage {
    pub cleared: usize,
    /// As in [`RetainedPage`].
    pub next: Option<String>,
}
