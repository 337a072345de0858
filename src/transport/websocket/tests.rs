use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame: FIN, reserved bits and opcode in `first`, its length in as few bytes as it needs.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(0, payload.len()).as_ref().to_vec();
    (out[0], out[1]) = (first, out[1] | MASKED);
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// All that the decoder says, in words; payload that follows payload is one.
fn read(bytes: &[u8], chunk: usize) -> String {
    let mut decoder = Decoder::default();
    let (mut out, mut data) = (Vec::new(), Vec::new());
    let say = |out: &mut Vec<String>, data: &mut Vec<u8>, text: String| {
        if !data.is_empty() {
            out.push(String::from_utf8_lossy(data).into_owned());
            data.clear();
        }
        out.push(text);
    };
    for piece in bytes.chunks(chunk) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.step(&mut piece[at..]) {
                Ok((taken, event)) => {
                    match event {
                        Event::None => {}
                        Event::Data(range) => data.extend(&piece[at + range.start..at + range.end]),
                        Event::Ping(payload) => say(&mut out, &mut data, format!("ping {}", String::from_utf8_lossy(payload))),
                        Event::Close(code) => say(&mut out, &mut data, format!("close {code:?}")),
                    }
                    assert!(taken > 0);
                    at += taken;
                }
                Err(error) => {
                    say(&mut out, &mut data, format!("{} {error}", error.code()));
                    assert!(decoder.is_over());
                }
            }
        }
    }
    if !data.is_empty() {
        out.push(String::from_utf8_lossy(&data).into_owned());
    }
    out.join("|")
}

fn check(what: &str, bytes: &[u8], want: &str) {
    for chunk in (1..=bytes.len().min(24)).chain([bytes.len()]) {
        assert_eq!(read(bytes, chunk), want, "{what}, {chunk} bytes a read");
    }
}

#[test]
fn payload_comes_out_as_one_stream_however_it_is_framed() {
    let long = "x".repeat(300);
    for (what, frames, want) in [
        ("one frame", vec![frame(0x82, b"CONNECT")], "CONNECT"),
        ("two messages", vec![frame(0x82, b"CON"), frame(0x82, b"NECT")], "CONNECT"),
        ("fragments", vec![frame(0x02, b"CO"), frame(0x00, b"NN"), frame(0x80, b"ECT")], "CONNECT"),
        ("empty frames", vec![frame(0x82, b""), frame(0x02, b""), frame(0x00, b""), frame(0x80, b"CONNECT")], "CONNECT"),
        ("a length of 16 bits", vec![frame(0x82, long.as_bytes())], &long),
        ("a pong is nothing to us", vec![frame(0x82, b"a"), frame(0x8a, b"pong"), frame(0x82, b"b")], "ab"),
        ("a ping between", vec![frame(0x82, b"a"), frame(0x89, b"hi"), frame(0x82, b"b")], "a|ping hi|b"),
        ("a ping within", vec![frame(0x02, b"a"), frame(0x89, b""), frame(0x80, b"b")], "a|ping |b"),
        ("two pings", vec![frame(0x89, b"one"), frame(0x89, b"")], "ping one|ping "),
        ("the longest ping", vec![frame(0x89, &[b'p'; 125])], &format!("ping {}", "p".repeat(125))),
        ("a close", vec![frame(0x88, &[3, 232, b'b', b'y', b'e'])], "close Some(1000)"),
        ("a close of no words", vec![frame(0x88, b"")], "close None"),
        ("nothing after a close", vec![frame(0x82, b"a"), frame(0x88, b""), frame(0x82, b"b"), frame(0x88, b"")], "a|close None"),
        ("a close within a message", vec![frame(0x02, b"a"), frame(0x88, &[0x0b, 0xb8])], "a|close Some(3000)"),
    ] {
        check(what, &frames.concat(), want);
    }
}

