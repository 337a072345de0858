//! `tidegate check`: every mistake of a site's file, or one line that says what it holds. Users, rights and certificates that it names are read, too:
//! with a mistake in one of them the gateway would not start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Failure;
use crate::access::file::{self, FileError};
use crate::{broker, config};

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
    let mistakes = in_other_files(&site.broker);
    for mistake in &mistakes {
        super::complain(&format!("{mistake}\n"));
    }
    if !mistakes.is_empty() {
        return Ok(ExitCode::from(2));
    }
    super::answer(&format!("{}\n", site.summary()))?;
    Ok(ExitCode::SUCCESS)
}

/// One of each file. Those that are not there, or closed to who asks, have their warnings.
fn in_other_files(options: &broker::Options) -> BTreeSet<String> {
    let mut mistakes = BTreeSet::new();
    let mut add = |error: &dyn std::error::Error| {
        mistakes.insert(super::chain(error));
    };
    for listener in &options.listeners {
        if let Some(error) = there(listener.users.as_deref()).and_then(|path| file::users(path).err()) {
            add(&error);
        }
        if let Some(error) = there(listener.acl.as_deref()).and_then(|path| file::acl(path).err()) {
            add(&error);
        }
        let Some(tls) = &listener.tls else { continue };
        let clients = tls.clients.as_ref();
        let crl = clients.and_then(|clients| clients.crl.as_deref());
        let named = [Some(tls.cert.as_path()), Some(&tls.key), clients.map(|clients| clients.ca.as_path()), crl];
        if named.iter().flatten().all(|path| there(Some(path)).is_some())
            && let Err(error) = tls.check()
        {
            add(&error);
        }
    }
    if let Some(error) = there(options.acl.as_deref()).and_then(|path| file::acl(path).err()) {
        add(&error);
    }
    mistakes
}

fn there(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !matches!(file::read(path), Err(FileError::Read { .. })))
}
