//! What a request asks.

use std::{borrow::Cow, collections::BTreeMap};

use regorus::Value;
use serde_json::{error::Category, value::RawValue};

use crate::{DATA, DecisionError, VALUES};

/// The switches of a query string; others have no effect here.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `input`: JSON text.
    pub input: Option<String>,
    /// `pretty`: indent.
    pub pretty: bool,
}

impl Query {
    /// Reads what stands behind the `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self { input: None, pretty: false };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "input" => query.input = query.input.or(Some(value.into_owned())),
                // Without a value it is on.
                "pretty" => query.pretty |= value.is_empty() || value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        query
    }
}

/// The document that a path below [`DATA`] or [`VALUES`] names. Segments are decoded one by one, so
/// that an escaped slash stays in its segment.
///
/// # Errors
/// A segment that is no text.
pub fn segments(path: &str) -> Result<Vec<String>, DecisionError> {
    let below = [DATA, VALUES].iter().find_map(|root| path.strip_prefix(root));
    below
        .unwrap_or_default()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| {
            String::from_utf8(decode(segment))
                .map_err(|_| DecisionError::Path("failed to parse query".to_owned()))
        })
        .collect()
}

/// Percent-decoding; what is no escape stays as it is.
fn decode(segment: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => digit(high).zip(digit(low)).map(|(high, low)| {
                rest = after;
                // Two hexadecimal digits are a byte.
                u8::try_from(high * 16 + low).unwrap_or_default()
            }),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(*first));
    }
    decoded
}

/// The input of a `GET`.
///
/// # Errors
/// It is no JSON, in OPA's words.
pub fn parameter(text: &str) -> Result<Value, String> {
    let malformed =
        |reason: String| format!("parameter contains malformed input document: {reason}");
    let value: &RawValue = serde_json::from_str(text).map_err(|error| malformed(reason(&error)))?;
    Value::from_json_str(value.get()).map_err(|error| malformed(error.to_string()))
}

/// The input of a `POST`; none if the body has none, or `null`.
///
/// # Errors
/// The body is no object in JSON, in OPA's words.
pub fn body(body: &[u8]) -> Result<Option<Value>, String> {
    let malformed = |reason: String| format!("body contains malformed input document: {reason}");
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    // What follows the first JSON value is nobody's, and of two inputs the last one counts.
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let first = values.next().transpose().map_err(|error| malformed(reason(&error)))?;
    let first = first.map_or("null", RawValue::get);
    if first == "null" {
        return Ok(None);
    }
    let members: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(first).map_err(|_| malformed("give an object".to_owned()))?;
    match members.get("input").map(|input| input.get()) {
        None | Some("null") => Ok(None),
        Some(input) => {
            Value::from_json_str(input).map(Some).map_err(|error| malformed(error.to_string()))
        }
    }
}

/// The input of a `POST` to [`VALUES`] or `/`, which is the whole body; none if that is empty.
///
/// # Errors
/// It is no JSON, in OPA's words.
pub fn bare_body(body: &[u8]) -> Result<Option<Value>, String> {
    let malformed = |reason: String| format!("body contains malformed input document: {reason}");
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let first = values.next().transpose().map_err(|error| malformed(reason(&error)))?;
    let first = first.map(|value| Value::from_json_str(value.get())).transpose();
    first.map_err(|error| malformed(error.to_string()))
}

/// OPA's words where it has short ones.
fn reason(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof if error.column() == 0 => "EOF".to_owned(),
        Category::Eof => "unexpected EOF".to_owned(),
        Category::Io | Category::Syntax | Category::Data => error.to_string(),
    }
}
