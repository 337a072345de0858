//! Listeners of Mosquitto.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{Line, Security};

/// One listener; the default value is the one that Mosquitto has without a `listener` line.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Its `listener` line; of the default one its `port` or `bind_address`.
    pub(super) line: Option<Line>,
    /// Of the default one: a line makes it listen. Mosquitto opens it for each that only a listener can have.
    pub(super) is_used: bool,
    pub(super) port: Option<u16>,
    pub(super) bind: Bind,
    pub(super) domain: Option<Domain>,
    pub(super) websockets: Option<Line>,
    pub(super) origins: Vec<String>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ca: Option<Line>,
    pub(super) crl: Option<PathBuf>,
    pub(super) require: Option<Line>,
    pub(super) identity: Option<Line>,
    pub(super) connections_max: Option<u32>,
    pub(super) security: Security,
    /// A line without which it would be more open than it was, or something else altogether.
    pub(super) unfit: Option<(Line, &'static str)>,
}

#[derive(Debug, Default, Clone)]
pub(super) enum Bind {
    #[default]
    All,
    Address(IpAddr),
    /// Both loopback addresses.
    Localhost,
    Unix(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    V4,
    V6,
}

/// What became of a line.
pub(super) enum Word {
    Taken,
    Left(String),
    Unknown,
}

const NAME: &str = "a host's name; a listener wants an IP address of this machine";
const PSK: &str = "TLS is by certificates only: the listener is left out";

impl Listener {
    pub(super) fn new(line: &Line) -> Result<Self, String> {
        let (port, rest) = line.value.split_once([' ', '\t']).map_or((line.value.as_str(), ""), |(port, rest)| (port, rest.trim()));
        let port: u16 = port.parse().map_err(|_| "its port is none: the listener is left out".to_owned())?;
        let bind = if port == 0 && rest.starts_with('/') {
            Bind::Unix(rest.into())
        } else {
            bind(rest).ok_or_else(|| format!("{NAME}: the listener is left out"))?
        };
        Ok(Self { line: Some(line.clone()), is_used: true, port: Some(port), bind, ..Self::default() })
    }

    pub(super) fn take(&mut self, line: &Line) -> Word {
        let before = self.is_used;
        self.is_used = true;
        let word = match line.word.as_str() {
            "port" | "bind_address" => self.of_default(line),
            "certfile" => set(&mut self.cert, line.path()),
            "keyfile" => set(&mut self.key, line.path()),
            "cafile" => set(&mut self.ca, line.clone()),
            "crlfile" => set(&mut self.crl, line.path()),
            "websockets_origin" => {
                self.origins.push(line.value.clone());
                Word::Taken
            }
            "max_connections" => {
                self.connections_max = line.value.parse().ok().filter(|n| *n > 0);
                Word::Taken
            }
            "protocol" => match line.value.as_str() {
                "mqtt" => Word::Taken,
                "websockets" => set(&mut self.websockets, line.clone()),
                _ => self.unfit(line, "no protocol that is known here: the listener is left out"),
            },
            "socket_domain" => match line.value.as_str() {
                "ipv4" => set(&mut self.domain, Domain::V4),
                "ipv6" => set(&mut self.domain, Domain::V6),
                _ => Word::Left("neither ipv4 nor ipv6".to_owned()),
            },
            "require_certificate" => {
                self.require = line.is_true().then(|| line.clone());
                Word::Taken
            }
            "use_identity_as_username" => {
                self.identity = line.is_true().then(|| line.clone());
                Word::Taken
            }
            _ => self.without(line),
        };
        if matches!(word, Word::Unknown) {
            self.is_used = before;
        }
        word
    }

    /// What there is no key for.
    fn without(&mut self, line: &Line) -> Word {
        let why = match line.word.as_str() {
            "capath" => "authorities are read from one file: put them together into it and name it as `client_ca`",
            "mount_point" => {
                return self.unfit(
                    line,
                    "there are no mount points, and its clients would see topics that are kept from them: the listener is left out",
                );
            }
            "bind_interface" => {
                return self
                    .unfit(line, "a listener has an address, not an interface: the listener is left out, for it would be open to others");
            }
            "psk_hint" => return self.unfit(line, PSK),
            "use_subject_as_username" if line.is_true() => {
                return self.unfit(line, "the user of a certificate is its common name, never its subject: the listener is left out");
            }
            "use_subject_as_username" => return Word::Taken,
            "use_username_as_clientid" => "client ids are the clients' own; that one user cannot take over another's session is built in",
            "http_dir" => "there is no web server",
            "max_qos" => "every QoS is served",
            "max_topic_alias" => "the limit is one for all listeners: `[broker.limits] topic_aliases_max`",
            "websockets_log_level" => "the log goes to the journal",
            "websockets_headers_size" => "the limit is one for all listeners: `[broker.limits] websocket_header_max`",
            "ciphers" | "ciphers_tls1.3" | "dhparamfile" | "tls_version" => "TLS is 1.2 or 1.3 with the ciphers of today",
            "tls_engine" | "tls_engine_kpass_sha1" | "tls_keyform" => "the key is a PEM file",
            _ => return Word::Unknown,
        };
        Word::Left(why.to_owned())
    }

    fn of_default(&mut self, line: &Line) -> Word {
        if self.port.is_some() && self.line.as_ref().is_some_and(|line| line.word == "listener") {
            return Word::Left("it stands behind a `listener`".to_owned());
        }
        self.line.get_or_insert_with(|| line.clone());
        if line.word == "port" {
            let Ok(port) = line.value.parse() else { return Word::Left("it is no port".to_owned()) };
            self.port = Some(port);
        } else {
            match bind(&line.value) {
                Some(bind) => self.bind = bind,
                None => return self.unfit(line, "a host's name; a listener wants an IP address of this machine: the listener is left out"),
            }
        }
        Word::Taken
    }

    fn unfit(&mut self, line: &Line, why: &'static str) -> Word {
        self.unfit.get_or_insert_with(|| (line.clone(), why));
        Word::Taken
    }
}

fn bind(text: &str) -> Option<Bind> {
    match text {
        "" => Some(Bind::All),
        "localhost" => Some(Bind::Localhost),
        text => text.trim_matches(['[', ']']).parse().ok().map(Bind::Address),
    }
}

fn set<T>(place: &mut Option<T>, value: T) -> Word {
    *place = Some(value);
    Word::Taken
}
