//! `[[broker.listener]]` and the short form `listen` → the doors. Open to others only as far as the site says so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::super::Environment;
use super::super::error::{Mistake, Report, Span};
use super::super::reader::{At as Written, Table};
use super::secret::warn_if_absent;
use super::{Names, path};
use crate::access::users::check_name;
use crate::broker::{At, Clients, Listener, Network, Tls, Web};

/// Most listeners: an index of them is 16 bits wide, and each has tasks of its own.
const LISTENERS_MAX: usize = 64;

const EXPECTED: &str = "tcp://, an IP address of this machine, and a port: \"tcp://127.0.0.1:1883\"";

/// What the rest of the file says that listeners hang on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) environment: &'a Environment,
    /// The broker has users, for every listener that has no file of its own.
    pub(super) users: bool,
}

/// What listens where the file says nothing.
pub(super) fn default(context: Context<'_>) -> Listener {
    let at = At::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), Scheme::Tcp.port()));
    Listener { anonymous: !context.users, ..Listener::plain(at.to_string().into(), at) }
}

/// One of `listen`.
pub(super) fn short(report: &Report<'_>, url: &Written<String>, context: Context<'_>) -> Option<Listener> {
    let place = place(report, url)?;
    if place.scheme.is_secure() || place.scheme.is_web() {
        let mistake = Mistake::error(format!("`{}` needs the long form", url.value));
        let lines = format!("[[broker.listener]]\nurl = \"{}\"{}", url.value, if place.scheme.is_secure() { SECURE_LINES } else { "" });
        report.add(&url.span, mistake.help(format_args!("take it out of `listen` and write\n{lines}")));
        return None;
    }
    let local = place.is_local();
    if !local {
        insecure(report, url, true, Open::Both);
    }
    let mut listener = Listener::plain(url.value.as_str().into(), place.at);
    listener.name = listener.at.to_string().into();
    listener.anonymous = local && !context.users;
    Some(listener)
}

/// One `[[broker.listener]]`.
pub(super) fn long(mut table: Table<'_>, context: Context<'_>, names: &mut Names) -> Option<Written<Listener>> {
    let report = table.report;
    let header = table.span.clone();
    let url = table.text("url");
    let place = url.as_ref().and_then(|url| place(report, url));
    let Some((url, place)) = url.zip(place) else {
        // What else is wrong with it depends on what it is.
        for key in all_keys() {
            let _ = table.take_given(key);
        }
        table.finish();
        return None;
    };
    let mut listener = Listener::plain(place.at.to_string().into(), place.at.clone());
    let tls = place.scheme.is_secure();
    listener.tls = tls_files(&mut table, &place, &header, context.environment);
    listener.web = web(&mut table, &place);
    unix(&mut table, &place, &mut listener);
    listener.proxy_from = proxies(&mut table, &place);
    listener.connections_max = table.whole("connections_max");
    listener.own = super::limits::own(&mut table);
    listener.name = format!("{}{}", place.scheme.prefix(), place.rest()).into();
    if let Some(name) = table.text("name") {
        if name.value.is_empty() || name.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
            report.add(&name.span, Mistake::error("a listener's name is not empty and has no spaces"));
        }
        if names.add(report, "two listeners are called", &name) {
            listener.name = name.value.into();
        }
    }
    listener.users = file(&mut table, "users", "the users' file", context.environment);
    listener.acl = file(&mut table, "acl", "the rights' file", context.environment);
    let may = May { plaintext: table.bool("insecure_plaintext") == Some(true), anonymous: table.bool("insecure_anonymous") == Some(true) };
    admission(&mut table, &url, &place, &mut listener, may, context);
    table.finish();
    // Without its files there is no telling what it would be.
    (listener.tls.is_some() == tls).then_some(Written { value: listener, span: url.span })
}

fn all_keys() -> impl Iterator<Item = &'static str> {
    super::super::file::LISTENER.keys.iter().map(|key| key.name)
}

/// What the site says that it means.
#[derive(Debug, Clone, Copy)]
struct May {
    plaintext: bool,
    anonymous: bool,
}

/// In which way a listener is open to everybody.
#[derive(Debug, Clone, Copy)]
enum Open {
    Plaintext,
    Anonymous,
    Both,
}

