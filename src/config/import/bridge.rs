//! Bridges of Mosquitto → upstreams.

use super::{Left, Line};
use crate::model::TopicFilter;

/// One `connection`.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) line: Line,
    pub(super) host: Option<(String, Option<u16>)>,
    pub(super) version: Option<&'static str>,
    pub(super) client_id: Option<Line>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Line>,
    pub(super) keep_alive: Option<u64>,
    pub(super) ca: Option<Line>,
    pub(super) cert: Option<Line>,
    pub(super) key: Option<Line>,
    /// Authorities in a folder: TLS, with the system's.
    pub(super) has_capath: bool,
    /// Filters of what goes up.
    pub(super) topics: Vec<String>,
    /// It left RETAIN out.
    pub(super) is_not_retained: bool,
    pub(super) unfit: Option<(Line, &'static str)>,
}

/// Words that mean a bridge once a `connection` has begun.
pub(super) fn is_its_word(word: &str) -> bool {
    word.starts_with("bridge_")
        || word.starts_with("remote_")
        || word.starts_with("local_")
        || matches!(
            word,
            "address"
                | "addresses"
                | "topic"
                | "clientid"
                | "username"
                | "password"
                | "keepalive_interval"
                | "cleansession"
                | "notifications"
                | "notifications_local_only"
                | "notification_topic"
                | "start_type"
                | "restart_timeout"
                | "round_robin"
                | "try_private"
                | "threshold"
                | "idle_timeout"
        )
}

impl Bridge {
    pub(super) fn new(line: &Line) -> Self {
        Self {
            line: line.clone(),
            host: None,
            version: None,
            client_id: None,
            user: None,
            password: None,
            keep_alive: None,
            ca: None,
            cert: None,
            key: None,
            has_capath: false,
            topics: Vec::new(),
            is_not_retained: false,
            unfit: None,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.has_capath
    }

    pub(super) fn take(&mut self, line: &Line, left: &mut Vec<Left>) {
        let mut lost = |why: &str| left.push(line.left(why));
        match line.word.as_str() {
            "address" | "addresses" => self.address(line, left),
            "topic" => self.topic(line, left),
            "remote_clientid" | "clientid" => self.client_id = Some(line.clone()),
            "remote_username" | "username" => self.user = Some(line.value.clone()),
            "remote_password" | "password" => self.password = Some(line.clone()),
            "keepalive_interval" => match line.value.parse() {
                Ok(seconds) => self.keep_alive = Some(seconds),
                Err(_) => lost("it is no number"),
            },
            "bridge_cafile" => self.ca = Some(line.clone()),
            "bridge_certfile" => self.cert = Some(line.clone()),
            "bridge_keyfile" => self.key = Some(line.clone()),
            "bridge_capath" => {
                self.has_capath = true;
                lost("authorities are read from one file; the system's are trusted until `tls = { ca = … }` names it");
            }
            "bridge_protocol_version" => match line.value.as_str() {
                "mqttv50" => self.version = Some("5.0"),
                "mqttv311" => self.version = Some("3.1.1"),
                _ => lost("upstreams speak 5.0 or 3.1.1"),
            },
            "bridge_psk" | "bridge_identity" => self.unfit = Some((line.clone(), "TLS is by certificates only: the bridge is left out")),
            "bridge_insecure" if !line.is_true() => {}
            "bridge_outgoing_retain" if !line.is_true() => self.is_not_retained = true,
            "cleansession" if !line.is_true() => {}
            word => lost(why_not(word)),
        }
    }

    /// Host and port; a further one is a second chance that we do not have.
    fn address(&mut self, line: &Line, left: &mut Vec<Left>) {
        let mut all = line.value.split_whitespace();
        self.host = all.next().map(|text| match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host.to_owned(), port.parse().ok()),
            _ => (text.to_owned(), None),
        });
        if all.next().is_some() {
            left.push(line.left("an upstream has one address: the first"));
        }
    }

    /// `topic PATTERN [DIRECTION [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]`
    fn topic(&mut self, line: &Line, left: &mut Vec<Left>) {
        let mut words = line.value.split_whitespace().map(|word| if word == "\"\"" { "" } else { word });
        let pattern = words.next().unwrap_or_default();
        let direction = words.next().unwrap_or("out");
        let qos: u8 = words.next().unwrap_or("0").parse().unwrap_or_default();
        let (local, remote) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let filter = format!("{local}{pattern}");
        if direction == "in" || direction == "both" {
            left.push(line.left("nothing is fetched from an upstream; let that broker's own bridge send it here"));
        }
        if direction == "in" {
            return;
        }
        if local != remote {
            left.push(line.left(format!(
                "topics go up under their own names, so that {filter:?} would arrive under others than those wanted: it does not go up"
            )));
            return;
        }
        if TopicFilter::new(&filter).is_err() {
            left.push(line.left("it is no topic filter"));
            return;
        }
        if filter.starts_with('$') {
            left.push(line.left("topics that begin with $ never go up"));
            return;
        }
        match qos {
            0 => left.push(line.left("it goes up at QoS 1, so that nothing is lost")),
            1 => {}
            _ => left.push(line.left("it goes up at QoS 1: after a cut, some may come twice")),
        }
        self.topics.push(filter);
    }
}

fn why_not(word: &str) -> &'static str {
    match word {
        "bridge_insecure" => "the name in an upstream's certificate is always checked",
        "bridge_attempt_unsubscribe" => "nothing is subscribed to at an upstream",
        "bridge_bind_address" => "the system chooses the address by which an upstream is reached",
        "bridge_max_packet_size" => "the limit is that of `[broker.limits] packet_max`, and the upstream's own",
        "bridge_outgoing_retain" => "what goes up is not retained there",
        "bridge_alpn" => "no ALPN is spoken",
        "bridge_require_ocsp" => "certificates are not asked about by OCSP",
        "bridge_tls_version" => "TLS is 1.2 or 1.3",
        "cleansession" => "what an upstream has not acknowledged is kept here in any case",
        "notifications" | "notifications_local_only" | "notification_topic" => {
            "the state is in `tidegate status` and `$SYS/broker/connection/NAME/state`"
        }
        "start_type" | "threshold" | "idle_timeout" => "an upstream is always connected",
        "restart_timeout" => "the pauses before it is tried again are fixed",
        "round_robin" => "an upstream has one address",
        "try_private" => "an upstream is a client as any other there",
        _ if word.starts_with("local_") => {
            "an upstream is no client of the broker here; what it sends has the rights of the user `upstream:NAME`"
        }
        _ => "no word of Mosquitto 2.0 that is known here",
    }
}
