//! Conversations with a broker, written down as they go over the wire, and the check that a broker holds them.
//!
//! ```text
//! sub > subscribe #1 ~/t=1        a packet that the client `sub` sends (`packet`'s words); `connect` opens its connection where it has none
//! sub < suback #1 1               the next packet that it gets, word for word
//! sub < nothing                   a ping is answered, and nothing came before the answer
//! sub < closed                    the broker closes the connection, and nothing came before that
//! sub | publish q0 ~/t "x"        consecutive lines with `|`: packets that come in any order
//! sub ! drop                      the connection breaks
//! wait 1500                       milliseconds in which the broker is to do something
//! mark    took 900..2500          milliseconds since `mark`
//! distinct #a #b                  identifiers that are not the same
//! not mosquitto: why              Mosquitto is known to answer otherwise than the standard has it, or than is asked of us
//! ```
//! `~` is another topic level in each row, so that rows do not see each other's messages, and so is the client identifier of a `connect` without
//! `id=`. In what is expected `*` stands for any word, `name=lo..hi` for a number, and `#a` for an identifier that is called `a` from then on.
//! `retain?`: with RETAIN or without. A CONNACK may have more properties than are named, any packet a reason string, an acknowledgement may say that nobody subscribes (0x10);
//! `exactly` as the last word forbids it.
//!
//! The same rows run against Debian's Mosquitto by `PEER=mosquitto`: what two brokers agree on is hardly a mistake of the test.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use tidegate::clock;
use tidegate::model::Mono;

use super::gateway::{ALL_RIGHTS, Site};
use super::mosquitto::{Mosquitto, Options};
use super::packet::{Ids, decode, encode, property, sorted, words};

/// For one answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Rows that talk at once.
const AT_ONCE: usize = 8;

/// What a row is called, and its conversation.
pub type Row<'a> = (&'a str, &'a str);

/// Holds the conversations with the real binary, several at once; panics with all that went otherwise.
pub fn check(rows: &[Row]) {
    if peer_is_mosquitto() {
        let rows: Vec<Row> = rows.iter().copied().filter(|(_, script)| !script.contains("not mosquitto")).collect();
        return check_at(Mosquitto::with(&Options::default()).port(), &rows);
    }
    let site = Site::with_acl(ALL_RIGHTS, "");
    let gateway = site.start();
    check_at(site.port, rows);
    drop(gateway);
}

/// Holds each conversation once for each of the versions, whose digit takes the place of `V` in `connect V`.
pub fn check_versions(versions: &str, rows: &[Row]) {
    let named = |version: char, (name, script): &Row| {
        (format!("{name}, version {version}"), script.replace("connect V", &format!("connect {version}")))
    };
    let all: Vec<(String, String)> = versions.chars().flat_map(|version| rows.iter().map(move |row| named(version, row))).collect();
    check(&all.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect::<Vec<_>>());
}

/// The same with a broker that runs already.
pub fn check_at(port: u16, rows: &[Row]) {
    let mut failures = Vec::new();
    for (chunk, rows) in rows.chunks(AT_ONCE).enumerate() {
        thread::scope(|scope| {
            let start = |(n, row): (usize, &Row)| {
                let (name, script) = (row.0.to_owned(), row.1.to_owned());
                let tag = format!("r{}", chunk * AT_ONCE + n);
                scope.spawn(move || Conversation::new(port, tag).hold(&script).map_err(|why| format!("{name}: {why}")))
            };
            let running: Vec<_> = rows.iter().enumerate().map(start).collect();
            for row in running {
                failures.extend(row.join().unwrap_or_else(|_| Err("the row itself is at fault, see above".into())).err());
            }
        });
    }
    assert!(failures.is_empty(), "{} of {} rows\n{}", failures.len(), rows.len(), failures.join("\n"));
}

/// One conversation, in which `~` is `tag`; what went otherwise.
pub fn hold(port: u16, tag: &str, script: &str) -> Result<(), String> {
    Conversation::new(port, tag.to_owned()).hold(script)
}

fn peer_is_mosquitto() -> bool {
    std::env::var("PEER").is_ok_and(|peer| peer == "mosquitto")
}

struct Conversation {
    port: u16,
    tag: String,
    clients: HashMap<String, Client>,
    ids: Ids,
    mark: Mono,
    /// What has to come next in any order: client and words.
    any_order: Vec<(String, Vec<String>)>,
}

