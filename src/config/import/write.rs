//! What was read, as a site's file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::bridge::Bridge;
use super::limits::Limits;
use super::lines::{Files, Line};
use super::listener::{Bind, Domain, Listener};
use super::{Left, NewFile, Security, read_acl, read_users, users_named};

/// Most mistakes of a password file or access list that are told.
const MISTAKES_MAX: usize = 100;

/// What writing needs, and what it makes beside the text.
pub(super) struct Out<'a> {
    pub(super) id: &'a str,
    pub(super) copy_to: Option<&'a Path>,
    pub(super) files: &'a dyn Files,
    pub(super) new_files: Vec<NewFile>,
    pub(super) left: Vec<Left>,
}

/// The whole file.
pub(super) fn site(out: &mut Out<'_>, security: &Security, limits: &Limits, listeners: &[Listener], bridges: &[Bridge]) -> String {
    let mut text = format!("# Made of a mosquitto.conf by `tidegate import`.\n\n[gateway]\nid = {}\n", quoted(out.id));
    let mut doors = String::new();
    for listener in listeners {
        write_listener(out, &mut doors, security, listener);
    }
    // Without a listener the gateway would open one of its own.
    let none = doors.is_empty().then(|| "listen = []".to_owned());
    table(&mut text, "[broker]", limits.broker.iter().cloned().chain(none));
    let access = [("users", &security.users), ("acl", &security.acl)];
    let access = access.map(|(key, line)| line.as_ref().map(|line| format!("{key} = {}", path(&out.file(line, key)))));
    table(&mut text, "[broker.access]", access.into_iter().flatten());
    table(&mut text, "[broker.limits]", limits.limits.iter().cloned());
    text.push_str(&doors);
    let mut names = Vec::new();
    for bridge in bridges {
        write_bridge(out, &mut text, bridge, &mut names);
    }
    text
}

/// A table with these lines, unless there are none. Of two lines with one key the later counts, as in Mosquitto.
fn table(text: &mut String, header: &str, lines: impl Iterator<Item = String>) {
    let keys: BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once(" = ").map(|(key, _)| key.to_owned()).map(|key| (key, line))).collect();
    if !keys.is_empty() {
        let _ = write!(text, "\n{header}\n");
        keys.values().for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
    }
}

fn write_listener(out: &mut Out<'_>, text: &mut String, common: &Security, listener: &Listener) {
    let line = listener.line.as_ref();
    let anonymous = lets_anonymous_in(common, listener);
    if let Some((line, why)) = unfit(common, listener, anonymous) {
        out.left.push(line.left(why));
        return;
    }
    let own = &listener.security;
    let lists = own.acl.is_some() || common.acl.is_some();
    let tls = listener.cert.is_some();
    if let Some(line) = line {
        notes(out, line, listener, anonymous && !lists);
    }
    let users = own.users.as_ref().map(|line| out.file(line, "users"));
    let acl = own.acl.as_ref().map(|line| out.file(line, "acl"));
    for (url, v6_only) in urls(listener) {
        let _ = write!(text, "\n[[broker.listener]]{}\nurl = {}\n", origin(line), quoted(&url));
        let mut key = |key: &str, value: String| {
            let _ = writeln!(text, "{key} = {value}");
        };
        if v6_only {
            key("v6_only", "true".to_owned());
        }
        key("anonymous", anonymous.to_string());
        let paths = [("cert", &listener.cert), ("key", &listener.key), ("users", &users), ("acl", &acl)];
        for (name, value) in paths {
            if let Some(value) = value {
                key(name, path(value));
            }
        }
        if let (Some(ca), Some(_)) = (&listener.ca, &listener.require) {
            key("client_ca", path(&ca.path()));
            if let Some(crl) = &listener.crl {
                key("crl", path(crl));
            }
            let names = names(out, common, listener);
            if !names.is_empty() {
                key("names", format!("{{ {} }}", names.join(", ")));
            }
        }
        if let Some(most) = listener.connections_max {
            key("connections_max", most.min(100_000).to_string());
        }
        if !listener.origins.is_empty() {
            let origins: Vec<String> = listener.origins.iter().map(|origin| quoted(origin)).collect();
            key("origins", format!("[{}]", origins.join(", ")));
        }
        if is_open(listener) && !tls {
            key("insecure_plaintext", "true  # everybody on the network can read along, as before".to_owned());
        }
        if is_open(listener) && anonymous {
            key("insecure_anonymous", "true  # everybody on the network may connect, as before".to_owned());
        }
    }
}

