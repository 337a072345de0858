//! Words to bytes.

use super::{Ids, PROPERTIES, Type, bytes, hex, number, property, string, variable, words};

/// The bytes of a packet.
///
/// ```text
/// hex 10 0c …                          any bytes
/// connect 3|4|5 id=a [clean=0] [keep=60] [will=topic:body] [wq=1] [wr] [user=u] [pass=p] [cflags=0x02] [level=0x84] [protocol=MQTT]
/// publish q1 [dup] [retain] #7 topic "body"
/// puback|pubrec|pubrel|pubcomp #7 [0x80]
/// subscribe #1 filter=2[nl][rap][rh1] …        or filter=0x.. for the whole byte
/// unsubscribe #1 filter …
/// pingreq    disconnect [0x04]    auth 0x19
/// ```
/// In all but the first: `flags=0x3` replaces the first byte's lower half, `raw=0bff` adds bytes to the properties, `tail=00` to the packet's end,
/// `prop-len=7` replaces the length of the properties.
pub fn encode(version: u8, text: &str, ids: &Ids) -> Vec<u8> {
    let all = words(text);
    let (kind, words) = all.split_first().expect("a packet's name");
    if kind == "hex" {
        return hex(&words.concat());
    }
    let version = if kind == "connect" { number(&words[0]) as u8 } else { version };
    let mut packet = Outgoing { version, ids, properties: Properties::of(words, ""), words: words.to_vec() };
    packet.words.retain(|word| property(word.trim_start_matches("will.")).is_none());
    let (flags, tail) = (packet.take("flags"), packet.take("tail"));
    let (first, mut body) = packet.body(kind);
    assert!(packet.words.is_empty(), "{text:?}: {:?} are not understood", packet.words);
    let first = flags.map_or(first, |flags| first & 0xf0 | number(&flags) as u8);
    body.extend(tail.map(|tail| hex(&tail)).unwrap_or_default());
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

struct Outgoing<'a> {
    version: u8,
    ids: &'a Ids,
    properties: Properties,
    words: Vec<String>,
}

impl Outgoing<'_> {
    fn body(&mut self, kind: &str) -> (u8, Vec<u8>) {
        match kind {
            "connect" => (0x10, self.connect()),
            "publish" => self.publish(),
            "puback" => (0x40, self.acknowledgement()),
            "pubrec" => (0x50, self.acknowledgement()),
            "pubrel" => (0x62, self.acknowledgement()),
            "pubcomp" => (0x70, self.acknowledgement()),
            "subscribe" => (0x82, self.filters(true)),
            "unsubscribe" => (0xa2, self.filters(false)),
            "pingreq" => (0xc0, Vec::new()),
            "disconnect" => (0xe0, self.code()),
            "auth" => (0xf0, self.code()),
            other => panic!("no packet is called {other:?}"),
        }
    }

    fn connect(&mut self) -> Vec<u8> {
        self.next();
        let protocol = self.take("protocol").unwrap_or_else(|| if self.version == 3 { "MQIsdp" } else { "MQTT" }.to_owned());
        let level = self.take("level").map_or(self.version, |level| number(&level) as u8);
        let (id, will) = (self.take("id").expect("id="), self.take("will"));
        let (user, pass) = (self.take("user"), self.take("pass"));
        let mut flags = u8::from(self.take("clean").is_none_or(|clean| clean == "1")) << 1;
        flags |= u8::from(will.is_some()) << 2 | self.take("wq").map_or(0, |qos| number(&qos) as u8) << 3;
        flags |= u8::from(self.has("wr")) << 5 | u8::from(pass.is_some()) << 6 | u8::from(user.is_some()) << 7;
        let flags = self.take("cflags").map_or(flags, |flags| number(&flags) as u8);
        let keep_alive = self.take("keep").map_or(0, |keep| number(&keep) as u16);
        let mut body = string(&bytes(&protocol));
        body.extend([level, flags]);
        body.extend(keep_alive.to_be_bytes());
        body.extend(self.properties());
        body.extend(string(&bytes(&id)));
        if let Some(will) = will {
            let (topic, message) = will.split_once(':').expect("will=topic:body");
            if self.version == 5 {
                body.extend(Properties::of(&self.properties.words, "will.").encode());
            }
            body.extend(string(&bytes(topic)));
            body.extend(string(&bytes(message)));
        }
        body.extend([user, pass].into_iter().flatten().flat_map(|text| string(&bytes(&text))));
        body
    }

    fn publish(&mut self) -> (u8, Vec<u8>) {
        let qos = (0..=3).find(|n| self.has(&format!("q{n}"))).expect("q0 to q3");
        let first = 0x30 | qos << 1 | u8::from(self.has("dup")) << 3 | u8::from(self.has("retain"));
        let id = self.id();
        let [topic, message] = [self.next(), self.next()].map(|word| bytes(&word));
        let body = [string(&topic), id.map(u16::to_be_bytes).map(Vec::from).unwrap_or_default(), self.properties(), message];
        (first, body.concat())
    }

    fn acknowledgement(&mut self) -> Vec<u8> {
        let mut body = self.id().expect("#id").to_be_bytes().to_vec();
        body.extend(self.code());
        body
    }

    /// A reason code with its properties; the properties are left out where there are none, the code, too, where it is not said.
    fn code(&mut self) -> Vec<u8> {
        let code = self.words.iter().position(|word| !word.contains('=')).map(|at| number(&self.words.remove(at)) as u8);
        let properties = if self.properties.is_empty() && !self.has_override() { Vec::new() } else { self.properties() };
        match code {
            None if properties.is_empty() => Vec::new(),
            code => [vec![code.unwrap_or(0)], properties].concat(),
        }
    }

    fn filters(&mut self, with_options: bool) -> Vec<u8> {
        let mut body = self.id().unwrap_or(0).to_be_bytes().to_vec();
        body.extend(self.properties());
        for word in std::mem::take(&mut self.words) {
            match word.rsplit_once('=') {
                Some((filter, wanted)) if with_options => {
                    body.extend(string(&bytes(filter)));
                    body.push(options(wanted));
                }
                _ => body.extend(string(&bytes(&word))),
            }
        }
        body
    }

    fn properties(&mut self) -> Vec<u8> {
        let length = self.take("prop-len").map(|length| number(&length) as usize);
        let mut encoded = if self.version == 5 { self.properties.encode() } else { Vec::new() };
        if let (Some(length), Some(first)) = (length, encoded.first_mut()) {
            *first = length as u8;
        }
        encoded
    }

    fn has_override(&self) -> bool {
        self.words.iter().any(|word| word.starts_with("prop-len="))
    }

    fn id(&mut self) -> Option<u16> {
        let at = self.words.iter().position(|word| word.starts_with('#'))?;
        let word = self.words.remove(at);
        let name = word.trim_start_matches('#');
        Some(name.parse().unwrap_or_else(|_| *self.ids.get(name).unwrap_or_else(|| panic!("#{name} was not seen yet"))))
    }

    fn has(&mut self, word: &str) -> bool {
        let at = self.words.iter().position(|w| w == word);
        at.map(|at| self.words.remove(at)).is_some()
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.words.iter().position(|word| word.split_once('=').is_some_and(|(n, _)| n == name))?;
        self.words.remove(at).split_once('=').map(|(_, value)| value.to_owned())
    }

    fn next(&mut self) -> String {
        self.words.remove(0)
    }
}

