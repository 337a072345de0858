//! Who may do what, by packets: as a table, and through all that happens to a message between its publisher and its receivers.

mod reload;
mod sessions;
mod table;
mod through;

use super::*;

/// A client by its version, and what was last said to it.
#[derive(Debug, Clone, Copy)]
struct Client {
    id: ConnId,
    version: u8,
}

/// A frame of the server: its type and flags, and its body.
type Frame = (u8, Vec<u8>);

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let Some(frame) = split(rest, usize::MAX).expect("whole packets") {
        frames.push((frame.first, frame.body.to_vec()));
        rest = &rest[frame.raw.len()..];
    }
    assert!(rest.is_empty(), "half a packet");
    frames
}

/// What a will or PUBLISH has, beside its topic.
#[derive(Debug, Clone, Copy, Default)]
struct Note<'a> {
    /// Of 5.0.
    answer: Option<&'a str>,
    delay: u8,
    retain: bool,
}

impl Note<'_> {
    fn properties(&self, will: bool) -> Vec<u8> {
        let mut block = self.answer.map_or_else(Vec::new, |topic| [vec![8], string(topic)].concat());
        if will && self.delay > 0 {
            block.extend([0x18, 0, 0, 0, self.delay]);
        }
        [vec![u8::try_from(block.len()).unwrap()], block].concat()
    }
}

/// CONNECT of either version; `stays`: its session outlives the connection.
fn hello(version: u8, client: &str, stays: bool, will: Option<(&str, Note<'_>)>) -> Vec<u8> {
    let five = version == 5;
    let flags = u8::from(!stays) << 1 | will.map_or(0, |(_, note)| 0x0c | u8::from(note.retain) << 5);
    let block = match (five, stays) {
        (true, true) => vec![5, 0x11, 0, 0, 1, 0],
        (true, false) => vec![0],
        _ => Vec::new(),
    };
    let will = will.map_or_else(Vec::new, |(topic, note)| {
        let block = if five { note.properties(true) } else { Vec::new() };
        [block, string(topic), string("will")].concat()
    });
    packet(0x10, &[&string("MQTT"), &[version, flags], &[0, 0], &block, &string(client), &will])
}

impl Bench {
    /// What CONNACK says is returned with it.
    fn enter(&mut self, (user, listener): (Option<&str>, u16), version: u8, hello: &[u8]) -> (Client, u8) {
        let id = self.open_as(user, listener);
        self.send(id, hello);
        let answer = frames(&self.raw(id));
        let code = answer.iter().find(|(first, _)| first >> 4 == kind::CONNACK).map_or(0xff, |(_, body)| body[1]);
        (Client { id, version }, code)
    }

    /// Of this user, by the first door, with a session that ends with its connection.
    fn user(&mut self, user: &str, client: &str) -> Client {
        let (client, code) = self.enter((Some(user).filter(|user| !user.is_empty()), 0), 5, &hello(5, client, false, None));
        assert_eq!(code, 0, "{user} comes in");
        client
    }

    fn say_publish(&mut self, client: Client, topic: &str, id: u16, note: Note<'_>) {
        let first = 0x30 | u8::from(note.retain) | if id == 0 { 0 } else { 2 };
        let id = if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
        let block = if client.version == 5 { note.properties(false) } else { Vec::new() };
        self.send(client.id, &packet(first, &[&string(topic), &id, &block, b"x"]));
    }

    /// The code of PUBACK; 0 where it has none.
    fn publishes(&mut self, client: Client, topic: &str, note: Note<'_>) -> u8 {
        self.say_publish(client, topic, 9, note);
        let answer = frames(&self.raw(client.id)).into_iter().find(|(first, _)| first >> 4 == kind::PUBACK);
        let (_, body) = answer.expect("a PUBACK");
        body.get(2).copied().unwrap_or(0)
    }

    /// The code of SUBACK.
    fn subscribes(&mut self, client: Client, filter: &str, options: u8) -> u8 {
        let block: &[u8] = if client.version == 5 { &[0] } else { &[] };
        self.send(client.id, &packet(0x82, &[&[0, 3], block, &string(filter), &[options]]));
        let all = frames(&self.raw(client.id));
        let (_, body) = all.iter().find(|(first, _)| first >> 4 == kind::SUBACK).expect("a SUBACK");
        self.early.insert(client.id, topics(&all));
        *body.last().unwrap()
    }

    /// The topics of the messages that came since, acknowledged; those beside a SUBACK first.
    fn got(&mut self, client: Client) -> Vec<String> {
        let mut got = self.early.remove(&client.id).unwrap_or_default();
        loop {
            let all = frames(&self.raw(client.id));
            if all.is_empty() {
                return got;
            }
            for (first, body) in &all {
                if first >> 4 == kind::PUBLISH && first & 6 != 0 {
                    let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    self.send(client.id, &puback(u16::from_be_bytes([body[at], body[at + 1]])));
                }
            }
            got.extend(topics(&all));
        }
    }
}

fn topics(all: &[Frame]) -> Vec<String> {
    let topic = |(_, body): &Frame| text(&body[2..2 + usize::from(u16::from_be_bytes([body[0], body[1]]))]);
    all.iter().filter(|(first, _)| first >> 4 == kind::PUBLISH).map(topic).collect()
}

/// Each of these tests fails where what it shows is not so.
#[cfg(feature = "faults")]
#[test]
fn without_a_check_its_test_fails() {
    for (fault, test) in [
        ("open-patterns", "table::names_that_would_be_patterns_match_nothing"),
        ("receive-all", "table::rules_say_who_may_do_what"),
        ("any-answer", "table::rules_say_who_may_do_what"),
        ("will-unasked", "through::a_will_has_the_right_that_its_client_has_when_it_fires"),
        ("source-unasked", "through::a_retained_message_comes_while_its_source_might_publish_it"),
        ("will-unasked", "through::what_a_user_left_behind_goes_with_the_user"),
        ("source-unasked", "through::what_a_user_left_behind_goes_with_the_user"),
        ("any-answer", "through::a_kept_question_comes_while_its_source_might_publish_the_answer"),
        ("resume-unasked", "sessions::a_session_that_is_resumed_has_what_its_rights_allow"),
        ("inherit-any", "sessions::a_session_belongs_to_its_user"),
        ("keep-rights", "reload::who_loses_a_right_is_disconnected_and_others_stay"),
    ] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let test = format!("broker::tests::rights::{test}");
        let output = command.args([&test, "--exact", "--nocapture"]).env("TIDEGATE_FAULT", fault).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed") || said.contains("1 failed"), "{test} runs:\n{said}");
        assert!(!output.status.success(), "{test} passes with {fault}");
    }
}
