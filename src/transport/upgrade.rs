//! The GET that opens a WebSocket (RFC 6455, 4.2), and its answer.
//!
//! A page in a browser can make its visitor's browser open a connection to anything in that visitor's network. Two headers tell: `Origin` names
//! the page's own site, and `Host` what the browser believes to be talking to. An origin that is not listed is refused (4.2.2, 10.2). So is a host
//! that is no address of a machine and not listed: a foreign name that was made to point here (DNS rebinding) makes the page's origin look like ours.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{Request, Status};

/// Headers that one request may have. Browsers send about twenty; one with more is answered 431.
pub const HEADERS_MAX: usize = 64;

/// Appended to the client's key (1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a listener accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Path of the request, without its query; `None` takes any.
    pub path: Option<String>,
    /// What `Host` may say besides an IP address or `localhost`: a name for any port, or `name:port`. Case is of no account.
    pub hosts: Vec<String>,
    /// Sites whose pages may connect, as a browser writes them (`https://panel.example`); `null` would be a page without a site. Empty: no page,
    /// only requests without `Origin`.
    pub origins: Vec<String>,
    /// Longest request in bytes, up to the empty line. A longer one is answered 431.
    pub header_bytes_max: usize,
}

/// What the bytes up to here say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The request is not whole.
    More,
    /// `answer` is to be sent; the first frame begins at `length` of what was read.
    Accepted { length: usize, answer: String },
    /// [`Refusal::answer`] is to be sent, and then the connection is closed.
    Refused(Refusal),
}

/// Why there is no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("the Host header is neither an address nor listed")]
    Host,
    #[error("the Origin header names a site that is not listed")]
    Origin,
    #[error("there is nothing at this path")]
    Path,
    #[error("only WebSocket of version 13 is spoken here")]
    Upgrade,
    #[error("the request has too many header fields or bytes")]
    TooLarge,
}

impl Refusal {
    /// Of HTTP.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Host | Self::Origin => 403,
            Self::Path => 404,
            Self::Upgrade => 426,
            Self::TooLarge => 431,
        }
    }

    /// The whole response. Nothing of the request is in it.
    pub fn answer(self) -> String {
        let status = match self {
            Self::BadRequest(_) => "400 Bad Request",
            Self::Host | Self::Origin => "403 Forbidden",
            Self::Path => "404 Not Found",
            Self::Upgrade => "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            Self::TooLarge => "431 Request Header Fields Too Large",
        };
        // A 426 names the protocol in Upgrade, which Connection has to announce (RFC 9110, 7.8).
        let connection = if self == Self::Upgrade { "Upgrade, close" } else { "close" };
        let text = format!("{self}\n");
        format!(
            "HTTP/1.1 {status}\r\nConnection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    }
}

/// Reads the request at the front of `input`, which may be only its beginning, and answers it. It costs nothing much to ask again with each read:
/// until the request's empty line is there only that is looked for.
pub fn parse(input: &[u8], rules: &Rules) -> Progress {
    // What is no such request at all (TLS, MQTT without WebSocket, a scan) need not be waited for.
    if input.iter().zip(b"GET /").any(|(a, b)| a != b) {
        return Progress::Refused(Refusal::BadRequest("only GET of a path is answered here"));
    }
    let head = input.get(..rules.header_bytes_max).unwrap_or(input);
    match end_of_head(head) {
        Some(length) => match head.get(..length).map(|head| answer(head, rules)) {
            Some(Ok(answer)) => Progress::Accepted { length, answer },
            Some(Err(refusal)) => Progress::Refused(refusal),
            None => Progress::More,
        },
        None if input.len() >= rules.header_bytes_max => Progress::Refused(Refusal::TooLarge),
        None => Progress::More,
    }
}

/// Length of the request up to and with its empty line.
fn end_of_head(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The answer to a whole request (4.2.1, 4.2.2).
fn answer(head: &[u8], rules: &Rules) -> Result<String, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge),
        Ok(_) | Err(_) => return Err(Refusal::BadRequest("this is not HTTP")),
    }
    if request.version != Some(1) {
        return Err(Refusal::BadRequest("only HTTP/1.1 is spoken here"));
    }
    let fields = Fields(request.headers);
    if fields.any("Content-Length") || fields.any("Transfer-Encoding") {
        return Err(Refusal::BadRequest("a GET with a body"));
    }
    // First what a browser is kept from, so that a page of another site learns nothing else.
    host(fields.once("Host")?.ok_or(Refusal::BadRequest("the Host header is missing"))?, rules)?;
    origin(fields.once("Origin")?, rules)?;
    path(request.path.unwrap_or_default(), rules)?;
    let version = fields.once("Sec-WebSocket-Version")?;
    if !fields.lists("Upgrade", "websocket") || !fields.lists("Connection", "upgrade") || version != Some("13") {
        return Err(Refusal::Upgrade);
    }
    let key = fields.once("Sec-WebSocket-Key")?.filter(|key| is_key(key));
    let key = key.ok_or(Refusal::BadRequest("the Sec-WebSocket-Key header is missing or no key"))?;
    let protocol = subprotocol(&fields).ok_or(Refusal::BadRequest("the subprotocol mqtt is not offered"))?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
        accept(key)
    ))
}

