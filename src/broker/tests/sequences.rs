//! Sequences of packets and events (`fuzz`): the fuzz target's corpus again, and some that a seed makes. `SEED=n` repeats one.

use std::panic::catch_unwind;
use std::path::Path;

use bytes::BytesMut;

use crate::broker::fuzz;
use crate::mqtt::Version;

/// Sequences unless `SEED` is given, and bytes of each.
const SEEDS: u64 = 150;
const LENGTH: usize = 600;

/// What the broker writes is read by a client's codec.
fn read(version: Version, packet: &[u8]) {
    // It knows not all reasons of CONNACK.
    if matches!(packet, [0x20, _, _, 0x80..=0xff, ..]) {
        return;
    }
    let mut bytes = BytesMut::from(packet);
    let result = match version {
        Version::V5 => rumqttc::v5::mqttbytes::v5::Packet::read(&mut bytes, None).map(drop).map_err(|error| error.to_string()),
        _ => rumqttc::mqttbytes::v4::Packet::read(&mut bytes, usize::MAX).map(drop).map_err(|error| error.to_string()),
    };
    assert!(result.is_ok(), "rumqttc cannot read {packet:x?}: {result:?}");
}

#[test]
fn the_corpus_breaks_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/apply");
    let mut count = 0;
    for file in folder.read_dir().unwrap() {
        let path = file.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        catch_unwind(|| fuzz::run(&input, &mut read)).unwrap_or_else(|_| panic!("{} fails", path.display()));
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn sequences_of_packets_and_events_break_nothing() {
    let seed = std::env::var("SEED").ok().and_then(|n| n.parse::<u64>().ok());
    for seed in seed.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let input = bytes(seed);
        catch_unwind(|| fuzz::run(&input, &mut read)).unwrap_or_else(|_| panic!("SEED={seed} fails"));
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..LENGTH).map(|_| next()).collect()
}
