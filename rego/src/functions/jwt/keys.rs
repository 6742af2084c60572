//! Keys as OPA takes them: a certificate or a public key in PEM, a JWK, or a set of JWKs (RFC
//! 7517).

use der::{Decode as _, asn1::ObjectIdentifier};
use regorus::Value;
use x509_cert::{Certificate, spki::SubjectPublicKeyInfoRef};

use super::super::{Failure, undefined};
use super::signatures::Algorithm;
use super::token::bytes;
use crate::document::{self, LEVELS};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// What signatures are verified with.
pub(super) enum Key {
    Secret(Vec<u8>),
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// The same, in the form of PKCS #1.
    RsaDer(Vec<u8>),
    /// The point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key, and what is said about it.
struct Known {
    kid: Option<String>,
    alg: Option<String>,
    key: Key,
}

/// The keys of one text.
pub(super) struct Keys(Vec<Known>);

impl Key {
    pub(super) fn secret(secret: &str) -> Self {
        Self::Secret(secret.into())
    }

    fn of_spki(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, Failure> {
        let raw = spki.subject_public_key.raw_bytes().to_vec();
        let curve = || spki.algorithm.parameters_oid().ok();
        match spki.algorithm.oid {
            RSA => Ok(Self::RsaDer(raw)),
            ED25519 => Ok(Self::Ed25519(raw)),
            EC if curve() == Some(P256) => Ok(Self::P256(raw)),
            EC if curve() == Some(P384) => Ok(Self::P384(raw)),
            EC if curve() == Some(P521) => Ok(Self::P521(raw)),
            other => Err(undefined(format!("failed to parse a PEM key: {other}"))),
        }
    }

    fn of_jwk(jwk: &Value) -> Result<Self, Failure> {
        let part = |name: &str| match member(jwk, name) {
            Some(text) => bytes(text),
            None => Err(undefined(format!("a JWK without `{name}`"))),
        };
        let point = || Ok([vec![4], part("x")?, part("y")?].concat());
        match (member(jwk, "kty"), member(jwk, "crv")) {
            (Some("oct"), _) => Ok(Self::Secret(part("k")?)),
            (Some("RSA"), _) => Ok(Self::Rsa(part("n")?, part("e")?)),
            (Some("EC"), Some("P-256")) => Ok(Self::P256(point()?)),
            (Some("EC"), Some("P-384")) => Ok(Self::P384(point()?)),
            (Some("EC"), Some("P-521")) => Ok(Self::P521(point()?)),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(part("x")?)),
            _ => Err(undefined("failed to parse a JWK key (set)")),
        }
    }
}

impl Keys {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(key) = pem(text) {
            return Ok(Self(vec![Known { kid: None, alg: None, key: key? }]));
        }
        let known = jwks(text)?.into_iter().map(|jwk| {
            let text = |name: &str| member(&jwk, name).map(str::to_owned);
            Ok(Known { kid: text("kid"), alg: text("alg"), key: Key::of_jwk(&jwk)? })
        });
        let mut known: Vec<Known> = known.collect::<Result<_, _>>()?;
        // As OPA: those that are for something else.
        known.retain(|key| {
            key.alg.as_deref().is_none_or(|alg| alg.is_empty() || Algorithm::named(alg).is_some())
        });
        Ok(Self(known))
    }

    /// True if the key with the header's `kid` verifies a signature; without one, any key that is
    /// not for another algorithm than the header's.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        named: Option<&str>,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        let kid = kid.filter(|kid| !kid.is_empty());
        let chosen = kid.and_then(|kid| self.0.iter().find(|key| key.kid.as_deref() == Some(kid)));
        if let Some(chosen) = chosen {
            return algorithm.verify(&chosen.key, signed, signature);
        }
        self.0.iter().any(|Known { alg, key, .. }| {
            let alg = alg.as_deref().filter(|alg| !alg.is_empty());
            (alg.is_none() || alg == named) && algorithm.verify(key, signed, signature)
        })
    }
}

/// The key in a PEM; none if it is none.
fn pem(text: &str) -> Option<Result<Key, Failure>> {
    let start = text.find("-----BEGIN ")?;
    let text = text.get(start..)?;
    let read = der::Document::from_pem(text).map_err(|error| undefined(error.to_string()));
    Some(read.and_then(|(label, document)| {
        let failed = |error: der::Error| undefined(format!("failed to parse a PEM: {error}"));
        match label {
            "CERTIFICATE" => {
                let certificate = Certificate::from_der(document.as_bytes()).map_err(failed)?;
                let key = &certificate.tbs_certificate.subject_public_key_info;
                let key = der::Encode::to_der(key).map_err(failed)?;
                Key::of_spki(&SubjectPublicKeyInfoRef::from_der(&key).map_err(failed)?)
            }
            "PUBLIC KEY" => {
                let key = SubjectPublicKeyInfoRef::from_der(document.as_bytes());
                Key::of_spki(&key.map_err(failed)?)
            }
            _ => Err(undefined("failed to extract a Key from the PEM certificate")),
        }
    }))
}

/// The JWKs of a text: one, or those of a set.
pub(super) fn jwks(text: &str) -> Result<Vec<Value>, Failure> {
    let failed = || undefined("failed to parse a JWK key (set)");
    let value = document::read(text, LEVELS).map_err(|_| failed())?;
    let object = value.as_object().map_err(|_| failed())?;
    match object.get(&"keys".into()) {
        Some(Value::Array(keys)) => Ok(keys.iter().cloned().collect()),
        Some(_) => Err(failed()),
        None => Ok(vec![value]),
    }
}

/// A member of a JWK that is text.
pub(super) fn member<'v>(jwk: &'v Value, name: &str) -> Option<&'v str> {
    match jwk.as_object().ok()?.get(&name.into())? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
