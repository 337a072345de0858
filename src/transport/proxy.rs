//! The PROXY header, versions 1 and 2 (haproxy's `proxy-protocol.txt`): a reverse proxy says whose connection it hands over.
//!
//! It is read here and not by a crate, since what counts is when to stop reading: TLS or MQTT follows at once, and nothing of it may be consumed.
//! [`parse`] says how many bytes may be read next without going beyond the header, which the crates that were looked at do not; the rest is a
//! hundred lines, which the fuzzer holds against one of them.
//!
//! Whose word is believed is not known here: the listener accepts a header from the addresses of its proxies only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1 in bytes, with its CRLF (2.1).
pub const V1_MAX: usize = 107;

/// The longest header of version 2 in bytes that is read. The standard allows 64 kB; addresses need 52, or 232 of UNIX sockets, and the rest is
/// additions (2.2) that are skipped: a proxy that names a client certificate stays far below this. A longer one ends the connection.
pub const V2_MAX: usize = 4096;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length (2.2).
const V2_FIXED: usize = 16;

/// `PROXY UNKNOWN` and CRLF, the shortest header of all.
const LEAST: usize = 15;

/// What the bytes up to here say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The header goes on for at least this many bytes, never 0: reading as many takes nothing of what follows it.
    More(usize),
    /// The header is whole and this long.
    Whole { length: usize, client: Client },
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The proxy's own, to see whether we are here (`LOCAL`); its peer is the proxy.
    Proxy,
    /// Of somebody of whom the proxy cannot say an address: `UNKNOWN`, or a family that is not IP's.
    Unknown,
    Address(SocketAddr),
}

/// Not a header, or not one that is accepted. The connection is closed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    #[error("PROXY header: {0}")]
    Malformed(&'static str),
    #[error("a PROXY header of {0} bytes, at most {V2_MAX} are read")]
    TooLong(usize),
}

/// Reads the header at the front of `input`, which may be only its beginning.
///
/// # Errors
/// As soon as the bytes that are there show that no acceptable header can come of them.
pub fn parse(input: &[u8]) -> Result<Progress, Error> {
    if begins_like(input, V2_SIGNATURE) {
        v2(input)
    } else if begins_like(input, V1_SIGNATURE) {
        v1(input)
    } else {
        Err(Error::Absent)
    }
}

/// Whether `input` begins with `signature` as far as either goes.
fn begins_like(input: &[u8], signature: &[u8]) -> bool {
    input.iter().zip(signature).all(|(a, b)| a == b)
}

fn v2(input: &[u8]) -> Result<Progress, Error> {
    if input.is_empty() {
        return Ok(Progress::More(LEAST));
    }
    if let Some(byte) = input.get(12)
        && !matches!(byte, 0x20 | 0x21)
    {
        return Err(Error::Malformed("a version or command that is not known (2.2)"));
    }
    let Some((fixed, rest)) = input.split_first_chunk::<V2_FIXED>() else { return Ok(Progress::More(V2_FIXED - input.len())) };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > V2_MAX {
        return Err(Error::TooLong(V2_FIXED + length));
    }
    let least = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Error::Malformed("a family or protocol that is not known (2.2)")),
    };
    // What a LOCAL header says of addresses is to be skipped, whatever it is (2.2).
    if command == 0x21 && length < least {
        return Err(Error::Malformed("too short for its addresses (2.2)"));
    }
    let Some(block) = rest.get(..length) else { return Ok(Progress::More(length - rest.len())) };
    let client = if command == 0x20 { Client::Proxy } else { v2_source(family, block) };
    Ok(Progress::Whole { length: V2_FIXED + length, client })
}

/// Source and destination address, source and destination port; the additions behind them are skipped. Datagrams cannot have come over a stream, and
/// an address of a UNIX socket is none that a limit or a log could use.
fn v2_source(family: u8, block: &[u8]) -> Client {
    match (family, block.first_chunk::<12>(), block.first_chunk::<36>()) {
        (0x11, Some(&[a, b, c, d, _, _, _, _, high, low, _, _]), _) => {
            Client::Address(SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
        }
        (0x21, _, Some(block)) => {
            let [source @ .., high, low, _, _] = block;
            let address = source.first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets));
            Client::Address(SocketAddr::from((address, u16::from_be_bytes([*high, *low]))))
        }
        _ => Client::Unknown,
    }
}

fn v1(input: &[u8]) -> Result<Progress, Error> {
    let Some(end) = input.iter().take(V1_MAX).position(|&byte| byte == b'\n') else {
        return match input.len() {
            length if length >= V1_MAX => Err(Error::Malformed("a line of more than 107 bytes (2.1)")),
            length if length < LEAST => Ok(Progress::More(LEAST - length)),
            _ => Ok(Progress::More(if input.ends_with(b"\r") { 1 } else { 2 })),
        };
    };
    let line = input.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Error::Malformed("a line without CRLF (2.1)"))?;
    let line = std::str::from_utf8(line).map_err(|_| Error::Malformed("a line that is not ASCII (2.1)"))?;
    Ok(Progress::Whole { length: end + 1, client: v1_client(line)? })
}

/// `PROXY`, the family, source and destination address, source and destination port, one space between them (2.1).
fn v1_client(line: &str) -> Result<Client, Error> {
    let mut fields = line.split(' ').skip(1);
    let family = fields.next().unwrap_or_default();
    // What follows UNKNOWN is to be disregarded, whatever it is.
    if family == "UNKNOWN" {
        return Ok(Client::Unknown);
    }
    let (Some(source), Some(destination), Some(from), Some(to), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Error::Malformed("a line of not six fields (2.1)"));
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Error::Malformed("an address that is not IPv4 (2.1)")),
        "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Error::Malformed("an address that is not IPv6 (2.1)")),
        _ => Err(Error::Malformed("a family that is not known (2.1)")),
    };
    let source = address(source)?;
    address(destination)?;
    let from = port(from)?;
    port(to)?;
    Ok(Client::Address(SocketAddr::new(source, from)))
}

/// Decimal, without a sign or a leading zero (2.1).
fn port(text: &str) -> Result<u16, Error> {
    let written = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| written).ok_or(Error::Malformed("a port that is none (2.1)"))
}

#[cfg(test)]
mod tests;
