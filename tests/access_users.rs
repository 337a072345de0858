//! Users and their passwords: `tidegate passwd`, logins of real clients, SCRAM, SIGHUP, storms and floods.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tidegate::clock;

use crate::harness::gateway::Site;
use crate::harness::raw::Raw;
use crate::harness::{alone, python, report, wait_until};

const WITHIN: Duration = Duration::from_secs(20);

/// A site with the users' file `users` in its folder.
fn site() -> Site {
    let site = Site::new("");
    site.rewrite(&format!("[broker.access]\nusers = \"{}\"\n", users(&site).display()));
    site
}

fn users(site: &Site) -> PathBuf {
    site.path().join("users")
}

fn passwd(site: &Site, arguments: &[&str], password: &str) -> Output {
    let config = site.config();
    let mut command = site.tidegate(&["passwd", "--config", config.to_str().expect("text")]);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    // It may end without having read.
    let _ = child.stdin.take().expect("a pipe").write_all(password.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn add(site: &Site, name: &str, password: &str, more: &[&str]) {
    let output = passwd(site, &[&["add", name, "--stdin"], more].concat(), password);
    assert!(output.status.success(), "{output:?}");
}

/// mosquitto_pub; what it says on standard error, which is nothing when it was let in.
fn publish(site: &Site, version: &str, user: Option<(&str, &str)>) -> String {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &site.port.to_string(), "-V", version, "-t", "a", "-m", "x", "-q", "1"]);
    if let Some((user, password)) = user {
        command.args(["-u", user, "-P", password]);
    }
    let output = command.output().expect("mosquitto-clients are installed");
    assert_eq!(output.status.success(), output.stderr.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// CONNECT of 5.0 with name and password.
fn login(client: &str, user: &str, password: &str) -> Vec<u8> {
    let string = |text: &str| [&u16::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat();
    let body = [string("MQTT"), vec![5, 0xc2, 0, 0, 0], string(client), string(user), string(password)].concat();
    let mut packet = vec![0x10];
    tidegate::mqtt::encode::remaining_length(&mut packet, body.len());
    [packet, body].concat()
}

#[test]
fn mosquittos_clients_come_in_by_name_and_password_only() {
    let site = site();
    add(&site, "anna", "pässword", &[]);
    // A line of Mosquitto's own file.
    let file = users(&site);
    let made = Command::new("mosquitto_passwd").args(["-b".as_ref(), file.as_os_str(), "bert".as_ref(), "two".as_ref()]).output();
    assert!(made.expect("mosquitto is installed").status.success());
    let _gateway = site.start();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let (bad, closed) = if version == "mqttv5" {
            ("Bad user name or password", "Not authorized")
        } else {
            ("Connection Refused: bad user name or password", "not authori")
        };
        for (user, want) in [
            (Some(("anna", "pässword")), ""),
            (Some(("bert", "two")), ""),
            (Some(("anna", "password")), bad),
            (Some(("anna", "")), bad),
            (Some(("bert", "three")), bad),
            (Some(("carl", "two")), bad),
            (None, closed),
        ] {
            let said = publish(&site, version, user);
            let same = if want.is_empty() { said.is_empty() } else { said.to_lowercase().contains(&want.to_lowercase()) };
            assert!(same, "{version} {user:?}: {said}\n{}", site.log_tail());
        }
    }
    let log = site.log();
    assert!(log.contains("guessed quickly"), "Mosquitto's hash is warned about\n{log}");
    assert!(!log.contains("pässword") && !log.contains("three"), "{log}");
    let refused = site.status_with("the refusals are counted", WITHIN, |status| Some(status.broker.logins_refused));
    assert_eq!(refused, 15);
}

#[test]
fn passwd_writes_a_file_that_the_gateway_alone_may_read_and_changes_one_line_of_it() {
    let site = site();
    let file = users(&site);
    for (arguments, password, ok, said) in [
        (&["list"][..], "", false, "cannot read"),
        (&["remove", "anna"], "", false, "has no user anna"),
        (&["add", "anna", "--stdin"], "one\n", true, "anna is added"),
        (&["add", "bert", "--stdin", "--scram"], "two", true, "bert is added"),
        (&["add", "anna", "--stdin"], "", false, "the password is empty"),
        (&["add", "anna", "--stdin"], "\n", false, "the password is empty"),
        (&["add", "an:na", "--stdin"], "x", false, "has ':' in it"),
        (&["add", "upstream:x", "--stdin"], "x", false, "begins with \"upstream:\""),
        (&["add", "", "--stdin"], "x", false, "is empty"),
        (&["add", "carl", "--stdin", "--scram"], "a\u{7}", false, "SCRAM does not allow"),
        (&["add", "carl"], "x", false, "no terminal"),
        (&["list"], "", true, "anna  argon2id\nbert  argon2id, SCRAM-SHA-256\n"),
        (&["add", "bert", "--stdin"], "new", true, "bert has another password"),
        (&["list"], "", true, "bert  argon2id, SCRAM-SHA-256\n"),
        (&["remove", "bert"], "", true, "bert is removed"),
        (&["remove", "bert"], "", false, "has no user bert"),
        (&["list"], "", true, "anna  argon2id\n"),
    ] {
        let before = std::fs::read(&file).ok();
        let output = passwd(&site, arguments, password);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() == ok && text.contains(said), "{arguments:?}: {text}");
        assert!(ok || std::fs::read(&file).ok() == before, "{arguments:?}");
    }
    let mode = |path: &PathBuf| std::fs::metadata(path).expect("the file is there").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o640);
    // What is there stays as it was: comments, order, owner, a mode that gives less.
    let text = std::fs::read_to_string(&file).expect("text");
    std::fs::write(&file, format!("# who\n\n{text}# end")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let chowned = std::os::unix::fs::chown(&file, Some(4_711), Some(4_712)).is_ok();
    add(&site, "carl", "three", &[]);
    let now = std::fs::read_to_string(&file).expect("text");
    assert!(now.starts_with(&format!("# who\n\n{text}# end\ncarl:$argon2id$")), "{now}");
    assert_eq!(mode(&file), 0o600);
    let owner = std::fs::metadata(&file).expect("the file is there");
    assert!(!chowned || (owner.uid(), owner.gid()) == (4_711, 4_712));
    assert!(!file.with_extension("new").exists());
    // A file with a mistake is not touched.
    std::fs::write(&file, "anna:plain\n").expect("written");
    let output = passwd(&site, &["add", "carl", "--stdin"], "x");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("users:1: user \"anna\"") && !said.contains("plain"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("text"), "anna:plain\n");
}

#[test]
fn passwd_asks_at_the_terminal_twice_and_shows_nothing() {
    let site = site();
    let config = site.config();
    for (typed, said, ok) in [
        (&["geheim\r", "geheim\r"][..], "anna is added", true),
        (&["geheim\r", "gehein\r"], "not the same", false),
        (&["geh\u{3}"], "nothing was changed", false),
    ] {
        let mut command = python::peer("terminal.py");
        command.args(typed).args(["--", env!("CARGO_BIN_EXE_tidegate"), "passwd", "--config"]).arg(&config).args(["add", "anna"]);
        let output = command.output().expect("python starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() == ok && text.contains(said) && !text.contains("gehei"), "{typed:?}: {text}");
    }
}

#[test]
fn scram_by_an_independent_client() {
    let site = site();
    add(&site, "anna", "pencil: ä", &["--scram"]);
    add(&site, "bert", "two", &[]);
    add(&site, "bert2", "two", &["--scram"]);
    let _gateway = site.start();
    let output = python::peer("scram_auth.py").arg(site.port.to_string()).output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}\n{}", String::from_utf8_lossy(&output.stderr), site.log_tail());
    assert_eq!(said.lines().count(), 19, "{said}");
    assert!(!site.log().contains("pencil"));
}

#[test]
fn sighup_takes_all_or_nothing_and_ends_those_who_are_not_what_they_were() {
    let site = site();
    add(&site, "anna", "one", &[]);
    add(&site, "bert", "two", &[]);
    let gateway = site.start();
    let mut anna = Raw::greet_with(site.port, &login("a", "anna", "one"));
    let mut bert = Raw::greet_with(site.port, &login("b", "bert", "two"));
    let text = std::fs::read_to_string(users(&site)).expect("text");
    std::fs::write(users(&site), format!("{}carl:oops\n", text.replace("bert", "berta"))).expect("written");
    gateway.signal(Signal::HUP);
    wait_until("the mistake is said", WITHIN, || {
        site.log().contains("users:3: user \\\"carl\\\"") || site.log().contains("users:3: user \"carl\"")
    });
    assert!(!site.log().contains("oops"));
    assert!(anna.ping().is_empty() && bert.ping().is_empty(), "nothing has changed");
    passwd(&site, &["remove", "nobody"], "");
    std::fs::write(users(&site), text).expect("written");
    add(&site, "bert", "new", &[]);
    add(&site, "carl", "three", &[]);
    gateway.signal(Signal::HUP);
    assert_eq!(bert.next(), (0xe0, bert_end()), "{}", site.log_tail());
    assert!(anna.ping().is_empty());
    assert_eq!(publish(&site, "mqttv5", Some(("carl", "three"))), "");
    assert_eq!(publish(&site, "mqttv5", Some(("bert", "new"))), "");
    assert!(publish(&site, "mqttv5", Some(("bert", "two"))).to_lowercase().contains("bad user name or password"));
}

/// DISCONNECT 0x87 and why.
fn bert_end() -> Vec<u8> {
    let why = "the client's user is gone or has another password";
    let length = u8::try_from(why.len()).expect("short");
    [&[0x87, length + 3, 0x1f, 0, length], why.as_bytes()].concat()
}

#[test]
fn a_storm_of_five_hundred_clients_with_passwords() {
    let _alone = alone();
    let site = site();
    let text: String = (0..500).map(|n| format!("u{n}:{}\n", hash(n))).collect();
    std::fs::write(users(&site), text).expect("written");
    let _gateway = site.start();
    let port = site.port;
    let stop = std::sync::atomic::AtomicBool::new(false);
    // Before the storm: in it there may be no place for its password, and whoever is told to come later does not ping.
    let mut honest = Raw::greet_with(port, &login("honest", "u0", "password 0"));
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let asked = clock::mono();
                honest.ping();
                longest = longest.max(clock::mono().since(asked));
                clock::block_for(Duration::from_millis(10));
            }
            longest
        });
        let cold = storm(port);
        let warm = storm(port);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let ping = pings.join().expect("the honest client is served");
        report(&format!("500 clients with 500 passwords: {cold:.1?} cold, {warm:.2?} when known; another's longest ping {ping:.1?}"));
        assert!(warm < Duration::from_secs(5), "{warm:?}");
        assert!(warm * 3 < cold, "what was right is not hashed again: {warm:?} and {cold:?}");
        assert!(ping < Duration::from_millis(100), "{ping:?}");
    });
}

