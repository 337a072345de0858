//! `tidegate check` as a site engineer meets it: the real binary, its exit code, its words.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// One mistake of each of six kinds.
const SIX_MISTAKES: &str = r#"[gateway]
id = "plant-7"

[store]
max_byte = "1GiB"

[[bus]]
name = "meters"
protocol = "modbus-rtu"
port = "/dev/ttyUSB0"
baud = "19200"
timeout = "300mss"

[[device]]
name = "main-meter"
bus = "metres"
unit_id = 1
[[device.point]]
name = "voltage_l1"
register = "input:0"

[[device]]
name = "main-meter"
bus = "meters"
unit_id = 2
[[device.point]]
name = "voltage_l1"
register = "input:0"

[[upstream]]
name = "cloud"
url = "mqtts://mqtt.example.net"
auth = { user = "site7", password = "hunter2" }
"#;

/// What is said of them; `FILE` stands for the file's path.
const SIX_BLOCKS: &str = r#"error: unknown key `max_byte` in [store]
 --> FILE:5:1
  |
5 | max_byte = "1GiB"
  | ^^^^^^^^
  = expected: one of path, max_bytes, ack_wait, ack_delay, flush_interval, commit_rows, commit_bytes, commits_per_second, progress_rows, wal_max_bytes, unsecured_max, refuse_close
  = help: did you mean `max_bytes`?

error: `baud` is a text, not a whole number
  --> FILE:11:8
   |
11 | baud = "19200"
   |        ^^^^^^^
   = expected: a whole number, 50 to 4000000, as baud = 9600
   = help: without quotes: baud = 19200

error: `mss` is no unit of a duration
  --> FILE:12:11
   |
12 | timeout = "300mss"
   |           ^^^^^^^^
   = expected: a duration, "1ms" to "1m", as timeout = "500ms"
   = help: did you mean `ms`?

error: there is no bus `metres`
  --> FILE:16:7
   |
16 | bus = "metres"
   |       ^^^^^^^^
   = expected: one of meters
   = help: did you mean `meters`?

error: two devices are called `main-meter`
  --> FILE:23:8
   |
23 | name = "main-meter"
   |        ^^^^^^^^^^^^
   = note: the first is on line 15

error: a secret must not stand in the site's file: this file is copied, shown and kept in backups
  --> FILE:33:37
   |
33 | auth = { user = "site7", password = ********* }
   |                                     ^^^^^^^^^
   = expected: one of
     { file = "/etc/tidegate/NAME" }       a file that only the gateway may read
     { env = "NAME" }                      a variable of the environment
     { credential = "NAME" }               systemd's LoadCredential=NAME:/path

6 mistakes in FILE
"#;

#[test]
fn check_tells_six_mistakes_of_six_kinds_in_one_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("site.toml");
    std::fs::write(&file, SIX_MISTAKES).expect("the file is written");
    for command in [&["check"][..], &["run", "--config"]] {
        let output = tidegate(command, &file);
        assert_eq!(text(&output.stderr), SIX_BLOCKS.replace("FILE", &file.display().to_string()), "{command:?}");
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{command:?}");
    }
}

#[test]
fn check_says_what_a_good_file_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("site.toml");
    let good = SIX_MISTAKES
        .replace("max_byte ", "max_bytes ")
        .replace("\"19200\"", "19200")
        .replace("300mss", "300ms")
        .replace("metres", "meters")
        .replacen("main-meter", "pump-meter", 1)
        .replace("\"hunter2\"", "{ credential = \"cloud\" }");
    std::fs::write(&file, good).expect("the file is written");
    let output = tidegate(&["check"], &file);
    assert_eq!(text(&output.stderr), "");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "ok: 1 bus, 2 devices, 2 points, 1 upstream\n"));
}

