//! Every limit of the broker, reached from outside: what the client is told, what is counted, what the log says, and what memory does.

mod rows;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tidegate::broker::Limit;

use crate::harness::gateway::Site;
use crate::harness::script::hold;
use crate::harness::wait_until;

/// A limit, the rest of the site's file, who is named in the log, how often it is tried, and the conversation.
#[derive(Debug, Clone)]
struct Reaching {
    limit: &'static str,
    site: String,
    /// The name of the script's client; `?`: nobody has said a name.
    who: &'static str,
    tries: usize,
    script: String,
}

/// Gateways that run at once.
const AT_ONCE: usize = 6;

/// Tries before memory is looked at.
const WARM: usize = 10;

/// By which the gateway's memory may have grown in the tries after that: what is left of each would be many times of it.
const GROWTH_MAX_KIB: u64 = 1_024;

#[test]
fn every_limit_is_told_counted_and_said_once_and_costs_no_memory() {
    let rows = rows::all();
    let missing: Vec<_> = Limit::ALL.iter().map(|limit| limit.name()).filter(|name| !rows.iter().any(|row| row.limit == *name)).collect();
    assert_eq!(missing, rows::ELSEWHERE, "limits without a row");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = reach(row) {
                        let script = row.script.replace('\n', "\n  ");
                        failures.lock().expect("no row panics with it").push(format!("{}: {why}\n  {script:.1000}", row.limit));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no row panics with it");
    assert!(failures.is_empty(), "{} of {} rows\n{}", failures.len(), rows.len(), failures.join("\n"));
}

fn reach(row: &Reaching) -> Result<(), String> {
    let site = Site::new(&row.site);
    let gateway = site.start();
    let try_it = || hold(site.port, "r", &row.script);
    let count = || site.status().and_then(|status| status.broker.limits.get(row.limit).copied()).unwrap_or_default();
    try_it()?;
    wait_until("it is counted", Duration::from_secs(10), || count() > 0);
    let first = count();
    let others: Vec<_> = site.status().map(|status| status.broker.limits).unwrap_or_default().into_iter().collect();
    let others: Vec<_> = others.iter().filter(|(name, n)| *n > 0 && *name != row.limit).collect();
    if !others.is_empty() {
        return Err(format!("others were reached, too: {others:?}"));
    }
    for _ in 0..WARM.min(row.tries) {
        try_it()?;
    }
    let before = gateway.rss_kib();
    for _ in 0..row.tries {
        try_it()?;
    }
    let after = gateway.rss_kib();
    if after > before + GROWTH_MAX_KIB {
        return Err(format!("its memory has grown from {before} to {after} KiB in {} tries", row.tries));
    }
    let tries = (1 + WARM.min(row.tries) + row.tries) as u64;
    wait_until("each time is counted", Duration::from_secs(10), || count() >= first.min(1) * tries);
    let log = site.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&format!("limit=\"{}\"", row.limit))).collect();
    let client = if row.who == "?" { "client=\"?\"".to_owned() } else { format!("client=\"r{}\"", row.who) };
    match lines[..] {
        [line]
            if line.contains(&client)
                && (line.contains("peer=\"127.0.0.1") || line.contains("peer=\"away"))
                && line.contains("value=\"") =>
        {
            Ok(())
        }
        _ => Err(format!("one line with {client} is wanted, not {lines:#?}")),
    }
}
