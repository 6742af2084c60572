//! Signatures (RFC 7518): which verify, and how they are made.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use p521::ecdsa::signature::{Signer as _, Verifier as _};
use regorus::Value;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, UnparsedPublicKey};
use ring::{hmac, rsa};

use super::super::{Failure, undefined};
use super::keys::{Key, jwks, member};
use super::token::{bytes, object};

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

use Algorithm as A;

const NAMES: &[(&str, Algorithm)] = &[
    ("HS256", A::Hs256),
    ("HS384", A::Hs384),
    ("HS512", A::Hs512),
    ("RS256", A::Rs256),
    ("RS384", A::Rs384),
    ("RS512", A::Rs512),
    ("PS256", A::Ps256),
    ("PS384", A::Ps384),
    ("PS512", A::Ps512),
    ("ES256", A::Es256),
    ("ES384", A::Es384),
    ("ES512", A::Es512),
    ("EdDSA", A::EdDsa),
];

impl Algorithm {
    /// The algorithm of that name in a header.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// True if this is the key's signature. A key of another kind verifies nothing.
    pub(super) fn verify(self, key: &Key, signed: &[u8], signature: &[u8]) -> bool {
        if let (Key::Secret(secret), Some(algorithm)) = (key, self.hmac()) {
            let key = hmac::Key::new(algorithm, secret);
            return hmac::verify(&key, signed, signature).is_ok();
        }
        if let Some(parameters) = self.rsa() {
            return match key {
                Key::Rsa(n, e) => {
                    let key = signature::RsaPublicKeyComponents { n, e };
                    key.verify(parameters, signed, signature).is_ok()
                }
                Key::RsaDer(der) => {
                    UnparsedPublicKey::new(parameters, der).verify(signed, signature).is_ok()
                }
                _ => false,
            };
        }
        let verify = |algorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
        };
        let ed25519: &dyn signature::VerificationAlgorithm = &signature::ED25519;
        match (self, key) {
            (A::Es256, Key::P256(point)) => verify(&signature::ECDSA_P256_SHA256_FIXED, point),
            (A::Es384, Key::P384(point)) => verify(&signature::ECDSA_P384_SHA384_FIXED, point),
            (A::Es512, Key::P521(point)) => verify_p521(point, signed, signature),
            (A::EdDsa, Key::Ed25519(key)) => verify(ed25519, key),
            _ => false,
        }
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            A::Hs256 => Some(hmac::HMAC_SHA256),
            A::Hs384 => Some(hmac::HMAC_SHA384),
            A::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn rsa(self) -> Option<&'static signature::RsaParameters> {
        match self {
            A::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            A::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            A::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            A::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            A::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            A::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    fn rsa_signing(self) -> Option<&'static dyn signature::RsaEncoding> {
        match self {
            A::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
            A::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
            A::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
            A::Ps256 => Some(&signature::RSA_PSS_SHA256),
            A::Ps384 => Some(&signature::RSA_PSS_SHA384),
            A::Ps512 => Some(&signature::RSA_PSS_SHA512),
            _ => None,
        }
    }

    /// A signature by a private JWK.
    fn sign(self, jwk: &Value, signed: &[u8]) -> Result<Vec<u8>, Failure> {
        let part = |name: &str| match member(jwk, name) {
            Some(text) => bytes(text),
            None => Err(undefined(format!("a JWK without `{name}`"))),
        };
        let random = SystemRandom::new();
        let failed = || undefined("failed to sign with this key");
        let kind = member(jwk, "kty");
        if let (Some("oct"), Some(algorithm)) = (kind, self.hmac()) {
            let key = hmac::Key::new(algorithm, &part("k")?);
            return Ok(hmac::sign(&key, signed).as_ref().to_vec());
        }
        if let (Some("RSA"), Some(encoding)) = (kind, self.rsa_signing()) {
            let public_key = rsa::PublicKeyComponents { n: part("n")?, e: part("e")? };
            let parts = rsa::KeyPairComponents {
                public_key,
                d: part("d")?,
                p: part("p")?,
                q: part("q")?,
                dP: part("dp")?,
                dQ: part("dq")?,
                qInv: part("qi")?,
            };
            let pair = rsa::KeyPair::from_components(&parts).map_err(|_| failed())?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(encoding, &random, signed, &mut signature).map_err(|_| failed())?;
            return Ok(signature);
        }
        let curve = match (kind, member(jwk, "crv"), self) {
            (Some("EC"), Some("P-256"), A::Es256) => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            (Some("EC"), Some("P-384"), A::Es384) => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            (Some("EC"), Some("P-521"), A::Es512) => {
                return sign_p521(&part("d")?, signed).ok_or_else(failed);
            }
            (Some("OKP"), Some("Ed25519"), A::EdDsa) => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&part("d")?, &part("x")?);
                return Ok(pair.map_err(|_| failed())?.sign(signed).as_ref().to_vec());
            }
            _ => return Err(failed()),
        };
        let point = [vec![4], part("x")?, part("y")?].concat();
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(curve, &part("d")?, &point, &random)
                .map_err(|_| failed())?;
        Ok(pair.sign(&random, signed).map_err(|_| failed())?.as_ref().to_vec())
    }
}

/// A token of header, payload and key, each as JSON.
pub(super) fn sign(header: &str, payload: &str, key: &str) -> Result<Value, Failure> {
    let jwk = jwks(key)?.into_iter().next().ok_or_else(|| undefined("no keys found in JWK set"))?;
    let read = object(header)?;
    let algorithm = member(&read, "alg").and_then(Algorithm::named);
    let algorithm = algorithm.ok_or_else(|| undefined("missing or invalid 'alg' header"))?;
    if matches!(member(&read, "typ"), None | Some("JWT"))
        && serde_json::from_str::<serde::de::IgnoredAny>(payload).is_err()
    {
        return Err(undefined("type is JWT but payload is not JSON"));
    }
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
    let signature = algorithm.sign(&jwk, signed.as_bytes())?;
    Ok(Value::from(format!("{signed}.{}", encode(&signature))))
}

/// The curve that ring lacks. The point is uncompressed; the signature is both numbers, 66 bytes
/// each.
fn verify_p521(point: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p521::ecdsa::Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(signed, &signature).is_ok())
}

fn sign_p521(private: &[u8], signed: &[u8]) -> Option<Vec<u8>> {
    let key = p521::ecdsa::SigningKey::from_slice(private).ok()?;
    let signature: p521::ecdsa::Signature = key.try_sign(signed).ok()?;
    Some(signature.to_bytes().to_vec())
}