/// Who is let in, and whether the site has said so where that is everybody.
fn admission(table: &mut Table<'_>, url: &Written<String>, place: &Place, listener: &mut Listener, may: May, context: Context<'_>) {
    let report = table.report;
    let certificates = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    let users = context.users || listener.users.is_some();
    let known = users || certificates.is_some_and(|clients| clients.required);
    let local = place.is_local();
    // A proxy brings clients from elsewhere; how they come to it is not known here.
    let alone = local && listener.proxy_from.is_empty();
    let given = table.take_given("anonymous").and_then(|item| {
        let span = item.span.clone();
        item.bool().map(|value| (value, span))
    });
    listener.anonymous = given.as_ref().map_or(!known && (alone || may.anonymous), |(value, _)| *value);
    let nobody = !listener.anonymous && !users && certificates.is_none() && !listener.peer_users;
    let plaintext = !local && !place.scheme.is_secure() && !may.plaintext;
    let anonymous = !alone && !may.anonymous && (listener.anonymous || nobody && given.is_none());
    match (plaintext, anonymous) {
        (true, true) => insecure(report, url, false, Open::Both),
        (true, false) => insecure(report, url, false, Open::Plaintext),
        (false, true) => insecure(report, url, false, Open::Anonymous),
        (false, false) => {}
    }
    if let Some((false, span)) = given.filter(|_| nobody) {
        let mistake = Mistake::error("nobody can come in by this listener: it lets no anonymous clients in and knows no users");
        let expected = "a file of users, `users` in [broker.access] or here; or clients' certificates, `client_ca`";
        report.add(&span, mistake.expected(expected));
    }
}

/// The listener is open to the network in plain text or without passwords: the site must say that it means it.
fn insecure(report: &Report<'_>, url: &Written<String>, short: bool, open: Open) {
    let (how, lines) = match open {
        Open::Both => ("in plain text and without a password", "insecure_plaintext = true\ninsecure_anonymous = true"),
        Open::Plaintext => ("in plain text", "insecure_plaintext = true"),
        Open::Anonymous => ("without a password", "insecure_anonymous = true"),
    };
    let mistake = Mistake::error(format!("other machines reach this listener, {how}")).expected(match open {
        Open::Both | Open::Plaintext => {
            "an address of this machine alone, as \"tcp://127.0.0.1:1883\", or tls:// with users or clients' certificates"
        }
        Open::Anonymous => "users, or clients' certificates: `client_ca`",
    });
    let help = if short {
        format!("if that is what you want, take it out of `listen` and write\n[[broker.listener]]\nurl = \"{}\"\n{lines}", url.value)
    } else {
        format!("if that is what you want, add\n{lines}")
    };
    report.add(&url.span, mistake.help(help));
}

/// Two listeners cannot share a place.
pub(super) fn add(report: &Report<'_>, listeners: &mut Vec<Listener>, new: Listener, span: &Span) {
    let taken = match &new.at {
        At::Tcp(address) => address.port() != 0 && listeners.iter().any(|other| other.at == new.at),
        At::Unix(_) => listeners.iter().any(|other| other.at == new.at),
    };
    if taken {
        let at = match &new.at {
            At::Tcp(address) => address.to_string(),
            At::Unix(path) => path.display().to_string(),
        };
        report.add(span, Mistake::error(format!("two listeners have the address {at}")));
    } else if listeners.len() == LISTENERS_MAX {
        report.add(span, Mistake::error(format!("there are more than {LISTENERS_MAX} listeners")));
    } else {
        listeners.push(new);
    }
}

const SECURE_LINES: &str = "\ncert = \"/etc/tidegate/server.pem\"\nkey = \"/etc/tidegate/server.key\"";

pub(super) fn file(table: &mut Table<'_>, name: &str, what: &str, environment: &Environment) -> Option<std::path::PathBuf> {
    let item = table.take_given(name)?;
    let at = item.span.clone();
    let file = path(item)?;
    warn_if_absent(table.report, &at, what, &file, environment);
    Some(file)
}

fn tls_files(table: &mut Table<'_>, place: &Place, header: &Span, environment: &Environment) -> Option<Tls> {
    if !place.scheme.is_secure() {
        for name in ["cert", "key", "client_ca", "client_cert", "crl", "names"] {
            let help = match place.scheme {
                Scheme::Tcp => format!("write url = \"tls://{}\", or take `{name}` out", place.rest()),
                Scheme::Ws => format!("write url = \"wss://{}\", or take `{name}` out", place.rest()),
                _ => String::new(),
            };
            table.refuse(name, "without TLS", &help);
        }
        return None;
    }
    let report = table.report;
    let has = ["cert", "key"].map(|name| table.has(name));
    let cert = file(table, "cert", "the certificate's file", environment);
    let key = file(table, "key", "the key's file", environment);
    if has != [true, true] {
        let mistake = Mistake::error(format!("{}:// needs a certificate and its key", place.scheme.name()));
        report.missing(header, mistake.expected(format_args!("as{SECURE_LINES}")));
    }
    let clients = clients(table, environment);
    Some(Tls { cert: cert?, key: key?, clients })
}

