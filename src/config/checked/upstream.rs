//! `[[upstream]]` → the bridge's options, and what the broker has to know of each.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::super::Environment;
use super::super::error::{Mistake, Report};
use super::super::item::Item;
use super::super::reader::{At, Table};
use super::secret::{secret, warn_if_absent};
use super::{Names, fill, name, path};
use crate::bridge::{Auth, Options, Tls, Version};
use crate::model::{TopicFilter, UpstreamId, UpstreamSet};

/// MQTT's ports (IANA: mqtt, secure-mqtt).
const PORT: u16 = 1_883;
const TLS_PORT: u16 = 8_883;
/// Longest client id in bytes [MQTT-1.5.3].
const CLIENT_ID_MAX: usize = 65_535;

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) options: Options,
    pub(super) topics: Vec<TopicFilter>,
}

/// In the order of the file; one with a mistake is left out.
pub(super) fn upstreams(tables: Vec<Table<'_>>, gateway: &str, packet_max: usize, environment: &Environment) -> Vec<Upstream> {
    let mut names = Names::default();
    let mut upstreams: Vec<Upstream> = Vec::new();
    for (i, table) in tables.into_iter().enumerate() {
        let (report, span) = (table.report, table.span.clone());
        if i == UpstreamSet::MAX {
            report.add(&span, Mistake::error(format!("there are more than {} upstreams", UpstreamSet::MAX)));
        }
        // Beyond 32 the file is refused; the id is of no consequence.
        let id = UpstreamId(u8::try_from(i).unwrap_or(u8::MAX));
        let Some(upstream) = upstream(table, id, gateway, packet_max, environment, &mut names) else { continue };
        let new = &upstream.options;
        if let Some(other) =
            upstreams.iter().map(|u| &u.options).find(|o| (&o.host, o.port, &o.client_id) == (&new.host, new.port, &new.client_id))
        {
            let mistake =
                Mistake::error(format!("`{}` and `{}` have the same host, port and client id `{}`", other.name, new.name, new.client_id));
            report.add(
                &span,
                mistake.note("a broker closes the older of two connections with one client id, so each would close the other for ever"),
            );
        }
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream(
    mut table: Table<'_>,
    id: UpstreamId,
    gateway: &str,
    packet_max: usize,
    environment: &Environment,
    names: &mut Names,
) -> Option<Upstream> {
    let report = table.report;
    let name = table.take("name").and_then(name).filter(|name| names.add(report, "two upstreams are called", name));
    let url = table.take("url").and_then(url);
    let version = table.choice("version").map(|version| if version.value == "3.1.1" { Version::V311 } else { Version::V5 });
    qos(&mut table);
    let upstream_name = name.as_ref().map_or("", |name| name.value.as_str());
    let client_id = table.text("client_id").and_then(|template| client_id(report, &template, gateway, upstream_name));
    let auth_table = table.table("auth");
    let auth_span = auth_table.as_ref().map(|table| table.span.clone());
    let auth = auth_table.map(|table| auth(table, environment));
    let secure = url.as_ref().is_some_and(|url| url.secure);
    let tls = tls(&mut table, url.as_ref(), environment);
    if let (Some(span), Some(url)) = (&auth_span, &url)
        && !secure
        && !url.is_local()
    {
        let mistake = Mistake::warning(format!("the password goes to {} in plain text", url.host));
        report.add(span, mistake.help("with `url = \"mqtts://…\"` nobody on the way can read it"));
    }
    let topics = topics(&mut table);
    let window = table.whole("window");
    let (ack_timeout, connect_timeout) = (table.duration("ack_timeout"), table.duration("connect_timeout"));
    let keep_alive = keep_alive(&mut table);
    table.finish();
    let (name, url) = (name?, url?);
    let options = Options {
        upstream: id,
        gateway: Arc::from(gateway),
        name: Arc::from(name.value),
        host: url.host,
        port: url.port,
        version,
        tls: secure.then_some(tls.unwrap_or_default()),
        client_id: client_id?,
        auth: auth.flatten(),
        window: window?,
        ack_timeout: ack_timeout?,
        connect_timeout: connect_timeout?,
        keep_alive: keep_alive?,
        packet_max,
    };
    Some(Upstream { options, topics: topics? })
}

fn qos(table: &mut Table<'_>) {
    let Some(item) = table.take("qos") else { return };
    let title = match item.whole() {
        Some(At { value: 0, span }) => Some((span, "upstreams at QoS 0 come in a later version")),
        Some(At { value: 2, span }) => Some((span, "messages go up at QoS 1, at least once; after a cut, some may come twice")),
        _ => None,
    };
    if let Some((span, title)) = title {
        table.report.add(&span, Mistake::error(title).expected("qos = 1"));
    }
}

fn client_id(report: &Report<'_>, template: &At<String>, gateway: &str, upstream: &str) -> Option<String> {
    let id = fill(report, template, &[("gateway", gateway), ("upstream", upstream)])?;
    let trouble = if id.is_empty() {
        "is empty"
    } else if id.len() > CLIENT_ID_MAX {
        "is longer than 65535 bytes"
    } else if id.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Some(id);
    };
    report.add(&template.span, Mistake::error(format!("the client id {trouble}")));
    None
}

/// `mqtt://host[:port]`.
#[derive(Debug)]
struct Url {
    secure: bool,
    host: String,
    port: u16,
}

impl Url {
    fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
    }
}

