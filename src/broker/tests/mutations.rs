//! Damaged input: a connection may be closed for it, nothing else may happen.

use super::*;

/// xorshift64*; the seed is printed, `SEED=` repeats one.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| crate::clock::wall().0.unsigned_abs()).max(1)
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.below(256) as u8),
            _ => bytes.truncate(at),
        }
    }
}

/// A client that behaves sees the same whatever the others send; nothing panics; what was held is given back.
#[test]
fn damaged_packets_harm_nobody_else() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random(seed);
    for round in 0..300 {
        let mut bench = Bench::new(&[&["up/#"]]).started();
        let good = bench.connect("good");
        bench.send(good, &subscribe(1, &[("good", 1)]));
        for i in 0..20 {
            let id = bench.open(random.below(2) == 0);
            let packets = [
                connect("bad", random.below(2) == 0, 1, Some(("up/w", "w", 1, true))),
                subscribe(1, &[("bad/#", 1), ("+/a/+", 0), ("$x", 1)]),
                publish("bad/a", &"y".repeat(random.below(2_000)), 5, true),
                publish("up/b", "z", 6, false),
                unsubscribe(2, "bad/#"),
                puback(1),
                PING.to_vec(),
            ];
            for mut packet in packets {
                if random.below(3) == 0 {
                    damage(&mut random, &mut packet);
                }
                bench.send(id, &packet);
            }
            bench.take(id);
            bench.secured(&[(1, random.below(50) as u64)]);
            if random.below(2) == 0 {
                bench.cut(id);
            }
            bench.send(good, &publish("good", "still here", 1, false));
            let mut seen = bench.take(good);
            seen.retain(|line| !line.starts_with("SUBACK"));
            assert_eq!(seen, [format!("good still here q1 id{}", i + 1), "PUBACK 1".to_owned()], "SEED={seed} round {round}");
            bench.send(good, &puback(i + 1));
        }
    }
}

/// Bytes that are no packets at all, to the parsers themselves.
#[test]
fn noise_is_parsed_without_panic() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random(seed);
    for _ in 0..20_000 {
        let mut bench = Bench::new(&[]);
        let id = bench.connect("c");
        let mut bytes: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
        if let Some(length) = bytes.get_mut(1) {
            *length = random.below(40) as u8;
        }
        bench.send(id, &bytes);
        bench.take(id);
    }
}
