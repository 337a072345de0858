//! Passwords and what a users file keeps of them: argon2id as our own, and the two older forms that Mosquitto writes.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Memory and passes of a hash that we make: 8 MiB, which a small gateway has beside its work, and as many passes as OWASP asks for with it.
const MEMORY_KIB: u32 = 8 << 10;
const PASSES: u32 = 5;
const SALT: usize = 16;
const TAG: usize = 32;

/// Most memory that one verification may take; a hash that asks for more is refused when the file is read.
const MEMORY_KIB_MAX: u32 = 64 << 10;

/// Most memory that one verification may go over, all passes together: bounds its time, to about two seconds on a small ARM board. A hash that
/// asks for more is refused when the file is read.
const TOTAL_KIB_MAX: u32 = 512 << 10;

/// Most lanes of argon2; they run one after another here.
const LANES_MAX: u32 = 8;

/// Most iterations of PBKDF2-HMAC-SHA-512; as `TOTAL_KIB_MAX`.
const ITERATIONS_MAX: u32 = 500_000;

/// Shortest and longest salt and tag in bytes.
const SALTS: std::ops::RangeInclusive<usize> = 8..=64;
const TAGS: std::ops::RangeInclusive<usize> = 16..=64;

/// A password as it came. Wiped when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Box<[u8]>>);

impl Password {
    /// The bytes are copied once; wiping where they came from is their owner's.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Memory for argon2, which grows to what the costliest hash wants.
#[derive(Default)]
pub struct Room(Vec<Block>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} KiB)", self.0.len())
    }
}

/// What a users file keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    kind: Kind,
    salt: Box<[u8]>,
    tag: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// RFC 9106, version 0x13.
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
    /// Mosquitto's `$7$`: PBKDF2-HMAC-SHA-512.
    Pbkdf2 { iterations: std::num::NonZeroU32 },
    /// Mosquitto's `$6$`: SHA-512 of the password and the salt behind it.
    Sha512,
}

/// Why a text is no hash that a password can be held against. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    #[error("this is no password's hash: it begins with none of $argon2id$, $7$ and $6$")]
    Unknown,
    #[error("this hash is broken off or garbled")]
    Garbled,
    #[error("this hash wants version 19 (v=19) of argon2id")]
    Version,
    #[error("this hash would take more than {} MiB, or go over more than {} MiB in all", MEMORY_KIB_MAX >> 10, TOTAL_KIB_MAX >> 10)]
    Costly,
    #[error("this hash has more than {ITERATIONS_MAX} iterations")]
    Iterations,
    #[error("this hash's salt or sum has a length that none has")]
    Length,
}

impl PasswordHash {
    /// Bytes that [`PasswordHash::new`] wants for salt.
    pub const SALT: usize = SALT;

    /// Hashes a password anew, with argon2id. Takes some tens of milliseconds of a desktop's time, more of a small board's.
    pub fn new(password: &Password, salt: [u8; SALT]) -> Self {
        let kind = Kind::Argon2id { memory_kib: MEMORY_KIB, passes: PASSES, lanes: 1 };
        let mut this = Self { kind, salt: salt.into(), tag: [0; TAG].into() };
        let tag = this.sum(password, &mut Room::default());
        this.tag.copy_from_slice(&tag);
        this
    }

