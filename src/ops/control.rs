//! The control socket: a unix stream socket that answers a line of text with a line of JSON.
//!
//! Requests: `status` → [`Status`]; a [`Request`] in JSON → a [`Response`]. Anything else → `{"error":"…"}`. One request a connection; the folder's
//! and the socket's modes say who may ask.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::ask::{self, Request, Response};
use super::sources::Sources;
use crate::model::status::Status;
use crate::{clock, unix_socket};

/// Longest time that an answer may take, at both ends.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for an answer that waits for the store: a card may take seconds.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest request line in bytes, more than a client id or a filter takes that people write; a longer one is cut and so unknown.
const REQUEST_MAX: u64 = 64 << 10;
/// Connections served at a time; a further one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 8;
/// Pause after an accept that failed, so that a lasting failure (no file descriptors) does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the control socket {}", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("no gateway answers on {}: is it running, and may you use its socket?", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the gateway did not answer on {}", path.display())]
    Answer { path: PathBuf, source: io::Error },
    #[error("the gateway's answer is not understood: it may be of another version")]
    Form(#[source] serde_json::Error),
    #[error("{0}")]
    Refused(String),
}

/// `$RUNTIME_DIRECTORY/control.sock`, which systemd sets, else `/run/tidegate/control.sock`.
pub fn default_path() -> PathBuf {
    std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| PathBuf::from("/run/tidegate"), PathBuf::from).join("control.sock")
}

/// The socket's end in the gateway. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the folder if it is not there, and takes the place of a socket that nobody listens on, but not of anything else.
    ///
    /// # Errors
    /// The folder or the socket cannot be made, another process listens on it, or something else is there.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Bind { path: path.to_owned(), source };
        let listener = unix_socket::bind(path).and_then(UnixListener::from_std).map_err(fail)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers for ever.
    pub async fn serve(self, sources: Sources) {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let sources = sources.clone();
                    tokio::spawn(async move {
                        if let Some(Err(error)) = clock::before(clock::mono() + STORE_TIMEOUT, answer(stream, &sources)).await {
                            tracing::debug!(%error, "control connection");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "control socket");
                    clock::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, sources: &Sources) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(read.take(REQUEST_MAX));
    clock::before(clock::mono() + ANSWER_TIMEOUT, reader.read_line(&mut line)).await.unwrap_or(Ok(0))?;
    let mut reply = match line.trim_end() {
        "status" => serde_json::to_vec(&sources.collect(clock::mono() + ANSWER_TIMEOUT / 2).await)?,
        json => match serde_json::from_str::<Request>(json) {
            Ok(request) => {
                let deadline = clock::mono() + timeout(&request) / 6 * 5;
                serde_json::to_vec(&ask::respond(request, sources, deadline).await)?
            }
            Err(error) => serde_json::to_vec(&Response::Error(format!("unknown request: {error}")))?,
        },
    };
    reply.push(b'\n');
    write.write_all(&reply).await
}

const fn timeout(request: &Request) -> Duration {
    if request.waits_for_store() { STORE_TIMEOUT } else { ANSWER_TIMEOUT }
}

/// Asks the gateway that listens on `path` for its status. Blocks for at most [`ANSWER_TIMEOUT`] a step.
///
/// # Errors
/// Nobody listens, no answer comes, or it is of another form.
pub fn ask_status(path: &Path) -> Result<Status, Error> {
    serde_json::from_str(&exchange(path, b"status\n", ANSWER_TIMEOUT)?).map_err(Error::Form)
}

/// As [`ask_status`], for a question to the broker.
///
/// # Errors
/// As for [`ask_status`]; and what the gateway says is wrong with the question.
pub fn ask(path: &Path, request: &Request) -> Result<Response, Error> {
    let mut line = serde_json::to_vec(request).map_err(Error::Form)?;
    line.push(b'\n');
    if line.len() as u64 > REQUEST_MAX {
        return Err(Error::Refused(format!("a request has at most {REQUEST_MAX} bytes")));
    }
    match serde_json::from_str(&exchange(path, &line, timeout(request))?).map_err(Error::Form)? {
        Response::Error(error) => Err(Error::Refused(error)),
        response => Ok(response),
    }
}

fn exchange(path: &Path, request: &[u8], within: Duration) -> Result<String, Error> {
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(|source| Error::Connect { path: path.to_owned(), source })?;
    let fail = |source| Error::Answer { path: path.to_owned(), source };
    stream.set_read_timeout(Some(within)).map_err(fail)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(fail)?;
    stream.write_all(request).map_err(fail)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(|error| {
        // What a read that has timed out is called is the kernel's business.
        let late = error.kind() == io::ErrorKind::WouldBlock;
        fail(if late { io::Error::new(io::ErrorKind::TimedOut, format!("no word in {} s", within.as_secs())) } else { error })
    })?;
    if line.is_empty() {
        return Err(fail(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/control.sock");
        let first = Server::bind(&path).expect("a fresh place");
        assert!(Server::bind(&path).is_err(), "somebody listens");
        drop(first);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket whose process is gone"));
        drop(Server::bind(&path).expect("nobody listens"));
        std::fs::write(&path, "a file").expect("a file");
        assert!(Server::bind(&path).is_err(), "a file is in the way");
        assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), "a file");
    }
}
