//! `tidegate sub` and `tidegate pub` over TLS and unix sockets, with users.

use std::path::Path;
use std::process::Command;

use crate::harness::certificates::Certificates;
use crate::harness::gateway::Site;
use crate::harness::mosquitto::{Mosquitto, Options, TlsFiles, free_port};
use crate::harness::wait_until;
use crate::tools_sub_pub::{SOON, text, tidegate};

#[test]
fn tls_trusts_the_named_authority_and_shows_a_certificate() {
    let certificates = Certificates::make();
    let files = |clients_too| TlsFiles {
        ca: certificates.ca.clone(),
        cert: certificates.server.0.clone(),
        key: certificates.server.1.clone(),
        clients_too,
    };
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let (ca, other) = (path(&certificates.ca), path(&certificates.other_ca));
    let client = [path(&certificates.client.0), path(&certificates.client.1)];
    let stranger = [path(&certificates.stranger.0), path(&certificates.stranger.1)];
    for (clients_too, args, code, want) in [
        (false, vec!["--cafile", &ca], 0, ""),
        (false, vec!["--cafile", &other], 8, "no TLS connection"),
        (false, vec!["--cafile", "/nowhere"], 8, "cannot read /nowhere"),
        (true, vec!["--cafile", &ca, "--cert", &client[0], "--key", &client[1]], 0, ""),
        (true, vec!["--cafile", &ca], 7, "without an answer"),
        (true, vec!["--cafile", &ca, "--cert", &stranger[0], "--key", &stranger[1]], 7, "without an answer"),
    ] {
        let mosquitto = Mosquitto::with(&Options { tls: Some(files(clients_too)), ..Options::default() });
        let port = mosquitto.tls_port().to_string();
        let out = tidegate(&[&["pub", "-V", "5", "-h", "localhost", "-p", &port, "-t", "a", "-m", "x", "-q", "1"], &args[..]].concat());
        let out = { out }.output().expect("the binary runs");
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(want), "{args:?}: {}", text(&out.stderr));
    }
}

#[test]
fn a_unix_socket_is_as_good_as_a_port() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("mqtt.sock");
    let _mosquitto = Mosquitto::with(&Options { more: format!("listener 0 {}\n", socket.display()), ..Options::default() });
    let path = socket.to_str().expect("a path");
    let url = format!("unix://{path}");
    assert!(tidegate(&["pub", "-L", &url, "-t", "u", "-m", "x", "-r"]).status().expect("the binary runs").success());
    let out = tidegate(&["sub", "--unix", path, "-t", "u", "-C", "1"]).output().expect("the binary runs");
    assert_eq!((text(&out.stdout).as_str(), out.status.code()), ("x\n", Some(0)));
}

#[test]
fn our_own_doors_are_reached_over_tls_and_by_a_unix_socket() {
    let certificates = Certificates::make();
    let (port, closed) = (free_port(), free_port());
    let dir = tempfile::tempdir().expect("a folder");
    let (socket, users) = (dir.path().join("mqtt.sock"), dir.path().join("users"));
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&users).args(["ann", "secret"]).status();
    assert!(made.expect("the program mosquitto_passwd").success());
    let site = Site::new(&format!(
        "[[broker.listener]]\nurl = \"tls://127.0.0.1:{port}\"\ncert = \"{}\"\nkey = \"{}\"\n\
         [[broker.listener]]\nurl = \"unix://{}\"\npeer_users = true\nname = \"here\"\n\
         [[broker.listener]]\nurl = \"tcp://127.0.0.1:{closed}\"\nusers = \"{}\"\n",
        path(&certificates.server.0),
        path(&certificates.server.1),
        path(&socket),
        path(&users)
    ));
    let _gateway = site.start();
    let (ca, other, socket, port) = (path(&certificates.ca), path(&certificates.other_ca), path(&socket), port.to_string());
    let secure = ["-h", "localhost", "-p", &port, "-t", "d", "-q", "2"];
    let out = tidegate(&[&["pub", "--cafile", &ca, "-m", "x", "-r"], &secure[..]].concat()).output().expect("the binary runs");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let out = tidegate(&[&["sub", "--cafile", &ca, "-C", "1"], &secure[..]].concat()).output().expect("the binary runs");
    assert_eq!((text(&out.stdout).as_str(), out.status.code()), ("x\n", Some(0)), "{}", text(&out.stderr));
    let out = tidegate(&[&["pub", "--cafile", &other, "-m", "x"], &secure[..]].concat()).output().expect("the binary runs");
    assert_eq!(out.status.code(), Some(8), "{}", text(&out.stderr));
    let out = tidegate(&["sub", "--unix", &socket, "-t", "d", "-C", "1"]).output().expect("the binary runs");
    assert_eq!((text(&out.stdout).as_str(), out.status.code()), ("x\n", Some(0)), "{}", text(&out.stderr));
    let closed = closed.to_string();
    for (login, code) in [
        (&["-u", "ann", "-P", "secret"][..], 0),
        (&["-u", "ann", "-P", "wrong"], 0x86),
        (&["-u", "bob", "-P", "secret"], 0x86),
        (&[], 0x87),
    ] {
        let out = tidegate(&[&["pub", "-h", "127.0.0.1", "-p", &closed, "-t", "d", "-m", "x"], login].concat())
            .output()
            .expect("the binary runs");
        assert_eq!(out.status.code(), Some(code), "{login:?}: {}", text(&out.stderr));
    }
    assert!(site.log().lines().any(|line| line.contains("WARN") && line.contains("client not let in")), "{}", site.log_tail());
    let mut sub = tidegate(&["sub", "--unix", &socket, "-i", "local", "-t", "d"]).spawn().expect("the binary runs");
    wait_until("the kernel's word on who it is", SOON, || {
        let out = site.run(&["clients", "list"]);
        text(&out.stdout).lines().any(|line| line.starts_with("local") && line.contains("unix:") && line.contains("here"))
    });
    sub.kill().and_then(|()| sub.wait()).expect("the child is ours");
}
