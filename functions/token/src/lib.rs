//! The token function: mints tokens, renews and verifies them, and shows the keys that verify
//! them. Which tokens are revoked is for the hub to know.
//!
//! The only room that sees the signing key. It never does I/O and never reads a clock:
//! settings and `now` come in as arguments. Its only randomness are the ids that it gives
//! to tokens. Nothing that it answers repeats a token or a key.
//!
//! | question | file |
//! |---|---|
//! | Which settings are there, and what are their defaults? | `lib.rs` |
//! | What does `POST /token` take and answer? | `mint.rs` |
//! | When is a token refused, and with which words? | `verify.rs` |
//! | What does `POST /api/v1/grants` take, and make? | `grants.rs` |
//! | How is a token renewed? | `renew.rs` |
//! | Which tokens does `POST /token/revoke` name? | `revoke.rs` |
//! | Which tokens need not be verified again? | `seen.rs` |
//! | How is a bundle signed? | `bundle.rs` |
//! | Which keys sign and verify, with which algorithm? | `keys.rs` |
//! | In which notations may a key be given? | `keys/notation.rs` |
//! | What does `/.well-known/jwks.json` show? | `keys/jwk.rs` |

mod bundle;
mod grants;
mod keys;
mod mint;
mod renew;
mod revoke;
mod seen;
mod verify;

#[cfg(test)]
mod testkeys;
#[cfg(test)]
#[cfg(target_arch = "wasm32")]
mod wasm_tests;

use std::sync::Mutex;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use keys::{PublicKey, SigningKey};

pub use self::grants::{MadeGrant, make_grant, new_id};
pub use keys::KeyError;
pub use mint::{Details, MAX_TTL_SECONDS, Minted};

/// The setting that holds the master token.
pub const MASTER_TOKEN: &str = "GIRASOL_AUTH_MASTER_TOKEN";
/// The setting that holds the signing key.
pub const PRIVATE_KEY: &str = "GIRASOL_AUTH_PRIVATE_KEY";
/// The setting that holds further verification keys.
pub const PUBLIC_KEY: &str = "GIRASOL_AUTH_PUBLIC_KEY";
/// The setting that has bundles signed.
pub const BUNDLE_SIGNING: &str = "GIRASOL_BUNDLE_SIGNING";
/// The setting that holds the key which signs bundles, if it is not the one of tokens.
pub const BUNDLE_SIGNING_KEY: &str = "GIRASOL_BUNDLE_SIGNING_KEY";
/// The setting that holds the audience.
pub const AUDIENCE: &str = "GIRASOL_AUTH_JWT_AUDIENCE";
/// The setting that holds the issuer.
pub const ISSUER: &str = "GIRASOL_AUTH_JWT_ISSUER";

/// OPAL's default audience.
pub const DEFAULT_AUDIENCE: &str = "https://api.opal.ac/v1/";
/// OPAL's default issuer.
pub const DEFAULT_ISSUER: &str = "https://opal.ac/";

/// Bytes of a token, minted or accepted. A longer one would not pass as a header
/// everywhere, and says so when it is minted.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Settings as the environment gives them. One that is empty counts as not given.
#[derive(Clone, Default)]
pub struct Settings {
    /// Who knows it may mint. Without it nobody may.
    pub master_token: Option<String>,
    /// The key that signs, as PEM or as `ssh-keygen` wrote it, or base64 of either or of DER;
    /// its public half also verifies.
    pub private_key: Option<String>,
    /// Further keys that verify, for rotation: PEM blocks, OpenSSH lines, base64 of them or of
    /// DER, or a JWK (set).
    pub public_keys: Option<String>,
    /// Whether bundles for OPAs are signed: `true` or `false`. By default they are if there is a
    /// key of their own.
    pub bundle_signing: Option<String>,
    /// The key that signs them, in the notations of `private_key`; default that key itself.
    pub bundle_signing_key: Option<String>,
    /// The `aud` of every token; default [`DEFAULT_AUDIENCE`].
    pub audience: Option<String>,
    /// The `iss` of every token; default [`DEFAULT_ISSUER`].
    pub issuer: Option<String>,
}

/// Who mints and verifies tokens: the keys and what every token must say.
pub struct Authority {
    /// Of the master token only a digest is kept.
    master: Option<[u8; 32]>,
    signing: Option<SigningKey>,
    /// The signing key's public half first.
    verifying: Vec<PublicKey>,
    /// Public keys are given, and the signing key's half is not among them.
    is_half_missing: bool,
    bundles: bundle::Signing,
    audience: String,
    issuer: String,
    seen: Mutex<seen::Seen>,
}

impl Authority {
    /// Reads the settings. With none at all it is an authority that refuses everything
    /// and says which setting is missing.
    ///
    /// # Errors
    /// A key that cannot be used; the text names the setting and the fix, never the key.
    pub fn new(settings: &Settings) -> Result<Self, KeyError> {
        let signing = match given(settings.private_key.as_deref()) {
            Some(text) => Some(SigningKey::parse(text).map_err(KeyError::of(PRIVATE_KEY))?),
            None => None,
        };
        let mut verifying: Vec<_> = signing.iter().map(SigningKey::public_key).collect();
        let mut is_half_missing = false;
        if let Some(text) = given(settings.public_keys.as_deref()) {
            let keys = PublicKey::parse_all(text).map_err(KeyError::of(PUBLIC_KEY))?;
            is_half_missing = verifying.first().is_some_and(|half| !keys.contains(half));
            for key in keys {
                if !verifying.contains(&key) {
                    verifying.push(key);
                }
            }
        }
        let or_default = |value: &Option<String>, default: &str| {
            given(value.as_deref()).unwrap_or(default).to_owned()
        };
        Ok(Self {
            master: given(settings.master_token.as_deref()).map(digest),
            signing,
            verifying,
            is_half_missing,
            bundles: bundle::Signing::new(settings)?,
            audience: or_default(&settings.audience, DEFAULT_AUDIENCE),
            issuer: or_default(&settings.issuer, DEFAULT_ISSUER),
            seen: Mutex::default(),
        })
    }

    /// What an operator should know of the settings, although they work.
    ///
    /// OPAL refuses to start with two keys that are no pair (`spec/opal-protocol.md` §3.1). Here
    /// that is what a rotation looks like: the new key signs, the old one still verifies.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.is_half_missing.then(|| {
            format!(
                "{PUBLIC_KEY} does not hold the public half of {PRIVATE_KEY}. In a rotation that \
                 is right: tokens of both are accepted. Otherwise give the key that belongs to it: \
                 openssl pkey -in key.pem -pubout"
            )
        })
    }

    /// The answer of `GET /.well-known/jwks.json`: every key that verifies, the one that
    /// signs first. `{"keys":[]}` if there is none.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.verifying.iter().map(PublicKey::jwk).collect::<Vec<_>>() })
    }
}

/// A setting without the newline that secrets often carry; an empty one is none.
fn given(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The credential of an `Authorization: Bearer …` header; the scheme in any case.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, credential) = authorization.trim().split_once(' ')?;
    let credential = credential.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}
