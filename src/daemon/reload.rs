//! SIGHUP: files that the site's file names are read anew, all of them or none.

use std::error::Error;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use super::policy::Files;
use crate::access::Policy;
use crate::broker::Doors;

/// Reloads at each SIGHUP, for ever: users and rights, which `broker` is told, and the certificates of `doors`.
pub(super) async fn run(mut hangup: Signal, doors: Option<Doors>, files: Files, broker: mpsc::Sender<Policy>) {
    while hangup.recv().await.is_some() {
        // On a thread of its own: a disk may take its time.
        let reading = files.clone();
        let Ok(policy) = tokio::task::spawn_blocking(move || reading.read()).await else { return };
        let renewal = match &doors {
            Some(doors) => doors.read().await.map(Some),
            None => Ok(None),
        };
        match (policy, renewal) {
            (Ok(policy), Ok(renewal)) => {
                let users = policy.realms.iter().filter_map(|realm| realm.users.as_ref()).map(|users| users.iter().len()).sum::<usize>();
                let certificates = renewal.is_some();
                if let Some(renewal) = renewal {
                    renewal.take_effect().await;
                }
                if broker.send(policy).await.is_err() {
                    return;
                }
                tracing::info!(users, certificates, "SIGHUP: users, rights and certificates were read anew");
            }
            (policy, renewal) => {
                policy.err().iter().for_each(|error| say(error));
                renewal.err().iter().flatten().for_each(|error| say(error));
            }
        }
    }
}

fn say(error: &(dyn Error + 'static)) {
    tracing::error!(error, "SIGHUP: everything stays as it was, because of a file");
}
