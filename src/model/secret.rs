//! Where a secret is to be had. The secret itself is read when it is needed and kept by nobody, so a rotated one is taken at the next connect.

use std::fmt;
use std::path::PathBuf;

/// A reference to a secret. No form holds the secret, so this may be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// `{ file = "/path" }`: the file's text; one newline at its end is not part of it.
    File(PathBuf),
    /// `{ env = "NAME" }`.
    Env(String),
    /// `{ credential = "name" }`: a file of that name in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`).
    Credential(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret's file {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the environment has no variable {0}")]
    Env(String),
    #[error("credential {0:?}: CREDENTIALS_DIRECTORY is not set; add LoadCredential={0}:/path to the unit")]
    NoCredentials(String),
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}
