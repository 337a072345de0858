//! The shutdown: phase by phase in the direction of flow, under one deadline.

use super::Error;
use super::build::Parts;
use crate::clock;
use crate::model::{Mono, Phase};

/// What each phase ends: the parts whose name begins so.
const PHASES: [(Phase, &str); 5] = [
    (Phase::StopBuses, "bus:"),
    (Phase::StopBroker, "doors"),
    (Phase::StopBroker, "broker"),
    (Phase::StopBridge, "bridge:"),
    (Phase::StopOutbox, "outbox"),
];

/// Takes the parts through the phases. A part that does not end in its share of the time is left behind, so that those after it still can.
///
/// # Errors
/// The first error of a part, else the first part that did not end in time.
pub(super) async fn drain(mut parts: Parts, deadline: Mono) -> Result<(), Error> {
    let mut result = Ok(());
    for (i, (phase, prefix)) in PHASES.into_iter().enumerate() {
        // Receivers may all be gone already.
        let _ = parts.phase.send(phase);
        let phases_left = u32::try_from(PHASES.len() - i).unwrap_or(1);
        let share = match phase {
            Phase::StopBroker => deadline.since(clock::mono()) * 2 / 3,
            _ => deadline.since(clock::mono()) / phases_left,
        };
        let until = clock::mono() + share;
        while let Some(part) = parts.running.iter().find(|name| name.starts_with(prefix)).cloned() {
            let Some(ended) = clock::before(until, parts.next_ended()).await else {
                tracing::error!(part, "did not end in time");
                result = result.and(Err(Error::Drain { part }));
                break;
            };
            result = result.and(ended.result);
        }
    }
    result
}
