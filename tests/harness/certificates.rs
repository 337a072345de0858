//! Certificates made by openssl for one test, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A CA, a server and a client of it, and another CA that signed nothing. PEM files.
#[derive(Debug)]
pub struct Certificates {
    pub ca: PathBuf,
    pub other_ca: PathBuf,
    pub server: (PathBuf, PathBuf),
    pub client: (PathBuf, PathBuf),
    /// Of the other CA.
    pub stranger: (PathBuf, PathBuf),
    _dir: TempDir,
}

impl Certificates {
    /// The server's is for the DNS name `localhost` alone.
    pub fn make() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (ca, other_ca) = (authority(dir.path(), "ca"), authority(dir.path(), "other"));
        let server = signed(dir.path(), "server", "ca", "subjectAltName=DNS:localhost");
        let client = signed(dir.path(), "client", "ca", "extendedKeyUsage=clientAuth");
        let stranger = signed(dir.path(), "stranger", "other", "extendedKeyUsage=clientAuth");
        Self { ca, other_ca, server, client, stranger, _dir: dir }
    }
}

fn authority(dir: &Path, name: &str) -> PathBuf {
    let subject = format!("/CN=test {name}");
    let (key, cert) = (format!("{name}.key"), format!("{name}.pem"));
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(dir, &[&["req", "-x509", "-days", "30", "-subj", &subject, "-keyout", &key, "-out", &cert][..], &new_key].concat());
    dir.join(cert)
}

fn signed(dir: &Path, name: &str, ca: &str, extension: &str) -> (PathBuf, PathBuf) {
    let subject = format!("/CN={name}");
    let (key, request, cert, extensions) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"), format!("{name}.ext"));
    fs::write(dir.join(&extensions), format!("{extension}\n")).expect("a file");
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(dir, &[&["req", "-subj", &subject, "-keyout", &key, "-out", &request][..], &new_key].concat());
    let (ca_cert, ca_key) = (format!("{ca}.pem"), format!("{ca}.key"));
    let by = ["-CA", &ca_cert, "-CAkey", &ca_key, "-CAcreateserial", "-days", "30", "-extfile", &extensions];
    openssl(dir, &[&["x509", "-req", "-in", &request, "-out", &cert][..], &by].concat());
    (dir.join(cert), dir.join(key))
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let out = Command::new("openssl").args(arguments).current_dir(dir).output().expect("the program openssl");
    assert!(out.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
}
