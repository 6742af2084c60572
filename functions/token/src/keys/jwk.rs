//! Keys as JSON Web Keys: the key set that we show, the sets that we read, and the name
//! that a key gets from its own content (RFC 7638).

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::jwk::JsonWebKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

use super::{Fault, PublicKey, VerifyingKey};

/// A public key as the key set shows it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    key: JsonWebKey<'a>,
    kid: &'a str,
    alg: &'static str,
    r#use: &'static str,
    key_ops: [&'static str; 1],
}

/// A public key as somebody else's key set gives it.
#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    key: JsonWebKey<'static>,
    kid: Option<String>,
}

impl VerifyingKey {
    fn as_jwk(&self) -> JsonWebKey<'_> {
        match self {
            Self::Ed25519(key) => key.into(),
            Self::P256(key) => key.into(),
            Self::Rsa(key) => key.into(),
        }
    }

    fn from_jwk(jwk: &JsonWebKey<'_>) -> Result<Self, Fault> {
        let key = match jwk {
            JsonWebKey::Symmetric { .. } => return Err(Fault::Unsupported),
            private if private.is_signing_key() => return Err(Fault::NotPublic),
            JsonWebKey::KeyPair { .. } => jwk.try_into().map(Self::Ed25519),
            JsonWebKey::EllipticCurve { .. } => jwk.try_into().map(Self::P256),
            JsonWebKey::Rsa { .. } => jwk.try_into().map(Self::Rsa),
            _ => return Err(Fault::Unsupported),
        };
        key.map_err(|_| Fault::Jwk)?.checked()
    }
}

impl PublicKey {
    pub(crate) fn named_by_thumbprint(key: VerifyingKey) -> Self {
        let thumbprint = key.as_jwk().thumbprint::<Sha256>();
        Self { kid: Base64UrlUnpadded::encode_string(&thumbprint), key }
    }

    /// The key as the key set shows it.
    pub(crate) fn jwk(&self) -> Value {
        let shown = Shown {
            key: self.key.as_jwk(),
            kid: &self.kid,
            alg: self.key.algorithm(),
            r#use: "sig",
            key_ops: ["verify"],
        };
        serde_json::to_value(shown).unwrap_or_default()
    }

    /// Reads a JWK or a JWK set. A key keeps the `kid` it comes with: its tokens name it so.
    pub(super) fn from_json(text: &str) -> Result<Vec<Self>, Fault> {
        let keys = match serde_json::from_str(text).map_err(|_| Fault::Jwk)? {
            Value::Object(mut set) if set.contains_key("keys") => {
                serde_json::from_value::<Vec<Read>>(set.remove("keys").unwrap_or_default())
            }
            single => serde_json::from_value(single).map(|key| vec![key]),
        };
        let public = |read: Read| {
            let named = Self::named_by_thumbprint(VerifyingKey::from_jwk(&read.key)?);
            Ok(match read.kid {
                Some(kid) => Self { kid, ..named },
                None => named,
            })
        };
        keys.map_err(|_| Fault::Jwk)?.into_iter().map(public).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Settings, testkeys};

    fn shown(settings: &Settings) -> Vec<Value> {
        match Authority::new(settings).unwrap().jwks()["keys"].take() {
            Value::Array(keys) => keys,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_key_set_shows_each_key_with_its_use_and_no_private_member() {
        let public_members = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops"];
        for pair in testkeys::all() {
            let keys = shown(&Settings { private_key: Some(pair.private), ..Settings::default() });
            let [Value::Object(key)] = keys.as_slice() else { panic!("{keys:?}") };
            assert!(key.keys().all(|member| public_members.contains(&member.as_str())), "{key:?}");
            assert_eq!(key["alg"], pair.algorithm);
            assert_eq!(key["use"], "sig");
            assert_eq!(key["key_ops"], serde_json::json!(["verify"]));
            assert_eq!(key["kid"].as_str().unwrap().len(), 43);
        }
    }

    #[test]
    fn the_key_set_is_empty_without_keys() {
        assert!(shown(&Settings::default()).is_empty());
    }

    #[test]
    fn the_signing_key_comes_first_and_a_key_given_twice_is_shown_once() {
        let [ours, other, _] = testkeys::all();
        let keys = shown(&Settings {
            private_key: Some(ours.private),
            public_keys: Some(format!("{}{}", other.public, ours.public)),
            ..Settings::default()
        });
        let algorithms: Vec<_> = keys.iter().map(|key| &key["alg"]).collect();
        assert_eq!(algorithms, ["EdDSA", "ES256"]);
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn a_key_is_named_by_its_rfc_7638_thumbprint() {
        let jwk =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let keys = PublicKey::from_json(jwk).unwrap();
        assert_eq!(keys[0].kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn our_own_key_set_can_be_read_back() {
        let public_keys = testkeys::all().map(|pair| pair.public).concat();
        let settings = Settings { public_keys: Some(public_keys), ..Settings::default() };
        let set = Authority::new(&settings).unwrap().jwks();
        let read = Settings { public_keys: Some(set.to_string()), ..Settings::default() };
        assert_eq!(Authority::new(&read).unwrap().jwks(), set);
    }
}