impl Conversation {
    fn new(port: u16, tag: String) -> Self {
        Self { port, tag, clients: HashMap::new(), ids: Ids::new(), mark: clock::mono(), any_order: Vec::new() }
    }

    fn hold(&mut self, script: &str) -> Result<(), String> {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("not "));
        for line in lines {
            let said = line.replace('~', &self.tag);
            self.line(&said).map_err(|why| format!("at “{line}”: {why}"))?;
        }
        self.settle()
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        if !rest.starts_with("| ") {
            self.settle()?;
        }
        match (first, rest.split_at_checked(2)) {
            ("wait", _) => clock::block_for(Duration::from_millis(rest.parse().expect("milliseconds"))),
            ("mark", _) => self.mark = clock::mono(),
            ("distinct", _) => {
                let names: Vec<&str> = rest.split(' ').map(|name| name.trim_start_matches('#')).collect();
                let ids: std::collections::HashSet<_> =
                    names.iter().map(|name| self.ids.get(*name).expect("an identifier that was seen")).collect();
                if ids.len() < names.len() {
                    return Err(format!("{:?}", self.ids));
                }
            }
            ("took", _) => {
                let took = clock::mono().since(self.mark).as_millis() as u64;
                if !range(rest).expect("lo..hi").contains(&took) {
                    return Err(format!("it took {took} ms"));
                }
            }
            (client, Some(("> ", packet))) => self.send(client, packet.trim()),
            (client, Some(("< ", "closed"))) => self.client(client).closed()?,
            (client, Some(("< ", "nothing"))) => self.client(client).nothing()?,
            (client, Some(("< ", expected))) => self.expect(client, expected)?,
            (client, Some(("| ", expected))) => self.any_order.push((client.to_owned(), words(expected))),
            (client, Some(("! ", "drop"))) => drop(self.clients.remove(client)),
            _ => panic!("{line:?} is no line of a script"),
        }
        Ok(())
    }

    fn client(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).unwrap_or_else(|| panic!("{name} has no connection"))
    }

    fn send(&mut self, name: &str, packet: &str) {
        let mut packet = packet.to_owned();
        if packet.starts_with("connect ") && !packet.contains(" id=") {
            packet.push_str(&format!(" id={}{name}", self.tag));
        }
        let opens = self.clients.get(name).is_none_or(|client| client.ended);
        if opens {
            self.clients.insert(name.to_owned(), Client::open(self.port));
        }
        if let (true, Some(version)) = (opens, packet.strip_prefix("connect ").and_then(|rest| rest.bytes().next())) {
            self.client(name).version = version - b'0';
        }
        let version = self.client(name).version;
        let bytes = encode(version, &packet, &self.ids);
        self.client(name).send(&bytes);
    }

    /// Takes as many packets as are expected in any order.
    fn settle(&mut self) -> Result<(), String> {
        let mut expected = std::mem::take(&mut self.any_order);
        while let Some((name, _)) = expected.first() {
            let name = name.clone();
            let got = self.client(&name).next()?;
            let fits = |(client, words): &(String, Vec<String>)| *client == name && self.ids.clone().fits(words, &got);
            let Some(at) = expected.iter().position(fits) else {
                return Err(format!("{name} got “{}”, expected are {expected:?}", got.join(" ")));
            };
            let (_, words) = expected.remove(at);
            self.ids.fits(&words, &got);
        }
        Ok(())
    }

    fn expect(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let is_refusal = expected.starts_with("disconnect") || expected.starts_with("connack 0x");
        let client = self.client(name);
        match client.packet()? {
            Some(got) if self.ids.fits(&words(expected), &got) => Ok(()),
            Some(got) => Err(format!("got “{}”", got.join(" "))),
            // A server may close without a word (4.13); ours never does.
            None if is_refusal && peer_is_mosquitto() => Ok(()),
            None => Err("the connection was closed".into()),
        }
    }
}

trait Fits {
    /// Whether a packet is what was expected; learns the identifiers that the expectation names.
    fn fits(&mut self, expected: &[String], got: &[String]) -> bool;
}

