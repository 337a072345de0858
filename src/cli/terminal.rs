//! A password from the person at the terminal, who does not see it.

use std::fs::File;
use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::access::password::Password;

/// Longest password in bytes: what one MQTT string can carry.
pub const PASSWORD_MAX: usize = 65_535;

/// Asks at the process's terminal, wherever its input and output go. `None`: the person has broken off.
///
/// # Errors
/// There is no terminal.
pub fn ask(prompt: &str) -> io::Result<Option<Password>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let silent = Silent::begin(&terminal)?;
    terminal.write_all(prompt.as_bytes())?;
    let password = read(&mut terminal);
    drop(silent);
    terminal.write_all(b"\n")?;
    password
}

/// The terminal as it was, until this is dropped. Signals are off, too: one that ended the process would leave the terminal mute.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn begin(terminal: &File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        let this = Self { terminal: terminal.try_clone()?, before };
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(this)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// One line, with the keys that correct it.
fn read(terminal: &mut impl io::Read) -> io::Result<Option<Password>> {
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(256));
    let mut byte = [0];
    // The terminal hands out one byte at a time; what comes after the line is not ours.
    while terminal.read(&mut byte)? > 0 {
        match byte[0] {
            b'\r' | b'\n' => return Ok(Some(Password::new(&line))),
            // ^C, ^\
            0x03 | 0x1c => return Ok(None),
            // ^D
            0x04 if line.is_empty() => return Ok(None),
            // ^U
            0x15 => line.clear(),
            // Backspace takes a whole character.
            0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte if line.len() < PASSWORD_MAX => line.push(byte),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 65535 bytes")),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_corrections() {
        for (typed, want) in [
            (&b"secret\r"[..], Some(&b"secret"[..])),
            (b"secret\nmore\n", Some(b"secret")),
            (b"secrex\x7ft\r", Some(b"secret")),
            (b"xx\x08\x08\x08a\r", Some(b"a")),
            ("aä\u{7f}b\r".as_bytes(), Some(b"ab")),
            (b"wrong\x15right\r", Some(b"right")),
            (b" a \x04\r", Some(b" a \x04")),
            (b"\r", Some(b"")),
            (b"sec\x03", None),
            (b"\x04", None),
            (b"sec", None),
        ] {
            let mut typed_on = typed;
            let got = read(&mut typed_on).expect("no error");
            assert_eq!(got.as_ref().map(Password::as_bytes), want, "{typed:?}");
        }
    }
}
