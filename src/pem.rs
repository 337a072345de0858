//! PEM files: certificates, keys, revocation lists. Shared by what connects by TLS and what listens for it.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no PEM file: {source}", path.display())]
    Form { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key in PEM form", path.display())]
    NoKey { path: PathBuf },
    #[error("{} holds no revocation list in PEM form", path.display())]
    NoList { path: PathBuf },
}

/// All certificates of a file, at least one, in its order. Blocks on the disk, as all here does.
///
/// # Errors
/// Says which file is wrong, and how.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| error(path, e))?;
    if all.is_empty() { Err(Error::NoCertificate { path: path.to_owned() }) } else { Ok(all) }
}

/// The first private key of a file, in whatever of the usual forms.
///
/// # Errors
/// As for [`certificates`]. Nothing of the key is in what they say.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| match e {
        pem::Error::NoItemsFound => Error::NoKey { path: path.to_owned() },
        e => error(path, e),
    })
}

/// All revocation lists of a file, at least one.
///
/// # Errors
/// As for [`certificates`].
pub fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let all: Vec<_> = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| error(path, e))?;
    if all.is_empty() { Err(Error::NoList { path: path.to_owned() }) } else { Ok(all) }
}

fn error(path: &Path, error: pem::Error) -> Error {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => Error::Read { path, source },
        source => Error::Form { path, source },
    }
}
