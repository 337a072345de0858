//! `tidegate import`: the site's file of a `mosquitto.conf`, and what did not carry over.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Failure;
use crate::config::import::{self, Files, Request};

/// Largest file that is read; a larger one is none of Mosquitto's.
const FILE_MAX: u64 = 8 << 20;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Mosquitto's file; those of its include_dir are read, too
    #[arg(value_name = "MOSQUITTO.CONF")]
    file: PathBuf,
    /// Where the site's file is written, which must not be there yet; without it, to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Folder to which password files, access lists and bridges' passwords are copied; without it the first two are used where they are
    #[arg(long, value_name = "DIR")]
    copy_to: Option<PathBuf>,
    /// Name of the gateway; without it, that of this machine
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Exit code 1 if anything did not carry over or means something else
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Read(String),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

pub fn import(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let file = std::path::absolute(&arguments.file).map_err(Failure::wrong)?;
    let lines = import::gather(&file, &Disk).map_err(|why| Failure::wrong(Error::Read(why)))?;
    let copy_to = arguments.copy_to.as_deref().map(std::path::absolute).transpose().map_err(Failure::new)?;
    let id = arguments.id.clone().unwrap_or_else(host_name);
    let import = import::convert(&lines, &Disk, Request { id: &id, copy_to: copy_to.as_deref() });
    // All or nothing: the next try would find what this one has left.
    for path in import.files.iter().map(|file| &file.path).chain(&arguments.output) {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new(Error::Write { path: path.clone(), source: io::ErrorKind::AlreadyExists.into() }));
        }
    }
    if let Some(folder) = &copy_to {
        fs::create_dir_all(folder).map_err(|source| Failure::new(Error::Write { path: folder.clone(), source }))?;
    }
    for file in &import.files {
        write(&file.path, &file.bytes, 0o640)?;
    }
    match &arguments.output {
        Some(path) => write(path, import.site.as_bytes(), 0o644)?,
        None => super::answer(&import.site)?,
    }
    for left in &import.left {
        super::complain(&left.to_string());
    }
    if let Some(mistakes) = import.mistakes {
        return Err(Failure::new(mistakes));
    }
    Ok(if arguments.strict && !import.left.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is there already is somebody's. A new file belongs to its folder's group: in /etc/tidegate that is the gateway's.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let make = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let group = fs::metadata(folder)?.gid();
        if group != file.metadata()?.gid() {
            // Who may not give it to that group has made a file of its own.
            let _ = fchown(&file, None, Some(group));
        }
        file.write_all(bytes)?;
        file.sync_all()
    };
    make().map_err(|source| Failure::new(Error::Write { path: path.to_owned(), source }))
}

/// The machine's name as a level of a topic.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).take(64).collect();
    if name.is_empty() { "gateway".to_owned() } else { name }
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let fail = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        let size = fs::metadata(path).map_err(fail)?.len();
        if size > FILE_MAX {
            return Err(format!("{} has more than {FILE_MAX} bytes", path.display()));
        }
        fs::read(path).map_err(fail)
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        let fail = |error: io::Error| format!("{} cannot be read: {error}", folder.display());
        fs::read_dir(folder).map_err(fail)?.map(|entry| entry.map(|entry| entry.path()).map_err(fail)).collect()
    }
}
