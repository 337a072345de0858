//! `tidegate run`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site's file
    #[arg(long, short, value_name = "FILE", default_value = super::CONFIG_PATH)]
    config: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let _site = config::load(&arguments.config).map_err(Failure::wrong)?;
    Err(Failure::new("`tidegate run` is not built yet"))
}
