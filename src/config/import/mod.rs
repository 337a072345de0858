//! A `mosquitto.conf` → a site's file, and a list of what could not be said in it.
//!
//! Job: `lines` reads Mosquitto's files, `listener`, `bridge` and `limits` take what each line says, `write` says it in our words. Every line is either
//! carried over or in the list, with the reason. What a line changes in meaning is in the list, too.
//!
//! Invariants: pure; files are read by what the caller hands in. Nothing becomes more open than it was: a listener of which a line that keeps people
//! out cannot be carried over is left out as a whole. No secret is in the site's file or in the list.
//!
//! Failure: what Mosquitto itself would refuse is in the list as any other line.

mod bridge;
mod limits;
mod lines;
mod listener;
mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

pub use lines::{Files, Line, gather};

use super::{Environment, Errors, parse};
use crate::access::acl::Acl;
use crate::access::users::Users;
use bridge::Bridge;
use limits::Limits;
use listener::{Bind, Listener, Word};

/// What the caller wants.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Name of the gateway.
    pub id: &'a str,
    /// Where password files, access lists and bridges' passwords are to be; `None`: the first two stay where they are.
    pub copy_to: Option<&'a Path>,
}

/// What became of it.
#[derive(Debug)]
pub struct Import {
    /// TOML.
    pub site: String,
    /// In the order of the files' lines.
    pub left: Vec<Left>,
    /// Files to be made for it: where, and what they hold.
    pub files: Vec<NewFile>,
    /// The site's file is not right, as `tidegate check` would say it.
    pub mistakes: Option<Errors>,
}

/// A file that the site's file refers to. It may hold secrets.
pub struct NewFile {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for NewFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A line that did not carry over, or means something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub file: String,
    pub line: usize,
    pub word: String,
    pub why: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.word, self.why)
    }
}

/// Makes a site's file of all lines of a `mosquitto.conf`, those of its `include_dir` included.
pub fn convert(lines: &[Line], files: &dyn Files, request: Request<'_>) -> Import {
    let mut reading = Reading::new(lines);
    for line in lines {
        reading.take(line);
    }
    let mut out = write::Out { id: request.id, copy_to: request.copy_to, files, new_files: Vec::new(), left: reading.left };
    let listens = lines.iter().any(|line| line.word == "listener");
    // Without any listener Mosquitto lets this machine's clients in.
    let local = (!listens && !reading.default.is_used).then(|| Listener { bind: Bind::Localhost, ..Listener::default() });
    let default = if reading.default.is_used { Some(reading.default) } else { local };
    let listeners: Vec<Listener> = default.into_iter().chain(reading.listeners).collect();
    let site = write::site(&mut out, &reading.security, &reading.limits, &listeners, &reading.bridges);
    let mut left = out.left;
    // What is wrong in a password file or access list comes last.
    let place = |left: &Left| lines.iter().position(|line| *line.file == left.file && line.number == left.line).unwrap_or(usize::MAX);
    left.sort_by_key(place);
    left.dedup();
    let everything_exists =
        Environment { state_directory: None, credentials_directory: None, file_exists: |_| true, variable_exists: |_| true };
    let mistakes = parse(&site, "the site's file", &everything_exists).err();
    Import { site, left, files: out.new_files, mistakes }
}

const PLUGIN: &str = "there are no plugins, and this one decides who comes in and what they may do: its listeners are left out";
const PREFIXES: &str = "client ids are not restricted: its listeners are left out, for they would be open to others";

/// Who comes in, for all listeners or for one (`per_listener_settings`).
#[derive(Debug, Default, Clone)]
struct Security {
    anonymous: Option<Line>,
    users: Option<Line>,
    acl: Option<Line>,
    /// A line that keeps clients out, or from topics, and has no equivalent.
    unfit: Option<(Line, &'static str)>,
}

struct Reading {
    per_listener: bool,
    security: Security,
    default: Listener,
    listeners: Vec<Listener>,
    bridges: Vec<Bridge>,
    limits: Limits,
    left: Vec<Left>,
}

impl Reading {
    fn new(lines: &[Line]) -> Self {
        let per_listener = lines.iter().rfind(|line| line.word == "per_listener_settings").is_some_and(Line::is_true);
        Self {
            per_listener,
            security: Security::default(),
            default: Listener::default(),
            listeners: Vec::new(),
            bridges: Vec::new(),
            limits: Limits::default(),
            left: Vec::new(),
        }
    }