fn clients(table: &mut Table<'_>, environment: &Environment) -> Option<Clients> {
    let report = table.report;
    let wanted = table.choice("client_cert");
    let ca = file(table, "client_ca", "the authorities' file", environment);
    if let Some(wanted) = wanted.as_ref().filter(|wanted| wanted.value != "none" && ca.is_none()) {
        let mistake = Mistake::error("clients' certificates are signed by somebody: `client_ca` is missing");
        report.add(&wanted.span, mistake.expected("as client_ca = \"/etc/tidegate/clients.pem\""));
    }
    let required = wanted.as_ref().is_none_or(|wanted| wanted.value == "required");
    if ca.is_none() || wanted.is_some_and(|wanted| wanted.value == "none") {
        table.refuse("crl", "without `client_ca`: clients are not asked for certificates", "");
        table.refuse("names", "without `client_ca`: clients are not asked for certificates", "");
        return None;
    }
    let crl = file(table, "crl", "the revocation list's file", environment);
    let mut names = BTreeMap::new();
    for (name, user) in table.take_given("names").and_then(super::super::item::Item::map).unwrap_or_default() {
        // Also so that no certificate stands for another's, a process's or an upstream's user.
        if let Err(error) = check_name(&user.value) {
            report.add(&user.span, Mistake::error(format!("`{}` cannot be `{}`: {error}", name.value, user.value)));
        }
        names.insert(name.value, Arc::from(user.value));
    }
    Some(Clients { ca: ca?, required, crl, names })
}

fn web(table: &mut Table<'_>, place: &Place) -> Option<Web> {
    if !place.scheme.is_web() {
        for name in ["origins", "hosts"] {
            table.refuse(name, "without WebSocket", "");
        }
        return None;
    }
    let report = table.report;
    let (mut origins, mut hosts) = (Vec::new(), Vec::new());
    for origin in table.texts("origins").unwrap_or_default() {
        let host = origin.value.strip_prefix("https://").or_else(|| origin.value.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '*', ' '])) {
            let mistake = Mistake::error(format!("`{}` is no origin", origin.value));
            report.add(
                &origin.span,
                mistake.expected("scheme, host and port as browsers send them: \"https://panel.example\", \"http://10.0.0.5:3000\""),
            );
        } else {
            origins.push(origin.value);
        }
    }
    for host in table.texts("hosts").unwrap_or_default() {
        if host.value.is_empty() || host.value.contains(['/', ':', '*', ' ']) {
            report.add(
                &host.span,
                Mistake::error(format!("`{}` is no host", host.value)).expected("a name without port, as \"gateway.local\""),
            );
        } else {
            hosts.push(host.value);
        }
    }
    Some(Web { path: place.path.clone(), origins, hosts })
}

/// What a unix socket alone has, and what an IPv6 address alone has.
fn unix(table: &mut Table<'_>, place: &Place, listener: &mut Listener) {
    if matches!(place.at, At::Unix(_)) {
        listener.group = table.text("group").map(|group| group.value);
        listener.peer_users = table.bool("peer_users") == Some(true);
    } else {
        table.refuse("group", "is of unix sockets", "");
        table.refuse("peer_users", "is of unix sockets: the kernel knows no user of a process elsewhere", "");
    }
    if matches!(place.at, At::Tcp(SocketAddr::V6(_))) {
        listener.v6_only = table.bool("v6_only") == Some(true);
    } else {
        table.refuse("v6_only", "is of IPv6 addresses", "");
    }
}

fn proxies(table: &mut Table<'_>, place: &Place) -> Vec<Network> {
    if matches!(place.at, At::Unix(_)) {
        table.refuse("proxy_from", "is of TCP: a unix socket's peers have no address", "");
    }
    let Some(item) = table.take_given("proxy_from") else { return Vec::new() };
    let (report, span) = (table.report, item.span.clone());
    let Some(texts) = item.texts() else { return Vec::new() };
    if texts.is_empty() {
        report.add(&span, Mistake::error("`proxy_from` is empty: take it out if no proxy stands before this listener"));
    }
    let mut networks = Vec::new();
    for text in texts {
        match text.value.parse() {
            Ok(network) => networks.push(network),
            Err(()) => {
                let mistake = Mistake::error(format!("`{}` is no address and no network", text.value));
                report.add(&text.span, mistake.expected("as \"10.0.0.5\" or \"10.0.0.0/24\""));
            }
        }
    }
    networks
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Tcp,
    Tls,
    Ws,
    Wss,
    Unix,
}

