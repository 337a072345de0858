//! The users file: who there is, and by what each is known.
//!
//! One user a line, `NAME:HASH` or `NAME:HASH:SCRAM-KEYS`; empty lines and lines that begin with `#` are nobody. Mosquitto's password files are
//! users files.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::password::{HashError, PasswordHash};
use super::scram::{KeysError, ScramKeys};

/// Longest user name in bytes.
pub const NAME_MAX: usize = 256;

/// Most users of one file; one more is a mistake in it.
pub const USERS_MAX: usize = 10_000;

/// Some editors begin a file with it, unseen: it would be part of the first user's name.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How names begin that only a door or an upstream gives.
const RESERVED: [&str; 3] = ["cert:", "unix:", "upstream:"];

/// Everybody in a users file.
#[derive(Debug, Default)]
pub struct Users {
    by_name: HashMap<Arc<str>, Arc<User>>,
    /// In the order of the file.
    all: Vec<Arc<User>>,
}

/// One line of a users file.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub name: Arc<str>,
    pub password: PasswordHash,
    pub scram: Option<ScramKeys>,
}

/// A mistake in a users file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct UsersError {
    /// From 1.
    pub line: usize,
    pub what: Mistake,
}

/// Shows no more of a line than the user's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("this is no text (UTF-8)")]
    NoText,
    #[error("this is no user: NAME:HASH is expected, as `tidegate passwd` writes it")]
    NoUser,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("user {0:?}: {1}")]
    Hash(String, HashError),
    #[error("user {0:?}: {1}")]
    Keys(String, KeysError),
    #[error("user {0:?} stands on line {1} already")]
    Twice(String, usize),
    #[error("there are more than {USERS_MAX} users")]
    Many,
}

/// Why a name cannot be a user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a user's name is empty")]
    Empty,
    #[error("a user's name is longer than {NAME_MAX} bytes")]
    Long,
    #[error("a user's name has {0:?} in it")]
    Character(char),
    #[error("a user's name begins with a space or `#`, or ends with a space")]
    Edge,
    #[error("a user's name begins with {0:?}: such names are given by the gateway itself")]
    Reserved(&'static str),
}

/// # Errors
/// `name` cannot be a user's.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX {
        return Err(NameError::Long);
    }
    if let Some(bad) =
        name.chars().find(|c| *c == ':' && !RESERVED.iter().any(|r| name.starts_with(r)) || c.is_control() || *c == BYTE_ORDER_MARK)
    {
        return Err(NameError::Character(bad));
    }
    if let Some(reserved) = RESERVED.iter().find(|reserved| name.starts_with(**reserved)) {
        return Err(NameError::Reserved(reserved));
    }
    if name.starts_with('#') || name.trim() != name {
        return Err(NameError::Edge);
    }
    Ok(())
}

impl User {
    /// Its line, without the end of it.
    pub fn line(&self) -> String {
        let scram = self.scram.as_ref().map(|keys| format!(":{keys}")).unwrap_or_default();
        format!("{}:{}{scram}", self.name, self.password)
    }

    fn parse(line: &str) -> Result<Self, Mistake> {
        // `cert:NAME` would be a user called `cert`.
        if let Some(reserved) = RESERVED.iter().find(|reserved| line.starts_with(**reserved)) {
            return Err(NameError::Reserved(reserved).into());
        }
        let (name, rest) = line.split_once(':').ok_or(Mistake::NoUser)?;
        check_name(name)?;
        let (hash, keys) = rest.split_once(':').map_or((rest, None), |(hash, keys)| (hash, Some(keys)));
        let password = PasswordHash::parse(hash).map_err(|error| Mistake::Hash(name.to_owned(), error))?;
        let scram = keys.map(ScramKeys::parse).transpose().map_err(|error| Mistake::Keys(name.to_owned(), error))?;
        Ok(Self { name: name.into(), password, scram })
    }
}