#[test]
fn check_opens_no_port_no_store_and_no_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("state/store.db");
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    upstream.set_nonblocking(true).expect("a listener that does not wait");
    let address = upstream.local_addr().expect("its address");
    let file = folder.path().join("site.toml");
    // The broker's address is taken by the upstream here, so that listening would fail.
    let site = format!(
        "[gateway]\nid = \"g\"\n[store]\npath = \"{}\"\n[broker]\nlisten = [\"tcp://{address}\"]\n\
         [[bus]]\nname = \"b\"\nprotocol = \"modbus-rtu\"\nport = \"/nowhere/tty\"\n\
         [[upstream]]\nname = \"u\"\nurl = \"mqtt://{address}\"\n",
        store.display()
    );
    std::fs::write(&file, site).expect("the file is written");
    let output = tidegate(&["check"], &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("warning: the bus `b` has no device"), "{}", text(&output.stderr));
    assert!(!store.exists() && !store.parent().expect("its folder").exists());
    assert_eq!(upstream.accept().expect_err("nobody has connected").kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn every_shipped_file_passes_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files = vec![folder.join("tidegate.toml")];
    files.extend(std::fs::read_dir(folder.join("sites")).expect("the examples").map(|entry| entry.expect("an entry").path()));
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let output = tidegate(&["check"], &file);
        assert_eq!(output.status.code(), Some(0), "{}: {}", file.display(), text(&output.stderr));
        assert!(text(&output.stdout).starts_with("ok: "), "{}", text(&output.stdout));
    }
}

/// The gateway would not start with them.
#[test]
fn mistakes_in_the_files_that_a_site_names_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let site = format!(
        "[gateway]\nid = \"a\"\n[broker.access]\nusers = \"{}\"\nacl = \"{}\"\n[[broker.listener]]\nurl = \"tls://0.0.0.0:8883\"\n\
         cert = \"{}\"\nkey = \"{}\"\n",
        at("users"),
        at("acl"),
        at("cert"),
        at("key")
    );
    let file = folder.path().join("site.toml");
    std::fs::write(&file, site).expect("the file is written");
    let absent = tidegate(&["check"], &file);
    assert_eq!(absent.status.code(), Some(0), "they may come later: {}", text(&absent.stderr));
    std::fs::write(at("users"), "anna\n").expect("the file is written");
    std::fs::write(at("acl"), "user anna\ntopic reed a/#\n").expect("the file is written");
    std::fs::write(at("cert"), "none").expect("the file is written");
    std::fs::write(at("key"), "none").expect("the file is written");
    let output = tidegate(&["check"], &file);
    assert_eq!(output.status.code(), Some(2));
    for said in [format!("error: {}:1: ", at("users")), format!("error: {}:2: \"reed\" is no access", at("acl")), at("cert")] {
        assert!(text(&output.stderr).contains(&said), "{said}: {}", text(&output.stderr));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("absent.toml");
    let not_utf8 = folder.path().join("latin1.toml");
    std::fs::write(&not_utf8, b"[gateway]\nid = \"b\xfcro\"\n").expect("the file is written");
    for (file, cause) in [
        (absent.as_path(), "No such file or directory (os error 2)"),
        (not_utf8.as_path(), "line 2 is not UTF-8"),
        (folder.path(), "it is a folder"),
        (Path::new("/dev/zero"), "it has more than 4194304 bytes"),
    ] {
        let output = tidegate(&["check"], file);
        assert_eq!(text(&output.stderr), format!("error: cannot read {}: {cause}\n", file.display()));
        assert_eq!(output.status.code(), Some(2));
    }
}

/// `tidegate check | head -0`, and a standard error that is gone.
#[test]
fn a_reader_that_has_gone_is_no_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let (good, bad) = (folder.path().join("good.toml"), folder.path().join("bad.toml"));
    std::fs::write(&good, "[gateway]\nid = \"g\"\n").expect("the file is written");
    std::fs::write(&bad, "[gateway]\n").expect("the file is written");
    for (file, code) in [(&good, 0), (&bad, 2)] {
        let gone = || std::io::pipe().expect("a pipe").1;
        let status = command(&["check"]).arg(file).stdout(gone()).stderr(gone()).status().expect("it runs");
        assert_eq!(status.code(), Some(code), "{status}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").expect("the device is there");
    let status = command(&["check"]).arg(&good).stdout(full).status().expect("it runs");
    assert_eq!(status.code(), Some(1), "what could not be written was not said: {status}");
}

#[test]
fn the_command_line_explains_itself() {
    for (arguments, code, wants) in [
        (&["--version"][..], 0, concat!("tidegate ", env!("CARGO_PKG_VERSION"))),
        (&["--help"], 0, "check"),
        (&["chekc"], 2, "check"),
        (&[], 2, "Usage"),
    ] {
        let output = command(arguments).output().expect("it runs");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(wants), "{arguments:?}: {said}");
    }
}

fn tidegate(arguments: &[&str], file: &Path) -> Output {
    command(arguments).arg(file).output().expect("it runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).stdin(Stdio::null()).env_remove("CREDENTIALS_DIRECTORY").env_remove("STATE_DIRECTORY");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
