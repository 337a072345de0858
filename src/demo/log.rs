//! The last warnings, to be shown under the table instead of across it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

/// Lines that are kept; the oldest goes.
const LINES_MAX: usize = 3;

/// The end of the log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    /// From now on warnings and errors come here, if nothing else was set up before.
    pub fn install(&self) {
        let tail = self.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || tail.clone()).with_ansi(false).with_target(false).without_time();
        let registry = tracing_subscriber::registry().with(Targets::new().with_default(Level::WARN)).with(layer);
        // One that is there already shows them in its way.
        let _ = tracing::subscriber::set_global_default(registry);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Write for LogTail {
    /// The formatter writes each event whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(event).trim().to_owned());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
