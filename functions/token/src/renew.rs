//! `POST /token/renew`: whoever bears a valid token gets its successor.
//!
//! A renewal says the same as the token it renews and keeps its `jti`, so that revoking the
//! one revokes the other. It lives from now for as long as the first did.
//!
//! A token is renewed whichever of our keys signed it: so a fleet moves to a new key while the
//! old one is still listed. A key that leaked must not stay listed, or who has it can renew
//! what he forges. A token that does not say when it was issued is not renewed, since nobody
//! knows for how long it was meant.

use protocol::{Claims, Millis, PeerType, Problem};
use uuid::Uuid;

use crate::mint::{MAX_TTL_SECONDS, Minted, random_id};
use crate::verify::{in_time, parse_id};
use crate::{Authority, keys::Custom};

/// Claims that are not passed on as they are: a renewal has its own.
const OWN: [&str; 4] = ["aud", "iss", "sub", "jti"];

/// The claim of a token that is not renewed.
const BRIEF: &str = "brief";

/// Whose token another one is made from.
struct Bearer {
    claims: Claims,
    id: Uuid,
    /// Claims that the other one has too.
    passed_on: Custom,
}

impl Authority {
    /// Answers `POST /token/renew`: the bearer's claims, and the renewal to hand over if the
    /// hub says that they are not revoked.
    ///
    /// # Errors
    /// As [`Self::authenticate`]; 503 if there is no key to sign with; 422 for a token without
    /// `iat`, or one that would become too long.
    pub fn renew(
        &self,
        authorization: Option<&str>,
        now: Millis,
    ) -> Result<(Claims, Minted), Problem> {
        let Bearer { claims, id, passed_on } = self.bearer(authorization, now)?;
        if passed_on.contains_key(BRIEF) {
            return Err(Problem::unauthorized(
                "this token was for one moment and is not renewed; send your own",
            ));
        }
        let signing = self.signing_key()?;
        let life = claims.iat.and_then(|issued| claims.exp.checked_sub(issued));
        let life = life.filter(|seconds| *seconds > 0).ok_or_else(|| {
            Problem::invalid(
                "the token cannot be renewed: without an `iat` before its `exp` nobody knows for \
                 how long it was meant; mint a new one at POST /token",
            )
        })?;
        let issued = now.0 / 1_000;
        let expires = issued.saturating_add(life.min(MAX_TTL_SECONDS));
        let jti = match &claims.jti {
            Some(jti) => jti.clone(),
            None => random_id()?.simple().to_string(),
        };
        let renewal = self.sign(signing, id, jti, issued..expires, passed_on)?;
        Ok((claims, renewal))
    }

    /// A token for a few seconds that may what a client may of what the bearer may: it goes where
    /// the bearer's own may not be seen, and is not renewed.
    ///
    /// # Errors
    /// As [`Self::authenticate`]; 503 if there is no key to sign with.
    pub fn brief(
        &self,
        authorization: Option<&str>,
        seconds: u64,
        now: Millis,
    ) -> Result<String, Problem> {
        let Bearer { claims, id, mut passed_on } = self.bearer(authorization, now)?;
        let jti = claims.jti.unwrap_or_else(|| claims.sub.clone());
        passed_on.insert(BRIEF.to_owned(), true.into());
        passed_on.insert("peer_type".to_owned(), PeerType::Client.to_string().into());
        let issued = now.0 / 1_000;
        let expires = issued.saturating_add(seconds).min(claims.exp);
        Ok(self.sign(self.signing_key()?, id, jti, issued..expires, passed_on)?.token)
    }