/// Without a listener's line it is this machine's alone, and there it is open unless the file says otherwise.
fn lets_anonymous_in(common: &Security, listener: &Listener) -> bool {
    let own = &listener.security;
    let local_only = listener.line.is_none() && matches!(listener.bind, Bind::Localhost);
    let said = own.anonymous.as_ref().or(common.anonymous.as_ref()).map(Line::is_true);
    said.unwrap_or(local_only)
}

/// Why a listener cannot be carried over: it would be more open than it was, or does not work.
fn unfit(common: &Security, listener: &Listener, anonymous: bool) -> Option<(Line, &'static str)> {
    let unfit = [&listener.unfit, &listener.security.unfit, &common.unfit];
    if let Some(unfit) = unfit.into_iter().find_map(Option::as_ref) {
        return Some(unfit.clone());
    }
    let users = listener.security.users.is_some() || common.users.is_some();
    let line = [&listener.line, &listener.security.anonymous, &common.anonymous].into_iter().find_map(Option::as_ref)?;
    if listener.cert.is_some() != listener.key.is_some() {
        return Some((line.clone(), "it has one of `certfile` and `keyfile`: the listener is left out"));
    }
    match &listener.require {
        Some(require) if listener.ca.is_none() => {
            Some((require.clone(), "there is no `cafile` for clients' certificates: the listener is left out"))
        }
        Some(require) if listener.identity.is_none() && users => {
            let why = "whoever has a certificate is let in without a password, which Mosquitto asks for as well: the listener is left out";
            Some((require.clone(), why))
        }
        None if !anonymous && !users => {
            Some((line.clone(), "nobody can come in by it, without a name or with one: the listener is left out"))
        }
        _ => None,
    }
}

/// What is another thing here than at Mosquitto.
fn notes(out: &mut Out<'_>, line: &Line, listener: &Listener, open: bool) {
    if matches!(listener.bind, Bind::Unix(_)) {
        out.left.push(line.left("the socket is for the group `tidegate`, or the one that `group` names"));
    }
    if open {
        out.left.push(line.left("without an access list, anonymous clients may not publish or subscribe to `.../set` and `$` topics"));
    }
    if let Some(websockets) = &listener.websockets {
        let why = if listener.origins.is_empty() {
            "it is opened at the path /mqtt, and to no page in a browser unless `origins` names its site"
        } else {
            "it is opened at the path /mqtt"
        };
        out.left.push(websockets.left(why));
    }
    match (&listener.require, &listener.identity) {
        (Some(_), Some(line)) => out
            .left
            .push(line.left("a certificate's user is `cert:NAME`; only those whom the access list names are called as before (`names`)")),
        (Some(line), None) => out.left.push(line.left("a certificate's user is `cert:NAME`, and no other name may stand in CONNECT")),
        (None, Some(line)) => out.left.push(line.left("no certificate is asked for without `require_certificate`")),
        (None, None) => {}
    }
}

/// Users of certificates whom the access list names, as Mosquitto calls them.
fn names(out: &Out<'_>, common: &Security, listener: &Listener) -> Vec<String> {
    let acl = listener.security.acl.as_ref().or(common.acl.as_ref()).filter(|_| listener.identity.is_some());
    let Some(Ok(bytes)) = acl.map(|line| out.files.read(&line.path())) else { return Vec::new() };
    let named = users_named(&bytes);
    named.iter().filter(|name| crate::access::users::check_name(name).is_ok()).map(|name| format!("{0} = {0}", quoted(name))).collect()
}

