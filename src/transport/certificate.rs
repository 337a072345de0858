//! Whose certificate it is: the common name of an X.509 certificate (RFC 5280, 4.1) in DER (X.690).
//!
//! Nothing is checked here: the certificate has been verified before, so that its authority answers for the name.

/// The common name of the subject. `None` where there is none or more than one, where it is in an encoding of old that cannot be told for certain,
/// or where it holds what no name needs and a log or a comparison may stumble over: control characters, nothing at all.
pub fn common_name(certificate: &[u8]) -> Option<&str> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (to_be_signed, _) = expect(certificate, SEQUENCE)?;
    let after_version = match expect(to_be_signed, VERSION) {
        Some((_, rest)) => rest,
        None => to_be_signed,
    };
    let (_, rest) = expect(after_version, INTEGER)?;
    let (_signature, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (_validity, rest) = expect(rest, SEQUENCE)?;
    let (mut subject, _) = expect(rest, SEQUENCE)?;
    let mut found = None;
    while !subject.is_empty() {
        let (mut set, rest) = expect(subject, SET)?;
        subject = rest;
        while !set.is_empty() {
            let (attribute, rest) = expect(set, SEQUENCE)?;
            set = rest;
            let (kind, value) = expect(attribute, OBJECT_IDENTIFIER)?;
            if kind == COMMON_NAME && found.replace(text(value)?).is_some() {
                return None;
            }
        }
    }
    found.filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// 2.5.4.3 (RFC 5280, A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

fn text(value: &[u8]) -> Option<&str> {
    let (tag, content, _) = element(value)?;
    let text = std::str::from_utf8(content).ok()?;
    match tag {
        UTF8_STRING => Some(text),
        PRINTABLE_STRING | IA5_STRING if text.is_ascii() => Some(text),
        _ => None,
    }
}

/// Content of the element at the front, if its tag is this one, and what follows it.
fn expect(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(input).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

/// Tag, content and what follows (X.690, 8.1). Tags of more than one byte do not occur here; lengths are definite and of four bytes at most.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = input.split_first_chunk()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length @ ..0x80) => out.push(length),
            Ok(length) => out.extend([0x81, length]),
            Err(_) => out.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]),
        }
        [out, content].concat()
    }

    fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        tagged(SET, &[tagged(SEQUENCE, &[tagged(OBJECT_IDENTIFIER, &[kind.to_vec()]), tagged(tag, &[value.to_vec()])])])
    }

    fn certificate(version: bool, subject: &[Vec<u8>]) -> Vec<u8> {
        let version = if version { tagged(VERSION, &[tagged(INTEGER, &[vec![2]])]) } else { Vec::new() };
        let issuer = tagged(SEQUENCE, &[attribute(COMMON_NAME, UTF8_STRING, b"the authority")]);
        let filler = tagged(SEQUENCE, &[vec![0x05, 0x00]]);
        let signed =
            [version, tagged(INTEGER, &[vec![1; 20]]), filler.clone(), issuer, filler.clone(), tagged(SEQUENCE, subject), vec![0; 300]];
        tagged(SEQUENCE, &[tagged(SEQUENCE, &signed), filler])
    }

    #[test]
    fn the_common_name_of_the_subject_is_found() {
        const OTHER: &[u8] = &[0x55, 0x04, 0x0a];
        let rows = [
            (vec![attribute(COMMON_NAME, UTF8_STRING, b"pump-7")], Some("pump-7")),
            (vec![attribute(OTHER, UTF8_STRING, b"plant"), attribute(COMMON_NAME, PRINTABLE_STRING, b"pump 7")], Some("pump 7")),
            (vec![attribute(COMMON_NAME, UTF8_STRING, "Pümpe".as_bytes())], Some("Pümpe")),
            (vec![], None),
            (vec![attribute(OTHER, UTF8_STRING, b"plant")], None),
            (vec![attribute(COMMON_NAME, UTF8_STRING, b"")], None),
            (vec![attribute(COMMON_NAME, UTF8_STRING, b"admin\0.example")], None),
            (vec![attribute(COMMON_NAME, UTF8_STRING, b"\xff\xfe")], None),
            // BMPString.
            (vec![attribute(COMMON_NAME, 0x1e, b"\0a")], None),
            (vec![attribute(COMMON_NAME, UTF8_STRING, b"a"), attribute(COMMON_NAME, UTF8_STRING, b"b")], None),
        ];
        for (subject, want) in rows {
            for version in [true, false] {
                let certificate = certificate(version, &subject);
                assert_eq!(common_name(&certificate), want);
                for end in 0..certificate.len() {
                    assert_eq!(common_name(&certificate[..end]), None, "cut at {end}");
                }
            }
        }
    }
}