/// 500 users log in at once, and those who are told to come later do; how long until all are in.
fn storm(port: u16) -> Duration {
    let began = clock::mono();
    std::thread::scope(|scope| {
        for first in (0..500).step_by(50) {
            scope.spawn(move || {
                let mut out: Vec<u32> = (first..first + 50).collect();
                let mut inside = Vec::new();
                while !out.is_empty() {
                    let mut knocking: Vec<(u32, Raw)> = Vec::new();
                    for n in out.drain(..) {
                        knocking.push((n, Raw::open_with(port, &login(&format!("c{n}"), &format!("u{n}"), &format!("password {n}")))));
                    }
                    for (n, mut raw) in knocking {
                        let (kind, body) = raw.next();
                        assert_eq!(kind, 0x20);
                        match body[1] {
                            0 => inside.push(raw),
                            0x88 => out.push(n),
                            other => panic!("u{n} got {other:#x}"),
                        }
                    }
                    assert!(clock::mono().since(began) < Duration::from_secs(120), "{} are out", out.len());
                }
            });
        }
    });
    clock::mono().since(began)
}

/// As `tidegate passwd` makes it, in less time: one salt.
fn hash(n: u32) -> String {
    use tidegate::access::password::{Password, PasswordHash};
    PasswordHash::new(&Password::new(format!("password {n}").as_bytes()), [3; PasswordHash::SALT]).to_string()
}

