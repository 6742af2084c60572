//! `crypto.…`: hashes and message authentication codes, as hexadecimal text.

use md5::{Digest as _, Md5};
use regorus::Value;
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;

use super::{Failure, Row, text};

pub(super) const TABLE: &[Row] = &[
    Row("crypto.hmac.equal", 2, equal),
    Row("crypto.hmac.md5", 2, hmac_md5),
    Row("crypto.hmac.sha1", 2, |it| authenticated(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, it)),
    Row("crypto.hmac.sha256", 2, |it| authenticated(hmac::HMAC_SHA256, it)),
    Row("crypto.hmac.sha512", 2, |it| authenticated(hmac::HMAC_SHA512, it)),
    Row("crypto.md5", 1, md5),
    Row("crypto.sha1", 1, |it| hashed(&digest::SHA1_FOR_LEGACY_USE_ONLY, it)),
    Row("crypto.sha256", 1, |it| hashed(&digest::SHA256, it)),
];

/// Bytes of a block of MD5.
const MD5_BLOCK: usize = 64;

fn hashed(algorithm: &'static digest::Algorithm, arguments: &[Value]) -> Result<Value, Failure> {
    let text = text(arguments, 0)?;
    Ok(hex(digest::digest(algorithm, text.as_bytes()).as_ref()))
}

fn md5(arguments: &[Value]) -> Result<Value, Failure> {
    Ok(hex(&Md5::digest(text(arguments, 0)?)))
}

fn authenticated(algorithm: hmac::Algorithm, arguments: &[Value]) -> Result<Value, Failure> {
    let (text, key) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(hex(hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), text.as_bytes()).as_ref()))
}

/// RFC 2104, for the hash that the library leaves out.
fn hmac_md5(arguments: &[Value]) -> Result<Value, Failure> {
    let (text, key) = (text(arguments, 0)?, text(arguments, 1)?);
    let mut block = [0_u8; MD5_BLOCK];
    let short = if key.len() > MD5_BLOCK { Md5::digest(key).to_vec() } else { key.into() };
    block.iter_mut().zip(short).for_each(|(to, from)| *to = from);
    let inner = Md5::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text);
    let outer = Md5::new().chain_update(block.map(|byte| byte ^ 0x5c));
    Ok(hex(&outer.chain_update(inner.finalize()).finalize()))
}

fn equal(arguments: &[Value]) -> Result<Value, Failure> {
    let (one, other) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::Bool(one.as_bytes().ct_eq(other.as_bytes()).into()))
}

/// Bytes as lower case hexadecimal text.
pub(super) fn hex(bytes: &[u8]) -> Value {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|it| char::from_digit(it.into(), 16));
    let text: String = bytes.iter().flat_map(digits).flatten().collect();
    Value::from(text)
}