impl Fits for Ids {
    fn fits(&mut self, expected: &[String], got: &[String]) -> bool {
        if let Some(at) = expected.iter().position(|word| word == "retain?") {
            let (mut with, mut without) = (expected.to_vec(), expected.to_vec());
            "retain".clone_into(&mut with[at]);
            without.remove(at);
            return self.fits(&with, got) || self.fits(&without, got);
        }
        let exactly = expected.last().is_some_and(|word| word == "exactly");
        let expected = &expected[..expected.len() - usize::from(exactly)];
        let (named, plain): (Vec<String>, Vec<String>) = expected.iter().cloned().partition(|word| property(word).is_some());
        let (has, mut is): (Vec<String>, Vec<String>) = got.iter().cloned().partition(|word| property(word).is_some());
        let (named, mut has) = (sorted(named.iter().map(|word| word.replace('"', "")).collect()), sorted(has));
        if !exactly {
            let any = is.first().is_some_and(|kind| kind == "connack");
            let asked = |word: &str| named.iter().any(|name| property(name) == property(word));
            has.retain(|word| asked(word) || !any && property(word) != Some("reason"));
            is.truncate(if is.last().is_some_and(|code| code == "16") { plain.len() } else { is.len() });
        }
        let pairs: Vec<_> = plain.iter().zip(&is).chain(named.iter().zip(&has)).collect();
        plain.len() == is.len() && named.len() == has.len() && pairs.into_iter().all(|(wanted, word)| word_fits(self, wanted, word))
    }
}

fn word_fits(ids: &mut Ids, wanted: &str, word: &str) -> bool {
    if wanted == "*" || wanted == word {
        return true;
    }
    if let (Some(name), Some(id)) = (wanted.strip_prefix('#'), word.strip_prefix('#'))
        && name.parse::<u16>().is_err()
        && let Ok(id) = id.parse()
    {
        return *ids.entry(name.to_owned()).or_insert(id) == id;
    }
    let (Some((name, wanted)), Some((named, value))) = (wanted.split_once('='), word.split_once('=')) else { return false };
    let number = value.parse().ok();
    name == named && (wanted == "*" || range(wanted).zip(number).is_some_and(|(range, number)| range.contains(&number)))
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u64>> {
    let (low, high) = text.split_once("..")?;
    Some(low.parse().ok()?..=high.parse().ok()?)
}

struct Client {
    stream: TcpStream,
    version: u8,
    seen: Vec<u8>,
    ended: bool,
}

impl Client {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the broker listens");
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self { stream, version: 4, seen: Vec::new(), ended: false }
    }

    /// A broker that closes while it is sent to is seen when it is read from.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn next(&mut self) -> Result<Vec<String>, String> {
        match self.packet()? {
            Some(words) => Ok(words),
            None => Err("the connection was closed".into()),
        }
    }

    fn closed(&mut self) -> Result<(), String> {
        match self.packet()? {
            None => {
                self.ended = true;
                Ok(())
            }
            Some(words) => Err(format!("got “{}”", words.join(" "))),
        }
    }

    fn nothing(&mut self) -> Result<(), String> {
        self.send(&[0xc0, 0]);
        let got = self.next()?;
        if got == ["pingresp"] { Ok(()) } else { Err(format!("got “{}”", got.join(" "))) }
    }

    /// The next packet; `None` at the end.
    fn packet(&mut self) -> Result<Option<Vec<String>>, String> {
        loop {
            if let Some((header, body)) = split(&self.seen)? {
                let words = decode(self.version, self.seen[0], &self.seen[header..header + body]);
                self.seen.drain(..header + body);
                return Ok(Some(words));
            }
            let mut buffer = [0; 4_096];
            match self.stream.read(&mut buffer) {
                Ok(0) if self.seen.is_empty() => return Ok(None),
                Ok(0) => return Err(format!("closed in the midst of a packet: {:02x?}", self.seen)),
                Ok(n) => self.seen.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(_) => return Err(format!("nothing came within {WITHIN:?}")),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The lengths of the first packet's header and body, once it is whole. The remaining length has to be in as few bytes as it needs.
fn split(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for n in 0..4 {
        let Some(byte) = bytes.get(1 + n) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            if n > 0 && *byte == 0 {
                return Err(format!("a remaining length in too many bytes: {:02x?}", &bytes[..2 + n]));
            }
            return Ok((bytes.len() >= 2 + n + length).then_some((2 + n, length)));
        }
    }
    Err("a remaining length of five bytes".into())
}