    /// # Errors
    /// A form that is not known, garbled, or that would cost more than one verification may.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let fields: Vec<&str> = text.split('$').collect();
        let (kind, salt, tag) = match fields[..] {
            ["", "argon2id", version, parameters, salt, tag] => {
                if version != "v=19" {
                    return Err(HashError::Version);
                }
                (argon2id(parameters)?, STANDARD_NO_PAD.decode(salt), STANDARD_NO_PAD.decode(tag))
            }
            ["", "7", iterations, salt, tag] => {
                let iterations = number(iterations).and_then(std::num::NonZeroU32::new).ok_or(HashError::Garbled)?;
                if iterations.get() > ITERATIONS_MAX {
                    return Err(HashError::Iterations);
                }
                (Kind::Pbkdf2 { iterations }, STANDARD.decode(salt), STANDARD.decode(tag))
            }
            ["", "6", salt, tag] => (Kind::Sha512, STANDARD.decode(salt), STANDARD.decode(tag)),
            ["", "argon2id" | "7" | "6", ..] => return Err(HashError::Garbled),
            _ => return Err(HashError::Unknown),
        };
        let (salt, tag) = (salt.map_err(|_| HashError::Garbled)?, tag.map_err(|_| HashError::Garbled)?);
        let fits = match kind {
            Kind::Argon2id { .. } => TAGS.contains(&tag.len()),
            Kind::Pbkdf2 { .. } | Kind::Sha512 => tag.len() == digest::SHA512_OUTPUT_LEN,
        };
        if !fits || !SALTS.contains(&salt.len()) {
            return Err(HashError::Length);
        }
        Ok(Self { kind, salt: salt.into(), tag: tag.into() })
    }

    /// Whether this is the password's hash. An empty password is none, whatever the hash. Takes as long for a wrong one.
    pub fn is_of(&self, password: &Password) -> bool {
        self.is_of_in(password, &mut Room::default())
    }

    /// The same, for who does it again and again: an allocator that is asked for so much memory each time may keep several times of it.
    pub fn is_of_in(&self, password: &Password, room: &mut Room) -> bool {
        let sum = self.sum(password, room);
        bool::from(sum.ct_eq(&self.tag)) && !password.as_bytes().is_empty()
    }

    /// One of no password, which costs as much to be held against as this one does: for users that there are not.
    pub fn decoy(&self, salt: [u8; SALT]) -> Self {
        // No password's sum is known to be zeros, and nobody can look for one: the salt is not known either.
        Self { kind: self.kind, salt: salt.into(), tag: vec![0; self.tag.len()].into() }
    }

    /// Whether it was made in a way that costs somebody who has stolen the file little.
    pub const fn is_weak(&self) -> bool {
        matches!(self.kind, Kind::Pbkdf2 { .. } | Kind::Sha512)
    }

    /// What it was made by, for people.
    pub const fn method(&self) -> &'static str {
        match self.kind {
            Kind::Argon2id { .. } => "argon2id",
            Kind::Pbkdf2 { .. } => "sha512-pbkdf2",
            Kind::Sha512 => "sha512",
        }
    }

    fn sum(&self, password: &Password, room: &mut Room) -> Zeroizing<Vec<u8>> {
        let mut sum = Zeroizing::new(vec![0; self.tag.len()]);
        let password = password.as_bytes();
        match self.kind {
            Kind::Argon2id { memory_kib, passes, lanes } => {
                let made = Params::new(memory_kib, passes, lanes, Some(sum.len())).and_then(|params| {
                    let blocks = params.block_count();
                    if room.0.len() < blocks {
                        room.0 = vec![Block::default(); blocks];
                    }
                    let blocks = room.0.get_mut(..blocks).unwrap_or_default();
                    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
                    argon2.hash_password_into_with_memory(password, &self.salt, &mut sum, blocks)
                });
                if made.is_err() {
                    // `parse` lets no parameters through that it refuses. What is not hashed must not look like a hash.
                    return Zeroizing::new(Vec::new());
                }
            }
            Kind::Pbkdf2 { iterations } => {
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &self.salt, password, &mut sum);
            }
            Kind::Sha512 => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(&self.salt);
                sum = Zeroizing::new(context.finish().as_ref().to_vec());
            }
        }
        sum
    }
}

impl Default for PasswordHash {
    /// Of no password, at the cost of one that we make.
    fn default() -> Self {
        let kind = Kind::Argon2id { memory_kib: MEMORY_KIB, passes: PASSES, lanes: 1 };
        Self { kind, salt: [0; SALT].into(), tag: [0; TAG].into() }
    }
}

/// As it stands in a users file.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Argon2id { memory_kib, passes, lanes } => {
                let (salt, tag) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.tag));
                write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${tag}")
            }
            Kind::Pbkdf2 { iterations } => write!(f, "$7${iterations}${}${}", STANDARD.encode(&self.salt), STANDARD.encode(&self.tag)),
            Kind::Sha512 => write!(f, "$6${}${}", STANDARD.encode(&self.salt), STANDARD.encode(&self.tag)),
        }
    }
}

