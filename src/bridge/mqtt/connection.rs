//! The life of one connection, whatever the version: reads the files that it needs, polls one event loop of rumqttc until its first error, takes
//! out what that still holds, says how it ended.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::dialect::Ending;
use super::verdict::chain;
use super::{Client, v5, v311};
use crate::bridge::sink::{Down, Refused, Terms};
use crate::bridge::{Options, Version, secret, tls};
use crate::{clock, faults};

/// The naive client of the fault `keep-eventloop` waits so long before it polls again after an error.
const NAIVE_PAUSE: Duration = Duration::from_millis(50);

/// What a connection's task reports.
#[derive(Debug)]
pub enum Raw {
    Up(Client, Terms),
    Written {
        packet_id: u16,
    },
    Acked {
        packet_id: u16,
    },
    Refused {
        packet_id: u16,
        refused: Refused,
    },
    Alive,
    /// The last.
    Down(Down, Ending),
}

impl Raw {
    /// The connection has ended for a cause that has nothing to do with the version.
    pub const fn down(down: Down) -> Self {
        Self::Down(down, Ending::Other)
    }
}

/// An event loop of rumqttc, for one connection. Polled until an `Err` or a [`Raw::Down`], then dropped.
pub trait Loop: Send {
    /// What happened next, if it is of interest; [`Raw::Down`] if the upstream breaks the protocol, or the farewell is out.
    ///
    /// # Errors
    /// The event loop has given the connection up.
    fn poll(&mut self) -> impl Future<Output = Result<Option<Raw>, Raw>> + Send;

    /// The acknowledgements, and what they need to be told apart, that came in before the end.
    fn rest(&mut self) -> Vec<Raw>;
}

/// What a connect needs from files.
#[derive(Debug)]
pub struct Papers {
    pub password: Option<String>,
    pub tls: Option<Arc<ClientConfig>>,
}

/// From the files to the last acknowledgement.
pub async fn run(
    version: Version,
    options: Arc<Options>,
    files: Arc<Semaphore>,
    report: mpsc::Sender<Raw>,
    mut stopped: oneshot::Receiver<String>,
) {
    let read = tokio::select! {
        biased;
        cause = &mut stopped => Err(cause.unwrap_or_default()),
        read = read(options.clone(), files) => read,
    };
    match (read, version) {
        (Err(cause), _) => drop(report.send(Raw::down(Down { cause, ..Down::default() })).await),
        (Ok(papers), Version::V311) => poll(v311::open(&options, papers), &report, stopped).await,
        (Ok(papers), Version::V5) => poll(v5::open(&options, papers), &report, stopped).await,
    }
}

async fn poll(mut event_loop: impl Loop, report: &mpsc::Sender<Raw>, mut stopped: oneshot::Receiver<String>) {
    let down = loop {
        let polled = tokio::select! {
            biased;
            cause = &mut stopped => break Raw::down(Down { cause: cause.unwrap_or_default(), ..Down::default() }),
            polled = event_loop.poll() => polled,
        };
        match polled {
            Ok(None) => {}
            Ok(Some(down @ Raw::Down(..))) => break down,
            Ok(Some(raw)) => {
                if report.send(raw).await.is_err() {
                    return;
                }
            }
            Err(_) if faults::active("keep-eventloop") => clock::sleep(NAIVE_PAUSE).await,
            Err(down) => break down,
        }
    };
    for raw in event_loop.rest() {
        if report.send(raw).await.is_err() {
            return;
        }
    }
    drop(event_loop);
    let _ = report.send(down).await;
}

/// Reads the password and the certificates.
async fn read(options: Arc<Options>, files: Arc<Semaphore>) -> Result<Papers, String> {
    let Ok(permit) = files.acquire_owned().await else {
        return Err("ended".to_owned());
    };
    let read = spawn_blocking(move || papers(&options, permit)).await;
    read.map_err(|e| e.to_string())?
}

fn papers(options: &Options, _permit: OwnedSemaphorePermit) -> Result<Papers, String> {
    let password = options.auth.as_ref().and_then(|auth| auth.password.as_ref());
    let password = password.map(secret::read).transpose().map_err(|e| chain(&e))?;
    let tls = options.tls.as_ref().map(tls::client_config).transpose().map_err(|e| e.to_string())?;
    Ok(Papers { password, tls })
}
