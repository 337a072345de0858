//! The life of the process, as its parts see it.

/// How far a shutdown has come: it follows the way of a message, so that nothing arrives at a part that has ended.
/// Each part watches for the first phase that concerns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    #[default]
    Running,
    /// Ports close; no more readings.
    StopBuses,
    /// The broker reads no more from clients and takes no more connections; what it accepted goes to the outbox and acks leave as they become due.
    /// The outbox commits without waiting for batches to fill ("drain" of outbox.md 6).
    StopBroker,
    /// The bridge sends nothing new and hands in the acknowledgements it has.
    StopBridge,
    /// The outbox writes what is left, stores cursors and closes the file.
    StopOutbox,
}