    /// Who asks for another token, and what that one is to say too.
    fn bearer(&self, authorization: Option<&str>, now: Millis) -> Result<Bearer, Problem> {
        let token = self.signed_claims(self.bearer_token(authorization)?)?;
        let mut passed_on: Custom = token.custom.clone();
        passed_on.retain(|name, _| !OWN.contains(&name.as_str()));
        let claims = in_time(self.read(token)?, now)?.claims;
        let id = parse_id(&claims.sub)
            .ok_or_else(|| Problem::internal("a verified subject is not a UUID"))?;
        Ok(Bearer { claims, id, passed_on })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Settings;
    use crate::testkeys::{self, MASTER, NOW};

    const ID: &str = "50a6cc432bb94e8f8af94f32440b1b60";

    fn settings(byte: u8) -> Settings {
        Settings {
            master_token: Some("master".to_owned()),
            private_key: Some(testkeys::ed25519(byte).private),
            ..Settings::default()
        }
    }

    fn authority() -> Authority {
        Authority::new(&settings(1)).unwrap()
    }

    fn renew(token: &str, now: Millis) -> Result<(Claims, Minted), Problem> {
        authority().renew(Some(&format!("Bearer {token}")), now)
    }

    /// A token as another issuer makes it, with some members more or others; null takes one away.
    fn foreign(changes: &Value) -> String {
        let seconds = NOW.0 / 1_000;
        let mut payload = json!({
            "iat": seconds, "exp": seconds + 60, "sub": ID,
            "aud": ["x", "https://api.opal.ac/v1/"], "iss": "https://opal.ac/",
        });
        let members = payload.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        testkeys::sign(1, &payload)
    }

    #[test]
    fn a_brief_token_is_a_clients_and_is_not_renewed() {
        let body = json!({"id": ID, "type": "datasource", "ttl": 90, "claims": {"x": 1}});
        let minted = authority().mint(MASTER, body.to_string().as_bytes(), NOW).unwrap();
        let bearer = format!("Bearer {}", minted.token);
        let brief = authority().brief(Some(&bearer), 60, NOW).unwrap();
        let claims = authority().verify(&brief, NOW).unwrap();
        assert_eq!(claims.exp, NOW.0 / 1_000 + 60);
        assert_eq!(claims.peer_type, Some(PeerType::Client));
        assert_eq!(renew(&brief, NOW).unwrap_err().status, 401);
        let late = authority().brief(Some(&bearer), 600, NOW).unwrap();
        let first = authority().verify(&minted.token, NOW).unwrap();
        assert_eq!(authority().verify(&late, NOW).unwrap().exp, first.exp);
    }

    #[test]
    fn a_renewal_says_the_same_and_lives_as_long_again_and_again() {
        let body = json!({"id": ID, "type": "datasource", "ttl": 90, "claims": {
            "permitted_topics": ["users"], "allowed_scopes": ["s"], "team": {"a": [1]},
        }});
        let minted = authority().mint(MASTER, body.to_string().as_bytes(), NOW).unwrap();
        let first = authority().verify(&minted.token, NOW).unwrap();
        let (mut token, mut now) = (minted.token, NOW);
        for _ in 0..5 {
            now = now.plus(60_000);
            let (bearer, renewal) = renew(&token, now).unwrap();
            assert_eq!(bearer.jti, first.jti);
            let claims = authority().verify(&renewal.token, now).unwrap();
            let issued = now.0 / 1_000;
            let life = first.exp - first.iat.unwrap();
            let expected = Claims { iat: Some(issued), exp: issued + life, ..first.clone() };
            assert_eq!(claims, expected);
            let details = serde_json::to_value(&renewal.details).unwrap();
            assert_eq!(details["id"], "50a6cc43-2bb9-4e8f-8af9-4f32440b1b60");
            assert_eq!(details["type"], "datasource");
            assert_eq!(details["claims"], serde_json::to_value(&minted.details.claims).unwrap());
            token = renewal.token;
        }
    }

    #[test]
    fn only_a_valid_token_is_renewed() {
        let token = authority().mint(MASTER, br#"{"ttl":60}"#, NOW).unwrap().token;
        assert_eq!(renew(&token, NOW.plus(61_000)).unwrap_err().status, 401);
        assert_eq!(renew("garbage", NOW).unwrap_err().status, 401);
        assert_eq!(authority().renew(MASTER, NOW).unwrap_err().status, 401);
        assert_eq!(authority().renew(None, NOW).unwrap_err().status, 401);
        let strangers = Authority::new(&settings(2)).unwrap().mint(MASTER, b"", NOW).unwrap();
        assert_eq!(renew(&strangers.token, NOW).unwrap_err().status, 401);
    }

    #[test]
    fn a_token_without_a_life_is_not_renewed() {
        let seconds = NOW.0 / 1_000;
        for changes in [json!({"iat": null}), json!({"iat": seconds + 60}), json!({"iat": -1})] {
            let problem = renew(&foreign(&changes), NOW).unwrap_err();
            assert_eq!(problem.status, 422, "{changes}");
            assert!(problem.detail.contains("`iat`"), "{problem}");
        }
    }

    #[test]
    fn a_token_of_opal_gets_an_id_and_no_role_that_it_did_not_have() {
        let (bearer, renewal) = renew(&foreign(&json!({"x": 1})), NOW).unwrap();
        assert_eq!((bearer.jti, bearer.peer_type), (None, None));
        let claims = authority().verify(&renewal.token, NOW).unwrap();
        assert_eq!((claims.jti.unwrap().len(), claims.peer_type), (32, None));
        let details = serde_json::to_value(&renewal.details).unwrap();
        assert_eq!((&details["claims"], details.get("type")), (&json!({"x": 1}), None));
    }

    #[test]
    fn nobody_renews_for_longer_than_a_token_may_live() {
        let (_, renewal) = renew(&foreign(&json!({"exp": 90_000_000_000_u64})), NOW).unwrap();
        let claims = authority().verify(&renewal.token, NOW).unwrap();
        assert_eq!(claims.exp - claims.iat.unwrap(), MAX_TTL_SECONDS);
    }

    #[test]
    fn a_fleet_moves_to_a_new_key() {
        let old = authority().mint(MASTER, b"", NOW).unwrap();
        let public_keys = Some(testkeys::ed25519(1).public);
        let rotating = Settings { public_keys: public_keys.clone(), ..settings(3) };
        let bearer = format!("Bearer {}", old.token);
        let (_, renewal) = Authority::new(&rotating).unwrap().renew(Some(&bearer), NOW).unwrap();
        assert!(Authority::new(&settings(3)).unwrap().verify(&renewal.token, NOW).is_ok());

        let reading = Authority::new(&Settings { public_keys, ..Settings::default() }).unwrap();
        let problem = reading.renew(Some(&bearer), NOW).unwrap_err();
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("GIRASOL_AUTH_PRIVATE_KEY"), "{problem}");
    }
}
