//! What the system says of its clock and of this boot.

use std::path::Path;

use super::ClockTrust;
use super::times::Moment;
use crate::clock;

/// Is there once systemd-timesyncd has set the clock.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub fn moment(trust: ClockTrust) -> Moment {
    // Without the kernel's word each start counts as a boot of its own.
    let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_else(|_| format!("{:x}", getrandom::u64().unwrap_or(0)));
    Moment { now: clock::now(), boot: boot.trim().into(), since_boot: clock::since_boot(), trusted: is_trusted(trust) }
}

pub fn is_trusted(trust: ClockTrust) -> bool {
    match trust {
        ClockTrust::Auto => Path::new(SYNCHRONIZED).exists(),
        ClockTrust::Always => true,
        ClockTrust::Never => false,
    }
}
