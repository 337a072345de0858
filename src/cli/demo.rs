//! `tidegate demo`.

use std::process::ExitCode;
use std::time::Duration;

use super::Failure;
use crate::demo;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// End by itself after this time, with a summary: "30s", "5m"
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Print the demo's site as a file to learn from, and end
    #[arg(long)]
    print_config: bool,
}

/// Exit code 0: all that was published has arrived upstream, once.
pub fn demo(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.print_config {
        demo::print(demo::site::EXAMPLE);
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = demo::run(demo::Options { length: arguments.duration }).map_err(Failure::new)?;
    demo::print(&format!("{outcome}\n"));
    Ok(ExitCode::from(u8::from(!outcome.is_good())))
}