impl Users {
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(file: &[u8]) -> Result<Self, UsersError> {
        let mut users = Self::default();
        let mut lines_of: HashMap<Arc<str>, usize> = HashMap::new();
        for (line, text) in lines(file) {
            let at = |what| UsersError { line, what };
            let text = std::str::from_utf8(text).map_err(|_| at(Mistake::NoText))?;
            if is_nobody(text) {
                continue;
            }
            let user = Arc::new(User::parse(text).map_err(at)?);
            if users.all.len() == USERS_MAX {
                return Err(at(Mistake::Many));
            }
            if let Some(first) = lines_of.insert(Arc::clone(&user.name), line) {
                return Err(at(Mistake::Twice(user.name.to_string(), first)));
            }
            users.by_name.insert(Arc::clone(&user.name), Arc::clone(&user));
            users.all.push(user);
        }
        Ok(users)
    }

    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.all.iter()
    }

    /// The user whose costs a name that is nobody's is to have: one of the file, always the same for the same `seed`. `None`: there are none.
    pub fn alike(&self, seed: u64) -> Option<&Arc<User>> {
        let place = seed.checked_rem(self.all.len() as u64)?;
        self.all.get(usize::try_from(place).ok()?)
    }

    /// As `alike`, of those that have keys for SCRAM.
    pub fn alike_in_scram(&self, seed: u64) -> Option<&ScramKeys> {
        let with_keys = || self.all.iter().filter_map(|user| user.scram.as_ref());
        let place = seed.checked_rem(with_keys().count() as u64)?;
        with_keys().nth(usize::try_from(place).ok()?)
    }
}

/// The file with this user's line in the place of its old one, or at the end. All else in it stays as it was.
pub fn with(file: &str, user: &User) -> String {
    let mut line = user.line();
    line.push('\n');
    let mut out = String::with_capacity(file.len() + line.len() + 1);
    let mut placed = false;
    for old in file.split_inclusive('\n') {
        if is_line_of(old, &user.name) {
            if !std::mem::replace(&mut placed, true) {
                out.push_str(&line);
            }
        } else {
            out.push_str(old);
        }
    }
    if !placed {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&line);
    }
    out
}

/// The file without this user's line; `None`: there is none.
pub fn without(file: &str, name: &str) -> Option<String> {
    let out: String = file.split_inclusive('\n').filter(|line| !is_line_of(line, name)).collect();
    (out.len() != file.len()).then_some(out)
}

fn is_line_of(line: &str, name: &str) -> bool {
    !is_nobody(line) && line.split_once(':').is_some_and(|(of, _)| of == name)
}

