//! `tidegate passwd`: who may come in by name and password.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::Failure;
use super::terminal::{self, PASSWORD_MAX};
use crate::access::file::Edit;
use crate::access::password::{Password, PasswordHash};
use crate::access::scram::{self, ScramKeys};
use crate::access::users::{self, User, Users};
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The users' file [default: the one that the site's file names]
    #[arg(long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,
    /// The site's file
    #[arg(long, short, value_name = "FILE", default_value = super::CONFIG_PATH, global = true)]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add a user, or give one another password; asks for it at the terminal
    Add {
        name: String,
        /// Read the password from standard input; one newline at its end is not part of it
        #[arg(long)]
        stdin: bool,
        /// Let the user also prove itself by SCRAM-SHA-256 (MQTT 5.0), which does not say the password
        #[arg(long)]
        scram: bool,
    },
    /// Remove a user
    Remove { name: String },
    /// List the users
    List,
}

pub fn passwd(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = match &arguments.file {
        Some(path) => path.clone(),
        None => of_site(&arguments.config)?,
    };
    match &arguments.command {
        Command::Add { name, stdin, scram } => {
            users::check_name(name).map_err(Failure::wrong)?;
            add(&path, name, &password(name, *stdin)?, *scram)?;
        }
        Command::Remove { name } => remove(&path, name)?,
        Command::List => list(&path)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The users' file of a site that has one.
fn of_site(config: &Path) -> Result<PathBuf, Failure> {
    let site = config::load(config).map_err(Failure::wrong)?;
    let mut files: Vec<PathBuf> = site.broker.listeners.into_iter().filter_map(|listener| listener.users).collect();
    files.sort();
    files.dedup();
    match &files[..] {
        [file] => Ok(file.clone()),
        [] => Err(Failure::wrong(format!(
            "{} names no users' file: write there\n[broker.access]\nusers = \"/etc/tidegate/users\"\nor give one by --file",
            config.display()
        ))),
        _ => {
            let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            Err(Failure::wrong(format!(
                "{} names more than one users' file: say by --file which of {}",
                config.display(),
                names.join(", ")
            )))
        }
    }
}

fn password(name: &str, stdin: bool) -> Result<Password, Failure> {
    let password = if stdin { from_stdin()? } else { from_terminal(name)? };
    if password.as_bytes().is_empty() {
        return Err(Failure::wrong("the password is empty: nobody comes in with an empty one"));
    }
    Ok(password)
}

fn from_stdin() -> Result<Password, Failure> {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(1 << 10));
    std::io::stdin().lock().take(PASSWORD_MAX as u64 + 3).read_to_end(&mut bytes).map_err(Failure::new)?;
    let line = bytes.strip_suffix(b"\n").map_or(&bytes[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    if line.len() > PASSWORD_MAX {
        return Err(Failure::wrong(format!("the password is longer than {PASSWORD_MAX} bytes")));
    }
    Ok(Password::new(line))
}

fn from_terminal(name: &str) -> Result<Password, Failure> {
    let ask = |prompt: String| {
        let none = |error| format!("no terminal to ask for the password at ({error}): give it by --stdin");
        terminal::ask(&prompt).map_err(none).map_err(Failure::new)?.ok_or_else(|| Failure::new("nothing was changed"))
    };
    let first = ask(format!("Password for {name}: "))?;
    let second = ask("The same again: ".to_owned())?;
    if first == second { Ok(first) } else { Err(Failure::new("the two are not the same: nothing was changed")) }
}

fn add(path: &Path, name: &str, password: &Password, scram: bool) -> Result<(), Failure> {
    let edit = Edit::begin(path).map_err(Failure::new)?;
    let (text, users) = parse(path, edit.before.as_deref().unwrap_or_default())?;
    let known = users.get(name);
    // Keys of the old password would let it in.
    let with_keys = scram || known.is_some_and(|user| user.scram.is_some());
    let keys = with_keys.then(|| ScramKeys::new(password, random()?, scram::ITERATIONS).map_err(Failure::wrong)).transpose()?;
    let user = User { name: name.into(), password: PasswordHash::new(password, random()?), scram: keys };
    let changed = users::with(&text, &user);
    // As the gateway will read it: it may be one user too many.
    parse(path, changed.as_bytes())?;
    edit.finish(changed.as_bytes()).map_err(Failure::new)?;
    let done = if known.is_some() { "has another password" } else { "is added" };
    super::answer(&format!("{name} {done}. {RELOAD}\n"))
}

/// A running gateway has to be told.
const RELOAD: &str = "A running gateway takes it at: systemctl reload tidegate";

fn remove(path: &Path, name: &str) -> Result<(), Failure> {
    let edit = Edit::begin(path).map_err(Failure::new)?;
    let (text, _) = parse(path, edit.before.as_deref().unwrap_or_default())?;
    let without = users::without(&text, name).ok_or_else(|| Failure::new(format!("{} has no user {name}", path.display())))?;
    edit.finish(without.as_bytes()).map_err(Failure::new)?;
    super::answer(&format!("{name} is removed. {RELOAD}\n"))
}

fn list(path: &Path) -> Result<(), Failure> {
    let users = crate::access::file::users(path).map_err(Failure::new)?;
    let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or_default();
    let line = |user: &Arc<User>| {
        let weak = if user.password.is_weak() { " (weak)" } else { "" };
        let scram = if user.scram.is_some() { ", SCRAM-SHA-256" } else { "" };
        format!("{:width$}  {}{weak}{scram}\n", user.name, user.password.method())
    };
    super::answer(&users.iter().map(line).collect::<String>())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(String, Users), Failure> {
    let users = Users::parse(bytes).map_err(|mistake| Failure::new(format!("{}:{}: {}", path.display(), mistake.line, mistake.what)))?;
    // The file of users is text, or it would have no users.
    Ok((String::from_utf8_lossy(bytes).into_owned(), users))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Failure::new)?;
    Ok(bytes)
}