/// A hash can be guessed at, so that it is not shown either.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// `m=KiB,t=PASSES,p=LANES`, in this order, as the PHC string format has it.
fn argon2id(parameters: &str) -> Result<Kind, HashError> {
    let fields: Vec<&str> = parameters.split(',').collect();
    let [memory, passes, lanes] = fields[..] else { return Err(HashError::Garbled) };
    let value = |field: &str, name: &str| field.strip_prefix(name).and_then(number).ok_or(HashError::Garbled);
    let (memory_kib, passes, lanes) = (value(memory, "m=")?, value(passes, "t=")?, value(lanes, "p=")?);
    if memory_kib > MEMORY_KIB_MAX || memory_kib.saturating_mul(passes) > TOTAL_KIB_MAX || lanes > LANES_MAX {
        return Err(HashError::Costly);
    }
    if passes == 0 || lanes == 0 || memory_kib < 8 * lanes {
        return Err(HashError::Garbled);
    }
    Ok(Kind::Argon2id { memory_kib, passes, lanes })
}

/// Digits and nothing else, without leading zeros.
pub(super) fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> PasswordHash {
        PasswordHash::parse(text).expect("a hash")
    }

    /// Made by the reference implementation of argon2 (by argon2-cffi) and by mosquitto_passwd 2.0 (`-H sha512-pbkdf2`, `-H sha512`).
    #[test]
    fn hashes_that_others_made_are_those_of_their_passwords() {
        for (text, password) in OTHERS {
            let hash = of(text);
            assert!(hash.is_of(&Password::new(password.as_bytes())), "{text}");
            for wrong in ["", "x", &format!("{password} "), &password.to_uppercase()] {
                assert!(!hash.is_of(&Password::new(wrong.as_bytes())), "{text}: {wrong}");
            }
            assert_eq!(hash.to_string(), *text);
            assert_eq!(hash.is_weak(), !text.starts_with("$argon2id"));
        }
    }

    const OTHERS: &[(&str, &str)] = &[
        ("$argon2id$v=19$m=8192,t=5,p=1$bg0d+zWU8TkXlQlJVsgwjQ$4WzdW4pD7exnH5gUwArzKJdFQiUVnIrXEUywEaHEAL4", "one two"),
        ("$argon2id$v=19$m=1024,t=2,p=4$Qejh/FScQPf0kU+o$N/StVYH4fiWmzg7GYs4pgoHM7D2Xv64D", "grüße"),
        ("$7$101$iPUcgyfFVs0+Cwa5$JVirdADTpG/r25Ns1hJXZnQzp2t/Dl9PknNSLAiWQOa1zfPh1FN9XZYVPvPtK+UIJiQyaYPJZKaMmWVAud6aZA==", "one two"),
        ("$7$1000$r4qVS0nLN94EjoEI$AZrawkTh0BBkYLMf119VWVey+mWEStnhGn/ih1mnfVP9LYU9IMQdI1ftYNNffHtY0TSiuw/KzAJE1lvRhYUE7A==", "third"),
        ("$6$l5BtiOt8E2J5gmWQ$iPI2tTkazXJVVDz1TbcMmCbDb1cth8GxkJwbpjUrugRXQlY0EixO0MMGICkZ1RRk83F5pH8zNgsl9SO2ZLbLUw==", "geheim"),
    ];

    #[test]
    fn a_hash_of_ours_is_good_after_it_was_written_and_read() {
        let password = Password::new("pässword".as_bytes());
        let made = PasswordHash::new(&password, [7; 16]);
        let text = made.to_string();
        assert!(text.starts_with("$argon2id$v=19$m=8192,t=5,p=1$BwcHBwcHBwcHBwcHBwcHBw$"), "{text}");
        assert_eq!(of(&text), made);
        assert!(made.is_of(&password) && !made.is_of(&Password::new(b"password")));
        assert_ne!(made, PasswordHash::new(&password, [8; 16]));
    }

    #[test]
    fn no_password_is_a_decoys_and_none_at_all_is_anybodys() {
        let empty = PasswordHash::new(&Password::new(b""), [1; 16]);
        assert!(!empty.is_of(&Password::new(b"")), "though its sum is that of the empty password");
        assert!(!empty.decoy([2; 16]).is_of(&Password::new(b"x")));
        assert!(!PasswordHash::default().is_of(&Password::new(b"x")));
        assert_eq!(empty.decoy([2; 16]).kind, empty.kind);
    }

    #[test]
    fn what_costs_too_much_or_is_no_hash_is_refused() {
        let argon2 = |parameters: &str| format!("$argon2id$v=19${parameters}$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg");
        let sum = STANDARD.encode([1; 64]);
        for (text, want) in [
            (argon2("m=8192,t=5,p=1"), Ok(())),
            (argon2("m=65536,t=8,p=1"), Ok(())),
            (argon2("m=65537,t=1,p=1"), Err(HashError::Costly)),
            (argon2("m=65536,t=9,p=1"), Err(HashError::Costly)),
            (argon2("m=4294967295,t=4294967295,p=1"), Err(HashError::Costly)),
            (argon2("m=8192,t=1,p=9"), Err(HashError::Costly)),
            (argon2("m=8192,t=0,p=1"), Err(HashError::Garbled)),
            (argon2("m=8192,t=1,p=0"), Err(HashError::Garbled)),
            (argon2("m=7,t=1,p=1"), Err(HashError::Garbled)),
            (argon2("m=8192,t=5"), Err(HashError::Garbled)),
            (argon2("t=5,m=8192,p=1"), Err(HashError::Garbled)),
            (argon2("m=8192,t=+5,p=1"), Err(HashError::Garbled)),
            (argon2("m=08192,t=5,p=1"), Err(HashError::Garbled)),
            (argon2("m=8192,t=5,p=1,keyid=x"), Err(HashError::Garbled)),
            ("$argon2id$v=16$m=8192,t=5,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg".into(), Err(HashError::Version)),
            ("$argon2id$m=8192,t=5,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg".into(), Err(HashError::Garbled)),
            ("$argon2id$v=19$m=8192,t=5,p=1$c2FsdHNhbHRzYWx0$MDEy".into(), Err(HashError::Length)),
            ("$argon2id$v=19$m=8192,t=5,p=1$c2Fs$MDEyMzQ1Njc4OWFiY2RlZg".into(), Err(HashError::Length)),
            ("$argon2id$v=19$m=8192,t=5,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg==".into(), Err(HashError::Garbled)),
            ("$argon2i$v=19$m=8192,t=5,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg".into(), Err(HashError::Unknown)),
            (format!("$7$101$c2FsdHNhbHRzYWx0${sum}"), Ok(())),
            (format!("$7$0$c2FsdHNhbHRzYWx0${sum}"), Err(HashError::Garbled)),
            (format!("$7$500001$c2FsdHNhbHRzYWx0${sum}"), Err(HashError::Iterations)),
            (format!("$7$99999999999$c2FsdHNhbHRzYWx0${sum}"), Err(HashError::Garbled)),
            ("$7$101$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg==".into(), Err(HashError::Length)),
            (format!("$6$c2FsdHNhbHRzYWx0${sum}"), Ok(())),
            ("$6$c2FsdHNhbHRzYWx0$".into(), Err(HashError::Length)),
            ("$6$!!$!!".into(), Err(HashError::Garbled)),
            ("$6$".into(), Err(HashError::Garbled)),
            ("secret".into(), Err(HashError::Unknown)),
            (String::new(), Err(HashError::Unknown)),
            ("$$$$".into(), Err(HashError::Unknown)),
        ] {
            assert_eq!(PasswordHash::parse(&text).map(|_| ()), want, "{text}");
        }
    }

    #[test]
    fn neither_a_password_nor_a_hash_is_shown() {
        let (text, password) = OTHERS[0];
        let shown = format!("{:?} {:?}", Password::new(password.as_bytes()), of(text));
        assert!(!shown.contains(password), "{shown}");
        for secret in text.split('$').skip(4) {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
