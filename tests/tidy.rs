//! The house rules that a machine can check, over `src/` and, where it says so, `tests/` and `benches/`.
//!
//! The same check runs over `tests/fixtures/tidy/`, a tree with one breach of each rule and, beside each, what is just allowed.
//! A rule gives way only by a line in [`EXEMPT`] with its reason; a line that is no longer needed is a breach itself.

mod source;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use source::{PathUse, Source};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The parts, lowest layer first. A part imports from the layers below its own, and from itself; the parts of a layer do not know each other.
/// `main.rs` and `lib.rs` stand above all.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["clock", "stats", "faults", "pem", "unix_socket"],
    &["modbus", "frame", "mqtt", "transport"],
    &["normalize", "rules", "access"],
    &["bus", "broker", "outbox", "bridge"],
    &["ops", "config", "client"],
    &["daemon"],
    &["demo"],
    &["cli"],
];

/// What only named files touch, the paths that touch it, and the files. Code under `#[cfg(test)]` is free.
const HOMES: &[Home] = &[
    Home {
        what: "clock",
        paths: &[
            "std::time::Instant",
            "std::time::SystemTime",
            "std::time::UNIX_EPOCH",
            "tokio::time",
            "rustix::time",
            "std::thread::sleep",
            "std::thread::park_timeout",
        ],
        files: &["src/clock.rs"],
    },
    Home {
        what: "sockets",
        paths: &[
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "std::os::unix::net",
            "tokio::net",
            "rustix::net",
            "rumqttc",
            "sd_notify",
            "systemd_journal_logger",
        ],
        files: &[
            "src/bridge/mqtt.rs",
            "src/bridge/mqtt/v311.rs",
            "src/bridge/mqtt/v5.rs",
            "src/broker/io/listener.rs",
            "src/broker/io/doors.rs",
            "src/broker/io/pipe.rs",
            "src/broker/io/socket.rs",
            "src/client/stream.rs",
            "src/demo/port.rs",
            "src/demo/watch.rs",
            "src/ops/control.rs",
            "src/ops/log.rs",
            "src/ops/systemd.rs",
            "src/unix_socket.rs",
        ],
    },
    Home {
        what: "ttys",
        paths: &["tokio_serial", "serialport", "rustix::pty", "rustix::termios"],
        files: &["src/bus/serial.rs", "src/cli/terminal.rs", "src/demo/pty.rs"],
    },
    Home {
        what: "disk",
        paths: &["std::fs", "std::os::unix::fs", "tokio::fs", "rusqlite", "rustix::fs"],
        files: &[
            "src/access/file.rs",
            "src/bridge/secret.rs",
            "src/cli/import.rs",
            "src/client/files.rs",
            "src/config/load.rs",
            "src/demo/folder.rs",
            "src/ops/control.rs",
            "src/outbox/claim.rs",
            "src/outbox/recover.rs",
            "src/outbox/restore.rs",
            "src/outbox/schema/entry.rs",
            "src/outbox/schema/mod.rs",
            "src/outbox/schema/retained.rs",
            "src/outbox/schema/session.rs",
            "src/outbox/store/commit.rs",
            "src/outbox/store/mod.rs",
            "src/outbox/store/survey.rs",
            "src/outbox/system.rs",
            "src/unix_socket.rs",
        ],
    },
];

/// Breaches that are let pass: file, the rule as it is printed, and why.
const EXEMPT: &[(&str, &str, &str)] = &[
    ("src/bus/serial.rs", "uses std::fs: only the files named for disk do", "an adapter's latency timer is set in sysfs, which is no disk"),
    ("src/cli/terminal.rs", "uses std::fs: only the files named for disk do", "a terminal is opened as a file, and is no disk"),
];

struct Home {
    what: &'static str,
    paths: &'static [&'static str],
    files: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let breaches = check(root, &["src", "tests", "benches"], EXEMPT);
    assert!(breaches.is_empty(), "\n{}", lines(&breaches));
}

/// The tables say what is so, not what was once planned.
#[test]
fn every_named_file_needs_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut needless = Vec::new();
    for home in HOMES {
        for file in home.files {
            let paths = std::fs::read_to_string(root.join(file)).map(|text| Source::new(file, &text).paths()).unwrap_or_default();
            let mut shipped = paths.iter().filter(|path| !path.in_test);
            if !shipped.any(|path| home.paths.iter().any(|touching| touches(&path.segments, touching))) {
                needless.push(format!("{file} is named for {} and does not touch it", home.what));
            }
        }
    }
    assert!(needless.is_empty(), "\n{}", needless.join("\n"));
}

