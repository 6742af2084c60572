//! `POST /token`: who knows the master token gets a token for somebody
//! (`spec/opal-protocol.md` §3.4).

use std::fmt;
use std::ops::Range;

use chrono::{DateTime, Utc};
use protocol::{Millis, PeerType, Problem, json, limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::{
    Authority, MASTER_TOKEN, MAX_TOKEN_BYTES, PRIVATE_KEY, bearer, digest,
    keys::{Custom, SigningKey},
    verify::{LIST, parse_id, strings},
};

/// The longest life of a token: ten years.
pub const MAX_TTL_SECONDS: u64 = 3_650 * DAY;
const DEFAULT_TTL_SECONDS: u64 = 365 * DAY;
const DAY: u64 = 86_400;

/// Claims that `claims` may not set, and what sets them. OPAL lets a request override them.
const RESERVED: [(&str, &str); 8] = [
    ("sub", "use the member `id`"),
    ("exp", "use the member `ttl`"),
    ("peer_type", "use the member `type`"),
    ("iss", "the server sets it"),
    ("aud", "the server sets it"),
    ("iat", "the server sets it"),
    ("nbf", "a token is valid at once"),
    ("jti", "the server sets it"),
];

/// A request's body. An unknown member is refused: a misspelt restriction would be none.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    id: Option<String>,
    r#type: Option<PeerType>,
    ttl: Option<Value>,
    claims: Option<Custom>,
}

/// The answer of `POST /token` and of `POST /token/renew`. Its `Debug` leaves out the token.
#[derive(Clone, Serialize)]
pub struct Minted {
    /// The token itself.
    pub token: String,
    /// How to send it: `bearer`.
    pub r#type: &'static str,
    /// What it says.
    pub details: Details,
}

/// What a minted token says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Details {
    /// The bearer: a UUID with dashes.
    pub id: String,
    /// The bearer's role. A token that OPAL minted and this renewed may have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<PeerType>,
    /// The end of validity in UTC, written without a zone, as OPAL does:
    /// `2026-11-22T01:19:20.000000`.
    pub expired: String,
    /// The role and the extra claims.
    pub claims: Custom,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("details", &self.details).finish_non_exhaustive()
    }
}

impl Authority {
    /// Answers `POST /token`. An empty body asks for every default.
    ///
    /// # Errors
    /// 503 if the master token or the signing key is not configured; 401 without the master
    /// token; 413 and 422 for a body that is too large or wrong.
    pub fn mint(
        &self,
        authorization: Option<&str>,
        body: &[u8],
        now: Millis,
    ) -> Result<Minted, Problem> {
        self.require_master(authorization)?;
        let signing = self.signing_key()?;
        let request = Request::parse(body)?;
        let id = match &request.id {
            Some(text) => parse_id(text).ok_or_else(|| {
                Problem::invalid("id: give a UUID, or leave it out for a random one")
            })?,
            None => random_id()?,
        };
        let peer_type = request.r#type.unwrap_or_default();
        let ttl = request.ttl.as_ref().map_or(Ok(DEFAULT_TTL_SECONDS * 1_000), ttl_milliseconds)?;
        let mut details_claims = request.claims.unwrap_or_default();
        check_claims(&details_claims)?;
        details_claims.insert("peer_type".to_owned(), peer_type.to_string().into());

        // Tokens count whole seconds; rounded up, a token lives at least as long as asked.
        let life = now.0 / 1_000..now.plus(ttl).0.div_ceil(1_000);
        self.sign(signing, id, random_id()?.simple().to_string(), life, details_claims)
    }

    pub(crate) fn signing_key(&self) -> Result<&SigningKey, Problem> {
        self.signing.as_ref().ok_or_else(|| {
            Problem::unavailable(format!(
                "{PRIVATE_KEY} is not set, so no token can be signed; make a key with `edge-agent \
                 generate-keys`"
            ))
        })
    }

