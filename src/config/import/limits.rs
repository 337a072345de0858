//! What holds for the whole broker.

use super::{Left, Line};

/// Lines of our file, without their tables' headers.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Of `[broker]`.
    pub(super) broker: Vec<String>,
    /// Of `[broker.limits]`.
    pub(super) limits: Vec<String>,
}

/// Largest packet of MQTT in bytes; Mosquitto's word for no limit is 0.
const PACKET_MAX: u64 = 256 << 20;

impl Limits {
    /// Whether the line says such a thing.
    pub(super) fn take(&mut self, line: &Line, left: &mut Vec<Left>) -> bool {
        let mut limit = |key: &str, value: String| self.limits.push(format!("{key} = {value}"));
        let number: Option<u64> = line.value.parse().ok();
        match (line.word.as_str(), number) {
            ("queue_qos0_messages", _) => self.broker.push(format!("queue_qos0 = {}", line.is_true())),
            ("sys_interval", Some(n)) => self.broker.push(format!("sys_interval = \"{n}s\"")),
            ("max_inflight_messages", Some(0)) => limit("receive_maximum", "65535".to_owned()),
            ("max_inflight_messages", Some(n)) => limit("receive_maximum", n.to_string()),
            ("max_queued_messages", Some(0)) => {
                limit("session_queue", "1000000".to_owned());
                left.push(line.left("a queue has a limit: a million messages, and `session_queue_bytes`"));
            }
            ("max_queued_messages", Some(n)) => limit("session_queue", n.to_string()),
            ("max_queued_bytes", Some(0)) => {
                left.push(line.left("a queue has a limit in bytes, too: `[broker.limits] session_queue_bytes`"));
            }
            ("max_queued_bytes", Some(n)) => limit("session_queue_bytes", n.to_string()),
            ("max_packet_size" | "message_size_limit", Some(0)) => limit("packet_max", PACKET_MAX.to_string()),
            ("max_packet_size", Some(n)) => limit("packet_max", n.to_string()),
            ("message_size_limit", Some(n)) => {
                limit("packet_max", n.saturating_add(1024).to_string());
                left.push(line.left("the limit is of the whole packet here: 1 KiB is added for its topic and properties"));
            }
            ("max_keepalive", Some(0)) => limit("keep_alive_max", "\"65535s\"".to_owned()),
            ("max_keepalive", Some(n)) => limit("keep_alive_max", format!("\"{n}s\"")),
            ("persistent_client_expiration", _) => match expiration(&line.value) {
                Some(value) => limit("session_expiry_max", format!("\"{value}\"")),
                None => left.push(line.left("it is no duration")),
            },
            ("max_inflight_bytes", _) => left.push(line.left("messages in flight are counted, and their bytes with the session's queue")),
            ("persistence", _) if line.is_true() => {
                left.push(line.left("sessions and messages are always stored; what Mosquitto has stored does not come along"));
            }
            ("persistence", _) => left.push(line.left("sessions and messages are always stored")),
            ("check_retain_source", _) if line.is_true() => {}
            ("check_retain_source", _) => left.push(line.left("who left a retained message must still have the right to, always")),
            (
                "sys_interval"
                | "max_inflight_messages"
                | "max_queued_messages"
                | "max_queued_bytes"
                | "max_packet_size"
                | "message_size_limit"
                | "max_keepalive",
                None,
            ) => left.push(line.left("it is no number")),
            _ => return false,
        }
        true
    }
}

/// `14d`, `2m` (months): hours, days, weeks, months and years.
fn expiration(text: &str) -> Option<String> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "h" => Some(format!("{number}h")),
        "d" => Some(format!("{number}d")),
        "w" => Some(format!("{}d", number.checked_mul(7)?)),
        "m" => Some(format!("{}d", number.checked_mul(30)?)),
        "y" => Some(format!("{}d", number.checked_mul(365)?)),
        _ => None,
    }
}
