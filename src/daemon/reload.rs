//! SIGHUP: files that the site's file names are read anew, all of them or none.

use tokio::signal::unix::Signal;

use crate::broker::Doors;

/// Reloads at each SIGHUP, for ever.
pub(super) async fn run(mut hangup: Signal, doors: Option<Doors>) {
    while hangup.recv().await.is_some() {
        let Some(doors) = &doors else {
            tracing::info!("SIGHUP: there is nothing to read anew");
            continue;
        };
        match doors.read().await {
            Ok(renewal) => {
                renewal.take_effect().await;
                tracing::info!("SIGHUP: certificates and revocation lists were read anew");
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(error = &error as &dyn std::error::Error, "SIGHUP: everything stays as it was, because of a file");
                }
            }
        }
    }
}