/// Header fields of a request.
struct Fields<'h, 'b>(&'h [httparse::Header<'b>]);

impl<'b> Fields<'_, 'b> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    fn any(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of a field that may be there only once: two would leave it to chance which of them counts.
    fn once(&self, name: &str) -> Result<Option<&'b str>, Refusal> {
        let mut values = self.values(name);
        let first = values.next().map(std::str::from_utf8).transpose();
        match (first, values.next()) {
            (Ok(value), None) => Ok(value.map(str::trim_ascii)),
            _ => Err(Refusal::BadRequest("a header is there twice or is no text")),
        }
    }

    /// All members of a field that is a list.
    fn members(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.values(name).flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
    }

    fn lists(&self, name: &str, member: &str) -> bool {
        self.members(name).any(|one| one.eq_ignore_ascii_case(member.as_bytes()))
    }
}

/// An IP address cannot be another's name. Nor can `localhost`: browsers do not ask the DNS for it.
fn host(value: &str, rules: &Rules) -> Result<(), Refusal> {
    let name = match value.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => value,
    };
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = name.parse::<Ipv4Addr>().is_ok() || bracketed.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    let is_listed = || rules.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(name) || listed.eq_ignore_ascii_case(value));
    if is_address || name.eq_ignore_ascii_case("localhost") || is_listed() { Ok(()) } else { Err(Refusal::Host) }
}

fn origin(value: Option<&str>, rules: &Rules) -> Result<(), Refusal> {
    match value {
        Some(value) if !rules.origins.iter().any(|listed| listed.eq_ignore_ascii_case(value)) => Err(Refusal::Origin),
        _ => Ok(()),
    }
}

fn path(target: &str, rules: &Rules) -> Result<(), Refusal> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if rules.path.as_deref().is_none_or(|wanted| wanted == path) { Ok(()) } else { Err(Refusal::Path) }
}

/// `mqtt` [MQTT-6.0.0-3], in whatever order; else `mqttv3.1`, which clients of 3.1 offer and Mosquitto takes, too. The answer names the one that was
/// taken [MQTT-6.0.0-4]. Names of subprotocols are compared with their case (RFC 6455, 4.1).
fn subprotocol(fields: &Fields<'_, '_>) -> Option<&'static str> {
    let offered = |name: &str| fields.members("Sec-WebSocket-Protocol").any(|one| one == name.as_bytes());
    ["mqtt", "mqttv3.1"].into_iter().find(|name| offered(name))
}

/// 16 bytes in base64 (4.2.1).
fn is_key(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// What shows that the key was read (4.2.2).
fn accept(key: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests;
