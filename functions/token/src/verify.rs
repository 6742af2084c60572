//! Who bears a token: from an `Authorization` header to claims that can be trusted.
//!
//! The words of a refusal are OPAL's (`spec/opal-protocol.md` §3.2), followed by what to do.

use jwt_compact::ValidationError;
use protocol::{Claims, Millis, PeerType, Problem};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    AUDIENCE, Authority, ISSUER, MAX_TOKEN_BYTES, PRIVATE_KEY, PUBLIC_KEY, bearer,
    keys::{Custom, Untrusted},
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
        self.require_keys()?;
        match authorization.and_then(bearer) {
            Some(token) => self.verify(token, now),
            None => Err(Problem::unauthorized(
                "access token was not provided; send 'Authorization: Bearer <token>'",
            )),
        }
    }

    /// Verifies a token: signature, validity in time, audience, issuer and subject.
    ///
    /// # Errors
    /// 401 that says what is wrong with the token; 503 if no key is configured.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Claims, Problem> {
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
        self.check(self.verify_signature(&token)?, now)
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

    /// Checks what a token says, once it is certain who says it.
    fn check(&self, claims: jwt_compact::Claims<Custom>, now: Millis) -> Result<Claims, Problem> {
        let jwt_compact::Claims { expiration, not_before, custom, .. } = claims;

        let exp = expiration.ok_or_else(|| missing("exp"))?.timestamp();
        // A time before 1970 is as expired as 1970.
        let exp = u64::try_from(exp).unwrap_or(0);
        if now >= milliseconds(exp) {
            return Err(Problem::unauthorized(format!("Access token is expired; {MINT}")));
        }
        let not_before = not_before.map_or(0, |time| u64::try_from(time.timestamp()).unwrap_or(0));
        if now.plus(NOT_BEFORE_LEEWAY_MS) < milliseconds(not_before) {
            return Err(Problem::unauthorized(
                "Access token is not valid yet; wait until its `nbf`, or set the issuer's clock",
            ));
        }

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
        let sub = sub.as_str().filter(|sub| parse_id(sub).is_some()).ok_or_else(|| {
            Problem::unauthorized(format!("invalid sub claim: it is not a UUID; {MINT}"))
        })?;

        Ok(Claims {
            sub: sub.to_owned(),
            jti: optional(&custom, "jti", "a string", |jti| jti.as_str().map(str::to_owned))?,
            exp,
            peer_type: optional(&custom, "peer_type", "client, datasource or listener", |role| {
                serde_json::from_value::<PeerType>(role.clone()).ok()
            })?,
            permitted_topics: optional(&custom, "permitted_topics", LIST, strings)?,
            allowed_scopes: optional(&custom, "allowed_scopes", LIST, strings)?,
        })
    }
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
