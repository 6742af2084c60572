//! Documents as JSON text, written as they are read.
//!
//! Numbers stay numbers, an `ObjectId` is its hexadecimal text, a date is RFC 3339, a
//! `Decimal128` is text, which loses nothing, a UUID is its usual text, other binary data is
//! base64. What only MongoDB has is extended JSON.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64ct::{Base64, Encoding as _};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{RawBsonRef, RawDocument, Uuid};

use crate::fetch::FetchError;

/// How deep a document may be; MongoDB's own limit is 100.
const MAX_DEPTH: usize = 200;

/// The milliseconds of dates that RFC 3339 can write: years 0 to 9999. Others are numbers.
const YEARS: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Appends a document.
///
/// # Errors
/// What the server sent is no document.
pub(super) fn write_document(text: &mut String, document: &RawDocument) -> Result<(), FetchError> {
    object(text, document, MAX_DEPTH)
}

/// Appends a value.
///
/// # Errors
/// What the server sent is no value.
pub(super) fn write_value(text: &mut String, value: RawBsonRef<'_>) -> Result<(), FetchError> {
    write(text, value, MAX_DEPTH)
}

/// Appends text, quoted.
pub(super) fn write_string(text: &mut String, value: &str) {
    // Text can always be written.
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
}

fn broken() -> FetchError {
    FetchError::new("answered something that is not a document")
}

fn object(text: &mut String, document: &RawDocument, depth: usize) -> Result<(), FetchError> {
    let depth = depth.checked_sub(1).ok_or_else(broken)?;
    text.push('{');
    for (index, member) in document.iter().enumerate() {
        let (key, value) = member.map_err(|_| broken())?;
        if index > 0 {
            text.push(',');
        }
        write_string(text, key.as_str());
        text.push(':');
        write(text, value, depth)?;
    }
    text.push('}');
    Ok(())
}

