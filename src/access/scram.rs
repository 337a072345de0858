//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side: messages in, messages out.
//!
//! The client proves that it knows the password without saying it, and we prove that we know its keys. Channel binding is not offered: a client
//! that insists on it (`p`) is refused, one that would take it (`y`) is right to believe that we have none.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::password::{Password, number};

/// As MQTT's authentication method, and as the users file, has it.
pub const NAME: &str = "SCRAM-SHA-256";

/// Iterations of keys that we make, the least that RFC 7677 (4) allows: the client has to run them at each login.
pub const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4_095);

/// Fewest and most iterations of keys in a users file. The server never runs them; a client that is asked for more than it will do hangs.
const ITERATIONS_RANGE: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

/// Bytes of salt of keys that we make, and shortest and longest in a users file.
pub const SALT: usize = 16;
const SALTS: std::ops::RangeInclusive<usize> = 8..=64;

/// Longest message of a client in bytes; a longer one is refused.
const MESSAGE_MAX: usize = 2_048;

/// Longest nonce of a client; RFC 5802 names none.
const NONCE_MAX: usize = 256;

const KEY: usize = digest::SHA256_OUTPUT_LEN;

/// What a users file keeps of a password for SCRAM. Who steals it can pose as us, and guess at the password; it cannot pose as the client.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    iterations: NonZeroU32,
    salt: Box<[u8]>,
    stored: [u8; KEY],
    server: [u8; KEY],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("these SCRAM keys are broken off or garbled")]
    Garbled,
    #[error("SCRAM keys want {} to {} iterations", ITERATIONS_RANGE.start(), ITERATIONS_RANGE.end())]
    Iterations,
    #[error("this password has a character that SCRAM does not allow (RFC 4013)")]
    Characters,
}

impl ScramKeys {
    /// The keys of a password that is text.
    ///
    /// # Errors
    /// SASLprep (RFC 4013) refuses the password, or nothing is left of it.
    pub fn new(password: &Password, salt: [u8; SALT], iterations: NonZeroU32) -> Result<Self, KeysError> {
        let text = std::str::from_utf8(password.as_bytes()).map_err(|_| KeysError::Characters)?;
        let prepared = Zeroizing::new(stringprep::saslprep(text).map_err(|_| KeysError::Characters)?.into_owned());
        if prepared.is_empty() {
            return Err(KeysError::Characters);
        }
        let mut salted = Zeroizing::new([0; KEY]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, prepared.as_bytes(), &mut *salted);
        let client = Zeroizing::new(mac(&*salted, b"Client Key"));
        Ok(Self { iterations, salt: salt.into(), stored: sha256(&*client), server: mac(&*salted, b"Server Key") })
    }

    /// `SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY`, the form of RFC 5803 that PostgreSQL has, too.
    ///
    /// # Errors
    /// Anything else, or iterations out of bounds.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let parts = || {
            let (cost, keys) = text.strip_prefix(NAME)?.strip_prefix('$')?.split_once('$')?;
            let ((iterations, salt), (stored, server)) = (cost.split_once(':')?, keys.split_once(':')?);
            let decode = |text: &str| STANDARD.decode(text).ok();
            let key = |text: &str| decode(text).and_then(|key| <[u8; KEY]>::try_from(key).ok());
            Some((number(iterations)?, decode(salt)?, key(stored)?, key(server)?))
        };
        let (iterations, salt, stored, server) = parts().ok_or(KeysError::Garbled)?;
        if !SALTS.contains(&salt.len()) {
            return Err(KeysError::Garbled);
        }
        let iterations = NonZeroU32::new(iterations).filter(|n| ITERATIONS_RANGE.contains(&n.get())).ok_or(KeysError::Iterations)?;
        Ok(Self { iterations, salt: salt.into(), stored, server })
    }

    /// Keys of no password, as costly for the client as these and with a salt as long: for users that there are not. `seed` says the salt, and
    /// has to be the same for the same name.
    pub fn decoy(&self, seed: &[u8; KEY]) -> Self {
        let salt = self.salt.iter().zip(seed.iter().cycle()).map(|(_, byte)| *byte).collect();
        Self { iterations: self.iterations, salt, stored: [0; KEY], server: [0; KEY] }
    }
}

impl Default for ScramKeys {
    /// Of no password.
    fn default() -> Self {
        Self { iterations: ITERATIONS, salt: [0; SALT].into(), stored: [0; KEY], server: [0; KEY] }
    }
}

/// As it stands in a users file.
impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt[..], &self.stored, &self.server].map(|bytes| STANDARD.encode(bytes));
        write!(f, "{NAME}${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// What is wrong with what a client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("this is no message of SCRAM")]
    Garbled,
    #[error("channel binding is not offered")]
    Binding,
    #[error("acting for another user is not offered")]
    Another,
    #[error("the client's nonce or channel binding is not what was said before")]
    Tampered,
    #[error("the client's proof is wrong")]
    Proof,
}

/// What the client says first.
#[derive(Debug)]
pub struct First {
    user: Arc<str>,
    /// The GS2 header, which the client has to repeat.
    header: String,
    bare: String,
    nonce: String,
}

