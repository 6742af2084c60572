//! The keys: three algorithms behind one face. Which algorithm a token must have follows
//! from the key that verifies it, never from the token (RFC 8725 §3.1).

mod jwk;
mod notation;

use jwt_compact::{
    AlgorithmExt, Claims, CreationError, Header, UntrustedToken, ValidationError,
    alg::{Ed25519, Es256, Rsa},
};
use rsa::traits::PublicKeyParts;
use serde_json::{Map, Value};

/// A setting whose key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {fault}")]
pub struct KeyError {
    setting: &'static str,
    fault: Fault,
}

impl KeyError {
    /// The setting to change.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    pub(crate) fn of(setting: &'static str) -> impl FnOnce(Fault) -> Self {
        move |fault| Self { setting, fault }
    }
}

/// What is wrong with a key, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "holds no key; give the key itself, as PEM text or OpenSSH wrote it or base64 of either, \
         not the name of a file"
    )]
    NoKey,
    #[error("the key is cut off or damaged; give the whole text from -----BEGIN to END-----")]
    Damaged,
    #[error(
        "the key is of a kind that is not supported; give Ed25519, EC P-256 or RSA of 2048 to \
         4096 bits (`edge-agent generate-keys` makes a pair)"
    )]
    Unsupported,
    #[error("the RSA key has {0} bits; give one of 2048 to 4096 bits, or an Ed25519 key")]
    RsaSize(usize),
    #[error("the key is encrypted; remove its passphrase: openssl pkey -in key.pem -out plain.pem")]
    Encrypted,
    #[error(
        "the key is encrypted; remove its passphrase from a copy of it: ssh-keygen -p -N '' -f key"
    )]
    EncryptedSsh,
    #[error("holds a public key; give the private key that belongs to it")]
    NotPrivate,
    #[error(
        "holds a private key; give its public half: openssl pkey -in key.pem -pubout, or \
         ssh-keygen -y -f key"
    )]
    NotPublic,
    #[error("holds a certificate; give its public key: openssl x509 -in cert.pem -pubkey -noout")]
    Certificate,
    #[error(
        "holds several private keys; give the one that signs, and the public halves of the others \
         in {}",
        crate::PUBLIC_KEY
    )]
    Several,
    #[error("give `true` or `false`")]
    NotABool,
    #[error(
        "bundles are to be signed and {} is not set either; {}",
        crate::PRIVATE_KEY,
        BUNDLE_KEY
    )]
    NoBundleKey,
    #[error("OPA does not verify signatures by an Ed25519 key; {}", BUNDLE_KEY)]
    NotForBundles,
    // What the parser has to say may quote the key.
    #[error("is not a valid JWK or JWK set of public Ed25519, P-256 or RSA keys")]
    Jwk,
}

/// How to get a key for bundles.
const BUNDLE_KEY: &str = "give an EC P-256 key as GIRASOL_BUNDLE_SIGNING_KEY: openssl ecparam -name \
    prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt";

/// What a token says besides its times.
pub(crate) type Custom = Map<String, Value>;

/// A token as it came, with the one header member besides the usual that matters.
pub(crate) type Untrusted<'a> = UntrustedToken<'a, Extensions>;

/// Header members that change how a token is to be understood.
#[derive(Clone, serde::Deserialize)]
pub(crate) struct Extensions {
    /// Extensions that a reader must understand; we know none (RFC 7515 §4.1.11).
    #[serde(default)]
    pub(crate) crit: Option<Value>,
}

/// The key that signs.
pub(crate) enum SigningKey {
    Ed25519(ed25519_compact::SecretKey),
    P256(p256::ecdsa::SigningKey),
    Rsa(Box<rsa::RsaPrivateKey>),
}

impl SigningKey {
    pub(crate) fn sign(&self, claims: &Claims<Custom>) -> Result<String, CreationError> {
        let header = Header::empty().with_token_type("JWT").with_key_id(self.public_key().kid);
        match self {
            Self::Ed25519(key) => Ed25519.token(&header, claims, key),
            Self::P256(key) => Es256.token(&header, claims, key),
            Self::Rsa(key) => Rsa::rs256().token(&header, claims, key),
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::named_by_thumbprint(match self {
            Self::Ed25519(key) => VerifyingKey::Ed25519(key.public_key()),
            Self::P256(key) => VerifyingKey::P256(*key.verifying_key()),
            Self::Rsa(key) => VerifyingKey::Rsa(key.to_public_key()),
        })
    }
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum VerifyingKey {
    Ed25519(ed25519_compact::PublicKey),
    P256(p256::ecdsa::VerifyingKey),
    Rsa(rsa::RsaPublicKey),
}

impl VerifyingKey {
    /// The name of the only algorithm that this key verifies.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    pub(crate) fn verify(&self, token: &Untrusted<'_>) -> Result<Claims<Custom>, ValidationError> {
        let verified = match self {
            Self::Ed25519(key) => Ed25519.validator(key).validate(token),
            Self::P256(key) => Es256.validator(key).validate(token),
            Self::Rsa(key) => Rsa::rs256().validator(key).validate(token),
        };
        verified.map(|token| token.into_parts().1)
    }

    /// Refuses keys that parse and are still too weak.
    fn checked(self) -> Result<Self, Fault> {
        match &self {
            Self::Ed25519(key) => key.validate().map_err(|_| Fault::Damaged)?,
            Self::P256(_) => {}
            Self::Rsa(key) => {
                let bits = key.n().bits();
                if !(2048..=rsa::RsaPublicKey::MAX_SIZE).contains(&bits) {
                    return Err(Fault::RsaSize(bits));
                }
            }
        }
        Ok(self)
    }
}

/// A key that verifies, and its name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    /// The `kid` that a token's header names; tokens without one are tried with every key.
    pub(crate) kid: String,
    pub(crate) key: VerifyingKey,
}
