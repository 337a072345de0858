//! The PROXY header: reading as many bytes as we ask for takes nothing behind it, gives what reading all at once gives, and what the crate `ppp`
//! reads of the same bytes.
//!
//! Where ppp differs, [`held_to`] says so.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tidegate::transport::proxy::{Client, Error, Progress, V1_MAX, V2_MAX, parse};

pub fn check(input: &[u8]) {
    let whole = parse(input);
    let mut read = 0;
    let stepwise = loop {
        match parse(&input[..read]) {
            Ok(Progress::More(more)) => {
                assert!(more > 0);
                if let Ok(Progress::Whole { length, .. }) = whole {
                    assert!(read + more <= length, "{} bytes are read of a header of {length}", read + more);
                }
                if read + more > input.len() {
                    break parse(input);
                }
                read += more;
            }
            other => break other,
        }
    };
    assert_eq!(stepwise, whole);
    match whole {
        Ok(Progress::Whole { length, .. }) => {
            assert!(length <= input.len() && length <= V1_MAX.max(V2_MAX));
            assert_eq!(parse(&input[..length]), whole, "what follows the header counts");
            assert!((0..length).all(|n| matches!(parse(&input[..n]), Ok(Progress::More(_)))), "it was whole before");
        }
        Ok(Progress::More(_)) => assert!(input.len() < V1_MAX.max(V2_MAX)),
        Err(_) => {}
    }
    held_to(input, whole);
}

fn held_to(input: &[u8], ours: Result<Progress, Error>) {
    let theirs = HeaderResult::parse(input);
    let both = format!("\nours:   {ours:?}\ntheirs: {theirs:?}");
    match (&ours, &theirs) {
        (Ok(Progress::Whole { length, client }), HeaderResult::V2(Ok(header))) => {
            assert_eq!((*length, *client), (header.len(), v2_client(header)), "{both}");
        }
        (Ok(Progress::Whole { length, client }), HeaderResult::V1(Ok(header))) => {
            assert_eq!((*length, *client), (header.header.len(), v1_client(header)), "{both}");
        }
        (Ok(Progress::Whole { client, .. }), _) => match client {
            // It wants addresses of LOCAL, too, which are to be skipped whatever they are, and takes not all that may follow UNKNOWN.
            Client::Proxy | Client::Unknown => {}
            Client::Address(_) => panic!("ppp does not take it {both}"),
        },
        (Ok(Progress::More(_)), theirs) => {
            let differs = input.starts_with(b"PROXY ") || input.get(12) == Some(&0x20);
            assert!(theirs.is_incomplete() || differs, "ppp has an opinion {both}");
        }
        (Err(error), theirs) if theirs.is_complete() && is_ok(theirs) => assert!(stricter(input, error), "ppp takes it {both}"),
        (Err(_), _) => {}
    }
}

fn is_ok(theirs: &HeaderResult<'_>) -> bool {
    matches!(theirs, HeaderResult::V1(Ok(_)) | HeaderResult::V2(Ok(_)))
}

/// ppp takes headers up to 64 kB, ports with a sign, a family of one half unspecified, carriage returns for spaces and the reverse, and line feeds
/// behind UNKNOWN.
fn stricter(input: &[u8], error: &Error) -> bool {
    match error {
        Error::TooLong(_) => true,
        Error::Absent => input.starts_with(b"PROXY\r"),
        Error::Malformed(why) if why.starts_with("a line without CRLF") => true,
        Error::Malformed(why) if why.starts_with("a port") => input.contains(&b'+'),
        Error::Malformed(why) if why.starts_with("a family or protocol") => matches!(input.get(13), Some(0x01 | 0x02 | 0x10 | 0x20 | 0x30)),
        Error::Malformed(_) => input.iter().filter(|&&byte| byte == b'\r').count() > 1,
    }
}

fn v2_client(header: &v2::Header<'_>) -> Client {
    match (header.command, header.protocol, header.addresses) {
        (v2::Command::Local, ..) => Client::Proxy,
        (_, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => Client::Address(SocketAddr::from((ip.source_address, ip.source_port))),
        (_, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => Client::Address(SocketAddr::from((ip.source_address, ip.source_port))),
        _ => Client::Unknown,
    }
}

fn v1_client(header: &v1::Header<'_>) -> Client {
    match header.addresses {
        v1::Addresses::Tcp4(ip) => Client::Address(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Tcp6(ip) => Client::Address(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Unknown => Client::Unknown,
    }
}
