//! The TLS of `mqtts://`: rustls with ring, named explicitly, so that no process-wide default decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::Tls;
use crate::pem;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] pem::Error),
    #[error("{} holds a certificate that cannot be used: {source}", path.display())]
    BadCertificate { path: PathBuf, source: rustls::Error },
    #[error("the client certificate {} and the key {} cannot be used together: {source}", cert.display(), key.display())]
    Identity { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("this system has no root certificates (Debian: install ca-certificates), and tls.ca is not set: {0}")]
    NoSystemRoots(String),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Reads the files that `tls` names, and the system's root certificates if it names no CA. Blocks on the disk.
///
/// # Errors
/// Says which file is wrong, and how.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(pem::certificates(cert)?, pem::private_key(key)?)
            .map_err(|source| TlsError::Identity { cert: cert.clone(), key: key.clone(), source })?,
    };
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in pem::certificates(path)? {
            store.add(certificate).map_err(|source| TlsError::BadCertificate { path: path.to_owned(), source })?;
        }
        return Ok(store);
    }
    let system = rustls_native_certs::load_native_certs();
    // A system's store may hold a few that nobody can parse any more; the others are good.
    let (added, _) = store.add_parsable_certificates(system.certs);
    if added == 0 {
        let causes: Vec<_> = system.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoSystemRoots(causes.join("; ")));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let absent = dir.path().join("absent.pem");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").expect("a file");
        let torn = dir.path().join("torn.pem");
        std::fs::write(&torn, "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("a file");
        let junk = dir.path().join("junk.pem");
        std::fs::write(&junk, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("a file");
        for (path, want) in [
            (absent, "cannot read"),
            (empty, "holds no certificate"),
            (torn, "is no PEM file"),
            (junk, "holds a certificate that cannot be used"),
        ] {
            let error = client_config(&Tls { ca: Some(path.clone()), identity: None }).expect_err("unusable").to_string();
            assert!(error.contains(want) && error.contains(&path.display().to_string()), "{error}");
        }
    }
}
