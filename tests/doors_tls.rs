//! TLS at the broker's doors, with Mosquitto's clients: who believes whom, and what changes while clients are connected.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::certificates::Certificates;
use crate::harness::clients::{WITHIN, Way};
use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;
use crate::harness::{layers, wait_until};

/// A site with a door on loopback, its lines, and the way in without a certificate.
fn site(certificates: &Certificates, lines: &str) -> (Site, Way) {
    let port = free_port();
    let (cert, key) = &certificates.server;
    let (cert, key) = (cert.display(), key.display());
    let site = Site::new(&format!("[[broker.listener]]\nurl = \"tls://127.0.0.1:{port}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n{lines}\n"));
    (site, Way::tls(port, &certificates.ca))
}

#[test]
fn a_client_is_served_by_tls_if_it_believes_the_gateway() {
    let certificates = Certificates::make();
    let (site, way) = site(&certificates, "");
    let _gateway = site.start();
    let subscriber = way.subscribe("a/#");
    let large = "x".repeat(300_000);
    assert!(way.publish("a/b", "1").status.success());
    assert!(way.with(&["--tls-version", "tlsv1.2"]).publish("a/c", &large[..100]).status.success());
    assert_eq!((subscriber.next(), subscriber.next()), ("a/b 1".to_owned(), format!("a/c {}", &large[..100])));
    // More than one record, more than a socket takes at once.
    let file = site.path().join("large");
    fs::write(&file, &large).expect("a file");
    let sent = std::process::Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &site.port.to_string(), "-q", "1", "-t", "a/large", "-f"])
        .arg(&file)
        .status();
    assert!(sent.expect("it runs").success());
    assert_eq!(subscriber.next().len(), "a/large ".len() + large.len());
    let believes_another = Way::tls(port_of(&site), &certificates.other_ca);
    assert!(!believes_another.gets_in(), "the gateway is not of that CA");
    assert!(!Way::tcp("127.0.0.1", port_of(&site)).gets_in(), "there is no plain way in");
}

fn port_of(site: &Site) -> u16 {
    let text = fs::read_to_string(site.config()).expect("the site's file");
    let url = text.lines().find_map(|line| line.strip_prefix("url = \"tls://127.0.0.1:")).expect("a door");
    url.trim_end_matches('"').parse().expect("a port")
}

#[test]
fn only_clients_with_a_good_certificate_come_in_where_one_is_required() {
    let certificates = Certificates::make();
    let revoked = certificates.client_named("revoked");
    certificates.revoke(&revoked.0);
    let lines = format!("client_ca = \"{}\"\ncrl = \"{}\"", certificates.ca.display(), certificates.list().display());
    let (site, way) = site(&certificates, &lines);
    let _gateway = site.start();
    assert!(way.showing(&certificates.client).gets_in());
    let rows = [
        ("without one", way.clone()),
        ("of another CA", way.showing(&certificates.stranger)),
        ("expired", way.showing(&certificates.expired("late"))),
        ("revoked", way.showing(&revoked)),
    ];
    for (what, way) in rows {
        assert!(!way.gets_in(), "{what}");
    }
    let log = site.log();
    for why in ["peer sent no certificates", "UnknownIssuer", "certificate expired", "Revoked"] {
        assert!(log.contains(why), "{why}: {}", site.log_tail());
    }
}

#[test]
fn a_certificate_names_its_user_and_connect_may_name_no_other() {
    let certificates = Certificates::make();
    let lines = format!("client_ca = \"{}\"\n[broker.listener.names]\n\"seven\" = \"pump-7\"", certificates.ca.display());
    let (site, way) = site(&certificates, &lines);
    let _gateway = site.start();
    let (ada, seven) = (certificates.client_named("ada"), certificates.client_named("seven"));
    let rows = [
        (&ada, None, true),
        (&ada, Some("cert:ada"), true),
        (&ada, Some("ada"), false),
        (&ada, Some("cert:seven"), false),
        (&seven, None, true),
        (&seven, Some("pump-7"), true),
        (&seven, Some("cert:seven"), false),
    ];
    for (certificate, user, want) in rows {
        let way = way.showing(certificate);
        let way = user.map_or(way.clone(), |user| way.with(&["-u", user]));
        assert_eq!(way.gets_in(), want, "{certificate:?} as {user:?}");
    }
}

