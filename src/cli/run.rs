//! `tidegate run`.

use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failure;
use crate::config;
use crate::daemon::{self, Setup, Stop};
use crate::ops::{control, log};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site's file
    #[arg(long, short, value_name = "FILE", default_value = super::CONFIG_PATH)]
    config: PathBuf,
    /// The control socket that `status` asks [default: in $RUNTIME_DIRECTORY or /run/tidegate]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let site = config::load(&arguments.config).map_err(Failure::wrong)?;
    log::init(tracing::Level::INFO);
    for warning in &site.warnings {
        // The whole block, with the offending line, is what `check` is for.
        let line = warning.place.as_ref().map_or(0, |place| place.line);
        tracing::warn!(file = %arguments.config.display(), line, "{}", warning.title);
    }
    raise_descriptors(site.broker.limits.connections_max);
    let socket = arguments.socket.clone().unwrap_or_else(control::default_path);
    let setup = Setup { stop: Stop::Signals, socket: Some(socket), ready: None, counted: None };
    daemon::run(site, setup).map_err(|error| if error.is_setup() { Failure::wrong(error) } else { Failure::new(error) })?;
    Ok(ExitCode::SUCCESS)
}

/// Descriptors for files, ports, upstreams, the store.
const OTHER_DESCRIPTORS: u64 = 128;

/// A process begins with a low limit of descriptors, for the sake of programs that use `select`; each connection takes one.
fn raise_descriptors(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = &raised {
        tracing::warn!(%error, "cannot raise the limit of descriptors");
    }
    let descriptors = if raised.is_ok() { limit.maximum } else { limit.current };
    if let Some(descriptors) = descriptors.filter(|max| *max < connections_max as u64 + OTHER_DESCRIPTORS) {
        tracing::warn!(descriptors, connections_max, "fewer connections than connections_max can be open: raise LimitNOFILE");
    }
}
