use std::collections::BTreeMap;

use super::*;

/// Files by their path.
struct Given(BTreeMap<&'static str, &'static str>);

impl Files for Given {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let text = path.to_str().and_then(|path| self.0.get(path));
        text.map(|text| text.as_bytes().to_vec()).ok_or_else(|| format!("{} cannot be read", path.display()))
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        Ok(self.0.keys().map(PathBuf::from).filter(|path| path.parent() == Some(folder)).collect())
    }
}

const HASH: &str = "anna:$6$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\nbert:plain secret\n";

fn given(conf: &'static str) -> Given {
    Given(BTreeMap::from([
        ("/m/mosquitto.conf", conf),
        ("/m/passwd", HASH),
        ("/m/users", "# nobody\n"),
        ("/m/acl", "user anna\ntopic a/#\nuser pump 7\ntopic b\nuser cert:x\ntopic c\n"),
        ("/m/bad-acl", "user anna\ntopic a/#\nfoo\ntopic read\n"),
        ("/m/conf.d/B.conf", "sys_interval 2\n"),
        ("/m/conf.d/a.conf", "sys_interval 1\nqueue_qos0_messages true\n"),
        ("/m/conf.d/b.conf", "sys_interval 3\n"),
        ("/m/conf.d/c.conf~", "sys_interval 4\n"),
    ]))
}

fn import(conf: &'static str, copy_to: Option<&Path>) -> Import {
    let files = given(conf);
    let lines = gather(Path::new("/m/mosquitto.conf"), &files).expect("it can be read");
    convert(&lines, &files, Request { id: "plant-7", copy_to })
}

/// What the file says in one table or another, without comments and the lines that each file has; the list, without the file's path.
fn said(import: &Import) -> (Vec<String>, Vec<String>) {
    if let Some(mistakes) = &import.mistakes {
        panic!("{mistakes}\n{}", import.site);
    }
    let lines = import.site.lines().map(|line| line.split("  # ").next().unwrap_or_default().trim_end());
    let site = lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !matches!(*line, "[gateway]" | "id = \"plant-7\""));
    let left = import.left.iter().map(|left| left.to_string().replace("/m/mosquitto.conf:", ""));
    (site.map(str::to_owned).collect(), left.collect())
}

/// With a password file, so that somebody can come in.
fn check_known(conf: &str, site: &[&str], left: &[&str]) {
    let conf = format!("{conf}password_file /m/users\n").leak();
    check(conf, &[&["[broker.access]", "users = \"/m/users\""], site].concat(), left);
}

fn check(conf: &'static str, site: &[&str], left: &[&str]) {
    let (got_site, got_left) = said(&import(conf, None));
    assert_eq!(got_site, site, "the site's file of\n{conf}");
    assert_eq!(got_left, left, "what was left of\n{conf}");
}

const LOCAL: [&str; 6] = [
    "[[broker.listener]]",
    "url = \"tcp://127.0.0.1:1883\"",
    "anonymous = true",
    "[[broker.listener]]",
    "url = \"tcp://[::1]:1883\"",
    "anonymous = true",
];

#[test]
fn a_file_without_listeners_serves_this_machine() {
    check("", &LOCAL, &[]);
    check("# listener 1883\n\n", &LOCAL, &[]);
    check_known("allow_anonymous false\n", &LOCAL.map(|line| if line == "anonymous = true" { "anonymous = false" } else { line }), &[]);
}

#[test]
fn listeners_listen_where_they_did() {
    let plain = "insecure_plaintext = true";
    for (conf, url, more) in [
        ("listener 1883\n", "tcp://[::]:1883", &["anonymous = false", plain][..]),
        ("listener 1884 127.0.0.1\n", "tcp://127.0.0.1:1884", &["anonymous = false"]),
        ("listener 1884 192.0.2.1\n", "tcp://192.0.2.1:1884", &["anonymous = false", plain]),
        ("listener 1884 ::1\n", "tcp://[::1]:1884", &["anonymous = false"]),
        ("listener 1884\nsocket_domain ipv4\n", "tcp://0.0.0.0:1884", &["anonymous = false", plain]),
        ("listener 1884\nsocket_domain ipv6\n", "tcp://[::]:1884", &["v6_only = true", "anonymous = false", plain]),
        ("port 1885\nbind_address 127.0.0.1\n", "tcp://127.0.0.1:1885", &["anonymous = false"]),
        ("bind_address ::1\n", "tcp://[::1]:1883", &["anonymous = false"]),
        ("max_connections 10\n", "tcp://[::]:1883", &["anonymous = false", "connections_max = 10", plain]),
        ("listener 1883 127.0.0.1\nmax_connections -1\n", "tcp://127.0.0.1:1883", &["anonymous = false"]),
        (
            "listener 1883 127.0.0.1\nprotocol mqtt\nmax_connections 7\nallow_anonymous false\n",
            "tcp://127.0.0.1:1883",
            &["anonymous = false", "connections_max = 7"],
        ),
    ] {
        let url = format!("url = \"{url}\"");
        check_known(conf, &[&["[[broker.listener]]", &url], more].concat(), &[]);
    }
}

