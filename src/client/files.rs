//! Reads what is to be sent.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::Error;
use crate::mqtt::VARINT_MAX;

/// The whole file; longer than any packet it is an error.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let all = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(VARINT_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > VARINT_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than an MQTT packet may be"));
        }
        Ok(bytes)
    };
    all().map_err(|source| Error::File { path: path.to_owned(), source })
}
