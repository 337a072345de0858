use super::*;

fn v2_header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE, &[command, family], &length, block].concat()
}

/// Source 192.0.2.7:49152, destination 198.51.100.1:1883, both of version 2.
const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xc0, 0x00, 0x07, 0x5b];

fn ipv6() -> Vec<u8> {
    let mut block = vec![0x20, 0x01, 0x0d, 0xb8];
    block.extend([0; 11]);
    block.push(9);
    block.extend([0; 15]);
    block.extend([1, 0xc0, 0x00, 0x07, 0x5b]);
    block
}

/// Reads a connection that goes on with `TLS` behind `header`, always as many bytes as may be read; then all at once, and in every other way.
fn check(what: &str, header: &[u8], want: Result<Client, &str>) {
    let connection = [header, b"TLS"].concat();
    let mut read = 0;
    let stepwise = loop {
        match parse(&connection[..read]) {
            Ok(Progress::More(more)) => {
                assert!(more > 0, "{what}: {read} bytes are not whole, and none is missing");
                read += more;
                assert!(want.is_err() || read <= header.len(), "{what}: {read} bytes are read of a header of {}", header.len());
                if read > connection.len() {
                    break Err("incomplete".to_owned());
                }
            }
            Ok(Progress::Whole { length, client }) => break Ok((length, client)),
            Err(error) => break Err(error.to_string()),
        }
    };
    let want = want.map(|client| (header.len(), client)).map_err(str::to_owned);
    assert_eq!(stepwise, want, "{what}");
    match want {
        Ok((length, client)) => {
            assert_eq!(parse(&connection), Ok(Progress::Whole { length, client }), "{what}, all at once");
            for cut in 0..header.len() {
                assert!(
                    matches!(parse(&header[..cut]), Ok(Progress::More(more)) if cut + more <= header.len()),
                    "{what}, {cut} bytes of it"
                );
            }
        }
        Err(error) if error != "incomplete" => assert_eq!(parse(&connection).map_err(|error| error.to_string()), Err(error), "{what}"),
        Err(_) => {}
    }
}

fn address(text: &str) -> Result<Client, &'static str> {
    Ok(Client::Address(text.parse().unwrap()))
}

#[test]
fn a_header_of_version_1_says_whose_connection_it_is() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_MAX - 16));
    let longer = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_MAX - 15));
    for (line, want) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 49152 1883\r\n", address("192.0.2.7:49152")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", address("255.255.255.255:65535")),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n", address("1.1.1.1:0")),
        ("PROXY TCP6 2001:db8::9 ::1 49152 1883\r\n", address("[2001:db8::9]:49152")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 49152 1883\r\n", address("[::ffff:192.0.2.7]:49152")),
        ("PROXY UNKNOWN\r\n", Ok(Client::Unknown)),
        ("PROXY UNKNOWN whatever  it is\r\n", Ok(Client::Unknown)),
        (&longest, Ok(Client::Unknown)),
        (&longer, Err("PROXY header: a line of more than 107 bytes (2.1)")),
        ("PROXY UNKNOWN\n", Err("PROXY header: a line without CRLF (2.1)")),
        ("PROXY UNKNOWN\u{e9}\r\n", Err("PROXY header: a line of not six fields (2.1)")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 49152\r\n", Err("PROXY header: a line of not six fields (2.1)")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 49152 1883 \r\n", Err("PROXY header: a line of not six fields (2.1)")),
        ("PROXY TCP4  192.0.2.7 198.51.100.1 49152 1883\r\n", Err("PROXY header: a line of not six fields (2.1)")),
        ("PROXY TCP5 192.0.2.7 198.51.100.1 49152 1883\r\n", Err("PROXY header: a family that is not known (2.1)")),
        ("PROXY tcp4 192.0.2.7 198.51.100.1 49152 1883\r\n", Err("PROXY header: a family that is not known (2.1)")),
        ("PROXY TCP4 ::1 ::1 49152 1883\r\n", Err("PROXY header: an address that is not IPv4 (2.1)")),
        ("PROXY TCP4 192.0.2.7 gateway 49152 1883\r\n", Err("PROXY header: an address that is not IPv4 (2.1)")),
        ("PROXY TCP4 192.0.2.007 198.51.100.1 1 1\r\n", Err("PROXY header: an address that is not IPv4 (2.1)")),
        ("PROXY TCP6 192.0.2.7 ::1 49152 1883\r\n", Err("PROXY header: an address that is not IPv6 (2.1)")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 65536 1883\r\n", Err("PROXY header: a port that is none (2.1)")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 +80 1883\r\n", Err("PROXY header: a port that is none (2.1)")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 080 1883\r\n", Err("PROXY header: a port that is none (2.1)")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 80 \r\n", Err("PROXY header: a port that is none (2.1)")),
        ("PROXX UNKNOWN\r\n", Err("the connection does not begin with a PROXY header")),
        ("GET / HTTP/1.1\r\n", Err("the connection does not begin with a PROXY header")),
        ("\u{10}\u{c}\0\u{4}MQTT\u{4}\u{2}\0\0\0\0", Err("the connection does not begin with a PROXY header")),
    ] {
        check(line, line.as_bytes(), want);
    }
    check("not ASCII", b"PROXY TCP4 \xff\r\n", Err("PROXY header: a line that is not ASCII (2.1)"));
}

