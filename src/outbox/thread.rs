//! The store's thread: it owns the only connection to the file. Jobs come in by one channel, reports go out by another.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc;

use super::claim::Claim;
use super::job::{Job, Report};
use super::store::File;
use super::{ClockTrust, recover, system};
use crate::clock;
use crate::faults::{self, PartFault};
use crate::stats::Heartbeat;

/// One job is with the store at a time; one more place keeps the sender from ever waiting.
const JOBS: usize = 2;
const REPORTS: usize = 4;

/// The way to the store's thread. When it is dropped, the thread ends.
#[derive(Debug)]
pub struct Handle {
    pub jobs: SyncSender<Job>,
    /// The first is [`Report::Opened`].
    pub reports: mpsc::Receiver<Report>,
}

/// Starts the thread, which opens the file.
///
/// # Errors
/// The system's, if it has no thread to give.
pub fn spawn(path: PathBuf, upstreams: Vec<Arc<str>>, claim: Claim, trust: ClockTrust, heartbeat: Heartbeat) -> std::io::Result<Handle> {
    let (jobs, job_receiver) = sync_channel(JOBS);
    let (report_sender, reports) = mpsc::channel(REPORTS);
    let body = move || {
        let (file, opened) = recover::open(&path, &upstreams, claim, &system::moment(trust), trust);
        if report_sender.blocking_send(Report::Opened(opened)).is_ok() {
            serve(file, &job_receiver, &report_sender, &heartbeat);
        }
    };
    std::thread::Builder::new().name("store".to_owned()).spawn(body)?;
    Ok(Handle { jobs, reports })
}

fn serve(mut file: File, jobs: &Receiver<Job>, reports: &mpsc::Sender<Report>, heartbeat: &Heartbeat) {
    loop {
        heartbeat.beat();
        match faults::part(heartbeat.part()) {
            Some(PartFault::Hang) => loop {
                clock::block_for(Duration::from_secs(3_600));
            },
            Some(PartFault::End) => return,
            None => {}
        }
        let job = match jobs.recv_timeout(heartbeat.every()) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let last = matches!(job, Job::Close { .. });
        let report = file.run(job);
        if last {
            // Closed and unlocked before anybody hears of it.
            drop(file);
            let _ended = reports.blocking_send(report);
            return;
        }
        if reports.blocking_send(report).is_err() {
            return;
        }
    }
}
