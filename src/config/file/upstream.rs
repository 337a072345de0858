//! Upstreams, and how to log in there.

use super::Kind::{Choice, Duration, Form, Name, Path, Secret, Table, Template, Text, Texts, Whole};
use super::Presence::{Depends, Is, None, Required};
use super::{ABSENT, Choices, Section, key};

pub const UPSTREAM: Section = Section {
    title: "[[upstream]]",
    keys: &[
        key(
            "name",
            Name,
            Required("\"cloud\""),
            "its identity: what is owed to it is kept under this name; a rename is a removal and an addition",
        ),
        key(
            "url",
            Form("`mqtt://` or `mqtts://` and a host, with a port if it is not 1883 or 8883"),
            Required("\"mqtts://mqtt.example.net\""),
            "where it is; `mqtts://` is TLS",
        ),
        key(
            "version",
            Choice(&VERSIONS),
            Depends("5.0, and 3.1.1 where the upstream knows no other", "\"5.0\""),
            "of MQTT; one that stands here is kept to",
        ),
        key("qos", Whole(0, 2), Is("1"), "1: everything is acknowledged"),
        key("client_id", Template, Is("\"tidegate-{gateway}-{upstream}\""), "with `{gateway}` and `{upstream}`; unique at that upstream"),
        key("auth", Table(&AUTH), ABSENT, "user and password"),
        key("tls", Table(&TLS), ABSENT, "`mqtts://`: certificates that are not the system's"),
        key("topics", Texts, Is("[\"#\"]"), "topic filters of what goes up; `$` topics never do"),
        key("window", Whole(1, 16_384), Is("100"), "messages sent and not yet acknowledged"),
        key(
            "ack_timeout",
            Duration("1s", "1h"),
            Is("\"30s\""),
            "from sending a message to its acknowledgement; then the connection is made anew",
        ),
        key("connect_timeout", Duration("100ms", "10m"), Is("\"10s\""), "for the connection to stand"),
        key("keep_alive", Duration("5s", "18h"), Is("\"30s\""), "MQTT's keep-alive, whole seconds"),
    ],
    later: &[
        "retain",
        "replay",
        "rate",
        "encoding",
        "connections",
        "map",
        "subscribe",
        "discard",
        "delivery",
        "mode",
        "compression",
        "options",
        "will",
    ],
    aliases: &[
        ("host", "url"),
        ("server", "url"),
        ("address", "url"),
        ("broker", "url"),
        ("port", "url"),
        ("clientid", "client_id"),
        ("id", "client_id"),
        ("user", "auth"),
        ("username", "auth"),
        ("password", "auth"),
        ("ca", "tls"),
        ("cert", "tls"),
        ("key", "tls"),
        ("cafile", "tls"),
        ("topic", "topics"),
        ("keepalive", "keep_alive"),
        ("timeout", "ack_timeout"),
        ("max_inflight", "window"),
        ("protocol", "url"),
    ],
};

pub const AUTH: Section = Section {
    title: "auth = { … }",
    keys: &[
        key("user", Text, Required("\"site7\""), "MQTT's user name"),
        key("password", Secret, None("{ file = \"/etc/tidegate/cloud.pw\" }"), "where the password is: never the password itself"),
    ],
    later: &["token"],
    aliases: &[("username", "user"), ("name", "user"), ("login", "user"), ("pass", "password"), ("passwd", "password")],
};

pub const SECRET: Section = Section {
    title: "password = { … }",
    keys: &[
        key("file", Path, None("\"/etc/tidegate/cloud.pw\""), "a file that holds it; one newline at its end is not part of it"),
        key("env", Text, None("\"CLOUD_PASSWORD\""), "a variable of the environment"),
        key("credential", Text, None("\"cloud-password\""), "a credential of systemd: `LoadCredential=` in the unit"),
    ],
    later: &[],
    aliases: &[("path", "file"), ("var", "env"), ("variable", "env"), ("environment", "env"), ("cred", "credential")],
};

pub const TLS: Section = Section {
    title: "tls = { … }",
    keys: &[
        key(
            "ca",
            Path,
            Depends("the system's", "\"/etc/tidegate/ca.pem\""),
            "PEM file of the authorities that are trusted, instead of the system's",
        ),
        key("cert", Path, None("\"/etc/tidegate/client.pem\""), "PEM file of the client certificate and its chain; with `key`"),
        key("key", Path, None("\"/etc/tidegate/client.key\""), "PEM file of its private key"),
    ],
    later: &["server_name", "alpn", "pins"],
    aliases: &[
        ("cafile", "ca"),
        ("ca_file", "ca"),
        ("ca_cert", "ca"),
        ("certfile", "cert"),
        ("cert_file", "cert"),
        ("certificate", "cert"),
        ("keyfile", "key"),
        ("key_file", "key"),
    ],
};

const VERSIONS: Choices = Choices {
    known: &["5.0", "3.1.1"],
    later: &[],
    aliases: &[
        ("3", "3.1.1"),
        ("4", "3.1.1"),
        ("311", "3.1.1"),
        ("v3.1.1", "3.1.1"),
        ("3.1", "3.1.1"),
        ("5", "5.0"),
        ("v5", "5.0"),
        ("v5.0", "5.0"),
    ],
};