#[test]
fn a_frame_that_is_not_acceptable_ends_it_with_its_code() {
    let within = |rest: Vec<u8>| [frame(0x02, b"a"), rest].concat();
    for (what, bytes, want) in [
        ("text", frame(0x81, b"a"), "1003 WebSocket: a text message [MQTT-6.0.0-1]"),
        ("text, empty", frame(0x01, b""), "1003 WebSocket: a text message [MQTT-6.0.0-1]"),
        ("text within binary", within(frame(0x81, b"a")), "a|1002 WebSocket: a message within another (5.4)"),
        ("binary within binary", within(frame(0x82, b"a")), "a|1002 WebSocket: a message within another (5.4)"),
        ("a continuation of nothing", frame(0x80, b"a"), "1002 WebSocket: a continuation of nothing (5.4)"),
        ("after the last", [frame(0x82, b"a"), frame(0x80, b"b")].concat(), "a|1002 WebSocket: a continuation of nothing (5.4)"),
        ("the first reserved bit", frame(0xc2, b"a"), "1002 WebSocket: a reserved bit without an extension (5.2)"),
        ("the second", frame(0xa2, b"a"), "1002 WebSocket: a reserved bit without an extension (5.2)"),
        ("the third", frame(0x92, b"a"), "1002 WebSocket: a reserved bit without an extension (5.2)"),
        ("opcode 3", frame(0x83, b"a"), "1002 WebSocket: a reserved opcode (5.2)"),
        ("opcode 15", frame(0x8f, b"a"), "1002 WebSocket: a reserved opcode (5.2)"),
        ("a ping in fragments", frame(0x09, b"a"), "1002 WebSocket: a control frame in fragments (5.5)"),
        ("a long ping", frame(0x89, &[0; 126]), "1002 WebSocket: a control frame of more than 125 bytes (5.5)"),
        ("a long pong", frame(0x8a, &[0; 70000]), "1002 WebSocket: a control frame of more than 125 bytes (5.5)"),
        ("unmasked", vec![0x82, 0x01, b'a'], "1002 WebSocket: an unmasked frame (5.1)"),
        ("unmasked, 16 bits", vec![0x82, 126, 1, 0], "1002 WebSocket: an unmasked frame (5.1)"),
        ("half a code", frame(0x88, b"a"), "1002 WebSocket: a close with half a code (5.5.1)"),
        ("code 999", frame(0x88, &[3, 231]), "1002 WebSocket: a close with a code that is not sent (7.4)"),
        ("code 1005", frame(0x88, &[3, 237]), "1002 WebSocket: a close with a code that is not sent (7.4)"),
        ("code 1006", frame(0x88, &[3, 238]), "1002 WebSocket: a close with a code that is not sent (7.4)"),
        ("code 1015", frame(0x88, &[3, 247]), "1002 WebSocket: a close with a code that is not sent (7.4)"),
        ("code 5000", frame(0x88, &[0x13, 0x88]), "1002 WebSocket: a close with a code that is not sent (7.4)"),
        ("a reason that is no text", frame(0x88, &[3, 232, 0xff]), "1007 WebSocket: the reason of a close is not UTF-8 (5.5.1)"),
        ("16 bits for 125", vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0], "1002 WebSocket: a length in more bytes than it needs (5.2)"),
        (
            "64 bits for 65535",
            vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0],
            "1002 WebSocket: a length in more bytes than it needs (5.2)",
        ),
        ("64 bits", vec![0x82, 0xff, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "1002 WebSocket: a length of 64 bits (5.2)"),
    ] {
        check(what, &[bytes, frame(0x82, b"not read")].concat(), want);
    }
}

/// A frame that claims 2⁶³ − 1 bytes is a stream like any other, and costs nothing but what of it comes.
#[test]
fn a_claimed_length_allocates_nothing() {
    let mut decoder = Decoder::default();
    let mut claim = vec![0x82, 0xff, 127, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
    assert_eq!(decoder.step(&mut claim), Ok((14, Event::None)));
    for _ in 0..100 {
        assert_eq!(decoder.step(&mut [0; 4096]), Ok((4096, Event::Data(0..4096))));
        assert!(decoder.held.is_none());
    }
    assert!(size_of::<Decoder>() <= 40, "{} bytes a connection", size_of::<Decoder>());
}

#[test]
fn what_a_buffer_holds_of_mqtt_is_moved_together() {
    let bytes = [frame(0x82, b"CON"), frame(0x89, b"!"), frame(0x02, b"NE"), frame(0x80, b"CT"), frame(0x81, b"text")].concat();
    for cut in 0..bytes.len() {
        let mut decoder = Decoder::default();
        let (mut first, mut second) = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
        let mut pings = 0;
        let mut count = |event: Event<'_>| {
            assert_eq!(event, Event::Ping(b"!"));
            pings += 1;
        };
        let (a, before) = decoder.unwrap_in_place(&mut first, &mut count);
        let (b, after) = decoder.unwrap_in_place(&mut second, &mut count);
        assert_eq!([&first[..a], &second[..b]].concat(), b"CONNECT", "cut at {cut}");
        assert_eq!((pings, before.and(after)), (1, Err(Error::Text)), "cut at {cut}");
    }
}

#[test]
fn long_payloads_are_unmasked_whatever_their_phase() {
    let payload: Vec<u8> = (0..1000_u32).map(|n| (n * 7) as u8).collect();
    let bytes = frame(0x82, &payload);
    for chunk in 1..40 {
        let mut decoder = Decoder::default();
        let mut out: Vec<u8> = Vec::new();
        for piece in bytes.chunks(chunk) {
            let mut piece = piece.to_vec();
            let (length, result) = decoder.unwrap_in_place(&mut piece, |_| panic!("no control frame"));
            assert_eq!(result, Ok(()));
            out.extend(&piece[..length]);
        }
        assert_eq!(out, payload, "{chunk} bytes a read");
    }
}

#[test]
fn what_a_server_sends_is_framed_as_the_standard_says() {
    for (length, want) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (0xffff, &[0x82, 126, 255, 255]),
        (0x10000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        assert_eq!(binary(length).as_ref(), want);
    }
    assert_eq!(pong(b"hi").as_ref(), [0x8a, 2, b'h', b'i']);
    assert_eq!(pong(&[1; 200]).as_ref().len(), 2 + CONTROL_MAX);
    assert_eq!(close(None).as_ref(), [0x88, 0]);
    assert_eq!(close(Some(code::PROTOCOL_ERROR)).as_ref(), [0x88, 2, 3, 234]);
}
