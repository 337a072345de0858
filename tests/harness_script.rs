//! The equipment of the conformance tests: packets as text, and that a script sees what is wrong.

use crate::harness::mosquitto::Mosquitto;
use crate::harness::packet::{Ids, decode, encode};
use crate::harness::script::{check, check_at, check_versions};

/// Bytes by hand, as the standards' figures have them.
#[test]
fn packets_are_what_their_words_say() {
    for (version, words, bytes) in [
        (4, "connect 4 id=a", "100d 0004 4d515454 04 02 0000 0001 61"),
        (3, "connect 3 id=a clean=0 keep=60", "100f 0006 4d5149736470 03 00 003c 0001 61"),
        (4, "connect 4 id=a will=t:b wq=1 wr user=u pass=p", "1019 0004 4d515454 04 ee 0000 0001 61 0001 74 0001 62 0001 75 0001 70"),
        (5, "connect 5 id=a receive-max=10", "1011 0004 4d515454 05 02 0000 03 21000a 0001 61"),
        (5, "connect 5 id=a will=t:b will.delay=1", "101a 0004 4d515454 05 06 0000 00 0001 61 05 1800000001 0001 74 0001 62"),
        (4, "publish q0 a/b \"\"", "3005 0003 612f62"),
        (4, "publish q2 dup retain #10 a hello", "3d0a 0001 61 000a 68656c6c6f"),
        (5, "publish q1 #1 a x up=k:v", "320e 0001 61 0001 07 26 0001 6b 0001 76 78"),
        (5, "puback #1", "4002 0001"),
        (5, "puback #1 0x10", "4003 0001 10"),
        (5, "pubrec #1 0x80 reason=r", "5008 0001 80 04 1f 0001 72"),
        (4, "pubrel #258", "6202 0102"),
        (4, "subscribe #1 a/+=2 #=0", "820c 0001 0003 612f2b 02 0001 23 00"),
        (5, "subscribe #1 a=1nlraprh2 sub-id=128", "820a 0001 03 0b8001 0001 61 2d"),
        (5, "unsubscribe #7 a", "a206 0007 00 0001 61"),
        (5, "disconnect 0x04", "e001 04"),
        (4, "pingreq", "c000"),
        (5, "publish q0 a x*200", "30cc01 0001 61 00 ".to_owned().leak()),
    ] {
        let hex: String = encode(version, words, &Ids::new()).iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = bytes.replace(' ', "");
        assert!(hex == wanted || words.ends_with("x*200") && hex.starts_with(&wanted), "{words}: {hex}");
    }
    for (version, first, body, words) in [
        (4, 0x20, &[1, 0][..], "connack 0 present"),
        (5, 0x20, &[0, 0x8c, 0], "connack 0x8c"),
        (5, 0x20, &[0, 0, 6, 0x22, 0, 9, 0x21, 0, 8], "connack 0 alias-max=9 receive-max=8"),
        (4, 0x20, &[2, 0, 7], "connack 0 FLAGS=0x2 TRAILING=\\x07"),
        (4, 0x3b, &[0, 1, b'a', 0, 5, b'x'], "publish q1 dup retain #5 a \"x\""),
        (5, 0x30, &[0, 0, 3, 0x23, 0, 1], "publish q0 \"\" \"\" alias=1"),
        (5, 0x40, &[0, 5, 0x10], "puback #5 16"),
        (4, 0x62, &[0, 5], "pubrel #5"),
        (4, 0x60, &[0, 5], "pubrel FLAGS=0x0 #5"),
        (5, 0x90, &[0, 5, 0, 2, 0x8f], "suback #5 2 0x8f"),
        (4, 0x40, &[5], "puback #1280 CUT-SHORT"),
    ] {
        assert_eq!(decode(version, first, body).join(" "), words);
    }
}

#[test]
fn a_script_fails_where_a_broker_does_otherwise() {
    let mosquitto = Mosquitto::start();
    for (script, why) in [
        ("a > connect 5\na < connack 1", "got “connack 0 "),
        ("a > connect 5\na < connack 0 exactly", "got “connack 0 "),
        ("a > connect 4\na < connack 0\na > publish q1 #7 ~/t x\na < puback #8", "got “puback #7”"),
        ("a > connect 4\na < connack 0\na > publish q1 #7 ~/t x\na < closed", "got “puback #7”"),
        ("a > connect 4\na < connack 0\na > publish q1 #7 ~/t x\na < nothing", "got “puback #7”"),
        ("a > connect 4\na < connack 0\na > connect 4\na < nothing", "the connection was closed"),
        ("mark\ntook 5000..6000", "it took 0 ms"),
        ("a > connect 4\na < connack 0\na > publish q2 #7 ~/t x\na < pubrec #x\na > publish q1 #8 ~/t x\na < puback #x", "got “puback #8”"),
    ] {
        let port = mosquitto.port();
        let failed = std::panic::catch_unwind(|| check_at(port, &[("row", script)])).expect_err(script);
        let said = failed.downcast_ref::<String>().expect("a text");
        assert!(said.contains(why), "{script}\n{said}");
    }
}

#[test]
fn a_conversation_of_3_1_1_is_held() {
    let script = "a > connect V
                  a < connack 0 exactly
                  b > connect V
                  b < connack 0
                  a > subscribe #1 ~/t=1
                  a < suback #1 1
                  b > publish q1 #9 ~/t \"hello there\"
                  b < puback #9
                  a < publish q1 #x ~/t \"hello there\"
                  a > puback #x
                  a < nothing
                  a > disconnect
                  a < closed";
    check_versions("4", &[("one message", script)]);
    check(&[("a row's topics are its own", &script.replace('V', "4")), ("and another's", &script.replace('V', "4"))]);
}
