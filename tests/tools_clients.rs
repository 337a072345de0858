//! `tidegate clients`: who is there, and ending it, on a running gateway.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tidegate::model::admin::Act;
use tidegate::ops::ask::{Request, Response};
use tidegate::ops::control;

use crate::harness::gateway::Site;
use crate::harness::raw::Raw;
use crate::harness::receiver::Receiver;
use crate::harness::{let_run, wait_exit, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// Its standard output, error, and exit code.
fn run(site: &Site, args: &[&str]) -> (String, String, Option<i32>) {
    let out = site.run(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr), out.status.code())
}

fn json(site: &Site, args: &[&str]) -> Value {
    let (out, err, code) = run(site, &[args, &["--json"]].concat());
    assert_eq!(code, Some(0), "{args:?}: {err}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn clients_are_listed_shown_kicked_and_forgotten() {
    let site = Site::new("");
    let _gateway = site.start();
    let port = site.port.to_string();
    let sub = ["-h", "127.0.0.1", "-p", &port, "-i", "keeper", "-c", "-x", "600", "-q", "1", "-t", "a/#", "-k", "30"];
    let start = || site.tidegate(&[&["sub", "--will-topic", "w"], &sub[..]].concat()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut keeper = start().expect("the binary runs");
    let _other = Raw::connect(site.port, "other \x1b[2J\r\n");
    let list =
        wait_for("both clients", SOON, || Some(json(&site, &["clients", "list"])).filter(|l| l.as_array().is_some_and(|l| l.len() == 2)));
    assert_eq!((&list[0]["id"], &list[1]["id"]), (&"keeper".into(), &"other \x1b[2J\r\n".into()));
    wait_until("the subscription", SOON, || json(&site, &["clients", "show", "keeper"])["subscriptions"] == 1);
    let show = json(&site, &["clients", "show", "keeper"]);
    let connection = &show["connection"];
    assert_eq!((&connection["protocol"], &connection["keep_alive_s"], &connection["will"]), (&"5.0".into(), &30.into(), &"w".into()));
    assert!(connection["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{show}");
    assert_eq!((&show["expiry_s"], &show["filters"][0][0], &show["stored"]), (&600.into(), &"a/#".into(), &true.into()));
    let (out, _, _) = run(&site, &["clients", "list"]);
    assert!(out.starts_with("CLIENT") && out.contains("other \\u{1b}[2J\\r\\n") && !out.contains('\x1b'), "{out}");
    let (out, _, code) = run(&site, &["clients", "show", "keeper"]);
    assert!(code == Some(0) && out.contains("a/# at QoS 1") && out.contains("kept for 10 min"), "{out}");

    assert_eq!(run(&site, &["clients", "kick", "keeper"]).2, Some(0));
    // mosquitto's users know that it would come again; this one hears why it was ended, and does not.
    assert_eq!(wait_exit("tidegate sub", &mut keeper, SOON).code(), Some(0x98));
    let (out, _, _) = run(&site, &["clients", "list"]);
    assert!(out.lines().any(|line| line.starts_with("keeper") && line.contains("away")), "{out}");
    let (_, err, code) = run(&site, &["clients", "kick", "keeper"]);
    assert!(code == Some(1) && err.contains("is not connected"), "{err}");
    assert_eq!(run(&site, &["clients", "forget", "keeper"]).2, Some(0));
    let (_, err, code) = run(&site, &["clients", "show", "keeper"]);
    assert!(code == Some(1) && err.contains("no client has the id"), "{err}");
}

#[test]
fn a_client_that_is_not_there_has_its_nearest_name_said() {
    let site = Site::new("");
    let (_, err, code) = run(&site, &["clients", "list"]);
    assert!(code == Some(1) && err.contains("no gateway answers"), "{err}");
    let _gateway = site.start();
    let _client = Raw::connect(site.port, "pump-7");
    for command in ["show", "kick", "forget"] {
        let (_, err, code) = run(&site, &["clients", command, "pmup-7"]);
        assert!(code == Some(1) && err.contains("did you mean pump-7?"), "{command}: {err}");
    }
    let (_, err, code) = run(&site, &["clients", "kik", "pump-7"]);
    assert!(code == Some(2) && err.contains("kick"), "{err}");
    assert_eq!(run(&site, &["clients", "show", "x\n\x1b"]).1, "error: no client has the id \"x\\n\\u{1b}\"\n");
}

/// What does not fit a request is refused, and the gateway goes on.
#[test]
fn a_request_that_is_none_is_answered_with_an_error() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let site = Site::new("");
    let _gateway = site.start();
    let socket = site.path().join("run/control.sock");
    for request in
        ["nonsense\n", "{}\n", "{\"clients\":{\"from\":-1}}\n", "{\"clear\":{\"filter\":\"a/#/b\",\"after\":null}}\n", "\n", "[[[[[[[[\n"]
    {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("it answers");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer["error"].is_string(), "{request:?}: {line}");
    }
    let long = Request::Kick { id: "x".repeat(70_000) };
    assert!(control::ask(&socket, &long).is_err());
    assert!(site.status().is_some(), "it goes on");
}

/// The same client id is connected, subscribes and is kicked, all at once and all the time.
#[test]
fn connects_subscribes_and_kicks_of_one_client_may_race() {
    let site = Site::new("");
    let mut gateway = site.start();
    let socket = site.path().join("run/control.sock");
    let receiver = Receiver::start(site.port, "alive");
    let stop = Arc::new(AtomicBool::new(false));
    let (connected, kicked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut threads = Vec::new();
    for version in [4, 5] {
        let (stop, connected, port) = (stop.clone(), connected.clone(), site.port);
        threads.push(std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let properties: &[u8] = if version == 5 { &[5, 0x11, 0, 0, 0, 60] } else { &[] };
            let empty: &[u8] = if version == 5 { &[0] } else { &[] };
            let connect = [&b"\x10\0\0\x04MQTT"[..], &[version, 0, 0, 0], properties, b"\0\x05raced"].concat();
            let subscribe = [&[0x82, 0, 0, 1][..], empty, b"\0\x03a/#\x02"].concat();
            let publish = [&b"\x34\0\0\x03a/b\0\x07"[..], empty, b"x"].concat();
            let all: Vec<u8> = [connect, subscribe, publish]
                .into_iter()
                .flat_map(|mut packet| {
                    packet[1] = u8::try_from(packet.len() - 2).expect("short");
                    packet
                })
                .collect();
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
                if stream.write_all(&all).is_ok() && stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {
                    connected.fetch_add(1, Ordering::Relaxed);
                }
                let _ = stream.read(&mut [0; 512]);
            }
        }));
    }
    for forget in [false, true] {
        let (stop, kicked, socket) = (stop.clone(), kicked.clone(), socket.clone());
        threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let id = "raced".to_owned();
                let request = if forget { Request::Forget { id } } else { Request::Kick { id } };
                if matches!(control::ask(&socket, &request), Ok(Response::Act(Act::Done))) {
                    kicked.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    wait_until("many of both", Duration::from_secs(30), || {
        connected.load(Ordering::Relaxed) >= 200 && kicked.load(Ordering::Relaxed) >= 200
    });
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    let sent = Command::new("mosquitto_pub").args(["-p", &site.port.to_string(), "-t", "alive", "-m", "x"]).status();
    assert!(sent.expect("mosquitto-clients are installed").success() && receiver.wait_for(1, SOON), "others are served");
    wait_until("nothing of it is left", SOON, || {
        let _ = control::ask(&socket, &Request::Forget { id: "raced".to_owned() });
        let status = site.status();
        status.is_some_and(|status| status.broker.clients == 1 && status.broker.sessions == 1)
    });
    let_run(Duration::from_millis(10));
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait_exit().success());
}
