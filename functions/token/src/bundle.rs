//! Bundles that OPAs fetch, signed (`spec/opa-and-grants.md` §2.4).
//!
//! What is signed is a token whose claims list the files. It has no end and no audience, so it
//! opens nothing here; and no time, so that the same bundle has the same signature.

use protocol::Problem;
use serde_json::Value;

use crate::keys::{Fault, SigningKey};
use crate::{Authority, BUNDLE_SIGNING, BUNDLE_SIGNING_KEY, KeyError, Settings, given};

/// Which key signs bundles.
pub(crate) enum Signing {
    /// None.
    Off,
    /// The one that signs tokens.
    AsTokens,
    /// One of its own.
    By(SigningKey),
}

impl Signing {
    /// Reads the settings. A bundle that is not signed though somebody thinks so would be
    /// accepted by an OPA that was not told of a key either; so what is not clear is an error.
    pub(crate) fn new(settings: &Settings) -> Result<Self, KeyError> {
        let on = match given(settings.bundle_signing.as_deref()).map(str::to_ascii_lowercase) {
            None => None,
            Some(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => return Err(KeyError::of(BUNDLE_SIGNING)(Fault::NotABool)),
            },
        };
        let own = given(settings.bundle_signing_key.as_deref());
        let tokens = given(settings.private_key.as_deref());
        match (on, own, tokens) {
            (Some(false), ..) | (None, None, _) => Ok(Self::Off),
            (_, Some(text), _) => key(text).map(Self::By).map_err(KeyError::of(BUNDLE_SIGNING_KEY)),
            (Some(true), None, Some(text)) => {
                key(text).map(|_| Self::AsTokens).map_err(KeyError::of(BUNDLE_SIGNING))
            }
            (Some(true), None, None) => Err(KeyError::of(BUNDLE_SIGNING)(Fault::NoBundleKey)),
        }
    }
}

/// Reads a key, of a kind that OPA verifies (its `v1/keys`: ES256 and RS256 of ours).
fn key(text: &str) -> Result<SigningKey, Fault> {
    match SigningKey::parse(text)? {
        SigningKey::Ed25519(_) => Err(Fault::NotForBundles),
        key => Ok(key),
    }
}

impl Authority {
    /// True if bundles are signed.
    #[must_use]
    pub fn signs_bundles(&self) -> bool {
        !matches!(self.bundles, Signing::Off)
    }

    /// Signs a bundle: `claims` lists its files. The token names the key as `GET
    /// /.well-known/jwks.json` does; an OPA that has the key under another name says so with
    /// `signing.keyid`.
    ///
    /// # Errors
    /// 503 if bundles are not signed.
    pub fn sign_bundle(&self, claims: Value) -> Result<String, Problem> {
        let key = match &self.bundles {
            Signing::Off => {
                return Err(Problem::unavailable(format!(
                    "bundles are not signed; set {BUNDLE_SIGNING}, or {BUNDLE_SIGNING_KEY}"
                )));
            }
            Signing::AsTokens => self.signing_key()?,
            Signing::By(key) => key,
        };
        let Value::Object(claims) = claims else {
            return Err(Problem::internal("the claims of a bundle are an object"));
        };
        key.sign(&jwt_compact::Claims::new(claims))
            .map_err(|_| Problem::internal("the bundle's claims could not be written"))
    }
}

#[cfg(test)]
mod tests {
    use protocol::Millis;
    use serde_json::json;

    use super::*;
    use crate::testkeys;

    fn signing(on: Option<&str>, private: Option<String>, own: Option<String>) -> Settings {
        Settings {
            bundle_signing: on.map(str::to_owned),
            private_key: private,
            bundle_signing_key: own,
            ..Settings::default()
        }
    }

    #[test]
    fn bundles_are_signed_by_the_key_of_tokens_or_by_their_own() {
        let [ed25519, p256, rsa] = testkeys::all();
        let kid = |settings: &Settings| {
            let authority = Authority::new(settings).unwrap();
            let token = authority.sign_bundle(json!({"files": []})).unwrap();
            let token = jwt_compact::UntrustedToken::new(&token).unwrap();
            token.header().key_id.clone().unwrap()
        };
        let of = |private: &str| {
            let settings = signing(None, Some(private.to_owned()), None);
            Authority::new(&settings).unwrap().jwks()["keys"][0]["kid"].as_str().unwrap().to_owned()
        };
        let as_tokens = signing(Some("true"), Some(rsa.private.clone()), None);
        assert_eq!(kid(&as_tokens), of(&rsa.private));
        let by_its_own = signing(None, Some(ed25519.private), Some(p256.private.clone()));
        assert_eq!(kid(&by_its_own), of(&p256.private));
    }

    #[test]
    fn the_same_bundle_has_the_same_signature() {
        let [_, p256, rsa] = testkeys::all();
        for pair in [p256, rsa] {
            let authority = Authority::new(&signing(Some("1"), Some(pair.private), None)).unwrap();
            let sign = || authority.sign_bundle(json!({"files": [{"name": "a"}]})).unwrap();
            assert_eq!(sign(), sign(), "{}", pair.algorithm);
        }
    }

    #[test]
    fn a_signature_is_no_token() {
        let [_, p256, _] = testkeys::all();
        let authority = Authority::new(&signing(Some("true"), Some(p256.private), None)).unwrap();
        let bearer = format!("Bearer {}", authority.sign_bundle(json!({"files": []})).unwrap());
        assert_eq!(authority.authenticate(Some(&bearer), Millis(1)).unwrap_err().status, 401);
    }

    #[test]
    fn what_is_not_clear_is_an_error_that_names_the_setting() {
        let [ours, ..] = testkeys::all();
        let refused = |settings: &Settings| match Authority::new(settings) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted"),
        };
        assert!(refused(&signing(Some("true"), None, None)).starts_with(BUNDLE_SIGNING));
        let unclear = refused(&signing(Some("maybe"), Some(ours.private.clone()), None));
        assert!(unclear.contains("`true` or `false`"), "{unclear}");
        for ed25519 in [
            signing(Some("true"), Some(ours.private.clone()), None),
            signing(None, None, Some(ours.private.clone())),
        ] {
            let refused = refused(&ed25519);
            assert!(refused.contains("OPA does not verify"), "{refused}");
        }
        let damaged = refused(&signing(None, None, Some("x".to_owned())));
        assert!(damaged.starts_with(BUNDLE_SIGNING_KEY), "{damaged}");
        for off in
            [signing(None, Some(ours.private.clone()), None), signing(Some("false"), None, None)]
        {
            let authority = Authority::new(&off).unwrap();
            assert!(!authority.signs_bundles());
            assert_eq!(authority.sign_bundle(json!({})).unwrap_err().status, 503);
        }
    }
}
