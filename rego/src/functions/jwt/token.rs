//! The three parts of a token.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use regorus::Value;

use super::super::{Failure, undefined};
use crate::document::{self, LEVELS};

/// A token as it is written.
pub(super) struct Token<'t> {
    /// Header and payload, with the point between them: what is signed.
    signed: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

/// A token's header, an object.
pub(super) struct Header(Value);

impl<'t> Token<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, Failure> {
        let split = text.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, payload) = signed.split_once('.')?;
            (!payload.contains('.')).then_some(Self { signed, header, payload, signature })
        });
        split.ok_or_else(|| undefined("encoded JWT must have 3 sections"))
    }

    pub(super) fn signed(&self) -> &'t [u8] {
        self.signed.as_bytes()
    }

    pub(super) fn header(&self) -> Result<Header, Failure> {
        let header = object(&plain(self.header)?)?;
        match &header {
            Value::Object(members) if members.get(&"enc".into()).is_some() => {
                Err(undefined("JWT is a JWE object, which is not supported"))
            }
            _ => Ok(Header(header)),
        }
    }

    pub(super) fn payload(&self) -> Result<String, Failure> {
        plain(self.payload)
    }

    pub(super) fn signature(&self) -> Result<Vec<u8>, Failure> {
        bytes(self.signature)
    }
}

impl Header {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.as_object().ok()?.get(&name.into())
    }

    /// One of the members that are text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(undefined(format!("{name}: must be a string"))),
        }
    }

    /// Checks the members that are known. False if one is critical that is not (RFC 7515,
    /// 4.1.11).
    pub(super) fn check(&self) -> Result<bool, Failure> {
        for name in ["alg", "kid", "typ", "cty"] {
            self.text(name)?;
        }
        let critical = match self.get("crit") {
            None => return Ok(true),
            Some(Value::Array(critical)) if !critical.is_empty() => critical,
            Some(_) => return Err(undefined("crit: must be a nonempty list")),
        };
        let known = ["alg", "kid", "typ", "cty", "crit"];
        Ok(critical.iter().all(|name| match name {
            Value::String(name) => known.contains(&&**name) || self.get(name).is_none(),
            _ => false,
        }))
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }
}

/// JSON that is an object.
pub(super) fn object(text: &str) -> Result<Value, Failure> {
    match document::read(text, LEVELS) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(undefined("decoded JSON type was not an Object")),
        Err(why) => Err(undefined(why)),
    }
}

/// What base64url stands for, with padding or without.
pub(super) fn bytes(encoded: &str) -> Result<Vec<u8>, Failure> {
    Base64UrlUnpadded::decode_vec(encoded.trim_end_matches('='))
        .map_err(|_| undefined("it is no base64url"))
}

fn plain(encoded: &str) -> Result<String, Failure> {
    String::from_utf8(bytes(encoded)?).map_err(|_| undefined("it is no text"))
}
