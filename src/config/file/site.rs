//! The whole file, the gateway, the store, the broker.

use super::Kind::{Bool, Choice, Duration, Name, Number, Path, Size, Table, Tables, Template, Texts, Whole};
use super::Presence::{Depends, Is, Required};
use super::{ABSENT, BUS, Choices, DEVICE, LIMITS, LISTENER, Section, UPSTREAM, key};

pub const ROOT: Section = Section {
    title: "the file",
    keys: &[
        key("gateway", Table(&GATEWAY), Required("[gateway]\nid = \"plant-7\""), "the site's own name"),
        key("store", Table(&STORE), ABSENT, "what must not be lost, on disk"),
        key("clock", Table(&CLOCK), ABSENT, "when the system's clock is to be believed"),
        key("broker", Table(&BROKER), ABSENT, "the MQTT broker for local clients"),
        key("bus", Tables(&BUS), ABSENT, "a serial port"),
        key("device", Tables(&DEVICE), ABSENT, "a device on a bus"),
        key("upstream", Tables(&UPSTREAM), ABSENT, "an MQTT broker that everything goes up to"),
    ],
    later: &["history", "lane", "rule", "table", "http", "log"],
    aliases: &[
        ("buses", "bus"),
        ("devices", "device"),
        ("upstreams", "upstream"),
        ("mqtt", "broker"),
        ("outbox", "store"),
        ("site", "gateway"),
    ],
};

pub const GATEWAY: Section = Section {
    title: "[gateway]",
    keys: &[
        key(
            "id",
            Name,
            Required("\"plant-7\""),
            "name of this gateway, first level of its topics; unique among those that share an upstream",
        ),
        key("topic", Template, Is("\"{gateway}/{device}/{point}\""), "topic of every point that has none of its own"),
    ],
    later: &[],
    aliases: &[("name", "id")],
};

pub const STORE: Section = Section {
    title: "[store]",
    keys: &[
        key(
            "path",
            Path,
            Depends("`store.db` in `$STATE_DIRECTORY`, else `/var/lib/tidegate/store.db`", "\"/var/lib/tidegate/store.db\""),
            "the SQLite file; its folder is made where it is absent",
        ),
        key(
            "max_bytes",
            Size("256KiB", "16TiB"),
            Is("\"1GiB\""),
            "most that it may use; beyond it, clients' messages at QoS 1 and 2 are refused and readings dropped and counted",
        ),
        key(
            "ack_wait",
            Duration("0s", "5s"),
            Is("\"500ms\""),
            "how long a message waits for an upstream's answer before it is written; `\"0s\"` buys latency with wear",
        ),
        key("ack_delay", Duration("0s", "10s"), Is("\"200ms\""), "longest that a commit which a publisher waits for is put off"),
        key(
            "flush_interval",
            Duration("10ms", "1h"),
            Is("\"1s\""),
            "longest that a commit which nobody waits for is put off: so many readings may be lost at a power cut",
        ),
        key("commit_rows", Whole(1, 65_536), Is("256"), "so many rows that are due are committed at once"),
        key("commit_bytes", Size("1KiB", "64MiB"), Is("\"256KiB\""), "so many bytes that are due are committed at once"),
        key("commits_per_second", Number, Is("6"), "commits for waiting publishers, beyond a burst of 20: bounds the wear of the flash"),
        key(
            "progress_rows",
            Whole(1, 1_000_000),
            Is("4096"),
            "after so many stored messages went up, this progress is committed: bounds the duplicates after a kill",
        ),
        key(
            "wal_max_bytes",
            Size("64KiB", "1GiB"),
            Depends("`\"4MiB\"`, or a quarter of `max_bytes` if that is less", "\"4MiB\""),
            "the write-ahead log is emptied into the file at this size",
        ),
        key("unsecured_max", Size("64KiB", "1GiB"), Is("\"8MiB\""), "messages accepted and not yet secured; above it publishers are held"),
        key(
            "refuse_close",
            Duration("1s", "1h"),
            Is("\"30s\""),
            "how long a publish is held for a full queue before its connection is closed",
        ),
    ],
    later: &["min_free_bytes", "ballast_bytes"],
    aliases: &[("file", "path"), ("db", "path"), ("database", "path"), ("max_size", "max_bytes"), ("size", "max_bytes")],
};

pub const CLOCK: Section = Section {
    title: "[clock]",
    keys: &[key(
        "trust",
        Choice(&TRUST),
        Is("\"auto\""),
        "whether time without power counts for what expires: `auto` where systemd-timesyncd said before and after it that the clock is set",
    )],
    later: &[],
    aliases: &[("trusted", "trust")],
};

const TRUST: Choices = Choices {
    known: &["auto", "always", "never"],
    later: &[],
    aliases: &[("true", "always"), ("yes", "always"), ("false", "never"), ("no", "never")],
};

pub const BROKER: Section = Section {
    title: "[broker]",
    keys: &[
        key(
            "listen",
            Texts,
            Is("[\"tcp://127.0.0.1:1883\"]"),
            "addresses for local clients without TLS, this machine only; the default holds where no `[[broker.listener]]` is given either",
        ),
        key("listener", Tables(&LISTENER), ABSENT, "the long form: TLS, WebSocket, unix sockets, and addresses that other machines reach"),
        key("queue_qos0", Bool, Is("false"), "queue QoS 0, too, for persistent clients that are away; in memory only"),
        key(
            "sys_interval",
            Duration("0s", "1d"),
            Is("\"10s\""),
            "how often `$SYS/...` says what has changed in the broker; 0s: there is no `$SYS`",
        ),
        key("access", Table(&ACCESS), ABSENT, "who clients are, and what they may do"),
        key("limits", Table(&LIMITS), ABSENT, "how much clients may ask for"),
    ],
    later: &[],
    aliases: &[("listeners", "listen"), ("bind", "listen"), ("port", "listen"), ("address", "listen")],
};

pub const ACCESS: Section = Section {
    title: "[broker.access]",
    keys: &[
        key(
            "users",
            Path,
            Depends("nobody is known by name", "\"/etc/tidegate/users\""),
            "who may come in by name and password; `tidegate passwd` writes this file",
        ),
        key(
            "acl",
            Path,
            Depends("users may do everything, anonymous clients everything but `.../set` and `$`", "\"/etc/tidegate/acl\""),
            "what each may do",
        ),
    ],
    later: &[],
    aliases: &[("password_file", "users"), ("passwords", "users"), ("passwd", "users"), ("acl_file", "acl"), ("rights", "acl")],
};
