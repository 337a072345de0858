//! The demo's folder: its store, and links to its ports. Removed at the end.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

/// A folder of our own under the system's folder for temporary files; removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn create() -> io::Result<Self> {
        let id = getrandom::u32().map_err(io::Error::other)?;
        let path = std::env::temp_dir().join(format!("tidegate-demo-{id:08x}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A name for a port, like those in `/dev/serial/by-id`: it can go when the device goes, while the kernel may give the terminal's own name to
    /// somebody else at once.
    pub fn link(&self, name: &str, port: &Path) -> io::Result<PathBuf> {
        let link = self.0.join(name);
        symlink(port, &link)?;
        Ok(link)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "cannot remove the demo's folder");
        }
    }
}

/// Takes a port's name away.
pub fn unlink(link: &Path) {
    // Gone already is what is wanted.
    let _ = std::fs::remove_file(link);
}
