//! What the texts promise: their links and file names lead somewhere, and the site's file in the README is one that `tidegate check` accepts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for text in
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "cross/README.md", "docs/ARCHITECTURE.md", "docs/outbox.md", "docs/performance.md"]
    {
        let path = root().join(text);
        let folder = path.parent().expect("a file is in a folder");
        for link in links(&read(&path)) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !folder.join(file).exists() {
                broken.push(format!("{text}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_map_names_files_that_are_there() {
    let map = read(&root().join("docs/ARCHITECTURE.md"));
    let named: Vec<&str> = map.split('`').skip(1).step_by(2).filter(|name| name.contains('/') && !name.contains([' ', '*', '='])).collect();
    assert!(named.len() >= 15, "{named:?}");
    let absent: Vec<_> = named.iter().filter(|name| !["src", "."].iter().any(|folder| root().join(folder).join(name).exists())).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn the_readmes_site_file_is_accepted() {
    let readme = read(&root().join("README.md"));
    let (_, rest) = readme.split_once("```toml\n").expect("the README shows a site's file");
    let (site, _) = rest.split_once("```").expect("a block ends");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), site).expect("the temporary file can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("check").arg(file.path()).output().expect("our binary runs");
    assert!(output.status.success(), "{output:?}");
    // The password's file is not here, which is a warning only.
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(summary.contains("1 bus, 1 device, 1 point, 1 upstream"), "{summary}");
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
