//! `io.jwt.decode_verify`: a token that is held against constraints.

use std::time::{SystemTime, UNIX_EPOCH};

use regorus::Value;

use super::super::{Failure, text, undefined};
use super::MOST_NESTED;
use super::keys::{Key, Keys};
use super::signatures::Algorithm;
use super::token::{self, Token};

/// What a token must be.
#[derive(Default)]
struct Constraints<'c> {
    keys: Option<Keys>,
    secret: Option<&'c str>,
    alg: Option<&'c str>,
    iss: Option<&'c str>,
    aud: Option<&'c str>,
    /// Seconds since 1970.
    time: f64,
}

impl<'c> Constraints<'c> {
    fn parse(value: &'c Value) -> Result<Self, Failure> {
        let Value::Object(members) = value else {
            return Err(undefined("operand 2 must be object"));
        };
        let mut constraints = Self { time: now(), ..Self::default() };
        for (name, value) in members.iter() {
            let name = name.as_string().map_err(|error| undefined(error.to_string()))?;
            let text = || match value {
                Value::String(text) => Ok(&**text),
                _ => Err(undefined(format!("{name} constraint: must be a string"))),
            };
            // An empty text is none.
            let some = || text().map(|text| Some(text).filter(|text| !text.is_empty()));
            match &**name {
                "cert" => constraints.keys = Some(Keys::parse(text()?)?),
                "secret" => constraints.secret = some()?,
                "alg" => constraints.alg = some()?,
                "iss" => constraints.iss = some()?,
                "aud" => constraints.aud = some()?,
                "time" => {
                    let time = value.as_f64().ok().filter(|time| *time >= 0.0);
                    let time = time.ok_or_else(|| undefined("token time constraint"))?;
                    constraints.time = time / 1e9;
                }
                _ => return Err(undefined(format!("unknown token validation constraint: {name}"))),
            }
        }
        match (&constraints.keys, constraints.secret) {
            (Some(_), Some(_)) => Err(undefined("duplicate key constraints")),
            (None, None) => Err(undefined("no key constraint")),
            _ => Ok(constraints),
        }
    }

    fn verify(&self, kid: Option<&str>, alg: &str, signed: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = Algorithm::named(alg) else { return false };
        match (&self.keys, self.secret) {
            (Some(keys), _) => keys.verify(kid, Some(alg), algorithm, signed, signature),
            (None, Some(secret)) => algorithm.verify(&Key::secret(secret), signed, signature),
            (None, None) => false,
        }
    }

    /// True if a verified token's claims are as they must be.
    fn allow(&self, payload: &Value) -> Result<bool, Failure> {
        let claim = |name: &str| payload.as_object().ok()?.get(&name.into());
        let is =
            |value: &Value, wanted: &str| matches!(value, Value::String(it) if **it == *wanted);
        if let Some(issuer) = self.iss
            && !claim("iss").is_some_and(|iss| is(iss, issuer))
        {
            return Ok(false);
        }
        let audience = match (claim("aud"), self.aud) {
            (None, wanted) => wanted.is_none(),
            (Some(Value::Array(all)), wanted) => {
                all.iter().any(|one| is(one, wanted.unwrap_or_default()))
            }
            (Some(one), wanted) => is(one, wanted.unwrap_or_default()),
        };
        if !audience {
            return Ok(false);
        }
        let seconds = |name: &str| match claim(name) {
            None => Ok(None),
            Some(number @ Value::Number(_)) => {
                number.as_f64().map(Some).map_err(|error| undefined(error.to_string()))
            }
            Some(_) => Err(undefined(format!("{name} value must be a number"))),
        };
        if seconds("exp")?.is_some_and(|ends| self.time >= ends) {
            return Ok(false);
        }
        Ok(seconds("nbf")?.is_none_or(|begins| self.time >= begins))
    }
}

/// `[valid, header, payload]`.
pub(super) fn decode_verify(arguments: &[Value]) -> Result<Value, Failure> {
    let mut encoded = text(arguments, 0)?.to_owned();
    let constraints = arguments.get(1).ok_or_else(|| undefined("an operand is missing"))?;
    let constraints = Constraints::parse(constraints)?;
    let unverified =
        || Value::from(vec![Value::Bool(false), Value::new_object(), Value::new_object()]);
    for _ in 0..MOST_NESTED {
        let token = Token::parse(&encoded)?;
        let header = token.header()?;
        let is_known = header.check()?;
        let alg = header.text("alg")?.unwrap_or_default();
        if !is_known || alg.is_empty() || constraints.alg.is_some_and(|wanted| wanted != alg) {
            return Ok(unverified());
        }
        let signature = token.signature()?;
        if !constraints.verify(header.text("kid")?, alg, token.signed(), &signature) {
            return Ok(unverified());
        }
        let payload = token.payload()?;
        if header.text("cty")?.is_some_and(|cty| cty.eq_ignore_ascii_case("JWT")) {
            encoded = payload;
            continue;
        }
        let payload = token::object(&payload)?;
        if !constraints.allow(&payload)? {
            return Ok(unverified());
        }
        return Ok(Value::from(vec![Value::Bool(true), header.into_value(), payload]));
    }
    Err(undefined("too many tokens in one another"))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
