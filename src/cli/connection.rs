//! The options by which `tidegate sub` and `tidegate pub` reach a broker: those of mosquitto_sub and mosquitto_pub.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::Failure;
use super::property::Blocks;
use crate::client::{Address, Error, Link, Options, Password, Session, Will};
use crate::model::{QoS, StoredSession, Topic};
use crate::mqtt::Version;
use crate::mqtt::properties::Property;
use crate::{bridge, broker, config};

/// The password, so that it does not stand in the list of processes.
const PASSWORD_VARIABLE: &str = "TIDEGATE_PASSWORD";

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Host to connect to [default: the local gateway: the first listener of its site's file that is plain, else localhost]
    #[arg(short = 'h', long, value_name = "HOST")]
    host: Option<String>,
    /// Its port [default: 1883, or 8883 with TLS]
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Connect by this unix socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    unix: Option<PathBuf>,
    /// All at once: mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC, or unix:///PATH
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port", "unix"])]
    url: Option<String>,
    /// The site's file that names the local gateway's listeners
    #[arg(long, value_name = "FILE", default_value = super::CONFIG_PATH)]
    config: PathBuf,
    /// Client id [default: the broker gives one]
    #[arg(short, long, value_name = "ID", conflicts_with = "id_prefix")]
    id: Option<String>,
    /// Client id: this and the process id
    #[arg(short = 'I', long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Seconds of silence after which a ping is sent
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// Keep the session when the connection ends (wants -i)
    #[arg(short = 'c', long)]
    disable_clean_session: bool,
    /// Seconds that the session outlives the connection; -1: for ever (5.0)
    #[arg(short = 'x', long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = expiry)]
    session_expiry_interval: Option<u32>,
    /// Protocol: mqttv5 (5), mqttv311 (311), mqttv31 (31) [default: 5.0, and 3.1.1 where the broker knows no 5.0]
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = version)]
    protocol_version: Option<Version>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; others see it in the list of processes: better is --password-file, or TIDEGATE_PASSWORD in the environment
    #[arg(short = 'P', long, value_name = "PASSWORD", value_parser = password, conflicts_with = "password_file")]
    pw: Option<Password>,
    /// File with the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Topic of the will
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, value_name = "PAYLOAD", requires = "will_topic")]
    will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", requires = "will_topic", value_parser = qos)]
    will_qos: Option<QoS>,
    /// The will is retained
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// TLS: file with the certificates of trusted authorities, PEM
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// TLS: file with the client's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// TLS: file with its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// TLS with the system's authorities
    #[arg(long, conflicts_with = "cafile")]
    tls_use_os_certs: bool,
    /// A property of 5.0: -D COMMAND NAME VALUE, or -D COMMAND user-property NAME VALUE
    #[arg(short = 'D', long, value_names = ["COMMAND", "NAME", "VALUE"], num_args = 3..=4, action = clap::ArgAction::Append)]
    property: Vec<String>,
    /// Say on standard error what happens
    #[arg(short, long)]
    debug: bool,
    /// Say nothing of errors but by the exit code
    #[arg(long)]
    quiet: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// A broker that was asked for, and what else the options say.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) options: Options,
    /// Of a URL.
    pub(super) topic: Option<String>,
    pub(super) blocks: Blocks,
    pub(super) quiet: bool,
    debug: bool,
    /// The version is the one that was asked for.
    fixed: bool,
}