/// Whether other machines reach it.
fn is_open(listener: &Listener) -> bool {
    match &listener.bind {
        Bind::All => true,
        Bind::Address(address) => !address.is_loopback(),
        Bind::Localhost | Bind::Unix(_) => false,
    }
}

/// Its addresses, and whether each is for IPv6 alone.
fn urls(listener: &Listener) -> Vec<(String, bool)> {
    let scheme = match (listener.websockets.is_some(), listener.cert.is_some()) {
        (false, false) => "tcp",
        (false, true) => "tls",
        (true, false) => "ws",
        (true, true) => "wss",
    };
    let port = listener.port.unwrap_or(1883);
    let url = |host: &str, v6_only: bool| (format!("{scheme}://{host}:{port}"), v6_only);
    match (&listener.bind, listener.domain) {
        (Bind::Unix(path), _) => vec![(format!("unix://{}", path.display()), false)],
        (Bind::Address(IpAddr::V4(address)), _) => vec![url(&address.to_string(), false)],
        (Bind::Address(IpAddr::V6(address)), _) => vec![url(&format!("[{address}]"), false)],
        (Bind::All, None) => vec![url("[::]", false)],
        (Bind::All, Some(Domain::V4)) => vec![url("0.0.0.0", false)],
        (Bind::All, Some(Domain::V6)) => vec![url("[::]", true)],
        (Bind::Localhost, Some(Domain::V4)) => vec![url("127.0.0.1", false)],
        (Bind::Localhost, Some(Domain::V6)) => vec![url("[::1]", false)],
        (Bind::Localhost, None) => vec![url("127.0.0.1", false), url("[::1]", false)],
    }
}

fn write_bridge(out: &mut Out<'_>, text: &mut String, bridge: &Bridge, names: &mut Vec<String>) {
    let line = &bridge.line;
    let why = match (&bridge.unfit, &bridge.host) {
        (Some((line, why)), _) => {
            out.left.push(line.left(*why));
            return;
        }
        (None, None) => Some("it has no address: the bridge is left out"),
        (None, Some(_)) if bridge.topics.is_empty() => Some("no topic of it goes up: the bridge is left out"),
        _ => None,
    };
    if let Some(why) = why {
        out.left.push(line.left(why));
        return;
    }
    let name = name(&line.value);
    if name != line.value {
        out.left.push(line.left(format!("its name is {name:?} here, without characters that a level of a topic cannot have")));
    }
    if names.contains(&name) {
        out.left.push(line.left("there is another bridge of this name: it is left out"));
        return;
    }
    if !bridge.is_not_retained {
        out.left.push(line.left("what goes up is not retained there"));
    }
    let (host, port) = bridge.host.clone().unwrap_or_default();
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let (scheme, port) = (if bridge.is_tls() { "mqtts" } else { "mqtt" }, port.unwrap_or(1883));
    let _ = write!(
        text,
        "\n[[upstream]]{}\nname = {}\nurl = {}\n",
        origin(Some(line)),
        quoted(&name),
        quoted(&format!("{scheme}://{host}:{port}"))
    );
    let mut key = |key: &str, value: String| {
        let _ = writeln!(text, "{key} = {value}");
    };
    let topics: Vec<String> = bridge.topics.iter().map(|topic| quoted(topic)).collect();
    key("topics", format!("[{}]", topics.join(", ")));
    if let Some(version) = bridge.version {
        key("version", quoted(version));
    }
    match &bridge.client_id {
        Some(id) if id.value.contains(['{', '}']) => out.left.push(id.left("a client id with { or } cannot be written")),
        Some(id) => key("client_id", quoted(&id.value)),
        None => {}
    }
    if let Some(seconds) = bridge.keep_alive {
        key("keep_alive", format!("\"{}s\"", seconds.clamp(5, 64_800)));
    }
    if let Some(user) = &bridge.user {
        let password = bridge.password.as_ref().map(|line| out.secret(line, &name));
        let password = password.map(|file| format!(", password = {{ file = {} }}", path(&file))).unwrap_or_default();
        key("auth", format!("{{ user = {}{password} }}", quoted(user)));
    }
    let tls = [("ca", &bridge.ca), ("cert", &bridge.cert), ("key", &bridge.key)];
    let tls: Vec<String> = tls.iter().filter_map(|(name, line)| Some(format!("{name} = {}", path(&line.as_ref()?.path())))).collect();
    if !tls.is_empty() {
        key("tls", format!("{{ {} }}", tls.join(", ")));
    }
    names.push(name);
}

