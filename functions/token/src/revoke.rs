//! `POST /token/revoke`: which tokens an operator wants refused. The hub refuses them.

use protocol::internal::Revocation;
use protocol::{Problem, json};
use serde::Deserialize;

use crate::{Authority, MAX_TOKEN_BYTES, verify::parse_id};

/// A request's body: one member of these. An unknown one is refused, since a misspelt name
/// would revoke nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    token: Option<String>,
}

impl Authority {
    /// Reads the body of `POST /token/revoke`.
    ///
    /// A whole token stands for its `jti`, or for its `sub` if it has none. It may be expired:
    /// what it was renewed to is not.
    ///
    /// # Errors
    /// 503 if the master token is not configured, 401 without it; 422 for a body that does not
    /// say what to revoke, or a token that no key of ours signed.
    pub fn revocation(
        &self,
        authorization: Option<&str>,
        body: &[u8],
    ) -> Result<Revocation, Problem> {
        self.require_master(authorization)?;
        match json::parse(body)? {
            Request { jti: Some(jti), sub: None, token: None } => by_jti(jti),
            Request { jti: None, sub: Some(sub), token: None } => by_sub(&sub).ok_or_else(|| {
                Problem::invalid("sub: give a UUID, with or without dashes; a name is not one")
            }),
            Request { jti: None, sub: None, token: Some(token) } => self.by_token(&token),
            _ => Err(Problem::invalid("give exactly one of `jti`, `sub` and `token`")),
        }
    }

    fn by_token(&self, token: &str) -> Result<Revocation, Problem> {
        let claims = self.signed_claims(token).map_err(|problem| match problem.status {
            // It is the operator who is told, and he is who he says.
            401 => Problem::invalid(
                "token: no key of ours signed it; give the whole token, or its `jti` or `sub`",
            ),
            _ => problem,
        })?;
        let claim = |name| claims.custom.get(name).and_then(|value| value.as_str());
        match (claim("jti"), claim("sub").and_then(by_sub)) {
            (Some(jti), _) => by_jti(jti.to_owned()),
            (None, Some(revocation)) => Ok(revocation),
            (None, None) => Err(Problem::invalid("token: it has neither a `jti` nor a `sub`")),
        }
    }
}

fn by_jti(jti: String) -> Result<Revocation, Problem> {
    // No token can hold a longer one.
    if jti.is_empty() || jti.len() > MAX_TOKEN_BYTES {
        let limit = MAX_TOKEN_BYTES;
        return Err(Problem::invalid(format!("jti: give a token's id, of 1 to {limit} bytes")));
    }
    Ok(Revocation::Jti(jti))
}

/// The form in which [`protocol::Claims`] have it too.
fn by_sub(sub: &str) -> Option<Revocation> {
    Some(Revocation::Sub(parse_id(sub)?.simple().to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testkeys::{self, MASTER, NOW};
    use crate::{Authority, Settings};

    const SUB: &str = "50a6cc432bb94e8f8af94f32440b1b60";

    fn authority(byte: u8) -> Authority {
        Authority::new(&Settings {
            master_token: Some("master".to_owned()),
            private_key: Some(testkeys::ed25519(byte).private),
            ..Settings::default()
        })
        .unwrap()
    }

    fn revocation(body: &serde_json::Value) -> Result<Revocation, Problem> {
        authority(1).revocation(MASTER, body.to_string().as_bytes())
    }

    #[test]
    fn a_jti_a_subject_or_a_whole_token_can_be_named() {
        assert_eq!(revocation(&json!({"jti": "x"})), Ok(Revocation::Jti("x".to_owned())));
        let by_sub = Ok(Revocation::Sub(SUB.to_owned()));
        assert_eq!(revocation(&json!({"sub": SUB, "jti": null})), by_sub);
        assert_eq!(revocation(&json!({"sub": "50A6CC43-2BB9-4E8F-8AF9-4F32440B1B60"})), by_sub);

        let minted = authority(1).mint(MASTER, br#"{"ttl":1}"#, NOW).unwrap();
        let jti = authority(1).verify(&minted.token, NOW).unwrap().jti.unwrap();
        assert_eq!(revocation(&json!({"token": minted.token})), Ok(Revocation::Jti(jti)));
        // As OPAL mints them.
        let token = testkeys::sign(1, &json!({"sub": SUB, "exp": 1}));
        assert_eq!(revocation(&json!({ "token": token })), by_sub);
    }

    #[test]
    fn what_cannot_be_revoked_is_told_why() {
        let strangers = authority(2).mint(MASTER, b"", NOW).unwrap().token;
        let nameless = testkeys::sign(1, &json!({"exp": 1}));
        for (body, words) in [
            (json!({}), "exactly one of `jti`, `sub` and `token`"),
            (json!({"jti": "x", "sub": SUB}), "exactly one of"),
            (json!({"jti": ""}), "jti: give"),
            (json!({"jti": "x".repeat(MAX_TOKEN_BYTES + 1)}), "jti: give"),
            (json!({"jti": 7}), "jti: invalid type"),
            (json!({"sub": "agent-1"}), "sub: give a UUID"),
            (json!({"token": "a.b.c"}), "token: no key of ours signed it"),
            (json!({"token": strangers}), "token: no key of ours signed it"),
            (json!({"token": nameless}), "token: it has neither"),
            (json!({"id": SUB}), "unknown field `id`"),
            (json!([]), "not an object"),
        ] {
            let problem = revocation(&body).unwrap_err();
            assert_eq!(problem.status, 422, "{body}: {problem}");
            assert!(problem.detail.contains(words), "{body}: {problem}");
        }
        assert_eq!(authority(1).revocation(MASTER, b"").unwrap_err().status, 422);
    }

    #[test]
    fn only_the_master_token_revokes() {
        let client = format!("Bearer {}", authority(1).mint(MASTER, b"", NOW).unwrap().token);
        for authorization in [None, Some("Bearer other"), Some(client.as_str())] {
            let problem = authority(1).revocation(authorization, br#"{"jti":"x"}"#).unwrap_err();
            assert_eq!(problem.status, 401);
        }
        let open = Authority::new(&Settings::default()).unwrap();
        assert_eq!(open.revocation(MASTER, br#"{"jti":"x"}"#).unwrap_err().status, 503);
    }
}
