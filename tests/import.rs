//! `tidegate import`: five mosquitto.conf files as sites have them. What carried over works in the real gateway; what did not is listed with its line.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::harness::certificates::Certificates;
use crate::harness::gateway::Site;
use crate::harness::mosquitto::{self, Mosquitto, free_port};
use crate::harness::python::peer;
use crate::harness::wait_exit;

/// Longest for a client that is to end by itself.
const SOON: Duration = Duration::from_secs(20);

/// A folder with a mosquitto.conf, and with what the command makes of it.
struct Imported {
    site: Site,
    /// The list, without the folder.
    left: Vec<String>,
}

/// `{DIR}` in the text is the folder in which it lies.
fn import(conf: &str, prepare: impl FnOnce(&Site)) -> Imported {
    let site = Site::new("");
    prepare(&site);
    let dir = format!("{}/", site.path().display());
    fs::write(site.path().join("mosquitto.conf"), conf.replace("{DIR}/", &dir)).expect("a fresh folder");
    fs::remove_file(site.config()).expect("the site's own file is there");
    let (new, config) = (site.path().join("new"), site.config());
    let args = ["import", "mosquitto.conf", "--id", "plant-7", "--strict", "--copy-to", &text(&new), "--output", &text(&config)];
    let out = site.run(&args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let left: Vec<String> = said.lines().map(|line| line.replace(&dir, "")).collect();
    assert_eq!(out.status.code(), Some(i32::from(!left.is_empty())), "{said}");
    let store = format!("[store]\npath = \"{}\"\n", site.store().display());
    let text = fs::read_to_string(&config).expect("it was written");
    fs::write(&config, format!("{text}\n{store}")).expect("it can be written");
    Imported { site, left }
}

/// A path as an argument.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A file of mosquitto_passwd.
fn passwords(site: &Site, name: &str, users: &[(&str, &str)]) {
    let file = site.path().join(name);
    fs::write(&file, "").expect("a fresh folder");
    for (user, password) in users {
        let made = Command::new("mosquitto_passwd").arg("-b").arg(&file).args([user, password]).status();
        assert!(made.expect("the program mosquitto_passwd").success());
    }
}

/// mosquitto_pub or mosquitto_sub: `ARGS` after its address.
fn client(program: &str, port: u16, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(["-h", "localhost", "-p", &port.to_string(), "-q", "1"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mosquitto-clients")
}

fn finish(what: &str, mut child: Child) -> Output {
    wait_exit(what, &mut child, SOON);
    child.wait_with_output().expect("the child is ours")
}

/// Whether this client can leave a retained message at `topic`, and another one find it.
fn passes(port: u16, who: &[&str], topic: &str) -> bool {
    let publish =
        finish("mosquitto_pub", client("mosquitto_pub", port, &[who, &["-V", "mqttv5", "-r", "-t", topic, "-m", "hello"]].concat()));
    // A publisher of 5.0 hears why it may not, and ends well all the same.
    if !publish.status.success() || String::from_utf8_lossy(&publish.stderr).contains("Not authorized") {
        return false;
    }
    let subscribe = finish("mosquitto_sub", client("mosquitto_sub", port, &[who, &["-t", topic, "-C", "1", "-W", "3"]].concat()));
    subscribe.stdout == b"hello\n"
}

#[test]
fn a_site_with_tls() {
    let certificates = Certificates::make();
    let (port, own) = (free_port(), free_port());
    let (ca, server) = (certificates.ca.display(), &certificates.server);
    let tls = format!("certfile {}\nkeyfile {}\ncafile {ca}\n", server.0.display(), server.1.display());
    let conf = format!(
        "# TLS for the floor, certificates for machines\npassword_file {{DIR}}/passwd\nacl_file {{DIR}}/acl\n\n\
         listener {port} localhost\n{tls}tls_version tlsv1.2\n\n\
         listener {own} localhost\n{tls}require_certificate true\nuse_identity_as_username true\n"
    );
    let imported = import(&conf, |site| {
        passwords(site, "passwd", &[("anna", "eins")]);
        fs::write(site.path().join("acl"), "user anna\ntopic readwrite plant/#\nuser client\ntopic readwrite machine/#\n").unwrap();
    });
    assert_eq!(
        imported.left,
        [
            "mosquitto.conf:3: acl_file: a subscription of which nothing may be received is refused, not granted in vain",
            "mosquitto.conf:9: tls_version: TLS is 1.2 or 1.3 with the ciphers of today",
            "mosquitto.conf:16: use_identity_as_username: a certificate's user is `cert:NAME`; only those whom the access list names are called as before (`names`)",
        ]
    );
    let _gateway = imported.site.start();
    let ca = certificates.ca.to_str().unwrap();
    let (cert, key) = (certificates.client.0.to_str().unwrap(), certificates.client.1.to_str().unwrap());
    let machine = ["--cafile", ca, "--cert", cert, "--key", key];
    for (what, port, who, topic, want) in [
        ("by password", port, &["--cafile", ca, "-u", "anna", "-P", "eins"][..], "plant/a", true),
        ("a wrong password", port, &["--cafile", ca, "-u", "anna", "-P", "zwei"], "plant/b", false),
        ("nobody", port, &["--cafile", ca], "plant/c", false),
        ("no TLS", port, &["-u", "anna", "-P", "eins"], "plant/d", false),
        ("by certificate", own, &machine, "machine/a", true),
        ("by certificate, another's topic", own, &machine, "plant/e", false),
        ("without a certificate", own, &["--cafile", ca, "-u", "anna", "-P", "eins"], "plant/f", false),
    ] {
        assert_eq!(passes(port, who, topic), want, "{what}");
    }
}

#[test]
fn a_site_with_a_password_file_and_an_access_list() {
    let port = free_port();
    let conf = "pid_file {DIR}/mosquitto.pid\npersistence true\nlog_dest stdout\nallow_anonymous true\npassword_file {DIR}/passwd\n\
         acl_file {DIR}/acl\nmax_queued_messages 500\ninclude_dir {DIR}/conf.d\n";
    let imported = import(conf, |site| {
        passwords(site, "passwd", &[("anna", "eins"), ("bert", "zwei")]);
        fs::OpenOptions::new()
            .append(true)
            .open(site.path().join("passwd"))
            .map(|mut file| {
                std::io::Write::write_all(&mut file, b"carl:drei\n").unwrap();
            })
            .unwrap();
        let acl = "topic read public/#\n\nuser anna\ntopic readwrite plant/#\ntopic deny plant/secret\n\nuser bert\ntopic read plant/#\n\npattern readwrite dev/%u/#\n";
        fs::write(site.path().join("acl"), acl).unwrap();
        fs::create_dir(site.path().join("conf.d")).unwrap();
        fs::write(site.path().join("conf.d/listener.conf"), format!("listener {port} localhost\n")).unwrap();
    });
    assert_eq!(
        imported.left,
        [
            "mosquitto.conf:1: pid_file: systemd sees to this; the service runs as `tidegate`",
            "mosquitto.conf:2: persistence: sessions and messages are always stored; what Mosquitto has stored does not come along",
            "mosquitto.conf:3: log_dest: the log goes to the journal, connections included",
            "mosquitto.conf:6: acl_file: a subscription of which nothing may be received is refused, not granted in vain",
            "passwd:3: users: user \"carl\": this is no password's hash: it begins with none of $argon2id$, $7$ and $6$; the line is left out",
        ]
    );
    let _gateway = imported.site.start();
    let (anna, bert) = (["-u", "anna", "-P", "eins"], ["-u", "bert", "-P", "zwei"]);
    for (what, who, topic, want) in [
        ("her own", &anna[..], "plant/a", true),
        ("denied", &anna, "plant/secret", false),
        ("for reading only", &bert, "plant/b", false),
        ("by pattern", &bert, "dev/bert/x", true),
        ("another's by pattern", &bert, "dev/anna/x", false),
        ("anonymous", &[], "public/x", false),
        ("not carried over", &["-u", "carl", "-P", "drei"], "dev/carl/x", false),
    ] {
        assert_eq!(passes(port, who, topic), want, "{what}");
    }
    let read = finish("mosquitto_sub", client("mosquitto_sub", port, &[&bert[..], &["-t", "plant/a", "-C", "1", "-W", "3"]].concat()));
    assert_eq!(read.stdout, b"hello\n", "what anna wrote");
}

#[test]
fn a_site_with_a_bridge() {
    let cloud = Mosquitto::with(&mosquitto::Options { password: Some(("site7".into(), "geheim".into())), ..mosquitto::Options::default() });
    let port = free_port();
    let conf = format!(
        "listener {port} localhost\nallow_anonymous true\n\nconnection cloud\naddress 127.0.0.1:{} 192.0.2.1:1883\n\
         topic plant/# out 1\ntopic cmd/# in 1\ntopic status out 1 here/ there/\nremote_clientid site7\nremote_username site7\n\
         remote_password geheim\nnotifications false\nrestart_timeout 5 30\nbridge_protocol_version mqttv311\n",
        cloud.port()
    );
    let imported = import(&conf, |_| {});
    assert_eq!(
        imported.left,
        [
            "mosquitto.conf:1: listener: without an access list, anonymous clients may not publish or subscribe to `.../set` and `$` topics",
            "mosquitto.conf:4: connection: what goes up is not retained there",
            "mosquitto.conf:5: address: an upstream has one address: the first",
            "mosquitto.conf:7: topic: nothing is fetched from an upstream; let that broker's own bridge send it here",
            "mosquitto.conf:8: topic: topics go up under their own names, so that \"here/status\" would arrive under others than those wanted: it does not go up",
            "mosquitto.conf:12: notifications: the state is in `tidegate status` and `$SYS/broker/connection/NAME/state`",
            "mosquitto.conf:13: restart_timeout: the pauses before it is tried again are fixed",
        ]
    );
    let site = fs::read_to_string(imported.site.config()).unwrap();
    assert!(!site.contains("geheim"), "{site}");
    // A session at the cloud that waits for what comes.
    let at_cloud = |more: &[&str]| {
        let args = [&["-u", "site7", "-P", "geheim", "-i", "receiver", "-c", "-t", "#", "-v"], more].concat();
        String::from_utf8_lossy(&finish("mosquitto_sub", client("mosquitto_sub", cloud.port(), &args)).stdout).into_owned()
    };
    at_cloud(&["-E"]);
    let _gateway = imported.site.start();
    assert!(passes(port, &[], "here/status") && passes(port, &[], "plant/a") && passes(port, &[], "plant/b"));
    assert_eq!(at_cloud(&["-C", "2", "-W", "20"]), "plant/a hello\nplant/b hello\n");
}

#[test]
fn a_site_with_websockets() {
    let (plain, web) = (free_port(), free_port());
    let conf = format!(
        "allow_anonymous true\nlistener {plain} 127.0.0.1\n\nlistener {web} 127.0.0.1\nprotocol websockets\nhttp_dir /var/www\nmax_connections 20\n\
         websockets_headers_size 4096\n"
    );
    let imported = import(&conf, |_| {});
    let open = "listener: without an access list, anonymous clients may not publish or subscribe to `.../set` and `$` topics";
    assert_eq!(
        imported.left,
        [
            format!("mosquitto.conf:2: {open}"),
            format!("mosquitto.conf:4: {open}"),
            "mosquitto.conf:5: protocol: it is opened at the path /mqtt, and to no page in a browser unless `origins` names its site"
                .into(),
            "mosquitto.conf:6: http_dir: there is no web server".into(),
            "mosquitto.conf:8: websockets_headers_size: the limit is one for all listeners: `[broker.limits] websocket_header_max`".into(),
        ]
    );
    let _gateway = imported.site.start();
    assert!(passes(plain, &[], "plain/a"));
    let mut command = peer("websocket_once.py");
    command.args([&web.to_string(), "web/a"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let out = finish("websocket_once.py", command.spawn().expect("it starts"));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "web/a hello\n", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_site_with_settings_by_listener() {
    let (open, closed, mounted) = (free_port(), free_port(), free_port());
    let socket = |site: &Site| -> PathBuf { site.path().join("mqtt.sock") };
    let conf = format!(
        "per_listener_settings true\n\nlistener {open} localhost\nallow_anonymous true\nacl_file {{DIR}}/open.acl\n\n\
         listener {closed} localhost\npassword_file {{DIR}}/closed.passwd\nuse_username_as_clientid true\n\n\
         listener {mounted} localhost\nallow_anonymous true\nmount_point floor2/\n\n\
         listener 0 {{DIR}}/mqtt.sock\nallow_anonymous true\n"
    );
    let imported = import(&conf, |site| {
        passwords(site, "closed.passwd", &[("anna", "eins")]);
        fs::write(site.path().join("open.acl"), "topic readwrite open/#\n").unwrap();
    });
    assert_eq!(
        imported.left,
        [
            "mosquitto.conf:5: acl_file: a subscription of which nothing may be received is refused, not granted in vain",
            "mosquitto.conf:9: use_username_as_clientid: client ids are the clients' own; that one user cannot take over another's session is built in",
            "mosquitto.conf:13: mount_point: there are no mount points, and its clients would see topics that are kept from them: the listener is left out",
            "mosquitto.conf:15: listener: the socket is for the group `tidegate`, or the one that `group` names",
            "mosquitto.conf:15: listener: without an access list, anonymous clients may not publish or subscribe to `.../set` and `$` topics",
        ]
    );
    let _gateway = imported.site.start();
    let anna = ["-u", "anna", "-P", "eins"];
    for (what, port, who, topic, want) in [
        ("anonymous", open, &[][..], "open/a", true),
        ("anonymous, no right", open, &[], "other/a", false),
        ("a name where nobody is known by name", open, &anna, "open/b", true),
        ("by password", closed, &anna, "any/a", true),
        ("anonymous where nobody is", closed, &[], "any/b", false),
        ("not opened", mounted, &[], "any/c", false),
    ] {
        assert_eq!(passes(port, who, topic), want, "{what}");
    }
    let socket = socket(&imported.site);
    let by_socket = imported.site.run(&["pub", "--unix", socket.to_str().unwrap(), "-t", "any/d", "-m", "hello", "-q", "1"]);
    assert!(by_socket.status.success(), "{}", String::from_utf8_lossy(&by_socket.stderr));
}

/// At an installed site the site's file is there already, and its folder is the gateway's by its group.
#[test]
fn nothing_is_overwritten_or_half_done_and_the_gateway_may_read_what_was_made() {
    let site = Site::new("");
    passwords(&site, "passwd", &[("anna", "eins")]);
    fs::write(site.path().join("mosquitto.conf"), format!("listener {} localhost\npassword_file passwd\n", free_port())).unwrap();
    let new = site.path().join("new");
    fs::create_dir(&new).unwrap();
    // Only root may give it to a group that is not its own.
    let given = chown(&new, None, Some(4_712)).is_ok();
    let run = |output: &Path| site.run(&["import", "mosquitto.conf", "--copy-to", &text(&new), "--output", &text(output)]);
    let before = fs::read(site.config()).unwrap();
    let refused = run(&site.config());
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("already exists"), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!((fs::read(site.config()).unwrap(), new.read_dir().unwrap().count()), (before, 0), "nothing was written");
    let made = run(&new.join("site.toml"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let users = fs::metadata(new.join("users")).unwrap();
    assert_eq!(users.mode() & 0o777, 0o640);
    assert!(!given || users.gid() == 4_712, "the folder's group may read it");
}
