//! The command line: what was asked for → the part that does it.
//!
//! Job: parse the arguments, hand over to one file a command, print an error and its causes once, choose the exit code.
//!
//! Exit codes: 0 done; 1 failed, or `status` found something bad; 2 the site's file or the arguments are wrong, or another instance is running.
//!
//! Failure: every command returns a [`Failure`]; nothing else prints errors or ends the process.

mod check;
mod demo;
mod run;
mod status;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Show the whole gateway at work on simulated devices: nothing to install, nothing left behind
    Demo(demo::Arguments),
}

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: Box<dyn Error>,
}

impl Failure {
    /// Something failed: exit code 1.
    pub fn new(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: 1, error: error.into() }
    }

    /// The site's file or the arguments are wrong, or another instance holds the store: exit code 2. Starting again does not help.
    pub fn wrong(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: 2, error: error.into() }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    abort_on_panic();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
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
        Command::Demo(arguments) => demo::demo(&arguments),
    };
    done.unwrap_or_else(|failure| {
        complain(&chain(failure.error.as_ref()));
        ExitCode::from(failure.code)
    })
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
    use clap::CommandFactory as _;

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
