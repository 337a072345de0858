use super::*;

/// What a browser's WebSocket and mqtt.js send, nearly.
const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: 192.0.2.1:8080\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn rules() -> Rules {
    Rules {
        path: Some("/mqtt".to_owned()),
        hosts: vec!["gateway.site".to_owned(), "panel.site:8443".to_owned()],
        origins: vec!["https://panel.example".to_owned(), "http://gateway.site:8080".to_owned()],
        header_bytes_max: 2048,
    }
}

/// The status and what distinguishes it: the subprotocol of a 101, else the text. It must be the same when the request comes byte by byte.
fn status(request: &str, rules: &Rules) -> String {
    let input = [request.as_bytes(), b"\x82\x80frames"].concat();
    let whole = parse(&input, rules);
    let stepwise = (0..=input.len()).map(|n| parse(&input[..n], rules)).find(|progress| *progress != Progress::More);
    assert_eq!(stepwise.unwrap_or(Progress::More), whole, "byte by byte: {request}");
    match whole {
        Progress::More => "more".to_owned(),
        Progress::Accepted { length, answer } => {
            assert_eq!(length, request.len(), "frames begin behind the request: {request}");
            let protocol = answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ")).expect("a subprotocol");
            format!("{} {protocol}", &answer[9..12])
        }
        Progress::Refused(refusal) => format!("{} {refusal}", refusal.status()),
    }
}

#[test]
fn the_answer_is_the_standards() {
    let Progress::Accepted { answer, .. } = parse(GOOD.as_bytes(), &rules()) else { panic!("accepted") };
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
}

#[test]
fn a_refusal_is_a_whole_response_and_repeats_nothing() {
    let request = GOOD.replace("13\r\n", "8\r\nCookie: <script>\r\n");
    let Progress::Refused(refusal) = parse(request.as_bytes(), &rules()) else { panic!("refused") };
    assert_eq!(
        refusal.answer(),
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 44\r\n\r\nonly WebSocket of version 13 is spoken here\n"
    );
    assert!(Refusal::Host.answer().starts_with("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n"));
}

