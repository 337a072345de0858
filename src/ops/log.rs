//! Where log lines go: to the journal with fields as fields when systemd reads our stderr, else to the console.

use std::fmt::Write;

use log::Log;
use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The environment variable with the filter: a level (`debug`), or `target=level` pairs (`info,tidegate::bus=trace`).
pub const FILTER_VARIABLE: &str = "TIDEGATE_LOG";

/// Sets up logging for the whole process. Called once, before the first log line; a second call changes nothing.
pub fn init(default: Level) {
    let wanted = std::env::var(FILTER_VARIABLE).ok();
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let filter = match &parsed {
        Some(Ok(targets)) => targets.clone(),
        _ => Targets::new().with_default(default),
    };
    let journal = connected_to_journal().then(JournalLog::new).and_then(Result::ok);
    let registry = tracing_subscriber::registry().with(filter);
    let set = match journal {
        Some(logger) => tracing::subscriber::set_global_default(registry.with(Journal { logger })),
        None => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let console = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false);
            tracing::subscriber::set_global_default(registry.with(console))
        }
    };
    if set.is_ok()
        && let Some(Err(error)) = parsed
    {
        tracing::warn!(%error, "{FILTER_VARIABLE} is no filter; logging at {default}");
    }
}

/// tracing → the journal. `tracing`'s own `log` feature would flatten the fields into the message. Here they are fields; and they stand behind the
/// message, too, since `journalctl` shows nothing else: "the device does not answer" must say which.
struct Journal {
    logger: JournalLog,
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.logger.log(
            &log::Record::builder()
                .args(format_args!("{}{}", fields.message, fields.shown))
                .level(level(metadata))
                .target(metadata.target())
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .key_values(&fields.pairs)
                .build(),
        );
    }
}

fn level(metadata: &Metadata<'_>) -> log::Level {
    match *metadata.level() {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, String)>,
    /// The pairs as on the console: ` name=value name=value`.
    shown: String,
}

impl Fields {
    fn push(&mut self, name: &'static str, value: String) {
        // Writing to a String cannot fail.
        let _ = write!(self.shown, " {name}={value}");
        self.pairs.push((name, value));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.push(field.name(), value.to_owned());
        }
    }

    /// With its causes, which the trait's own way leaves out.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Writing to a String cannot fail.
            let _ = write!(chain, ": {cause}");
            source = cause.source();
        }
        self.push(field.name(), chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.push(field.name(), format!("{value:?}"));
        }
    }
}