/// A level of a topic.
fn name(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if matches!(c, '/' | '+' | '#' | '{' | '}' | '$') || c.is_control() { '-' } else { c }).collect();
    let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= 64).last().unwrap_or_default();
    text.get(..end).filter(|text| !text.is_empty()).unwrap_or("bridge").to_owned()
}

impl Out<'_> {
    /// A password file or access list: where it is to be found. What we cannot read in it is in the list.
    fn file(&mut self, line: &Line, kind: &str) -> PathBuf {
        let from = line.path();
        if kind == "acl" {
            self.left.push(line.left("a subscription of which nothing may be received is refused, not granted in vain"));
        }
        let bytes = match self.files.read(&from) {
            Ok(bytes) => bytes,
            Err(why) => {
                self.left.push(line.left(why));
                return from;
            }
        };
        let kept = self.without_mistakes(&from, kind, bytes);
        let Some(folder) = self.copy_to else { return from };
        let name = |n: usize| folder.join(if n == 1 { kind.to_owned() } else { format!("{kind}-{n}") });
        // Two listeners may share a file.
        if let Some(same) = self
            .new_files
            .iter()
            .find(|file| file.bytes == kept && file.path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(kind)))
        {
            return same.path.clone();
        }
        let path = (1..).map(name).find(|path| self.new_files.iter().all(|file| file.path != *path)).unwrap_or_default();
        self.new_files.push(NewFile { path: path.clone(), bytes: kept });
        path
    }

    /// The file without the lines that we cannot read; each is in the list. A line without which others would mean more stays, and with it the
    /// file is refused.
    fn without_mistakes(&mut self, from: &Path, kind: &str, bytes: Vec<u8>) -> Vec<u8> {
        let (mut kept, mut read) = (bytes.clone(), bytes);
        for _ in 0..MISTAKES_MAX {
            let result = if kind == "acl" { read_acl(&read).map(drop) } else { read_users(&read).map(drop) };
            let Err((number, what)) = result else { break };
            let line = lines_of(&read).nth(number.saturating_sub(1)).unwrap_or_default().to_vec();
            let goes = self.copy_to.is_some() && (kind == "users" || only_grants(&line));
            let end = if goes { "the line is left out" } else { "the whole file is refused until this is right" };
            self.left.push(Left { file: from.display().to_string(), line: number, word: kind.to_owned(), why: format!("{what}; {end}") });
            if line.is_empty() {
                break;
            }
            read = without_line(&read, number);
            if goes {
                kept = without_line(&kept, number);
            }
        }
        kept
    }

    /// A bridge's password: the file that is to hold it.
    fn secret(&mut self, line: &Line, name: &str) -> PathBuf {
        let Some(folder) = self.copy_to else {
            let path = Path::new("/etc/tidegate").join(format!("{name}.pw"));
            self.left.push(line.left(format!("a password does not stand in the site's file: write it to {}", path.display())));
            return path;
        };
        let path = folder.join(format!("{name}.pw"));
        self.new_files.push(NewFile { path: path.clone(), bytes: line.value.clone().into_bytes() });
        path
    }
}

fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

/// The line becomes empty, so that the others keep their numbers.
fn without_line(bytes: &[u8], number: usize) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines_of(bytes).enumerate().map(|(i, line)| if i + 1 == number { b"" } else { line }).collect();
    lines.join(&b'\n')
}

/// Whether a line of an access list gives rights and does nothing else: it neither denies nor says whom what follows is for.
fn only_grants(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_whitespace();
    matches!(words.next(), Some("topic" | "pattern")) && words.next() != Some("deny")
}

fn origin(line: Option<&Line>) -> String {
    line.map(|line| format!("  # {}:{}", line.file.escape_debug(), line.number)).unwrap_or_default()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