#[test]
fn a_flood_of_wrong_passwords_keeps_nobody_else_out() {
    let _alone = alone();
    let site = site();
    for (name, password) in [("anna", "one"), ("bert", "two"), ("carl", "three"), ("dora", "four")] {
        add(&site, name, password, &[]);
    }
    let gateway = site.start();
    let port = site.port;
    let mut honest = Raw::greet_with(port, &login("honest", "anna", "one"));
    let before = gateway.rss_kib();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut longest_ping, mut longest_login, mut tried) = (Duration::ZERO, Duration::ZERO, 0);
    std::thread::scope(|scope| {
        let flood = |thread: u32| {
            let mut tried = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // All places and more, from one address that is not that of the others.
                let mut knocking: Vec<Raw> =
                    (0..20).filter_map(|n| from(Ipv4Addr::new(127, 0, 0, 9), port, thread * 1_000 + tried + n)).collect();
                knocking.iter_mut().for_each(|raw| assert!(matches!(raw.next().1[1], 0x86 | 0x88)));
                tried += 20;
            }
            tried
        };
        let floods: Vec<_> = (1..4).map(|thread| scope.spawn(move || flood(thread))).collect();
        wait_until("the flood has reached the limit", WITHIN, || {
            site.status().is_some_and(|status| status.broker.limits.get("logins_waiting_max").is_some_and(|n| *n > 0))
        });
        for (name, password) in [("bert", "two"), ("carl", "three"), ("dora", "four")] {
            let asked = clock::mono();
            Raw::greet_with(port, &login(name, name, password));
            longest_login = longest_login.max(clock::mono().since(asked));
            for _ in 0..20 {
                let asked = clock::mono();
                honest.ping();
                longest_ping = longest_ping.max(clock::mono().since(asked));
                clock::block_for(Duration::from_millis(10));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        tried = floods.into_iter().map(|flood| flood.join().expect("all are answered")).sum();
    });
    report(&format!("a flood of {tried} wrong passwords: another's longest login {longest_login:.1?}, longest ping {longest_ping:.1?}"));
    assert!(longest_login < Duration::from_secs(2), "{longest_login:?}");
    assert!(longest_ping < Duration::from_millis(100), "{longest_ping:?}");
    let lines = site.log().matches("client not let in: a bad user name or password").count();
    assert!((1..=3).contains(&lines), "one line a minute and address, not {lines}");
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "by {grown} KiB");
}

/// A stranger at 127.0.0.9 with a password of its own that is wrong.
fn from(address: Ipv4Addr, port: u16, n: u32) -> Option<Raw> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    bind(&stream, &SocketAddr::from((address, 0))).ok()?;
    connect(&stream, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()?;
    Some(Raw::over(TcpStream::from(stream), &login("", "anna", &format!("wrong {n}"))))
}
