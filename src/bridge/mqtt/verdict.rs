//! What the upstream's words and the ends of connections mean. Sans-I/O.

use std::io;

use super::super::sink::{Down, Refused, Retry};
use crate::mqtt::reason::Reason;

/// Longest text of the upstream that is shown, in characters; the rest is left out.
const TEXT_MAX: usize = 200;

/// How a connection ended otherwise than by a farewell, told by the operating system.
pub fn lost(error: &io::Error) -> Down {
    if is_close(error) {
        return Down { by_peer: true, cause: format!("the upstream closed the connection: {error}"), ..Down::default() };
    }
    Down { cause: error.to_string(), ..Down::default() }
}

/// It ended in good order, without a word.
pub fn closed() -> Down {
    Down { by_peer: true, cause: "the upstream closed the connection".to_owned(), ..Down::default() }
}

/// The upstream breaks the protocol.
pub fn broken(what: impl std::fmt::Display) -> Down {
    Down { cause: format!("the upstream breaks the protocol: {what}"), ..Down::default() }
}

/// A CONNACK with an error (5.0, 3.2.2.2).
pub fn not_let_in(reason: Reason) -> Down {
    let advice = match reason {
        Reason::UnsupportedVersion => {
            return Down { cause: format!("{NOT_SPOKEN} ({:#04x})", reason as u8), retry: Retry::Slow, ..Down::default() };
        }
        Reason::ClientIdNotValid => "; it does not allow this `client_id`",
        Reason::BadUserOrPassword => "; `auth` is wrong",
        Reason::NotAuthorized => "; user name, password or client id",
        Reason::UseAnotherServer | Reason::ServerMoved => "; `url` has to name that one",
        Reason::BadAuthenticationMethod => "; only user name and password are supported",
        _ => "",
    };
    let retry = match reason {
        Reason::ServerBusy
        | Reason::Banned
        | Reason::QuotaExceeded
        | Reason::UseAnotherServer
        | Reason::ServerMoved
        | Reason::ConnectionRateExceeded => Retry::Slow,
        _ => Retry::Usual,
    };
    Down { cause: format!("the upstream lets us not in: {reason}{advice}"), retry, ..Down::default() }
}

/// The upstream knows 3.1.1 only.
pub const NOT_SPOKEN: &str = "the upstream speaks no MQTT 5.0: set version = \"3.1.1\"";

/// A DISCONNECT of the upstream (5.0, 3.14.2.1), with what it added.
pub fn dismissed(reason: Reason, text: Option<&str>, reference: Option<&str>) -> Down {
    let mut cause = format!("the upstream ended the connection: {reason}{}", said(text));
    if matches!(reason, Reason::UseAnotherServer | Reason::ServerMoved) {
        let named = reference.map(|reference| format!(" {}", quoted(reference))).unwrap_or_default();
        cause.push_str(&format!("; it names another server{named}, and `url` has to name that one"));
    }
    let retry = match reason {
        Reason::ServerBusy
        | Reason::SessionTakenOver
        | Reason::MessageRateTooHigh
        | Reason::QuotaExceeded
        | Reason::UseAnotherServer
        | Reason::ServerMoved
        | Reason::ConnectionRateExceeded => Retry::Slow,
        _ => Retry::Usual,
    };
    // An entry may be the cause of these, as it may be of a close without a word.
    let by_peer = matches!(
        reason,
        Reason::Unspecified
            | Reason::MalformedPacket
            | Reason::ProtocolError
            | Reason::ImplementationSpecific
            | Reason::NotAuthorized
            | Reason::TopicNameInvalid
            | Reason::PacketTooLarge
            | Reason::PayloadFormatInvalid
            | Reason::RetainNotSupported
            | Reason::QosNotSupported
    );
    Down { by_peer, cause, retry, unusable: false }
}

/// A PUBACK with an error (5.0, 3.4.2.1).
pub fn refused(reason: Reason, text: Option<&str>) -> Refused {
    Refused { code: reason as u8, why: format!("{reason}{}", said(text)) }
}

/// Whether the other side ended the connection, as against a network that failed.
pub fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

/// The error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn said(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map(|text| format!(", {}", quoted(text))).unwrap_or_default()
}

/// Text of the upstream: cut, and with nothing that a terminal or a log could take for its own.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(TEXT_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_says_why_and_how_long_to_stay_away() {
        for (code, by_peer, retry, words) in [
            (0x00, false, Retry::Usual, "success"),
            (0x80, true, Retry::Usual, "unspecified error"),
            (0x87, true, Retry::Usual, "not authorized"),
            (0x89, false, Retry::Slow, "server busy"),
            (0x8b, false, Retry::Usual, "shutting down"),
            (0x8d, false, Retry::Usual, "keep alive"),
            (0x8e, false, Retry::Slow, "taken over"),
            (0x93, false, Retry::Usual, "receive maximum"),
            (0x95, true, Retry::Usual, "too large"),
            (0x97, false, Retry::Slow, "quota"),
            (0x9c, false, Retry::Slow, "another server \"b.example\", and `url`"),
            (0x9d, false, Retry::Slow, "another server \"b.example\", and `url`"),
        ] {
            let reason = Reason::from_u8(code).expect("a code of the standard");
            let down = dismissed(reason, Some("come\nback"), Some("b.example"));
            assert_eq!((down.by_peer, down.retry), (by_peer, retry), "{code:#x}");
            assert!(down.cause.contains(words) && down.cause.contains(r#", "come\nback""#), "{code:#x}: {}", down.cause);
        }
    }

    #[test]
    fn who_is_not_let_in_hears_what_to_change() {
        for (code, retry, words) in [
            (0x84, Retry::Slow, "set version = \"3.1.1\""),
            (0x85, Retry::Usual, "`client_id`"),
            (0x86, Retry::Usual, "`auth` is wrong"),
            (0x87, Retry::Usual, "not authorized (0x87); user name, password or client id"),
            (0x88, Retry::Usual, "server unavailable"),
            (0x89, Retry::Slow, "server busy"),
            (0x9d, Retry::Slow, "`url`"),
            (0x9f, Retry::Slow, "rate"),
        ] {
            let down = not_let_in(Reason::from_u8(code).expect("a code of the standard"));
            assert!(!down.by_peer && down.retry == retry && down.cause.contains(words), "{code:#x}: {down:?}");
        }
    }

    #[test]
    fn text_of_the_upstream_is_cut_and_made_printable() {
        let shown = refused(Reason::QuotaExceeded, Some(&format!("\u{1b}[2J{}", "ü".repeat(300)))).why;
        assert!(shown.starts_with(r#"quota exceeded (0x97), "\u{1b}[2J"#) && shown.ends_with("\"…"), "{shown}");
        assert_eq!(shown.matches('ü').count(), TEXT_MAX - 4);
        assert_eq!(refused(Reason::QuotaExceeded, Some("")).why, "quota exceeded (0x97)");
    }

    #[test]
    fn only_an_end_that_the_upstream_made_is_its_doing() {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut, UnexpectedEof};
        for (kind, by_peer, words) in [
            (ConnectionReset, true, "closed the connection"),
            (BrokenPipe, true, "closed the connection"),
            (UnexpectedEof, true, "closed the connection"),
            (ConnectionRefused, false, "refused"),
            (HostUnreachable, false, "unreachable"),
            (TimedOut, false, "timed out"),
        ] {
            let down = lost(&io::Error::from(kind));
            assert!(down.by_peer == by_peer && down.cause.contains(words), "{kind:?}: {down:?}");
        }
    }
}
