//! Mosquitto's files as lines.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How files are had.
pub trait Files {
    /// # Errors
    /// Why it cannot be read, for people.
    fn read(&self, path: &Path) -> Result<Vec<u8>, String>;

    /// The files in a folder.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, String>;
}

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub file: Arc<str>,
    /// The file's folder: where a path is looked for that is not absolute.
    pub folder: Arc<Path>,
    /// From 1.
    pub number: usize,
    pub word: String,
    /// All behind the word; empty where there is nothing.
    pub value: String,
}

impl Line {
    pub(super) fn is_true(&self) -> bool {
        self.value.eq_ignore_ascii_case("true") || self.value == "1"
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.value)
    }
}

/// All lines of a `mosquitto.conf`; those of its `include_dir` folders follow where it stands, file by file, in Mosquitto's order.
///
/// # Errors
/// A file that cannot be read.
pub fn gather(main: &Path, files: &dyn Files) -> Result<Vec<Line>, String> {
    let mut all = Vec::new();
    for line in read(main, files)? {
        let included = (line.word == "include_dir").then(|| line.path());
        all.push(line);
        let Some(folder) = included else { continue };
        let mut parts = files.list(&folder)?;
        parts.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        parts.sort_by(|a, b| load_order(a, b));
        for part in parts {
            all.extend(read(&part, files)?);
        }
    }
    Ok(all)
}

fn read(path: &Path, files: &dyn Files) -> Result<Vec<Line>, String> {
    let bytes = files.read(path)?;
    let name: Arc<str> = path.display().to_string().into();
    let folder: Arc<Path> = path.parent().unwrap_or(Path::new("")).into();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.lines().enumerate().filter_map(|(i, line)| {
        let line = line.trim();
        let (word, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let says = !line.is_empty() && !line.starts_with('#');
        says.then(|| Line {
            file: Arc::clone(&name),
            folder: Arc::clone(&folder),
            number: i + 1,
            word: word.to_owned(),
            value: value.trim().to_owned(),
        })
    });
    Ok(lines.collect())
}

/// Alphabetic, of one letter the upper case before the lower.
fn load_order(a: &Path, b: &Path) -> Ordering {
    let key = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.chars().map(|c| (c.to_ascii_lowercase(), c.is_ascii_lowercase())).collect::<Vec<_>>()
    };
    key(a).cmp(&key(b))
}
