//! What fuzzing has found worth keeping, again, without the codecs of others: those are compared by `fuzz/run codec`.

use std::path::Path;

use super::*;

#[path = "../../../fuzz/src/codec/built.rs"]
mod built;
#[path = "../../../fuzz/src/codec/own.rs"]
mod own;

/// Largest packet that is read.
const PACKET_MAX: usize = 1 << 20;

#[test]
fn the_corpus_breaks_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/codec");
    let mut packets = 0;
    for entry in folder.read_dir().expect("a corpus") {
        let input = std::fs::read(entry.expect("an entry").path()).expect("an input");
        // The first byte is the target's choice of a version and of what the rest is; here each input is everything.
        let rest = input.get(1..).unwrap_or_default();
        for version in [V31, V311, V5] {
            for stream in [rest, &built::stream(rest, version)] {
                packets += check_stream(stream, version);
            }
        }
    }
    assert!(packets > 100, "{packets}");
}

/// The number of packets.
fn check_stream(mut stream: &[u8], version: Version) -> usize {
    let mut packets = 0;
    while let Ok(Some(frame)) = split(stream, PACKET_MAX) {
        own::check(&frame, version, stream);
        packets += 1;
        stream = &stream[frame.raw.len()..];
    }
    packets
}
