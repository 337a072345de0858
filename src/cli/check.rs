//! `tidegate check`: every mistake of a site's file, or one line that says what it holds.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site's file
    #[arg(value_name = "FILE", default_value = super::CONFIG_PATH)]
    file: PathBuf,
}

pub fn check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let site = config::load(&arguments.file).map_err(Failure::wrong)?;
    for warning in &site.warnings {
        super::complain(&format!("{warning}\n"));
    }
    super::answer(&format!("{}\n", site.summary()))?;
    Ok(ExitCode::SUCCESS)
}
