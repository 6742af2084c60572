//! Who bears a token: from an `Authorization` header to claims that can be trusted.
//!
//! The words of a refusal are OPAL's (`spec/opal-protocol.md` §3.2), followed by what to do.

use std::sync::PoisonError;

use jwt_compact::ValidationError;
use protocol::{Claims, Millis, PeerType, Problem};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    AUDIENCE, Authority, ISSUER, MAX_TOKEN_BYTES, PRIVATE_KEY, PUBLIC_KEY, bearer, digest,
    keys::{Custom, Untrusted},
    seen::Verified,
};

/// How far an issuer's clock may be ahead of ours where a token says `nbf`.
const NOT_BEFORE_LEEWAY_MS: u64 = 60_000;

/// The fix that fits most refusals.
const MINT: &str = "mint a new one at POST /token";

impl Authority {
    /// Verifies the bearer token of an `Authorization` header.
    ///
    /// # Errors
    /// As [`Self::verify`]; 401 if there is no bearer token.
    pub fn authenticate(
        &self,
        authorization: Option<&str>,
        now: Millis,
    ) -> Result<Claims, Problem> {
        self.verify(self.bearer_token(authorization)?, now)
    }

    /// The bearer token of an `Authorization` header.
    pub(crate) fn bearer_token<'h>(
        &self,
        authorization: Option<&'h str>,
    ) -> Result<&'h str, Problem> {
        self.require_keys()?;
        authorization.and_then(bearer).ok_or_else(|| {
            Problem::unauthorized(
                "access token was not provided; send 'Authorization: Bearer <token>'",
            )
        })
    }

    /// Verifies a token: signature, validity in time, audience, issuer and subject.
    ///
    /// # Errors
    /// 401 that says what is wrong with the token; 503 if no key is configured.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Claims, Problem> {
        let digest = digest(token);
        if let Some(seen) = self.seen().find(&digest) {
            return in_time(seen, now).map(|verified| verified.claims);
        }
        let verified = in_time(self.read(self.signed_claims(token)?)?, now)?;
        self.seen().keep(digest, verified.clone());
        Ok(verified.claims)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, crate::seen::Seen> {
        // Each of its operations is whole or did not happen.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a token says that a key of ours signed, whether it is valid or not.
    pub(crate) fn signed_claims(
        &self,
        token: &str,
    ) -> Result<jwt_compact::Claims<Custom>, Problem> {
        self.require_keys()?;
        let malformed = || {
            Problem::unauthorized(
                "Could not decode access token; send it as POST /token answered it, three parts \
                 with dots in between",
            )
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(malformed());
        }
        let token = Untrusted::try_from(token).map_err(|_| malformed())?;
        if token.header().other_fields.crit.is_some() {
            return Err(Problem::unauthorized(format!(
                "Unknown JWT error: the token's header has `crit`, which is not supported; {MINT}"
            )));
        }
        self.verify_signature(&token)
    }

    fn require_keys(&self) -> Result<(), Problem> {
        if self.verifying.is_empty() {
            return Err(Problem::unavailable(format!(
                "no key to verify tokens with; set {PRIVATE_KEY} (`edge-agent generate-keys` makes \
                 one) or {PUBLIC_KEY}"
            )));
        }
        Ok(())
    }

    fn verify_signature(
        &self,
        token: &Untrusted<'_>,
    ) -> Result<jwt_compact::Claims<Custom>, Problem> {
        let kid = token.header().key_id.as_deref();
        let mut candidates =
            self.verifying.iter().filter(|key| kid.is_none_or(|kid| kid == key.kid)).peekable();
        if candidates.peek().is_none() {
            return Err(Problem::unauthorized(format!(
                "Could not decode access token: the key that its `kid` names is not configured \
                 here; {MINT}, or add the key to {PUBLIC_KEY}"
            )));
        }
        let mut right_algorithm = false;
        for candidate in candidates {
            match candidate.key.verify(token) {
                Ok(claims) => return Ok(claims),
                Err(ValidationError::AlgorithmMismatch { .. }) => {}
                Err(_) => right_algorithm = true,
            }
        }
        Err(Problem::unauthorized(if right_algorithm {
            format!("Could not decode access token: its signature is not by a key of ours; {MINT}")
        } else {
            format!("Unknown JWT error: its algorithm is not the one of our key; {MINT}")
        }))
    }

    /// Reads what a token says, once it is certain who says it.
    pub(crate) fn read(&self, claims: jwt_compact::Claims<Custom>) -> Result<Verified, Problem> {
        let jwt_compact::Claims { expiration, not_before, issued_at, custom, .. } = claims;

        let exp = expiration.ok_or_else(|| missing("exp"))?.timestamp();
        // A time before 1970 is as expired as 1970.
        let exp = u64::try_from(exp).unwrap_or(0);
        let not_before = not_before.map_or(0, |time| u64::try_from(time.timestamp()).unwrap_or(0));

        let meant_for_us = match custom.get("aud").ok_or_else(|| missing("aud"))? {
            Value::String(audience) => *audience == self.audience,
            Value::Array(audiences) => {
                audiences.iter().any(|audience| audience.as_str() == Some(&self.audience))
            }
            _ => false,
        };
        if !meant_for_us {
            return Err(invalid(&format!(
                "invalid audience claim; {MINT}, or set {AUDIENCE} to it"
            )));
        }
        if custom.get("iss").ok_or_else(|| missing("iss"))?.as_str() != Some(&self.issuer) {
            return Err(invalid(&format!("invalid issuer claim; {MINT}, or set {ISSUER} to it")));
        }
        let sub = custom.get("sub").ok_or_else(|| missing("sub"))?;
        let sub = sub.as_str().and_then(parse_id).ok_or_else(|| {
            Problem::unauthorized(format!("invalid sub claim: it is not a UUID; {MINT}"))
        })?;

        let claims = Claims {
            // In one of its two notations, so that a revocation by subject meets both.
            sub: sub.simple().to_string(),
            jti: optional(&custom, "jti", "a string", |jti| jti.as_str().map(str::to_owned))?,
            exp,
            iat: issued_at.and_then(|time| u64::try_from(time.timestamp()).ok()),
            peer_type: optional(&custom, "peer_type", "client, datasource or listener", |role| {
                serde_json::from_value::<PeerType>(role.clone()).ok()
            })?,
            permitted_topics: optional(&custom, "permitted_topics", LIST, strings)?,
            allowed_scopes: optional(&custom, "allowed_scopes", LIST, strings)?,
        };
        Ok(Verified { claims, not_before })
    }
}

