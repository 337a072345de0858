//! `[broker]` → listeners and limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::error::{Mistake, Report};
use super::super::reader::{At, Table};
use super::store::set;
use crate::broker::{At as Place, Limits, Listener, Options};

/// MQTT's port (IANA: mqtt).
const PORT: u16 = 1_883;

pub(super) fn limits() -> Limits {
    Limits::default()
}

/// The upstreams' topics and names are filled in by the caller.
pub(super) fn broker(broker: Option<Table<'_>>, mut limits: Limits) -> Options {
    let mut listeners = vec![listener_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT))];
    let Some(mut table) = broker else { return Options { listeners, upstreams: Vec::new(), names: Vec::new(), limits } };
    let report = table.report;
    let long = table.tables("listener");
    if table.has("listen") || !long.is_empty() {
        listeners.clear();
        let short = if table.has("listen") { table.texts("listen") } else { None };
        for url in short.unwrap_or_default() {
            if let Some(address) = address(report, &url) {
                let span = url.span.clone();
                if !is_local(address) {
                    insecure(report, &url, true);
                }
                listen(report, &mut listeners, At { value: listener_at(address), span });
            }
        }
        for table in long {
            listener(table, &mut listeners);
        }
    }
    set(&mut limits.queue_qos0, table.bool("queue_qos0"));
    set(&mut limits.sys_interval, table.duration("sys_interval"));
    if let Some(mut table) = table.table("limits") {
        set(&mut limits.packet_max, table.size("packet_max"));
        set(&mut limits.output_max, table.size("output_max"));
        set(&mut limits.session_queue, table.whole("session_queue"));
        set(&mut limits.session_queue_bytes, table.size("session_queue_bytes"));
        set(&mut limits.receive_maximum, table.whole("receive_maximum"));
        set(&mut limits.connections_max, table.whole("connections_max"));
        set(&mut limits.connect_timeout, table.duration("connect_timeout"));
        table.finish();
    }
    let _ = table.take("listen");
    table.finish();
    Options { listeners, upstreams: Vec::new(), names: Vec::new(), limits }
}

fn listener(mut table: Table<'_>, listeners: &mut Vec<Listener>) {
    let report = table.report;
    let url = table.text("url");
    let plaintext = table.bool("insecure_plaintext").unwrap_or(false);
    let anonymous = table.bool("insecure_anonymous").unwrap_or(false);
    if let Some(url) = url
        && let Some(address) = address(report, &url)
    {
        let meant = plaintext && anonymous;
        if !is_local(address) && !meant {
            insecure(report, &url, false);
        }
        listen(report, listeners, At { value: listener_at(address), span: url.span });
    }
    table.finish();
}

/// Named as its address is written.
fn listener_at(address: SocketAddr) -> Listener {
    let at = Place::Tcp(address);
    Listener { name: at.to_string().into(), at, restricted: !is_local(address) }
}

fn listen(report: &Report<'_>, listeners: &mut Vec<Listener>, listener: At<Listener>) {
    let Place::Tcp(address) = listener.value.at else { return listeners.push(listener.value) };
    if address.port() != 0 && listeners.iter().any(|other| other.at == Place::Tcp(address)) {
        report.add(&listener.span, Mistake::error(format!("two listeners have the address {address}")));
        return;
    }
    listeners.push(listener.value);
}

/// The broker is open to the network in plain text and without passwords: the site must say that it means it.
fn insecure(report: &Report<'_>, url: &At<String>, short: bool) {
    let lines = format!("[[broker.listener]]\nurl = \"{}\"\ninsecure_plaintext = true\ninsecure_anonymous = true", url.value);
    let mistake = Mistake::error("other machines reach this listener, in plain text and without a password")
        .expected("an address of this machine alone, as \"tcp://127.0.0.1:1883\"");
    let instead = if short { "take it out of `listen` and write" } else { "write" };
    report.add(&url.span, mistake.help(format_args!("if that is what you want, {instead}\n{lines}")));
}

fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// `tcp://ADDRESS[:PORT]`.
fn address(report: &Report<'_>, url: &At<String>) -> Option<SocketAddr> {
    let wrong = |title: String, help: &str| {
        let mistake = Mistake::error(title).expected("tcp://, an IP address of this machine, and a port: \"tcp://127.0.0.1:1883\"");
        report.add(&url.span, if help.is_empty() { mistake } else { mistake.help(help) });
        None
    };
    let text = url.value.as_str();
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = if parse_address(text).is_some() { format!("write \"tcp://{text}\"") } else { String::new() };
        return wrong(format!("`{text}` is no address to listen at"), &help);
    };
    match scheme {
        "tcp" => {}
        "mqtt" => return wrong("a listener's address begins with tcp://".to_owned(), &format!("write \"tcp://{rest}\"")),
        "mqtts" | "tls" | "ssl" | "ws" | "wss" | "unix" => {
            return wrong(format!("{scheme}:// is not supported for listeners yet in this version"), "");
        }
        _ => return wrong(format!("`{scheme}://` is no scheme of a listener"), ""),
    }
    let port = rest.rsplit_once(':').map_or("", |(_, port)| port);
    match parse_address(rest) {
        Some(address) => Some(address),
        None if rest.contains('/') => wrong(format!("`{text}` has a path"), ""),
        None if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_err() => {
            wrong(format!("`{port}` is no port"), "")
        }
        None => wrong(
            format!("`{rest}` is no IP address with a port"),
            "a name of a host is no address; for every address of this machine, 0.0.0.0",
        ),
    }
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(port) = text.strip_prefix("localhost") {
        let port = if port.is_empty() { PORT } else { port.strip_prefix(':')?.parse().ok()? };
        return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let host = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT))
}
