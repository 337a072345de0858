//! Listeners of the broker.

use super::Kind::{Bool, Choice, Duration, Form, Map, Path, Size, Text, Texts, Whole};
use super::Presence::{Depends, Is, None, Required};
use super::{Choices, Section, key};

/// What a listener's own limit is instead of.
const AS_THE_BROKER: &str = "that of `[broker.limits]`";

pub const LISTENER: Section = Section {
    title: "[[broker.listener]]",
    keys: &[
        key(
            "url",
            Form(
                "`tcp://`, `tls://`, `ws://` or `wss://`, an IP address of this machine, a port if it is not 1883, 8883, 8080 or 8084, and a path for `ws` and `wss`; or `unix://` and a path",
            ),
            Required("\"tls://0.0.0.0:8883\""),
            "where to listen; `0.0.0.0` is every IPv4 address of this machine, `[::]` every address",
        ),
        key("name", Text, Depends("its `url`", "\"floor-2\""), "what the log, the users' rights and `status` call it"),
        key("v6_only", Bool, Is("false"), "`[::]` is for IPv6 alone, not for IPv4, too"),
        key(
            "cert",
            Path,
            None("\"/etc/tidegate/server.pem\""),
            "`tls` and `wss`: its certificate and those that lead to its authority, PEM; needed there",
        ),
        key("key", Path, None("\"/etc/tidegate/server.key\""), "`tls` and `wss`: the certificate's private key, PEM; needed there"),
        key("client_ca", Path, None("\"/etc/tidegate/clients.pem\""), "`tls` and `wss`: authorities of clients' certificates, PEM"),
        key(
            "client_cert",
            Choice(&CLIENT_CERT),
            Depends("`\"required\"` where there is a `client_ca`, else `\"none\"`", "\"required\""),
            "whether clients are asked for a certificate; its common name is the user `cert:NAME`, and the user name in CONNECT must be that or empty",
        ),
        key(
            "crl",
            Path,
            None("\"/etc/tidegate/clients.crl\""),
            "certificates that `client_ca` has revoked, PEM; one authority's list for each of them",
        ),
        key("names", Map, None("{ \"Pump 7\" = \"pump-7\" }"), "users of clients' certificates by common name, instead of `cert:NAME`"),
        key(
            "anonymous",
            Bool,
            Depends("true where no users are known and only this machine reaches it, not by a proxy either, else false", "false"),
            "clients without a user name are let in",
        ),
        key("users", Path, None("\"/etc/tidegate/users\""), "its own file of users, instead of that of `[broker.access]`"),
        key("acl", Path, None("\"/etc/tidegate/acl\""), "its own file of rights, instead of that of `[broker.access]`"),
        key(
            "origins",
            Texts,
            Is("[]"),
            "`ws` and `wss`: pages that may connect, as `\"https://panel.example\"`; without any, only programs that are no browser may",
        ),
        key(
            "hosts",
            Texts,
            Is("[]"),
            "`ws` and `wss`: names by which this machine is called, beside its addresses and `localhost`; others are refused",
        ),
        key(
            "proxy_from",
            Texts,
            Is("[]"),
            "addresses or networks of reverse proxies that say by a PROXY header (1 or 2) who connects; all others are refused there",
        ),
        key("peer_users", Bool, Is("false"), "`unix`: a process is the user `unix:NAME`, NAME being its user on this machine"),
        key("group", Text, Depends("`tidegate` if there is such a group", "\"tidegate\""), "`unix`: the group that may connect"),
        key(
            "connections_max",
            Whole(1, 100_000),
            Depends(AS_THE_BROKER, "100"),
            "connections by this listener; one more is closed at once",
        ),
        key(
            "connections_per_address",
            Whole(1, 100_000),
            Depends(AS_THE_BROKER, "50"),
            "as in `[broker.limits]`, for who comes by this listener",
        ),
        key("connect_timeout", Duration("100ms", "10m"), Depends(AS_THE_BROKER, "\"10s\""), "as in `[broker.limits]`"),
        key("keep_alive_max", Duration("1s", "65535s"), Depends(AS_THE_BROKER, "\"10m\""), "as in `[broker.limits]`"),
        key(
            "packet_max",
            Size("1KiB", "256MiB"),
            Depends(AS_THE_BROKER, "\"64KiB\""),
            "as in `[broker.limits]`, and never more than there",
        ),
        key("publish_rate", Whole(0, 1_000_000), Depends(AS_THE_BROKER, "100"), "as in `[broker.limits]`"),
        key(
            "insecure_plaintext",
            Bool,
            Is("false"),
            "accept that everybody on the network can read along; needed beyond loopback without TLS",
        ),
        key(
            "insecure_anonymous",
            Bool,
            Is("false"),
            "accept that everybody on the network may publish and subscribe; needed beyond loopback, and behind a proxy, where clients without a user name are let in",
        ),
    ],
    later: &["ciphers", "tls_versions"],
    aliases: &[
        ("listen", "url"),
        ("address", "url"),
        ("bind", "url"),
        ("certfile", "cert"),
        ("certificate", "cert"),
        ("tls", "cert"),
        ("keyfile", "key"),
        ("cafile", "client_ca"),
        ("ca", "client_ca"),
        ("crlfile", "crl"),
        ("require_certificate", "client_cert"),
        ("allow_anonymous", "anonymous"),
        ("password_file", "users"),
        ("acl_file", "acl"),
        ("max_connections", "connections_max"),
        ("max_packet_size", "packet_max"),
        ("max_keepalive", "keep_alive_max"),
        ("origin", "origins"),
        ("host", "hosts"),
        ("proxy_protocol", "proxy_from"),
    ],
};

const CLIENT_CERT: Choices = Choices {
    known: &["none", "optional", "required"],
    later: &[],
    aliases: &[("false", "none"), ("no", "none"), ("off", "none"), ("true", "required"), ("yes", "required"), ("request", "optional")],
};