#[test]
fn tls_and_certificates_are_carried_over() {
    const TLS: &str = "listener 8883\ncertfile /t/cert\nkeyfile /t/key\n";
    let tls = ["[[broker.listener]]", "url = \"tls://[::]:8883\"", "anonymous = false", "cert = \"/t/cert\"", "key = \"/t/key\""];
    check_known(TLS, &tls, &[]);
    check(
        "listener 8883\ncertfile /t/cert\nkeyfile /t/key\ncafile /t/ca\nrequire_certificate true\ncrlfile /t/crl\nciphers HIGH\ntls_version tlsv1.2\n",
        &[&tls[..], &["client_ca = \"/t/ca\"", "crl = \"/t/crl\""]].concat(),
        &[
            "5: require_certificate: a certificate's user is `cert:NAME`, and no other name may stand in CONNECT",
            "7: ciphers: TLS is 1.2 or 1.3 with the ciphers of today",
            "8: tls_version: TLS is 1.2 or 1.3 with the ciphers of today",
        ],
    );
    check(
        "listener 8883\ncertfile /t/cert\nkeyfile /t/key\ncafile /t/ca\nrequire_certificate true\nuse_identity_as_username true\nacl_file /m/acl\n",
        &[
            &["[broker.access]", "acl = \"/m/acl\""],
            &tls[..],
            &["client_ca = \"/t/ca\"", "names = { \"anna\" = \"anna\", \"pump 7\" = \"pump 7\" }"],
        ]
        .concat(),
        &[
            "6: use_identity_as_username: a certificate's user is `cert:NAME`; only those whom the access list names are called as before (`names`)",
            "7: acl_file: a subscription of which nothing may be received is refused, not granted in vain",
        ],
    );
}

/// A listener of which a line that keeps people out has no equivalent is not opened without it.
#[test]
fn nothing_becomes_more_open_than_it_was() {
    for (conf, left) in [
        (
            "listener 1884\nmount_point x/\n",
            "2: mount_point: there are no mount points, and its clients would see topics that are kept from them: the listener is left out",
        ),
        (
            "listener 1884\nbind_interface eth1\n",
            "2: bind_interface: a listener has an address, not an interface: the listener is left out, for it would be open to others",
        ),
        (
            "listener 1884 gateway.local\n",
            "1: listener: a host's name; a listener wants an IP address of this machine: the listener is left out",
        ),
        ("listener x\n", "1: listener: its port is none: the listener is left out"),
        ("listener 1884\nprotocol other\n", "2: protocol: no protocol that is known here: the listener is left out"),
        ("listener 8883\npsk_hint x\n", "2: psk_hint: TLS is by certificates only: the listener is left out"),
        ("listener 8883\ncertfile /t/cert\n", "1: listener: it has one of `certfile` and `keyfile`: the listener is left out"),
        (
            "listener 8883\ncertfile /t/cert\nkeyfile /t/key\nrequire_certificate true\n",
            "4: require_certificate: there is no `cafile` for clients' certificates: the listener is left out",
        ),
        (
            "listener 8883\ncertfile /t/cert\nkeyfile /t/key\nuse_subject_as_username true\n",
            "4: use_subject_as_username: the user of a certificate is its common name, never its subject: the listener is left out",
        ),
    ] {
        check(conf, &["[broker]", "listen = []"], &[left]);
    }
    check(
        "password_file /m/passwd\nlistener 8883\ncertfile /t/cert\nkeyfile /t/key\ncafile /t/ca\nrequire_certificate true\n",
        &["[broker]", "listen = []", "[broker.access]", "users = \"/m/passwd\""],
        &[
            "6: require_certificate: whoever has a certificate is let in without a password, which Mosquitto asks for as well: the listener is left out",
            "/m/passwd:2: users: user \"bert\": this is no password's hash: it begins with none of $argon2id$, $7$ and $6$; the whole file is refused until this is right",
        ],
    );
    // They decided who comes in, or what they may do.
    const PLUGIN: &str = "there are no plugins, and this one decides who comes in and what they may do: its listeners are left out";
    check(
        "allow_anonymous true\nplugin /x.so\nplugin_opt_a b\nlistener 1883 127.0.0.1\n",
        &["[broker]", "listen = []"],
        &[&format!("2: plugin: {PLUGIN}"), "3: plugin_opt_a: there are no plugins"],
    );
    check(
        "password_file /m/users\nplugin /x.so\n",
        &["[broker]", "listen = []", "[broker.access]", "users = \"/m/users\""],
        &[&format!("2: plugin: {PLUGIN}")],
    );
    check(
        "password_file /m/users\nlistener 1883 127.0.0.1\nclientid_prefixes own-\nlistener 1884 127.0.0.1\n",
        &["[broker]", "listen = []", "[broker.access]", "users = \"/m/users\""],
        &["3: clientid_prefixes: client ids are not restricted: its listeners are left out, for they would be open to others"],
    );
}

