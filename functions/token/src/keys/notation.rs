//! The notations in which a key may be given: PEM (PKCS#8, SEC1, PKCS#1, SPKI), the line
//! that `ssh-keygen` writes for a public key (OPAL's default), and JSON Web Keys.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo, SubjectPublicKeyInfoRef};
use rsa::{
    BigUint, RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey},
};

use super::{Fault, PublicKey, SigningKey, VerifyingKey};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

impl SigningKey {
    /// Reads the one private key of a setting.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        if text.starts_with(['{', '[']) {
            return Err(Fault::NoKey);
        }
        let text = with_newlines(text);
        if ssh_lines(&text).next().is_some() {
            return Err(Fault::NotPrivate);
        }
        let mut key = None;
        for block in blocks(&text) {
            let block = block?;
            let parsed = match block.label {
                "PRIVATE KEY" => Self::from_pkcs8(&block.der()?)?,
                "EC PRIVATE KEY" => p256::SecretKey::from_sec1_der(&block.der()?)
                    .map(|key| Self::P256(key.into()))
                    .map_err(|_| Fault::Unsupported)?,
                "RSA PRIVATE KEY" => RsaPrivateKey::from_pkcs1_der(&block.der()?)
                    .map(|key| Self::Rsa(Box::new(key)))
                    .map_err(|_| Fault::Unsupported)?,
                // A private key's file often holds more than the key.
                "EC PARAMETERS" | "PUBLIC KEY" | "CERTIFICATE" => continue,
                other => return Err(misplaced(other)),
            };
            parsed.public_key().key.checked()?;
            if key.replace(parsed).is_some() {
                return Err(Fault::Several);
            }
        }
        let only_public =
            || if blocks(&text).next().is_some() { Fault::NotPrivate } else { Fault::NoKey };
        key.ok_or_else(only_public)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, Fault> {
        let info = PrivateKeyInfo::try_from(der).map_err(|_| Fault::Damaged)?;
        match info.algorithm.oid {
            // An OCTET STRING of 32 bytes (RFC 8410 §7).
            ED25519 => match info.private_key {
                [4, 32, seed @ ..] => ed25519_compact::Seed::from_slice(seed)
                    .and_then(ed25519_compact::KeyPair::try_from_seed)
                    .map(|pair| Self::Ed25519(pair.sk))
                    .map_err(|_| Fault::Damaged),
                _ => Err(Fault::Damaged),
            },
            EC => p256::SecretKey::try_from(info)
                .map(|key| Self::P256(key.into()))
                .map_err(|_| Fault::Unsupported),
            RSA => RsaPrivateKey::try_from(info)
                .map(|key| Self::Rsa(Box::new(key)))
                .map_err(|_| Fault::Unsupported),
            _ => Err(Fault::Unsupported),
        }
    }
}

impl PublicKey {
    /// Reads the public keys of a setting, at least one.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, Fault> {
        if text.starts_with(['{', '[']) {
            return Self::from_json(text);
        }
        let text = with_newlines(text);
        let mut keys = Vec::new();
        for block in blocks(&text) {
            let block = block?;
            keys.push(match block.label {
                "PUBLIC KEY" => VerifyingKey::from_spki(&block.der()?)?,
                "RSA PUBLIC KEY" => RsaPublicKey::from_pkcs1_der(&block.der()?)
                    .map(VerifyingKey::Rsa)
                    .map_err(|_| Fault::Unsupported)?,
                other => return Err(misplaced(other)),
            });
        }
        for line in ssh_lines(&text) {
            keys.push(VerifyingKey::from_ssh(line)?);
        }
        if keys.is_empty() {
            return Err(Fault::NoKey);
        }
        keys.into_iter().map(|key| key.checked().map(Self::named_by_thumbprint)).collect()
    }
}

impl VerifyingKey {
    fn from_spki(der: &[u8]) -> Result<Self, Fault> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| Fault::Damaged)?;
        match info.algorithm.oid {
            ED25519 => ed25519_compact::PublicKey::from_slice(info.subject_public_key.raw_bytes())
                .map(Self::Ed25519)
                .map_err(|_| Fault::Damaged),
            EC => info.try_into().map(Self::P256).map_err(|_| Fault::Unsupported),
            RSA => info.try_into().map(Self::Rsa).map_err(|_| Fault::Unsupported),
            _ => Err(Fault::Unsupported),
        }
    }

    /// Reads `ssh-rsa AAAA… comment` (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).
    fn from_ssh(line: &str) -> Result<Self, Fault> {
        let blob = line.split_whitespace().nth(1).and_then(|word| Base64::decode_vec(word).ok());
        let fields = blob.as_deref().and_then(ssh_fields).ok_or(Fault::Damaged)?;
        match fields.as_slice() {
            [b"ssh-ed25519", key] => ed25519_compact::PublicKey::from_slice(key)
                .map(Self::Ed25519)
                .map_err(|_| Fault::Damaged),
            [b"ecdsa-sha2-nistp256", b"nistp256", point] => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                    .map(Self::P256)
                    .map_err(|_| Fault::Damaged)
            }
            [b"ssh-rsa", exponent, modulus] => {
                let number = BigUint::from_bytes_be;
                RsaPublicKey::new(number(modulus), number(exponent))
                    .map(Self::Rsa)
                    .map_err(|_| Fault::Unsupported)
            }
            _ => Err(Fault::Unsupported),
        }
    }
}

/// What a PEM block that we cannot use most likely is.
fn misplaced(label: &str) -> Fault {
    match label {
        "ENCRYPTED PRIVATE KEY" => Fault::Encrypted,
        "OPENSSH PRIVATE KEY" => Fault::OpenSsh,
        "CERTIFICATE" => Fault::Certificate,
        "RSA PUBLIC KEY" => Fault::NotPrivate,
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => Fault::NotPublic,
        _ => Fault::Unsupported,
    }
}

/// Gives a key that was squeezed into one line its lines back: a written-out `\n`, or
/// OPAL's `_` (`spec/opal-protocol.md` §3.1), which base64 never holds.
fn with_newlines(text: &str) -> Cow<'_, str> {
    let text =
        if text.contains("\\n") { text.replace("\\n", "\n").into() } else { Cow::from(text) };
    if text.contains('\n') { text } else { text.replace('_', "\n").into() }
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn der(&self) -> Result<Vec<u8>, Fault> {
        // Only headers hold a colon, and the ones in use are those of encryption (RFC 1421).
        if self.body.contains(':') {
            return Err(Fault::Encrypted);
        }
        let base64: String = self.body.split_whitespace().collect();
        Base64::decode_vec(&base64).map_err(|_| Fault::Damaged)
    }
}

/// The PEM blocks of a text, however its lines are broken.
fn blocks(text: &str) -> impl Iterator<Item = Result<Block<'_>, Fault>> {
    text.split("-----BEGIN ").skip(1).map(|rest| {
        let (label, rest) = rest.split_once("-----").ok_or(Fault::Damaged)?;
        let (body, end) = rest.split_once("-----END ").ok_or(Fault::Damaged)?;
        let ends = end.strip_prefix(label).is_some_and(|end| end.starts_with("-----"));
        if ends { Ok(Block { label, body }) } else { Err(Fault::Damaged) }
    })
}

fn ssh_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"))
}

/// Splits an SSH key's fields, each behind its length in four bytes.
fn ssh_fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !blob.is_empty() {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        fields.push(field);
        blob = rest;
    }
    Some(fields)
}

#[cfg(test)]
mod tests;