/// Checks that a token is valid at this moment.
pub(crate) fn in_time(verified: Verified, now: Millis) -> Result<Verified, Problem> {
    if now >= milliseconds(verified.claims.exp) {
        return Err(Problem::unauthorized(format!("Access token is expired; {MINT}")));
    }
    if now.plus(NOT_BEFORE_LEEWAY_MS) < milliseconds(verified.not_before) {
        return Err(Problem::unauthorized(
            "Access token is not valid yet; wait until its `nbf`, or set the issuer's clock",
        ));
    }
    Ok(verified)
}

/// What claims that narrow a bearer's rights must be.
pub(crate) const LIST: &str = "a list of strings";

/// Reads [`LIST`].
pub(crate) fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A UUID as 32 hexadecimal digits or with dashes, and in no other of its notations.
pub(crate) fn parse_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| matches!(text.len(), 32 | 36))
}

/// A claim that may be left out. One that is there and wrong is refused, even null: a
/// restriction that cannot be read must not become no restriction.
fn optional<T>(
    claims: &Custom,
    name: &str,
    expected: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, Problem> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(&format!("`{name}` must be {expected}; {MINT}"))),
        },
    }
}

fn milliseconds(seconds: u64) -> Millis {
    Millis(seconds.saturating_mul(1_000))
}

fn missing(name: &str) -> Problem {
    Problem::unauthorized(format!("Unknown JWT error: the token has no `{name}` claim; {MINT}"))
}

fn invalid(reason: &str) -> Problem {
    Problem::unauthorized(format!("Invalid access token: {reason}"))
}

#[cfg(test)]
mod tests;