#[test]
fn a_header_of_version_2_says_whose_connection_it_is() {
    let additions = [&IPV4[..], &[0x04, 0, 3, 1, 2, 3], &[0xee, 0xff, 0xff]].concat();
    let unknown = |what: &'static str| Err::<Client, _>(what);
    let family = "PROXY header: a family or protocol that is not known (2.2)";
    let short = "PROXY header: too short for its addresses (2.2)";
    for (what, header, want) in [
        ("TCP over IPv4", v2_header(0x21, 0x11, &IPV4), address("192.0.2.7:49152")),
        ("TCP over IPv6", v2_header(0x21, 0x21, &ipv6()), address("[2001:db8::9]:49152")),
        ("additions, one of them cut off", v2_header(0x21, 0x11, &additions), address("192.0.2.7:49152")),
        ("as long as may be", v2_header(0x21, 0x11, &[&IPV4[..], &[0; V2_MAX - 28]].concat()), address("192.0.2.7:49152")),
        ("of the proxy itself", v2_header(0x20, 0x00, &[]), Ok(Client::Proxy)),
        ("of the proxy itself, with addresses", v2_header(0x20, 0x11, &IPV4), Ok(Client::Proxy)),
        ("of the proxy itself, with a few bytes", v2_header(0x20, 0x11, &[1, 2]), Ok(Client::Proxy)),
        ("of no family", v2_header(0x21, 0x00, &[]), Ok(Client::Unknown)),
        ("of no family, with something", v2_header(0x21, 0x00, &IPV4), Ok(Client::Unknown)),
        ("a UNIX socket", v2_header(0x21, 0x31, &[0; 216]), Ok(Client::Unknown)),
        ("a datagram", v2_header(0x21, 0x12, &IPV4), Ok(Client::Unknown)),
        ("too short for IPv4", v2_header(0x21, 0x11, &[0; 11]), unknown(short)),
        ("too short for a UNIX socket", v2_header(0x21, 0x31, &[0; 215]), unknown(short)),
        ("too short for IPv6", v2_header(0x21, 0x21, &[0; 35]), unknown(short)),
        ("another family", v2_header(0x21, 0x41, &IPV4), unknown(family)),
        ("another protocol", v2_header(0x21, 0x13, &IPV4), unknown(family)),
        ("another command", v2_header(0x22, 0x11, &IPV4), unknown("PROXY header: a version or command that is not known (2.2)")),
        ("version 1", v2_header(0x11, 0x11, &IPV4), unknown("PROXY header: a version or command that is not known (2.2)")),
        ("longer than is read", v2_header(0x21, 0x11, &[0; V2_MAX - 15]), unknown("a PROXY header of 4097 bytes, at most 4096 are read")),
        ("cut off", v2_header(0x21, 0x11, &IPV4)[..20].to_vec(), unknown("incomplete")),
        ("a garbled signature", b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0".to_vec(), unknown("the connection does not begin with a PROXY header")),
    ] {
        check(what, &header, want);
    }
}