fn write(text: &mut String, value: RawBsonRef<'_>, depth: usize) -> Result<(), FetchError> {
    match value {
        RawBsonRef::Document(document) => object(text, document, depth)?,
        RawBsonRef::Array(items) => {
            let depth = depth.checked_sub(1).ok_or_else(broken)?;
            text.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, item.map_err(|_| broken())?, depth)?;
            }
            text.push(']');
        }
        RawBsonRef::String(value)
        | RawBsonRef::Symbol(value)
        | RawBsonRef::JavaScriptCode(value) => {
            write_string(text, value);
        }
        RawBsonRef::Boolean(value) => text.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Null | RawBsonRef::Undefined => text.push_str("null"),
        RawBsonRef::Int32(value) => display(text, value),
        RawBsonRef::Int64(value) => display(text, value),
        RawBsonRef::Double(value) => double(text, value),
        RawBsonRef::Decimal128(value) => write_string(text, &value.to_string()),
        RawBsonRef::ObjectId(value) => write_string(text, &value.to_hex()),
        RawBsonRef::DateTime(value) => match value.try_to_rfc3339_string() {
            Ok(date) if YEARS.contains(&value.timestamp_millis()) => write_string(text, &date),
            _ => display(text, value.timestamp_millis()),
        },
        RawBsonRef::Binary(value) => match (value.subtype, <[u8; 16]>::try_from(value.bytes)) {
            (BinarySubtype::Uuid, Ok(bytes)) => {
                write_string(text, &Uuid::from_bytes(bytes).to_string());
            }
            _ => write_string(text, &Base64::encode_string(value.bytes)),
        },
        RawBsonRef::Timestamp(value) => {
            display(
                text,
                format_args!(r#"{{"$timestamp":{{"t":{},"i":{}}}}}"#, value.time, value.increment),
            );
        }
        RawBsonRef::RegularExpression(value) => {
            text.push_str(r#"{"$regularExpression":{"pattern":"#);
            write_string(text, value.pattern.as_str());
            text.push_str(r#","options":"#);
            write_string(text, value.options.as_str());
            text.push_str("}}");
        }
        RawBsonRef::JavaScriptCodeWithScope(value) => {
            text.push_str(r#"{"$code":"#);
            write_string(text, value.code);
            text.push_str(r#","$scope":"#);
            object(text, value.scope, depth)?;
            text.push('}');
        }
        RawBsonRef::MinKey => text.push_str(r#"{"$minKey":1}"#),
        RawBsonRef::MaxKey => text.push_str(r#"{"$maxKey":1}"#),
        // Nobody has written one for fifteen years.
        RawBsonRef::DbPointer(_) => text.push_str("null"),
    }
    Ok(())
}

fn display(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(text, "{value}");
}

/// JSON has no number for what is none.
fn double(text: &mut String, value: f64) {
    let name = match value {
        _ if value.is_nan() => "NaN",
        _ if value == f64::INFINITY => "Infinity",
        _ if value == f64::NEG_INFINITY => "-Infinity",
        _ => return text.push_str(&serde_json::to_string(&value).unwrap_or_default()),
    };
    write_string(text, name);
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;
    use mongodb::bson::{
        Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex,
        Timestamp, cstr, doc,
    };

    use super::*;

    fn json(document: &Document) -> Result<String, FetchError> {
        let raw = RawDocumentBuf::try_from(document).unwrap();
        let mut text = String::new();
        write_document(&mut text, &raw)?;
        Ok(text)
    }

    #[test]
    fn every_type_has_its_json() {
        let id = ObjectId::parse_str("65a000000000000000000001").unwrap();
        let decimal: mongodb::bson::Decimal128 =
            "1234567890.123456789012345678901234".parse().unwrap();
        let uuid = Uuid::parse_str("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        let bytes = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
        for (value, expected) in [
            (Bson::Int32(-7), "-7"),
            (Bson::Int64(9_007_199_254_740_993), "9007199254740993"),
            (Bson::Double(1.0), "1.0"),
            (Bson::Double(0.1), "0.1"),
            (Bson::Double(f64::NAN), r#""NaN""#),
            (Bson::Double(f64::NEG_INFINITY), r#""-Infinity""#),
            (Bson::Decimal128(decimal), r#""1234567890.123456789012345678901234""#),
            (Bson::String("a\"\n\u{1F600}".to_owned()), "\"a\\\"\\n\u{1F600}\""),
            (Bson::Boolean(true), "true"),
            (Bson::Null, "null"),
            (Bson::Undefined, "null"),
            (Bson::ObjectId(id), r#""65a000000000000000000001""#),
            (
                Bson::DateTime(DateTime::from_millis(1_704_067_200_123)),
                r#""2024-01-01T00:00:00.123Z""#,
            ),
            (Bson::DateTime(DateTime::from_millis(*YEARS.end())), r#""9999-12-31T23:59:59.999Z""#),
            (Bson::DateTime(DateTime::from_millis(YEARS.end() + 1)), "253402300800000"),
            (Bson::DateTime(DateTime::from_millis(*YEARS.start())), r#""0000-01-01T00:00:00Z""#),
            (Bson::DateTime(DateTime::MAX), "9223372036854775807"),
            (Bson::from(uuid), r#""00112233-4455-6677-8899-aabbccddeeff""#),
            (Bson::Binary(bytes(BinarySubtype::Generic, b"\xff\x00")), r#""/wA=""#),
            (Bson::Binary(bytes(BinarySubtype::Uuid, b"short")), r#""c2hvcnQ=""#),
            (
                Bson::Timestamp(Timestamp { time: 1, increment: 2 }),
                r#"{"$timestamp":{"t":1,"i":2}}"#,
            ),
            (
                Bson::RegularExpression(Regex {
                    pattern: cstr!("^a\"").into(),
                    options: cstr!("i").into(),
                }),
                r#"{"$regularExpression":{"pattern":"^a\"","options":"i"}}"#,
            ),
            (Bson::JavaScriptCode("f()".to_owned()), r#""f()""#),
            (
                Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                    code: "f()".to_owned(),
                    scope: doc! { "a": 1 },
                }),
                r#"{"$code":"f()","$scope":{"a":1}}"#,
            ),
            (Bson::Symbol("s".to_owned()), r#""s""#),
            (Bson::MinKey, r#"{"$minKey":1}"#),
            (Bson::MaxKey, r#"{"$maxKey":1}"#),
            (Bson::Array(vec![Bson::Int32(1), Bson::Array(vec![])]), "[1,[]]"),
            (Bson::Document(doc! { "z": 1, "a\"": {} }), r#"{"z":1,"a\"":{}}"#),
        ] {
            let text = json(&doc! { "v": value }).unwrap();
            assert_eq!(text, format!(r#"{{"v":{expected}}}"#));
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }

    #[test]
    fn a_document_that_is_too_deep_or_broken_is_an_error() {
        let deep = |levels: usize| (1..levels).fold(doc! {}, |inner, _| doc! { "a": inner });
        assert!(json(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(json(&deep(MAX_DEPTH + 1)), Err(broken()));
        // A string that is longer than the document.
        let broken_bytes = [13, 0, 0, 0, 2, b'a', 0, 9, 0, 0, 0, b'x', 0];
        let raw = RawDocument::from_bytes(&broken_bytes).unwrap();
        assert_eq!(write_document(&mut String::new(), raw), Err(broken()));
    }
}