/// `2`, `1nl`, `0rap`, `2rh1` and their combinations, or the byte itself.
fn options(text: &str) -> u8 {
    if text.starts_with("0x") {
        return number(text) as u8;
    }
    let qos = text.bytes().next().map_or(0, |digit| digit - b'0');
    let handling = text.split_once("rh").map_or(0, |(_, digit)| number(&digit[..1]) as u8);
    qos | u8::from(text.contains("nl")) << 2 | u8::from(text.contains("rap")) << 3 | handling << 4
}

/// Words that are properties, of a packet or (`will.`) of its will.
struct Properties {
    words: Vec<String>,
    prefix: &'static str,
}

impl Properties {
    fn of(words: &[String], prefix: &'static str) -> Self {
        Self { words: words.iter().filter(|word| property(word.trim_start_matches("will.")).is_some()).cloned().collect(), prefix }
    }

    fn own(&self) -> impl Iterator<Item = &str> {
        let own = |word: &'_ &String| word.starts_with("will.") == (self.prefix == "will.");
        self.words.iter().filter(own).map(|word| word.trim_start_matches("will."))
    }

    fn is_empty(&self) -> bool {
        self.own().next().is_none()
    }

    fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        for (name, value) in self.own().filter_map(|word| word.split_once('=')) {
            let Some((_, id, kind)) = PROPERTIES.iter().find(|(n, ..)| *n == name) else {
                encoded.extend(hex(value));
                continue;
            };
            encoded.push(*id);
            match kind {
                Type::Byte => encoded.push(number(value) as u8),
                Type::Two => encoded.extend((number(value) as u16).to_be_bytes()),
                Type::Four => encoded.extend((number(value) as u32).to_be_bytes()),
                Type::Variable => encoded.extend(variable(number(value) as usize)),
                Type::Text => encoded.extend(string(&bytes(value))),
                Type::Pair => {
                    let (key, value) = value.split_once(':').expect("up=key:value");
                    encoded.extend(string(&bytes(key)));
                    encoded.extend(string(&bytes(value)));
                }
            }
        }
        [variable(encoded.len()), encoded].concat()
    }
}
