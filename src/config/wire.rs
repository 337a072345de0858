//! What a bus's schedule costs on its wire, in words. The arithmetic is the bus's own.

use std::time::Duration;

use crate::bus::{Load, LoadLine, Options, Protocol, wire_load};
use crate::modbus::Table;

/// What is wrong with the schedule of a bus, each with its arithmetic: the wire has not enough time for it, or a `timeout` can never be kept.
pub(super) fn trouble(options: &Options) -> Vec<(String, String)> {
    let Protocol::ModbusRtu(modbus) = &options.protocol else { return Vec::new() };
    let load = wire_load(options);
    let mut trouble = Vec::new();
    if load.busy_per_second > 1.0 {
        trouble.push((format!("the bus `{}` cannot carry its schedule", options.name), overload(&load, options.line.baud)));
    }
    let longest = load.lines.iter().max_by_key(|line| line.reply).filter(|line| line.reply >= modbus.timeout);
    if let Some(line) = longest {
        let title = format!("no reply of {} can come within the `timeout` of the bus `{}`", what(line), options.name);
        let arithmetic = format!("at {} baud it takes {}, the timeout is {}", options.line.baud, ms(line.reply), ms(modbus.timeout));
        trouble.push((title, arithmetic));
    }
    trouble
}

fn overload(load: &Load, baud: u32) -> String {
    let reads = load.lines.len();
    let together = load.lines.iter().map(|line| line.busy).sum();
    let share = |line: &LoadLine| line.busy.as_secs_f64() / line.period.as_secs_f64();
    let costliest = load.lines.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    let costliest = costliest.map(|line| format!("\nthe costliest, {}, takes {} every {}", what(line), ms(line.busy), ms(line.period)));
    format!(
        "at {baud} baud {} {:.0} % of the time, if every device answers at once{}",
        if reads == 1 { format!("one read of {} takes", ms(together)) } else { format!("{reads} reads of together {} take", ms(together)) },
        load.busy_per_second * 100.0,
        costliest.unwrap_or_default(),
    )
}

/// `main-meter's input:0 to 5`.
fn what(line: &LoadLine) -> String {
    let table = match line.first.table {
        Table::Coil => "coil",
        Table::Discrete => "discrete",
        Table::Holding => "holding",
        Table::Input => "input",
    };
    let first = u32::from(line.first.address);
    let last = first + u32::from(line.quantity.saturating_sub(1));
    if first == last { format!("`{}`'s {table}:{first}", line.device) } else { format!("`{}`'s {table}:{first} to {last}", line.device) }
}

fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10_000.0 { format!("{ms:.1} ms") } else { format!("{:.0} s", ms / 1e3) }
}
