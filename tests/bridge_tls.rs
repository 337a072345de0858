//! `mqtts://` and log-in against Mosquitto: who is let in, who is not, and whether the message says why.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate::bridge::{Auth, Options, Tls};
use tidegate::model::Secret;
use tidegate::model::status::UpstreamState;

use crate::harness::bridge::{Rig, impatient, options};
use crate::harness::certificates::Certificates;
use crate::harness::mosquitto::{self, Mosquitto, TlsFiles};
use crate::harness::receiver::Receiver;

const LONG: Duration = Duration::from_secs(30);

fn broker(certificates: &Certificates, clients_too: bool) -> Mosquitto {
    let (cert, key) = certificates.server.clone();
    let tls = TlsFiles { ca: certificates.ca.clone(), cert, key, clients_too };
    Mosquitto::with(&mosquitto::Options { tls: Some(tls), ..mosquitto::Options::default() })
}

fn over_tls(broker: &Mosquitto, ca: &Path, identity: Option<&(PathBuf, PathBuf)>) -> Options {
    let tls = Tls { ca: Some(ca.to_owned()), identity: identity.cloned() };
    Options { tls: Some(tls), host: "localhost".to_owned(), ..options(broker.tls_port()) }
}

fn is_let_in(broker: &Mosquitto, options: Options) {
    let receiver = Receiver::start(broker.port(), "#");
    let rig = Rig::start(options, impatient());
    rig.put_numbers(1, 20);
    rig.wait_settled(20, LONG);
    assert!(receiver.wait_for(20, LONG), "{}", broker.log());
    assert!(rig.dead().is_empty());
}

/// It is tried again, and the status shows an error with each of these words.
fn is_not_let_in(options: Options, words: &[&str]) {
    let rig = Rig::start(options, impatient());
    rig.put_numbers(1, 1);
    let status = rig.wait_status("an error", LONG, |s| s.last_error.is_some());
    let error = status.last_error.unwrap_or_default();
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error:?}");
    assert_ne!(status.state, UpstreamState::Connected);
    assert_eq!((status.connects, rig.settled().len()), (0, 0));
}

#[test]
fn a_server_of_our_own_ca_is_believed_by_its_name() {
    let certificates = Certificates::make();
    let broker = broker(&certificates, false);
    is_let_in(&broker, over_tls(&broker, &certificates.ca, None));
    let by_address = Options { host: "127.0.0.1".to_owned(), ..over_tls(&broker, &certificates.ca, None) };
    is_not_let_in(by_address, &["not valid for name", "127.0.0.1"]);
    is_not_let_in(over_tls(&broker, &certificates.other_ca, None), &["certificate", "UnknownIssuer"]);
    let with_the_systems = Options { tls: Some(Tls::default()), ..over_tls(&broker, &certificates.ca, None) };
    is_not_let_in(with_the_systems, &["certificate"]);
    let plain = Options { tls: None, ..over_tls(&broker, &certificates.ca, None) };
    is_not_let_in(plain, &["closed"]);
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let certificates = Certificates::make();
    let broker = broker(&certificates, true);
    is_let_in(&broker, over_tls(&broker, &certificates.ca, Some(&certificates.client)));
    is_not_let_in(over_tls(&broker, &certificates.ca, Some(&certificates.stranger)), &["alert"]);
    is_not_let_in(over_tls(&broker, &certificates.ca, None), &["alert"]);
    let wrong_key = (certificates.client.0.clone(), certificates.server.1.clone());
    is_not_let_in(over_tls(&broker, &certificates.ca, Some(&wrong_key)), &["client.pem", "server.key", "cannot be used together"]);
    let no_key = (certificates.client.0.clone(), certificates.client.0.clone());
    is_not_let_in(over_tls(&broker, &certificates.ca, Some(&no_key)), &["client.pem", "no private key"]);
    is_not_let_in(over_tls(&broker, Path::new("/nowhere/ca.pem"), None), &["/nowhere/ca.pem", "No such file"]);
}

#[test]
fn a_password_is_read_at_each_connect() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    fs::write(&file, "wrong\n").expect("a file");
    let password = Some(("site7".to_owned(), "s3cret".to_owned()));
    let broker = Mosquitto::with(&mosquitto::Options { password, ..mosquitto::Options::default() });
    let auth = Auth { user: "site7".to_owned(), password: Some(Secret::File(file.clone())) };
    let rig = Rig::start(Options { auth: Some(auth), ..options(broker.port()) }, impatient());
    rig.put_numbers(1, 10);
    let error =
        |words: &'static str| move |s: &tidegate::model::status::UpstreamStatus| s.last_error.as_ref().is_some_and(|e| e.contains(words));
    let refused = rig.wait_status("refused", LONG, error("not authorized"));
    assert_eq!((refused.connects, refused.acknowledged), (0, 0));
    fs::remove_file(&file).expect("removed");
    rig.wait_status("no file", LONG, error("cannot read the secret's file"));
    fs::write(&file, "s3cret\n").expect("a file");
    rig.wait_settled(10, LONG);
    assert_eq!(rig.status().state, UpstreamState::Connected);
    let status = format!("{:?}", rig.status());
    assert!(!status.contains("s3cret"), "{status}");
}