#[test]
fn each_rule_sees_its_breach() {
    const FIXTURE_EXEMPT: &[(&str, &str, &str)] = &[
        ("src/stats.rs", "uses std::time::Instant: only the files named for clock do", "to see that an exemption is heard"),
        ("src/normalize.rs", "imports bus, which is not below it", "to see that one without a breach is reported"),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tidy");
    let expected = std::fs::read_to_string(root.join("expected.txt")).expect("the fixture's list can be read");
    assert_eq!(lines(&check(&root, &["src"], FIXTURE_EXEMPT)), expected.trim_end());
}

fn lines(breaches: &[Breach]) -> String {
    breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// All breaches in the tree `root`, in the order of files and lines.
fn check(root: &Path, folders: &[&str], exempt: &[(&str, &str, &str)]) -> Vec<Breach> {
    let mut sources = Vec::new();
    for folder in folders {
        read(root, Path::new(folder), &mut sources);
    }
    let test_modules: HashSet<Vec<String>> = sources.iter().flat_map(Source::test_modules).collect();
    let mut breaches = Vec::new();
    for source in &sources {
        lengths(source, &mut breaches);
        if source.path.starts_with("src/") {
            let module = source.module();
            let is_test = (1..=module.len()).any(|n| test_modules.contains(&module[..n]));
            let paths = source.paths();
            imports(source, &paths, &mut breaches);
            if !is_test {
                homes(source, &paths, &mut breaches);
            }
        }
    }
    let needless = exempt.iter().filter(|(file, rule, _)| !breaches.iter().any(|b| b.file == *file && b.rule == *rule));
    let needless: Vec<Breach> =
        needless.map(|(file, rule, _)| breach(file, 0, format!("the exemption “{rule}” is no longer needed"))).collect();
    breaches.retain(|b| !exempt.iter().any(|(file, rule, _)| b.file == *file && b.rule == *rule));
    breaches.extend(needless);
    breaches.sort();
    breaches
}

/// Reads every `.rs` file below `folder`; fixtures are material and no code of ours.
fn read(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = root.join(folder).read_dir() else { return };
    for entry in entries {
        let path = folder.join(entry.expect("the tree can be listed").file_name());
        let name = path.to_str().expect("file names are UTF-8");
        if root.join(&path).is_dir() {
            if !name.ends_with("fixtures") {
                read(root, &path, sources);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(root.join(&path)).expect("the tree can be read");
            sources.push(Source::new(name, &text));
        }
    }
}

fn lengths(source: &Source, breaches: &mut Vec<Breach>) {
    if source.lines > FILE_LINES_MAX {
        breaches.push(breach(&source.path, source.lines, format!("{} lines, at most {FILE_LINES_MAX} are allowed", source.lines)));
    }
    for function in source.functions() {
        if function.lines > FUNCTION_LINES_MAX {
            let rule = format!("fn {} has {} lines, at most {FUNCTION_LINES_MAX} are allowed", function.name, function.lines);
            breaches.push(breach(&source.path, function.line, rule));
        }
    }
}

/// Code under test is held to the direction, too: a test that needs a part from above belongs in `tests/`.
fn imports(source: &Source, paths: &[PathUse], breaches: &mut Vec<Breach>) {
    let module = source.module();
    let Some(own) = module.first() else { return };
    let Some(own_layer) = layer(own) else {
        breaches.push(breach(&source.path, 1, format!("{own} has no layer in the table")));
        return;
    };
    let mut seen = HashSet::new();
    for path in paths {
        let [root, part, ..] = path.segments.as_slice() else { continue };
        if root == "crate" && part != own && seen.insert(part) && layer(part).is_none_or(|layer| layer >= own_layer) {
            breaches.push(breach(&source.path, path.line, format!("imports {part}, which is not below it")));
        }
    }
}

fn layer(part: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&part))
}

fn homes(source: &Source, paths: &[PathUse], breaches: &mut Vec<Breach>) {
    for home in HOMES.iter().filter(|home| !home.files.contains(&source.path.as_str())) {
        let mut seen = HashSet::new();
        for path in paths.iter().filter(|path| !path.in_test) {
            let touched = home.paths.iter().find(|touching| touches(&path.segments, touching));
            if let Some(touched) = touched
                && seen.insert(touched)
            {
                let rule = format!("uses {touched}: only the files named for {} do", home.what);
                breaches.push(breach(&source.path, path.line, rule));
            }
        }
    }
}

/// Whether `path` is `touching` or lies below it, or takes in all of a module that holds it.
fn touches(path: &[String], touching: &str) -> bool {
    let touching: Vec<&str> = touching.split("::").collect();
    match path.split_last() {
        Some((last, module)) if last == "*" => touching.iter().zip(module).all(|(a, b)| a == b),
        _ => path.len() >= touching.len() && touching.iter().zip(path).all(|(a, b)| a == b),
    }
}

fn breach(file: &str, line: usize, rule: String) -> Breach {
    Breach { file: file.to_owned(), line, rule }
}
