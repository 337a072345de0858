//! Where a secret is to be had. A secret that stands in the file itself is a mistake, and is not shown.

use std::path::Path;

use super::super::Environment;
use super::super::error::{Mistake, Report, Span};
use super::super::file::SECRET;
use super::super::item::Item;
use super::path;
use crate::model::Secret;

const FORMS: &str = "one of\n{ file = \"/etc/tidegate/NAME\" }       a file that only the gateway may read\n\
                     { env = \"NAME\" }                      a variable of the environment\n\
                     { credential = \"NAME\" }               systemd's LoadCredential=NAME:/path";

pub(super) fn secret(report: &Report<'_>, item: Item<'_>, environment: &Environment) -> Option<Secret> {
    if !item.is_table() {
        report.mask(&item.span);
        let mistake = Mistake::error("a secret must not stand in the site's file: this file is copied, shown and kept in backups");
        report.add(&item.span, mistake.expected(FORMS));
        return None;
    }
    let mut table = item.table_as(&SECRET)?;
    let span = table.span.clone();
    let given = ["file", "env", "credential"].iter().filter(|form| table.has(form)).count();
    let mut forms = Vec::new();
    if let Some(item) = table.take("file") {
        let at = item.span.clone();
        if let Some(file) = path(item) {
            warn_if_absent(report, &at, "the secret's file", &file, environment);
            forms.push(Secret::File(file));
        }
    }
    if let Some(name) = table.text("env") {
        if !(environment.variable_exists)(&name.value) {
            let mistake = Mistake::warning(format!("the environment has no variable {}", name.value));
            report.add(&name.span, mistake.note("the service's environment may have it: `Environment=` or `EnvironmentFile=` in its unit"));
        }
        forms.push(Secret::Env(name.value));
    }
    if let Some(name) = table.text("credential") {
        if name.value.is_empty() || name.value.contains('/') {
            report.add(&name.span, Mistake::error(format!("`{}` is no name of a credential", name.value)));
        } else if let Some(folder) = &environment.credentials_directory {
            warn_if_absent(report, &name.span, "the credential's file", &folder.join(&name.value), environment);
        }
        forms.push(Secret::Credential(name.value));
    }
    let is_empty = table.is_empty();
    table.finish();
    // An unknown key has been told, and was meant to be one of the forms.
    if given > 1 || given == 0 && is_empty {
        report.missing(&span, Mistake::error(format!("a secret has one place, this one has {given}")).expected(FORMS));
    }
    forms.pop()
}

pub(super) fn warn_if_absent(report: &Report<'_>, at: &Span, what: &str, file: &Path, environment: &Environment) {
    if !(environment.file_exists)(file) {
        report.add(at, Mistake::warning(format!("{what} {} is not there, or this user may not see it", file.display())));
    }
}
