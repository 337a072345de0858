//! `[broker]` → listeners and limits.

use std::path::PathBuf;

use super::super::Environment;
use super::super::reader::Table;
use super::Names;
use super::listener::{self, Context, file};
use super::store::set;
use crate::broker::{Limits, Options};

pub(super) fn limits() -> Limits {
    Limits::default()
}

/// The upstreams' topics and names are filled in by the caller.
pub(super) fn broker(broker: Option<Table<'_>>, mut limits: Limits, environment: &Environment) -> Options {
    let Some(mut table) = broker else {
        let listeners = vec![listener::default(Context { environment, users: false })];
        return Options { listeners, limits, ..Options::default() };
    };
    let report = table.report;
    let access = table.table("access").map(|table| Access::new(table, environment)).unwrap_or_default();
    let context = Context { environment, users: access.users.is_some() };
    let mut listeners = vec![listener::default(context)];
    let long = table.tables("listener");
    if table.has("listen") || !long.is_empty() {
        listeners.clear();
        let short = if table.has("listen") { table.texts("listen") } else { None };
        for url in short.unwrap_or_default() {
            if let Some(new) = listener::short(report, &url, context) {
                listener::add(report, &mut listeners, new, &url.span);
            }
        }
        let mut names = Names::default();
        for table in long {
            if let Some(new) = listener::long(table, context, &mut names) {
                listener::add(report, &mut listeners, new.value, &new.span);
            }
        }
    }
    set(&mut limits.queue_qos0, table.bool("queue_qos0"));
    set(&mut limits.sys_interval, table.duration("sys_interval"));
    if let Some(table) = table.table("limits") {
        super::limits::limits(table, &mut limits);
    }
    let _ = table.take("listen");
    table.finish();
    for listener in &mut listeners {
        listener.users = listener.users.take().or_else(|| access.users.clone());
        listener.acl = listener.acl.take().or_else(|| access.acl.clone());
    }
    Options { listeners, acl: access.acl, limits, ..Options::default() }
}

/// `[broker.access]`: the files of listeners that name none of their own.
#[derive(Debug, Default)]
struct Access {
    users: Option<PathBuf>,
    acl: Option<PathBuf>,
}

impl Access {
    fn new(mut table: Table<'_>, environment: &Environment) -> Self {
        let users = file(&mut table, "users", "the users' file", environment);
        let acl = file(&mut table, "acl", "the rights' file", environment);
        table.finish();
        Self { users, acl }
    }
}
