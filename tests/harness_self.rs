//! The test equipment does what it says: a proxy that did not cut would make every test behind it pass.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tidegate::clock;

use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::receiver::Receiver;

const SOON: Duration = Duration::from_secs(5);
const NOTHING: Duration = Duration::from_millis(100);

/// Sends back what it gets; one thread a connection.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a socket");
                let mut reader = stream;
                std::io::copy(&mut reader, &mut writer)
            });
        }
    });
    port
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).expect("the proxy accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

fn echoes(stream: &mut TcpStream, byte: u8) {
    stream.write_all(&[byte]).expect("written");
    let mut got = [0];
    stream.read_exact(&mut got).expect("an answer");
    assert_eq!(got, [byte]);
}

fn says_nothing(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(NOTHING)).expect("a timeout");
    let error = stream.read(&mut [0]).expect_err("nothing to read");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
}

fn refused(proxy: &Proxy) {
    let error = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_open_proxy_passes_bytes_and_ends() {
    let proxy = Proxy::before(echo());
    let mut stream = connect(&proxy);
    echoes(&mut stream, 1);
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    assert_eq!(proxy.accepted(), 1);
}

#[test]
fn a_refusing_proxy_refuses_and_keeps_what_is_there() {
    let proxy = Proxy::before(echo());
    let mut stream = connect(&proxy);
    echoes(&mut stream, 1);
    for _ in 0..20 {
        proxy.set(Mode::Refusing);
        refused(&proxy);
        echoes(&mut stream, 2);
        proxy.set(Mode::Open);
        echoes(&mut connect(&proxy), 3);
    }
}

#[test]
fn a_closed_proxy_has_cut_everything_and_refuses() {
    let proxy = Proxy::before(echo());
    let mut stream = connect(&proxy);
    echoes(&mut stream, 1);
    proxy.set(Mode::Closed);
    assert_eq!(stream.read(&mut [0]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    refused(&proxy);
    assert_eq!(proxy.connections(), 0);
    proxy.set(Mode::Open);
    echoes(&mut connect(&proxy), 2);
}

#[test]
fn a_cut_proxy_accepts_again_at_once() {
    let proxy = Proxy::before(echo());
    let mut stream = connect(&proxy);
    echoes(&mut stream, 1);
    assert_eq!(proxy.cut(), 1);
    assert_eq!(stream.read(&mut [0]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    echoes(&mut connect(&proxy), 2);
}

#[test]
fn a_silent_proxy_passes_nothing_until_it_is_open() {
    let proxy = Proxy::before(echo());
    let mut old = connect(&proxy);
    echoes(&mut old, 1);
    proxy.set(Mode::Silent);
    let mut new = connect(&proxy);
    old.write_all(&[2]).expect("written");
    new.write_all(&[3]).expect("written");
    says_nothing(&mut old);
    says_nothing(&mut new);
    proxy.set(Mode::Open);
    for (stream, want) in [(&mut old, 2), (&mut new, 3)] {
        let mut got = [0];
        stream.read_exact(&mut got).expect("what waited");
        assert_eq!(got, [want]);
    }
}

#[test]
fn a_swallowing_proxy_passes_only_what_goes_up() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let proxy = Proxy::before(target.local_addr().expect("bound").port());
    let mut client = connect(&proxy);
    let (mut server, _) = target.accept().expect("the proxy's connection");
    proxy.set(Mode::SwallowReplies);
    client.write_all(&[1]).expect("written");
    let mut got = [0];
    server.read_exact(&mut got).expect("passed on");
    server.write_all(&[2]).expect("written");
    says_nothing(&mut client);
    proxy.set(Mode::Open);
    server.write_all(&[3]).expect("written");
    client.read_exact(&mut got).expect("passed on");
    assert_eq!(got, [3], "2 is gone for good");
}

#[test]
fn a_delay_is_kept_in_each_direction() {
    let proxy = Proxy::before(echo());
    let mut stream = connect(&proxy);
    proxy.delay(Duration::from_millis(30), Duration::from_millis(40));
    let start = clock::mono();
    echoes(&mut stream, 1);
    let took = clock::mono().since(start);
    assert!(took >= Duration::from_millis(70), "{took:?}");
}

#[test]
fn mosquitto_and_its_receiver_pass_a_message_through_the_proxy() {
    let broker = Mosquitto::start();
    let proxy = Proxy::before(broker.port());
    let receiver = Receiver::start(broker.port(), "a/#");
    let port = proxy.port().to_string();
    let sent = Command::new("mosquitto_pub").args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "a/b c", "-m", "\x01 x\n"]).status();
    assert!(sent.expect("the program mosquitto_pub").success(), "{}", broker.log());
    assert!(receiver.wait_for(1, SOON), "{}", broker.log());
    assert_eq!(receiver.count(), 1);
    let got = &receiver.all()[0];
    assert_eq!((got.topic.as_str(), got.text().as_str(), got.qos, got.retain), ("a/b c", "\x01 x\n", 1, false));
}
