//! Bytes to words.

use super::{PROPERTIES, Type, sorted, text};

/// A packet that a server sends, as words: its name, what it holds in the order of [`encode`]'s table, and its properties by name.
pub fn decode(version: u8, first: u8, body: &[u8]) -> Vec<String> {
    let mut rest = Rest { body, whole: true };
    let mut words = rest.packet(version, first);
    if !rest.whole {
        words.push("CUT-SHORT".into());
    }
    if !rest.body.is_empty() {
        words.push(format!("TRAILING={}", text(rest.body)));
    }
    words
}

struct Rest<'a> {
    body: &'a [u8],
    whole: bool,
}

impl Rest<'_> {
    fn packet(&mut self, version: u8, first: u8) -> Vec<String> {
        let (kind, flags) = (first >> 4, first & 0xf);
        const NAMES: [&str; 16] = [
            "RESERVED",
            "CONNECT",
            "connack",
            "publish",
            "puback",
            "pubrec",
            "pubrel",
            "pubcomp",
            "SUBSCRIBE",
            "suback",
            "UNSUBSCRIBE",
            "unsuback",
            "PINGREQ",
            "pingresp",
            "disconnect",
            "auth",
        ];
        let mut words = vec![NAMES[usize::from(kind)].to_owned()];
        if kind != 3 && flags != if kind == 6 { 2 } else { 0 } {
            words.push(format!("FLAGS={flags:#x}"));
        }
        match kind {
            2 => {
                let present = self.byte();
                words.push(code(self.byte()));
                words.extend((present != 0).then(|| if present == 1 { "present".into() } else { format!("FLAGS={present:#x}") }));
                self.properties(version, &mut words);
            }
            3 => self.publish(version, flags, &mut words),
            4..=7 => {
                words.push(format!("#{}", self.two()));
                self.reason(version, &mut words);
            }
            9 | 11 => {
                words.push(format!("#{}", self.two()));
                self.properties(version, &mut words);
                words.extend(std::mem::take(&mut self.body).iter().map(|byte| code(*byte)));
            }
            14 | 15 => self.reason(version, &mut words),
            _ => {}
        }
        words
    }

    fn publish(&mut self, version: u8, flags: u8, words: &mut Vec<String>) {
        let qos = flags >> 1 & 3;
        words.push(format!("q{qos}"));
        words.extend((flags & 8 != 0).then(|| "dup".to_owned()));
        words.extend((flags & 1 != 0).then(|| "retain".to_owned()));
        let topic = self.string();
        words.extend((qos > 0).then(|| format!("#{}", self.two())));
        words.push(if topic.is_empty() || topic.contains(&b' ') { format!("\"{}\"", text(&topic)) } else { text(&topic) });
        let mut properties = Vec::new();
        self.properties(version, &mut properties);
        words.push(format!("\"{}\"", text(std::mem::take(&mut self.body))));
        words.extend(properties);
    }

    fn reason(&mut self, version: u8, words: &mut Vec<String>) {
        if self.body.is_empty() || version != 5 {
            return;
        }
        let reason = self.byte();
        words.extend((reason != 0).then(|| code(reason)));
        if !self.body.is_empty() {
            self.properties(version, words);
        }
    }

    fn properties(&mut self, version: u8, words: &mut Vec<String>) {
        if version != 5 {
            return;
        }
        let length = self.variable().min(self.body.len());
        let (own, rest) = self.body.split_at(length);
        let mut own = Rest { body: own, whole: true };
        let mut found = Vec::new();
        while !own.body.is_empty() {
            let id = own.byte();
            let Some((name, _, kind)) = PROPERTIES.iter().find(|(_, n, _)| *n == id) else {
                found.push(format!("UNKNOWN={id:#x}"));
                break;
            };
            let value = match kind {
                Type::Byte => own.byte().to_string(),
                Type::Two => own.two().to_string(),
                Type::Four => (u32::from(own.two()) << 16 | u32::from(own.two())).to_string(),
                Type::Variable => own.variable().to_string(),
                Type::Text => text(&own.string()),
                Type::Pair => format!("{}:{}", text(&own.string()), text(&own.string())),
            };
            found.push(format!("{name}={value}"));
        }
        self.whole &= own.whole;
        self.body = rest;
        words.extend(sorted(found));
    }

    fn take(&mut self, n: usize) -> &[u8] {
        self.whole &= n <= self.body.len();
        let (taken, rest) = self.body.split_at(n.min(self.body.len()));
        self.body = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn variable(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 21 {
                return value;
            }
        }
    }

    fn string(&mut self) -> Vec<u8> {
        let length = usize::from(self.two());
        self.take(length).to_vec()
    }
}

fn code(code: u8) -> String {
    if code < 0x80 { code.to_string() } else { format!("{code:#x}") }
}
