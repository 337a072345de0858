//! `tidegate status`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// The running gateway's control socket [default: in $RUNTIME_DIRECTORY or /run/tidegate]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub fn status(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { json: _, socket: _ } = arguments;
    Err(Failure::new("`tidegate status` is not built yet"))
}
