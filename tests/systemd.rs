//! The files under `systemd/`, judged by systemd's own tools.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Tenths of systemd's exposure level; above it `systemd-analyze security` fails. A unit that is not hardened has 96.
const EXPOSURE_MAX: &str = "20";

#[test]
fn the_unit_is_free_of_mistakes() {
    let output = verify(&unit());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// `verify` without `--recursive-errors=no` says nothing to an unknown key: this would notice.
#[test]
fn a_mistake_in_the_unit_is_seen() {
    let output = verify(&unit().replace("WatchdogSec=", "WatchDogSec="));
    assert!(!output.status.success() || !output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_unit_gives_few_rights_away() {
    let (root, file) = tree(&unit());
    let output = run(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold", EXPOSURE_MAX]).arg(file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    drop(root);
}

#[test]
fn the_user_and_its_folder_are_made() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let root_flag = format!("--root={}", root.path().display());
    fs::create_dir(root.path().join("etc")).expect("a folder");
    for (tool, file) in [("systemd-sysusers", "sysusers.conf"), ("systemd-tmpfiles", "tmpfiles.conf")] {
        if tool == "systemd-tmpfiles" && !is_root() {
            eprintln!("not root: tmpfiles.conf is not tried, since it gives a folder to a group");
            return;
        }
        let mut command = Command::new(tool);
        if tool == "systemd-tmpfiles" {
            command.arg("--create");
        }
        let output = run(command.arg(&root_flag).arg(folder().join(file)));
        assert!(output.status.success(), "{tool}: {output:?}");
    }
    let users = fs::read_to_string(root.path().join("etc/passwd")).expect("users");
    let line = users.lines().find(|line| line.starts_with("tidegate:")).expect("our user");
    let gid: u32 = line.split(':').nth(3).and_then(|gid| gid.parse().ok()).expect("a group");
    let made = root.path().join("etc/tidegate").metadata().expect("our folder");
    assert_eq!((made.uid(), made.gid(), made.permissions().mode() & 0o777), (0, gid, 0o750));
}

fn verify(unit: &str) -> Output {
    let (root, _) = tree(unit);
    let root = format!("--root={}", root.path().display());
    run(Command::new("systemd-analyze").args(["--man=no", "--recursive-errors=no", &root, "verify", "tidegate.service"]))
}

/// A root folder with the unit, and with files where it looks for programs.
fn tree(unit: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a temporary folder");
    for folder in ["bin", "usr/bin", "etc/systemd/system"] {
        fs::create_dir_all(root.path().join(folder)).expect("a folder");
    }
    for program in ["bin/sh", "usr/bin/tidegate"] {
        let path = root.path().join(program);
        fs::write(&path, "").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let file = root.path().join("etc/systemd/system/tidegate.service");
    fs::write(&file, unit).expect("a file");
    (root, file)
}

fn unit() -> String {
    fs::read_to_string(folder().join("tidegate.service")).expect("the unit")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
