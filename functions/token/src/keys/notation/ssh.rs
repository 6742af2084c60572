//! What `ssh-keygen` writes: a public key's line (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4),
//! and the block of a private key (OpenSSH's `PROTOCOL.key`).

use base64ct::{Base64, Encoding};
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};

use super::super::{Fault, SigningKey, VerifyingKey};

/// What a private key's block begins with.
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Bytes of a P-256 key's secret number.
const P256_BYTES: usize = 32;

/// The lines of a text that are public keys.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"))
}

/// Reads `ssh-rsa AAAA… comment`.
pub(super) fn public_key(line: &str) -> Result<VerifyingKey, Fault> {
    let blob = line.split_whitespace().nth(1).and_then(|word| Base64::decode_vec(word).ok());
    let fields = blob.as_deref().and_then(fields).ok_or(Fault::Damaged)?;
    match fields.as_slice() {
        [b"ssh-ed25519", key] => ed25519_compact::PublicKey::from_slice(key)
            .map(VerifyingKey::Ed25519)
            .map_err(|_| Fault::Damaged),
        [b"ecdsa-sha2-nistp256", b"nistp256", point] => {
            p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .map(VerifyingKey::P256)
                .map_err(|_| Fault::Damaged)
        }
        [b"ssh-rsa", exponent, modulus] => RsaPublicKey::new(number(modulus), number(exponent))
            .map(VerifyingKey::Rsa)
            .map_err(|_| Fault::Unsupported),
        _ => Err(Fault::Unsupported),
    }
}

/// Reads what an `OPENSSH PRIVATE KEY` block holds.
pub(super) fn private_key(block: &[u8]) -> Result<SigningKey, Fault> {
    let mut block = Reader(block.strip_prefix(MAGIC).ok_or(Fault::Damaged)?);
    let (cipher, _kdf, _options) = block.three().ok_or(Fault::Damaged)?;
    if cipher != b"none" {
        return Err(Fault::EncryptedSsh);
    }
    // No program has ever written more than one.
    if block.number() != Some(1) {
        return Err(Fault::Damaged);
    }
    let (_public, secret) = (block.field(), block.field());
    let mut secret = Reader(secret.ok_or(Fault::Damaged)?);
    // Twice the same random number: who decrypts wrongly sees two.
    if secret.number().ok_or(Fault::Damaged)? != secret.number().ok_or(Fault::Damaged)? {
        return Err(Fault::Damaged);
    }
    match secret.field().ok_or(Fault::Damaged)? {
        b"ssh-ed25519" => ed25519(&mut secret),
        b"ecdsa-sha2-nistp256" => p256(&mut secret),
        b"ssh-rsa" => rsa(&mut secret),
        _ => Err(Fault::Unsupported),
    }
}

/// The public key, then seed and public key together.
fn ed25519(secret: &mut Reader<'_>) -> Result<SigningKey, Fault> {
    let (public, both) = (secret.field(), secret.field());
    let (public, both) = public.zip(both).ok_or(Fault::Damaged)?;
    let seed = both.strip_suffix(public).ok_or(Fault::Damaged)?;
    let seed = ed25519_compact::Seed::from_slice(seed).map_err(|_| Fault::Damaged)?;
    let pair = ed25519_compact::KeyPair::from_seed(seed);
    if pair.pk[..] == *public { Ok(SigningKey::Ed25519(pair.sk)) } else { Err(Fault::Damaged) }
}

/// The curve's name, the public point, the secret number.
fn p256(secret: &mut Reader<'_>) -> Result<SigningKey, Fault> {
    let (_curve, point, number) = secret.three().ok_or(Fault::Damaged)?;
    // A number is as short as it can be, and may have a zero in front that says "positive".
    let number = number.strip_prefix(&[0]).unwrap_or(number);
    let missing = P256_BYTES.checked_sub(number.len()).ok_or(Fault::Damaged)?;
    let padded = [&vec![0; missing], number].concat();
    let key = p256::SecretKey::from_slice(&padded).map_err(|_| Fault::Damaged)?;
    let signing = p256::ecdsa::SigningKey::from(key);
    if signing.verifying_key().to_encoded_point(false).as_bytes() == point {
        Ok(SigningKey::P256(signing))
    } else {
        Err(Fault::Damaged)
    }
}

/// n, e, d, the inverse of q modulo p, p, q.
fn rsa(secret: &mut Reader<'_>) -> Result<SigningKey, Fault> {
    let (modulus, exponent, private) = secret.three().ok_or(Fault::Damaged)?;
    let (_inverse, p, q) = secret.three().ok_or(Fault::Damaged)?;
    let primes = vec![number(p), number(q)];
    RsaPrivateKey::from_components(number(modulus), number(exponent), number(private), primes)
        .map(|key| SigningKey::Rsa(Box::new(key)))
        .map_err(|_| Fault::Damaged)
}

fn number(bytes: &[u8]) -> BigUint {
    BigUint::from_bytes_be(bytes)
}

/// Every field of a public key.
fn fields(blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = Reader(blob);
    let mut fields = Vec::new();
    while !rest.0.is_empty() {
        fields.push(rest.field()?);
    }
    Some(fields)
}

/// What is left to read of a sequence of fields.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A number in four bytes.
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    /// Bytes behind their number.
    fn field(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?.try_into().ok()?;
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn three(&mut self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        Some((self.field()?, self.field()?, self.field()?))
    }
}