impl Arguments {
    /// `properties`: the words of each `-D`; `commands`: packets that may have properties; `window`: messages in flight.
    pub(super) fn peer(&self, properties: &[Vec<String>], commands: &[&'static str], window: u16) -> Result<Peer, Failure> {
        let mut blocks = Blocks::parse(properties, commands).map_err(Failure::wrong)?;
        let url = self.url.as_deref().map(Url::parse).transpose().map_err(Failure::wrong)?.unwrap_or_default();
        let needs_5 = !blocks.is_empty() || self.session_expiry_interval.is_some();
        let version = self.protocol_version.unwrap_or(Version::V5);
        if needs_5 && !version.is_5() {
            return Err(Failure::wrong("-D and -x are of MQTT 5.0, and -V asks for another version"));
        }
        if let Some(seconds) = self.session_expiry_interval.or(self.disable_clean_session.then_some(StoredSession::NEVER)) {
            blocks.push("connect", &Property::SessionExpiry(seconds));
        }
        let user = self.username.clone().or(url.user);
        let password = self.password(user.is_some(), url.password)?;
        if password.is_some() && user.is_none() && !version.is_5() {
            return Err(Failure::wrong("a password without a user name is of MQTT 5.0"));
        }
        let client_id = self.client_id(version)?;
        let will = self.will_topic.as_ref().map(|topic| Will {
            topic: topic.clone(),
            body: self.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: self.will_qos.unwrap_or(QoS::AtMostOnce),
            retain: self.will_retain,
            properties: blocks.take("will"),
        });
        if will.as_ref().is_some_and(|will| will.body.len() > 65_535) {
            return Err(Failure::wrong("a will's payload has at most 65535 bytes"));
        }
        let (address, tls) = self.address(url.address, url.tls);
        let options = Options {
            address,
            tls,
            version,
            clean: !self.disable_clean_session,
            keep_alive: self.keepalive,
            client_id,
            user,
            password,
            will,
            connect_properties: blocks.take("connect"),
            disconnect_properties: blocks.take("disconnect"),
            window,
        };
        let fixed = self.protocol_version.is_some() || needs_5;
        Ok(Peer { options, topic: url.topic, blocks, quiet: self.quiet, debug: self.debug, fixed })
    }

    fn password(&self, named: bool, of_url: Option<Password>) -> Result<Option<Password>, Failure> {
        if let Some(path) = &self.password_file {
            return Password::of_file(path).map(Some).map_err(Failure::wrong);
        }
        let given = self.pw.clone().or(of_url);
        // The variable may be meant for somebody else where no user is named.
        Ok(given.or_else(|| std::env::var(PASSWORD_VARIABLE).ok().filter(|_| named).map(|text| Password::new(&text))))
    }

    fn client_id(&self, version: Version) -> Result<String, Failure> {
        let id = match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            (None, None) if self.disable_clean_session => {
                return Err(Failure::wrong("-c keeps a session, which wants a client id to be found by: add -i ID"));
            }
            // 3.1 has no way to be given one, and allows 23 bytes.
            (None, None) if version == Version::V31 => format!("tg-{:016x}", getrandom::u64().map_err(Failure::new)?),
            (None, None) => String::new(),
        };
        if id.len() > 65_535 { Err(Failure::wrong("a client id has at most 65535 bytes")) } else { Ok(id) }
    }

    fn address(&self, of_url: Option<Address>, tls_of_url: bool) -> (Address, Option<bridge::Tls>) {
        let wants_tls = tls_of_url || self.cafile.is_some() || self.cert.is_some() || self.tls_use_os_certs || self.port == Some(8883);
        let tls = wants_tls.then(|| bridge::Tls { ca: self.cafile.clone(), identity: self.cert.clone().zip(self.key.clone()) });
        let default_port = if wants_tls { 8883 } else { 1883 };
        let address = match (of_url, &self.unix, &self.host, self.port) {
            (Some(Address::Tcp { host, port: 0 }), ..) => Address::Tcp { host, port: default_port },
            (Some(address), ..) => address,
            (None, Some(path), ..) => Address::Unix(path.clone()),
            (None, None, None, None) if !wants_tls => self.local().unwrap_or_else(|| localhost(default_port)),
            (None, None, host, port) => {
                Address::Tcp { host: host.clone().unwrap_or_else(|| "localhost".to_owned()), port: port.unwrap_or(default_port) }
            }
        };
        (address, tls)
    }

    /// The local gateway, if its site's file can be read.
    fn local(&self) -> Option<Address> {
        let site = config::load(&self.config).ok()?;
        site.broker.listeners.iter().find_map(of_listener)
    }
}

/// Where a listener is reached from this machine, if it takes plain MQTT.
fn of_listener(listener: &broker::Listener) -> Option<Address> {
    if listener.has_threshold() {
        return None;
    }
    match &listener.at {
        broker::At::Unix(path) => Some(Address::Unix(path.clone())),
        broker::At::Tcp(address) => {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            Some(Address::Tcp { host: ip.to_string(), port: address.port() })
        }
    }
}

fn localhost(port: u16) -> Address {
    Address::Tcp { host: "localhost".to_owned(), port }
}