fn is_nobody(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

/// Lines with their numbers, without their ends.
fn lines(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).enumerate().map(|(i, line)| (i + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8192,t=5,p=1$bg0d+zWU8TkXlQlJVsgwjQ$4WzdW4pD7exnH5gUwArzKJdFQiUVnIrXEUywEaHEAL4";
    const KEYS: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn names(file: &str) -> Result<Vec<String>, String> {
        Users::parse(file.as_bytes()).map(|users| users.iter().map(|user| user.name.to_string()).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_says_who_there_is() {
        for (file, want) in [
            (String::new(), &[][..]),
            (format!("anna:{HASH}\n"), &["anna"]),
            (format!("# comment: x\n\nanna:{HASH}\r\n  \nbert:{HASH}:{KEYS}"), &["anna", "bert"]),
            (format!("an na:{HASH}\nAnna:{HASH}\n+:{HASH}\na/b:{HASH}\nä:{HASH}"), &["an na", "Anna", "+", "a/b", "ä"]),
        ] {
            assert_eq!(names(&file).as_deref(), Ok(&want.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..]), "{file}");
        }
        let users = Users::parse(format!("anna:{HASH}\nbert:{HASH}:{KEYS}").as_bytes()).expect("a file");
        assert!(users.get("anna").is_some_and(|user| user.scram.is_none()));
        assert_eq!(users.get("bert").map(|user| user.line()), Some(format!("bert:{HASH}:{KEYS}")));
        assert_eq!(users.get("carl"), None);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_without_secrets() {
        let long = "x".repeat(257);
        for (file, want) in [
            (format!("anna:{HASH}\nanna"), "line 2: this is no user: NAME:HASH is expected, as `tidegate passwd` writes it"),
            ("anna:geheim".into(), "line 1: user \"anna\": this is no password's hash: it begins with none of $argon2id$, $7$ and $6$"),
            ("anna:".into(), "line 1: user \"anna\": this is no password's hash: it begins with none of $argon2id$, $7$ and $6$"),
            (format!("anna:{HASH}:geheim"), "line 1: user \"anna\": these SCRAM keys are broken off or garbled"),
            (format!("anna:{HASH}:"), "line 1: user \"anna\": these SCRAM keys are broken off or garbled"),
            (format!("\nanna:{HASH}\nb:{HASH}\nanna:{HASH}"), "line 4: user \"anna\" stands on line 2 already"),
            (format!(":{HASH}"), "line 1: a user's name is empty"),
            (format!("{long}:{HASH}"), "line 1: a user's name is longer than 256 bytes"),
            (format!("a\tb:{HASH}"), "line 1: a user's name has '\\t' in it"),
            (format!("a\u{1b}b:{HASH}"), "line 1: a user's name has '\\u{1b}' in it"),
            (format!("\u{feff}anna:{HASH}"), "line 1: a user's name has '\\u{feff}' in it"),
            (format!(" anna:{HASH}"), "line 1: a user's name begins with a space or `#`, or ends with a space"),
            (format!("upstream:a:{HASH}"), "line 1: a user's name begins with \"upstream:\": such names are given by the gateway itself"),
            (format!("cert:{HASH}"), "line 1: a user's name begins with \"cert:\": such names are given by the gateway itself"),
            (format!("unix:{HASH}"), "line 1: a user's name begins with \"unix:\": such names are given by the gateway itself"),
        ] {
            assert_eq!(names(&file), Err(want.to_owned()), "{file}");
        }
        let not_text = Users::parse(b"# \xff").expect_err("a mistake");
        assert_eq!(not_text.to_string(), "line 1: this is no text (UTF-8)");
    }

    #[test]
    fn one_user_more_than_may_be_is_a_mistake() {
        use std::fmt::Write as _;
        let mut file = String::new();
        for n in 0..USERS_MAX {
            let _ = writeln!(file, "u{n}:$6$c2FsdHNhbHRzYWx0${}", "A".repeat(86) + "==");
        }
        assert_eq!(names(&file).map(|names| names.len()), Ok(USERS_MAX));
        assert_eq!(names(&format!("{file}anna:{HASH}")), Err("line 10001: there are more than 10000 users".to_owned()));
    }

    #[test]
    fn names_that_cannot_be_users_are_told() {
        for (name, want) in [
            ("anna", Ok(())),
            ("upstream", Ok(())),
            ("a:b", Err(NameError::Character(':'))),
            ("a\nb", Err(NameError::Character('\n'))),
            ("a\u{85}b", Err(NameError::Character('\u{85}'))),
            ("#a", Err(NameError::Edge)),
            ("a ", Err(NameError::Edge)),
            ("cert:a", Err(NameError::Reserved("cert:"))),
            ("upstream:", Err(NameError::Reserved("upstream:"))),
            ("", Err(NameError::Empty)),
        ] {
            assert_eq!(check_name(name), want, "{name:?}");
        }
    }

    #[test]
    fn a_users_line_is_replaced_where_it_stands() {
        let user = User { name: "bert".into(), password: PasswordHash::parse(HASH).expect("a hash"), scram: None };
        let line = format!("bert:{HASH}\n");
        for (file, with_it, without_it) in [
            ("", line.clone(), None),
            ("# bert:x\nanna:x", format!("# bert:x\nanna:x\n{line}"), None),
            ("bert:x\nanna:y\n", format!("{line}anna:y\n"), Some("anna:y\n")),
            ("anna:y\nbert:x:y\n\n", format!("anna:y\n{line}\n"), Some("anna:y\n\n")),
            ("anna:y\nbert:x", format!("anna:y\n{line}"), Some("anna:y\n")),
            ("bertha:x\n", format!("bertha:x\n{line}"), None),
        ] {
            assert_eq!(with(file, &user), with_it, "{file:?}");
            assert_eq!(without(file, "bert").as_deref(), without_it, "{file:?}");
        }
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let users = Users::parse(format!("anna:{HASH}\nbert:{HASH}:{KEYS}").as_bytes()).expect("a file");
        assert_eq!(
            (0..4).filter_map(|seed| users.alike(seed)).map(|user| &*user.name).collect::<Vec<_>>(),
            ["anna", "bert", "anna", "bert"]
        );
        assert!((0..4).all(|seed| users.alike_in_scram(seed).is_some()));
        let none = Users::default();
        assert!(none.alike(3).is_none() && none.alike_in_scram(3).is_none());
    }
}
