//! Text from outside on a terminal: what would steer it is shown instead of sent.
//!
//! An escape sequence in a payload, a topic or a client id can move the cursor, fake lines, or have a terminal answer as if somebody had typed.

use std::fmt::Write as _;

/// The text with everything escaped that a terminal does not simply print: control characters of ASCII and Unicode, what turns the direction of
/// writing, and bytes that are no UTF-8. `lines`: new lines and tabs stay.
pub(super) fn visible(bytes: &[u8], lines: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' if lines => out.push(c),
                '\\' if !lines => out.push_str("\\\\"),
                c if c.is_control() || turns(c) => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Marks that turn or hide what follows: text would be read otherwise than it is.
const fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        for (bytes, lines, want) in [
            (&b"21.5 \xc2\xb0C"[..], true, "21.5 °C"),
            (b"a\nb\tc", true, "a\nb\tc"),
            (b"a\nb\tc", false, "a\\nb\\tc"),
            (b"\x1b[2J\x07\x08\x7f\r", true, "\\u{1b}[2J\\u{7}\\u{8}\\u{7f}\\r"),
            // CSI in one character, as UTF-8 and as a byte of Latin-1.
            ("\u{9b}2J".as_bytes(), true, "\\u{9b}2J"),
            (b"\x9b2J", true, "\\x9b2J"),
            (b"\xff\xfe\0", true, "\\xff\\xfe\\u{0}"),
            ("a\u{202e}cod.exe".as_bytes(), false, "a\\u{202e}cod.exe"),
            (b"a\\nb", false, "a\\\\nb"),
            (b"a\\nb", true, "a\\nb"),
        ] {
            assert_eq!(visible(bytes, lines), want, "{bytes:02x?}");
        }
    }
}
