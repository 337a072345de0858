//! `tidegate demo`.

use std::process::ExitCode;
use std::time::Duration;

use super::Failure;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// End by itself after this time, with a summary: "30s", "5m"
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

pub fn demo(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { duration: _ } = arguments;
    Err(Failure::new("`tidegate demo` is not built yet"))
}