#[test]
fn renewed_files_hold_for_new_clients_and_a_revoked_one_goes() {
    let certificates = Certificates::make();
    let (stays, goes) = (certificates.client_named("stays"), certificates.client_named("goes"));
    let lines = format!("client_ca = \"{}\"\ncrl = \"{}\"", certificates.ca.display(), certificates.list().display());
    let (site, way) = site(&certificates, &lines);
    let gateway = site.start();
    let (staying, going) = (way.showing(&stays).subscribe("t"), way.showing(&goes).subscribe("t"));
    let reload = |word: &str| {
        let before = site.log().matches(word).count();
        gateway.signal(Signal::HUP);
        wait_until(word, WITHIN, || site.log().matches(word).count() > before);
    };
    // A file that is bad changes nothing, not even what is good.
    certificates.revoke(&goes.0);
    certificates.list();
    let key = fs::read(&certificates.server.1).expect("the key");
    fs::write(&certificates.server.1, "no key").expect("a file");
    reload("holds no private key");
    assert!(way.showing(&goes).gets_in(), "{}", site.log_tail());
    // All good: the new certificate is shown, and the revoked client goes.
    let renewed = certificates.renewed_server();
    for (from, to) in [(&renewed.0, &certificates.server.0), (&renewed.1, &certificates.server.1)] {
        fs::copy(from, to).expect("a file");
    }
    assert_ne!(fs::read(&certificates.server.1).expect("the key"), key);
    let shown = || shown_certificate(port_of(&site), &certificates, &stays);
    let before = shown();
    reload("were read anew");
    going.wait_lost();
    assert!(!way.showing(&goes).gets_in());
    assert_ne!(shown(), before);
    assert!(way.showing(&stays).publish("t", "after").status.success());
    assert_eq!(staying.next(), "t after");
    assert!(staying.stays(), "{}", site.log_tail());
}

#[test]
fn who_is_revoked_while_shaking_hands_is_not_let_in() {
    let certificates = Certificates::make();
    let clients = ["stays", "goes"].map(|name| certificates.client_named(name));
    let lines = format!("client_ca = \"{}\"\ncrl = \"{}\"", certificates.ca.display(), certificates.list().display());
    let (site, _) = site(&certificates, &lines);
    let gateway = site.start();
    let mut half_way = clients.each_ref().map(|client| {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&site))).expect("it listens");
        tcp.set_read_timeout(Some(WITHIN)).expect("a socket");
        let mut tls = layers::showing(&certificates, client);
        tls.write_tls(&mut tcp).expect("it is taken");
        while tls.is_handshaking() {
            tls.read_tls(&mut tcp).expect("an answer");
            tls.process_new_packets().expect("a handshake");
        }
        // Its certificate is still to be sent.
        assert!(tls.wants_write());
        (tls, tcp)
    });
    certificates.revoke(&clients[1].0);
    certificates.list();
    gateway.signal(Signal::HUP);
    wait_until("the files are read", WITHIN, || site.log().contains("were read anew"));
    let answers = half_way.each_mut().map(|(tls, tcp)| {
        tls.writer().write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a").expect("room");
        while tls.wants_write() {
            tls.write_tls(tcp).expect("it is taken");
        }
        let mut answer = [0; 4];
        rustls::Stream::new(tls, tcp).read_exact(&mut answer).is_ok().then_some(answer)
    });
    assert_eq!(answers, [Some([0x20, 2, 0, 0]), None], "{}", site.log_tail());
}

/// The server's certificate as openssl sees it.
fn shown_certificate(port: u16, certificates: &Certificates, client: &(PathBuf, PathBuf)) -> String {
    let connect = format!("127.0.0.1:{port}");
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &connect, "-CAfile"])
        .arg(&certificates.ca)
        .arg("-cert")
        .arg(&client.0)
        .arg("-key")
        .arg(&client.1)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE").unwrap_or_else(|| panic!("{text}"));
    text[begin..].split("-----END").next().unwrap_or_default().to_owned()
}
