//! Frames that end with a delimiter.

use super::Framing;

/// Cuts a stream of bytes into frames. A new framer first waits for a delimiter: it may have been put to a line in the middle of a frame, and half a
/// line can look like a whole one with another value.
#[derive(Debug, Clone)]
pub struct Framer {
    framing: Framing,
    /// What came since the last delimiter, at most `max_length` and one delimiter; while skipping, only what may be the beginning of a delimiter.
    held: Vec<u8>,
    skipping: Option<Skip>,
    overlong: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// The rest of a frame whose beginning was not seen.
    Beginning,
    /// The rest of an overlong frame.
    Overlong,
}

impl Framer {
    pub const fn new(framing: Framing) -> Self {
        Self { framing, held: Vec::new(), skipping: Some(Skip::Beginning), overlong: 0 }
    }

    /// Takes the next bytes and hands each frame that they complete to `frame`, without its delimiter. Empty frames are left out.
    pub fn feed(&mut self, bytes: &[u8], mut frame: impl FnMut(&[u8])) {
        for &byte in bytes {
            self.held.push(byte);
            if let Some(content) = self.held.strip_suffix(self.framing.delimiter.as_slice()) {
                if self.skipping.is_none() && !content.is_empty() {
                    frame(content);
                }
                self.held.clear();
                self.skipping = None;
            } else if self.skipping.is_some() {
                self.keep_tail();
            } else if self.held.len() >= self.framing.max_length.saturating_add(self.framing.delimiter.len()) {
                self.overlong += 1;
                self.skipping = Some(Skip::Overlong);
                self.keep_tail();
            }
        }
    }

    /// Forgets what it holds, as when the port was lost: what comes next may be the middle of another frame.
    pub fn reset(&mut self) {
        self.held.clear();
        self.skipping = Some(Skip::Beginning);
    }

    /// Frames that were longer than `max_length`.
    pub const fn overlong(&self) -> u64 {
        self.overlong
    }

    fn keep_tail(&mut self) {
        let tail = self.framing.delimiter.len().saturating_sub(1);
        self.held.drain(..self.held.len().saturating_sub(tail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framer(delimiter: &str, max_length: usize) -> Framer {
        Framer::new(Framing { delimiter: delimiter.as_bytes().to_vec(), max_length })
    }

    fn frames(framer: &mut Framer, bytes: &[u8], chunk: usize) -> Vec<String> {
        let mut got = Vec::new();
        for chunk in bytes.chunks(chunk) {
            framer.feed(chunk, |frame| got.push(String::from_utf8_lossy(frame).into_owned()));
        }
        got
    }

    #[test]
    fn frames_are_the_same_wherever_the_reads_end() {
        for (delimiter, max_length, bytes, want, overlong) in [
            ("\n", 8, "\na\nbc\nd", &["a", "bc"][..], 0),
            ("\n", 8, "middle\na\n", &["a"], 0),
            ("\r\n", 8, "\r\na\r\nb\nc\r\n\r\nd\r\r\n", &["a", "b\nc", "d\r"], 0),
            ("\r\n", 4, "\r\nabcd\r\nabcde\r\nok\r\n", &["abcd", "ok"], 1),
            ("\r\n", 4, "\r\nabcdefghijkl\r\r\nok\r\n", &["ok"], 1),
            ("\r\n", 4, "\r\nabcd\rX\r\nok\r\n", &["ok"], 1),
            ("\n", 4, "a line too long before the first\nok\n", &["ok"], 0),
            ("END", 4, "ENDaENENDbEND", &["aEN", "b"], 0),
            ("aab", 4, "aabxaaabaaaabaab", &["xa", "aa"], 0),
            ("aa", 4, "aaaaaxaa", &["ax"], 0),
            ("\n", 0, "\na\n\nb\n", &[], 2),
        ] {
            for chunk in 1..=bytes.len() {
                let mut framer = framer(delimiter, max_length);
                assert_eq!(frames(&mut framer, bytes.as_bytes(), chunk), want, "{bytes:?} cut at {delimiter:?}, {chunk} bytes a read");
                assert_eq!(framer.overlong(), overlong, "{bytes:?} cut at {delimiter:?}, {chunk} bytes a read");
            }
        }
    }

    #[test]
    fn after_a_reset_half_a_frame_is_not_joined_to_another() {
        let mut framer = framer("\n", 16);
        assert_eq!(frames(&mut framer, b"\nT=2", 1), Vec::<String>::new());
        framer.reset();
        assert_eq!(frames(&mut framer, b"5.5\nT=6\n", 1), ["T=6"]);
    }

    #[test]
    fn an_endless_frame_is_held_in_bounded_memory() {
        let mut framer = framer("\r\n", 100);
        framer.feed(b"\r\n", |_| {});
        for _ in 0..10_000 {
            framer.feed(&[b'x'; 64], |_| panic!("there is no delimiter"));
            assert!(framer.held.len() <= 102);
        }
        assert_eq!(framer.overlong(), 1);
    }
}
