//! Reads a secret where the site's file says it is.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::model::{Secret, SecretError};

/// Longest secret, in bytes: what one MQTT string can carry (3.1.1, 1.5.3). A longer file is an error.
const SECRET_MAX: u64 = 65_535;

/// The secret's text; one newline at the end of a file is not part of it. May block on a disk.
///
/// # Errors
/// It is not there, cannot be read, is no UTF-8, or is longer than an MQTT password can be.
pub fn read(secret: &Secret) -> Result<String, SecretError> {
    match secret {
        Secret::File(path) => file(path),
        Secret::Env(name) => env::var(name).map_err(|_| SecretError::Env(name.clone())),
        Secret::Credential(name) => {
            let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
            file(&PathBuf::from(folder).join(name))
        }
    }
}

fn file(path: &Path) -> Result<String, SecretError> {
    let text = || -> io::Result<String> {
        let mut text = String::new();
        fs::File::open(path)?.take(SECRET_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > SECRET_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 65535 bytes"));
        }
        Ok(text)
    };
    let mut text = text().map_err(|source| SecretError::File { path: path.to_owned(), source })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_secret() {
        let dir = tempfile::tempdir().expect("a folder");
        for (written, want) in [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), ("pw\n\n", "pw\n"), (" pw ", " pw "), ("", "")] {
            let path = dir.path().join("secret");
            fs::write(&path, written).expect("a file");
            assert_eq!(read(&Secret::File(path)).expect("readable"), want, "{written:?}");
        }
    }

    #[test]
    fn an_absent_or_unusable_secret_says_where_it_was_sought() {
        let dir = tempfile::tempdir().expect("a folder");
        let long = dir.path().join("long");
        fs::write(&long, "x".repeat(65_536)).expect("a file");
        let binary = dir.path().join("binary");
        fs::write(&binary, b"\xff\xfe").expect("a file");
        for path in [dir.path().join("absent"), long, binary] {
            let error = read(&Secret::File(path.clone())).expect_err("unusable").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        let error = read(&Secret::Env("TIDEGATE_NO_SUCH_SECRET".into())).expect_err("not set").to_string();
        assert!(error.contains("TIDEGATE_NO_SUCH_SECRET"), "{error}");
    }
}
