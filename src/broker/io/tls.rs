//! A listener's TLS: its files → what a handshake wants. rustls with ring, named explicitly, so that no process-wide default decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig, VerifierBuilderError, WebPkiClientVerifier};

use super::super::door::{Clients, Tls};
use crate::model::Wall;
use crate::pem;
use crate::transport::certificate::common_name;

/// Tickets that a client gets, to come back without the costly half of a handshake.
const TICKETS: usize = 1;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] pem::Error),
    #[error("{} holds a certificate that cannot be used: {source}", path.display())]
    BadCertificate { path: PathBuf, source: rustls::Error },
    #[error("the certificate {} and the key {} cannot be used together: {source}", cert.display(), key.display())]
    Identity { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{} and {} cannot be used: {source}", ca.display(), crl.display())]
    List { ca: PathBuf, crl: PathBuf, source: VerifierBuilderError },
    #[error("{} cannot be used: {source}", ca.display())]
    Authorities { ca: PathBuf, source: VerifierBuilderError },
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// Whether a listener can be opened with these files. Blocks on the disk.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn check(&self) -> Result<(), TlsError> {
        Secured::read(self).map(drop)
    }
}

/// What a listener's handshakes want, until its files are read again.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Secured {
    pub(in crate::broker) config: Arc<ServerConfig>,
    /// `None`: clients are not asked for certificates.
    pub(in crate::broker) clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Secured {
    /// Reads the files. Blocks on the disk.
    pub(in crate::broker) fn read(tls: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let clients = tls.clients.as_ref().map(|clients| verifier(clients, &provider)).transpose()?;
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let (cert, key) = (&tls.cert, &tls.key);
        let mut config = builder
            .with_single_cert(pem::certificates(cert)?, pem::private_key(key)?)
            .map_err(|source| TlsError::Identity { cert: cert.clone(), key: key.clone(), source })?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Who comes back by a ticket shows no certificate, so one that has been revoked or has expired since would pass.
        if clients.is_none() {
            config.ticketer = ring::Ticketer::new()?;
            config.send_tls13_tickets = TICKETS;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(Self { config: Arc::new(config), clients })
    }

    /// Whether a client that showed this chain would still be let in.
    pub(in crate::broker) fn still_accepts(&self, chain: Option<&[CertificateDer<'_>]>, now: Wall) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now.0).unwrap_or(0)));
        match (&self.clients, chain.and_then(<[_]>::split_first)) {
            (None, _) => true,
            (Some(verifier), None) => !verifier.client_auth_mandatory(),
            (Some(verifier), Some((own, others))) => verifier.verify_client_cert(own, others, now).is_ok(),
        }
    }
}

/// The user that a verified chain stands for: what the listener calls the common name of its first, else `cert:NAME`.
pub(in crate::broker) fn user_of(chain: &[CertificateDer<'_>], clients: &Clients) -> Option<Arc<str>> {
    let name = common_name(chain.first()?)?;
    Some(clients.names.get(name).cloned().unwrap_or_else(|| format!("cert:{name}").into()))
}

fn verifier(clients: &Clients, provider: &Arc<rustls::crypto::CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let ca = &clients.ca;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), Arc::clone(provider));
    if let Some(crl) = &clients.crl {
        // An authority between may have no list of its own; one whose clients' certificates are of no list is no reason to let them in.
        builder = builder.with_crls(pem::revocation_lists(crl)?).only_check_end_entity_revocation();
    }
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|source| match &clients.crl {
        Some(crl) => TlsError::List { ca: ca.clone(), crl: crl.clone(), source },
        None => TlsError::Authorities { ca: ca.clone(), source },
    })
}

fn roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(ca)? {
        roots.add(certificate).map_err(|source| TlsError::BadCertificate { path: ca.to_owned(), source })?;
    }
    Ok(roots)
}
