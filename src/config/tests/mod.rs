//! Mistakes and what is said of them; the shipped files; the documentation.
//!
//! The `.txt` files beside this one hold cases as text: what stands before each, a case, and what must be said of it.
//! `TIDEGATE_UPDATE=1 cargo test config` writes what is said now; read the difference before you keep it.

mod docs;
mod shipped;

use std::fmt::Write as _;
use std::path::Path;

use super::{Block, Environment, Site, parse};
use crate::bridge::Version;

#[test]
fn each_mistake_is_told_with_its_place_and_what_to_write_instead() {
    for file in ["shape", "store-and-broker", "listeners", "buses", "devices", "points", "framed-devices", "upstreams"] {
        let path = format!("src/config/tests/{file}.txt");
        compare(Path::new(&path), |text| {
            let (mut before, mut case, mut out) = (String::new(), String::new(), String::new());
            for section in text.split("## ").skip(1) {
                let (title, body) = section.split_once('\n').unwrap_or((section, ""));
                match title {
                    "before each" => body.clone_into(&mut before),
                    "case" => body.clone_into(&mut case),
                    _ => {}
                }
                let body = if title == "says" { said(&format!("{before}{case}")) } else { body.to_owned() };
                let _ = write!(out, "## {title}\n{body}");
            }
            out
        });
    }
}

#[test]
fn every_limit_of_the_broker_is_a_key() {
    let keys: Vec<_> = super::file::LIMITS.keys.iter().map(|key| key.name).collect();
    assert_eq!(keys, crate::broker::Limit::ALL.map(crate::broker::Limit::name));
}

#[test]
fn at_most_32_upstreams_are_taken() {
    let upstreams = |n| {
        (0..n).fold("[gateway]\nid = \"g\"\n".to_owned(), |text, i| format!("{text}[[upstream]]\nname = \"u{i}\"\nurl = \"mqtt://h\"\n"))
    };
    assert_eq!(said(&upstreams(32)), "");
    assert_eq!(said(&upstreams(33)), "99:1 there are more than 32 upstreams\n");
}

#[test]
fn what_is_worth_a_warning_does_not_hide_an_error() {
    let environment = Environment { file_exists: |_| false, variable_exists: |_| false, ..Environment::unknown() };
    let text = |password| {
        format!(
            "[gateway]\nid = \"g\"\n[[upstream]]\nname = \"u\"\nurl = \"mqtts://h\"\nauth = {{ user = \"a\", password = {{ {password} }} }}\n"
        )
    };
    let check = |password, want: &[&str]| {
        let site = parse(&text(password), "f", &environment).expect("only warnings");
        let got: Vec<&str> = site.warnings.iter().map(|warning| warning.title.as_str()).collect();
        assert_eq!(got, want);
    };
    check("file = \"/a\"", &["the secret's file /a is not there, or this user may not see it"]);
    check("env = \"A\"", &["the environment has no variable A"]);
    check("credential = \"a\"", &[]);
    let mistakes = parse(&format!("{}nonsense = 1\n", text("env = \"A\"")), "f", &environment).expect_err("a mistake");
    assert_eq!(mistakes.blocks().len(), 1);
}

#[test]
fn the_store_is_where_systemd_says_unless_the_file_says_otherwise() {
    let path = |state: Option<&str>, text: &str| {
        let environment = Environment { state_directory: state.map(Into::into), ..Environment::unknown() };
        let site = parse(&format!("[gateway]\nid = \"g\"\n{text}"), "f", &environment).expect("no mistakes");
        site.outbox.path.display().to_string()
    };
    assert_eq!(path(None, ""), "/var/lib/tidegate/store.db");
    assert_eq!(path(Some("/state"), ""), "/state/store.db");
    assert_eq!(path(Some("/state"), "[store]\nmax_bytes = \"1MiB\"\n"), "/state/store.db");
    assert_eq!(path(Some("/state"), "[store]\npath = \"/x.db\"\n"), "/x.db");
}

#[test]
fn an_upstream_speaks_the_version_that_is_said_and_none_said_leaves_it_to_the_upstream() {
    for (line, want) in [("", None), ("version = \"5.0\"", Some(Version::V5)), ("version = \"3.1.1\"", Some(Version::V311))] {
        let site = site(&format!("[gateway]\nid = \"g\"\n[[upstream]]\nname = \"u\"\nurl = \"mqtt://127.0.0.1\"\n{line}\n"));
        let upstreams: Vec<_> = site.upstreams.iter().map(|upstream| (upstream.version, &*upstream.gateway)).collect();
        assert_eq!(upstreams, [(want, "g")], "{line}");
    }
}

fn site(text: &str) -> Site {
    parse(text, "f", &Environment::unknown()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is said of the text, a mistake a line with its notes below it.
fn said(text: &str) -> String {
    let mut out = String::new();
    let warnings;
    let errors;
    let blocks = match parse(text, "f", &Environment::unknown()) {
        Ok(site) => {
            warnings = site.warnings;
            &warnings[..]
        }
        Err(mistakes) => {
            errors = mistakes;
            errors.blocks()
        }
    };
    for block in blocks {
        let Block { severity, title, place, notes } = block;
        let place = place.as_ref().expect("a place");
        let warning = if *severity == super::Severity::Warning { "warning: " } else { "" };
        let _ = writeln!(out, "{}:{} {warning}{title}", place.line, place.column);
        for line in notes.iter().flat_map(|note| note.lines()) {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

/// Compares the file with what `make` makes of it, or writes that.
fn compare(path: &Path, make: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).expect("the file can be read");
    let made = make(&text);
    if made == text {
        return;
    }
    if std::env::var_os("TIDEGATE_UPDATE").is_some() {
        std::fs::write(&path, made).expect("the file can be written");
        return;
    }
    let line = made.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
    let show = |text: &str| text.lines().skip(line).take(8).collect::<Vec<_>>().join("\n");
    panic!("{}:{} says\n{}\n\nand should say\n{}", path.display(), line + 1, show(&text), show(&made));
}

#[test]
fn who_is_let_in_at_a_listener_follows_from_its_users() {
    let access = "[broker.access]\nusers = \"/u\"\n";
    let listener = |lines: &str| format!("[[broker.listener]]\nurl = \"tcp://127.0.0.1\"\n{lines}");
    let open = "[[broker.listener]]\nurl = \"tcp://0.0.0.0\"\ninsecure_plaintext = true\ninsecure_anonymous = true\n".to_owned();
    for (text, users, anonymous) in [
        (String::new(), None, true),
        (access.to_owned(), Some("/u"), false),
        (format!("[broker]\nlisten = [\"tcp://127.0.0.1\"]\n{access}"), Some("/u"), false),
        (listener(""), None, true),
        (listener("users = \"/v\"\n"), Some("/v"), false),
        (listener("users = \"/v\"\nanonymous = true\n"), Some("/v"), true),
        (format!("{}{access}", listener("users = \"/v\"\n")), Some("/v"), false),
        (format!("{}{access}", listener("")), Some("/u"), false),
        (open.clone(), None, true),
        (format!("{open}users = \"/v\"\n"), Some("/v"), false),
    ] {
        let site = site(&format!("[gateway]\nid = \"g\"\n{text}"));
        let [listener] = &site.broker.listeners[..] else { panic!("one listener: {text}") };
        assert_eq!((listener.users.as_deref(), listener.anonymous), (users.map(Path::new), anonymous), "{text}");
    }
}