    /// Signs a token that is valid during `life`, in seconds since the epoch; `claims` are the
    /// role and the extra ones.
    pub(crate) fn sign(
        &self,
        signing: &SigningKey,
        id: Uuid,
        jti: String,
        life: Range<u64>,
        claims: Custom,
    ) -> Result<Minted, Problem> {
        let mut custom = claims.clone();
        custom.insert("aud".to_owned(), self.audience.clone().into());
        custom.insert("iss".to_owned(), self.issuer.clone().into());
        custom.insert("sub".to_owned(), id.simple().to_string().into());
        custom.insert("jti".to_owned(), jti.into());
        let mut payload = jwt_compact::Claims::new(custom);
        let expiration = utc(life.end)?;
        payload.issued_at = Some(utc(life.start)?);
        payload.expiration = Some(expiration);

        let token = signing
            .sign(&payload)
            .map_err(|_| Problem::internal("the token's claims could not be written"))?;
        let (size, limit) = (token.len(), MAX_TOKEN_BYTES);
        if size > limit {
            return Err(Problem::invalid(format!(
                "claims: the token would have {size} bytes, the limit is {limit}; give fewer claims"
            )));
        }
        let peer_type = claims.get("peer_type");
        Ok(Minted {
            token,
            r#type: "bearer",
            details: Details {
                id: id.to_string(),
                r#type: peer_type.and_then(|role| PeerType::deserialize(role).ok()),
                expired: expiration.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
                claims,
            },
        })
    }

    /// Checks that the caller knows the master token. Digests of equal length are compared,
    /// in constant time, so that the answer's delay says nothing about the master token.
    ///
    /// # Errors
    /// 503 if there is no master token; 401 without it.
    pub fn require_master(&self, authorization: Option<&str>) -> Result<(), Problem> {
        let master = self.master.ok_or_else(|| {
            Problem::unavailable(format!(
                "{MASTER_TOKEN} is not set, cannot generate tokens! Set it, for example with \
                 `wrangler secret put {MASTER_TOKEN}`"
            ))
        })?;
        let Some(authorization) = authorization else {
            return Err(Problem::unauthorized(
                "Authorization header is required! Send 'Authorization: Bearer <master token>'",
            ));
        };
        let known = bearer(authorization).is_some_and(|given| digest(given).ct_eq(&master).into());
        if known {
            Ok(())
        } else {
            Err(Problem::unauthorized(format!(
                "unauthorized to access this endpoint! Send the value of {MASTER_TOKEN} as \
                 'Authorization: Bearer <master token>'"
            )))
        }
    }
}

impl Request {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (size, limit) = (body.len(), limits::MAX_SMALL_BODY_BYTES);
        if size > limit {
            return Err(Problem::too_large(format!(
                "the body has {size} bytes, the limit is {limit}"
            )));
        }
        if body.trim_ascii().is_empty() { Ok(Self::default()) } else { json::parse(body) }
    }
}

/// Reads a number of seconds or an ISO-8601 duration.
fn ttl_milliseconds(ttl: &Value) -> Result<u64, Problem> {
    let milliseconds = match ttl {
        Value::Number(seconds) => seconds.as_f64().map(|seconds| seconds * 1_000.0),
        Value::String(text) => speedate::Duration::parse_str(text).ok().map(|duration| {
            duration.signed_total_seconds() as f64 * 1_000.0
                + f64::from(duration.signed_microseconds()) / 1_000.0
        }),
        _ => None,
    };
    let milliseconds = milliseconds.ok_or_else(|| {
        Problem::invalid("ttl: give a number of seconds, or an ISO-8601 duration such as PT1H30M")
    })?;
    if milliseconds > 0.0 && milliseconds <= (MAX_TTL_SECONDS * 1_000) as f64 {
        Ok(milliseconds.ceil() as u64)
    } else {
        Err(Problem::invalid(format!(
            "ttl: give more than 0 and at most {MAX_TTL_SECONDS} seconds (P{}D)",
            MAX_TTL_SECONDS / DAY
        )))
    }
}

fn check_claims(claims: &Custom) -> Result<(), Problem> {
    let taken: Vec<_> = RESERVED
        .iter()
        .filter(|(name, _)| claims.contains_key(*name))
        .map(|(name, instead)| format!("`{name}` ({instead})"))
        .collect();
    if !taken.is_empty() {
        return Err(Problem::invalid(format!("claims: may not hold {}", taken.join(", "))));
    }
    for name in ["permitted_topics", "allowed_scopes"] {
        if claims.get(name).is_some_and(|value| strings(value).is_none()) {
            return Err(Problem::invalid(format!("claims.{name}: give {LIST}")));
        }
    }
    Ok(())
}

/// A version 4 UUID.
pub(crate) fn random_id() -> Result<Uuid, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Problem::internal("the source of randomness does not answer"))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn utc(seconds: u64) -> Result<DateTime<Utc>, Problem> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .ok_or_else(|| Problem::internal("the clock is out of range"))
}

#[cfg(test)]
mod tests;
