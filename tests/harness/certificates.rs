//! Certificates made by openssl for one test, in a folder of its own. The CA can sign more of them, revoke them and say which it has revoked.

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
    dir: TempDir,
}

/// What `openssl ca` wants to know.
const CA_CONFIG: &str = "[ca]\ndefault_ca = test\n[test]\ndatabase = index.txt\ndefault_md = sha256\ndefault_crl_days = 30\nserial = serial\n\
                         crlnumber = crlnumber\nnew_certs_dir = .\npolicy = any\nunique_subject = no\nx509_extensions = client\ncrl_extensions = list\n\
                         [any]\ncommonName = supplied\n[client]\nextendedKeyUsage = clientAuth\n[list]\nauthorityKeyIdentifier = keyid\n";

impl Certificates {
    /// The server's is for the DNS name `localhost` alone.
    pub fn make() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in [("ca.cnf", CA_CONFIG), ("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "01\n")] {
            fs::write(dir.path().join(name), text).expect("a file");
        }
        let (ca, other_ca) = (authority(dir.path(), "ca"), authority(dir.path(), "other"));
        let server = signed(dir.path(), "server", "ca", "subjectAltName=DNS:localhost");
        let client = signed(dir.path(), "client", "ca", "extendedKeyUsage=clientAuth");
        let stranger = signed(dir.path(), "stranger", "other", "extendedKeyUsage=clientAuth");
        Self { ca, other_ca, server, client, stranger, dir }
    }

    /// Another one of the CA, for a client of this name.
    pub fn client_named(&self, name: &str) -> (PathBuf, PathBuf) {
        self.by_the_ca(name, "20200101000000Z", "20490101000000Z")
    }

    /// One that was good in January 2020.
    pub fn expired(&self, name: &str) -> (PathBuf, PathBuf) {
        self.by_the_ca(name, "20200101000000Z", "20200201000000Z")
    }

    /// Another one for the server, in files of its own.
    pub fn renewed_server(&self) -> (PathBuf, PathBuf) {
        signed(self.dir.path(), "renewed", "ca", "subjectAltName=DNS:localhost")
    }

    /// The CA takes one back that [`Certificates::client_named`] made.
    pub fn revoke(&self, certificate: &Path) {
        self.ca(&["-revoke", &certificate.to_string_lossy()]);
    }

    /// Writes the list of what the CA has taken back so far, always to the same file.
    pub fn list(&self) -> PathBuf {
        self.ca(&["-gencrl", "-out", "ca.crl"]);
        self.dir.path().join("ca.crl")
    }

    fn by_the_ca(&self, name: &str, from: &str, to: &str) -> (PathBuf, PathBuf) {
        let (key, request, cert) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        openssl(self.dir.path(), &[&["req", "-subj", &format!("/CN={name}"), "-keyout", &key, "-out", &request][..], &new_key].concat());
        self.ca(&["-batch", "-notext", "-in", &request, "-out", &cert, "-startdate", from, "-enddate", to]);
        (self.dir.path().join(cert), self.dir.path().join(key))
    }

    fn ca(&self, arguments: &[&str]) {
        openssl(self.dir.path(), &[&["ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"][..], arguments].concat());
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
