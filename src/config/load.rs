//! Reads the site's file, and asks what of the process matters to it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Environment, Errors, Site, parse};

/// Largest site's file in bytes; a larger one is none.
const FILE_MAX: u64 = 4 << 20;

/// Reads and checks the site's file at `path`.
///
/// # Errors
/// It cannot be read, or every mistake in it.
pub fn load(path: &Path) -> Result<Site, Errors> {
    let name = path.display().to_string();
    let unreadable = |cause: &dyn std::fmt::Display| Errors::unreadable(&name, cause);
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        return Err(unreadable(&"it is a folder"));
    }
    // The length that the kernel tells says nothing of a pipe or a device.
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(unreadable(&format_args!("it has more than {FILE_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        unreadable(&format_args!("line {line} is not UTF-8"))
    })?;
    parse(&text, &name, &environment())
}

fn environment() -> Environment {
    // systemd gives several state directories separated by colons; ours is the first.
    let first = |name: &str| {
        let value = std::env::var(name).ok()?;
        value.split(':').next().filter(|path| path.starts_with('/')).map(PathBuf::from)
    };
    Environment {
        state_directory: first("STATE_DIRECTORY"),
        credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        file_exists: Path::exists,
        variable_exists: |name| std::env::var_os(name).is_some(),
    }
}
