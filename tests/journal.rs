//! Under systemd, log fields arrive in the journal as fields. The journal's socket has a fixed path, so the gateway runs in a mount namespace of its
//! own in which a receiver of the test listens there.

use std::io::Read;
use std::process::{Command, Stdio};

/// $1: the binary, $2: the site's file. Prints every datagram that the gateway sends to the journal; ends when one says that
/// the control socket cannot be made, which is wanted here for its error.
const SCRIPT: &str = r#"
mount -t tmpfs none /run && mkdir -p /run/systemd/journal || exit 90
exec 3> >(cat > /dev/null)
python3 - "$1" "$2" <<'PY'
import os, socket, subprocess, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.settimeout(10)
stderr = os.fstat(3)
env = dict(os.environ, RUNTIME_DIRECTORY="/proc/absent", JOURNAL_STREAM=f"{stderr.st_dev}:{stderr.st_ino}")
gateway = subprocess.Popen([sys.argv[1], "run", "--config", sys.argv[2]], stderr=3, env=env)
try:
    while True:
        packet = journal.recv(65536)
        sys.stdout.buffer.write(packet + b"\n")
        if b"without a control socket" in packet:
            break
finally:
    sys.stdout.flush()
    gateway.terminate()
    gateway.wait(10)
PY
"#;

#[test]
fn log_fields_are_fields_in_the_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site.toml");
    let store = folder.path().join("store.db");
    std::fs::write(&site, format!("[gateway]\nid = \"plant-7\"\n[store]\npath = {store:?}\n[broker]\nlisten = [\"tcp://127.0.0.1:0\"]\n"))
        .expect("the site's file");
    // Who is not root may mount in a user namespace of its own.
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let mut child = Command::new("unshare")
        .args([namespaces, "bash", "-c", SCRIPT, "bash", env!("CARGO_BIN_EXE_tidegate")])
        .arg(&site)
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut seen = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut seen).expect("the receiver's output");
    let status = child.wait().expect("an end");
    let seen = String::from_utf8_lossy(&seen);
    assert!(status.success(), "{status}\n{seen}");
    assert!(seen.contains("GATEWAY=plant-7") || field(&seen, "GATEWAY", "plant-7"), "no field GATEWAY:\n{seen}");
    // journalctl shows the message alone.
    assert!(seen.contains("ready gateway=plant-7"), "{seen}");
    let cause = "error=cannot open the control socket /proc/absent/control.sock: No such file or directory";
    assert!(seen.contains(cause), "an error without its cause:\n{seen}");
    assert!(seen.contains("SYSLOG_IDENTIFIER=tidegate") || field(&seen, "SYSLOG_IDENTIFIER", "tidegate"), "{seen}");
}

/// The journal's other form of a field: name, newline, 64-bit length, value.
fn field(seen: &str, name: &str, value: &str) -> bool {
    let length = char::from(u8::try_from(value.len()).expect("a short value"));
    seen.contains(&format!("{name}\n{length}\0\0\0\0\0\0\0{value}"))
}