impl First {
    /// # Errors
    /// It is no such message, or wants what is not offered.
    pub fn parse(message: &[u8]) -> Result<Self, ScramError> {
        let text = text(message)?;
        let mut fields = text.splitn(3, ',');
        let (Some(binding), Some(authzid), Some(bare)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(ScramError::Garbled);
        };
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(ScramError::Binding),
            _ => return Err(ScramError::Garbled),
        }
        let mut fields = bare.split(',');
        // A first field `m=` is an extension that has to be understood; there is none that we do.
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(ScramError::Garbled)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Garbled)?;
        let printable = |b: u8| matches!(b, 0x21..=0x7e);
        if nonce.is_empty() || nonce.len() > NONCE_MAX || !nonce.bytes().all(printable) || !fields.all(is_extension) {
            return Err(ScramError::Garbled);
        }
        let user = name(user).ok_or(ScramError::Garbled)?;
        if !authzid.is_empty() && authzid.strip_prefix("a=").and_then(name).ok_or(ScramError::Garbled)? != user {
            return Err(ScramError::Another);
        }
        let header = format!("{binding},{authzid},");
        Ok(Self { user: user.into(), header, bare: bare.to_owned(), nonce: nonce.to_owned() })
    }

    /// The user that the client says it is.
    pub const fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// What is asked of the client, and who then judges its answer. `nonce`: random, never used twice, printable ASCII without a comma.
    pub fn challenge(self, keys: ScramKeys, nonce: &str) -> (Vec<u8>, Challenge) {
        let nonce = self.nonce + nonce;
        let said = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let binding = STANDARD.encode(&self.header);
        let signed = format!("{},{said},", self.bare);
        (said.into_bytes(), Challenge { user: self.user, binding, nonce, signed, keys })
    }
}

/// What was asked of a client.
pub struct Challenge {
    user: Arc<str>,
    binding: String,
    nonce: String,
    /// What proof and signature are made over, up to the client's last message.
    signed: String,
    keys: ScramKeys,
}

impl Challenge {
    /// The user that the client says it is.
    pub const fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// The keys that its proof is held against.
    pub const fn keys(&self) -> &ScramKeys {
        &self.keys
    }

    /// Our own proof, for the client, if its is right. Keys of no password have no right one.
    ///
    /// # Errors
    /// It is no such message, does not answer what was asked, or proves nothing.
    pub fn answer(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Garbled)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(ScramError::Garbled)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Garbled)?;
        if !fields.all(is_extension) {
            return Err(ScramError::Garbled);
        }
        if binding != self.binding || nonce != self.nonce {
            return Err(ScramError::Tampered);
        }
        let proof = STANDARD.decode(proof).ok().and_then(|proof| <[u8; KEY]>::try_from(proof).ok()).ok_or(ScramError::Garbled)?;
        let signed = self.signed + without_proof;
        let signature = mac(&self.keys.stored, signed.as_bytes());
        let mut client = Zeroizing::new(proof);
        client.iter_mut().zip(signature).for_each(|(byte, mask)| *byte ^= mask);
        // Keys of no password: SHA-256 of nothing that anybody knows is zeros, but a decoy must not hang on that.
        let is_decoy = self.keys.stored.ct_eq(&[0; KEY]);
        if bool::from(sha256(&*client).ct_eq(&self.keys.stored) & !is_decoy) {
            return Ok(format!("v={}", STANDARD.encode(mac(&self.keys.server, signed.as_bytes()))).into_bytes());
        }
        Err(ScramError::Proof)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").field("user", &self.user).finish_non_exhaustive()
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    let text = std::str::from_utf8(message).map_err(|_| ScramError::Garbled)?;
    if message.len() > MESSAGE_MAX || text.contains('\0') { Err(ScramError::Garbled) } else { Ok(text) }
}

/// `x=...`: one that we do not know, and need not (RFC 5802, 5.1).
fn is_extension(field: &str) -> bool {
    matches!(field.as_bytes(), [b'a'..=b'z' | b'A'..=b'Z', b'=', ..])
}

/// A user's name as SCRAM writes it: `=2C` for a comma, `=3D` for an equals sign, and prepared (RFC 5802, 5.1, RFC 4013).
fn name(written: &str) -> Option<String> {
    let mut name = String::with_capacity(written.len());
    let mut parts = written.split('=');
    name.push_str(parts.next()?);
    for part in parts {
        let (sign, rest) = part.strip_prefix("2C").map(|rest| (',', rest)).or_else(|| Some(('=', part.strip_prefix("3D")?)))?;
        name.push(sign);
        name.push_str(rest);
    }
    let prepared = stringprep::saslprep(&name).ok()?;
    (!prepared.is_empty()).then(|| prepared.into_owned())
}

fn mac(key: &[u8], message: &[u8]) -> [u8; KEY] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    <[u8; KEY]>::try_from(tag.as_ref()).unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> [u8; KEY] {
    <[u8; KEY]>::try_from(digest::digest(&digest::SHA256, bytes).as_ref()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
