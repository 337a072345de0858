//! The files in which a site says who there is: read whole, and replaced whole.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, Mode, Uid, fchmod, fchown, flock};

use super::acl::{self, Acl};
use super::users::{Users, UsersError};

/// Longest file in bytes; a longer one is refused.
const FILE_MAX: u64 = 8 << 20;

/// Of a users file that we make: its owner, and the gateway by its group.
const MODE: u32 = 0o640;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: it has more than {FILE_MAX} bytes", path.display())]
    Long { path: PathBuf },
    #[error("{}:{}: {}", path.display(), mistake.line, mistake.what)]
    Users { path: PathBuf, mistake: UsersError },
    #[error("{}:{}: {}", path.display(), mistake.line, mistake.cause)]
    Acl { path: PathBuf, mistake: acl::Mistake },
}

/// Reads and checks a users file. Blocks on the disk.
///
/// # Errors
/// It cannot be read, or the first mistake in it.
pub fn users(path: &Path) -> Result<Users, FileError> {
    Users::parse(&read(path)?).map_err(|mistake| FileError::Users { path: path.to_owned(), mistake })
}

/// Reads and checks an access list. Blocks on the disk.
///
/// # Errors
/// It cannot be read, or the first mistake in it.
pub fn acl(path: &Path) -> Result<Acl, FileError> {
    Acl::parse(&read(path)?).map_err(|mistake| FileError::Acl { path: path.to_owned(), mistake })
}

/// All of a file. Blocks on the disk.
///
/// # Errors
/// It cannot be read, or is longer than any such file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let fail = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > FILE_MAX { Err(FileError::Long { path: path.to_owned() }) } else { Ok(bytes) }
}

/// A file that is being changed: nobody else who does it this way changes it meanwhile.
#[derive(Debug)]
pub struct Edit {
    path: PathBuf,
    /// What was there; `None`: no file.
    pub before: Option<Vec<u8>>,
    /// Holds the folder's lock.
    folder: File,
}

impl Edit {
    /// Waits for others that change files of this folder.
    ///
    /// # Errors
    /// The folder is not there or closed to us, or the file cannot be read.
    pub fn begin(path: &Path) -> Result<Self, FileError> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let fail = |source| FileError::Write { path: path.clone(), source };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = File::open(folder).map_err(fail)?;
        flock(&folder, FlockOperation::LockExclusive).map_err(|error| fail(error.into()))?;
        let before = match read(&path) {
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            before => Some(before?),
        };
        Ok(Self { path, before, folder })
    }

    /// Puts `text` in the file's place, at once and on the disk: whoever reads sees the old text or the new one. The file keeps its owner, and
    /// nobody gets rights that it did not give; a new one belongs to its folder's group.
    ///
    /// # Errors
    /// It could not be written; the old file is as it was.
    pub fn finish(self, text: &[u8]) -> Result<(), FileError> {
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let done = self.write(&beside, text).and_then(|()| fs::rename(&beside, &self.path)).and_then(|()| self.folder.sync_all());
        done.map_err(|source| {
            // What was written of it is of no use; that it stays there is no harm.
            let _ = fs::remove_file(&beside);
            FileError::Write { path: self.path.clone(), source }
        })
    }

    fn write(&self, beside: &Path, text: &[u8]) -> io::Result<()> {
        // One that was left by a crash is nobody's: the folder is locked.
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        let made = file.metadata()?;
        let mode = match fs::metadata(&self.path) {
            Ok(old) => {
                if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
                    fchown(&file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
                }
                old.mode() & MODE
            }
            Err(_) => {
                let group = self.folder.metadata()?.gid();
                // Who may not give it to that group has made a file of its own.
                if group != made.gid() && fchown(&file, None, Some(Gid::from_raw(group))).is_err() {
                    tracing::debug!(path = %self.path.display(), "the file belongs to another group than its folder");
                }
                MODE
            }
        };
        fchmod(&file, Mode::from_raw_mode(mode | 0o600))?;
        file.write_all(text)?;
        file.sync_all()
    }
}
