//! The exchange of RFC 7677 (3), and what becomes of each message that is not quite it.

use super::*;

const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn keys() -> ScramKeys {
    keys_of(b"pencil")
}

fn keys_of(password: &[u8]) -> ScramKeys {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    ScramKeys::new(&Password::new(password), salt.try_into().expect("16 bytes"), ITERATIONS).expect("keys")
}

/// What the server says to these two messages, of a user with these keys.
fn exchange(first: &str, last: &str, keys: ScramKeys) -> Result<String, ScramError> {
    let (challenge, state) = First::parse(first.as_bytes())?.challenge(keys, NONCE);
    if first == FIRST {
        assert_eq!(String::from_utf8(challenge), Ok(CHALLENGE.to_owned()));
    }
    state.answer(last.as_bytes()).map(|said| String::from_utf8(said).expect("text"))
}

#[test]
fn the_exchange_of_the_rfc_ends_well() {
    assert_eq!(exchange(FIRST, LAST, keys()), Ok(SIGNATURE.to_owned()));
}

#[test]
fn a_proof_of_something_else_is_none() {
    let salt: [u8; 16] = keys().salt.as_ref().try_into().expect("16 bytes");
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&salt);
    let wrong_proof = LAST.replace("p=dHz", "p=eHz");
    for (name, last, keys, want) in [
        ("another password", LAST, keys_of(b"pencils"), ScramError::Proof),
        ("no password", LAST, keys().decoy(&seed), ScramError::Proof),
        ("another proof", &wrong_proof, keys(), ScramError::Proof),
        ("a proof of zeros", &format!("{}p={}", &LAST[..LAST.len() - 46], STANDARD.encode([0; 32])), keys(), ScramError::Proof),
        ("no proof", LAST.split(",p=").next().unwrap(), keys(), ScramError::Garbled),
        ("an empty proof", &LAST[..LAST.len() - 44], keys(), ScramError::Garbled),
        ("a short proof", &format!("{}p=AAAA", &LAST[..LAST.len() - 46]), keys(), ScramError::Garbled),
        ("another nonce", &LAST.replace("k0,", "k1,"), keys(), ScramError::Tampered),
        ("only the client's nonce", &LAST.replace(NONCE, ""), keys(), ScramError::Tampered),
        ("a longer nonce", &LAST.replace("k0,", "k0x,"), keys(), ScramError::Tampered),
        ("another header", &LAST.replace("c=biws", "c=eSws"), keys(), ScramError::Tampered),
        ("no header", &LAST.replace("c=biws", "c="), keys(), ScramError::Tampered),
        ("an extension that was not signed", &LAST.replace(",p=", ",x=1,p="), keys(), ScramError::Proof),
        ("other order", &LAST.replace("c=biws,r=", "r=biws,c="), keys(), ScramError::Garbled),
        ("no text", "\u{0}", keys(), ScramError::Garbled),
        ("nothing", "", keys(), ScramError::Garbled),
    ] {
        assert_eq!(exchange(FIRST, last, keys), Err(want), "{name}");
    }
}

#[test]
fn a_first_message_says_who_and_with_what() {
    for (message, want) in [
        (FIRST, Ok("user")),
        ("y,,n=user,r=x", Ok("user")),
        ("n,a=user,n=user,r=x", Ok("user")),
        ("n,,n=a=2Cb=3Dc,r=x", Ok("a,b=c")),
        ("n,,n=user,r=x,e=more", Ok("user")),
        // SASLprep: a soft hyphen goes, full-width letters become narrow ones.
        ("n,,n=I\u{ad}X,r=x", Ok("IX")),
        ("n,,n=\u{ff41}dmin,r=x", Ok("admin")),
        ("p=tls-unique,,n=user,r=x", Err(ScramError::Binding)),
        ("p=,,n=user,r=x", Err(ScramError::Binding)),
        ("n,a=root,n=user,r=x", Err(ScramError::Another)),
        ("n,root,n=user,r=x", Err(ScramError::Garbled)),
        ("n,a=,n=user,r=x", Err(ScramError::Garbled)),
        ("x,,n=user,r=x", Err(ScramError::Garbled)),
        ("n,n=user,r=x", Err(ScramError::Garbled)),
        ("n,,m=ext,n=user,r=x", Err(ScramError::Garbled)),
        ("n,,r=x,n=user", Err(ScramError::Garbled)),
        ("n,,n=,r=x", Err(ScramError::Garbled)),
        ("n,,n=a=2c,r=x", Err(ScramError::Garbled)),
        ("n,,n=a=,r=x", Err(ScramError::Garbled)),
        ("n,,n=a\u{7},r=x", Err(ScramError::Garbled)),
        ("n,,n=user,r=", Err(ScramError::Garbled)),
        ("n,,n=user", Err(ScramError::Garbled)),
        ("n,,n=user,r=ä", Err(ScramError::Garbled)),
        ("n,,n=user,r=x,e", Err(ScramError::Garbled)),
        ("n,,n=user,r=x\0", Err(ScramError::Garbled)),
        ("", Err(ScramError::Garbled)),
    ] {
        let first = First::parse(message.as_bytes());
        assert_eq!(first.as_ref().map(|first| &**first.user()).map_err(|e| *e), want, "{message}");
    }
    assert_eq!(First::parse(format!("n,,n=user,r={}", "x".repeat(257)).as_bytes()).map(|_| ()), Err(ScramError::Garbled));
    assert_eq!(First::parse(format!("n,,n={},r=x", "x".repeat(2_048)).as_bytes()).map(|_| ()), Err(ScramError::Garbled));
    assert_eq!(First::parse(b"n,,n=\xff,r=x").map(|_| ()), Err(ScramError::Garbled));
}

#[test]
fn keys_are_read_as_they_are_written() {
    let written = keys().to_string();
    assert!(written.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{written}");
    assert_eq!(ScramKeys::parse(&written), Ok(keys()));
    for (from, to, want) in [
        ("SCRAM-SHA-256", "SCRAM-SHA-1", KeysError::Garbled),
        ("$4096:", "$4095:", KeysError::Iterations),
        ("$4096:", "$1000001:", KeysError::Iterations),
        ("$4096:", "$:", KeysError::Garbled),
        ("$4096:", "$04096:", KeysError::Garbled),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Z", KeysError::Garbled),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Za", KeysError::Garbled),
    ] {
        let text = written.replace(from, to);
        assert_eq!(ScramKeys::parse(&text), Err(want), "{text}");
    }
    assert_eq!(ScramKeys::parse(&written[..written.len() - 4]), Err(KeysError::Garbled));
    assert_eq!(ScramKeys::parse(&format!("{written}:")), Err(KeysError::Garbled));
}

#[test]
fn a_password_that_scram_cannot_have_has_no_keys() {
    for password in [&b""[..], b"a\x07", b"\xff", "\u{ad}".as_bytes()] {
        assert_eq!(ScramKeys::new(&Password::new(password), [0; 16], ITERATIONS), Err(KeysError::Characters), "{password:?}");
    }
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", First::parse(FIRST.as_bytes()).expect("a message").challenge(keys(), NONCE).1);
    assert!(!shown.contains("iter") && !shown.contains(NONCE), "{shown}");
    assert_eq!(format!("{:?}", keys()), "ScramKeys { iterations: 4096, .. }");
}