/// Without a line that cannot be read, what follows it would be others' rights, or a topic that was closed would be open.
#[test]
fn a_list_without_one_of_its_lines_gives_no_more_than_with_it() {
    for (line, goes) in [
        ("topic read", true),
        ("topic read a/#/b", true),
        ("pattern a+", true),
        ("topic deny a/#/b", false),
        ("pattern deny $SYS/%u", true),
        ("pattern deny $%u/x", false),
        ("user", false),
        ("usr bert", false),
        ("group nobody", false),
    ] {
        let list: &str = format!("user anna\ntopic a/#\n{line}\ntopic b/#\n").leak();
        let mut files = given("acl_file /m/list\n");
        files.0.insert("/m/list", list);
        let lines = gather(Path::new("/m/mosquitto.conf"), &files).expect("it can be read");
        let import = convert(&lines, &files, Request { id: "plant-7", copy_to: Some(Path::new("/new")) });
        let copied = String::from_utf8_lossy(&import.files[0].bytes).into_owned();
        let readable = read_acl(copied.as_bytes()).is_ok();
        assert_eq!((readable, copied.contains(line)), (goes, !goes || read_acl(list.as_bytes()).is_ok()), "{line}\n{copied}");
        assert_eq!(import.left.iter().any(|left| left.line == 3), read_acl(list.as_bytes()).is_err(), "{line}: {:?}", import.left);
    }
}

#[test]
fn limits_are_called_what_they_are_here() {
    for (line, want) in [
        ("max_inflight_messages 50", "receive_maximum = 50"),
        ("max_inflight_messages 0", "receive_maximum = 65535"),
        ("max_queued_messages 5000", "session_queue = 5000"),
        ("max_queued_bytes 100000", "session_queue_bytes = 100000"),
        ("max_packet_size 100000", "packet_max = 100000"),
        ("max_packet_size 0", "packet_max = 268435456"),
        ("max_keepalive 600", "keep_alive_max = \"600s\""),
        ("max_keepalive 0", "keep_alive_max = \"65535s\""),
        ("persistent_client_expiration 2w", "session_expiry_max = \"14d\""),
        ("persistent_client_expiration 2m", "session_expiry_max = \"60d\""),
        ("persistent_client_expiration 12h", "session_expiry_max = \"12h\""),
    ] {
        check(line, &[&["[broker.limits]", want], &LOCAL[..]].concat(), &[]);
    }
    check(
        "queue_qos0_messages true\nsys_interval 30",
        &[&["[broker]", "queue_qos0 = true", "sys_interval = \"30s\""], &LOCAL[..]].concat(),
        &[],
    );
    check(
        "sys_interval 30\nsys_interval 40\nmax_keepalive many\nmessage_size_limit 1000000\n",
        &[&["[broker]", "sys_interval = \"40s\"", "[broker.limits]", "packet_max = 1001024"], &LOCAL[..]].concat(),
        &[
            "3: max_keepalive: it is no number",
            "4: message_size_limit: the limit is of the whole packet here: 1 KiB is added for its topic and properties",
        ],
    );
}

