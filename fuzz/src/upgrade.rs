//! The request that opens a WebSocket: the same answer however the reads cut it; what we accept tungstenite accepts, too, with the same answer to the
//! key; what we refuse is told in a whole response in which nothing is the client's.

use std::io::{Read, Write};

use tidegate::transport::upgrade::{Progress, Rules, parse};

pub fn check(input: &[u8]) {
    let rules = Rules {
        path: Some("/mqtt".to_owned()),
        hosts: vec!["gateway.site".to_owned()],
        origins: vec!["https://panel.example".to_owned()],
        header_bytes_max: 1024,
    };
    let whole = parse(input, &rules);
    // A prefix says nothing, or what the whole says.
    for n in (0..input.len()).step_by(input.len() / 64 + 1) {
        let progress = parse(&input[..n], &rules);
        assert!(progress == Progress::More || progress == whole, "{n} bytes say {progress:?}, all of them {whole:?}");
    }
    match whole {
        Progress::More => assert!(input.len() < rules.header_bytes_max),
        Progress::Accepted { length, answer } => accepted(input, length, &answer, &rules),
        Progress::Refused(refusal) => {
            let answer = refusal.answer();
            let (head, body) = answer.split_once("\r\n\r\n").expect("a whole response");
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status())));
            assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())));
        }
    }
}

fn accepted(input: &[u8], length: usize, answer: &str, rules: &Rules) {
    assert!(length <= rules.header_bytes_max);
    assert_eq!(parse(&input[..length], rules), parse(input, rules), "what follows the request counts");
    let wire = Wire { input: &input[..length], output: Vec::new() };
    let socket = match tungstenite::accept(wire) {
        Ok(socket) => socket,
        // Of fields that are lists it reads only the first, and of Upgrade only one member.
        Err(error) if error.to_string().contains("\"Connection: upgrade\"") || error.to_string().contains("\"Upgrade: websocket\"") => {
            return;
        }
        Err(error) => panic!("tungstenite refuses it: {error}"),
    };
    let theirs = String::from_utf8_lossy(&socket.get_ref().output).into_owned();
    let key = |answer: &str| {
        let lines = answer.lines().map(|line| line.split_once(": ").unwrap_or_default());
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept")).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(key(answer), key(&theirs));
    assert_eq!(key(answer).len(), 1);
}

struct Wire<'b> {
    input: &'b [u8],
    output: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
