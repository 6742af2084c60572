//! What a request asks.

use std::{borrow::Cow, collections::BTreeMap};

use regorus::Value;
use serde_json::{error::Category, value::RawValue};

use crate::{DATA, DecisionError, Style, VALUES};

/// The parameters of a query string.
#[derive(Clone, Debug, Default)]
pub struct Query {
    parameters: BTreeMap<String, Vec<String>>,
}

/// What OPA explains a decision with.
const EXPLANATIONS: &[&str] = &["notes", "fails", "full", "debug"];

impl Query {
    /// Reads what stands behind the `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Go drops what has a semicolon.
        let parts = text.split('&').filter(|part| !part.is_empty() && !part.contains(';'));
        for (name, value) in parts.flat_map(|part| form_urlencoded::parse(part.as_bytes())) {
            parameters.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self { parameters }
    }

    /// Without a value it is on, else if one of its values is `true`.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        let values = self.parameters.get(name).map_or(&[][..], Vec::as_slice);
        matches!(values, [only] if only.is_empty())
            || values.iter().any(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The last value of a parameter.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)?.last().map(String::as_str)
    }

    /// All parameters, each with its values.
    #[must_use]
    pub fn parameters(&self) -> &BTreeMap<String, Vec<String>> {
        &self.parameters
    }

    /// Whether to indent.
    #[must_use]
    pub fn style(&self) -> Style {
        if self.is_on("pretty") { Style::Pretty } else { Style::Compact }
    }

    /// Whether to say how long it took.
    #[must_use]
    pub fn metrics(&self) -> bool {
        self.is_on("metrics")
    }

    /// What is asked for and cannot be had: OPA's way of explaining, and counts of its own parts.
    #[must_use]
    pub fn not_served(&self) -> Option<&'static str> {
        let explain = self.parameters.get("explain").into_iter().flatten();
        let explained = explain.into_iter().any(|it| EXPLANATIONS.contains(&it.as_str()));
        [
            (explained, "?explain"),
            (self.is_on("instrument"), "?instrument"),
            (self.is_on("strict-builtin-errors"), "?strict-builtin-errors"),
        ]
        .into_iter()
        .find_map(|(asked, name)| asked.then_some(name))
    }
}

/// The document that a path below [`DATA`] or [`VALUES`] names. Segments are decoded one by one, so
/// that an escaped slash stays in its segment.
///
/// # Errors
/// A segment that is no text.
pub fn segments(path: &str) -> Result<Vec<String>, DecisionError> {
    let below = [DATA, VALUES].iter().find_map(|root| path.strip_prefix(root));
    decoded(below.unwrap_or_default())
        .ok_or_else(|| DecisionError::Path("failed to parse query".to_owned()))
}

/// The segments of a path, decoded one by one; empty ones are none. None if one is no text.
#[must_use]
pub fn decoded(path: &str) -> Option<Vec<String>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(decoded_segment).collect()
}

/// A segment, decoded; none if it is no text.
pub(crate) fn decoded_segment(segment: &str) -> Option<String> {
    String::from_utf8(decode(segment)).ok()
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
pub fn body(body: &[u8], is_exact: bool) -> Result<Option<Value>, String> {
    let malformed = |reason: String| format!("body contains malformed input document: {reason}");
    let Some(mut members) = object(body, is_exact).map_err(malformed)? else { return Ok(None) };
    match members.remove("input").map(RawValue::get) {
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
    let malformed = |reason: String| {
        format!(
            "unexpected parse error for input: body contains malformed input document: {reason}"
        )
    };
    let first = first(body).map_err(malformed)?;
    let first = first.map(|value| Value::from_json_str(value.get())).transpose();
    first.map(|value| Some(value.unwrap_or(Value::Null))).map_err(|it| malformed(it.to_string()))
}

/// The query of a `POST`, and its input.
///
/// # Errors
/// It is no object in JSON, in OPA's words.
pub fn query_body(body: &[u8], is_exact: bool) -> Result<(String, Option<Value>), String> {
    let undecoded = |reason: String| format!("error(s) occurred while decoding request: {reason}");
    if body.trim_ascii().is_empty() {
        return Err(undecoded("EOF".to_owned()));
    }
    let mut members = object(body, is_exact).map_err(undecoded)?.unwrap_or_default();
    let query = match members.remove("query").map(RawValue::get) {
        None | Some("null") => String::new(),
        Some(text) => {
            serde_json::from_str(text).map_err(|_| undecoded("query: give a string".to_owned()))?
        }
    };
    let input = members.remove("input").map(RawValue::get).filter(|input| *input != "null");
    let input = input.map(Value::from_json_str).transpose();
    Ok((query, input.map_err(|error| undecoded(error.to_string()))?))
}

/// The first JSON value of a body, which is what Go reads of it.
///
/// # Errors
/// There is none, in OPA's words.
pub fn first_value(body: &[u8]) -> Result<&str, String> {
    first(body)?.map(RawValue::get).ok_or_else(|| "EOF".to_owned())
}

/// The document that a body is.
///
/// # Errors
/// It is none, in OPA's words.
pub fn document(body: &[u8]) -> Result<Value, String> {
    Value::from_json_str(first_value(body)?).map_err(|error| error.to_string())
}

type Members<'b> = BTreeMap<String, &'b RawValue>;

/// The members of the object that a body begins with; none if there is nothing, or `null`. Go knows
/// a name by its letters whatever their case is, but where the names are to be exact; of two that are
/// the same the last one counts.
fn object(body: &[u8], is_exact: bool) -> Result<Option<Members<'_>>, String> {
    let Some(first) = first(body)?.map(RawValue::get).filter(|first| *first != "null") else {
        return Ok(None);
    };
    let mut members = serde_json::Deserializer::from_str(first);
    let members: Pairs<'_> =
        serde::Deserialize::deserialize(&mut members).map_err(|_| "give an object".to_owned())?;
    let known = |name: Cow<'_, str>| match is_exact {
        true => name.into_owned(),
        false => name.to_ascii_lowercase(),
    };
    Ok(Some(members.0.into_iter().map(|(name, it)| (known(name), it)).collect()))
}

/// The first JSON value of a body, none if there is none; what follows it is nobody's.
fn first(body: &[u8]) -> Result<Option<&RawValue>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    values.next().transpose().map_err(|error| reason(&error))
}

/// The members of an object in the order in which they are written.
struct Pairs<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'de: 'b, 'b> serde::Deserialize<'de> for Pairs<'b> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// OPA's words where it has short ones.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof if error.column() == 0 => "EOF".to_owned(),
        Category::Eof => "unexpected EOF".to_owned(),
        Category::Io | Category::Syntax | Category::Data => error.to_string(),
    }
}
