//! `tidegate retained`: what the broker keeps for topics, and removing it.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use super::clients::{columns, pretty, strange};
use super::status::age;
use super::visible::visible;
use crate::model::TopicFilter;
use crate::model::admin::Retained;
use crate::ops::ask::{Request, Response};
use crate::ops::control;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The running gateway's control socket [default: in $RUNTIME_DIRECTORY or /run/tidegate]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List retained messages with their payload's beginning
    List {
        /// Of these topics
        #[arg(value_name = "FILTER", default_value = "#", value_parser = filter)]
        filter: String,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Remove retained messages; when it has ended they are gone from the store, too
    Clear {
        /// Of these topics
        #[arg(value_name = "FILTER", value_parser = filter)]
        filter: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub fn retained(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = arguments.socket.clone().unwrap_or_else(control::default_path);
    match &arguments.what {
        What::List { filter, json: true } => {
            let mut all = Vec::new();
            list(&path, filter, |page| {
                all.extend(page);
                Ok(())
            })?;
            super::answer(&pretty(&all)?)?;
        }
        // Page by page: there may be 65,536 of them.
        What::List { filter, json: false } => list(&path, filter, |page| super::answer(&table(&page)))?,
        What::Clear { filter, yes } => {
            if !*yes && !confirmed(&path, filter)? {
                return Err(Failure::new("nothing was removed"));
            }
            let cleared = clear(&path, filter)?;
            super::answer(&format!("{cleared} retained messages removed\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(path: &std::path::Path, filter: &str, mut page: impl FnMut(Vec<Retained>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let request = Request::Retained { filter: filter.to_owned(), after: after.clone() };
        let Response::Retained(found) = control::ask(path, &request).map_err(Failure::new)? else { return Err(strange()) };
        page(found.messages)?;
        match found.next {
            // Topics rise; a gateway that sends us back would keep us for ever.
            Some(next) if after.as_ref().is_none_or(|after| *after < next) => after = Some(next),
            _ => return Ok(()),
        }
    }
}

fn clear(path: &std::path::Path, filter: &str) -> Result<usize, Failure> {
    let (mut cleared, mut after) = (0, None);
    loop {
        let request = Request::Clear { filter: filter.to_owned(), after: after.clone() };
        let Response::Cleared(page) = control::ask(path, &request).map_err(Failure::new)? else { return Err(strange()) };
        cleared += page.cleared;
        match page.next {
            Some(next) if after.as_ref().is_none_or(|after| *after < next) => after = Some(next),
            _ => return Ok(cleared),
        }
    }
}

/// Asks whoever sits at the terminal; without one nobody can be asked.
fn confirmed(path: &std::path::Path, filter: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::wrong("nobody is there to confirm it: add --yes"));
    }
    let mut count = 0;
    list(path, filter, |page| {
        count += page.len();
        Ok(())
    })?;
    let mut err = io::stderr().lock();
    write!(err, "Remove {count} retained messages of {}? [y/N] ", visible(filter.as_bytes(), false)).map_err(Failure::new)?;
    err.flush().map_err(Failure::new)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Failure::new)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn table(page: &[Retained]) -> String {
    let rows: Vec<Vec<String>> = page
        .iter()
        .map(|message| {
            let preview = visible(message.preview.as_bytes(), false);
            let more = if message.bytes > message.preview.len() { "…" } else { "" };
            let expires = message.expires_in_ms.map(|ms| format!(", expires in {}", age(ms))).unwrap_or_default();
            vec![
                visible(message.topic.as_bytes(), false),
                format!("QoS {}, {} B{expires}", message.qos, message.bytes),
                format!("{preview}{more}"),
            ]
        })
        .collect();
    columns(&rows)
}

fn filter(text: &str) -> Result<String, String> {
    TopicFilter::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