    fn take(&mut self, line: &Line) {
        if line.word.ends_with("file") && !line.value.starts_with('/') && line.word != "pid_file" && line.word != "persistence_file" {
            self.left.push(line.left(format!("a path that is not absolute: it is taken to be {}", line.path().display())));
        }
        match line.word.as_str() {
            // Read before all others.
            "include_dir" | "per_listener_settings" => return,
            "listener" => return self.listener(line),
            "connection" => return self.bridges.push(Bridge::new(line)),
            _ => {}
        }
        let in_bridge = self.bridges.last_mut().filter(|_| bridge::is_its_word(&line.word));
        if let Some(bridge) = in_bridge {
            return bridge.take(line, &mut self.left);
        }
        if self.security(line) || self.limits.take(line, &mut self.left) {
            return;
        }
        let current = self.listeners.last_mut().unwrap_or(&mut self.default);
        match current.take(line) {
            Word::Taken => {}
            Word::Left(why) => self.left.push(line.left(why)),
            Word::Unknown if bridge::is_its_word(&line.word) => self.left.push(line.left("it stands before any `connection`")),
            Word::Unknown => self.left.push(line.left(why_not(&line.word))),
        }
    }

    fn listener(&mut self, line: &Line) {
        match Listener::new(line) {
            Ok(listener) => self.listeners.push(listener),
            Err(why) => self.left.push(line.left(why)),
        }
    }

    /// Whether the line says who comes in.
    fn security(&mut self, line: &Line) -> bool {
        let own = self.per_listener.then(|| self.listeners.last_mut().unwrap_or(&mut self.default));
        let security = match own {
            Some(listener) => {
                // For the listener that is there without a `listener` line, it is what opens it.
                listener.is_used |= matches!(line.word.as_str(), "password_file" | "acl_file" | "psk_file" | "plugin" | "auth_plugin");
                &mut listener.security
            }
            None => &mut self.security,
        };
        match line.word.as_str() {
            "allow_anonymous" => security.anonymous = Some(line.clone()),
            "password_file" => security.users = Some(line.clone()),
            "acl_file" => security.acl = Some(line.clone()),
            "auth_plugin" | "plugin" => security.unfit = Some((line.clone(), PLUGIN)),
            "clientid_prefixes" => security.unfit = Some((line.clone(), PREFIXES)),
            _ => return false,
        }
        true
    }
}

impl Line {
    fn left(&self, why: impl Into<String>) -> Left {
        Left { file: self.file.to_string(), line: self.number, word: self.word.clone(), why: why.into() }
    }
}

/// Why a word that belongs to nothing else has no place in a site's file.
fn why_not(word: &str) -> &'static str {
    match word {
        "log_dest" | "log_facility" | "log_timestamp" | "log_timestamp_format" | "log_type" | "connection_messages" => {
            "the log goes to the journal, connections included"
        }
        "pid_file" | "user" => "systemd sees to this; the service runs as `tidegate`",
        "autosave_interval" | "autosave_on_changes" => "what was acknowledged is on disk already, or with who wanted it",
        "persistence_file" | "persistence_location" => "the store is one file of its own (`[store] path`); nothing is read of Mosquitto's",
        "allow_duplicate_messages" => "each client gets a message once, with the highest QoS of its subscriptions",
        "upgrade_outgoing_qos" => "a message is delivered at the lesser of its own and the subscription's QoS",
        "set_tcp_nodelay" => "it is set on every connection",
        "memory_limit" => "there is no limit in all; each kind of memory has its own in `[broker.limits]`",
        "allow_zero_length_clientid" => "clients without an id get one",
        "auto_id_prefix" => "ids that are given to clients without one have no prefix",
        "retain_available" => "messages are always retained for who asks for it",
        "psk_file" => "TLS is by certificates only",
        _ if word.starts_with("auth_opt_") || word.starts_with("plugin_opt_") => "there are no plugins",
        _ => "no word of Mosquitto 2.0 that is known here",
    }
}

/// Mistakes in a password file or an access list, and users whom the list names.
fn users_named(acl: &[u8]) -> BTreeSet<String> {
    Acl::parse(acl).map(|acl| acl.users().map(str::to_owned).collect()).unwrap_or_default()
}

/// Whether we can read a password file; the line and the mistake if not.
fn read_users(bytes: &[u8]) -> Result<Users, (usize, String)> {
    Users::parse(bytes).map_err(|error| (error.line, error.what.to_string()))
}

/// As [`read_users`], of an access list.
fn read_acl(bytes: &[u8]) -> Result<Acl, (usize, String)> {
    Acl::parse(bytes).map_err(|mistake| (mistake.line, mistake.cause.to_string()))
}

#[cfg(test)]
mod tests;
