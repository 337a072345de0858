//! The thread that holds passwords against their hashes: one at a time, beside all else, and nicer than all else.

use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::passwords::Question;
use crate::access::password::Room;

/// Its niceness: on a board with one core, a client that logs in must not keep the others waiting.
const NICE: i32 = 10;

/// How long the memory of a hash is kept for the next one.
const KEEP_ROOM: Duration = Duration::from_secs(2);

/// The broker's end of the thread. Dropped, it lets the thread end after its last answer.
#[derive(Debug)]
pub(in crate::broker) struct Hasher {
    ask: std_mpsc::Sender<Question>,
    /// Whether it was the password.
    pub(in crate::broker) answers: mpsc::Receiver<bool>,
}

impl Hasher {
    /// # Errors
    /// The system has no thread left.
    pub(in crate::broker) fn start() -> std::io::Result<Self> {
        let (ask, questions) = std_mpsc::channel();
        // One question is under way at a time, so an answer never has to wait.
        let (answer, answers) = mpsc::channel(1);
        std::thread::Builder::new().name("hash".to_owned()).spawn(move || work(&questions, &answer))?;
        Ok(Self { ask, answers })
    }

    /// The thread must not be busy.
    pub(in crate::broker) fn ask(&self, question: Question) {
        // It ends after this end of it.
        let _ = self.ask.send(question);
    }
}

fn work(questions: &std_mpsc::Receiver<Question>, answer: &mpsc::Sender<bool>) {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the thread that checks passwords is as urgent as others");
    }
    let mut room = Room::default();
    loop {
        let question = match questions.recv_timeout(KEEP_ROOM) {
            Ok(question) => question,
            Err(RecvTimeoutError::Timeout) => {
                room = Room::default();
                match questions.recv() {
                    Ok(question) => question,
                    Err(_) => return,
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Question { hash, password } = question;
        let right = hash.is_of_in(&password, &mut room);
        drop(password);
        if answer.blocking_send(right).is_err() {
            return;
        }
    }
}
