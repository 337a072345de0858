//! The package, and its `install.sh`, tried in a folder in place of the system.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const SITE_FILE: &str = "etc/tidegate/tidegate.toml";

#[test]
fn an_installation_can_be_repeated_and_keeps_the_sites_file() {
    let (home, package) = unpacked();
    let root = home.path().join("root");
    install(&package, &root, &[]);
    let shipped = files(&root);
    for (file, mode) in [
        ("usr/bin/tidegate", 0o755),
        ("usr/lib/systemd/system/tidegate.service", 0o644),
        ("usr/lib/sysusers.d/tidegate.conf", 0o644),
        ("usr/lib/tmpfiles.d/tidegate.conf", 0o644),
        ("usr/lib/udev/rules.d/60-tidegate.rules", 0o644),
        ("usr/share/doc/tidegate/config/tidegate.toml", 0o644),
        ("usr/share/doc/tidegate/docs/configuration.md", 0o644),
        (SITE_FILE, 0o644),
        ("etc/tidegate", 0o750),
    ] {
        let metadata = root.join(file).metadata().unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{file}");
    }

    fs::write(root.join(SITE_FILE), "[gateway]\nid = \"ours\"\n").expect("the site's file is written");
    fs::write(root.join("usr/share/doc/tidegate/config/of-the-last-version.toml"), "").expect("a file is written");
    let said = install(&package, &root, &[]);
    assert!(said.contains("kept /etc/tidegate/tidegate.toml"), "{said}");
    assert_eq!(fs::read_to_string(root.join(SITE_FILE)).expect("the site's file"), "[gateway]\nid = \"ours\"\n");
    assert_eq!(files(&root), shipped, "no file more or less than after the first time");

    install(&package, &root, &["--uninstall"]);
    assert_eq!(files(&root), BTreeSet::from([SITE_FILE.to_owned()]));
}

#[test]
fn the_package_holds_the_texts_of_the_licences() {
    let (_home, package) = unpacked();
    let third_party = fs::read_to_string(package.join("THIRD-PARTY.md")).expect("the list");
    let crates = third_party.lines().filter(|line| line.starts_with("| ")).skip(1).filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some(format!("{}-{}", cells.next()?, cells.next()?))
    });
    let missing: Vec<String> = crates.filter(|name| !package.join("licenses").join(name).is_dir()).collect();
    assert_eq!(missing, WITHOUT_TEXT, "crates whose packages have no licence text");
}

/// Crates that are published without the text of their licence; THIRD-PARTY.md names it.
const WITHOUT_TEXT: &[&str] = &["crc-catalog-2.5.0", "rumqttc-0.25.1"];

/// A package of this build's binary, unpacked.
fn unpacked() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = source.join("cross/package.sh");
    run(Command::new(script).arg(TARGET).arg(env!("CARGO_BIN_EXE_tidegate")).env("PACKAGE_DIR", home.path()));
    let name = format!("tidegate-{}-{TARGET}", env!("CARGO_PKG_VERSION"));
    run(Command::new("tar").current_dir(home.path()).arg("-xzf").arg(format!("{name}.tar.gz")));
    let package = home.path().join(name);
    (home, package)
}

fn install(package: &Path, root: &Path, flags: &[&str]) -> String {
    run(Command::new(package.join("install.sh")).arg("--root").arg(root).args(flags))
}

/// What it says; it must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All files below `root`.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found
}