impl Scheme {
    const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    const fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// IANA: mqtt, secure-mqtt; for WebSocket there is only a habit.
    const fn port(self) -> u16 {
        match self {
            Self::Tcp | Self::Unix => 1_883,
            Self::Tls => 8_883,
            Self::Ws => 8_080,
            Self::Wss => 8_084,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    fn prefix(self) -> String {
        format!("{}://", self.name())
    }
}

/// What a URL says.
#[derive(Debug, Clone)]
struct Place {
    scheme: Scheme,
    at: At,
    path: Option<String>,
}

impl Place {
    /// Only this machine reaches it.
    fn is_local(&self) -> bool {
        match &self.at {
            At::Tcp(address) => address.ip().to_canonical().is_loopback(),
            At::Unix(_) => true,
        }
    }

    /// What follows the scheme.
    fn rest(&self) -> String {
        match &self.at {
            At::Tcp(address) => format!("{address}{}", self.path.as_deref().unwrap_or_default()),
            At::Unix(path) => path.display().to_string(),
        }
    }
}

fn place(report: &Report<'_>, url: &Written<String>) -> Option<Place> {
    let wrong = |title: String, help: &str| {
        let mistake = Mistake::error(title).expected(EXPECTED);
        report.add(&url.span, if help.is_empty() { mistake } else { mistake.help(help) });
        None
    };
    let text = url.value.as_str();
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = if address(text, Scheme::Tcp.port()).is_some() { format!("write \"tcp://{text}\"") } else { String::new() };
        return wrong(format!("`{text}` is no address to listen at"), &help);
    };
    let scheme = match scheme {
        "tcp" => Scheme::Tcp,
        "tls" | "mqtts" => Scheme::Tls,
        "ws" => Scheme::Ws,
        "wss" => Scheme::Wss,
        "unix" => Scheme::Unix,
        "mqtt" => return wrong("a listener's address begins with tcp://".to_owned(), &format!("write \"tcp://{rest}\"")),
        "ssl" => return wrong("`ssl://` is no scheme of a listener".to_owned(), &format!("write \"tls://{rest}\"")),
        "http" => return wrong("`http://` is no scheme of a listener".to_owned(), &format!("write \"ws://{rest}\"")),
        "https" => return wrong("`https://` is no scheme of a listener".to_owned(), &format!("write \"wss://{rest}\"")),
        _ => return wrong(format!("`{scheme}://` is no scheme of a listener"), ""),
    };
    if scheme == Scheme::Unix {
        // What the kernel takes, and a zero at the end (unix(7)).
        return match rest {
            _ if !rest.starts_with('/') => {
                wrong(format!("`{rest}` is no absolute path"), "write unix:// and the socket's path: \"unix:///run/tidegate/mqtt.sock\"")
            }
            _ if rest.len() > 107 || rest.contains('\0') => wrong("a unix socket's path has at most 107 bytes".to_owned(), ""),
            _ => Some(Place { scheme, at: At::Unix(rest.into()), path: None }),
        };
    }
    let (host, path) = match rest.find('/').filter(|_| scheme.is_web()).map(|at| rest.split_at(at)) {
        Some((host, path)) => (host, Some(path)),
        None => (rest, None),
    };
    if path.is_some_and(|path| path.contains(['?', '#', ' ', '%'])) {
        return wrong(format!("`{}` is no path of a listener: it has no `?`, `#`, `%` or space", path.unwrap_or_default()), "");
    }
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    match address(host, scheme.port()) {
        Some(address) => Some(Place { scheme, at: At::Tcp(address), path: path.map(str::to_owned) }),
        None if host.contains('/') => wrong(format!("`{text}` has a path"), ""),
        None if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_err() => {
            wrong(format!("`{port}` is no port"), "")
        }
        None => wrong(
            format!("`{host}` is no IP address with a port"),
            "a name of a host is no address; for every address of this machine, 0.0.0.0",
        ),
    }
}

fn address(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(port) = text.strip_prefix("localhost") {
        let port = if port.is_empty() { default_port } else { port.strip_prefix(':')?.parse().ok()? };
        return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let host = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, default_port))
}
