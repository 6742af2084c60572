//! `io.jwt.…`: JSON Web Tokens (RFC 7515, 7519), as OPA reads, verifies and makes them.
//!
//! | question | file |
//! |---|---|
//! | What is in a token? | `token.rs` |
//! | Which keys are in a certificate, a PEM or a JWK? | `keys.rs` |
//! | Does a signature verify, how is one made? | `signatures.rs` |
//! | What may a token be held against? | `constraints.rs` |
//!
//! RSA keys of less than 2048 bits verify nothing.

use regorus::Value;

use super::hashes::hex;
use super::{Failure, Row, text, undefined};

mod constraints;
mod keys;
mod signatures;
mod token;

use keys::Keys;
use signatures::Algorithm;
use token::Token;

pub(super) const TABLE: &[Row] = &[
    Row("io.jwt.decode", 1, decode),
    Row("io.jwt.decode_verify", 2, constraints::decode_verify),
    Row("io.jwt.encode_sign", 3, encode_sign),
    Row("io.jwt.encode_sign_raw", 3, encode_sign_raw),
    Row("io.jwt.verify_eddsa", 2, |it| verify(Algorithm::EdDsa, it)),
    Row("io.jwt.verify_es256", 2, |it| verify(Algorithm::Es256, it)),
    Row("io.jwt.verify_es384", 2, |it| verify(Algorithm::Es384, it)),
    Row("io.jwt.verify_es512", 2, |it| verify(Algorithm::Es512, it)),
    Row("io.jwt.verify_hs256", 2, |it| verify_secret(Algorithm::Hs256, it)),
    Row("io.jwt.verify_hs384", 2, |it| verify_secret(Algorithm::Hs384, it)),
    Row("io.jwt.verify_hs512", 2, |it| verify_secret(Algorithm::Hs512, it)),
    Row("io.jwt.verify_ps256", 2, |it| verify(Algorithm::Ps256, it)),
    Row("io.jwt.verify_ps384", 2, |it| verify(Algorithm::Ps384, it)),
    Row("io.jwt.verify_ps512", 2, |it| verify(Algorithm::Ps512, it)),
    Row("io.jwt.verify_rs256", 2, |it| verify(Algorithm::Rs256, it)),
    Row("io.jwt.verify_rs384", 2, |it| verify(Algorithm::Rs384, it)),
    Row("io.jwt.verify_rs512", 2, |it| verify(Algorithm::Rs512, it)),
];

/// Tokens in tokens that are looked into.
const MOST_NESTED: usize = 8;

fn decode(arguments: &[Value]) -> Result<Value, Failure> {
    let mut text = text(arguments, 0)?.to_owned();
    for _ in 0..MOST_NESTED {
        let token = Token::parse(&text)?;
        let header = token.header()?;
        let payload = token.payload()?;
        if header.text("cty")? == Some("JWT") {
            text = payload.trim_matches(['"', '\'']).to_owned();
            continue;
        }
        let payload = token::object(&payload)?;
        let signature = hex(&token.signature()?);
        return Ok(Value::from(vec![header.into_value(), payload, signature]));
    }
    Err(undefined("too many tokens in one another"))
}

/// Verifies with the keys of a certificate, a PEM or JWKs.
fn verify(algorithm: Algorithm, arguments: &[Value]) -> Result<Value, Failure> {
    let token = Token::parse(text(arguments, 0)?)?;
    let keys = Keys::parse(text(arguments, 1)?)?;
    let signature = token.signature()?;
    let header = token.header()?;
    header.check()?;
    let (kid, named) = (header.text("kid")?, header.text("alg")?);
    Ok(Value::Bool(keys.verify(kid, named, algorithm, token.signed(), &signature)))
}

/// Verifies with a secret.
fn verify_secret(algorithm: Algorithm, arguments: &[Value]) -> Result<Value, Failure> {
    let token = Token::parse(text(arguments, 0)?)?;
    let secret = text(arguments, 1)?;
    let signature = token.signature()?;
    let valid = algorithm.verify(&keys::Key::secret(secret), token.signed(), &signature);
    Ok(Value::Bool(valid))
}

fn encode_sign(arguments: &[Value]) -> Result<Value, Failure> {
    let written = |at: usize| {
        let value = arguments.get(at).ok_or_else(|| undefined("an operand is missing"))?;
        let text = serde_json::to_string(value).map_err(|error| undefined(error.to_string()))?;
        Ok(escape_as_go(text))
    };
    signatures::sign(&written(0)?, &written(1)?, &written(2)?)
}

fn encode_sign_raw(arguments: &[Value]) -> Result<Value, Failure> {
    signatures::sign(text(arguments, 0)?, text(arguments, 1)?, text(arguments, 2)?)
}

/// Go escapes in JSON what is special in HTML and JavaScript; it occurs in strings only.
fn escape_as_go(json: String) -> String {
    ["<", ">", "&", "\u{2028}", "\u{2029}"].into_iter().fold(json, |json, special| {
        let code = special.chars().next().map_or(0, u32::from);
        json.replace(special, &format!("\\u{code:04x}"))
    })
}
