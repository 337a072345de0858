//! The command line: what was asked for → the part that does it.
//!
//! Job: parse the arguments, hand over to one file a command, print an error and its causes once, choose the exit code.
//!
//! Exit codes but for `sub` and `pub`, which end as Mosquitto's: 0 done; 1 failed, or `status` found something bad; 2 the site's file or the arguments are wrong, or another instance is running.
//!
//! Failure: every command returns a [`Failure`]; nothing else prints errors or ends the process.

mod check;
mod clients;
mod connection;
mod demo;
mod import;
mod passwd;
mod property;
mod publish;
mod retained;
mod run;
mod show;
mod status;
mod subscribe;
mod terminal;
mod visible;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Where the site's file is unless the command line says otherwise.
const CONFIG_PATH: &str = "/etc/tidegate/tidegate.toml";

#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about = "Edge gateway: serial and Modbus sensors → MQTT, and no acknowledged message is lost")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(run::Arguments),
    /// Check a site's file: prints every mistake in it; opens no port, no store and no connection
    Check(check::Arguments),
    /// Show what the running gateway says of itself; exit code 1 if something is bad
    Status(status::Arguments),
    /// Show who is connected or has a session, and end either
    Clients(clients::Arguments),
    /// Show what the broker retains, and remove it
    Retained(retained::Arguments),
    /// Say who may come in by name and password
    Passwd(passwd::Arguments),
    /// Subscribe and print messages; the options are those of mosquitto_sub
    Sub(subscribe::Arguments),
    /// Publish messages; the options are those of mosquitto_pub
    Pub(publish::Arguments),
    /// Show the whole gateway at work on simulated devices: nothing to install, nothing left behind
    Demo(demo::Arguments),
    /// Make a site's file of a mosquitto.conf, and list what did not carry over
    Import(import::Arguments),
}

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: Box<dyn Error>,
    /// Only the exit code says it.
    quiet: bool,
}

impl Failure {
    /// Something failed: exit code 1.
    pub fn new(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: 1, error: error.into(), quiet: false }
    }

    /// The site's file or the arguments are wrong, or another instance holds the store: exit code 2. Starting again does not help.
    pub fn wrong(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: 2, error: error.into(), quiet: false }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    abort_on_panic();
    let matches = Arguments::command().try_get_matches();
    let parsed = matches.and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, properties(&matches))));
    let (arguments, properties) = match parsed {
        Ok(parsed) => parsed,
        Err(help) => {
            // Help and version come this way, too, with exit code 0. A closed standard output is no reason to fail.
            let _ = help.print();
            return ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2));
        }
    };
    let done = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Clients(arguments) => clients::clients(&arguments),
        Command::Retained(arguments) => retained::retained(&arguments),
        Command::Passwd(arguments) => passwd::passwd(&arguments),
        Command::Sub(arguments) => subscribe::subscribe(&arguments, &properties),
        Command::Pub(arguments) => publish::publish(&arguments, &properties),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Import(arguments) => import::import(&arguments),
    };
    done.unwrap_or_else(|failure| {
        if !failure.quiet {
            complain(&chain(failure.error.as_ref()));
        }
        ExitCode::from(failure.code)
    })
}

/// The words of each `-D`, which have no number that is always the same.
fn properties(matches: &ArgMatches) -> Vec<Vec<String>> {
    let occurrences = matches.subcommand().and_then(|(_, matches)| matches.try_get_occurrences::<String>("property").ok().flatten());
    occurrences.into_iter().flatten().map(|words| words.cloned().collect()).collect()
}

/// For a command that waits for several things.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)
}

/// Writes a command's answer to standard output. A reader that has read enough (`| head -1`) is no failure; a full disk is.
fn answer(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

/// Writes a line to standard error. When nobody reads it, the exit code still says it.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A gateway with a dead thread would look alive. The release profile aborts by itself; this holds for every other build, too.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}

/// The error and its causes, one a line. The blocks of a site's file begin with "error:" themselves.
fn chain(error: &dyn Error) -> String {
    let text = error.to_string();
    let mut out = if text.starts_with("error:") { text } else { format!("error: {text}") };
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(out, "\n  because: {cause}");
        source = cause.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_error_is_printed_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[from] std::fmt::Error);
        let inner = std::fmt::Error.to_string();
        assert_eq!(chain(&Outer(std::fmt::Error)), format!("error: cannot start\n  because: {inner}"));
    }
}