#[test]
fn bridges_become_upstreams() {
    let up = ["[[upstream]]", "name = \"cloud\""];
    check(
        "connection cloud\naddress mqtt.example.net\ntopic plant/# out 1\nclientid x7\nkeepalive_interval 60\nbridge_protocol_version mqttv50\nbridge_outgoing_retain false\n",
        &[
            &LOCAL[..],
            &up,
            &[
                "url = \"mqtt://mqtt.example.net:1883\"",
                "topics = [\"plant/#\"]",
                "version = \"5.0\"",
                "client_id = \"x7\"",
                "keep_alive = \"60s\"",
            ],
        ]
        .concat(),
        &[],
    );
    check(
        "connection cloud\naddress 2001:db8::9:8883\nbridge_cafile /t/ca\nbridge_certfile /t/cert\nbridge_keyfile /t/key\nremote_username u\nremote_password p\ntopic a both 1 x/ x/\ntopic b out 1 l/ r/\ntopic c in\ntopic d\n",
        &[
            &LOCAL[..],
            &up,
            &[
                "url = \"mqtts://[2001:db8::9]:8883\"",
                "topics = [\"x/a\", \"d\"]",
                "auth = { user = \"u\", password = { file = \"/etc/tidegate/cloud.pw\" } }",
                "tls = { ca = \"/t/ca\", cert = \"/t/cert\", key = \"/t/key\" }",
            ],
        ]
        .concat(),
        &[
            "1: connection: what goes up is not retained there",
            "7: remote_password: a password does not stand in the site's file: write it to /etc/tidegate/cloud.pw",
            "8: topic: nothing is fetched from an upstream; let that broker's own bridge send it here",
            "9: topic: topics go up under their own names, so that \"l/b\" would arrive under others than those wanted: it does not go up",
            "10: topic: nothing is fetched from an upstream; let that broker's own bridge send it here",
            "11: topic: it goes up at QoS 1, so that nothing is lost",
        ],
    );
    for (conf, left) in [
        ("connection a\ntopic # out 1\n", &["1: connection: it has no address: the bridge is left out"][..]),
        ("connection a\naddress b\n", &["1: connection: no topic of it goes up: the bridge is left out"]),
        (
            "connection a\naddress b\ntopic # out 1\nbridge_psk ff\n",
            &["4: bridge_psk: TLS is by certificates only: the bridge is left out"],
        ),
        ("topic # out 1\n", &["1: topic: it stands before any `connection`"]),
        ("nonsense\n", &["1: nonsense: no word of Mosquitto 2.0 that is known here"]),
    ] {
        check(conf, &LOCAL, left);
    }
}

#[test]
fn per_listener_settings_are_each_listeners_own() {
    check(
        "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\nlistener 1884 127.0.0.1\npassword_file /m/none\nlistener 1885 127.0.0.1\nprotocol websockets\npassword_file /m/users\n",
        &[
            "[[broker.listener]]",
            "url = \"tcp://127.0.0.1:1883\"",
            "anonymous = true",
            "[[broker.listener]]",
            "url = \"tcp://127.0.0.1:1884\"",
            "anonymous = false",
            "users = \"/m/none\"",
            "[[broker.listener]]",
            "url = \"ws://127.0.0.1:1885\"",
            "anonymous = false",
            "users = \"/m/users\"",
        ],
        &[
            "2: listener: without an access list, anonymous clients may not publish or subscribe to `.../set` and `$` topics",
            "5: password_file: /m/none cannot be read",
            "7: protocol: it is opened at the path /mqtt, and to no page in a browser unless `origins` names its site",
        ],
    );
}

#[test]
fn files_are_read_in_mosquittos_order() {
    let (site, left) = said(&import("include_dir /m/conf.d\n", None));
    assert_eq!(site, [&["[broker]", "queue_qos0 = true", "sys_interval = \"3s\""], &LOCAL[..]].concat());
    assert_eq!(left, Vec::<String>::new());
    let order: Vec<String> = gather(Path::new("/m/mosquitto.conf"), &given("include_dir conf.d"))
        .expect("it can be read")
        .iter()
        .map(|line| format!("{}:{}", line.file, line.number))
        .collect();
    assert_eq!(order, ["/m/mosquitto.conf:1", "/m/conf.d/a.conf:1", "/m/conf.d/a.conf:2", "/m/conf.d/B.conf:1", "/m/conf.d/b.conf:1"]);
}

#[test]
fn what_is_copied_can_be_read_and_no_secret_is_shown() {
    let import = import(
        "password_file passwd\nacl_file /m/bad-acl\nconnection c\naddress b\ntopic # out 1\nremote_username u\nremote_password geheim\n",
        Some(Path::new("/new")),
    );
    let files: Vec<_> = import.files.iter().map(|file| (file.path.to_str().unwrap(), String::from_utf8_lossy(&file.bytes))).collect();
    assert_eq!(
        files,
        [
            ("/new/users", HASH.replace("bert:plain secret", "").into()),
            ("/new/acl", "user anna\ntopic a/#\nfoo\ntopic read\n".into()),
            ("/new/c.pw", "geheim".into()),
        ]
    );
    let (site, left) = said(&import);
    assert!(site.contains(&"auth = { user = \"u\", password = { file = \"/new/c.pw\" } }".to_owned()), "{site:?}");
    assert_eq!(left.iter().filter(|left| left.ends_with("the line is left out")).count(), 1, "{left:#?}");
    let shown = format!("{import:?}{}{}", import.site, left.join("\n"));
    assert!(!shown.contains("geheim") && !shown.contains("secret\""), "{shown}");
}