#[test]
fn requests_are_taken_as_the_rules_say() {
    for (from, to, want) in [
        ("", "", "101 mqtt"),
        ("/mqtt ", "/mqtt?token=1 ", "101 mqtt"),
        ("/mqtt ", "/ ", "404 there is nothing at this path"),
        ("/mqtt ", "/mqtt/ ", "404 there is nothing at this path"),
        ("/mqtt ", "/MQTT ", "404 there is nothing at this path"),
        ("/mqtt ", "http://gateway.site/mqtt ", "400 only GET of a path is answered here"),
        ("GET", "POST", "400 only GET of a path is answered here"),
        ("GET", "get", "400 only GET of a path is answered here"),
        ("GET", "\u{16}\u{3}\u{1}", "400 only GET of a path is answered here"),
        ("GET", "\u{10}\u{c}\0", "400 only GET of a path is answered here"),
        ("HTTP/1.1", "HTTP/1.0", "400 only HTTP/1.1 is spoken here"),
        ("HTTP/1.1", "HTTP/2", "400 this is not HTTP"),
        ("Host: ", "Host : ", "400 this is not HTTP"),
        ("Host: ", "Ho\0st: ", "400 this is not HTTP"),
        ("Host: ", "Content-Length: 5\r\nHost: ", "400 a GET with a body"),
        ("Host: ", "Transfer-Encoding: chunked\r\nHost: ", "400 a GET with a body"),
        ("Host: ", "X-Host: ", "400 the Host header is missing"),
        ("Host: ", "Host: 192.0.2.1\r\nhost: ", "400 a header is there twice or is no text"),
        ("Upgrade: websocket", "upgrade: WebSocket", "101 mqtt"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket", "101 mqtt"),
        ("Upgrade: websocket", "Upgrade: websocket2", "426 only WebSocket of version 13 is spoken here"),
        ("Upgrade: websocket\r\n", "", "426 only WebSocket of version 13 is spoken here"),
        ("keep-alive, Upgrade", "keep-alive", "426 only WebSocket of version 13 is spoken here"),
        ("keep-alive, Upgrade", "keep-alive\r\nConnection: UPGRADE", "101 mqtt"),
        ("Version: 13", "Version: 8", "426 only WebSocket of version 13 is spoken here"),
        ("Version: 13", "Version: 13, 8", "426 only WebSocket of version 13 is spoken here"),
        ("Version: 13", "Version:13 ", "101 mqtt"),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", "400 a header is there twice or is no text"),
        ("Sec-WebSocket-Version: 13\r\n", "", "426 only WebSocket of version 13 is spoken here"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400 the Sec-WebSocket-Key header is missing or no key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", "400 the Sec-WebSocket-Key header is missing or no key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "400 the Sec-WebSocket-Key header is missing or no key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSE=", "400 the Sec-WebSocket-Key header is missing or no key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j%%==", "400 the Sec-WebSocket-Key header is missing or no key"),
        ("Protocol: mqtt", "Protocol: mqttv3.1, mqtt", "101 mqtt"),
        ("Protocol: mqtt", "Protocol: other\r\nSec-WebSocket-Protocol: mqtt", "101 mqtt"),
        ("Protocol: mqtt", "Protocol: mqttv3.1", "101 mqttv3.1"),
        ("Protocol: mqtt", "Protocol: MQTT", "400 the subprotocol mqtt is not offered"),
        ("Protocol: mqtt", "Protocol: mqtt5", "400 the subprotocol mqtt is not offered"),
        ("Sec-WebSocket-Protocol: mqtt\r\n", "", "400 the subprotocol mqtt is not offered"),
        ("\r\n\r\n", "\r\n", "more"),
    ] {
        assert_eq!(status(&GOOD.replacen(from, to, 1), &rules()), want, "{from:?} → {to:?}");
    }
}

#[test]
fn a_foreign_name_that_points_here_is_refused() {
    let refused = "403 the Host header is neither an address nor listed";
    for (host, want) in [
        ("127.0.0.1", "101 mqtt"),
        ("127.0.0.1:8080", "101 mqtt"),
        ("[::1]", "101 mqtt"),
        ("[2001:db8::9]:8080", "101 mqtt"),
        ("localhost:8080", "101 mqtt"),
        ("LOCALHOST", "101 mqtt"),
        ("gateway.site", "101 mqtt"),
        ("Gateway.Site:8080", "101 mqtt"),
        ("panel.site:8443", "101 mqtt"),
        ("panel.site", refused),
        ("panel.site:8080", refused),
        ("attacker.example:8080", refused),
        ("127.0.0.1.attacker.example", refused),
        ("localhost.attacker.example:8080", refused),
        ("attacker.gateway.site", refused),
        ("gateway.site.", refused),
        ("user@127.0.0.1", refused),
        ("127.0.0.1:80:80", refused),
        ("127.1", refused),
        ("2130706433", refused),
        ("::1", refused),
        ("[::1", refused),
        ("[attacker.example]", refused),
        ("127.0.0.1:x", refused),
        ("", refused),
    ] {
        assert_eq!(status(&GOOD.replace("192.0.2.1:8080", host), &rules()), want, "Host: {host:?}");
    }
    assert_eq!(status(&GOOD.replace("192.0.2.1", "gateway.site"), &Rules { hosts: Vec::new(), ..rules() }), refused);
}

#[test]
fn only_a_listed_sites_page_may_connect() {
    let refused = "403 the Origin header names a site that is not listed";
    for (origin, want) in [
        ("https://panel.example", "101 mqtt"),
        ("HTTPS://Panel.example", "101 mqtt"),
        ("http://gateway.site:8080", "101 mqtt"),
        ("http://panel.example", refused),
        ("https://panel.example:444", refused),
        ("https://panel.example.attacker.example", refused),
        ("https://panel.example/", refused),
        ("http://192.0.2.1:8080", refused),
        ("null", refused),
        ("", refused),
        ("https://panel.example\r\nOrigin: https://panel.example", "400 a header is there twice or is no text"),
    ] {
        assert_eq!(status(&GOOD.replace("Upgrade: ", &format!("Origin: {origin}\r\nUpgrade: ")), &rules()), want, "Origin: {origin:?}");
    }
    let page = GOOD.replace("Upgrade: ", "Origin: http://192.0.2.1:8080\r\nUpgrade: ");
    let nobody = Rules { origins: Vec::new(), ..rules() };
    assert_eq!((status(&page, &nobody), status(GOOD, &nobody)), (refused.to_owned(), "101 mqtt".to_owned()));
}

#[test]
fn a_request_is_bounded_in_bytes_and_headers() {
    let with = |headers: usize, length: usize| {
        let more: String = (0..headers).map(|n| format!("X-{n}: {}\r\n", "v".repeat(length))).collect();
        GOOD.replace("Upgrade: ", &format!("{more}Upgrade: "))
    };
    let too_large = "431 the request has too many header fields or bytes";
    let exact = Rules { header_bytes_max: GOOD.len(), ..rules() };
    let shorter = Rules { header_bytes_max: GOOD.len() - 1, ..rules() };
    for (what, request, rules, want) in [
        ("as many headers as may be", with(HEADERS_MAX - 7, 1), rules(), "101 mqtt"),
        ("one more", with(HEADERS_MAX - 6, 1), rules(), too_large),
        ("as many bytes as may be", GOOD.to_owned(), exact, "101 mqtt"),
        ("one less", GOOD.to_owned(), shorter, too_large),
        ("a long header", with(1, 3000), rules(), too_large),
        ("a line without an end", format!("GET /{}", "a".repeat(3000)), rules(), too_large),
        ("any path", GOOD.replace("/mqtt ", "/any/thing "), Rules { path: None, ..rules() }, "101 mqtt"),
    ] {
        assert_eq!(status(&request, &rules), want, "{what}");
    }
}
