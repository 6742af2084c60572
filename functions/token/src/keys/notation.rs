//! The notations in which a key may be given: PEM (PKCS#8, SEC1, PKCS#1, SPKI), what
//! `ssh-keygen` writes (OPAL's default for public keys), each of them also as base64 on one
//! line, DER as base64, and JSON Web Keys.

mod ssh;

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo, SubjectPublicKeyInfoRef};
use rsa::{
    RsaPrivateKey, RsaPublicKey,
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
        let text = match unwrapped(text) {
            Unwrapped::Text(text) => text,
            Unwrapped::Der(der) => {
                let key = Self::from_der(&der)?;
                key.public_key().key.checked()?;
                return Ok(key);
            }
        };
        if ssh::lines(&text).next().is_some() {
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
                "OPENSSH PRIVATE KEY" => ssh::private_key(&block.der()?)?,
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

    /// DER does not say what it is.
    fn from_der(der: &[u8]) -> Result<Self, Fault> {
        if PrivateKeyInfo::try_from(der).is_ok() {
            return Self::from_pkcs8(der);
        }
        let sec1 = || p256::SecretKey::from_sec1_der(der).ok().map(|key| Self::P256(key.into()));
        let pkcs1 = || RsaPrivateKey::from_pkcs1_der(der).ok().map(|key| Self::Rsa(Box::new(key)));
        sec1().or_else(pkcs1).ok_or_else(|| match VerifyingKey::from_der(der) {
            Ok(_) => Fault::NotPrivate,
            Err(_) => Fault::NoKey,
        })
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
        let text = match unwrapped(text) {
            Unwrapped::Text(text) => text,
            Unwrapped::Der(der) => {
                let key = VerifyingKey::from_der(&der)?.checked()?;
                return Ok(vec![Self::named_by_thumbprint(key)]);
            }
        };
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
        for line in ssh::lines(&text) {
            keys.push(ssh::public_key(line)?);
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

    /// DER does not say what it is.
    fn from_der(der: &[u8]) -> Result<Self, Fault> {
        if SubjectPublicKeyInfoRef::try_from(der).is_ok() {
            return Self::from_spki(der);
        }
        let is_private = PrivateKeyInfo::try_from(der).is_ok()
            || p256::SecretKey::from_sec1_der(der).is_ok()
            || RsaPrivateKey::from_pkcs1_der(der).is_ok();
        match RsaPublicKey::from_pkcs1_der(der) {
            Ok(key) => Ok(Self::Rsa(key)),
            Err(_) if is_private => Err(Fault::NotPublic),
            Err(_) => Err(Fault::NoKey),
        }
    }
}

/// What a PEM block that we cannot use most likely is.
fn misplaced(label: &str) -> Fault {
    match label {
        "ENCRYPTED PRIVATE KEY" => Fault::Encrypted,
        "CERTIFICATE" => Fault::Certificate,
        "RSA PUBLIC KEY" => Fault::NotPrivate,
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "OPENSSH PRIVATE KEY" => {
            Fault::NotPublic
        }
        _ => Fault::Unsupported,
    }
}

/// A setting's text without the wrapping that put it on one line.
enum Unwrapped<'a> {
    /// Text with its lines.
    Text(Cow<'a, str>),
    /// A key by itself.
    Der(Vec<u8>),
}

/// Takes off base64, as `base64 -w0` writes it, and restores line ends.
fn unwrapped(text: &str) -> Unwrapped<'_> {
    let lines: String = text.replace("\\n", "\n").split_whitespace().collect();
    // Nothing shorter is a key, and a word or a file's name could well be base64.
    let decoded = if text.len() < 40 { None } else { Base64::decode_vec(&lines).ok() };
    match decoded.map(String::from_utf8) {
        None => Unwrapped::Text(with_newlines(text)),
        Some(Ok(text)) if text.contains("-----BEGIN ") || ssh::lines(&text).next().is_some() => {
            Unwrapped::Text(with_newlines(text.trim()).into_owned().into())
        }
        Some(Ok(text)) => Unwrapped::Der(text.into_bytes()),
        Some(Err(der)) => Unwrapped::Der(der.into_bytes()),
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

#[cfg(test)]
mod tests;