impl Peer {
    /// Connects; tries 3.1.1 once where the broker knows no 5.0 and nobody asked for it.
    pub(super) async fn open(&mut self, session: &mut Session) -> Result<Link, Error> {
        loop {
            self.trace(|| format!("connecting to {}", self.options.address));
            match Link::open(&self.options, session).await {
                Ok((link, connack)) => {
                    self.trace(|| format!("connected: {connack:?}"));
                    return Ok(link);
                }
                Err(error) => {
                    let unknown = match &error {
                        Error::Refused { refused, .. } => refused.is_of_version(),
                        Error::Unanswered => true,
                        _ => false,
                    };
                    if !unknown || self.fixed || !self.options.version.is_5() {
                        return Err(error);
                    }
                    self.trace(|| format!("{error}; trying 3.1.1"));
                    self.options.version = Version::V311;
                }
            }
        }
    }

    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if self.debug {
            super::complain(&text());
        }
    }

    pub(super) fn complain(&self, text: &str) {
        if !self.quiet {
            super::complain(text);
        }
    }

    /// How the command ends for this.
    pub(super) fn failure(&self, error: Error) -> Failure {
        Failure { code: error.exit_code(), error: error.into(), quiet: self.quiet }
    }
}

/// What a URL says.
#[derive(Debug, Default)]
struct Url {
    address: Option<Address>,
    tls: bool,
    user: Option<String>,
    password: Option<Password>,
    topic: Option<String>,
}

impl Url {
    /// A port that is not said is 0. Nothing of the URL is in the error: it may hold a password.
    fn parse(url: &str) -> Result<Self, &'static str> {
        if let Some(path) = url.strip_prefix("unix://") {
            let absolute = path.starts_with('/');
            let address = Some(Address::Unix(path.into()));
            return if absolute { Ok(Self { address, ..Self::default() }) } else { Err("-L unix:///PATH wants an absolute path") };
        }
        let (rest, tls) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err("-L takes mqtt://, mqtts:// or unix://"),
        };
        let (authority, topic) = rest.split_once('/').map_or((rest, None), |(authority, topic)| (authority, Some(topic.to_owned())));
        let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let bad = "-L wants mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/TOPIC]";
        let (user, password) = match login.map(|login| login.split_once(':').map_or((login, None), |(user, pw)| (user, Some(pw)))) {
            None => (None, None),
            Some((user, password)) => (
                Some(decoded(user).ok_or(bad)?),
                password.map(|text| decoded(text).ok_or(bad)).transpose()?.map(|text| Password::new(&text)),
            ),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(bad)?)),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(bad)).transpose()?.unwrap_or(0);
        if host.is_empty() || (host.contains(':') && !place.starts_with('[')) {
            return Err(bad);
        }
        let address = Some(Address::Tcp { host: host.to_owned(), port });
        Ok(Self { address, tls, user, password, topic: topic.filter(|topic| !topic.is_empty()) })
    }
}

/// RFC 3986, 2.1.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "mqttv31" | "31" | "3.1" => Ok(Version::V31),
        "mqttv311" | "311" | "3.1.1" => Ok(Version::V311),
        "mqttv5" | "5" | "5.0" => Ok(Version::V5),
        _ => Err("there are mqttv31, mqttv311 and mqttv5".to_owned()),
    }
}

pub(super) fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_u8).ok_or_else(|| "there are 0, 1 and 2".to_owned())
}

pub(super) fn topic(text: &str) -> Result<String, String> {
    Topic::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(StoredSession::NEVER),
        _ => text.parse().map_err(|_| format!("-1, or 0 to {}", u32::MAX)),
    }
}

fn password(text: &str) -> Result<Password, String> {
    Ok(Password::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who_and_what() {
        let tcp = |host: &str, port| Some(Address::Tcp { host: host.to_owned(), port });
        for (url, address, tls, user, password, topic) in [
            ("mqtt://h", tcp("h", 0), false, None, None, None),
            ("mqtt://h/", tcp("h", 0), false, None, None, None),
            ("mqtt://h:1884/a/b/#", tcp("h", 1884), false, None, None, Some("a/b/#")),
            ("mqtts://u@h", tcp("h", 0), true, Some("u"), None, None),
            ("mqtt://u%40x:p%3a%2Fw@[::1]:1/t", tcp("::1", 1), false, Some("u@x"), Some("p:/w"), Some("t")),
            ("mqtt://[fe80::1]", tcp("fe80::1", 0), false, None, None, None),
            ("unix:///run/x.sock", Some(Address::Unix("/run/x.sock".into())), false, None, None, None),
        ] {
            let got = Url::parse(url).expect("a good one");
            assert_eq!((got.address, got.tls, got.user.as_deref(), got.topic.as_deref()), (address, tls, user, topic), "{url}");
            assert_eq!(got.password, password.map(Password::new), "{url}");
        }
        for url in ["h", "http://h", "mqtt://", "mqtt://h:x", "mqtt://h:0", "mqtt://::1", "mqtt://[::1]x", "unix://x", "mqtt://%zz@h"] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
    }
}
