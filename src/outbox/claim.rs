//! Who may use the store: one process at a time, and the second is told who has it.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Error;

/// Held for as long as the process uses the file.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the descriptor")] fs::File);

/// The right to use the store at a path, or the reason why it cannot be used at all. Taken before any part starts, so that a second instance
/// hears of the first one and not of the port that both want.
#[derive(Debug)]
pub struct Claim(pub(super) Result<Lock, String>);

/// Takes the store at `path` for this process; its folder is made if it is not there.
///
/// # Errors
/// [`Error::Held`] only.
pub fn claim(path: &Path) -> Result<Claim, Error> {
    match lock(path) {
        Ok(lock) => Ok(Claim(Ok(lock))),
        Err(LockError::Held(holder)) => Err(Error::Held { path: path.to_owned(), holder }),
        Err(LockError::Io(error)) => Ok(Claim(Err(error.to_string()))),
    }
}

enum LockError {
    /// Who holds it, ready to follow "another process".
    Held(String),
    Io(io::Error),
}

/// SQLite's own lock is taken too, but cannot say who holds it.
fn lock(path: &Path) -> Result<Lock, LockError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(LockError::Io)?;
    }
    let options = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    let mut file = options.open(beside(path, ".lock")).map_err(LockError::Io)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
        return Err(LockError::Held(if known { format!(": {}", holder.trim()) } else { String::new() }));
    }
    let command: Vec<String> = std::env::args().collect();
    let told = file.set_len(0).and_then(|()| file.rewind());
    // The text is for people; the lock is held without it.
    let _untold = told.and_then(|()| writeln!(file, "pid {} ({})", std::process::id(), command.join(" ")));
    Ok(Lock(file))
}

/// The path of a file that stands beside the store: its name and `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
