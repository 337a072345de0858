//! The Python in which the peers live: `target/venv`, made by `tests/run --prepare`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that runs the peer `script` of `tests/peers/`.
pub fn peer(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python: PathBuf = root.join("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run --prepare", python.display());
    let mut command = Command::new(python);
    command.arg("-u").arg(root.join("tests/peers").join(script));
    command
}
