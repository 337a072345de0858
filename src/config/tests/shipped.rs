//! The files in `config/`: they are examples that work, and the commented default says the defaults.

use std::path::{Path, PathBuf};

use super::super::file::{Presence, SECTIONS};
use super::{Environment, parse, site};

/// Every file that is shipped.
fn shipped() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let sites = std::fs::read_dir(folder.join("sites")).expect("the folder can be listed");
    let mut paths: Vec<PathBuf> = sites.map(|entry| entry.expect("an entry").path()).collect();
    paths.push(folder.join("tidegate.toml"));
    paths.sort();
    assert!(paths.len() >= 4, "{paths:?}");
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("a file"))).collect()
}

/// The commented default with its keys taken in: a `#` that is followed by no space.
fn taken_in() -> String {
    let (_, text) = shipped().pop().expect("the default is the last");
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_shipped_file_is_without_mistakes_and_warnings() {
    for (path, text) in shipped() {
        let name = path.display().to_string();
        let site = parse(&text, &name, &Environment::unknown()).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(site.warnings.is_empty(), "{name}: {}", site.warnings[0]);
    }
    assert_eq!(site(&taken_in()).summary(), "ok: 2 buses, 2 devices, 4 points, 1 upstream");
}

#[test]
fn the_commented_default_says_the_defaults() {
    let minimal = site("[gateway]\nid = \"g\"\n[[upstream]]\nname = \"cloud\"\nurl = \"mqtt://h\"\n");
    let taken_in = taken_in().replace("[[broker.listener]]", "[[left.out]]");
    // The listener for other machines is an example, no default.
    let start = taken_in.find("[[left.out]]").expect("the example");
    let end = start + taken_in[start..].find("[broker.limits]").expect("the limits come next");
    let full = site(&format!("{}{}", &taken_in[..start], &taken_in[end..]));
    assert_eq!(full.outbox, minimal.outbox);
    assert_eq!(full.broker.limits, minimal.broker.limits);
    assert_eq!(full.broker.listeners, minimal.broker.listeners);
    let timing = |site: &super::Site| {
        let upstream = &site.upstreams[0];
        (upstream.window, upstream.ack_timeout, upstream.connect_timeout, upstream.keep_alive, upstream.client_id.replace("gateway-1", "g"))
    };
    assert_eq!(timing(&full), timing(&minimal));
}

#[test]
fn the_commented_default_names_every_key() {
    let (_, text) = shipped().pop().expect("the default is the last");
    for section in SECTIONS {
        for key in section.keys {
            let written = [format!("#{} = ", key.name), format!("{} = ", key.name), format!("[{}]", key.name), format!(".{}]", key.name)];
            assert!(written.iter().any(|way| text.contains(way)), "{} of {} is not in config/tidegate.toml", key.name, section.title);
            if let Presence::Is(default) = key.default
                && section.title.starts_with("[store")
            {
                assert!(text.contains(&format!("#{} = {default}", key.name)), "{} = {default} is not in config/tidegate.toml", key.name);
            }
        }
    }
}

/// Cuts, flips and swaps in shipped files: whatever comes of it, nothing panics and every mistake has a place in the file.
#[test]
fn a_mutated_file_is_read_or_refused_without_a_panic() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("SEED={seed}");
    let mut state = seed | 1;
    let mut random = |below: usize| {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    let mut texts: Vec<String> = shipped().into_iter().map(|(_, text)| text).collect();
    texts.push(taken_in());
    const INSERTS: [&str; 16] =
        ["\"", "'", "[", "]", "{", "}", "=", "\n", "\u{0}", "é", "\\", "\"\"\"", "[[device.point]]\n", "-1", "99999999999999999999", "#"];
    for round in 0..2_000 {
        let mut text: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..=random(4) {
            let (at, other) = (random(text.len()), random(text.len()));
            match random(5) {
                0 => text.truncate(at),
                1 => {
                    let end = (at + random(40)).min(text.len());
                    text.drain(at..end);
                }
                2 => text = [&text[..at], &INSERTS[random(INSERTS.len())].chars().collect::<Vec<_>>(), &text[at..]].concat(),
                3 => {
                    let copied: Vec<char> = text.iter().skip(other).take(random(60)).copied().collect();
                    text = [&text[..at], &copied, &text[at..]].concat();
                }
                _ if !text.is_empty() => text.swap(at, other),
                _ => {}
            }
        }
        let text: String = text.into_iter().collect();
        match parse(&text, "f", &Environment::unknown()) {
            Ok(site) => assert!(!site.gateway.is_empty()),
            Err(errors) => {
                let lines = text.split('\n').count();
                assert!(!errors.blocks().is_empty());
                assert!(errors.blocks().iter().all(|block| block.place.as_ref().is_some_and(|place| (1..=lines).contains(&place.line))));
                assert!(errors.to_string().contains("error: "));
            }
        }
    }
}