fn url(item: Item<'_>) -> Option<Url> {
    let Some(text) = item.as_str().map(str::to_owned) else { return item.wrong_type() };
    if let Some((userinfo, host)) = text.rsplit_once('@') {
        let (scheme, userinfo) = userinfo.split_once("://").unwrap_or(("mqtt", userinfo));
        return item.secret_in_url(scheme, userinfo, host);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return item.wrong_with(format!("`{text}` is no URL"), &format!("write \"mqtt://{text}\", or \"mqtts://{text}\" for TLS"));
    };
    let secure = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        "tcp" => return item.wrong_with(format!("`{scheme}://` is no scheme of an upstream"), &format!("write \"mqtt://{rest}\"")),
        "ssl" | "tls" => {
            return item.wrong_with(format!("`{scheme}://` is no scheme of an upstream"), &format!("write \"mqtts://{rest}\""));
        }
        "ws" | "wss" | "kafka" => return item.wrong(format!("{scheme}:// upstreams are not supported yet in this version")),
        other => return item.wrong(format!("`{other}://` is no scheme of an upstream")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?']) {
        return item.wrong(format!("`{text}` has a path: MQTT has none"));
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) if host.parse::<Ipv6Addr>().is_ok() => (host, after.strip_prefix(':').or((!after.is_empty()).then_some(after))),
        Some((host, _)) => return item.wrong(format!("`{host}` is no IPv6 address")),
        None if rest.parse::<Ipv6Addr>().is_ok() => {
            return item.wrong_with("an IPv6 address stands in brackets", &format!("write \"{scheme}://[{rest}]\""));
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.map(str::parse) {
        None => {
            if secure {
                TLS_PORT
            } else {
                PORT
            }
        }
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return item.wrong(format!("`{}` is no port", port.unwrap_or_default())),
    };
    let host_form = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(host_form) {
        return item.wrong(format!("`{host}` is no host"));
    }
    Some(Url { secure, host: host.to_owned(), port })
}

fn auth(mut table: Table<'_>, environment: &Environment) -> Option<Auth> {
    let report = table.report;
    let user = table.text("user");
    let password = table.take("password").map(|item| secret(report, item, environment));
    table.finish();
    Some(Auth { user: user?.value, password: password.flatten() })
}

fn tls(table: &mut Table<'_>, url: Option<&Url>, environment: &Environment) -> Option<Tls> {
    if let Some(url) = url.filter(|url| !url.secure) {
        table.refuse("tls", "without TLS", &format!("write url = \"mqtts://{}\", or take `tls` out", url.host));
    }
    let mut tls = table.table("tls")?;
    let report = tls.report;
    let span = tls.span.clone();
    let (cert_given, key_given) = (tls.has("cert"), tls.has("key"));
    let mut file = |name: &str, what: &str| {
        let item = tls.take(name)?;
        let at = item.span.clone();
        let file = path(item)?;
        warn_if_absent(report, &at, what, &file, environment);
        Some(file)
    };
    let ca = file("ca", "the authorities' file");
    let identity = (file("cert", "the certificate's file"), file("key", "the key's file"));
    if cert_given != key_given {
        let (is, other) = if cert_given { ("cert", "key") } else { ("key", "cert") };
        let mistake = Mistake::error(format!("`tls` has `{is}` and no `{other}`"));
        report.missing(&span, mistake.expected("both, for a client certificate, or neither"));
    }
    tls.finish();
    Some(Tls { ca, identity: identity.0.zip(identity.1) })
}

fn topics(table: &mut Table<'_>) -> Option<Vec<TopicFilter>> {
    let report = table.report;
    let item = table.take("topics")?;
    let span = item.span.clone();
    let texts = item.texts()?;
    if texts.is_empty() {
        let mistake = Mistake::error("`topics` is empty: nothing would go up");
        report.add(&span, mistake.expected("topic filters, as topics = [\"#\"]"));
    }
    let mut filters = Vec::new();
    for text in texts {
        if text.value.starts_with('$') {
            report.add(&text.span, Mistake::error(format!("`{}` matches nothing: topics that begin with `$` never go up", text.value)));
            continue;
        }
        match TopicFilter::new(&text.value) {
            Ok(filter) => filters.push(filter),
            Err(error) => report.add(&text.span, Mistake::error(format!("`{}` is no topic filter: {error}", text.value))),
        }
    }
    Some(filters)
}

fn keep_alive(table: &mut Table<'_>) -> Option<Duration> {
    let item = table.take("keep_alive")?;
    let span = item.span.clone();
    let keep_alive = item.duration()?;
    if keep_alive.subsec_nanos() != 0 {
        table
            .report
            .add(&span, Mistake::error("`keep_alive` is in whole seconds").expected(format_args!("as \"{}s\"", keep_alive.as_secs())));
    }
    Some(keep_alive)
}
